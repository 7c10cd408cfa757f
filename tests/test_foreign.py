"""Other tools' weights: equal to the last bit with an independent implementation, or refused in one line."""

import io
import os
import pickle
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from diptych.errors import WeightsError
from diptych.foreign import load_foreign, recognise, to_snapshot
from diptych.nets import PatchGAN, ResNet, UNet
from diptych.nets.modes import applied
from diptych.state_dicts import read_state_dict
from tests.reference import junyanz


def scrambled(net, seed=0):
    """As after training: every tensor far from its initial value, in eval mode."""
    torch.manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(1234)
        elif name.endswith("running_var"):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
        else:
            tensor.copy_(torch.randn_like(tensor) * (0.2 if tensor.ndim == 4 else 1.0))
    return net.eval()


def image(*shape):
    return torch.rand(*shape) * 2 - 1


def saved(net, path):
    torch.save(net.state_dict(), path)
    return path


# --- networks that are understood ---


RESNETS = {
    "nine blocks": ({"n_blocks": 9}, "CycleGAN ResNet of 9 blocks, ngf 4, instance norm, without dropout, 3 to 3 channels"),
    "six blocks": ({"n_blocks": 6}, "CycleGAN ResNet of 6 blocks, ngf 4, instance norm, without dropout, 3 to 3 channels"),
    "one block": ({"n_blocks": 1}, "ResNet of 1 blocks"),
    "twelve blocks": ({"n_blocks": 12}, "ResNet of 12 blocks"),  # model.9 and model.10 in natural order
    "batch norm": ({"n_blocks": 6, "norm": junyanz.batch}, "6 blocks, ngf 4, batch norm, without dropout"),
    "dropout": ({"n_blocks": 6, "dropout": True}, "6 blocks, ngf 4, instance norm, with dropout"),
    "batch norm and dropout": ({"n_blocks": 2, "norm": junyanz.batch, "dropout": True}, "batch norm, with dropout"),
    "no norm": ({"n_blocks": 2, "norm": junyanz.no_norm}, "no norm, without dropout"),
    "gray to four channels": ({"n_blocks": 2, "input_nc": 1, "output_nc": 4}, "1 to 4 channels"),
    "four to one channels": ({"n_blocks": 2, "input_nc": 4, "output_nc": 1}, "4 to 1 channels"),
    "ngf 6": ({"n_blocks": 2, "ngf": 6}, "ngf 6"),
    "affine": ({"n_blocks": 2, "norm": junyanz.affine}, "CycleGAN ResNet of 2 blocks, ngf 4, affine instance norm"),
    "vintagify": ({"n_blocks": 9, "norm": junyanz.affine, "block_name": "block"}, "vintagify ResNet of 9 blocks, ngf 4, affine"),
}


@pytest.mark.parametrize("case", RESNETS)
def test_a_published_resnet_gives_bit_equal_images(case, tmp_path):
    options, origin = RESNETS[case]
    theirs = scrambled(junyanz.ResnetGenerator(**{"ngf": 4, **options}))
    ours = load_foreign(saved(theirs, tmp_path / "latest_net_G.pth"))
    assert isinstance(ours.net, ResNet)
    assert ours.role == "generator"
    assert origin in ours.origin
    assert ours.stale == ()
    assert not any(module.training for module in ours.net.modules())
    x = image(2, options.get("input_nc", 3), 20, 32)
    assert torch.equal(ours.net(x), theirs(x))


@pytest.mark.parametrize("dropout", [False, True])
def test_old_statistics_that_instance_norm_never_uses_are_dropped_and_named(dropout, tmp_path):
    theirs = scrambled(junyanz.ResnetGenerator(ngf=4, n_blocks=2, norm=junyanz.instance_with_old_statistics, dropout=dropout))
    ours = load_foreign(saved(theirs, tmp_path / "horse2zebra.pth"))
    x = image(1, 3, 16, 16)
    assert torch.equal(ours.net(x), theirs(x))
    assert ours.net.spec["norm"] == "instance"
    assert ours.net.spec["dropout"] == dropout
    assert len(ours.stale) == 9 * 3
    assert ours.stale[:2] == ("model.2.running_mean", "model.2.running_var")


