"""A temporal filter along the flow of the source film: what stays the same there stays the same in the translation.

Optical flow is OpenCV's DIS (Kroeger et al. 2016), which needs no weights. Each translation y_t is drawn towards the one before,
moved by the flow from frame t to frame t-1:

    z_t = y_t + STRENGTH w_t (warp(z_{t-1}) - y_t),      w_t = exp(-(e_t / TOLERANCE)^2)

where e_t is how much the source frame differs from the one before when that is moved likewise: at occlusions and wrong flow w_t
is small. The mean over moved frames is softer than each frame; an unsharp mask gives back the gradient energy that y_t has and
z_t lost.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
from jaxtyping import Float, Shaped

from diptych.extras import extra

STRENGTH = 0.7
TOLERANCE = 20.0  # levels of 255
MOST_SHARPENING = 0.5

Image = Shaped[np.ndarray, "h w c"]
Places = Float[np.ndarray, "h w 2"]
"""For each pixel (x, y) of a frame, the place in the frame before that shows the same."""


def opencv() -> Any:
    """OpenCV. Raises MissingExtraError where it is not installed."""
    return extra("cv2", "video", "the temporal filter")


def places_before(frame: Image, before: Image) -> Places:
    """Find the flow between two source frames of uint8 or uint16."""
    cv2 = opencv()
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    small = [_luma(image) for image in (frame, before)]
    if min(small[0].shape) < 16:  # smaller than the patches of DIS
        return _grid(*small[0].shape)
    return dis.calc(small[0], small[1], None) + _grid(*small[0].shape)


def moved(image: Image, places: Places, *, cubic: bool = True) -> Float[np.ndarray, "h w c"]:
    """An image at given places, by cubic or linear interpolation."""
    cv2 = opencv()
    how = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    result = cv2.remap(image.astype(np.float32), places, None, how, borderMode=cv2.BORDER_REPLICATE)
    return result.reshape(*places.shape[:2], -1)


def likeness(frame: Image, before: Image, places: Places) -> Float[np.ndarray, "h w 1"]:
    """w_t: 1 where a source frame shows what the one before shows at the places, falling to 0 where it does not."""
    cv2 = opencv()
    height, width = frame.shape[:2]
    difference = np.abs(moved(before, places, cubic=False) - frame).mean(2) * (255 / np.iinfo(frame.dtype).max)
    difference = cv2.GaussianBlur(difference, (0, 0), 1.0)
    x, y = places[..., 0], places[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return (np.exp(-np.square(difference / TOLERANCE)) * inside).astype(np.float32)[..., None]


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


def _luma(image: Image) -> Shaped[np.ndarray, "h w"]:
    level = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) * (255 / np.iinfo(image.dtype).max)
    return level.round().clip(0, 255).astype(np.uint8)


def _grid(height: int, width: int) -> Places:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x, y], -1)
