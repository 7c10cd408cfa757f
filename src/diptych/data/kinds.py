"""What kind of image each file is, and which images can be brought to the kind of their side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import cast

import numpy as np

from diptych.data.formats import read_pixels
from diptych.data.frames import Fitting
from diptych.data.labels import fit_labels
from diptych.data.ranges import without_tails
from diptych.data.splits import Ref, Split, take_half
from diptych.errors import DataError
from diptych.messages import show
from diptych.pixels import TORCH_DTYPES, Domain, PixelType

Kind = tuple[int, PixelType]
"""Channels and dtype."""


@dataclass(frozen=True)
class Look:
    """What one image turned out to be.

    ``inner`` is its lowest and highest value without the tails (see ranges.without_tails). ``gray``: all channels are equal.
    ``reason``: why it cannot be used, or empty.
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


def look_at_all(refs: Sequence[Ref], threads: int = 2, on_progress: Callable[[int, int], None] | None = None) -> dict[Ref, Look]:
    """Read every file once; what cannot be read has its reason. ``on_progress`` gets (done, total) files."""
    halves: dict[Path, list[Ref]] = {}
    for ref in refs:  # both halves of a side-by-side file come from one reading
        halves.setdefault(ref.path, []).append(ref)
    looks: dict[Ref, Look] = {}
    with ThreadPool(threads) as pool:  # Pillow, imagecodecs and NumPy release the GIL where it takes time
        for done, found in enumerate(pool.imap(_look_at, halves.items(), chunksize=8), start=1):
            looks.update(found)
            if on_progress:
                on_progress(done, len(halves))
    return looks


def _look_at(item: tuple[Path, list[Ref]]) -> dict[Ref, Look]:
    path, refs = item
    try:
        pixels = read_pixels(path)
        return {ref: look_over(take_half(pixels, ref)) for ref in refs}
    except DataError as error:
        return dict.fromkeys(refs, Look(reason=str(error).removeprefix(f"{show(path)}: ")))


def look_over(pixels: np.ndarray) -> Look:
    """Describe native pixels (h, w, c)."""
    height, width, channels = pixels.shape
    low, high = float(pixels.min()), float(pixels.max())
    inner = (low, high) if pixels.dtype == np.uint8 else without_tails(pixels)
    # A few pixels rule out nearly every image before all of it is compared.
    gray = channels == 3 and _is_gray(pixels[::16, ::16]) and _is_gray(pixels)
    flat = bool((pixels[:8, :8] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all())
    return Look(height, width, channels, cast(PixelType, str(pixels.dtype)), low, high, inner, gray, flat)


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
    return look if look.reason else replace(look, reason=_misfit(look.channels, look.dtype, look.gray, *kind))


def _match(a: Look, b: Look, ref: Ref, fitting: Fitting) -> Look:
    """The look at b, with a reason when it is usable but does not match its partner's size."""
    if a.reason or b.reason or (a.height, a.width) == (b.height, b.width):
        return b
    sizes = f"is {b.width} x {b.height}, its partner {show(ref.path)} is {a.width} x {a.height}"
    if (a.height, a.width) == (b.width, b.height):
        return replace(b, reason=f"{sizes}, turned by 90 degrees; rotate one of them (was its EXIF orientation lost?)")
    return b if fitting != "none" else replace(b, reason=f"{sizes}; bring both to one size, or set data.fit")


def fit(pixels: np.ndarray, domain: Domain) -> np.ndarray:
    """Bring an image (h, w, c) into the channels and dtype of a domain where nothing is lost by it.

    Gray becomes RGB; RGB whose channels are equal becomes gray; 8 bits become 16 so that 0..255 fill the domain's range: black
    stays black and white stays white. Labels become values of their classes (see fit_labels). Raises DataError for all else.
    """
    if domain.classes:
        return fit_labels(pixels, domain)
    channels, dtype = pixels.shape[2], str(pixels.dtype)
    gray = channels == 3 and domain.channels == 1 and _is_gray(pixels)
    if reason := _misfit(channels, dtype, gray, domain.channels, domain.dtype):
        raise DataError(reason)
    if dtype != domain.dtype:
        levels = np.round(domain.low + np.arange(256) * ((domain.high - domain.low) / 255)).astype(np.uint16)
        pixels = levels[pixels]
    if channels > domain.channels:
        pixels = pixels[..., :1]
    return np.require(np.broadcast_to(pixels, (*pixels.shape[:2], domain.channels)), requirements=["C", "W"])


def _misfit(channels: int, dtype: str, gray: bool, to_channels: int, to_dtype: str) -> str:
    """Why ``fit`` cannot bring one kind of image to another, or nothing when it can."""
    same_type = dtype == to_dtype or (dtype, to_dtype) == ("uint8", "uint16")
    same_channels = channels == to_channels or (channels, to_channels) == (1, 3) or (gray and to_channels == 1)
    if same_type and same_channels:
        return ""
    return f"is {channels} x {dtype} among images of {to_channels} x {to_dtype}; convert it, or remove it"


def _is_gray(pixels: np.ndarray) -> bool:
    return bool((pixels[..., :1] == pixels[..., 1:]).all())
