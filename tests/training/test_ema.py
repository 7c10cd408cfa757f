"""The average of weights, with values worked out by hand: which of the two weights is which can be seen."""

import pytest
import torch
from torch import nn

from diptych.training.ema import Ema


def nets(weight, count=0):
    """One 1 x 1 convolution of a known weight and bias 0, beside a buffer."""
    net = nn.Conv2d(1, 1, 1)
    nn.init.constant_(net.weight, weight)
    nn.init.zeros_(net.bias)
    net.register_buffer("seen", torch.tensor(count))
    return nn.ModuleDict({"a2b": net})


def weight_of(ema):
    return ema.translators()["a2b"].weight.item()


def test_the_average_keeps_decay_of_itself_and_takes_the_rest_of_the_new_weights():
    ema = Ema(nets(1.0), 0.9)
    ema.update(nets(2.0))
    assert weight_of(ema) == pytest.approx(0.9 * 1.0 + 0.1 * 2.0)  # 1.1
    ema.update(nets(4.0))
    assert weight_of(ema) == pytest.approx(0.9 * 1.1 + 0.1 * 4.0)  # 1.39


@pytest.mark.parametrize(("decay", "expected"), [(0.0, 5.0), (0.5, 3.0), (0.75, 2.0)])
def test_the_larger_the_decay_the_slower_the_average_follows(decay, expected):
    ema = Ema(nets(1.0), decay)
    ema.update(nets(5.0))
    assert weight_of(ema) == pytest.approx(expected)


def test_buffers_are_copied_not_averaged():
    ema = Ema(nets(1.0, count=3), 0.5)
    ema.update(nets(1.0, count=10))
    assert ema.translators()["a2b"].seen.item() == 10


def test_the_average_is_a_copy_that_takes_no_gradient_and_leaves_the_weights_alone():
    trained = nets(1.0)
    ema = Ema(trained, 0.5)
    with torch.no_grad():
        trained["a2b"].weight.fill_(3.0)
    assert weight_of(ema) == 1.0
    ema.update(trained)
    assert trained["a2b"].weight.item() == 3.0 and weight_of(ema) == 2.0
    assert not any(p.requires_grad for p in ema.parameters())
    assert all(p.requires_grad for p in trained.parameters())


def test_translators_are_the_averages_by_the_name_of_their_direction():
    ema = Ema(nn.ModuleDict({"a2b": nn.Conv2d(1, 1, 1), "b2a": nn.Conv2d(1, 2, 1)}), 0.9)
    assert {name: net.out_channels for name, net in ema.translators().items()} == {"a2b": 1, "b2a": 2}
