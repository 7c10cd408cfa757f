"""Resizing keeps what an image's values mean: Pillow's results for 8 bits, and no value that an image did not have."""

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.data.augment import Change, changed_crop, recolour, resize

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


def places(height, width, dtype=torch.uint8):
    """An image whose first two channels are row and column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns, rows * 0]).to(dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_quarter_turns_move_pixels_and_keep_the_size_of_the_crop(dtype):
    image = places(40, 60, dtype)
    once = changed_crop(image, (20, 10), 0.5, 0.5, Change(turns=1), nearest=False)
    assert once.shape == (3, 20, 10) and once.dtype == dtype
    window = image[:, 15:25, 20:40].numpy()  # 10 high and 20 wide, in the middle: int(.5 * 31) and int(.5 * 41)
    assert np.array_equal(once.numpy(), np.rot90(window, 1, (1, 2)))
    back = changed_crop(once, (20, 10), 0.0, 0.0, Change(turns=2), nearest=False)
    assert np.array_equal(back.numpy(), np.rot90(once.numpy(), 2, (1, 2)))


def test_an_angle_of_a_quarter_is_a_quarter_turn_and_a_zoom_enlarges_the_middle():
    image = places(41, 41)
    turned = changed_crop(image, 21, 0.5, 0.5, Change(angle=90.0), nearest=False)
    window = image[:, 10:31, 10:31]
    assert torch.equal(turned, window.rot90(1, (1, 2)))
    zoomed = changed_crop(image.float(), 21, 0.5, 0.5, Change(zoom=2.0), nearest=False)
    assert torch.allclose(zoomed[1, 0], torch.linspace(15, 25, 21))  # 10 pixels around the middle, 20, instead of 20
    out = changed_crop(image.float(), 41, 0.0, 0.0, Change(zoom=0.5), nearest=False)
    assert torch.allclose(out[0, 10:31, 0], torch.arange(0.0, 42.0, 2.0), atol=1e-4)
    assert 0 <= out.min() <= out.max() <= 40  # beyond its edges the image goes on as in a mirror


def test_labels_are_turned_without_mixing():
    image = torch.tensor([3, 9], dtype=torch.uint8)[(places(30, 30)[:1] // 7 % 2).long()]
    turned = changed_crop(image, 24, 0.3, 0.6, Change(angle=33.0, zoom=1.3), nearest=True)
    assert turned.unique().tolist() == [3, 9]
    assert len(changed_crop(image, 24, 0.3, 0.6, Change(angle=33.0, zoom=1.3), nearest=False).unique()) > 2


def test_colours_change_by_their_factors():
    image = torch.tensor([[0, 100], [50, 200], [100, 0]], dtype=torch.uint8)[:, None]
    assert recolour(image, (0.5, 1.0, 1.0), 0, 255).flatten().tolist() == [0, 50, 25, 100, 50, 0]
    # The mean is 75; a fifth of the contrast leaves a fifth of the distances to it.
    assert recolour(image, (1.0, 0.2, 1.0), 0, 255).flatten().tolist() == [60, 80, 70, 100, 80, 60]
    # Saturation 0 leaves the mean of the channels: 50 and 100.
    assert recolour(image, (1.0, 1.0, 0.0), 0, 255).flatten().tolist() == [50, 100] * 3
    assert recolour(image.float() / 255, (2.0, 1.0, 1.0), 0, 1).flatten().tolist()[3] == 1.0