UNETS = {
    "unet_32": ({"num_downs": 5}, 64),
    "unet_128": ({"num_downs": 7}, 128),
    "unet_256": ({"num_downs": 8}, 256),
    "unet_256 instance": ({"num_downs": 8, "norm": junyanz.instance, "dropout": False}, 512),
    "unet_64 old instance": ({"num_downs": 6, "norm": junyanz.instance_with_old_statistics, "dropout": False}, 64),
    "no norm": ({"num_downs": 6, "norm": junyanz.no_norm, "dropout": False}, 64),
    "gray to four channels": ({"num_downs": 5, "input_nc": 1, "output_nc": 4}, 32),
    "four to one channels": ({"num_downs": 6, "input_nc": 4, "output_nc": 1, "ngf": 3}, 64),
}


@pytest.mark.parametrize("case", UNETS)
def test_a_published_unet_gives_bit_equal_images(case, tmp_path):
    options, side = UNETS[case]
    theirs = scrambled(junyanz.UnetGenerator(**{"ngf": 2, **options}))
    ours = load_foreign(saved(theirs, tmp_path / "latest_net_G.pth"))
    assert isinstance(ours.net, UNet)
    assert ours.role == "generator"
    assert ours.net.spec["num_downs"] == options["num_downs"]
    x = image(1, options.get("input_nc", 3), side, side)
    assert torch.equal(ours.net(x), theirs(x))


def test_the_origin_of_a_unet_says_what_the_file_cannot():
    ours = recognise(junyanz.UnetGenerator(ngf=2, num_downs=7).state_dict())
    assert (
        ours.origin
        == "pix2pix U-Net of 7 halvings, ngf 2, batch norm, 3 to 3 channels, with dropout (assumed: the file cannot say)"
    )
    plain = recognise(junyanz.UnetGenerator(ngf=2, num_downs=7, norm=junyanz.instance).state_dict())
    assert "instance norm, 3 to 3 channels, without dropout (assumed: the file cannot say)" in plain.origin


@pytest.mark.parametrize("num_downs", [5, 7, 8])
def test_dropout_is_drawn_in_the_published_order(num_downs):
    theirs = scrambled(junyanz.UnetGenerator(ngf=2, num_downs=num_downs)).train()
    ours = recognise(theirs.state_dict()).net.train()
    x = image(2, 3, 2**num_downs, 2**num_downs)
    for seed in (1, 2):  # the second time with the statistics that the first left
        torch.manual_seed(seed)
        expected = theirs(x)
        torch.manual_seed(seed)
        assert torch.equal(ours(x), expected)
    matching = zip(recognise(theirs.state_dict()).net.state_dict().values(), ours.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in matching)


def test_paper_mode_is_what_the_published_test_script_computes():
    theirs = scrambled(junyanz.UnetGenerator(ngf=2, num_downs=7)).train()
    ours = recognise(theirs.state_dict()).net
    x = image(1, 3, 128, 128)
    torch.manual_seed(5)
    expected = theirs(x)
    with applied(ours, "paper", seed=5) as net:
        assert torch.equal(net(x), expected)
    with applied(ours, "eval") as net:
        assert not torch.allclose(net(x), expected, atol=0.01)


MODES = {
    "instance norm": (lambda: junyanz.ResnetGenerator(ngf=4, n_blocks=2), "eval"),
    "instance norm and dropout": (lambda: junyanz.ResnetGenerator(ngf=4, n_blocks=2, dropout=True), "paper"),
    "batch norm": (lambda: junyanz.ResnetGenerator(ngf=4, n_blocks=2, norm=junyanz.batch), "paper"),
    "U-Net with batch norm": (lambda: junyanz.UnetGenerator(ngf=2, num_downs=7), "paper"),
    "U-Net with instance norm": (lambda: junyanz.UnetGenerator(ngf=2, num_downs=5, norm=junyanz.instance, dropout=False), "eval"),
}


