"""Label maps as data: find their classes, bring images to them, and write them as the files were.

A label map holds the number of a class at each pixel (gray or a palette) or its colour. With ``data.labels`` a side becomes one
channel a class (:class:`diptych.pixels.Domain`), and its images are resized without mixing classes.
"""

from __future__ import annotations

import io
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from PIL import Image

from diptych.data.formats import one_large_at_a_time, output_suffix, read_bytes, write_pixels, write_whole
from diptych.data.metadata import Metadata
from diptych.data.pillow_images import FORMATS
from diptych.data.splits import Ref, Split
from diptych.data.untrusted import refuse_untrusted
from diptych.errors import ConfigError, DataError
from diptych.messages import show
from diptych.palette import MAX_COLOURS, Palette
from diptych.pixels import Domain, PixelType, Reading
from diptych.sheets import spread

log = logging.getLogger(__name__)
Labelled = Literal["none", "a", "b", "both"]
SIDES: dict[str, tuple[bool, bool]] = {"none": (False, False), "a": (True, False), "b": (False, True), "both": (True, True)}
Classes = tuple[tuple[int, ...], ...]
LabelDomains = tuple[Domain | None, Domain | None]
"""By side, the domain of labels; None for pictures."""
FOR_PALETTE = 100  # images in which the colours of noisy label maps are found
MIN_EQUAL = 0.5  # the share of neighbouring pixels that are equal: label maps have more, photographs less
LOOKED_AT = 8  # images of a side that tell whether they look like label maps
MAX_INDEX = 63  # pictures whose values stay below it would be near black; label maps have few classes
MOST_VALUES = 4096  # of an image, or of a strip of a large one, that are counted; label maps hold fewer
STRIP = 2**22  # pixels of a large image that are counted at a time
MAX_OFF = 40  # the distance of a pixel from the nearest class colour, in 0..255, that JPEG noise does not reach in most pixels
READING = Reading(masks=False)  # profiles change colours, which are names of classes here, and nodata may be one
LOSSY = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"}
ADVICE = "say how many classes there are, as in data.classes 12, or give a palette file"

VALUE = re.compile(r"[0-9]{1,9}")  # what may be a number of classes or the value of one


def parse_classes(given: int | str) -> int | Classes | Path | None:
    """Understand data.classes: ``auto`` (None), a number of classes, their values as in ``0,7,11``, or a palette file."""
    text = str(given).strip()
    if text == "auto":
        return None
    if VALUE.fullmatch(text.removeprefix("auto:")):
        count = int(text.removeprefix("auto:"))
        if not 2 <= count <= MAX_COLOURS:
            raise ConfigError(f"data.classes is a number of classes from 2 to {MAX_COLOURS}, found {count}")
        return count
    if all(VALUE.fullmatch(part.strip()) for part in text.split(",")):
        return tuple((int(part),) for part in text.split(","))
    if Path(text).suffix:
        return Path(text)
    raise ConfigError(
        f"data.classes must be auto, a number of classes, their values such as 0,7,11, or a palette file, found {given!r}"
    )


@dataclass
class _Tally:
    """What some label maps hold: how often each value or packed colour begins a run, and which palette index has which colour."""

    values: Counter[int] = field(default_factory=Counter)
    colours: Counter[int] = field(default_factory=Counter)
    dtype: str = "uint8"
    equal: int = 0
    neighbours: int = 0
    indices: dict[int, int] | None = field(default_factory=dict)


def label_domains(split: Split, labels: Labelled, classes: int | str = "auto", threads: int = 2) -> LabelDomains:
    """The domain of each side that holds labels, with classes from its files or as given; None for sides of pictures.

    Index maps have their values as classes, palette files and exact colours their colours. Raises DataError where the files
    look like no label maps, or are noisy and the number of classes is not given.
    """
    wanted = SIDES[labels]
    given = parse_classes(classes)
    a, b = (_domain(refs, given, threads) if chosen else None for refs, chosen in zip((split.a, split.b), wanted, strict=True))
    return a, b


