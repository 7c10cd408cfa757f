"""Translate films whose flow is known exactly, by every way of translating films, and measure how much each one flickers.

    python experiments/film/run.py SNAPSHOT PHOTOS OUT [--frames 16] [--side 192] [--part both]

Films are made from three photos of a folder and three of scikit-image: a camera that moves over each (a pan, a zoom, a turn, all
at once). The place of every pixel in the frame before is known from the camera, without any estimate. The films are written
without loss, translated by `diptych.inference.film`, and read again. The warping error of a film (Lai et al. 2018, eq. 7) is the
mean square of y_t - W y_{t-1} over pixels that were in view, in levels of 255; W interpolates by Lanczos. Sharpness is the mean
square of gradients, over that of the frames translated one by one.

In one more film a thing moves into a still picture, and the left third, where nothing changes, shows how far the colours drift.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import skimage.data
from PIL import Image, ImageDraw

from diptych.choices import FilmNorms
from diptych.data.film_writing import Encoding
from diptych.data.films import read_frames, survey
from diptych.inference.film import FilmOptions, translate_film
from diptych.inference.manifest import Job, Manifest
from diptych.inference.translator import Translator

WAYS: dict[str, tuple[FilmNorms, bool]] = {
    "frame by frame": ("frame", False),
    "norms fixed": ("fixed", False),
    "norms smoothed": ("smooth", False),
    "flow filter": ("frame", True),
    "norms smoothed, flow filter (default)": ("smooth", True),
}
LOSSLESS = Encoding("libx264rgb", options=(("crf", "-1"), ("qp", "0")))
KINDS = ("pan", "zoom", "turn", "all")


def camera(photo: np.ndarray, kind: str, count: int, side: int) -> list[np.ndarray]:
    """For each frame, the matrix from its pixels (x, y, 1) to places in the photo."""
    height, width = photo.shape[:2]
    matrices = []
    for share in np.linspace(-0.5, 0.5, count):
        x, y, scale, angle = width / 2, height / 2, min(height, width) / side * 0.62, 0.0
        if kind == "pan":
            x, y = x + 0.24 * share * width, y + 0.06 * share * height
        if kind == "zoom":
            scale *= 1 + 0.5 * share
        if kind == "turn":
            angle = 0.5 * share
        if kind == "all":
            x, scale, angle = x + 0.2 * share * width, scale * (1 + 0.3 * share), 0.3 * share
        c, s, middle = np.cos(angle) * scale, np.sin(angle) * scale, (side - 1) / 2
        matrices.append(np.array([[c, -s, x - c * middle + s * middle], [s, c, y - s * middle - c * middle], [0, 0, 1]]))
    return matrices


def frames_of(photo: np.ndarray, matrices: list[np.ndarray], side: int) -> list[np.ndarray]:
    """What the camera sees, smoothed first where it takes several of the photo's pixels for one."""
    frames = []
    for matrix in matrices:
        scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
        seen = cv2.GaussianBlur(photo, (0, 0), 0.45 * np.sqrt(max(scale**2 - 0.8, 0.01))) if scale > 1 else photo
        how = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
        frame = cv2.warpAffine(seen.astype(np.float32), matrix[:2], (side, side), flags=how, borderMode=cv2.BORDER_REFLECT)
        frames.append(frame.clip(0, 255).round().astype(np.uint8))
    return frames


def places_before(matrices: list[np.ndarray], side: int) -> list[np.ndarray]:
    """For each frame but the first, the exact place of every pixel in the frame before, (side, side, 2)."""
    y, x = np.mgrid[:side, :side].astype(float)
    pixels = np.stack([x, y, np.ones_like(x)], -1)
    steps = [np.linalg.inv(before) @ now for before, now in itertools.pairwise(matrices)]
    return [(pixels @ step.T)[..., :2].astype(np.float32) for step in steps]


