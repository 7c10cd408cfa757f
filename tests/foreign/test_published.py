"""Other tools' weights: equal to the last bit with an independent implementation, or refused in one line."""

import pytest
import safetensors.torch
import torch

from diptych.foreign import Assumed, Said, load_foreign, recognise, to_snapshot
from diptych.nets import PatchGAN, ResNet, UNet
from diptych.nets.modes import applied
from tests.foreign.weights import image, saved, scrambled
from tests.reference import junyanz

# --- networks that are understood ---


RESNETS = {
    "nine blocks": ({"n_blocks": 9}, "CycleGAN ResNet of 9 blocks, ngf 4, instance norm, without dropout, 3 to 3 channels"),
    "six blocks": ({"n_blocks": 6}, "CycleGAN ResNet of 6 blocks, ngf 4, instance norm, without dropout, 3 to 3 channels"),
    "one block": ({"n_blocks": 1}, "ResNet of 1 blocks"),
    "twelve blocks": ({"n_blocks": 12}, "ResNet of 12 blocks"),  # model.9 and model.10 in natural order
    "batch norm": ({"n_blocks": 6, "norm": junyanz.batch}, "6 blocks, ngf 4, batch norm, without dropout"),
    "dropout": ({"n_blocks": 6, "dropout": True}, "6 blocks, ngf 4, instance norm, with dropout"),
    "batch norm and dropout": ({"n_blocks": 2, "norm": junyanz.batch, "dropout": True}, "batch norm, with dropout"),
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


def test_dropout_in_a_unet_is_assumed_and_can_be_said():
    state = junyanz.UnetGenerator(ngf=2, num_downs=7).state_dict()
    ours = recognise(state)
    assert ours.origin == "pix2pix U-Net of 7 halvings, ngf 2, batch norm, 3 to 3 channels"
    assert ours.assumed == {"dropout": Assumed("with dropout", "--no-dropout")} and ours.net.spec["dropout"]
    assert not recognise(state, Said(dropout=False)).net.spec["dropout"]
    plain = recognise(junyanz.UnetGenerator(ngf=2, num_downs=7, norm=junyanz.instance).state_dict())
    assert plain.assumed["dropout"] == Assumed("without dropout", "--dropout") and not plain.net.spec["dropout"]


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
    said = Said(norm="none") if norm is junyanz.no_norm else Said()
    ours = load_foreign(saved(theirs, tmp_path / "latest_net_D.pth"), said)
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
    ours = recognise(theirs.state_dict(), Said(norm="none") if norm is junyanz.no_norm else Said())
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
