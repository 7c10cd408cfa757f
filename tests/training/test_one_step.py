"""One training step of two numbers, worked out by hand: whose gradients, of what, in which order."""

from itertools import pairwise
from typing import final

import pytest
import torch
from torch import nn

from diptych.methods import Batch, Method
from diptych.methods.pix2pix import Pix2PixConfig
from diptych.recipe import Recipe, TrainConfig
from diptych.training.distributed import World
from diptych.training.step import split, train_step
from diptych.training.trainee import Trainee
from tests.methods.by_hand import Times, flat


@final
class Toy(Method):
    """D has the loss d * mean(a); G has the losses g * mean(a) and 3 * g * d * mean(b): their gradients are known."""

    def __init__(self):
        super().__init__()
        self.G, self.D = Times(2.0), Times(5.0)
        self.calls, self.dtypes = [], []

    def generators(self):
        return {"a2b": self.G}

    def phases(self):
        return {"D": [self.D], "G": [self.G]}

    def losses(self, batch):
        self.calls.append(("D", self.D.factor.item(), batch))
        yield "D", {"one": self.D(batch.a).mean()}
        self.calls.append(("G", self.D.factor.item(), batch))
        self.dtypes.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        yield "G", {"one": self.G(batch.a).mean(), "three": 3.0 * self.G(batch.b).mean()}


def trainee_of(**train):
    """A trainee of the toy, whose Adam moves each number by lr against the sign of its gradient at the first step."""
    recipe = Recipe(Pix2PixConfig(), train=TrainConfig(**{"precision": "fp32", "lr": 0.25} | train))
    return Trainee(Toy(), recipe, torch.device("cpu"), World())


BATCH = Batch(flat(1.0, 2.0, 4.0, 5.0), flat(0.0, -1.0, -2.0, -3.0), torch.tensor([1.0, 0.0, 0.0, 1.0]))


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_each_phase_goes_against_the_gradient_of_the_mean_over_the_whole_batch(parts):
    trainee = trainee_of(batch_size=4, accumulate=parts)
    train_step(trainee, BATCH)
    method = trainee.method
    assert method.D.factor.grad.item() == pytest.approx(3.0)  # the mean of a
    assert method.G.factor.grad.item() == pytest.approx(3.0 + 3.0 * -1.5)  # and 3 times the mean of b
    assert method.D.factor.item() == pytest.approx(5.0 - 0.25) and method.G.factor.item() == pytest.approx(2.0 + 0.25)
    assert trainee.stats.steps == 1
    assert trainee.stats.read(World()) == {
        "D/one": pytest.approx(5.0 * 3.0),
        "G/one": pytest.approx(2.0 * 3.0),
        "G/three": pytest.approx(3.0 * 2.0 * -1.5),
    }


@pytest.mark.parametrize("parts", [1, 2])
def test_a_phase_is_updated_before_the_next_one_is_computed_and_every_part_meets_the_same_weights(parts):
    trainee = trainee_of(batch_size=4, accumulate=parts)
    train_step(trainee, BATCH)
    assert [(phase, d) for phase, d, _ in trainee.method.calls] == [("D", 5.0)] * parts + [("G", 4.75)] * parts
    seen = [batch.a[:, 0, 0, 0].tolist() for phase, _, batch in trainee.method.calls if phase == "G"]
    assert seen == ([[1.0, 2.0, 4.0, 5.0]] if parts == 1 else [[1.0, 2.0], [4.0, 5.0]])


def test_gradients_of_one_step_are_not_those_of_the_next():
    trainee = trainee_of(batch_size=2)
    train_step(trainee, Batch(flat(1.0), flat(1.0)))
    train_step(trainee, Batch(flat(10.0), flat(20.0)))
    assert trainee.method.D.factor.grad.item() == pytest.approx(10.0)
    assert trainee.method.G.factor.grad.item() == pytest.approx(10.0 + 60.0)
    assert trainee.stats.steps == 2


def test_a_weight_that_no_loss_reaches_in_a_step_stays_where_it_is():
    @final
    class Sometimes(Method):
        """Its first step reaches two numbers, and the others one of them."""

        def __init__(self):
            super().__init__()
            self.G, self.H, self.both = Times(1.0), Times(1.0), True

        def generators(self):
            return {"a2b": self.G}

        def phases(self):
            return {"G": [self.G, self.H]}

        def losses(self, batch):
            yield "G", {"one": (self.G(batch.a) + (self.H(batch.a) if self.both else 0.0)).mean()}

    recipe = Recipe(Pix2PixConfig(), train=TrainConfig(precision="fp32", lr=0.25))
    trainee = Trainee(Sometimes(), recipe, torch.device("cpu"), World())
    train_step(trainee, BATCH)
    assert trainee.method.G.factor.item() == trainee.method.H.factor.item() == pytest.approx(0.75)
    trainee.method.both = False
    train_step(trainee, BATCH)
    assert trainee.method.G.factor.item() == pytest.approx(0.5)
    assert trainee.method.H.factor.item() == pytest.approx(0.75)  # not even the momentum of the step before moves it


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_losses_are_computed_in_the_precision_of_the_recipe(precision):
    trainee = trainee_of(precision=precision)
    train_step(trainee, BATCH)
    assert trainee.method.dtypes == [torch.bfloat16 if precision == "bf16" else torch.float32]


