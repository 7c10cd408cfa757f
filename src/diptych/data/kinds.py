"""What kind of image each file is, and which images can be brought to the kind of their side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import cast

import numpy as np

from diptych.data.decoders import first_line
from diptych.data.formats import one_large_at_a_time, read_picture
from diptych.data.frames import Fitting
from diptych.data.labels import fit_labels
from diptych.data.metadata import Metadata
from diptych.data.ranges import lonely_value, without_tails
from diptych.data.splits import Ref, Split, take_half
from diptych.data.usage import constant_channels, levels_of
from diptych.errors import DataError
from diptych.messages import show
from diptych.pixels import FULL_RANGE, TORCH_DTYPES, Domain, PixelType, Reading

Kind = tuple[int, PixelType]
"""Channels, and the dtype that the files have (see Domain.stored)."""
BUG = "which is a bug of diptych; please report it, with the file"


@dataclass(frozen=True)
class Look:
    """What one image turned out to be.

    ``dtype`` is that of the file: float32 pixels that are integers with NaN for nodata have that of the integers. ``inner`` is
    its lowest and highest value without the tails (see ranges.without_tails). ``gray``: all channels are equal. ``masked``: its
    file says which pixels have no data, and ``without`` is their share. ``nodata`` is the value that marks them. ``levels`` are
    the values of uint8 that occur, as bits; ``constant`` the only value of each channel, or None. ``lonely`` is a value far from
    all others (see ranges.lonely_value). ``notes`` say what reading changed or left out. ``reason``: why it cannot be used, or
    empty.
    """

    height: int = 0
    width: int = 0
    channels: int = 0
    dtype: PixelType = "uint8"
    low: float = 0.0
    high: float = 0.0
    inner: tuple[float, float] = (0.0, 0.0)
    gray: bool = False
    flat: bool = False
    reason: str = ""
    masked: bool = False
    without: float = 0.0
    nodata: float | None = None
    levels: int = 0
    constant: tuple[float | None, ...] = ()
    lonely: float | None = None
    notes: tuple[str, ...] = ()


def look_at_all(
    refs: Sequence[Ref],
    threads: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
    reading: Reading | None = None,
) -> dict[Ref, Look]:
    """Read every file once; what cannot be read has its reason. ``on_progress`` gets (done, total) files."""
    halves: dict[Path, list[Ref]] = {}
    for ref in refs:  # both halves of a side-by-side file come from one reading
        halves.setdefault(ref.path, []).append(ref)
    looks: dict[Ref, Look] = {}
    with ThreadPool(threads) as pool:  # Pillow, imagecodecs and NumPy release the GIL where it takes time
        for done, found in enumerate(pool.imap(partial(_look_at, reading), halves.items(), chunksize=8), start=1):
            looks.update(found)
            if on_progress:
                on_progress(done, len(halves))
    return looks


def look_at_sides(
    split: Split,
    rules: Sequence[Reading],
    threads: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[Ref, Look]:
    """Look at every image, each side by its own rules; files that both sides read alike are read once."""
    if rules[0] == rules[1]:
        return look_at_all([*split.a, *split.b], threads, on_progress, rules[0])
    looks: dict[Ref, Look] = {}
    files = [len({ref.path for ref in side}) for side in (split.a, split.b)]
    for side, rule, before in zip((split.a, split.b), rules, (0, files[0]), strict=True):

        def counted(done: int, total: int, before: int = before) -> None:
            if on_progress:
                on_progress(before + done, sum(files))

        looks |= look_at_all(side, threads, counted, rule)
    return looks


def _look_at(reading: Reading | None, item: tuple[Path, list[Ref]]) -> dict[Ref, Look]:
    path, refs = item
    try:
        with one_large_at_a_time(path):
            picture = read_picture(path, reading)
            return {ref: look_over(take_half(picture.pixels, ref), picture.metadata) for ref in refs}
    except DataError as error:
        return dict.fromkeys(refs, Look(reason=str(error).removeprefix(f"{show(path)}: ")))
    except MemoryError:
        return dict.fromkeys(refs, Look(reason="does not fit into memory; cut it into tiles"))
    except Exception as error:  # one odd file must not end the work on all others
        return dict.fromkeys(refs, Look(reason=f"made diptych fail ({type(error).__name__}: {first_line(error)}), {BUG}"))


def look_over(pixels: np.ndarray, metadata: Metadata | None = None) -> Look:
    """Describe native pixels (h, w, c), and what their file says of them."""
    metadata = metadata or Metadata()
    height, width, channels = pixels.shape
    notes = metadata.notes
    if metadata.frames > 1:
        notes = (*notes, "only the first of several frames or pages taken")
    # A few pixels rule out nearly every image before all of it is compared.
    gray = channels == 3 and _is_gray(pixels[::16, ::16]) and _is_gray(pixels)
    constant = constant_channels(pixels)
    flat = None not in constant
    missing = np.isnan(pixels).any(2) if pixels.dtype == np.float32 else None
    without = float(missing.mean()) if missing is not None else 0.0
    values = pixels[~missing] if without and missing is not None else pixels
    values = values if values.size else pixels[~np.isnan(pixels)]
    dtype = cast(PixelType, metadata.stored or str(pixels.dtype))
    low, high = float(values.min()), float(values.max())
    inner = (low, high) if dtype == "uint8" else without_tails(values)
    masked = metadata.nodata is not None or bool(metadata.stored) or without > 0
    levels = levels_of(pixels) if pixels.dtype == np.uint8 else 0
    return Look(
        height,
        width,
        channels,
        dtype,
        low,
        high,
        inner,
        gray,
        flat,
        masked=masked,
        without=without,
        nodata=metadata.nodata,
        levels=levels,
        constant=constant,
        lonely=None if dtype == "uint8" else lonely_value(values),
        notes=notes,
    )


def mark_unusable(
    split: Split, looks: Mapping[Ref, Look], kinds: tuple[Kind, Kind] | None = None, fitting: Fitting = "none"
) -> tuple[tuple[Kind, Kind], list[Look], list[Look]]:
    """Find the kind of each side, the most common unless given, and the looks at a and b with a reason where one cannot be used.

    An image cannot be used when it cannot be read, when ``fit`` cannot bring it to the kind of its side, or when its partner in a
    pair has another size and no ``fitting`` brings both to one. Raises DataError when no image of a side can be read and no
    kinds are given.
    """
    a, b = ([looks[ref] for ref in side] for side in (split.a, split.b))
    kind_a, kind_b = kinds or (_majority(a, split.a), _majority(b, split.b))
    a, b = [_checked(look, kind_a) for look in a], [_checked(look, kind_b) for look in b]
    if split.paired:
        b = [_match(look_a, look_b, ref, fitting) for look_a, look_b, ref in zip(a, b, split.a, strict=True)]
    return (kind_a, kind_b), a, b


def _majority(looks: Sequence[Look], refs: Sequence[Ref]) -> Kind:
    """The most common (channels, dtype); of equally common ones the richer, which more images can be brought to."""
    counts = Counter((look.channels, look.dtype) for look in looks if not look.reason)
    if not counts:
        where = f"{show(refs[0].path.parent)}: none of {len(refs)} images can be used"
        raise DataError(f"{where}; the first: {show(refs[0].path)}: {looks[0].reason}")
    return max(counts, key=lambda kind: (counts[kind], kind[0], list(TORCH_DTYPES).index(kind[1])))


def _checked(look: Look, kind: Kind) -> Look:
    if look.reason or not (reason := _misfit(look.channels, look.dtype, look.high, look.gray, *kind)):
        return look
    return replace(look, reason=f"{reason} among images of {kind[0]} x {kind[1]}; convert it, or remove it")


def _match(a: Look, b: Look, ref: Ref, fitting: Fitting) -> Look:
    """The look at b, with a reason when it is usable but does not match its partner's size."""
    if a.reason or b.reason or (a.height, a.width) == (b.height, b.width):
        return b
    sizes = f"is {b.width} x {b.height}, its partner {show(ref.path)} is {a.width} x {a.height}"
    if (a.height, a.width) == (b.width, b.height):
        return replace(b, reason=f"{sizes}, turned by 90 degrees; rotate one of them (was its EXIF orientation lost?)")
    return b if fitting != "none" else replace(b, reason=f"{sizes}; bring both to one size, or set data.fit")