@pytest.mark.parametrize("case", MODES)
def test_an_imported_generator_is_applied_as_the_published_test_script_does(case):
    """Which never calls eval() unless told so."""
    build, mode = MODES[case]
    theirs, x = scrambled(build()).train(), image(1, 3, 128, 128)
    snapshot = to_snapshot({"a2b": recognise(theirs.state_dict())})
    torch.manual_seed(0)
    expected = theirs(x)
    with applied(snapshot.generators["a2b"], snapshot.mode, seed=0) as net:
        assert snapshot.mode == mode and torch.equal(net(x), expected)


def test_a_resnet_trained_with_dropout_draws_it_in_the_published_order():
    theirs = scrambled(junyanz.ResnetGenerator(ngf=4, n_blocks=3, dropout=True)).train()
    ours = recognise(theirs.state_dict()).net.train()
    x = image(1, 3, 16, 16)
    torch.manual_seed(1)
    expected = theirs(x)
    torch.manual_seed(1)
    assert torch.equal(ours(x), expected)


@pytest.mark.parametrize("norm", [junyanz.instance, junyanz.batch, junyanz.instance_with_old_statistics, junyanz.no_norm])
@pytest.mark.parametrize("n_layers", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("input_nc", [3, 6])
def test_a_published_patchgan_gives_bit_equal_logits(n_layers, norm, input_nc, tmp_path):
    theirs = scrambled(junyanz.NLayerDiscriminator(input_nc, ndf=3, n_layers=n_layers, norm=norm))
    ours = load_foreign(saved(theirs, tmp_path / "latest_net_D.pth"))
    assert isinstance(ours.net, PatchGAN)
    assert ours.role == "discriminator"
    assert ours.origin.startswith(f"PatchGAN of {n_layers} layers, ndf 3, ")
    assert ("judges pairs" in ours.origin) == (input_nc == 6)
    x = image(2, input_nc, 100, 96)
    assert torch.equal(ours.net(x), theirs(x))


@pytest.mark.parametrize("norm", [junyanz.instance, junyanz.batch, junyanz.no_norm])
@pytest.mark.parametrize("input_nc", [1, 2, 3, 6])
def test_a_published_pixel_discriminator_gives_bit_equal_logits(norm, input_nc):
    theirs = scrambled(junyanz.PixelDiscriminator(input_nc, ndf=5, norm=norm))
    ours = recognise(theirs.state_dict())
    assert ours.origin.startswith("pixel discriminator, ndf 5, ")
    x = image(2, input_nc, 9, 14)
    assert torch.equal(ours.net(x), theirs(x))


def test_the_statistics_of_batch_norm_are_loaded():
    theirs = scrambled(junyanz.NLayerDiscriminator(6, ndf=3, norm=junyanz.batch))
    ours = recognise(theirs.state_dict()).net
    for mine, original in zip(ours.layers, theirs.model, strict=True):
        for name, tensor in original.state_dict().items():
            assert torch.equal(mine.state_dict()[name], tensor), name
    assert ours.layers[3].num_batches_tracked.item() == 1234


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "G_A2B"])
def test_prefixes_and_wrappers_make_no_difference(prefix, wrapper, tmp_path):
    theirs = scrambled(junyanz.ResnetGenerator(ngf=4, n_blocks=2))
    content = {prefix + key: tensor for key, tensor in theirs.state_dict().items()}
    torch.save(
        {wrapper: content, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}} if wrapper else content, tmp_path / "G.pth"
    )
    x = image(1, 3, 16, 16)
    assert torch.equal(load_foreign(tmp_path / "G.pth").net(x), theirs(x))


def test_files_of_old_and_half_precision_torch_are_read(tmp_path):
    theirs = scrambled(junyanz.NLayerDiscriminator(3, ndf=3, norm=junyanz.batch))
    x = image(1, 3, 32, 32)
    old = {key: tensor for key, tensor in theirs.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(load_foreign(tmp_path / "old.pth").net(x), theirs(x))
    saved(theirs.half(), tmp_path / "half.pth")
    assert torch.equal(load_foreign(tmp_path / "half.pth").net(x), theirs.float()(x))


def test_foreign_safetensors_are_read(tmp_path):
    theirs = scrambled(junyanz.ResnetGenerator(ngf=4, n_blocks=2))
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "G.safetensors", {"format": "pt"})
    x = image(1, 3, 16, 16)
    assert torch.equal(load_foreign(tmp_path / "G.safetensors").net(x), theirs(x))