@pytest.mark.parametrize("ema", [0.0, 0.75])
def test_the_average_takes_its_share_once_a_step(ema):
    trainee = trainee_of(ema=ema)
    train_step(trainee, BATCH)
    (average,) = (net.factor.item() for net in trainee.translators().values())
    assert average == pytest.approx(0.75 * 2.0 + 0.25 * 2.25 if ema else 2.25)


@pytest.mark.parametrize("asks_host", [False, True])
@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_an_update_that_is_not_finite_is_left_to_the_optimizer_or_where_it_does_not_listen_left_out(asks_host, value):
    trainee, told = trainee_of(), []
    trainee.asks_host = asks_host
    for phase, optimizer in trainee.optimizers.items():
        optimizer.step = lambda phase=phase, optimizer=optimizer: told.append((phase, optimizer.found_inf.item()))
    train_step(trainee, Batch(flat(value), flat(1.0)))
    bad = float(value != 1.0)
    assert told == ([] if asks_host and bad else [("D", bad), ("G", bad)])
    names = trainee.guard.read(1, [("a.png", "b.png")])
    assert (names.names if names else ()) == (("D/one", "gradients of D", "G/one", "gradients of G") if bad else ())


@pytest.mark.parametrize("phase", ["D", "G"])
def test_gradients_are_averaged_over_the_processes_after_the_backward_pass_and_before_the_update(phase, monkeypatch):
    trainee, seen = trainee_of(), {}
    trainee.world = World(0, 2)

    def halve(parameters, world):
        (parameter,) = parameters
        seen[parameter] = (parameter.grad.item(), parameter.item(), world)
        parameter.grad *= -1

    monkeypatch.setattr("diptych.training.step.average_gradients", halve)
    train_step(trainee, BATCH)
    net, before, gradient, after = {"D": (trainee.method.D, 5.0, 3.0, 5.25), "G": (trainee.method.G, 2.0, -1.5, 1.75)}[phase]
    assert seen[net.factor] == (pytest.approx(gradient), before, World(0, 2)) and net.factor.item() == pytest.approx(after)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("known", [None, BATCH.known])
def test_a_batch_is_divided_in_order_with_its_known_pairs_in_the_layout_of_the_networks(layout, known):
    a, b = torch.arange(96.0).view(4, 6, 2, 2), torch.arange(32.0).view(4, 2, 2, 2)
    parts = list(split(Batch(a, b, known), 2, layout))
    assert len(parts) == 2 and all(isinstance(part, Batch) for part in parts)
    assert torch.equal(torch.cat([part.a for part in parts]), a) and torch.equal(torch.cat([part.b for part in parts]), b)
    assert all(side.is_contiguous(memory_format=layout) for part in parts for side in (part.a, part.b))
    assert [part.known if known is None else part.known.tolist() for part in parts] == (
        [None, None] if known is None else [[1.0, 0.0], [0.0, 1.0]]
    )


def test_a_batch_of_fewer_images_than_parts_is_our_own_mistake():
    with pytest.raises(ValueError, match="zip"):
        list(split(Batch(flat(1.0, 2.0, 3.0), flat(1.0, 2.0, 3.0)), 4, torch.contiguous_format))


def test_a_method_of_one_phase_with_one_term_is_stepped_too():
    @final
    class One(Method):
        def __init__(self):
            super().__init__()
            self.G = Times(1.0)

        def generators(self):
            return {"a2b": self.G}

        def phases(self):
            return {"G": [self.G]}

        def losses(self, batch):
            yield "G", {"one": self.G(batch.a).mean()}

    trainee = Trainee(One(), Recipe(Pix2PixConfig(), train=TrainConfig(precision="fp32", lr=0.5)), torch.device("cpu"), World())
    weights = [1.0]
    for _ in range(3):
        train_step(trainee, Batch(flat(1.0), flat(1.0)))
        weights.append(trainee.method.G.factor.item())
    assert [before - after for before, after in pairwise(weights)] == pytest.approx([0.5] * 3, rel=1e-4)
    assert isinstance(trainee.method.G, nn.Module) and trainee.stats.steps == 3
