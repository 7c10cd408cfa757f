"""A temporal filter along the flow of the source film: what stays the same there stays the same in the translation.

Each translation y_t is drawn towards the one before, moved by the flow from frame t to frame t-1:

    z_t = y_t + STRENGTH w_t (warp(z_{t-1}) - y_t)

where w_t is the likeness of the source frame and the one before, moved likewise (see `diptych.motion`): at occlusions and wrong
flow it is small. The mean over moved frames is softer than each frame; an unsharp mask gives back the gradient energy that y_t
has and z_t lost.
"""

from __future__ import annotations

from typing import final

import numpy as np
from jaxtyping import Float

from diptych.motion import Image, Places, moved, opencv

STRENGTH = 0.7
MOST_SHARPENING = 0.5


@final
class FlowFilter:
    """The filter's state: the last translation, before its gradient energy is given back."""

    def __init__(self) -> None:
        self.last: Float[np.ndarray, "h w c"] | None = None

    def __call__(self, translated: Image, places: Places | None, weight: Float[np.ndarray, "h w 1"] | None) -> Image:
        """Filter the next translation, of integers. Without places it begins a shot, and is returned as it is."""
        found = translated.astype(np.float32)
        if self.last is None or places is None or weight is None:
            self.last = found
            return translated
        top = np.iinfo(translated.dtype).max
        before = moved(self.last, places)
        self.last = (found + STRENGTH * weight * (before - found)).clip(0, top)
        return _sharpened(self.last, _gradient_energy(found)).clip(0, top).round().astype(translated.dtype)


def _sharpened(image: Float[np.ndarray, "h w c"], energy: float) -> Float[np.ndarray, "h w c"]:
    """Add k times its detail (sigma 1) so that the gradient energy |grad(image + k detail)|^2 is that given; k is the root."""
    cv2 = opencv()
    detail = image - cv2.GaussianBlur(image, (0, 0), 1.0).reshape(image.shape)
    lacking = energy - _gradient_energy(image)
    if lacking <= 0:
        return image
    square = _gradient_energy(detail)
    half = sum(float(np.vdot(np.diff(image, axis=axis), np.diff(detail, axis=axis))) for axis in (0, 1))
    k = (np.sqrt(half * half + square * lacking) - half) / square if square else 0.0
    return image + np.float32(min(k, MOST_SHARPENING)) * detail


def _gradient_energy(image: Float[np.ndarray, "h w c"]) -> float:
    return sum(float(np.square(np.diff(image, axis=axis)).sum()) for axis in (0, 1))