def test_the_network_can_be_trained_without_touching_the_tensors_it_came_from():
    state = scrambled(junyanz.ResnetGenerator(ngf=2, n_blocks=1)).state_dict()
    before = {key: tensor.clone() for key, tensor in state.items()}
    net = recognise(state).net.train()
    net(image(1, 3, 16, 16)).mean().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            assert parameter.grad is not None
            parameter -= 1.0
    assert all(torch.equal(tensor, before[key]) for key, tensor in state.items())


# --- the counts of REFERENCE.md 2.2 ---


COUNTS = {
    "unet_256 batch": (lambda: junyanz.UnetGenerator(), lambda: UNet(3, 3), 54_413_955, 82),
    "unet_256 instance": (
        lambda: junyanz.UnetGenerator(norm=junyanz.instance),
        lambda: UNet(3, 3, norm="instance"),
        54_409_603,
        32,
    ),
    "unet_128 batch": (lambda: junyanz.UnetGenerator(num_downs=7), lambda: UNet(3, 3, num_downs=7), 41_828_995, 70),
    "resnet_9blocks": (lambda: junyanz.ResnetGenerator(), lambda: ResNet(3, 3), 11_378_179, 48),
    "resnet_6blocks": (lambda: junyanz.ResnetGenerator(n_blocks=6), lambda: ResNet(3, 3, num_blocks=6), 7_837_699, 36),
    "basic": (lambda: junyanz.NLayerDiscriminator(), lambda: PatchGAN(3), 2_764_737, 10),
    "basic batch": (lambda: junyanz.NLayerDiscriminator(6, norm=junyanz.batch), lambda: PatchGAN(6, norm="batch"), 2_768_705, 22),
    "pixel batch": (
        lambda: junyanz.PixelDiscriminator(6, norm=junyanz.batch),
        lambda: PatchGAN(6, num_layers=0, norm="batch"),
        9_024,
        None,
    ),
}


@pytest.mark.parametrize("case", COUNTS)
def test_parameters_and_keys_are_as_many_as_published(case):
    build_theirs, build_ours, parameters, keys = COUNTS[case]
    with torch.device("meta"):
        theirs, ours = build_theirs(), build_ours()
    assert sum(p.numel() for p in theirs.parameters()) == parameters
    assert sum(p.numel() for p in ours.parameters()) == parameters
    assert len(ours.state_dict()) == len(theirs.state_dict()) == (keys or len(theirs.state_dict()))


def test_the_reference_has_the_published_keys():
    with torch.device("meta"):
        nine, dropout = junyanz.ResnetGenerator().state_dict(), junyanz.ResnetGenerator(dropout=True).state_dict()
        batch, unet = junyanz.ResnetGenerator(norm=junyanz.batch).state_dict(), junyanz.UnetGenerator().state_dict()
    assert {"model.10.conv_block.1.weight", "model.18.conv_block.5.bias", "model.26.bias"} < set(nine)
    assert nine["model.19.weight"].shape == (256, 128, 3, 3)
    assert "model.10.conv_block.6.weight" in dropout
    assert {key.split(".")[1] for key in batch if key.endswith("running_var") and "block" not in key} == {
        "2",
        "5",
        "8",
        "20",
        "23",
    }
    inner = "model.model.1" + 6 * ".model.3"
    assert unet[f"{inner}.model.1.weight"].shape == unet[f"{inner}.model.3.weight"].shape == (512, 512, 4, 4)
    assert f"{inner}.model.4.num_batches_tracked" in unet
    assert unet["model.model.1.model.3.model.3.model.5.weight"].shape == (1024, 256, 4, 4)
    assert unet["model.model.3.weight"].shape == (128, 3, 4, 4)


# --- networks that are not understood ---


def resnet_state(**changes):
    state = junyanz.ResnetGenerator(ngf=2, n_blocks=2).state_dict()
    return {key: tensor for key, tensor in {**state, **changes}.items() if tensor is not None}


def filters_of_cut():
    return resnet_state(**{"model.7.filt": torch.ones(256, 1, 3, 3), "model.12.filt": torch.ones(256, 1, 4, 4)})


