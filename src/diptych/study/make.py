"""Make a study from folders of finished pictures, so that nothing but the pixels tells real from fake."""

from __future__ import annotations

import io
import random
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.data.formats import read_pixels
from diptych.data.listing import find_images
from diptych.data.pairing import key_in
from diptych.errors import ConfigError, DataError, StorageError
from diptych.files import write_atomic
from diptych.messages import show
from diptych.study.folder import CATCH, REAL, Picture, Study, new_token
from diptych.study.protocol import Protocol, trials_of
from diptych.study.store import Store
from diptych.study.words import CONSENT, LANGUAGES

TILE = 8  # pixels of the pieces that a catch picture is shuffled from
CATCHES = 10  # catch pictures of a study
LOSSY = {".jpg", ".jpeg", ".jpe", ".jfif"}


def new_study(
    folder: Path,
    real: Path,
    models: Mapping[str, Path],
    protocol: Protocol,
    *,
    title: str = "Real or fake?",
    languages: Sequence[str] = tuple(LANGUAGES),
    consent: Mapping[str, str] | None = None,
    invited_only: bool = False,
    size: tuple[int, int] | None = None,
) -> tuple[Study, str, list[str]]:
    """Make the folder of a study; returns the study, the owner's token (kept nowhere else) and warnings.

    ``models`` maps the names of methods to folders of their outputs, all of the same names. ``size`` is the width and height to
    which all are resized; without it all must have one size. Raises ConfigError and DataError for what cannot be a
    fair study.
    """
    _check_words(folder, models, languages, consent)
    files = {REAL: _files(real)} | {method: _files(path) for method, path in models.items()}
    warnings = list(_compare(files))
    rng = random.Random(0)  # fixed, so that mistakes in the plan show before anybody takes part
    for method in models:
        trials_of(protocol, {n: n for n in files[REAL]}, {n: n for n in files[method]}, ["catch"], rng)
        if protocol.length > len(files[method]):
            warnings.append(
                f"{method}: {len(files[method])} pictures for {protocol.length} trials, so some are shown more than once"
            )
    pixels = {source: {name: _rgb(path) for name, path in named.items()} for source, named in files.items()}
    width, height = size or _one_size(files, pixels)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "pictures").mkdir(mode=0o700)
    except OSError as error:
        raise StorageError(f"{show(folder)}: cannot be made ({error.strerror}); choose another folder") from error
    pictures: dict[str, Picture] = {}
    seen: dict[bytes, tuple[str, str]] = {}  # the file, so that pixels are compared exactly
    for source, named in pixels.items():
        for name, image in named.items():
            data = _png(image, width, height)
            if data in seen and source != seen[data][0]:
                raise DataError(
                    f"{show(files[source][name])}: has the same pixels as {show(files[seen[data][0]][seen[data][1]])}; "
                    "an output that equals a real picture or another method's cannot be judged, remove it"
                )
            seen[data] = (source, name)
            pictures[_write(folder, data)] = Picture(source, name)
    if protocol.catch:
        names = sorted(pixels[REAL])[:CATCHES]
        for name in names:
            pictures[_write(folder, _png(scrambled(pixels[REAL][name]), width, height))] = Picture(CATCH, name)
    texts = {language: (consent or {}).get(language, CONSENT[language]) for language in languages}
    study = Study(folder, title, protocol, tuple(models), pictures, texts, invited_only, width, height)
    token = new_token(folder, secrets.token_bytes(32))
    Store(folder).close()
    study.save()  # last: a folder with this file is complete
    return study, token, warnings