def _domain(refs: Sequence[Ref], given: int | Classes | Path | None, threads: int) -> Domain:
    where = show(refs[0].path.parent)
    if isinstance(given, Path):
        palette = Palette.load(given)
        return Domain(classes=_tuples(np.concatenate([palette.colours, palette.ignored])))
    if isinstance(given, tuple):
        if palette_of(refs[0].path) and (indices := _tally(refs, threads).indices):
            return _of_palette(indices, [value for (value,) in given], where)
        return Domain(classes=given, dtype="uint8" if max(given)[0] < 256 else "uint16")
    some = refs if given is None else refs[:: -(-len(refs) // FOR_PALETTE)]
    found = _tally(some, threads)
    if found.dtype == "float32":
        raise DataError(f"{where}: holds float32 images, and classes are whole numbers; save them as integers")
    if not found.values and not found.colours:
        raise DataError(f"{where}: none of {len(refs)} label maps can be read; the first is {show(refs[0].path)}")
    if not found.colours and given is not None:
        return Domain(classes=tuple((value,) for value in range(given)))
    lossy = bool({ref.path.suffix.lower() for ref in some} & LOSSY)
    exact = len(found.colours or found.values) <= MAX_COLOURS and not lossy
    if given is not None and not (exact and len(found.colours) == given):
        return Domain(classes=_tuples(Palette.from_images(_rgb(some), given).colours))
    if lossy and found.colours and (count := Palette.count_classes(_rgb(refs[:: -(-len(refs) // FOR_PALETTE)]))):
        log.info("%s: %d classes were told from label maps that are blurred; if that is wrong, give data.classes", where, count)
        return _domain(refs, count, threads)
    if not exact:
        number = f"{len(found.colours or found.values):,} {'colours' if found.colours else 'values'}"
        raise DataError(
            f"{where}: holds {number}, which are too many, or blurred by JPEG, to tell the classes of label maps; {ADVICE}"
        )
    share = found.equal / max(found.neighbours, 1)
    if share < MIN_EQUAL:
        raise DataError(
            f"{where}: only {share:.0%} of neighbouring pixels are equal, which is too few for label maps; "
            f"check data.labels, or {ADVICE}"
        )
    if len(found.colours or found.values) < 2:
        raise DataError(f"{where}: all label maps hold one class, so there is nothing to learn; check data.labels")
    if not found.colours:
        return Domain(dtype=cast(PixelType, found.dtype), classes=tuple((value,) for value in sorted(found.values)))
    packed = sorted(found.colours)
    by_colour = {colour: index for index, colour in (found.indices or {}).items()}
    if found.indices and len(by_colour) == len(found.indices) and by_colour.keys() == set(packed):
        packed = [colour for _, colour in sorted(found.indices.items())]
        return Domain(classes=_tuples(_unpacked(packed)), indices=tuple(sorted(found.indices)))
    return Domain(classes=_tuples(_unpacked(packed)))


def _of_palette(indices: dict[int, int], numbers: list[int], where: str) -> Domain:
    """The domain of palette images whose used indices have these packed colours, with numbers as the classes."""
    for some, fault in (
        (sorted(indices.keys() - set(numbers)), "which are not in data.classes; add them"),
        (sorted(set(numbers) - indices.keys()), "which no palette image uses, so they have no colour; leave them out"),
    ):
        if some:
            raise DataError(f"{where}: the classes {', '.join(map(str, some))}, {fault}, or give data.classes a palette file")
    return Domain(classes=_tuples(_unpacked([indices[number] for number in numbers])), indices=tuple(numbers))


def _tally(refs: Sequence[Ref], threads: int) -> _Tally:
    """Count what label maps hold; those that cannot be read are left to the census."""
    total = _Tally()
    with ThreadPool(threads) as pool:
        for one in pool.imap(_count, refs, chunksize=8):
            if one is None:
                continue
            total.values += one.values
            total.colours += one.colours
            total.equal, total.neighbours = total.equal + one.equal, total.neighbours + one.neighbours
            total.dtype = max(total.dtype, one.dtype, key=["uint8", "uint16", "int16", "float32"].index)
            total.indices = _joined(total.indices, one.indices)
    if total.colours:  # gray images among colours have gray colours
        total.colours += Counter({value * 0x010101: count for value, count in total.values.items() if value < 256})
        total.values = Counter()
    return total


def _count(ref: Ref) -> _Tally | None:
    try:
        with one_large_at_a_time(ref.path):
            return _counted(ref.read(READING), palette_of(ref.path))
    except DataError:
        return None


def _counted(pixels: np.ndarray, indices: dict[int, int] | None) -> _Tally:
    rows = max(1, STRIP // pixels.shape[1])
    strips = [pixels[top : top + rows] for top in range(0, len(pixels), rows)]
    colour = pixels.shape[2] == 3 and (indices is not None or any((strip != strip[..., :1]).any() for strip in strips))
    found: Counter[int] = Counter()
    equal = 0
    for strip in strips:
        if colour:
            x = strip.astype(np.uint32)
            flat = x[..., 0] << 16 | x[..., 1] << 8 | x[..., 2]
        else:
            flat = strip[..., 0]
        starts = np.ones(flat.shape, bool)  # runs of equal pixels along rows, so that few are sorted
        starts[:, 1:] = flat[:, 1:] != flat[:, :-1]
        values, counts = np.unique(flat[starts], return_counts=True)
        found += Counter(dict(zip(values[:MOST_VALUES].tolist(), counts[:MOST_VALUES].tolist(), strict=True)))
        equal += int((~starts).sum())
    neighbours = pixels.shape[0] * (pixels.shape[1] - 1)
    parts = (Counter(), found) if colour else (found, Counter())
    return _Tally(*parts, str(pixels.dtype), equal, neighbours, indices)


def _joined(first: dict[int, int] | None, other: dict[int, int] | None) -> dict[int, int] | None:
    """The indices of two palettes together; None where a file is no palette image, or an index has two colours."""
    if first is None or other is None or any(first.get(index, colour) != colour for index, colour in other.items()):
        return None
    return first | other


def palette_of(path: Path) -> dict[int, int] | None:
    """The indices that a palette image uses, with their packed colours; None for other files."""
    try:
        refuse_untrusted()
        with Image.open(io.BytesIO(read_bytes(path)), formats=FORMATS) as image:
            if image.mode != "P" or image.has_transparency_data:
                return None
            table = np.array(image.getpalette("RGB"), np.uint32).reshape(-1, 3)
            used = np.unique(np.asarray(image))
    except Exception:  # a format that Pillow does not know has no palette here
        return None
    return {int(i): int(table[i] @ (65536, 256, 1)) for i in used if i < len(table)}


def _unpacked(colours: Sequence[int] | np.ndarray) -> np.ndarray:
    packed = np.array(colours)
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], 1)


def _tuples(colours: np.ndarray) -> Classes:
    return tuple(tuple(int(value) for value in colour) for colour in colours)


def _rgb(refs: Sequence[Ref]) -> Iterable[torch.Tensor]:
    for ref in refs:
        try:
            pixels = ref.read(READING)
        except DataError:
            continue
        if pixels.dtype == np.uint8 and pixels.shape[2] in (1, 3):
            yield torch.from_numpy(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()).permute(2, 0, 1)


def near_black(refs: Sequence[Ref]) -> tuple[int, int] | None:
    """The lowest and highest number of what looks like maps of label indices, which pictures would show as near black.

    A few images are looked at: they are gray of 8 bits, hold numbers far below white, and most neighbouring pixels are equal.
    None for anything else.
    """
    found = _tally(spread(refs, LOOKED_AT), 1) if refs else _Tally()
    if found.dtype != "uint8" or found.colours or len(found.values) < 2 or max(found.values) > MAX_INDEX:
        return None
    flat_in_parts = MIN_EQUAL * found.neighbours <= found.equal < found.neighbours
    return (min(found.values), max(found.values)) if flat_in_parts else None


def label_remarks(sides: Iterable[tuple[str, Sequence[Ref]]]) -> Iterator[str]:
    """Name the sides, given as ("a", images), that would be trained as near-black pictures though they look like label maps."""
    for side, refs in sides:
        if found := near_black(refs):
            yield f"{side.upper()} holds whole numbers from {found[0]} to {found[1]}, as label maps do; set data.labels {side}"


def fit_labels(pixels: np.ndarray, domain: Domain) -> np.ndarray:
    """Bring an image (h, w, c) to a domain of labels, so that it holds the values of classes and nothing else.

    Colours become the nearest class colour, which takes away the noise of JPEG. Raises DataError where numbers are of no class,
    and where most pixels are far from every class colour.
    """
    gray = pixels.shape[2] == 1 or (pixels.shape[2] == 3 and bool((pixels[..., :1] == pixels[..., 1:]).all()))
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3 and domain.bands == 1 and not gray:
        raise DataError(
            "holds colours, and the classes are numbers of gray images, or of palette images alone in which a number has one "
            "colour; convert it, or set data.classes to auto or a palette file"
        )
    if pixels.dtype.kind not in "iu" or pixels.shape[2] not in (1, 3) or (domain.bands == 1 and not gray):
        raise DataError(f"is {pixels.shape[2]} x {pixels.dtype} and no map of {domain.channels} classes in {domain.bands} bands")
    if domain.bands == 1:
        numbers = np.sort([value for (value,) in domain.classes])
        index = pixels[..., :1]
        unknown = np.setdiff1d(index, numbers)
        if len(unknown):
            some = ", ".join(map(str, unknown[:5])) + (" ..." if len(unknown) > 5 else "")
            known = ", ".join(map(str, numbers[:5])) + (f" ... {numbers[-1]}" if len(numbers) > 5 else "")
            raise DataError(f"holds the values {some}, which are no classes; the classes are {known} (data.classes)")
        return np.require(index.astype(domain.dtype), requirements=["C", "W"])
    if pixels.dtype != np.uint8:
        raise DataError(f"is {pixels.dtype}, and colours of classes have 8 bits; convert it")
    rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).reshape(-1, 3)
    packed = rgb.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    colours, place, counts = np.unique(packed, return_inverse=True, return_counts=True)
    table = np.array(domain.classes, np.uint8)
    nearest, distance = _nearest(_unpacked(colours), table)
    far = counts[distance > MAX_OFF].sum() / counts.sum()
    if far > 0.5:
        raise DataError(f"has {far:.0%} of its pixels far from the colours of all {domain.channels} classes; is it a label map?")
    return table[nearest][place.ravel()].reshape(*pixels.shape[:2], 3)


def _nearest(colours: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class nearest to each colour, and the distance to it."""
    best = np.full(len(colours), 2**31 - 1, np.int64)
    which = np.zeros(len(colours), np.int64)
    for index, colour in enumerate(table.astype(np.int64)):
        apart = np.square(colours - colour).sum(1)
        closer = apart < best
        best[closer], which[closer] = apart[closer], index
    return which, np.sqrt(best)


def suffix_for(suffix: str, domain: Domain) -> str:
    """The suffix of a file for images of a domain: as output_suffix says; labels never go into a lossy format."""
    if domain.indices or (domain.classes and suffix.lower() in LOSSY):
        return ".png"
    return output_suffix(suffix, domain.bands, domain.stored or domain.dtype, alpha=domain.alpha == "keep")


def write_as(path: str | Path, pixels: np.ndarray, domain: Domain, metadata: Metadata | None = None) -> None:
    """Write native pixels of a domain like write_pixels; labels that came as palette files become a palette PNG again."""
    if not domain.indices:
        write_pixels(path, pixels, metadata, alpha=domain.alpha == "keep")
        return
    nearest, _ = _nearest(pixels.reshape(-1, 3).astype(np.int64), np.array(domain.classes))
    image = Image.fromarray(np.array(domain.indices, np.uint8)[nearest].reshape(pixels.shape[:2]), "P")
    table = np.zeros((256, 3), np.uint8)
    table[list(domain.indices)] = domain.classes
    image.putpalette(table.tobytes())
    file = io.BytesIO()
    carried = (("exif", metadata.exif), ("dpi", metadata.dpi)) if metadata else ()
    image.save(file, "PNG", **{name: value for name, value in carried if value})
    write_whole(Path(path), file.getvalue())
