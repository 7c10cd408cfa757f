"""What is said of the error of sampled norms is an upper figure of the true one, and no wild one."""

from contextlib import closing

import numpy as np
import pytest
import torch

from diptych.inference import sampled
from diptych.inference.maps import PixelFile
from diptych.inference.norm_error import SeenNorms
from diptych.inference.norm_statistics import measure_norms
from diptych.inference.translator import Translator
from diptych.pixels import Domain
from tests.inference.test_norm_statistics import snapshot

SIZE = (150, 190)
NETWORKS = {
    "resnet": ("resnet_2", "eval", {}),
    "affine": ("resnet_1", "eval", {"norm": "instance_affine"}),
    "unet": ("unet_3", "eval", {}),
    "batch statistics as paper": ("unet_3", "paper", {"norm": "batch"}),
}


def noise():
    values = np.random.default_rng(0).integers(0, 256, (*SIZE, 3))
    values[:, : SIZE[1] // 2] //= 3
    return values.astype("uint8")


def gradient():
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.stack([rows * 255 // SIZE[0], columns * 255 // SIZE[1], (rows + columns) // 2], 2).astype("uint8")


def corner():
    """An image that is black but for a corner, which windows hardly see."""
    values = np.zeros((*SIZE, 3), "uint8")
    values[:24, :24] = np.random.default_rng(1).integers(100, 256, (24, 24, 3))
    return values


def waves():
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return (127 + 120 * np.sin(columns / 25) * np.cos(rows / 31))[..., None].repeat(3, 2).astype("uint8")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(sampled, "SIDES", (64,))
    monkeypatch.setattr(sampled, "SAMPLE_SIDE", 40)


def translator(network):
    name, mode, options = NETWORKS[network]
    return Translator(snapshot(name, Domain(), mode=mode, **options), device="cpu", memory=10**12)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("image", [noise, gradient, corner, waves], ids=lambda make: make.__name__)
def test_the_true_error_is_at_most_what_is_said_and_more_than_a_third_of_it(image, network, small):
    translate, pixels = translator(network), image()
    found, said = translate.by_windows(pixels)
    true = np.abs(found.astype(float) - translate(pixels)).mean() / 127.5
    assert said / 3 < true <= said


def test_windows_together_see_what_the_whole_image_shows_a_norm(small):
    """The first norm sees the same whatever its own statistics are: the reference are those of the whole image."""
    translate, pixels = translator("resnet"), noise()
    backend = translate._torch()
    whole = translate.measure_norms(pixels)
    fixed = translate.with_norms(whole)._torch()
    state = sampled.WindowState(None, "", np.empty((*SIZE, 3), "uint8"))
    seen = sampled.translate_windows(fixed, pixels, state.out, 10**12, state, look=True)
    assert seen.keys() == whole.layers.keys() and len(seen) > 4
    for name, (mean, variance) in whole.layers.items():
        assert torch.allclose(seen[name].mean.float(), mean, atol=1e-4)
        assert torch.allclose(seen[name].variance.float(), variance, rtol=1e-3)
    assert SeenNorms(backend.net, {}).norms == {}


def test_an_interrupted_translation_says_the_same_error(small, monkeypatch, tmp_path):
    monkeypatch.setattr("diptych.inference.window_state.SAVE_EVERY", 0.0)
    translate, pixels, shares = translator("resnet"), noise(), []
    expected = translate.by_windows(pixels)[1]

    def stop(share):
        shares.append(share)
        if share > 0.4:
            raise KeyboardInterrupt

    with closing(PixelFile(tmp_path / "p", (*SIZE, 3), "uint8")) as out, pytest.raises(KeyboardInterrupt):
        translate.by_windows(pixels, out, state=tmp_path / "s", watch=stop)
    first = len(shares)
    with closing(PixelFile(tmp_path / "p", (*SIZE, 3), "uint8")) as out:
        said = translate.by_windows(pixels, out, state=tmp_path / "s", watch=shares.append)[1]
    assert said == pytest.approx(expected, rel=1e-6) and shares[first] > shares[first - 1]


def test_a_flat_window_among_others_is_measured_as_it_is():
    """The reference are the first two convolutions, with the mean and the variance over both images together between them."""
    net = Translator(snapshot("resnet_1", Domain()), device="cpu")._torch().net
    images = torch.stack([torch.full((3, 32, 32), -0.9), torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))])
    with torch.inference_mode():
        first = net.stem[1](net.stem[0](images))
        mean, variance = first.mean((0, 2, 3)), first.var((0, 2, 3), correction=0)
        second = net.down[0](torch.relu((first - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()))
        found = list(measure_norms(net, images).layers.values())
    assert torch.allclose(found[0][0], mean, atol=1e-5)
    assert torch.allclose(found[1][0], second.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(found[1][1], second.var((0, 2, 3), correction=0), rtol=1e-4)
