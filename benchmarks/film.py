"""Frames a second of a film beside images a second of the same frames in a folder, as `diptych translate` does both.

    python -m benchmarks.film [--frames 96] [--height 144] [--width 192] [--rounds 3] [--snapshot FILE] [--json FILE]

All ways take turns over the same frames with the same network (a snapshot's, or random weights of ResNet-6 with 32 filters), in
torch in fp32, one at a time; the median of the rounds counts. The images are JPEGs and become JPEGs; the film is H.264 and
becomes H.264. The film is translated frame by frame, with smoothed norms, and with the temporal filter besides.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diptych.data.film_writing import encoding_for
from diptych.data.films import av_of, survey
from diptych.data.formats import write_pixels
from diptych.inference.batch import plan, translate_files
from diptych.inference.film import FilmOptions, translate_film
from diptych.inference.manifest import Job, Manifest
from diptych.inference.translator import Translator
from diptych.nets import generator, initialise
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

WAYS: dict[str, dict[str, Any]] = {
    "film, frame by frame": {"norms": "frame", "flow": False},
    "film, norms smoothed": {"norms": "smooth", "flow": False},
    "film, norms smoothed, flow filter": {"norms": "smooth", "flow": True},
}


def frames_of(count: int, height: int, width: int) -> list[np.ndarray]:
    """Smooth noise under a camera that moves 2 pixels a frame."""
    random = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, height // 8, (width + 2 * count) // 8, generator=random)
    large = torch.nn.functional.interpolate(small, (height, width + 2 * count), mode="bicubic").clamp(0, 1)
    picture = (large[0] * 255).byte().permute(1, 2, 0).numpy()
    return [np.ascontiguousarray(picture[:, 2 * i : 2 * i + width]) for i in range(count)]


def write_film(path: Path, frames: list[np.ndarray]) -> Path:
    """The frames in H.264."""
    av = av_of()
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "18"})
        stream.height, stream.width = frames[0].shape[:2]
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--height", type=int, default=144)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ngf", type=int, default=32)
    parser.add_argument("--snapshot", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    net = initialise(generator("resnet_6", 3, 3, width=args.ngf))
    snapshot = Snapshot.load(args.snapshot) if args.snapshot else Snapshot({"a2b": net}, Domain(), Domain())
    frames = frames_of(args.frames, args.height, args.width)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "images").mkdir()
        for number, frame in enumerate(frames):
            write_pixels(root / "images" / f"{number:05d}.jpg", frame)
        film = write_film(root / "film.mp4", frames)
        seconds: dict[str, list[float]] = {"images in a folder": [], **{way: [] for way in WAYS}}

        def images() -> None:
            translator = Translator(snapshot, device="cpu")
            outcomes = translate_files(plan([root / "images"], root / f"out-{time.time_ns()}", translator), translator)
            assert all(outcome.problem is None for outcome in outcomes)

        def as_film(options: dict[str, Any]) -> Callable[[], None]:
            def run() -> None:
                out = root / f"out-{time.time_ns()}.mp4"
                chosen, manifest = FilmOptions(encoding_for(out), **options), Manifest(root, {})
                done = translate_film(Job(film, out), survey(film), Translator(snapshot, device="cpu"), chosen, manifest=manifest)
                assert done == len(frames)

            return run

        runs: dict[str, Callable[[], None]] = {"images in a folder": images}
        runs |= {way: as_film(options) for way, options in WAYS.items()}
        for _ in range(args.rounds):
            for way, run in runs.items():
                began = time.perf_counter()
                run()
                seconds[way].append(time.perf_counter() - began)
    base = statistics.median(seconds["images in a folder"])
    print(
        f"{args.frames} frames of {args.width} x {args.height}, median of {args.rounds} rounds, {torch.get_num_threads()} threads"
    )
    for way, found in seconds.items():
        median = statistics.median(found)
        print(f"{way:36} {len(frames) / median:7.2f} a second   {base / median:.2f}x")
    if args.json:
        args.json.write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
