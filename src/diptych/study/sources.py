"""The folders that a study is made from: read, compared, and refused where they cannot make a fair study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diptych.data.archives import entries
from diptych.data.formats import SUFFIXES, read_picture
from diptych.data.listing import find_images, hidden, open_folder, walk
from diptych.data.pairing import key_in
from diptych.data.passed_over import passed_over
from diptych.errors import DataError
from diptych.inference.batch import Outcome, plan, translate_files
from diptych.inference.translator import Translator
from diptych.messages import show
from diptych.study.folder import INPUT, REAL

LOSSY = {".jpg", ".jpeg", ".jpe", ".jfif"}


@dataclass(frozen=True)
class Sources:
    """The pictures of a study by what they are (real, input or the name of a method) and by name: their files and RGB pixels.

    ``notes`` counts what reading changed, such as transparency.
    """

    files: Mapping[str, Mapping[str, Path]]
    pixels: Mapping[str, Mapping[str, np.ndarray]]
    notes: Mapping[str, Mapping[str, int]]

    @classmethod
    def read(cls, folders: Mapping[str, Path]) -> Sources:
        """Read all pictures. Raises DataError for names that are there twice, or pixels that a browser cannot show."""
        files = {source: files_of(folder) for source, folder in folders.items()}
        notes: dict[str, Counter[str]] = {source: Counter() for source in files}
        pixels = {s: {name: _rgb(path, notes[s]) for name, path in named.items()} for s, named in files.items()}
        return cls(files, pixels, notes)

    def warnings(self) -> Iterator[str]:
        """Refuse methods whose outputs are not of the same inputs, and yield warnings for what may tell real from fake."""
        methods = [source for source in self.files if source not in (REAL, INPUT)]
        for method in methods[1:]:
            if odd := sorted(set(self.files[methods[0]]) ^ set(self.files[method])):
                raise DataError(
                    f"{method}: its pictures have other names than those of {methods[0]} ({show(odd[0])} is in one only); "
                    "translate the same inputs with every method"
                )
        for source, changes in self.notes.items():
            for change, number in changes.items():
                yield f"{source}: {change} in {number:,} of {len(self.files[source]):,} pictures"
        judged = [source for source in self.files if source != INPUT]
        gray = [source for source in judged if all(is_gray(pixels) for pixels in self.pixels[source].values())]
        if 0 < len(gray) < len(judged):
            yield f"all pictures of {', '.join(gray)} are gray and others are not: that tells them apart, whatever they show"
        lossy = {
            source: any(path.suffix.lower() in LOSSY for path in named.values())
            for source, named in self.files.items()
            if source != INPUT
        }
        first = next(iter(lossy))
        for source in lossy:
            if lossy[first] != lossy[source]:
                one, other = (first, source) if lossy[first] else (source, first)
                yield f"{one} pictures are JPEG and {other} ones are not: JPEG's traces may tell them apart; use one format"

    def size(self) -> tuple[int, int]:
        """The width and height of all. Raises DataError where they differ."""
        first: tuple[int, int, Path] | None = None
        for source, named in self.pixels.items():
            for name, image in named.items():
                height, width = image.shape[:2]
                if first is None:
                    first = width, height, self.files[source][name]
                elif (width, height) != first[:2]:
                    raise DataError(
                        f"{show(self.files[source][name])}: is {width}x{height}, but {show(first[2])} is {first[0]}x{first[1]}; "
                        "give --size WIDTHxHEIGHT to resize all"
                    )
        assert first is not None, "find_images refuses empty folders"
        return first[:2]


def is_gray(pixels: np.ndarray) -> bool:
    """Whether the three channels of a picture, (h, w, 3), are equal."""
    return bool((pixels == pixels[..., :1]).all())


def files_of(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by name, without suffix. Raises DataError when two have one name."""
    found: dict[str, Path] = {}
    for path in find_images(folder):
        name = key_in(folder, path)
        if name in found:
            raise DataError(f"{show(path)}: has the name of {show(found[name])}; remove one of them")
        found[name] = path
    return found


def passed_over_in(folders: Mapping[str, Path]) -> Iterator[str]:
    """Yield a warning for each folder in which files are passed over: hidden pictures, and files that are no images."""
    for source, folder in folders.items():
        root = open_folder(folder)
        places = {root} | {Path(path).parent for path in walk(root)}
        concealed = sorted(
            path
            for place in places
            for path, is_dir in entries(place)
            if not is_dir and hidden(path.name) and path.suffix.lower() in SUFFIXES
        )
        if concealed:
            example = show(concealed[0])
            yield f"{source}: {len(concealed):,} hidden pictures are passed over, such as {example}; rename them to use them"
        if others := passed_over([folder], use="study"):
            yield f"{source}: passed over, as they are no images that can be read: {others}"


def _rgb(path: Path, notes: Counter[str]) -> np.ndarray:
    """An 8-bit RGB picture; ``notes`` counts what reading changed. Raises DataError for pixels of another kind."""
    picture = read_picture(path)
    notes.update(picture.metadata.notes)
    if picture.metadata.frames > 1:
        notes["only the first frame or page is shown"] += 1
    pixels = picture.pixels
    if pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
        raise DataError(
            f"{show(path)}: has {pixels.shape[2]} channels of {pixels.dtype}; a browser shows gray or RGB of 8 bits, convert it"
        )
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def translated(
    snapshot: Path,
    inputs: Path,
    out: Path,
    *,
    direction: str = "a2b",
    device: str = "auto",
    watch: Callable[[Outcome], None] = lambda outcome: None,
) -> Path:
    """Translate a folder of inputs with a snapshot into a folder ``out``, as `diptych translate` does in fp32, and return it.

    Raises DataError when an input cannot be translated: a study without it would not be of the same inputs for all methods.
    """
    translator = Translator.load(snapshot, direction, device=device)
    for outcome in translate_files(plan([inputs], out, translator), translator, watch=watch):
        if outcome.problem:
            raise DataError(f"{show(snapshot)}: cannot translate {outcome.problem}")
    return out
