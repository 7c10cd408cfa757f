"""How the two images of a pair lie on one another: shifted, turned, or with the sides exchanged.

Shifts come from the phase correlation of gradient magnitudes (Kuglin and Hines 1975), which needs edges in common and not
colours, so it works between a photograph and a label map. Averaged over many pairs, it also works where no single pair is clear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float, UInt8
from PIL import Image
from torch import Tensor

GRID = 256  # pixels a side at most; larger images are compared reduced
REACH = 64  # pixels of the grid by which images may be shifted at most
BANDWIDTH = 0.1  # of the cross power that is used, cycles a pixel. It and the whitening were chosen on the embedded pairs
CLEAR, DISTINCT = 9.0, 1.5  # a peak's height in deviations, and over the next: of 200 such in shifted pairs none was wrong
TOLD_APART = 2.5  # mean over deviation of how clearly pairs are one way round or the other; of sides of one kind 1.3
LEAST_PAIRS = 16  # to tell the sides apart
AROUND = 4  # pixels of the grid that are one peak

TURNS = {  # what makes B lie on A again after an EXIF orientation was lost, or applied to one of them only
    "turn B by 90 degrees to the left": lambda b: np.rot90(b, 1),
    "turn B by 180 degrees": lambda b: np.rot90(b, 2),
    "turn B by 90 degrees to the right": lambda b: np.rot90(b, 3),
    "mirror B left to right": lambda b: b[:, ::-1],
    "mirror B top to bottom": lambda b: b[::-1],
    "mirror B along the diagonal": lambda b: b.swapaxes(0, 1),
    "mirror B along the other diagonal": lambda b: np.rot90(b, 2).swapaxes(0, 1),
}
Power = Complex[Tensor, "256 129"]


@dataclass(frozen=True)
class Shift:
    """How far the content of B lies to the right of and below that of A, in pixels, and whether that can be relied on."""

    dx: float = 0.0
    dy: float = 0.0
    clear: bool = False
    scale: float = 1.0  # pixels of the grid for one of these

    def __str__(self) -> str:
        words = [f"{abs(self.dx):.0f} px to the {'right' if self.dx > 0 else 'left'}"] if round(self.dx) else []
        words += [f"{abs(self.dy):.0f} px {'down' if self.dy > 0 else 'up'}"] if round(self.dy) else []
        return " and ".join(words) or "not shifted"


def edges(pixels: UInt8[np.ndarray, "h w c"]) -> Float[np.ndarray, "y x"]:
    """The square root of the gradient's magnitude, of an 8-bit image reduced to at most 256 pixels a side."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels)).convert("L")
    scale = grid_scale(*pixels.shape[:2])
    if scale < 1:
        image = image.resize((max(4, round(image.width * scale)), max(4, round(image.height * scale))), Image.Resampling.BOX)
    gray = np.pad(np.asarray(image, np.float32), 1, "edge")
    x, y = gray[1:-1, 2:] - gray[1:-1, :-2], gray[2:, 1:-1] - gray[:-2, 1:-1]
    return np.sqrt(np.sqrt(x * x + y * y))


def grid_scale(height: int, width: int) -> float:
    """Pixels of the grid for a pixel of an image."""
    return min(1.0, GRID / max(height, width))


def cross_power(a: Float[np.ndarray, "y x"], b: Float[np.ndarray, "y x"]) -> Power:
    """The whitened cross power spectrum of the edges of two images of one size; the mean over pairs is again one."""
    spectrum_a, spectrum_b = _spectra([a, b], GRID)
    return _whitened(spectrum_a.conj() * spectrum_b)


