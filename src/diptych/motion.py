"""What moves between two frames of a film: optical flow, where it can be trusted, and where a film cuts.

Optical flow is OpenCV's DIS (Kroeger et al. 2016), which needs no weights.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from diptych.extras import extra

TOLERANCE = 20.0  # levels of 255
CUT = 10.0  # of 100: FFmpeg's threshold for scdet
THUMBNAIL = 64

Image = Shaped[np.ndarray, "h w c"]
Places = Float[np.ndarray, "h w 2"]
"""For each pixel (x, y) of a frame, the place in the frame before that shows the same."""


def opencv() -> Any:
    """OpenCV. Raises MissingExtraError where it is not installed."""
    return extra("cv2", "video", "optical flow")


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
    """exp(-(e / TOLERANCE)^2) of the difference e: 1 where a frame shows what the one before shows at the places, falling to 0.

    It is 0 where a place is out of view.
    """
    cv2 = opencv()
    height, width = frame.shape[:2]
    difference = np.abs(moved(before, places, cubic=False) - frame).mean(2) * (255 / np.iinfo(frame.dtype).max)
    difference = cv2.GaussianBlur(difference, (0, 0), 1.0)
    x, y = places[..., 0], places[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return (np.exp(-np.square(difference / TOLERANCE)) * inside).astype(np.float32)[..., None]


@final
class Cuts:
    """Finds the first frames of shots by FFmpeg's scdet: the mean change of luma, and how much it differs from the change before.

    A pan or a flicker changes every frame alike, and is no cut.
    """

    def __init__(self) -> None:
        self.thumbnail: np.ndarray | None = None
        self.change = 0.0

    def begins(self, frame: Shaped[np.ndarray, "h w 3"]) -> bool:
        """Whether the next frame, of uint8 or uint16, begins a shot; the first one does."""
        step = max(1, min(frame.shape[:2]) // THUMBNAIL)
        luma = frame[::step, ::step].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / np.iinfo(frame.dtype).max
        before, self.thumbnail = self.thumbnail, luma
        if before is None:
            return True
        change, last = 100 * float(np.abs(luma - before).mean()), self.change
        self.change = change
        return min(change, abs(change - last)) >= CUT

    def state(self) -> dict[str, Tensor | float]:
        """What `restore` needs to go on after this frame."""
        assert self.thumbnail is not None
        return {"thumbnail": torch.from_numpy(self.thumbnail.copy()), "change": self.change}

    def restore(self, state: dict[str, Tensor | float]) -> None:
        """Go on from where `state` was taken."""
        assert isinstance(state["thumbnail"], Tensor)
        self.thumbnail, self.change = state["thumbnail"].numpy(), float(state["change"])


def _luma(image: Image) -> Shaped[np.ndarray, "h w"]:
    level = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) * (255 / np.iinfo(image.dtype).max)
    return level.round().clip(0, 255).astype(np.uint8)


def _grid(height: int, width: int) -> Places:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x, y], -1)
