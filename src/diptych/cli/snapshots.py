"""The snapshot that a command line names: a file or a run folder; what else people give there is named for what it is."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from diptych.errors import ConfigError
from diptych.messages import show
from diptych.zoo import instead_of, resolve

SNAPSHOT = "snapshot.safetensors"
FOREIGN = (".pth", ".pt", ".ckpt", ".bin", ".pkl")
PROGRAMS = {".onnx": "an ONNX program", ".h5": "a Keras file", ".keras": "a Keras file", ".t7": "a Lua Torch file"}


def chosen_snapshot(given: Path, command: str, inputs: Sequence[str] = (), rest: str = "") -> Path:
    """The snapshot file that a word means; the one in it, if the word is a run folder, or that of a network of the zoo.

    ``inputs`` are the words after it and ``rest`` what follows them, to say the command that was meant if they are exchanged.
    Raises ConfigError for what is no snapshot; a file that is missing or damaged is left for Snapshot.load to name.
    """
    if (found := resolve(given)) != given:
        return found
    exchanged = next((word for word in inputs if is_snapshot(Path(word))), None)
    if not is_snapshot(given) and exchanged:
        words = [exchanged, str(given), *(word for word in inputs if word != exchanged)]
        meant = f"diptych {command} {' '.join(map(shlex.quote, words))}{rest}"
        raise ConfigError(f"{show(given)}: is no snapshot, but {show(exchanged)} is; the snapshot comes first: {show(meant)}")
    if given.is_dir():
        if is_snapshot(given):
            return given / SNAPSHOT
        if (given / "recipe.json").is_file():
            raise ConfigError(f"{show(given)}: this run has saved no snapshot yet; train it until its first save")
        advice = f"give a run folder, or the file of a snapshot{instead_of(given)}"
        raise ConfigError(f"{show(given)}: is a folder without a {SNAPSHOT}; {advice}")
    suffix = given.suffix.lower()
    if given.is_file() and suffix in FOREIGN:
        word = shlex.quote(show(given))
        made = shlex.quote(show(given.with_suffix(".safetensors")))
        raise ConfigError(f"{show(given)}: are weights of another tool; run `diptych import {word}`, then give {made}")
    if given.is_file() and suffix in PROGRAMS:
        raise ConfigError(f"{show(given)}: is {PROGRAMS[suffix]}, not a snapshot; give the .safetensors that it was made from")
    if given.is_file() and suffix in image_suffixes():
        raise ConfigError(f"{show(given)}: is an image; the snapshot comes first: diptych {command} SNAPSHOT {show(given)}{rest}")
    return given


def is_snapshot(path: Path) -> bool:
    """Whether a word is a run folder with a snapshot, or a .safetensors file."""
    return (path / SNAPSHOT).is_file() if path.is_dir() else path.suffix == ".safetensors" and path.is_file()


def image_suffixes() -> frozenset[str]:
    """The suffixes of images; the import waits until a word is no snapshot."""
    from diptych.data.formats import SUFFIXES

    return SUFFIXES
