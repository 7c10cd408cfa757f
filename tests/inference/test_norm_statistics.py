"""Norms keep statistics that were measured once, on every backend and in exported files."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from diptych.cli import main
from diptych.data.formats import read_pixels
from diptych.errors import ConfigError
from diptych.inference import staging
from diptych.inference.export import export
from diptych.inference.norm_statistics import measure_norms
from diptych.inference.translator import Translator
from diptych.nets import generator, initialise
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

FLOATS = Domain(3, "float32", -1, 1)


def snapshot(name="resnet_2", domain=FLOATS, mode="eval", **options):
    torch.manual_seed(0)
    options = {"norm": "instance", **options}
    net = initialise(generator(name, 3, 3, width=8, **options), "normal", 0.1).eval()
    return Snapshot({"a2b": net}, domain, domain, mode=mode)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.InstanceNorm2d(3)

    def forward(self, x):
        return self.norm(self.norm(x))


def picture(height, width, low=-1.0, high=1.0, seed=1):
    return np.random.default_rng(seed).uniform(low, high, (height, width, 3)).astype(np.float32)


CASES = {
    "resnet": ("resnet_2", "eval", {}),
    "affine": ("resnet_1", "eval", {"norm": "instance_affine"}),
    "unet": ("unet_4", "eval", {}),
    "batch statistics as paper": ("unet_4", "paper", {"norm": "batch"}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_image_in_which_norms_were_measured_comes_out_as_before(case):
    name, mode, options = CASES[case]
    translate, image = Translator(snapshot(name, mode=mode, **options), device="cpu"), picture(37, 50)
    fixed = translate.with_norms(translate.measure_norms(image))
    assert np.abs(fixed(image) - translate(image)).max() < 2e-5


def test_with_fixed_norms_a_crop_comes_out_as_in_the_whole_image():
    translate, image = Translator(snapshot("resnet_1"), device="cpu"), picture(64, 160)
    image[:, 80:] *= 0.2
    crop, fixed = np.ascontiguousarray(image[:, :80]), translate.with_norms(translate.measure_norms(image))
    inner = slice(0, 40)  # farther from the cut than the network reaches
    assert np.abs(fixed(crop)[:, inner] - fixed(image)[:, inner]).max() < 1e-5
    assert np.abs(translate(crop)[:, inner] - translate(image)[:, inner]).max() > 0.05


def test_several_images_are_measured_as_one_batch():
    """The reference is batch norm, in training, in the place of every norm: its batch are these images."""
    translate = Translator(snapshot("resnet_2"), device="cpu")
    images = np.stack([picture(24, 28, seed=1), picture(24, 28, -0.3, 0.9, seed=2)])
    reference = snapshot("resnet_2", norm="batch", bias=True).generators["a2b"]
    missing = reference.load_state_dict(translate.net.state_dict(), strict=False)
    assert not missing.unexpected_keys
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            module.momentum = 1.0
    x = translate.source.encode(torch.from_numpy(images).permute(0, 3, 1, 2))
    with torch.no_grad():
        reference.train()(x)
    found = translate.measure_norms(images)
    assert list(found.layers) == [name for name, module in reference.named_modules() if isinstance(module, nn.BatchNorm2d)]
    for name, (mean, variance) in found.layers.items():
        norm = reference.get_submodule(name)
        size = 24 * 28 * 2 if name.startswith(("stem", "up.4")) else 12 * 14 * 2 if name in ("down.1", "up.1") else 6 * 7 * 2
        assert torch.allclose(mean, norm.running_mean, atol=1e-5), name
        assert torch.allclose(variance * size / (size - 1), norm.running_var, rtol=1e-4, atol=1e-6), name


def test_a_reference_that_is_too_large_is_measured_by_stages(monkeypatch):
    monkeypatch.setattr(staging, "SIDES", (12,))
    translate, image = Translator(snapshot(), device="cpu", memory=10**12), picture(45, 38)
    whole = translate.measure_norms(image)
    monkeypatch.setattr(translate, "fits", lambda *size: False)
    staged = translate.measure_norms(image)
    assert list(staged.layers) == list(whole.layers)
    for name in whole.layers:
        for found, expected in zip(staged.layers[name], whole.layers[name], strict=True):
            assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5), name
    fixed = translate.with_norms(whole)
    assert np.abs(fixed.by_stages(image) - translate(image)).max() < 2e-5


def test_statistics_can_be_mixed_and_replaced_in_place():
    translate = Translator(snapshot(), device="cpu")
    first, second = translate.measure_norms(picture(20, 20)), translate.measure_norms(picture(20, 20, -0.2, 0.3))
    fixed, image = translate.with_norms(first), picture(20, 20, seed=3)
    mean, variance = first.mixed(second, 0.25).layers["stem.2"]
    for found, own, other in zip((mean, variance), first.layers["stem.2"], second.layers["stem.2"], strict=True):
        assert torch.allclose(found, 0.75 * own + 0.25 * other)
    before = fixed(image)
    fixed.set_norms(second)
    assert np.array_equal(fixed(image), translate.with_norms(second)(image)) and not np.array_equal(fixed(image), before)
    fixed.set_norms(first)
    assert np.array_equal(fixed(image), before)
    assert first.sha256 == first.mixed(second, 0.0).sha256 != second.sha256


def test_what_cannot_be_fixed_is_said():
    with pytest.raises(ConfigError, match="has no norm that takes statistics from its image, so none can be fixed"):
        Translator(snapshot("unet_4", norm="batch"), device="cpu").measure_norms(picture(20, 20))
    with pytest.raises(ConfigError, match="applies a norm 2 times to an image"):
        measure_norms(Twice(), torch.randn(1, 3, 8, 8))
    norms = Translator(snapshot("resnet_1"), device="cpu").measure_norms(picture(20, 20))
    with pytest.raises(ConfigError, match=r"of another network, which has a norm stem\.2 of 8 channels"):
        Translator(snapshot("unet_4"), device="cpu", norms=norms)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_other_backends_and_exports_keep_the_statistics(tmp_path):
    pytest.importorskip("onnxruntime")
    domain = Domain()
    saved = snapshot("resnet_1", domain=domain)
    saved.save(tmp_path / "s.safetensors")
    reference, image = (np.random.default_rng(seed).integers(0, 200, (40, 44, 3), dtype=np.uint8) for seed in (1, 2))
    Image.fromarray(reference).save(tmp_path / "reference.png")
    plain = Translator(saved, device="cpu")
    norms = plain.measure_norms(reference)
    expected = plain.with_norms(norms)(image).astype(int)
    assert np.abs(plain(image).astype(int) - expected).max() > 3
    onnx = Translator(saved, device="cpu", backend="onnx", norms=norms)
    assert np.abs(onnx(image).astype(int) - expected).max() <= 1
    export(tmp_path / "s.safetensors", tmp_path / "s.pt", "torchscript", norm_from=tmp_path / "reference.png")
    program = torch.jit.load(tmp_path / "s.pt")
    assert (
        np.abs(program(torch.from_numpy(image).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy().astype(int) - expected).max()
        <= 1
    )


def test_the_command_translates_with_the_norms_of_a_reference(tmp_path, capsys):
    saved = snapshot("resnet_1", domain=Domain())
    saved.save(tmp_path / "s.safetensors")
    for name in ("reference", "a"):
        image = np.random.default_rng(len(name)).integers(0, 200, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    words = [str(tmp_path / "s.safetensors"), str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]
    assert main(["translate", *words, "--norm-from", str(tmp_path / "reference.png")]) == 0
    plain = Translator(saved, device="cpu")
    norms = plain.measure_norms(read_pixels(tmp_path / "reference.png"))
    expected = plain.with_norms(norms)(read_pixels(tmp_path / "a.png"))
    assert np.array_equal(read_pixels(tmp_path / "out" / "a.png"), expected)
    assert main(["translate", *words]) == 2
    assert "was made with another --norm-from; make it anew with --overwrite" in capsys.readouterr().err.replace("\n", " ")