def with_biases_and_batch_norm():
    biases = {f"model.{index}.bias": torch.zeros(width) for index, width in ((1, 2), (4, 4), (7, 8))}
    return junyanz.ResnetGenerator(ngf=2, n_blocks=2, norm=junyanz.batch).state_dict() | biases


def of_unequal_levels():
    state = junyanz.UnetGenerator(ngf=2, num_downs=6).state_dict()
    return {key: tensor for key, tensor in state.items() if not key.startswith("model.model.1.model.3.model.3.model.3.model.3")}


STRANGERS = {
    "CUT": (filters_of_cut, r"the anti-aliased .* of CUT \('model.7.filt', 'model.12.filt'\) is not supported; .*--no_antialias"),
    "unknown": (
        lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).state_dict(),
        r"the keys '0.weight', '0.bias', '1.weight' \.\.\. belong to no known network; supported are the ResNet, U-Net",
    ),
    "CUT's sampler": (lambda: {"mlp_0.0.weight": torch.ones(2, 2)}, "the keys 'mlp_0.0.weight' belong to no known network"),
    "missing": (lambda: resnet_state(**{"model.4.weight": None}), "but 'model.4.weight' is missing; supported are"),
    "missing first": (lambda: resnet_state(**{"model.1.weight": None}), "'model.1.weight' is missing; supported are"),
    "unexpected": (
        lambda: resnet_state(attention=torch.ones(2)),
        "looks like a CycleGAN ResNet of 2 .* but 'attention' is unexpected",
    ),
    "shape": (
        lambda: resnet_state(**{"model.4.weight": torch.ones(5, 2, 3, 3)}),
        "but 'model.4.weight' is 5x2x3x3 instead of 4x2x3x3; supported are",
    ),
    "not a convolution": (
        lambda: resnet_state(**{"model.1.weight": torch.ones(2, 3)}),
        "'model.1.weight' is 2x3 instead of a conv",
    ),
    "many": (
        lambda: resnet_state(**{f"extra.{i}": torch.ones(1) for i in range(9)}),
        "'extra.0' is unexpected, 'extra.1' is unexpected, 'extra.2' is unexpected and 6 more; supported are",
    ),
    "pix2pixHD": (
        lambda: {f"model.{16 + i}.conv_block.1.weight": torch.ones(8, 8, 3, 3) for i in range(9)},
        "'model.1.weight' is missing",
    ),
    "biased batch norm": (
        with_biases_and_batch_norm,
        "no published norm comes with convolution biases, with norm weights and with runn",
    ),
    "U-Net without a core": (
        of_unequal_levels,
        r"looks like a pix2pix U-Net of 5 halvings.* but 'model.model.1.* is unexpected, .* and 13 more;",
    ),
    "U-Net of one level": (
        lambda: {"model.model.0.weight": torch.ones(2, 3, 4, 4), "model.model.3.weight": torch.ones(4, 3, 4, 4)},
        "looks like a U-Net, but its levels 'model.model.0.weight', 'model.model.3.weight' are not nested as published",
    ),
    "vintagify's judge": (  # the same keys and shapes as ours would have, but its fourth convolution has stride 2
        lambda: junyanz.NLayerDiscriminator(ndf=2, norm=junyanz.affine).state_dict(),
        "a PatchGAN with affine instance norm is not one of the published networks; supported are",
    ),
    "two convolutions": (
        lambda: nn.ModuleDict({"model": nn.Sequential(nn.Conv2d(3, 2, 4), nn.ReLU(), nn.Conv2d(2, 1, 4))}).state_dict(),
        "looks like a PatchGAN, but .* are fewer than three convolutions",
    ),
    "five by five": (
        lambda: resnet_state(**{"model.4.weight": torch.ones(4, 2, 5, 5)}),
        "'model.4.weight' is 4x2x5x5 instead of 4x2x3x3",
    ),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_a_network_that_is_not_understood_is_refused_by_its_keys(case):
    build, message = STRANGERS[case]
    with pytest.raises(WeightsError, match=message) as caught:
        recognise(build())
    assert "\n" not in str(caught.value)


