"""Make a study from folders of finished pictures, so that nothing but the pixels tells real from fake."""

from __future__ import annotations

import io
import itertools
import os
import random
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.errors import ConfigError, DataError, StorageError
from diptych.files import is_same_file, sync
from diptych.messages import show
from diptych.study.database import choose_postgres, reason, storage_errors
from diptych.study.folder import CATCH, INPUT, REAL, Picture, Study, new_token
from diptych.study.protocol import Cards, Protocol, trials_of
from diptych.study.sources import Sources, passed_over_in
from diptych.study.store import Store
from diptych.study.words import LANGUAGES, default_consent, default_title

TILE = 8  # pixels of the pieces that a catch picture is shuffled from
CATCHES = 10  # catch pictures of a study
FRAME_MS = 16
HEAVY = 4.0  # megabytes of a picture, two of which keep people with a slow connection waiting before each trial


def new_study(
    folder: Path,
    real: Path | None,
    models: Mapping[str, Path],
    protocol: Protocol,
    *,
    inputs: Path | None = None,
    title: str | None = None,
    languages: Sequence[str] = tuple(LANGUAGES),
    consent: Mapping[str, str] | None = None,
    invited_only: bool = False,
    size: tuple[int, int] | None = None,
    database: str | None = None,
) -> tuple[Study, str, list[str]]:
    """Make the folder of a study; returns the study, the owner's token (kept nowhere else) and warnings.

    ``models`` maps the names of methods to folders of their outputs, all of the same names. ``real`` is the folder of real
    pictures, None when methods are compared with one another. ``inputs`` is the folder of inputs where the protocol shows them.
    ``title`` is the heading of the page, by default one that fits the protocol. ``size`` is the width and height to which all
    are resized; without it all must have one size. ``database`` is the URL of PostgreSQL where answers are not to be kept in
    the folder. Raises ConfigError and DataError for what cannot be a fair study.
    """
    check_words(folder, real, models, protocol, languages, consent)
    folders = ({REAL: real} if real else {}) | dict(models) | ({INPUT: inputs} if inputs and protocol.inputs else {})
    sources = Sources.read(folders)
    warnings = [*passed_over_in(folders), *sources.warnings()]
    catches = _catch_names(sources, protocol, next(iter(models)))
    cards = Cards(
        {name: name for name in sources.files.get(REAL, {})},
        {method: {name: name for name in sources.files[method]} for method in models},
        {name: name for name in catches},
        {name: name for name in sources.files.get(INPUT, {})},
    )
    for method in models:  # so that mistakes in the plan show before anybody takes part
        trials_of(protocol, cards, [*models] if protocol.kind == "compare" else [method], random.Random(0))
        if protocol.length > len(cards.fake[method]):
            warnings.append(
                f"{method}: {len(cards.fake[method])} pictures for {protocol.length} trials, so some are shown more than once"
            )
    width, height = size or sources.size()
    if (megabytes := 3 * width * height / 1e6) > HEAVY:
        warnings.append(
            f"each picture of {width}x{height} is a file of {megabytes:,.0f} MB, which every participant loads; "
            "a smaller --size WIDTHxHEIGHT begins trials sooner"
        )
    if protocol.show_ms < FRAME_MS:
        warnings.append(f"--show-ms {protocol.show_ms}: is less than one frame of most screens, which last {FRAME_MS} ms")
    data = _encoded(sources, width, height)
    data[CATCH] = {name: _png(scrambled(pixels), width, height) for name, pixels in catches.items()}
    texts = {language: (consent or {}).get(language) or default_consent(protocol, language) for language in languages}
    with whole(folder) as draft:
        (draft / "pictures").mkdir(mode=0o700)
        pictures = [(_write(draft, png), Picture(source, name)) for source, named in data.items() for name, png in named.items()]
        for id, _ in pictures:  # after all are written, since a disk that is asked once for each is slow
            sync(draft / "pictures" / f"{id}.png")
        random.SystemRandom().shuffle(pictures)  # so that no order says what is what
        words = title or default_title(protocol), protocol, tuple(models), dict(pictures), texts
        Study(draft, *words, invited_only, width, height).save()
        token = new_token(draft, secrets.token_bytes(32))
        if database:
            choose_postgres(draft, database)
        Store(draft).close()
    return Study.load(folder), token, warnings


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A draft of a folder, which takes the folder's place when the block ends, and of which nothing stays when the block raises.

    A folder that is there already and empty stays the same folder, as it may be somebody's working folder. Raises StorageError
    when the folder cannot be made.
    """
    target = Path(os.path.realpath(folder))
    draft = (target if target.is_dir() else target.parent) / f".{target.name[:40]}.{secrets.token_hex(8)}.tmp"
    try:
        draft.mkdir(mode=0o700, parents=True)
        yield draft
        if target.is_dir():
            for path in sorted(draft.iterdir(), key=lambda path: path.name == "study.json"):  # last: then all is there
                path.rename(target / path.name)
            draft.rmdir()
        else:
            draft.rename(target)
    except (StorageError, *storage_errors()) as error:  # type: ignore[misc]
        if isinstance(error, StorageError) and draft.name not in str(error):
            raise
        why = reason(error, draft, target)
        raise StorageError(f"{show(folder)}: cannot be made ({why}); make room there, or choose another folder") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def check_words(
    folder: Path,
    real: Path | None,
    models: Mapping[str, Path],
    protocol: Protocol,
    languages: Sequence[str],
    consent: Mapping[str, str] | None,
) -> None:
    """Refuse what can be refused before any picture is read or translated."""
    if not models:
        raise ConfigError("give at least one --model NAME=DIR")
    if taken := {REAL, CATCH, INPUT} & set(models):
        raise ConfigError(f"--model {taken.pop()}: this name has another meaning in a study; choose another")
    if real is None and protocol.kind != "compare":
        raise ConfigError(f"--protocol {protocol.kind} needs real pictures; give --real DIR")
    if real is not None and protocol.kind == "compare":
        raise ConfigError("--protocol compare shows what methods made and no real pictures; leave --real out")
    given = ([("--real", "of real pictures", real)] if real else []) + [(f"--model {n}", f"of {n}", p) for n, p in models.items()]
    for (_, what, first), (flag, _, path) in itertools.combinations(given, 2):
        if is_same_file(first, path):
            raise ConfigError(f"{flag}={show(path)}: is the folder {what} as well; give the folder of this method's own outputs")
    unknown = [language for language in (*languages, *(consent or {})) if language not in LANGUAGES]
    if unknown or not languages:
        raise ConfigError(f"languages are {', '.join(LANGUAGES)}, found {unknown[0] if unknown else 'none'}")
    if (folder / "study.json").exists():
        raise ConfigError(f"{show(folder)}: holds a study already; choose another folder")
    if os.path.lexists(folder) and not folder.is_dir():
        raise ConfigError(f"{show(folder)}: is there already and is no folder; choose another name")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{show(folder)}: is not an empty folder; choose another, or remove what is in it")


def _catch_names(sources: Sources, protocol: Protocol, method: str) -> dict[str, np.ndarray]:
    """The pictures that catch pictures are made from: real ones of outputs' names, or a method's where none are real."""
    if not protocol.catch:
        return {}
    known = sources.pixels[REAL if REAL in sources.pixels else method]
    names = [name for name in sorted(known) if name in sources.pixels[method]] if protocol.same_input else sorted(known)
    if protocol.inputs:
        names = [name for name in names if name in sources.pixels.get(INPUT, {})]
    return {name: known[name] for name in names[:CATCHES]}


def _encoded(sources: Sources, width: int, height: int) -> dict[str, dict[str, bytes]]:
    """Every picture as a PNG. Raises DataError when a picture to judge is in two folders."""
    data: dict[str, dict[str, bytes]] = {}
    seen: dict[bytes, tuple[str, Path]] = {}  # the file, so that pixels are compared exactly
    for source, named in sources.pixels.items():
        data[source] = {}
        for name, image in named.items():
            png, file = _png(image, width, height), sources.files[source][name]
            data[source][name] = png
            if source == INPUT:
                continue
            if png in seen and source != seen[png][0]:
                raise DataError(
                    f"{show(file)}: has the same pixels as {show(seen[png][1])}; "
                    "an output that equals a real picture or another method's cannot be judged, remove it"
                )
            seen[png] = source, file
    return data


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
    (folder / "pictures" / f"{id}.png").write_bytes(data)
    return id
