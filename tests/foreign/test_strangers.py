"""Networks that are not understood are refused in one line, by their names."""

import pytest
import torch
from torch import nn

from diptych.errors import WeightsError
from diptych.foreign import load_foreign, recognise
from tests.reference import junyanz


def resnet_state(**changes):
    state = junyanz.ResnetGenerator(ngf=2, n_blocks=2).state_dict()
    return {key: tensor for key, tensor in {**state, **changes}.items() if tensor is not None}


def with_biases_and_batch_norm():
    biases = {f"model.{index}.bias": torch.zeros(width) for index, width in ((1, 2), (4, 4), (7, 8))}
    return junyanz.ResnetGenerator(ngf=2, n_blocks=2, norm=junyanz.batch).state_dict() | biases


def of_unequal_levels():
    state = junyanz.UnetGenerator(ngf=2, num_downs=6).state_dict()
    return {key: tensor for key, tensor in state.items() if not key.startswith("model.model.1.model.3.model.3.model.3.model.3")}


STRANGERS = {
    "unknown": (
        lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).state_dict(),
        r"the keys '0.weight', '0.bias', '1.weight' \.\.\. belong to no known network; docs/import.md lists",
    ),
    "CUT's sampler": (lambda: {"mlp_0.0.weight": torch.ones(2, 2)}, "the keys 'mlp_0.0.weight' belong to no known network"),
    "missing": (lambda: resnet_state(**{"model.4.weight": None}), "but 'model.4.weight' is missing; docs/import.md lists"),
    "missing first": (lambda: resnet_state(**{"model.1.weight": None}), "'model.1.weight' is missing; docs/import.md lists"),
    "unexpected": (
        lambda: resnet_state(attention=torch.ones(2)),
        "looks like a CycleGAN ResNet of 2 .* but 'attention' unexpected; docs",
    ),
    "shape": (
        lambda: resnet_state(**{"model.4.weight": torch.ones(5, 2, 3, 3)}),
        "but 'model.4.weight' is 5x2x3x3 instead of 4x2x3x3; docs/import.md lists",
    ),
    "not a convolution": (
        lambda: resnet_state(**{"model.1.weight": torch.ones(2, 3)}),
        "'model.1.weight' is 2x3 instead of a conv",
    ),
    "many": (
        lambda: resnet_state(**{f"extra.{i}": torch.ones(1) for i in range(9)}),
        "'extra.0', 'extra.1', 'extra.2' ... unexpected; docs/import.md lists",
    ),
    "pix2pixHD": (
        lambda: {f"model.{16 + i}.conv_block.{k}.weight": torch.ones(8, 8, 3, 3) for i in range(9) for k in (1, 5)},
        "'model.1.weight' is missing",
    ),
    "biased batch norm": (
        with_biases_and_batch_norm,
        "batch norm, without dropout, with biases, .* but 'model.10.conv_block.1.bias' is missing, .* and 3 more;",
    ),
    "U-Net without a core": (
        of_unequal_levels,
        r"looks like a pix2pix U-Net of 5 halvings.* but 'model.model.1.* is unexpected, .* and 13 more;",
    ),
    "U-Net of one level": (
        lambda: {"model.model.0.weight": torch.ones(2, 3, 4, 4), "model.model.3.weight": torch.ones(4, 3, 4, 4)},
        "looks like a PatchGAN, but 'model.model.0.weight', 'model.model.3.weight' are fewer than three convolutions; docs",
    ),
    "vintagify's judge": (  # the same keys and shapes as ours would have, but its fourth convolution has stride 2
        lambda: junyanz.NLayerDiscriminator(ndf=2, norm=junyanz.affine).state_dict(),
        "a PatchGAN with affine instance norm is not one of the published networks; docs/import.md lists",
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
    with pytest.raises(WeightsError, match=r"latest_net_F.pth: the keys 'mlp_0.0.weight' belong to no known network; docs"):
        load_foreign(tmp_path / "latest_net_F.pth")


def test_weights_that_would_need_terabytes_are_refused_before_memory_is_spent():
    wide = torch.ones(1).expand(200_000, 3, 4, 4)
    with pytest.raises(WeightsError, match=r"looks like a pix2pix U-Net .* ngf 200000"):
        recognise({**junyanz.UnetGenerator(ngf=2, num_downs=5).state_dict(), "model.model.0.weight": wide})
