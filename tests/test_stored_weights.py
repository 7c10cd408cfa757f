"""Weights in 8 bits: worked out by hand, read back as written, measured before a zoo takes them, refused when damaged."""

import copy
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from diptych import Recipe, Translator
from diptych.cli import main
from diptych.data.census import take_census
from diptych.data.folders import find_data
from diptych.errors import SnapshotError
from diptych.nets import PatchGAN, ResNet
from diptych.pixels import Domain
from diptych.snapshot import Snapshot, check_header
from diptych.stored_weights import quantized
from diptych.training.distributed import World
from diptych.training.start import begin, with_hashes
from diptych.trees import read_header, read_tree, write_tree

WORDS = ["--name", "x", "--licence", "other: none", "--shows", "a test"]


def network(width: int = 8) -> ResNet:
    torch.manual_seed(0)
    net = ResNet(3, 3, width=width, num_blocks=2).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, 0.0, 0.1)
    return net


@pytest.fixture
def small(tmp_path):
    Snapshot({"a2b": network()}, Domain(), Domain(), 16).save(tmp_path / "small.safetensors", bits=8)
    return tmp_path / "small.safetensors"


def test_a_small_tensor_is_quantised_as_worked_out_by_hand():
    # Largest 1.26, so a level is 0.01; in levels 126, 0.4, 0.4, -0.8, with running sums 126, 126.4, 126.8, 126.0.
    weight = torch.tensor([[[[1.26, 0.004, 0.004, -0.008]]], [[[0.0, 0.0, 0.0, 0.0]]], [[[-0.63, 0.0, 0.003, 0.0]]]])
    levels, scale = quantized(weight, 0)
    assert levels.dtype == torch.int8 and scale.shape == (3, 1, 1, 1) and scale.dtype == torch.float32
    assert levels.flatten(1).tolist() == [[126, 0, 1, -1], [0, 0, 0, 0], [-126, 0, 1, 0]]
    assert scale.flatten()[[0, 2]].tolist() == pytest.approx([0.01, 0.005])
    levels, scale = quantized(torch.tensor([[[[1.26]], [[2.0]]], [[[0.635]], [[-2.52]]]]), 1)  # of a transposed convolution
    assert levels.flatten().tolist() == [126, 100, 64, -126] and scale.flatten().tolist() == pytest.approx([0.01, 0.02])
    levels, scale = quantized(torch.tensor([[1.26, 0.004], [0.004, 0.504]]), 0)  # of a linear layer: no taps to sum over
    assert levels.tolist() == [[126, 0], [1, 126]] and scale.flatten().tolist() == pytest.approx([0.01, 0.004])


def test_no_running_sum_is_off_by_more_than_half_a_level_and_no_level_leaves_its_8_bits():
    weight = torch.randn(16, 8, 7, 7, generator=torch.Generator().manual_seed(0))
    levels, scale = quantized(weight, 0)
    assert levels.abs().max() <= 127 and levels.abs().max() >= 125
    apart = (levels.double() - weight.double() / scale.double()).flatten(2).cumsum(2)
    assert apart.abs().max() <= 0.5 + 1e-9


def test_a_file_in_8_bits_holds_what_it_says_and_comes_back_as_the_products(small):
    net = network()
    tensors, header = safetensors.torch.load_file(small), read_header(small)
    assert header["format"] == 3
    kernels = [key for key, value in net.state_dict().items() if value.ndim == 4]
    back = Snapshot.load(small).generators["a2b"].state_dict()
    for key, value in net.state_dict().items():
        held = tensors[f"generators.a2b.weights.{key}"]
        if key in kernels:
            product = held.numpy().astype(np.float32) * tensors[f"generators.a2b.scales.{key}"].numpy()
            assert held.dtype == torch.int8 and np.array_equal(back[key].numpy(), product)
            assert (back[key] - value).abs().max() <= value.abs().max() / 126
        else:
            assert held.dtype == torch.float16 and torch.equal(back[key], value.half().float())
    assert kernels and small.stat().st_size < 1.2 * sum(value.numel() for value in net.parameters()) + 9000


def test_saving_what_was_loaded_from_8_bits_gives_the_same_weights(small, tmp_path):
    net = Snapshot.load(small)
    net.save(tmp_path / "whole.safetensors")
    again = Snapshot.load(tmp_path / "whole.safetensors").generators["a2b"].state_dict()
    assert all(torch.equal(value, again[key]) for key, value in net.generators["a2b"].state_dict().items())
    assert read_header(tmp_path / "whole.safetensors")["format"] == 2


def test_16_bits_are_what_they_were_before_there_were_8(tmp_path):
    half = Snapshot({"a2b": copy.deepcopy(network()).half()}, Domain(), Domain(), 16)
    half.save(tmp_path / "half.safetensors")
    Snapshot({"a2b": network()}, Domain(), Domain(), 16).save(tmp_path / "16.safetensors", bits=16)
    assert (tmp_path / "16.safetensors").read_bytes() == (tmp_path / "half.safetensors").read_bytes()
    assert read_header(tmp_path / "16.safetensors")["format"] == 2


