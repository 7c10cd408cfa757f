"""However a step is computed, in parts, with less memory or recorded, it is the same step."""

import pytest
import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.methods import Batch
from diptych.methods.discriminators import equip
from diptych.nets.stage import Stage, StyledStage
from diptych.pixels import Domain
from diptych.recipe import Recipe, TrainConfig
from diptych.training.distributed import World
from diptych.training.execution.cuda_graph import NUM_WARM_UP_STEPS, GraphedStep
from diptych.training.step import train_step
from diptych.training.trainee import Trainee
from tests.contract.small import NAMES, draws, small, unmixed

SIZE = 16
METHODS = {name: small(name) | unmixed(name) for name in NAMES}
METHODS["cyclegan"] |= {"pool_size": 50}


def trainee_of(method, train=None, dtype=torch.float64, **settings):
    recipe = Recipe.create(method, {"method": METHODS[method] | settings, "train": {"precision": "fp32"} | (train or {})})
    torch.manual_seed(0)
    return Trainee(recipe.method.build(Domain(), Domain(), SIZE).to(dtype), recipe, torch.device("cpu"), World())


def batch_of(seed, n=4, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    return Batch(*(torch.rand(n, 3, SIZE, SIZE, generator=random, dtype=dtype) * 2 - 1 for _ in "ab"))


def drops_out(method):
    """Whether a network has dropout, which a U-Net has from 6 downsamplings on."""
    return any(isinstance(module, nn.Dropout) for module in method.modules())


def learnt(trainee):
    """All that training changed, by name."""
    moments = {
        f"{phase} {index} {name}": value
        for phase, optimizer in trainee.optimizers.items()
        for index, state in enumerate(optimizer.state.values())
        for name, value in state.items()
    }
    return dict(trainee.method.state_dict()) | moments | trainee.stats.sums


def assert_equal_learning(one, other, **tolerance):
    one, other = learnt(one), learnt(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], **tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_teaches_what_the_whole_batch_does(method, parts):
    if draws(method, METHODS[method]):
        pytest.skip("this method draws at random, once for each part")
    whole, parted = (trainee_of(method, {"batch_size": 4, "accumulate": count, "ema": 0.9}) for count in (1, parts))
    for step in range(3):
        for trainee in (whole, parted):
            train_step(trainee, batch_of(step))
    assert whole.stats.steps == parted.stats.steps == 3
    # Biases that a norm takes away have gradients of rounding alone, which Adam divides by their own size.
    assert_equal_learning(whole, parted, rtol=1e-6, atol=1e-7 if method in ("cut", "dclgan") else 1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_after_each_step_the_average_takes_its_share_of_the_new_weights(method):
    trainee = trainee_of(method, {"ema": 0.75, "lr": 0.1})
    averages = {name: list(net.parameters()) for name, net in trainee.translators().items()}
    trained = {name: list(net.parameters()) for name, net in trainee.method.generators().items()}
    assert averages.keys() == trained.keys()
    expected = {name: [p.detach().clone() for p in parameters] for name, parameters in trained.items()}
    for step in range(2):
        train_step(trainee, batch_of(step))
        for name, parameters in trained.items():
            expected[name] = [0.75 * old + 0.25 * new.detach() for old, new in zip(expected[name], parameters, strict=True)]
            assert max((old - new).abs().max() for old, new in zip(expected[name], parameters, strict=True)) > 0.01
            torch.testing.assert_close(averages[name], expected[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("parts", [1, 2])
def test_statistics_are_the_means_of_the_losses_since_they_were_last_read(parts):
    train = {"batch_size": 4, "accumulate": parts, "lr": 0.0}  # so that each step finds the same weights
    trainee = trainee_of("pix2pix", train, lambda_gan=0.0, lambda_l1=10.0)
    G = trainee.method.generators()["a2b"]
    batches = [batch_of(seed) for seed in range(3)]
    with torch.no_grad():
        first, second, third = (10.0 * (G(a) - b).abs().mean().item() for a, b, *_ in batches)
    assert trainee.stats.read(World()) == {}
    for batch in batches[:2]:
        train_step(trainee, batch)
    assert trainee.stats.read(World()) == {"G/l1": pytest.approx((first + second) / 2, rel=1e-9)}
    assert trainee.stats.read(World()) == {}
    train_step(trainee, batches[2])
    assert trainee.stats.read(World()) == {"G/l1": pytest.approx(third, rel=1e-9)}


def test_an_update_in_parts_is_left_out_when_one_part_is_not_finite():
    trainee = trainee_of("cyclegan", {"batch_size": 4, "accumulate": 2})
    before = {name: value.clone() for name, value in trainee.method.named_parameters()}
    batch = batch_of(0)
    batch.a[3, 0, 0, 0] = float("nan")
    train_step(trainee, batch)
    assert "G/cycle_a" in trainee.guard.read(1, [("a.png", "b.png")]).names
    assert all(torch.equal(value, before[name]) for name, value in trainee.method.named_parameters())


def test_parts_that_are_not_equal_are_refused():
    with pytest.raises(
        ConfigError, match=r"accumulate 3 must divide train\.batch_size 4 into equal parts; choose one of its divisors"
    ):
        TrainConfig(batch_size=4, accumulate=3)


CHECKPOINTED = {
    "pix2pix": [
        {},
        {"norm": "batch", "dropout": True, "generator": "unet_6"},
        {"gan": "wgan", "norm": "instance", "lambda_r1": 1.0},
    ],
    "cyclegan": [{}, {"norm": "batch", "dropout": True}, {"generator": "unet_3", "upsample": "pixelshuffle"}],
}


@pytest.mark.parametrize(
    ("method", "settings"), [(method, settings) for method, kinds in CHECKPOINTED.items() for settings in kinds], ids=str
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recomputed_activations_teach_bit_equally(method, settings, precision, monkeypatch):
    monkeypatch.setitem(globals(), "SIZE", 64 if settings.get("generator") == "unet_6" else SIZE)
    trainees = []
    for checkpoint in (False, True):
        trainee = trainee_of(method, {"checkpoint": checkpoint, "precision": precision}, torch.float32, **settings)
        assert drops_out(trainee.method) == settings.get("dropout", False)
        torch.manual_seed(1)
        for step in range(3):
            train_step(trainee, batch_of(step, 2, torch.float32))
        trainees.append(trainee)
    assert_equal_learning(*trainees, rtol=0, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_recomputed_activations_are_not_kept(method):
    kept = {}
    for checkpoint in (False, True):
        trainee = trainee_of(method, {"checkpoint": checkpoint})
        stages = [module for module in trainee.method.modules() if isinstance(module, Stage | StyledStage)]
        assert any(stage.recompute for stage in stages) is checkpoint
        sizes = {}

        def keep(tensor, sizes=sizes):
            sizes[tensor.data_ptr()] = tensor.nbytes
            return tensor

        generators = trainee.method.generators().values()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = [net(batch_of(0).a) for net in generators]
        assert all(output.requires_grad for output in outputs)
        weights = {p.data_ptr() for p in trainee.method.parameters()}
        kept[checkpoint] = sum(size for place, size in sizes.items() if place not in weights)
    assert kept[True] < {"cyclegan": 0.5, "colorization": 0.9}.get(method, 0.8) * kept[False]


def record_on_the_cpu(trainee):
    """What torch.cuda.graph does: recording changes no tensor, and replaying runs the kernels but no Python around them."""

    def record(step):
        tensors = [*trainee.method.state_dict().values(), *trainee.stats.sums.values(), *trainee.ema.state_dict().values()]
        tensors += [value for o in trainee.optimizers.values() for state in o.state.values() for value in state.values()]
        before, chance = [tensor.clone() for tensor in tensors], torch.get_rng_state()
        step()
        flags = list(trainee.guard._flags)
        torch.set_rng_state(chance)
        with torch.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)

        def replay():
            steps = trainee.stats.steps
            asked = trainee.guard.take_flags()
            step()
            trainee.stats.steps = steps
            for place, flag in zip(flags, trainee.guard.take_flags()[1], strict=True):
                place.copy_(flag)
            trainee.guard.add_flags(asked)

        return replay

    return record


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_recorded_step_is_the_step(method, accumulate, monkeypatch):
    settings = {"cyclegan": {"pool_size": 3}, "pix2pix": {"dropout": True, "generator": "unet_6"}}.get(method, {})
    monkeypatch.setitem(globals(), "SIZE", 64 if method == "pix2pix" else SIZE)
    train = {"batch_size": 4, "accumulate": accumulate, "ema": 0.9}
    plain, recorded = (trainee_of(method, train, **settings) for _ in range(2))
    assert method != "pix2pix" or drops_out(plain.method), "without dropout, no random state is tested"
    for trainee in (plain, recorded):
        for optimizer in trainee.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = torch.tensor(group["lr"])  # as on a GPU, where a recording reads it
    for trainee, step in ((plain, None), (recorded, GraphedStep(recorded, record_on_the_cpu(recorded)))):
        torch.manual_seed(7)
        for k in range(NUM_WARM_UP_STEPS + 4):
            trainee.set_lr(1e-3 / (k + 1))
            batch = batch_of(k)
            if k == NUM_WARM_UP_STEPS + 2:
                batch.a[0, 0, 0, 0] = float("nan")
            step(batch) if step else train_step(trainee, batch)
            trouble = trainee.guard.read(k, [])
            assert (trouble is not None) == (k == NUM_WARM_UP_STEPS + 2)
    assert plain.stats.steps == recorded.stats.steps == NUM_WARM_UP_STEPS + 4
    assert_equal_learning(plain, recorded, rtol=0, atol=0, equal_nan=True)


def test_a_step_is_recorded_once_and_anew_after_a_restored_state_or_another_split():
    trainee = trainee_of("cyclegan", {"batch_size": 4, "ema": 0.9})
    count = []

    def record(step):
        count.append(1)
        return record_on_the_cpu(trainee)(step)

    step = GraphedStep(trainee, record)
    state = None
    for k in range(NUM_WARM_UP_STEPS + 3):
        step(batch_of(k))
        trainee.guard.read(k, [])
        state = state or trainee.state()
    assert len(count) == 1
    trainee.restore(state)
    for k in range(NUM_WARM_UP_STEPS + 2):
        step(batch_of(k))
    assert len(count) == 2
    trainee.parts = 2
    for k in range(NUM_WARM_UP_STEPS + 2):
        step(batch_of(k))
    assert len(count) == 3


def test_steps_with_and_without_an_update_of_the_generators_are_recorded_one_by_one():
    train = {"batch_size": 4, "ema": 0.9, "discriminator": {"updates": 2, "r1_every": 4}}
    plain, recorded = (trainee_of("cyclegan", train, lambda_r1=1.0) for _ in range(2))
    for trainee in (plain, recorded):
        equip(trainee.method, trainee.recipe.train.discriminator)
    count = []

    def record(step):
        count.append(recorded.method.pace.kind())
        return record_on_the_cpu(recorded)(step)

    for trainee, step in ((plain, None), (recorded, GraphedStep(recorded, record))):
        torch.manual_seed(7)
        for k in range(4 * NUM_WARM_UP_STEPS + 8):
            step(batch_of(k)) if step else train_step(trainee, batch_of(k))
            trainee.guard.read(k, [])
            trainee.images += 4
    assert sorted(count) == [(False, False, 0), (False, True, 0), (True, False, 0)]
    assert_equal_learning(plain, recorded, rtol=0, atol=0, equal_nan=True)


def test_discriminators_learn_at_a_rate_of_their_own():
    trainee = trainee_of("pix2pix")
    trainee.set_lr(0.1, 0.4)
    rates = {phase: {group["lr"] for group in optimizer.param_groups} for phase, optimizer in trainee.optimizers.items()}
    assert rates == {"G": {0.1}, "D": {0.4}}


def test_the_learning_rate_stays_where_a_recording_reads_it():
    trainee = trainee_of("pix2pix")
    groups = [group for optimizer in trainee.optimizers.values() for group in optimizer.param_groups]
    places = [torch.tensor(1.0) for _ in groups]
    for group, place in zip(groups, places, strict=True):
        group["lr"] = place
    trainee.set_lr(0.25)
    assert [place.item() for place in places] == [0.25] * len(groups)
    trainee.restore(trainee.state())
    assert all(isinstance(group["lr"], torch.Tensor) for o in trainee.optimizers.values() for group in o.param_groups)
