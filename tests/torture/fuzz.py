"""Hostile files by the million, for the readers of what may come from a stranger (python -m tests.torture.fuzz image DIR)."""

import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from tempfile import mkdtemp

TARGETS = ("image", "snapshot", "state", "recipe", "census", "midi", "musicxml")
RUNS = 14_300  # inputs of a trial; seven trials are 100,000
FOUND = Path("runs/torture/found")


def fuzzed(chance: Random, folder: Path, target: str, runs: int = RUNS) -> str | None:
    """Let atheris make inputs for one reader in a process of its own; whatever it raises but the house's errors is kept."""
    if importlib.util.find_spec("atheris") is None:
        return "atheris is not installed: .venv/bin/pip install atheris"
    FOUND.mkdir(parents=True, exist_ok=True)
    corpus = folder / "corpus"
    corpus.mkdir()
    options = [f"-runs={runs}", f"-seed={chance.randrange(1, 2**31)}", "-timeout=20", "-rss_limit_mb=2048", "-max_len=4096"]
    where = f"-artifact_prefix={FOUND}/{target}-"
    words = [sys.executable, "-m", "tests.torture.fuzz", target, str(corpus), *options, where]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=3600)
    return f"{target}: {done.stderr[-1500:]}" if done.returncode else None


def reader_of(target: str, folder: Path):
    """A function that reads bytes as one kind of file, and some whole files of that kind to begin with."""
    import numpy as np
    import torch
    from PIL import Image

    from diptych.data.census import Census
    from diptych.data.formats import read_pixels
    from diptych.music.midi import read_midi
    from diptych.music.score_files import tunes
    from diptych.nets import UNet
    from diptych.pixels import Domain
    from diptych.recorded import Recorded
    from diptych.snapshot import Snapshot
    from diptych.training.state_files import read_state
    from diptych.trees import write_tree

    torch.set_num_threads(1)
    path = (
        folder / f"x{ {'image': '.png', 'recipe': '.yaml', 'midi': '.mid', 'musicxml': '.musicxml'}.get(target, '.safetensors') }"
    )
    wholes = []
    if target == "image":
        for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
            buffer = io.BytesIO()
            Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(buffer, kind)
            wholes.append(buffer.getvalue())
    elif target == "snapshot":
        Snapshot({"a2b": UNet(3, 3, width=1, num_downs=2)}, Domain(), Domain()).save(path)
    elif target == "state":
        rank = {"rng": torch.zeros(9, dtype=torch.uint8), "buffers": {}}
        state = {"method": {"w": torch.ones(2)}, "optimizers": {"G": [{}]}, "ema": None, "stats": {"steps": 0}, "ranks": [rank]}
        write_tree(path, {"kind": "state", "format": 1, "step": 1, "images": 1, "threads": 1} | state)
    elif target == "recipe":
        wholes = [b"method: {name: pix2pix, ngf: 8}\ntrain: &t {epochs: 3}\n", b"method: &a {name: *a}\n"]
    elif target == "census":
        wholes = [b'{"paired": true, "sides": [[["a"]], [["b"]]], "domains": [[3, "uint8", 0, 255], {}], "skipped": []}']
    elif target == "midi":
        wholes = [b"MThd\0\0\0\x06\0\0\0\x01\0`MTrk\0\0\0\x0c\0\x90<@`\x80<@\0\xff/\0"]
    elif target == "musicxml":
        wholes = [b"<score-partwise><part-list/><part id='P1'><measure><note/></measure></part></score-partwise>"]
    if path.exists():
        wholes = [path.read_bytes()]
    read = {
        "image": read_pixels,
        "snapshot": Snapshot.load,
        "state": read_state,
        "recipe": Recorded.read,
        "census": lambda file: Census.from_json(file.read_text(errors="replace")),
        "midi": read_midi,
        "musicxml": tunes,
    }[target]
    return read, path, wholes


def main() -> None:
    import atheris

    target, corpus, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["diptych"]):
        from diptych.errors import DiptychError

        read, path, wholes = reader_of(target, Path(mkdtemp(prefix="torture-fuzz-")))
    for number, whole in enumerate(wholes):
        (Path(corpus) / str(number)).write_bytes(whole)

    def one(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read(path)
        except DiptychError as error:
            assert "\n" not in str(error), f"more than a line: {error}"  # noqa: PT017

    atheris.Setup([sys.argv[0], corpus, *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