def _check_words(folder: Path, models: Mapping[str, Path], languages: Sequence[str], consent: Mapping[str, str] | None) -> None:
    if not models:
        raise ConfigError("give at least one --model NAME=DIR")
    if taken := {REAL, CATCH} & set(models):
        raise ConfigError(f"--model {taken.pop()}: this name has another meaning in a study; choose another")
    unknown = [language for language in (*languages, *(consent or {})) if language not in LANGUAGES]
    if unknown or not languages:
        raise ConfigError(f"languages are {', '.join(LANGUAGES)}, found {unknown[0] if unknown else 'none'}")
    if (folder / "study.json").exists() or (folder / "pictures").exists():
        raise ConfigError(f"{show(folder)}: holds a study already; choose another folder")


def _files(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by name, without suffix. Raises DataError when two have one name."""
    found: dict[str, Path] = {}
    for path in find_images(folder):
        name = key_in(folder, path)
        if name in found:
            raise DataError(f"{show(path)}: has the name of {show(found[name])}; remove one of them")
        found[name] = path
    return found


def _compare(files: Mapping[str, Mapping[str, Path]]) -> Iterator[str]:
    """Refuse methods whose outputs are not of the same inputs, and yield warnings for what may tell real from fake."""
    methods = [source for source in files if source != REAL]
    for method in methods[1:]:
        if odd := sorted(set(files[methods[0]]) ^ set(files[method])):
            raise DataError(
                f"{method}: its pictures have other names than those of {methods[0]} ({show(odd[0])} is in one only); "
                "translate the same inputs with every method"
            )
    lossy = {source: any(path.suffix.lower() in LOSSY for path in named.values()) for source, named in files.items()}
    for method in methods:
        if lossy[REAL] != lossy[method]:
            one, other = (REAL, method) if lossy[REAL] else (method, REAL)
            yield f"{one} pictures are JPEG and {other} ones are not: JPEG's traces may tell them apart; use one format"


def _rgb(path: Path) -> np.ndarray:
    """An 8-bit RGB picture. Raises DataError for pixels of another kind."""
    pixels = read_pixels(path)
    if pixels.dtype != np.uint8 or pixels.shape[2] not in (1, 3):
        raise DataError(
            f"{show(path)}: has {pixels.shape[2]} channels of {pixels.dtype}; a browser shows gray or RGB of 8 bits, convert it"
        )
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _one_size(files: Mapping[str, Mapping[str, Path]], pixels: Mapping[str, Mapping[str, np.ndarray]]) -> tuple[int, int]:
    first: tuple[int, int, Path] | None = None
    for source, named in pixels.items():
        for name, image in named.items():
            height, width = image.shape[:2]
            if first is None:
                first = width, height, files[source][name]
            elif (width, height) != first[:2]:
                raise DataError(
                    f"{show(files[source][name])}: is {width}x{height}, but {show(first[2])} is {first[0]}x{first[1]}; "
                    "give --size WIDTHxHEIGHT to resize all"
                )
    assert first is not None, "find_images refuses empty folders"
    return first[:2]


def scrambled(pixels: np.ndarray) -> np.ndarray:
    """A picture cut into squares of 8 pixels that are put together in random order: nobody who looks takes it for real."""
    height, width = (side // TILE * TILE for side in pixels.shape[:2])
    if not height or not width:
        raise DataError(f"pictures of at least {TILE}x{TILE} pixels are needed for catch trials")
    tiles = (
        pixels[:height, :width].reshape(height // TILE, TILE, width // TILE, TILE, 3).swapaxes(1, 2).reshape(-1, TILE, TILE, 3)
    )
    tiles = np.random.default_rng(0).permutation(tiles)
    mixed = tiles.reshape(height // TILE, width // TILE, TILE, TILE, 3).swapaxes(1, 2).reshape(height, width, 3)
    return np.ascontiguousarray(mixed)


def _png(pixels: np.ndarray, width: int, height: int) -> bytes:
    """A PNG without metadata and without compression, so that all pictures of a study have the same number of bytes."""
    image = Image.fromarray(pixels)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=None)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=0)
    return file.getvalue()


def _write(folder: Path, data: bytes) -> str:
    id = secrets.token_hex(16)
    write_atomic(folder / "pictures" / f"{id}.png", data)
    return id
