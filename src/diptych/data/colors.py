"""Colours by the ICC profile of a file: conversion to sRGB with lcms."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image, ImageCms

INTENT = ImageCms.Intent.RELATIVE_COLORIMETRIC
FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION
SPACES = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}
CHANNELS = {"L": 1, "RGB": 3, "CMYK": 4}
LCMS_SPACES = {"L": "minisblack", "RGB": "rgb", "CMYK": "cmyk"}
SAME = 2  # of 255: a profile that moves no colour further than that is sRGB under another name, and pixels stay as they are


@lru_cache(maxsize=32)
def _opened(profile: bytes) -> tuple[str, str, ImageCms.ImageCmsProfile] | None:
    """Open a profile: its colour space, a name for people, and the profile; None where it is damaged."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = (opened.profile.profile_description or "without a name").strip()
        return opened.profile.xcolor_space, name, opened
    except Exception:  # lcms and Pillow report damage in many ways
        return None


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Make the transform to sRGB for images of a mode; None where the profile is sRGB in effect."""
    found = _opened(profile)
    assert found, "only profiles that could be opened are used"
    to_srgb = ImageCms.buildTransform(found[2], ImageCms.createProfile("sRGB"), mode, "RGB", INTENT, FLAGS)
    if mode == "CMYK":
        return to_srgb
    steps = np.linspace(0, 255, 17).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3) if mode == "RGB" else steps[None]
    moved = np.asarray(to_srgb.apply(Image.fromarray(cube)))
    same = np.abs(moved.astype(int) - (cube if mode == "RGB" else cube[..., None])).max() <= SAME
    return None if same else to_srgb


def other_than_srgb(pixels: np.ndarray, profile: bytes) -> str:
    """Name a profile that means other colours than sRGB for pixels (h, w, c); empty where it does not, or cannot be used."""
    found = _opened(profile)
    mode = SPACES.get(found[0], "") if found else ""
    if not found or CHANNELS.get(mode) != pixels.shape[2]:
        return ""
    try:
        return found[1] if _transform(profile, mode) else ""
    except Exception:  # a profile may open and still not be usable
        return ""


def why_not(pixels: np.ndarray, profile: bytes, dtypes: tuple[type, ...] = ()) -> str:
    """Say why a profile is not used for pixels (h, w, c), of any type or one of ``dtypes``; empty where it can be."""
    found = _opened(profile)
    if not found:
        return "its ICC profile is damaged and was ignored"
    space, name, _ = found
    mode = SPACES.get(space, "")
    if CHANNELS.get(mode) != pixels.shape[2] or (dtypes and pixels.dtype not in dtypes):
        kind = f"{pixels.shape[2]} x {pixels.dtype}"
        return f"its ICC profile ({name}, {space.strip()}) is not for {kind} pixels and was ignored"
    try:
        _transform(profile, mode)
    except Exception:  # a profile may open and still not be usable
        return f"its ICC profile ({name}) cannot be used and was ignored"
    return ""


def to_srgb(pixels: np.ndarray, profile: bytes) -> tuple[np.ndarray, str]:
    """Convert pixels (h, w, c) of gray, RGB or CMYK, uint8 or uint16, to sRGB; also say what was done (empty: nothing).

    Gray stays gray and CMYK becomes RGB. The intent is relative colorimetric with black point compensation. A profile that is
    sRGB in effect leaves every pixel as it is; one that is damaged or for other channels is left out, and that is said.
    """
    if reason := why_not(pixels, profile, (np.uint8, np.uint16)):
        return pixels, reason
    found = _opened(profile)
    assert found, "only profiles that could be opened are used"
    name, mode, channels = found[1], SPACES[found[0]], pixels.shape[2]
    try:
        transform = _transform(profile, mode)
        if transform is None:
            return pixels, ""
        flat = pixels[..., 0] if channels == 1 else pixels
        if pixels.dtype == np.uint8:
            rgb = np.asarray(transform.apply(Image.fromarray(np.ascontiguousarray(flat), mode=mode)))
        else:
            srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
            how: dict[str, Any] = {
                "colorspace": LCMS_SPACES[mode],
                "outcolorspace": "rgb",
                "intent": int(INTENT),
                "flags": int(FLAGS),
            }
            rgb = imagecodecs.cms_transform(np.ascontiguousarray(flat), profile, srgb, **how)
    except Exception:  # a profile may open and still not be usable
        return pixels, f"its ICC profile ({name}) cannot be used and was ignored"
    return (rgb[..., 1:2] if channels == 1 else rgb), f"colours converted from {name} to sRGB by its ICC profile"
