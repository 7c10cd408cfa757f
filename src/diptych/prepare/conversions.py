"""What a photo is turned into so that the photo itself can be learnt back: edges, gray, few pixels, a hole ...

Each conversion takes one picture as floats in [-1, 1] and returns one of the same height and width, in [-1, 1].
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from kornia.color import rgb_to_grayscale
from kornia.filters import canny, gaussian_blur2d
from torch import Tensor
from torch.nn import functional as F

Picture = Float[Tensor, "1 c h w"]
GrayPicture = Float[Tensor, "1 1 h w"]


@dataclass(frozen=True)
class Conversion:
    """One way to make the input side of pairs.

    ``convert`` takes the picture, the strength and a random generator of the picture's own. ``strength`` is the default of the
    one number that people choose, and ``meaning`` says what it is; no number is 0 and ''.
    """

    task: str
    convert: Callable[[Picture, float, torch.Generator], Picture]
    strength: float = 0.0
    meaning: str = ""
    bounds: tuple[float, float] = (0.0, 0.0)
    colours: tuple[int, ...] = (1, 3)  # channel counts that it can look at


def luma(x: Picture) -> GrayPicture:
    """Gray of an RGB picture by the weights of ITU-R BT.601 (.299, .587, .114); a gray one as it is."""
    return rgb_to_grayscale((x + 1) / 2) * 2 - 1 if x.shape[1] == 3 else x


def gray(x: Picture, strength: float, rng: torch.Generator) -> GrayPicture:
    """The picture without its colours."""
    return luma(x)


def lowres(x: Picture, strength: float, rng: torch.Generator) -> Picture:
    """The picture from 1/strength as many pixels a side: averaged down, then enlarged again by bicubic interpolation."""
    size = x.shape[-2:]
    small = F.interpolate(x, size=[max(1, round(side / strength)) for side in size], mode="area")
    return F.interpolate(small, size=size, mode="bicubic", align_corners=False).clamp(-1, 1)


def mosaic(x: Picture, strength: float, rng: torch.Generator) -> Picture:
    """Squares of strength x strength pixels, each of one mean colour; the last row and column may hold smaller ones."""
    side, (height, width) = round(strength), x.shape[-2:]
    padded = F.pad(x, (0, -width % side, 0, -height % side), mode="replicate")
    flat = F.avg_pool2d(padded, side)
    return flat.repeat_interleave(side, -1).repeat_interleave(side, -2)[..., :height, :width]


def blur(x: Picture, strength: float, rng: torch.Generator) -> Picture:
    """A Gaussian blur of strength pixels (its standard deviation), mirrored at the borders."""
    reach = min(round(3 * strength), *(side - 1 for side in x.shape[-2:]))  # mirroring reaches one pixel less than a side
    return gaussian_blur2d(x, (2 * reach + 1,) * 2, (strength, strength))


def mask(x: Picture, strength: float, rng: torch.Generator) -> Picture:
    """A rectangle of this share of the picture becomes middle gray; its place and its shape differ from picture to picture."""
    height, width = x.shape[-2:]
    tall = strength ** (0.25 + 0.5 * torch.rand((), generator=rng).item())  # between the share's fourth root and its 3/4 power
    hole = min(height, max(1, round(height * tall))), min(width, max(1, round(width * strength / tall)))
    top, left = (int(torch.randint(side - part + 1, (), generator=rng)) for side, part in zip((height, width), hole, strict=True))
    x = x.clone()
    x[..., top : top + hole[0], left : left + hole[1]] = 0.0
    return x


def sketch(x: Picture, strength: float, rng: torch.Generator) -> GrayPicture:
    """A pencil drawing: gray divided by its own blur, so that only what is darker than its surroundings leaves a stroke."""
    light = (luma(x) + 1) / 2
    around = (blur(light * 2 - 1, strength, rng) + 1) / 2
    return (light / around.clamp(min=1e-3)).clamp(0, 1) * 2 - 1


def canny_edges(x: Picture, strength: float, rng: torch.Generator) -> GrayPicture:
    """Edges by Canny (1986), black on white: hysteresis between strength / 2 and strength of the gradient of values 0 to 1."""
    _, edges = canny((luma(x) + 1) / 2, low_threshold=strength / 2, high_threshold=strength)
    return 1 - 2 * edges


CONVERSIONS: dict[str, Conversion] = {
    "edges": Conversion("edges -> photo", canny_edges, 0.2, "the gradient from which an edge is strong, of 0 to 1", (0.001, 1.0)),
    "gray": Conversion("colorization", gray, colours=(3,)),
    "lowres": Conversion("super-resolution", lowres, 4, "how many times fewer pixels a side", (1.5, 64)),
    "blur": Conversion("deblurring", blur, 3, "standard deviation in pixels", (0.3, 100)),
    "mosaic": Conversion("removal of mosaics", mosaic, 8, "pixels a side of a square", (2, 256)),
    "mask": Conversion("inpainting", mask, 0.25, "share of the picture that is hidden", (0.01, 0.9)),
    "sketch": Conversion("sketch -> photo", sketch, 8, "width of the surroundings of a stroke, in pixels", (1, 100)),
}
"""By the name that the command line gives them. Edges are Canny's here; those of HED need weights (see hed.py)."""


def generator_for(name: str) -> torch.Generator:
    """A random generator that depends on the name of a picture alone, so that the same picture gets the same hole anywhere."""
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:7]))