def find_shift(power: Power, scale: float, extent: tuple[int, int]) -> Shift:
    """Where a cross power has its peak, in pixels of the images; ``extent`` is the edges' size, ``scale`` their reduction."""
    reach = max(2, min(REACH, min(extent) // 3))
    around = _correlation(power, reach).numpy()
    y, x = np.unravel_index(around.argmax(), around.shape)
    top = around[y, x]
    rest = around.copy()
    rest[max(0, y - AROUND) : y + AROUND + 1, max(0, x - AROUND) : x + AROUND + 1] = -np.inf
    unmoved = around[reach - 2 : reach + 3, reach - 2 : reach + 3].max()
    moved = max(abs(x - reach), abs(y - reach)) > 2
    clear = top >= CLEAR * around.std() > 0 and top >= DISTINCT * rest.max() and (not moved or top >= DISTINCT * unmoved)
    return Shift((int(x) - reach) / scale, (int(y) - reach) / scale, bool(clear), scale)


def find_turn(a: Float[np.ndarray, "y x"], b: Float[np.ndarray, "v u"]) -> str:
    """What to do to the second image so that its edges lie on those of the first; nothing where that is not clear."""
    turned = ""
    for size, clear, distinct in ((GRID // 4, 4.5, 1.15), (GRID // 2, 8.0, DISTINCT)):  # nearly all end at the small pictures
        factor = -(-max(a.shape) // size)
        small_a, small_b = _reduced(a, factor), _reduced(b, factor)
        tried = {"": small_b} | {name: turn(small_b) for name, turn in TURNS.items()}
        tried = {name: image for name, image in tried.items() if image.shape == small_a.shape}
        spectrum, *spectra = _spectra([small_a, *tried.values()], size)
        reach, near = size // 4, size // 16
        around = _correlation(_whitened(spectrum.conj() * torch.stack(spectra)), reach)
        middle = around[:, reach - near : reach + near + 1, reach - near : reach + near + 1]
        heights = (middle.amax((1, 2)) / around.std((1, 2)).clamp_min(1e-12)).tolist()
        best, second = np.argsort(heights)[::-1][:2]
        turned = list(tried)[best]
        if not turned or heights[best] < clear or heights[best] < distinct * heights[second]:
            return ""
    return turned


def _reduced(image: np.ndarray, factor: int) -> np.ndarray:
    pooled: np.ndarray = F.avg_pool2d(torch.from_numpy(np.ascontiguousarray(image))[None], factor)[0].numpy()
    return pooled


def _whitened(power: Tensor) -> Tensor:
    """Divided by its magnitude to the power of 3/4; 1 would be pure phase, 0 plain correlation."""
    root = (power.real**2 + power.imag**2 + 1e-18).sqrt_().rsqrt_()  # magnitude to the power of -1/2
    return power * (root * root.sqrt())


@lru_cache(maxsize=64)
def _window(height: int, width: int) -> Tensor:
    return torch.from_numpy(np.outer(np.hanning(height), np.hanning(width)).astype(np.float32))


def _spectra(images: Sequence[np.ndarray], size: int) -> Tensor:
    """Of images of one size without their means, faded out to their borders, on a grid of size x size."""
    window = _window(*images[0].shape)
    faded = torch.stack([torch.from_numpy(np.ascontiguousarray(image)) for image in images]) * window
    faded -= window * (faded.sum((1, 2), keepdim=True) / window.sum().clamp_min(1e-6))
    return torch.fft.rfft2(faded, (size, size))


def _low_pass(size: int) -> Tensor:
    y, x = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    return torch.exp(-(x**2 + y**2) / (2 * BANDWIDTH**2))


LOW_PASS = {size: _low_pass(size) for size in (GRID, GRID // 2, GRID // 4)}


def _correlation(power: Tensor, reach: int) -> Tensor:
    """The correlation at shifts of -reach..reach pixels, (..., 2 reach + 1, 2 reach + 1)."""
    size = power.shape[-2]
    surface = torch.fft.irfft2(power * LOW_PASS[size], (size, size)).roll((reach, reach), (-2, -1))
    return surface[..., : 2 * reach + 1, : 2 * reach + 1]


def side_traits(small: UInt8[np.ndarray, "64 64 3"]) -> Float[np.ndarray, " 12"]:
    """What tells a kind of image, such as photographs, from another, such as drawings: colours, contrast, edges, plainness."""
    rgb = small[::2, ::2].astype(np.float32) / 255
    gray, colour = rgb.mean(2), rgb.max(2) - rgb.min(2)
    steps = np.abs(np.diff(gray, axis=0)[:, :-1]) + np.abs(np.diff(gray, axis=1)[:-1])
    more = (colour.mean(), colour.std(), steps.mean(), (steps < 0.02).mean(), (gray > 0.95).mean(), (gray < 0.05).mean())
    return np.array([*rgb.mean((0, 1)), *rgb.std((0, 1)), *more], np.float32)


def exchanged(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "n d"]) -> np.ndarray:
    """Which of n pairs are the other way round than most, (n,) of bool, by the traits of their sides.

    Fisher's discriminant of the differences within pairs, those that look exchanged turned back until none changes, and each
    pair judged by the others. Where the sides look too much alike to tell, no pair is named.
    """
    if len(a) < LEAST_PAIRS:
        return np.zeros(len(a), bool)
    difference = (a - b) / (np.concatenate([a, b]).std(0) + 1e-3)
    sign = np.sign(_discriminated(difference, np.median(difference, axis=0), difference))
    score = np.empty(len(a))
    for fold in range(8):
        held_out = np.arange(len(a)) % 8 == fold
        others = sign[~held_out, None] * difference[~held_out]
        score[held_out] = _discriminated(others, others.mean(0), difference[held_out])
    size = np.minimum(np.abs(score), 2 * np.median(np.abs(score)))
    if size.mean() < TOLD_APART * size.std():
        return np.zeros(len(a), bool)
    return score * np.sign(np.median(score)) < -0.4 * np.median(size)


def _discriminated(sample: np.ndarray, center: np.ndarray, values: np.ndarray) -> np.ndarray:
    sign = np.ones(len(sample))
    for _ in range(10):
        spread = np.cov((sign[:, None] * sample - center).T) + np.eye(sample.shape[1])
        direction = np.linalg.solve(spread, center)
        turned = np.where(sample @ direction < 0, -1.0, 1.0)
        if (turned == sign).all():
            break
        sign, center = turned, (turned[:, None] * sample).mean(0)
    return values @ direction