def fit(pixels: np.ndarray, domain: Domain, stored: str = "") -> np.ndarray:
    """Bring an image (h, w, c) into the channels and dtype of a domain where nothing is lost by it.

    Gray becomes RGB; RGB whose channels are equal becomes gray; 8 bits become 16 so that 0..255 fill the domain's range: black
    stays black and white stays white. uint16 that fits becomes int16. Values without data (NaN) stay NaN in a masked domain, and
    become its lowest value in others. ``stored`` is the integer type of the file where nodata made it float32 (see Metadata).
    Labels become values of their classes (see fit_labels). Raises DataError for everything else.
    """
    if domain.instances:
        raise DataError("has no instance map, and this model was trained with such; translate label maps one by one")
    if domain.classes:
        return fit_labels(pixels, domain)
    channels, dtype, to_dtype = pixels.shape[2], stored or str(pixels.dtype), domain.stored or domain.dtype
    if dtype == "float32" and domain.masked and domain.stored and _whole(pixels, domain.stored):
        dtype = domain.stored  # an array with NaN in the place of nodata
    gray = channels == 3 and domain.channels == 1 and _is_gray(pixels)
    high = float(np.nanmax(pixels)) if (dtype, to_dtype) == ("uint16", "int16") else 0.0
    if reason := _misfit(channels, dtype, high, gray, domain.channels, to_dtype):
        raise DataError(f"{reason}, but the model takes images of {domain.channels} x {to_dtype}; convert it, or leave it out")
    if (dtype, to_dtype) == ("uint8", "uint16"):
        levels = np.round(domain.low + np.arange(256) * ((domain.high - domain.low) / 255)).astype(np.uint16)
        without = np.isnan(pixels) if stored else None
        pixels = levels[pixels if without is None else np.nan_to_num(pixels).astype(np.uint8)]
        if without is not None:
            pixels = np.where(without, np.float32("nan"), pixels)
    if pixels.shape[2] > domain.channels:
        pixels = pixels[..., :1]
    if pixels.dtype == np.float32 and not domain.masked and np.isnan(pixels).any():
        pixels = np.nan_to_num(pixels, nan=domain.low)
    pixels = pixels.astype(domain.dtype, copy=False)
    return np.require(np.broadcast_to(pixels, (*pixels.shape[:2], domain.channels)), requirements=["C", "W"])


def _whole(pixels: np.ndarray, dtype: PixelType) -> bool:
    """Whether all values of float32 pixels but NaN are whole numbers that an integer type holds."""
    low, high = FULL_RANGE[dtype]
    values = pixels[~np.isnan(pixels)]
    return bool((values == np.round(values)).all() and values.min(initial=high) >= low and values.max(initial=low) <= high)


def _misfit(channels: int, dtype: str, high: float, gray: bool, to_channels: int, to_dtype: str) -> str:
    """What an image is that ``fit`` cannot bring to another kind, or nothing when it can."""
    same_type = dtype == to_dtype or (dtype, to_dtype) == ("uint8", "uint16")
    same_type = same_type or ((dtype, to_dtype) == ("uint16", "int16") and high <= 32767)
    same_channels = channels == to_channels or (channels, to_channels) == (1, 3) or (gray and to_channels == 1)
    if same_type and same_channels:
        return ""
    return f"is {channels} x {dtype}"


def _is_gray(pixels: np.ndarray) -> bool:
    return bool((pixels[..., :1] == pixels[..., 1:]).all())
