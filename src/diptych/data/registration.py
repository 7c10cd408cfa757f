"""Measure how the two images of a pair lie on one another: shifted or turned.

Shifts come from the phase correlation of gradient magnitudes (Kuglin and Hines 1975), which needs edges in common and not
colours, so it works between a photograph and a label map. Averaged over many pairs, it also works where no single pair is clear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float, UInt8
from PIL import Image
from torch import Tensor

GRID = 256  # pixels a side; larger images are reduced to that before they are compared
MAX_SHIFT = 64  # pixels of the grid; larger shifts are not found
BANDWIDTH = 0.1  # of the cross power that is used, cycles a pixel. It and the whitening were chosen on the embedded pairs
MIN_HEIGHT, MIN_LEAD = 9.0, 1.5  # of a clear peak, in deviations and over the next: of 200 in shifted pairs none was wrong
PEAK_RADIUS = 4  # pixels of the grid that belong to one peak

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
    """Compute the square root of the gradient's magnitude, of an 8-bit image reduced to at most 256 pixels a side."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels)).convert("L")
    scale = grid_scale(*pixels.shape[:2])
    if scale < 1:
        image = image.resize((max(4, round(image.width * scale)), max(4, round(image.height * scale))), Image.Resampling.BOX)
    gray = np.pad(np.asarray(image, np.float32), 1, "edge")
    x, y = gray[1:-1, 2:] - gray[1:-1, :-2], gray[2:, 1:-1] - gray[:-2, 1:-1]
    return np.sqrt(np.sqrt(x * x + y * y))


def grid_scale(height: int, width: int) -> float:
    """Return how many pixels of the grid one pixel of an image becomes, at most 1."""
    return min(1.0, GRID / max(height, width))


def cross_power(a: Float[np.ndarray, "y x"], b: Float[np.ndarray, "y x"]) -> Power:
    """Compute the whitened cross power spectrum of the edges of two images of one size; the mean over pairs is again one."""
    spectrum_a, spectrum_b = _spectra([a, b], GRID)
    return _whitened(spectrum_a.conj() * spectrum_b)


def find_shift(power: Power, scale: float, extent: tuple[int, int]) -> Shift:
    """Find the peak of a cross power, in pixels of the images; ``extent`` is the edges' size, ``scale`` their reduction."""
    reach = _reach(extent)
    return _peak(_correlation(power, reach), scale)


def find_common_shift(powers: Sequence[tuple[Power, float]], extent: tuple[int, int]) -> Shift:
    """Find one shift, in pixels, of images that were reduced by different scales: (cross power, scale) of each.

    A shift of as many pixels everywhere lies elsewhere on each grid, so the correlations are brought to pixels of the median
    scale, and then added up. ``extent`` is the size of the edges at that scale.
    """
    reach, median = _reach(extent), float(np.median([scale for _, scale in powers]))
    total = torch.zeros(2 * reach + 1, 2 * reach + 1)
    for power, scale in powers:
        here = reach * scale / median  # pixels of this grid
        own_reach = min(math.ceil(here), GRID // 2 - 1)
        place = torch.linspace(-here / own_reach, here / own_reach, 2 * reach + 1)
        grid = torch.stack([place.expand(len(place), -1), place[:, None].expand(-1, len(place))], -1)
        surface = _correlation(power, own_reach)
        total += F.grid_sample(surface[None, None], grid[None], align_corners=True)[0, 0]
    return _peak(total, median)


def _reach(extent: tuple[int, int]) -> int:
    return max(2, min(MAX_SHIFT, min(extent) // 3))


def _peak(correlation: Float[Tensor, "n n"], scale: float) -> Shift:
    """The highest place of a correlation at shifts of -reach..reach pixels of the grid, and whether it stands out."""
    around, reach = correlation.numpy(), len(correlation) // 2
    y, x = np.unravel_index(around.argmax(), around.shape)
    top = around[y, x]
    rest = around.copy()
    rest[max(0, y - PEAK_RADIUS) : y + PEAK_RADIUS + 1, max(0, x - PEAK_RADIUS) : x + PEAK_RADIUS + 1] = -np.inf
    unmoved = around[reach - 2 : reach + 3, reach - 2 : reach + 3].max()
    moved = max(abs(x - reach), abs(y - reach)) > 2
    clear = top >= MIN_HEIGHT * around.std() > 0 and top >= MIN_LEAD * rest.max() and (not moved or top >= MIN_LEAD * unmoved)
    return Shift((int(x) - reach) / scale, (int(y) - reach) / scale, bool(clear), scale)


def find_turn(a: Float[np.ndarray, "y x"], b: Float[np.ndarray, "v u"]) -> str:
    """Find what to do to the second image so that its edges lie on those of the first; empty where that is not clear."""
    turned = ""
    for size, clear, distinct in ((GRID // 4, 4.5, 1.15), (GRID // 2, 8.0, MIN_LEAD)):  # nearly all end at the small pictures
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
    """Divide by the magnitude to the power of 3/4; 1 would be pure phase, 0 plain correlation."""
    root = (power.real**2 + power.imag**2 + 1e-18).sqrt_().rsqrt_()  # magnitude to the power of -1/2
    return power * (root * root.sqrt())


@lru_cache(maxsize=64)
def _window(height: int, width: int) -> Tensor:
    return torch.from_numpy(np.outer(np.hanning(height), np.hanning(width)).astype(np.float32))


def _spectra(images: Sequence[np.ndarray], size: int) -> Tensor:
    """Transform images of one size, without their means and faded out to their borders, on a grid of size x size."""
    window = _window(*images[0].shape)
    faded = torch.stack([torch.from_numpy(np.ascontiguousarray(image)) for image in images]) * window
    faded -= window * (faded.sum((1, 2), keepdim=True) / window.sum().clamp_min(1e-6))
    return torch.fft.rfft2(faded, (size, size))


def _low_pass(size: int) -> Tensor:
    y, x = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    return torch.exp(-(x**2 + y**2) / (2 * BANDWIDTH**2))


LOW_PASS = {size: _low_pass(size) for size in (GRID, GRID // 2, GRID // 4)}


def _correlation(power: Tensor, reach: int) -> Tensor:
    """Compute the correlation at shifts of -reach..reach pixels, (..., 2 reach + 1, 2 reach + 1)."""
    size = power.shape[-2]
    surface = torch.fft.irfft2(power * LOW_PASS[size], (size, size)).roll((reach, reach), (-2, -1))
    return surface[..., : 2 * reach + 1, : 2 * reach + 1]