def test_a_refused_network_is_reported_with_its_file(tmp_path):
    torch.save({"mlp_0.0.weight": torch.ones(2, 2)}, tmp_path / "latest_net_F.pth")
    with pytest.raises(WeightsError, match=r"latest_net_F.pth: the keys 'mlp_0.0.weight' belong to no known network; supported"):
        load_foreign(tmp_path / "latest_net_F.pth")


def test_weights_that_would_need_terabytes_are_refused_before_memory_is_spent():
    wide = torch.ones(1).expand(200_000, 3, 7, 7)
    with pytest.raises(WeightsError, match=r"looks like a .* ngf 200000"):
        recognise(resnet_state(**{"model.1.weight": wide}))


# --- files that hold no weights ---


class Touch:
    """Unpickling it would create the canary."""

    def __init__(self, canary: Path, how: str = "system") -> None:
        self.canary, self.how = canary, how

    def __reduce__(self):
        match self.how:
            case "system":
                return os.system, (f"touch '{self.canary}'",)
            case "eval":
                return eval, (f"open({str(self.canary)!r}, 'w').close()",)
        return Path.touch, (self.canary,)


def raw(content):
    return lambda path, canary: path.write_bytes(content)


def torch_saved(build, **options):
    return lambda path, canary: torch.save(build(), path, **options)


def cut_short(path, canary, keep=0.5, **options):
    torch.save(resnet_state(), path, **options)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def flipped(path, canary):
    torch.save(resnet_state(), path)
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)  # inside of the pickled names
    path.write_bytes(content)


def torchscript(path, canary):
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.trace(nn.Conv2d(1, 1, 1), torch.rand(1, 1, 2, 2)), path)


def optimizer_state():
    moments = {"step": torch.tensor(3.0), "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}
    return {"state": {0: moments, 1: moments}, "param_groups": [{"lr": 2e-4, "betas": (0.5, 0.999), "params": [0, 1]}]}


def numpy_file(path, canary):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def zip_of_text(path, canary):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "no weights here")


def in_zip(path, canary):
    """A malicious data.pkl in a well-formed torch archive."""
    torch.save({"a": torch.ones(1)}, path)
    with zipfile.ZipFile(path) as file:
        records = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in records.items():
            file.writestr(name, pickle.dumps(Touch(canary), 2) if name.endswith("data.pkl") else content)


def nan_state():
    return resnet_state(**{"model.4.bias": torch.tensor([0.0, float("nan"), 0.0, 0.0])})


def pickled(content):
    file = io.BytesIO()
    pickle.dump(content, file)
    return file.getvalue()


