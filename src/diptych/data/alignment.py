"""Lay the images of pairs on one another: each pair is cut to what both show, by the shift that ``diptych check`` measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.pool import ThreadPool

import numpy as np
from torch import Tensor

from diptych.data.census import Census
from diptych.data.frames import Frame
from diptych.data.inspection import Drawn, Overlay, PairFacts, compare
from diptych.data.kinds import Look
from diptych.data.likeness import eight_bits
from diptych.data.registration import Shift, edges
from diptych.data.splits import Ref, Split
from diptych.errors import DataError
from diptych.pixels import Domain


def registered(census: Census, max_shift: int, threads: int = 2) -> tuple[Census, int]:
    """The census with the pairs cut so that their images lie on one another, and how many were.

    A pair is moved by its own shift where that is clear, else by the shift of all pairs together where that is; by whole pixels,
    and never by more than ``max_shift`` in either direction.
    """
    split = census.split
    if not split.paired or max_shift < 1:
        return census, 0
    overlay = Overlay()
    found: list[Shift | None] = []
    with ThreadPool(threads) as pool:
        for looked in pool.imap(_look, zip(split.a, split.b, [census.a] * len(split.a), [census.b] * len(split.b), strict=True)):
            if looked is None:
                found.append(None)
                continue
            size_of_a, (pair, power) = looked
            overlay.add(size_of_a, power)
            found.append(pair.shift if pair.shift.clear else None)
    common = overlay.shift()
    moved: tuple[list[Ref], list[Ref]] = ([], [])
    sizes = dict(census.sizes)
    count = 0
    for refs, own in zip(zip(split.a, split.b, strict=True), found, strict=True):
        shift = own or (common if common.clear else Shift())
        dx, dy = round(shift.dx), round(shift.dy)
        size = census.sizes.get(refs[0])
        move = size is not None and (dx or dy) and max(abs(dx), abs(dy)) <= max_shift < min(size)
        count += bool(move)
        for side, ref, sign in zip(moved, refs, (-1, 1), strict=True):
            side.append(_cut(ref, size, sign * dy, sign * dx) if move and size else ref)
            if move and size:
                sizes[side[-1]] = size[0] - abs(dy), size[1] - abs(dx)
    return replace(census, split=Split(tuple(moved[0]), tuple(moved[1]), True), sizes=sizes), count


def _cut(ref: Ref, size: tuple[int, int], down: int, right: int) -> Ref:
    """The image from so many pixels further down and to the right on, as much of it as its partner has."""
    frame = ref.frame or Frame("window", *size)
    height, width = size[0] - abs(down), size[1] - abs(right)
    return replace(
        ref, frame=replace(frame, height=height, width=width, top=frame.top + max(0, down), left=frame.left + max(0, right))
    )


def _look(pair: tuple[Ref, Ref, Domain, Domain]) -> tuple[Look, tuple[PairFacts, Tensor | None]] | None:
    drawn: list[Drawn] = []
    for ref, domain in zip(pair[:2], pair[2:], strict=True):
        try:
            pixels = ref.read(domain.reading)
        except DataError:  # it went bad since the census, and a sample that needs it will say so
            return None
        drawn.append((pixels.shape[0], pixels.shape[1], edges(_visible(pixels, domain.classes))))
    found = compare(*drawn)
    return (Look(*drawn[0][:2]), found) if found else None


def _visible(pixels: np.ndarray, classes: Sequence[tuple[int, ...]]) -> np.ndarray:
    """An image as 8 bits whose edges show; numbers of classes are spread over all grays."""
    if pixels.dtype == np.uint8 and classes and pixels.shape[2] == 1:
        pixels = pixels.astype(np.float32)
    return eight_bits(pixels)