def warping_error(frames: list[np.ndarray], places: list[np.ndarray], margin: int = 3) -> float:
    """Mean square of y_t - W y_{t-1} over pixels that were in view."""
    errors = []
    for before, now, place in zip(frames, frames[1:], places, strict=False):
        inside = ((place >= margin) & (place <= len(now) - 1 - margin)).all(2)
        moved = cv2.remap(before.astype(np.float32), place, None, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
        errors.append(np.square(moved - now)[inside].mean())
    return float(np.mean(errors))


def sharpness(frames: list[np.ndarray]) -> float:
    """Mean square of the differences of neighbours."""
    return float(np.mean([np.square(np.diff(frame.astype(np.float32), axis=axis)).mean() for frame in frames for axis in (0, 1)]))


def write(path: Path, frames: list[np.ndarray]) -> Path:
    """A film without loss."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264rgb", rate=25, options={"qp": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb24"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path


def translated(
    source: Path, target: Path, translator: Translator, norms: FilmNorms, flow: bool
) -> tuple[list[np.ndarray], float]:
    """The frames of a translation, and the seconds that it took."""
    film, began = survey(source), time.perf_counter()
    target.unlink(missing_ok=True)
    options = FilmOptions(LOSSLESS, norms, flow)
    translate_film(Job(source, target), film, translator, options, manifest=Manifest(target.parent, {}))
    seconds = time.perf_counter() - began
    return [frame.pixels for frame in read_frames(survey(target))], seconds


def entering(photo: np.ndarray, thing: np.ndarray, count: int, side: int) -> list[np.ndarray]:
    """A still picture into whose right half a thing moves."""
    frames = []
    for number in range(count):
        frame = photo[:side, :side].copy()
        width = side * number // (2 * (count - 1))
        if width:
            frame[:, side - width :] = thing[:side, :width]
        frames.append(frame)
    return frames


def drift(frames: list[np.ndarray]) -> float:
    """Root mean square of how far the left third, where nothing moves, is from the first frame, over all others."""
    left = np.stack([frame[:, : frame.shape[1] // 3] for frame in frames]).astype(np.float32)
    return float(np.sqrt(np.square(left[1:] - left[0]).mean()))


def slices(films: dict[str, list[np.ndarray]], path: Path, row: int, times: int) -> None:
    """One row of pixels over time, for each way: what flickers is ragged."""
    parts = []
    for name, frames in films.items():
        strip = np.repeat(np.stack([frame[row] for frame in frames]), times, 0)
        strip = np.repeat(strip, 2, 1)
        label = Image.new("RGB", (strip.shape[1], 14), "white")
        ImageDraw.Draw(label).text((2, 1), name, fill="black")
        parts += [np.asarray(label), strip]
    Image.fromarray(np.concatenate(parts)).save(path, quality=88)


def main() -> None:
    """Make, translate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshot")
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--part", choices=("camera", "entering", "both"), default="both")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.part != "camera":
        source = write(
            args.out / "entering.mkv", entering(skimage.data.astronaut(), skimage.data.coffee(), args.frames, args.side)
        )
        print("a thing enters: drift of the left third, in levels of 255")
        for way, (norms, flow) in WAYS.items():
            found, _ = translated(source, args.out / "entering-out.mkv", Translator.load(args.snapshot), norms, flow)
            print(f"  {way:38} {drift(found):.2f}", flush=True)
    if args.part == "entering":
        return
    files = [path for path in sorted(args.photos.rglob("*.jpg")) if min(Image.open(path).size) >= 240][:3]
    photos = {path.name: np.asarray(Image.open(path).convert("RGB")) for path in files}
    photos |= {name: getattr(skimage.data, name)() for name in ("astronaut", "coffee", "chelsea")}
    rows: list[dict[str, Any]] = []
    for number, (name, photo) in enumerate(photos.items()):
        kind = KINDS[number % len(KINDS)]
        matrices = camera(photo, kind, args.frames, args.side)
        frames, places = frames_of(photo, matrices, args.side), places_before(matrices, args.side)
        source, films = write(args.out / f"{number}.mkv", frames), {"source": frames}
        for way, (norms, flow) in WAYS.items():
            translator = Translator.load(args.snapshot)
            films[way], seconds = translated(source, args.out / f"{number}-out.mkv", translator, norms, flow)
            found = {"film": name, "camera": kind, "way": way, "seconds": round(seconds, 2)}
            rows.append(found | {"error": warping_error(films[way], places), "sharpness": sharpness(films[way])})
        slices(films, args.out / f"slices-{number}.jpg", args.side // 2, 3)
        base = rows[-len(WAYS)]
        print(f"{name}, {kind}: warping error of the source {warping_error(frames, places):.1f}")
        for row in rows[-len(WAYS) :]:
            row |= {"error_ratio": row["error"] / base["error"], "sharpness_ratio": row["sharpness"] / base["sharpness"]}
            print(
                f"  {row['way']:38} {row['error']:7.1f}  {row['error_ratio']:.3f}x  sharpness {row['sharpness_ratio']:.3f}",
                flush=True,
            )
    print("all films, mean (worst)")
    for way in WAYS:
        own = [row for row in rows if row["way"] == way]
        errors, sharp = [row["error_ratio"] for row in own], [row["sharpness_ratio"] for row in own]
        print(f"  {way:38} error {np.mean(errors):.3f}x ({max(errors):.3f})  sharpness {np.mean(sharp):.3f} ({min(sharp):.3f})")
    (args.out / "scores.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
