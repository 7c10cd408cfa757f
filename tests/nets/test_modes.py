"""Applying a network leaves it, other threads and the random state of the process alone, and means what the papers mean."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.nets import generator, initialise
from diptych.nets.modes import applied, as_translator, depends_on_batch


@pytest.fixture
def net():
    torch.manual_seed(0)
    return initialise(generator("unet_6", 3, 3, width=4, norm="batch", dropout=True), "normal", 0.1)


def image(n=1):
    return torch.rand((n, 3, 64, 64), generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_paper_mode_draws_what_torch_draws_from_the_same_seed(net):
    torch.manual_seed(5)
    with torch.no_grad():
        expected = net.train()(image()), net(image())  # two images in a row from one seed
    with applied(net.eval(), "paper", seed=5) as translate:
        found = translate(image()), translate(image())
    assert not torch.equal(*expected) and all(map(torch.equal, found, expected))


def test_eval_mode_uses_running_statistics_without_dropout(net):
    with torch.no_grad():
        net.train()(image(4))  # so that the running statistics differ from a batch's
        expected = net.eval()(image())
    with applied(net.train(), "eval") as translate:
        assert torch.equal(translate(image()), expected) and not torch.is_grad_enabled()
    with applied(net, "paper") as translate:
        assert not torch.allclose(translate(image()), expected, atol=0.01)


@pytest.mark.parametrize("mode", ["eval", "paper"])
@pytest.mark.parametrize("training", [True, False])
def test_the_network_keeps_its_flags_buffers_and_weights_inside_and_after(net, mode, training):
    net.train(training)
    state = torch.get_rng_state()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with applied(net, mode) as translate:
        translate(image())
        assert all(module.training == training for module in net.modules())
        assert all(module.track_running_stats for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_translator_follows_the_weights_of_its_network(net):
    translate, _ = as_translator(net, "eval")
    assert [p.data_ptr() for p in translate.parameters()] == [p.data_ptr() for p in net.parameters()]
    with torch.no_grad():
        before = translate(image())
        net.head[-1].bias += 1
        assert not torch.equal(translate(image()), before)


def test_two_modes_of_one_network_are_applied_at_the_same_time(net):
    def translated(mode, times):
        outs = []
        for _ in range(times):
            with applied(net, mode, seed=3) as translate:
                outs.append(translate(image()).clone())
        return outs

    expected = {mode: translated(mode, 1)[0] for mode in ("eval", "paper")}
    with ThreadPoolExecutor(4) as pool:
        found = {mode: [pool.submit(translated, mode, 8) for _ in range(2)] for mode in ("eval", "paper")}
    for mode, futures in found.items():
        assert all(torch.equal(out, expected[mode]) for future in futures for out in future.result())


def test_dropout_that_has_no_seeded_form_is_refused_in_paper_mode_alone():
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout2d(0.5))
    with pytest.raises(ConfigError, match=r"mode paper knows nn\.Dropout only, found Dropout2d; choose mode eval"):
        as_translator(net, "paper")
    with applied(net, "eval") as translate:
        assert translate(torch.zeros(1, 3, 4, 4)).shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("resnet_1", {"norm": "instance"}, False),
        ("resnet_1", {"norm": "batch"}, True),
        ("resnet_1", {"norm": "instance", "dropout": True}, True),
        ("unet_3", {"norm": "instance", "dropout": False}, False),
    ],
)
def test_results_depend_on_the_batch_with_batch_norm_or_dropout(name, options, expected):
    assert depends_on_batch(generator(name, 3, 3, width=4, **options)) == expected