DAMAGED = "is damaged or not a PyTorch file .*; download or copy it again"
OBJECTS = "which are never run; save net.state_dict"
FILES = {
    "malicious reduce": (lambda path, canary: torch.save({"x": Touch(canary)}, path), OBJECTS),
    "malicious eval": (lambda path, canary: torch.save({**resnet_state(), "x": Touch(canary, "eval")}, path), OBJECTS),
    "malicious method": (lambda path, canary: torch.save({"x": Touch(canary, "path")}, path), OBJECTS),
    "malicious legacy": (lambda path, canary: torch.save(Touch(canary), path, _use_new_zipfile_serialization=False), OBJECTS),
    "malicious bare pickle": (lambda path, canary: path.write_bytes(pickled(Touch(canary))), f"{DAMAGED}|{OBJECTS}"),
    "malicious record": (in_zip, OBJECTS),
    "whole model": (
        torch_saved(lambda: nn.Conv2d(1, 1, 1)),
        r"holds Python objects \(torch.nn.modules.conv.Conv2d\), " + OBJECTS,
    ),
    "whole model in a dict": (torch_saved(lambda: {"model": nn.Conv2d(1, 1, 1)}), OBJECTS),
    "torchscript": (torchscript, "is a TorchScript program, which is never run; save net.state_dict"),
    "empty": (raw(b""), DAMAGED),
    "text": (raw(b"hello world\n" * 20), DAMAGED),
    "web page": (raw(b"<!DOCTYPE html><html>404 not found</html>"), DAMAGED),
    "git lfs pointer": (raw(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"), DAMAGED),
    "noise": (raw(np.random.default_rng(0).bytes(5000)), DAMAGED),
    "half a zip": (cut_short, DAMAGED),
    "nearly a zip": (lambda path, canary: cut_short(path, canary, 0.999), DAMAGED),
    "half a legacy file": (lambda path, canary: cut_short(path, canary, _use_new_zipfile_serialization=False), DAMAGED),
    "flipped bytes": (flipped, DAMAGED),
    "zip of text": (zip_of_text, DAMAGED),
    "numpy": (numpy_file, DAMAGED),
    "pickled numpy": (lambda path, canary: path.write_bytes(pickled({"a": np.zeros(3)})), f"{DAMAGED}|{OBJECTS}"),
    "a tensor": (torch_saved(lambda: torch.zeros(3)), "holds a Tensor instead of a state_dict; save net.state_dict"),
    "a list": (torch_saved(lambda: [1, 2]), "holds a list instead of a state_dict"),
    "nothing": (torch_saved(dict), "holds nothing; save the state_dict of one network in a file of its own"),
    "numbers": (torch_saved(lambda: {"epoch": 3, "lr": 0.1}), "holds 'epoch', 'lr' and no network; save the state_dict of one"),
    "optimizer": (torch_saved(optimizer_state), "holds 'state', 'param_groups' and no network; save"),
    "two networks": (
        torch_saved(lambda: {"G_A": resnet_state(), "G_B": resnet_state(), "epoch": 1}),
        "holds the networks 'G_A', 'G_B'; save the state_dict of one network in a file of its own",
    ),
    "number keys": (torch_saved(lambda: {0: torch.zeros(1)}), "holds '0' and no network"),
    "both prefixes": (
        torch_saved(lambda: {"a": torch.ones(1), "module.a": torch.zeros(1)}),
        "'a' occurs twice; get an undamaged file",
    ),
    "sparse": (torch_saved(lambda: {"a": torch.ones(3).to_sparse()}), r"'a' is not a plain tensor of numbers \(torch.sparse_coo"),
    "meta": (torch_saved(lambda: {"a": torch.ones(3, device="meta")}), "'a' is not a plain tensor of numbers"),
    "complex": (torch_saved(lambda: {"a": torch.ones(3, dtype=torch.complex64)}), "not a plain tensor of numbers .*complex64"),
    "no elements": (torch_saved(lambda: {"a": torch.ones(3, 0)}), "'a' has the impossible shape 3x0"),
    "a bomb": (torch_saved(lambda: {"a": torch.ones(1).expand(10**9)}), "'a' has the impossible shape 1000000000"),
    "not a number": (
        torch_saved(nan_state),
        r"'model.4.bias' is not finite \(NaN or infinity\); get an undamaged file from its author",
    ),
    "long keys": (torch_saved(lambda: {"k\n" * 5000: torch.ones(1) / 0}), r"'k\\nk.* is not finite"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_holds_no_weights_is_refused_in_one_line_and_runs_nothing(case, tmp_path):
    write, message = FILES[case]
    path, canary = tmp_path / "latest_net_G.pth", tmp_path / "canary"
    write(path, canary)
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert re.search(message, text), text
    assert "\n" not in text
    assert len(text) < len(str(path)) + 400
    assert not canary.exists()


def test_the_canary_would_have_been_touched(tmp_path):
    for how in ("system", "eval", "path"):
        pickle.loads(pickle.dumps(Touch(tmp_path / how, how)))
        assert (tmp_path / how).exists()


def test_a_path_without_a_file_is_refused_in_one_line(tmp_path):
    for path, reason in ((tmp_path / "G.pth", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(WeightsError, match=rf"cannot be read \({reason}\); check the path"):
            read_state_dict(path)


def test_our_own_file_and_a_damaged_one_are_told_apart_from_foreign_safetensors(tmp_path):
    path = tmp_path / "snapshot.safetensors"
    safetensors.torch.save_file({"a": torch.ones(1)}, path, {"diptych": "{}", "sha256": "0"})
    with pytest.raises(
        WeightsError, match=r"snapshot.safetensors: was written by diptych itself and needs no import; use it directly"
    ):
        read_state_dict(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(WeightsError, match=DAMAGED):
        read_state_dict(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_state_dict(tmp_path / "missing.safetensors")
