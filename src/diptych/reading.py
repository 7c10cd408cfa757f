"""The rules by which files become native pixels, and their number types; imported without torch, which takes seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from diptych.choices import Alpha, Axis, Icc

PixelType = Literal["uint8", "uint16", "int16", "float32"]


@dataclass(frozen=True)
class Reading:
    """The rules by which a file becomes native pixels, where there is more than one way.

    ``icc``: colours are converted to sRGB by the profile of the file (``srgb``), or left as they are, with the profile carried
    to results (``keep``) or not (``ignore``, as the published protocols did). ``alpha``: transparency is composited over white
    and dropped (``white``), or stays as the last channel (``keep``). ``masks``: values which a file marks as no data become NaN;
    in label maps they stay numbers, as any of them may be a class. ``axis``: volumes are read as slices along it.
    """

    icc: Icc = "ignore"
    alpha: Alpha = "white"
    masks: bool = True
    axis: Axis = "z"
