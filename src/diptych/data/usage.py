"""Whether the images of a side use their 8 bits: few values, a small part of the range, gray as RGB, a channel that is empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from PIL import Image

STRIP = 2**22  # values that are counted at a time, as Pillow copies them
FEW = 32  # distinct values that label indices stay below; drawings in black and white use the whole range with fewer
HALF = 128  # of 256 levels: a side whose images reach over less than that makes no use of its range


class Usage(Protocol):
    """What is known of the values of one image; see diptych.data.kinds.Look."""

    @property
    def channels(self) -> int: ...

    @property
    def dtype(self) -> str: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...

    @property
    def gray(self) -> bool: ...

    @property
    def levels(self) -> int: ...

    @property
    def constant(self) -> tuple[float | None, ...]: ...

    @property
    def lonely(self) -> float | None: ...


def levels_of(pixels: np.ndarray) -> int:
    """Tell which of the 256 levels occur in uint8 pixels (h, w, c), as the bits of a number."""
    counts, rows = np.zeros(256, np.int64), max(1, STRIP // pixels[0].size)
    for top in range(0, len(pixels), rows):
        strip = np.ascontiguousarray(pixels[top : top + rows])
        counts += Image.fromarray(strip.reshape(len(strip), -1)).histogram()
    return sum(1 << level for level, count in enumerate(counts) if count)


def constant_channels(pixels: np.ndarray) -> tuple[float | None, ...]:
    """For each channel of (h, w, c) pixels its only value, or None where it has several."""
    first = pixels[0, 0]
    same = [
        bool((pixels[::16, ::16, i] == first[i]).all() and (pixels[..., i] == first[i]).all()) for i in range(pixels.shape[2])
    ]
    return tuple(float(first[i]) if alike else None for i, alike in enumerate(same))


def unused(side: str, looks: Sequence[Usage]) -> Iterator[tuple[str, str]]:
    """Name what the images of a side leave unused, as the rule that is broken (see findings.RULES) and a detail."""
    if not looks:
        return
    eight = all(look.dtype == "uint8" for look in looks)
    low, high = min(look.low for look in looks), max(look.high for look in looks)
    levels = 0
    for look in looks:
        levels |= look.levels
    if eight and low < high and high - low < HALF:
        values = f"{side} holds {levels.bit_count()} values from {low:g} to {high:g}"
        yield ("few values", values) if levels.bit_count() <= FEW else ("unused range", values)
    for value, count in Counter(look.lonely for look in looks if look.lonely is not None).most_common(3):
        yield "lonely value", f"{value:g} in {count:,} of {len(looks):,} images of {side}"
    if all(look.channels == 3 and look.gray for look in looks) and low < high:
        yield "gray as RGB", f"all {len(looks):,} images of {side}"
    constants = {look.constant for look in looks if look.channels > 1}
    if len(constants) == 1 and all(look.channels > 1 for look in looks):
        for i, only in enumerate(constants.pop()):
            if only is not None and low < high:
                yield "empty channel", f"channel {i + 1} of {side} is {only:g} everywhere"