def test_a_version_that_knows_no_8_bits_refuses_them_in_one_line(small):
    with pytest.raises(
        SnapshotError, match=r"format 3 is newer than this version of diptych understands \(2\); upgrade diptych$"
    ):
        check_header(small, "snapshot", 2)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda scale: scale * torch.nan, "must be of finite 32-bit floats above 0"),
        (lambda scale: scale * 0, "must be of finite 32-bit floats above 0"),
        (lambda scale: -scale, "must be of finite 32-bit floats above 0"),
        (lambda scale: scale.half(), "must be of finite 32-bit floats above 0"),
        (lambda scale: scale[:2], r"has shape \(2, 1, 1, 1\), which does not fit weights of \(3, 8, 7, 7\)"),
        (lambda scale: scale.flatten(), r"has shape \(3,\), which does not fit"),
        (lambda scale: 1.0, "input should be an instance of Tensor"),
        (lambda scale: None, "every weight in 8 bits needs its scale, and only these have one"),
    ],
)
def test_a_damaged_scale_is_refused_in_one_line(small, damage, message):
    tree = read_tree(small)
    scales = tree["generators"]["a2b"]["scales"]
    key = "head.1.weight"
    scales[key] = damage(scales[key])
    if scales[key] is None:
        del scales[key]
    write_tree(small, tree)
    with pytest.raises(SnapshotError, match=message) as caught:
        Snapshot.load(small)
    said = str(caught.value)
    assert said.startswith(f"{small}: no whole snapshot: ") and f"scales.{key}" in said and "\n" not in said


def test_a_scale_of_weights_that_are_floats_is_refused(small):
    tree = read_tree(small)
    tree["generators"]["a2b"]["scales"]["head.1.bias"] = torch.ones(3)
    write_tree(small, tree)
    with pytest.raises(
        SnapshotError, match=r"a2b\.scales\.head\.1\.bias: every weight in 8 bits needs its scale, and only these"
    ):
        Snapshot.load(small)


def test_a_training_begins_with_weights_in_8_bits(small):
    method = {"generator": "resnet_2", "ngf": 8, "ndf": 4, "num_layers": 1}
    settings = {"method": method, "data": {"source": ["x"]}, "start": {"weights_a2b": str(small)}}
    recipe = with_hashes(Recipe.create("cyclegan", settings))
    begun = recipe.build(Domain(), Domain())
    begin(begun, recipe, World())
    expected = Snapshot.load(small).generators["a2b"].state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in begun.G_ab.state_dict().items())


@pytest.fixture
def run(tmp_path):
    """A run folder of CycleGAN with a snapshot and the five images that it was trained on."""
    for side in ("trainA", "trainB"):
        (tmp_path / "data" / side).mkdir(parents=True)
        for number in range(5):
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / side / f"{number}.png")
    settings = {"data": {"source": [str(tmp_path / "data")], "load_size": 16, "crop_size": 16}}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text(json.dumps(Recipe.create("cyclegan", settings).to_dict()))
    census = take_census(find_data([tmp_path / "data"], paired=False).train)
    (tmp_path / "run" / "census.json").write_text(census.to_json())
    Snapshot({"a2b": network()}, Domain(), Domain(), 16).save(tmp_path / "run" / "snapshot.safetensors")
    return tmp_path / "run"


def test_packing_says_what_8_bits_cost_on_the_images_of_the_run(run, tmp_path, capsys):
    assert main(["zoo", "pack", str(run), *WORDS, "--bits", "8", "--max-error", "9", "--out", str(tmp_path / "zoo")]) == 0
    whole, packed = Translator.load(run, device="cpu"), Translator.load(tmp_path / "zoo" / "x.safetensors", device="cpu")
    images = [Image.open(path) for path in (tmp_path / "data" / "trainA").iterdir()]
    apart = [np.abs(np.asarray(whole(image), float) - np.asarray(packed(image), float)) for image in images]
    printed = capsys.readouterr().out
    assert f"mean difference {np.mean(apart):.2f}/255, greatest {np.max(apart):.0f}/255, on 5 images of its data" in printed
    assert np.max(apart) > 0
    assert f"Weights of 8 bits: mean difference {np.mean(apart):.2f}/255" in (tmp_path / "zoo" / "x.md").read_text()


def test_packing_measures_on_random_images_where_there_are_no_others(run, tmp_path, capsys):
    words = ["zoo", "pack", str(run / "snapshot.safetensors"), *WORDS, "--out"]
    for image in (tmp_path / "data" / "trainA").iterdir():
        image.unlink()
    assert main([*words, str(tmp_path / "zoo")]) == 0
    assert "/255, on 2 random images" in capsys.readouterr().out


def test_a_cost_above_the_limit_is_refused_and_nothing_is_written(run, tmp_path, capsys):
    words = ["zoo", "pack", str(run), *WORDS, "--bits", "8", "--out", str(tmp_path / "zoo"), "--max-error"]
    assert main([*words, "0.001"]) == 6
    (said,) = capsys.readouterr().err.splitlines()
    assert "x: 8 bits make a mean difference" in said and "more than --max-error 0.001; nothing was written" in said
    assert not (tmp_path / "zoo").exists()
    assert main([*words, "-1"]) == 2 and "--max-error must be at least 0, found -1" in capsys.readouterr().err


def test_discriminators_keep_16_bits(run, tmp_path, monkeypatch):
    judged = Snapshot({"a2b": network()}, Domain(), Domain(), 16, discriminators={"D_b": PatchGAN(3, width=4, num_layers=1)})
    monkeypatch.setattr("diptych.scoring.packing.with_discriminators", lambda source: judged)
    words = [
        "zoo",
        "pack",
        str(run),
        *WORDS,
        "--bits",
        "8",
        "--max-error",
        "9",
        "--discriminators",
        "--out",
        str(tmp_path / "zoo"),
    ]
    assert main(words) == 0
    assert read_header(tmp_path / "zoo" / "x-D_b.safetensors")["format"] == 2
    assert read_header(tmp_path / "zoo" / "x.safetensors")["format"] == 3
