"""Native pixels come back exactly, for every value there is."""

import numpy as np
import pytest
import torch

from diptych.errors import ConfigError
from diptych.pixels import Domain, to_rgb8

ALL = {"uint8": torch.arange(256, dtype=torch.uint8), "uint16": torch.arange(65536, dtype=torch.int32).to(torch.uint16)}


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_every_integer_comes_back(dtype, channels):
    values = ALL[dtype].view(1, 1, 16, -1).expand(2, channels, -1, -1)
    x = Domain(channels, dtype).encode(values)
    assert x.dtype == torch.float32 and x.min() == -1 and x.max() == 1
    back = Domain(channels, dtype).decode(x)
    assert torch.equal(back, values) and back.dtype == values.dtype


def test_every_integer_of_a_measured_range_comes_back_and_fills_it():
    domain = Domain(1, "uint16", 300.0, 4095.0)
    values = torch.arange(300, 4096, dtype=torch.int32).to(torch.uint16).view(1, 1, 1, -1)
    x = domain.encode(values)
    assert x.min() == -1 and x.max() == 1
    assert torch.equal(domain.decode(x), values)


def test_the_endpoints_and_the_order_of_float_images_are_kept():
    domain = Domain(1, "float32", -20.0, 80.0)
    values = torch.linspace(-20, 80, 1001).view(1, 1, 1, -1)
    x = domain.encode(values)
    assert x.min() == -1 and x.max() == 1 and bool((x.diff() > 0).all())
    assert (domain.decode(x) - values).abs().max() < 1e-5
    assert domain.decode(x).dtype == torch.float32


def test_8_bit_pixels_are_bit_equal_to_the_published_code():
    x = Domain(1).encode(ALL["uint8"].view(1, 1, 1, -1))
    unit = ALL["uint8"].numpy().astype(np.float32) / np.float32(255)  # ToTensor
    assert np.array_equal(x.flatten().numpy(), (unit - np.float32(0.5)) / np.float32(0.5))  # Normalize


@pytest.mark.parametrize("dtype", ALL)
def test_decoding_rounds_and_does_not_truncate(dtype):
    domain, top = Domain(1, dtype), {"uint8": 255, "uint16": 65535}[dtype]
    for value in (1, top // 2, top - 1):
        for part, expected in ((-0.4, value), (0.4, value), (0.6, value + 1), (-0.6, value - 1)):
            x = torch.full((1, 1, 1, 1), (value + part) / top * 2 - 1, dtype=torch.float64)
            assert domain.decode(x).item() == expected, (value, part)


def test_the_average_brightness_does_not_change_by_decoding():
    x = torch.rand(1, 3, 200, 200, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert abs(Domain().decode(x).double().mean() - (x.double().mean() + 1) * 127.5) < 0.01  # truncation costs 0.5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_values_beyond_the_range_are_clipped(dtype):
    domain = Domain(1, dtype)
    low, high = domain.decode(torch.tensor([-9.0, 9.0]).view(2, 1, 1, 1)).flatten().tolist()
    assert (low, high) == (domain.low, domain.high)


@pytest.mark.parametrize("domain", [Domain(1, "uint16", 100.0, 1000.0), Domain(1, "float32", -2.0, 3.0), Domain(1, "float32")])
def test_pixels_beyond_the_range_are_clipped_to_it(domain):
    dtype = {"uint16": torch.uint16, "float32": torch.float32}[domain.dtype]
    pixels = torch.tensor([0, domain.high, 60000], dtype=torch.float64).to(dtype).view(1, 1, 1, 3)
    expected = [-0.2 if domain.low < 0 else -1.0, 1.0, 1.0]  # 0 is 2/5 of the way from -2 to 3
    assert domain.encode(pixels).flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_decoding_takes_every_float_type(dtype):
    assert Domain().decode(torch.zeros(1, 3, 2, 2, dtype=dtype)).unique().tolist() == [128]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_decoded_in_full_precision(dtype):
    x = torch.linspace(-1, 1, 500).to(dtype).view(1, 1, 1, -1)
    expected = np.rint((x.double().numpy() + 1) * (65535 / 2))
    assert np.abs(Domain(1, "uint16").decode(x).numpy() - expected).max() <= 1  # in half precision it would be off by up to 128


def test_values_for_another_number_of_channels_are_our_own_mistake():
    with pytest.raises(AssertionError, match="4 channels for a domain of 3"):
        Domain().decode(torch.zeros(1, 4, 2, 2))


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (torch.zeros(1, 1, 2, 2, dtype=torch.uint8), "1 x uint8"),
        (torch.zeros(1, 4, 2, 2, dtype=torch.uint8), "4 x uint8"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.uint16), "3 x uint16"),
        (torch.zeros(1, 3, 2, 2), "3 x float32"),
    ],
)
def test_pixels_of_another_domain_are_refused_with_both_kinds_named(pixels, found):
    with pytest.raises(ConfigError, match=f"the model takes images of 3 x uint8, found {found}; convert them first"):
        Domain().encode(pixels)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 0}, "domain: channels must be at least 1, found 0"),
        ({"dtype": "int8"}, "domain: dtype must be one of uint8, uint16, int16, float32, found 'int8'"),
        ({"low": 5.0, "high": 5.0}, "domain: low must be below high, found low=5 high=5"),
        ({"low": 5.0, "high": 1.0}, "domain: low must be below high, found low=5 high=1"),
        ({"dtype": "uint16", "low": -20.0, "high": 80.0}, "uint16 holds values from 0 to 65535, found low=-20 high=80"),
        ({"dtype": "uint8", "high": 256.0}, "domain: uint8 holds values from 0 to 255, found low=0 high=256"),
        ({"low": float("nan"), "high": 1.0}, "domain: low must be below high, found low=nan high=1"),
    ],
)
def test_domains_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Domain(**settings)


@pytest.mark.parametrize(
    ("domain", "text", "kind"),
    [
        (Domain(), "3 x uint8", "rgb"),
        (Domain(1, "uint16"), "1 x uint16", "gray"),
        (Domain(5, "uint16", 0.0, 4095.0), "5 x uint16 in 0..4095", "multiband"),
    ],
)
def test_a_domain_says_what_it_is(domain, text, kind):
    assert (str(domain), domain.kind) == (text, kind)


@pytest.mark.parametrize(("channels", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (6, [0, 1, 2])])
def test_people_see_gray_or_the_first_three_channels(channels, shown):
    x = torch.linspace(-1, 1, channels * 8).view(2, channels, 2, 2)
    assert torch.equal(to_rgb8(x), torch.stack([Domain(1).decode(x[:, c : c + 1])[:, 0] for c in shown], 1))
