"""Resizing keeps what an image's values mean: Pillow's results for 8 bits, and no value that an image did not have."""

import numpy as np
import pytest
from PIL import Image

from diptych.data.augment import resize

SIZES = [(70, 90), (23, 31), (40, 17), (80, 80)]


def stripes(dtype: str, low: float, high: float) -> np.ndarray:
    """Black and white stripes, beside which a bicubic filter overshoots most."""
    pixels = np.full((40, 48, 1), low, dtype)
    pixels[:, ::8], pixels[::10] = high, high
    return pixels


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("float32", 0.0, 1.0), ("float32", -3.5, -1.25), ("uint16", 0, 4095), ("uint16", 100, 65535)]
)
@pytest.mark.parametrize("size", SIZES)
def test_no_value_lies_beyond_those_of_the_image(dtype, low, high, size):
    found = resize(stripes(dtype, low, high), *size)
    assert found.dtype == dtype and found.shape == (*size, 1)
    assert low <= found.min() and found.max() <= high


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [1, 16, 257])
def test_16_bits_are_what_pillow_makes_of_float_pixels(factor, size):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48)).astype(np.uint16) * np.uint16(factor)
    resampled = Image.fromarray(pixels.astype(np.float32)).resize(size[::-1], Image.Resampling.BICUBIC)
    expected = np.asarray(resampled).clip(pixels.min(), pixels.max())
    assert np.abs(resize(pixels[..., None], *size)[..., 0].astype(np.float64) - expected).max() <= 0.5 + 1e-3 * factor


@pytest.mark.parametrize("size", SIZES)
def test_8_bits_are_pillows(size):
    pixels = stripes("uint8", 0, 255).repeat(3, 2)
    expected = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))
    assert np.abs(resize(pixels, *size).astype(int) - expected).max() <= 1


def test_an_image_of_the_wanted_size_is_left_alone():
    pixels = stripes("float32", 0, 1)
    assert resize(pixels, 40, 48) is pixels
