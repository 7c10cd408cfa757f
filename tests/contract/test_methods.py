"""What every method promises, as published and in its ablations; methods that break it are seen to fail.

The methods are those in METHODS, and one that is added by its file alone (cut_like.py).
"""

import copy
import dataclasses
import socket
from typing import final

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from diptych.errors import ConfigError
from diptych.inference.translator import Translator
from diptych.losses import PixelLoss, generator_loss
from diptych.methods import METHODS, Batch, Method, method_config
from diptych.methods.base import discriminator_terms, frozen
from diptych.methods.cyclegan import CycleGANConfig
from diptych.methods.pix2pix import Pix2PixConfig
from diptych.methods.pool import ImagePool
from diptych.nets import PatchGAN, ResNet
from diptych.nets.modes import applied
from diptych.pixels import Domain
from diptych.recipe import Recipe, TrainConfig
from diptych.snapshot import Snapshot
from diptych.training.distributed import World
from diptych.training.step import train_step
from diptych.training.trainee import Trainee
from diptych.trees import read_tree, write_tree
from tests.contract.small import NAMES, ablations, draws, small, unmixed
from tests.training.forks import start, train_as_rank

SIZE = 16
COMBINATIONS = {  # besides one change at a time
    "pix2pix": [
        {"pixel_loss": PixelLoss("bce", 8.0), "lambda_l1": 1.0},
        {"norm": "instance_affine", "dropout": False, "gan": "wgan", "lambda_r1": 0.5},
    ],
    "pix2pixhd": [{"instances": True, "num_features": 2, "enhancers": 1}],
    "cyclegan": [{"lambda_gan": 0.0, "lambda_identity": 0.0}, {"lambda_cycle_a": 0.0, "lambda_cycle_b": 0.0}],
}


def shown(value):
    return f"{value.kind}*{value.foreground:g}" if isinstance(value, PixelLoss) else value


def title(name, settings):
    changes = "-".join(f"{key}={shown(value)}" for key, value in settings.items())
    return f"{method_config(name).name}-{changes or 'published'}"


CASES = {
    title(name, settings): (name, settings) for name in NAMES for settings in [*ablations(name), *COMBINATIONS.get(name, [])]
}


def keeps_other_tensors(settings):
    """Whether a change can make a training keep other tensors than the published one: all but those of a formula alone."""
    return not any(key in OF_A_FORMULA or (key.startswith("lambda_") and key not in OF_A_NETWORK) for key in settings)


OF_A_FORMULA = {"gan", "pixel_loss", "temperature", "flip_equivariance", "contrast", "queries", "negatives", "bridge", "steps"}
OF_A_NETWORK = {"lambda_gan", "lambda_sb", "lambda_nce", "lambda_similarity"}  # at 0 they take one away
KEEPING = [
    case for case, (name, settings) in CASES.items() if keeps_other_tensors(settings) or settings in COMBINATIONS.get(name, [])
]
"""The published methods, their combinations, and every ablation of networks and buffers, which a resume may miss."""


def config(case):
    name, settings = CASES[case]
    return method_config(name)(**small(name, **settings))


def build(case, a=Domain(), b=Domain()):  # noqa: B008 - frozen
    torch.manual_seed(1)
    return config(case).build(a, b, SIZE)


def build_or_refuse(case, a, b):
    """The method, or None where it refuses domains of different channels, saying so."""
    try:
        return build(case, a, b)
    except ConfigError:
        with pytest.raises(ConfigError, match=rf"channels.*\b{a.channels}\b.*\b{b.channels}\b"):
            build(case, a, b)


def batch_of(n=2, seed=0, a=3, b=3, dtype=torch.float32):
    random = torch.Generator().manual_seed(seed)
    return Batch(*(torch.rand(n, channels, SIZE, SIZE, generator=random, dtype=dtype) * 2 - 1 for channels in (a, b)))


def trainee(method_or_case, seed=1, **settings):
    """A trainee of a case, or of a method made here."""
    torch.manual_seed(seed)
    made_here = isinstance(method_or_case, Method)
    method_config = Pix2PixConfig() if made_here else config(method_or_case)
    method = method_or_case if made_here else method_config.build(Domain(), Domain(), SIZE)
    recipe = Recipe(method_config, train=TrainConfig(precision="fp32", **settings))
    return Trainee(method, recipe, torch.device("cpu"), World())


def tensors(tree, name=""):
    """All tensors and numbers of a tree by their place."""
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {k: v for key, value in items for k, v in tensors(value, f"{name}.{key}").items()}
    return {name: tree}


def assert_equal_trees(one, other):
    one, other = tensors(one), tensors(other)
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key], key


# --- the promises, as functions, so that broken methods can be shown to break them ---


def assert_phases_partition_the_parameters(method):
    updated = [id(p) for nets in method.phases().values() for net in nets for p in net.parameters()]
    assert len(updated) == len(set(updated)), "a parameter is in two phases"
    assert set(updated) == {id(p) for p in method.parameters()}, "a parameter is in no phase"


def assert_each_phase_reaches_exactly_its_own_networks(method, batch):
    """Its terms are finite scalars that nothing waited for, every weight is trainable, and gradients are where they belong."""
    names = {id(p): name for name, p in method.named_parameters()}
    seen = []
    for phase, terms in without_waiting(method.losses(batch)):
        assert terms and all(p.requires_grad for p in method.parameters())
        for name, term in terms.items():
            assert term.shape == () and term.dtype == torch.float32 and term.isfinite(), name
        method.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        reached = {names[id(p)] for p in method.parameters() if p.grad is not None}
        assert reached == {names[id(p)] for net in method.phases()[phase] for p in net.parameters()}, phase
        for net in method.phases()[phase]:
            assert any(p.grad.abs().max() > 0 for p in net.parameters()), f"{phase} teaches nothing"
        seen.append(phase)
    assert seen == list(method.phases())


class NoWaiting(TorchDispatchMode):
    """An error wherever a tensor's value would travel to Python, which on a GPU waits for all that was queued."""

    WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "equal", "masked_select", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func.overloadpacket.__name__ not in self.WAITING, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


def without_waiting(phases):
    """What an iterator yields, computed under NoWaiting."""
    while True:
        with NoWaiting():
            found = next(phases, None)
        if found is None:
            return
        yield found


def assert_a_step_never_waits(trainee, batch):
    with NoWaiting():
        train_step(trainee, batch)


# --- every method keeps them ---


@pytest.mark.parametrize("case", CASES)
def test_phases_partition_the_parameters_and_a_step_reaches_them_and_names_the_images_of_the_configuration(case):
    method, found, batch = build(case), {}, batch_of()
    assert_phases_partition_the_parameters(method)
    method.extra = lambda **images: found.update(images) or {}
    assert_each_phase_reaches_exactly_its_own_networks(method, batch)
    assert found.keys() == {*method.config.images}
    for name, image in found.items():
        assert image is None or image.shape == batch.a.shape, name
    assert all(torch.equal(found[f"real_{side}"], x) for side, x in zip("ab", batch, strict=False) if f"real_{side}" in found)


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith("published")])
def test_losses_need_no_values_at_all(case):
    method = build(case).to("meta")
    for _, terms in method.losses(Batch(*(x.to("meta") for x in batch_of()[:2]))):
        sum(terms.values()).backward()


@pytest.mark.parametrize("case", KEEPING)
def test_generators_translate_between_the_domains_of_their_direction(case):
    for a, b in ((Domain(1), Domain(4, "uint16")), (Domain(4), Domain(4, "uint16")), (Domain(1), Domain(3, "uint16"))):
        if build_or_refuse(case, a, b):
            break
    generators = build(case, a, b).generators()
    assert generators and generators.keys() <= {"a2b", "b2a"}
    for direction, net in generators.items():
        source, target = (a, b) if direction == "a2b" else (b, a)
        assert net(torch.rand(2, source.channels, SIZE, SIZE)).shape == (2, target.channels, SIZE, SIZE)


@pytest.mark.parametrize("case", CASES)
def test_domains_of_different_channels_can_be_trained_or_are_refused(case):
    if method := build_or_refuse(case, Domain(1), Domain(4)):
        assert_each_phase_reaches_exactly_its_own_networks(method, batch_of(a=1, b=4))


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith("published")])
def test_a_recipe_adds_losses_to_any_method(case):
    name, _ = CASES[case]
    term = {"loss": "structure", "between": ["fake_b", "real_a"], "weight": 2.0}
    settings = {"method": small(name), "data": {"crop_size": SIZE}, "extra": [term]}
    method = Recipe.create(name, settings).build(Domain(), Domain())
    assert sum("structure_fake_b_real_a" in terms for _, terms in method.losses(batch_of())) == 1
    assert_each_phase_reaches_exactly_its_own_networks(method, batch_of())


@pytest.mark.parametrize("case", KEEPING)
def test_a_snapshot_translates_as_the_trained_generators_do(case, tmp_path):
    trained = trainee(case)
    train_step(trained, batch_of())
    path = tmp_path / "snapshot.safetensors"
    Snapshot(trained.translators(), Domain(), Domain(), about={"case": case}).save(path)
    loaded = Snapshot.load(path)
    assert loaded.generators.keys() == trained.method.generators().keys()
    for direction, net in trained.method.generators().items():
        assert not loaded.generators[direction].training
        for mode in ("eval", "paper"):
            images = []
            for translator in (net, loaded.generators[direction]):
                with applied(translator, mode, seed=3) as translate:
                    images.append(translate(batch_of().a))
            assert torch.equal(*images)
        assert Translator.load(path, direction, device="cpu").fits_windows in (True, False)  # every translation asks it


@pytest.mark.parametrize("case", KEEPING)
def test_a_resumed_training_is_bit_equal_to_one_that_never_stopped_and_no_step_waits_for_the_device(case, tmp_path):
    whole = trainee(case, ema=0.9)
    torch.manual_seed(5)
    assert_a_step_never_waits(whole, batch_of(seed=0))
    train_step(whole, batch_of(seed=1))
    write_tree(tmp_path / "state.safetensors", whole.state())
    train_step(whole, batch_of(seed=2))

    resumed = trainee(case, seed=99, ema=0.9)
    resumed.restore(read_tree(tmp_path / "state.safetensors"))
    train_step(resumed, batch_of(seed=2))
    assert_equal_trees(resumed.state(), whole.state())


def test_a_weight_that_never_had_a_gradient_does_not_confuse_a_resume(tmp_path):
    def with_a_spare():
        method = Broken("none")
        method.G.stem.insert(0, nn.Identity())
        method.G.stem[0].spare = nn.Parameter(torch.ones(3))
        return trainee(method)

    whole = with_a_spare()
    train_step(whole, batch_of())
    write_tree(tmp_path / "state.safetensors", whole.state())
    resumed = with_a_spare()
    resumed.restore(read_tree(tmp_path / "state.safetensors"))
    for one in (whole, resumed):
        train_step(one, batch_of(seed=1))
    assert_equal_trees(resumed.state()["method"], whole.state()["method"])
    assert_equal_trees(resumed.state()["optimizers"], whole.state()["optimizers"])


# --- methods that break them are found ---


@final
class Broken(Method):
    """A conditional GAN with one flaw."""

    def __init__(self, flaw):
        super().__init__()
        self.flaw = flaw
        self.G, self.D = ResNet(3, 3, width=4, num_blocks=1), PatchGAN(3, width=4, num_layers=1)

    def generators(self):
        return {"a2b": self.G}

    def phases(self):
        forgotten = {"forgets D": {"D": []}, "D twice": {"D": [self.D, self.D]}, "all of it": {"D": [self]}}
        return {"D": [self.D], "G": [self.G]} | forgotten.get(self.flaw, {})

    def losses(self, batch):
        fake = self.G(batch.a)
        judged = fake if self.flaw == "no detach" else fake.detach()
        real = batch.b * float(batch.b.mean()) if self.flaw == "waits" else batch.b
        if self.flaw != "skips D":
            yield "D", discriminator_terms(self.D, real, judged, gan="lsgan", lambda_gp=0.0, lambda_r1=0.0)
        if self.flaw == "no freeze":
            logits = self.D(fake)
        elif self.flaw == "cuts G":
            logits = self.D(fake.detach().requires_grad_())
        else:
            with frozen(self.D):
                logits = self.D(fake)
        yield "G", {"gan": generator_loss(logits, "lsgan")}


def test_the_method_without_a_flaw_passes():
    sound = Broken("none")
    assert_phases_partition_the_parameters(sound)
    assert_each_phase_reaches_exactly_its_own_networks(sound, batch_of())
    assert_a_step_never_waits(trainee(sound), batch_of())


@pytest.mark.parametrize("flaw", ["no detach", "no freeze", "cuts G", "skips D"])
def test_a_phase_that_reaches_other_networks_or_not_its_own_is_found(flaw):
    with pytest.raises(AssertionError):
        assert_each_phase_reaches_exactly_its_own_networks(Broken(flaw), batch_of())


@pytest.mark.parametrize("flaw", ["forgets D", "D twice", "all of it"])
def test_phases_that_are_no_partition_are_found(flaw):
    with pytest.raises(AssertionError, match="phase"):
        assert_phases_partition_the_parameters(Broken(flaw))


def test_a_step_that_waits_is_found():
    with pytest.raises(AssertionError, match="waits for the device"):
        assert_a_step_never_waits(trainee(Broken("waits")), batch_of())
    with pytest.raises(AssertionError, match="waits for the device"):
        assert_each_phase_reaches_exactly_its_own_networks(Broken("waits"), batch_of())


def test_weights_that_were_frozen_before_a_block_stay_frozen_after_it():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1))
    net[0].requires_grad_(False)
    with frozen(net):
        assert not any(p.requires_grad for p in net.parameters())
    assert [p.requires_grad for p in net.parameters()] == [False, False, True, True]


# --- two processes are one ---

SHARED = {
    "pix2pix": [{"gan": "hinge", "lambda_r1": 1.0}],
    "cyclegan": [{"gan": "vanilla", "lambda_cycle_b": 0.0}],
}
MAGNIFIED = {"cut", "dclgan", "pix2pixhd"}
"""Their gradients of biases that a norm takes away are rounding, which Adam divides by its own size."""


@pytest.mark.parametrize("name", NAMES, ids=lambda name: method_config(name).name)
def test_two_processes_equal_one_with_the_joined_batch(name, tmp_path):
    steps, cases = 4, [(name, small(name) | unmixed(name) | settings) for settings in [{}, *SHARED.get(name, [])]]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ranks = [start(train_as_rank, rank, 2, port, cases, SIZE, steps, str(tmp_path)) for rank in range(2)]
    for process in ranks:
        process.join(120)
    assert [process.exitcode for process in ranks] == [0, 0]
    train_as_rank(0, 1, port, cases, SIZE, steps, str(tmp_path))
    for index in range(len(cases)):
        kept = (tmp_path / f"case-{index}-rank-{who}.safetensors" for who in ("0-of-1", "0-of-2", "1-of-2"))
        alone, first, second = map(read_tree, kept)
        assert_equal_trees(first["method"], second["method"])
        assert_equal_trees(first["ema"], second["ema"])
        if draws(*cases[index]):
            continue
        for key, value in tensors({"weights": alone["method"], "ema": alone["ema"]}).items():
            found = tensors({"weights": first["method"], "ema": first["ema"]})[key]
            noise = name in MAGNIFIED and key.endswith(".bias")
            assert (found - value).abs().max() < (1e-7 if noise else 1e-9), key
        for term, value in alone["losses"].items():
            assert first["losses"][term] == second["losses"][term] == pytest.approx(value, abs=1e-9)


# --- the numbers, against plain implementations written from the papers ---


def adam(*nets):
    return torch.optim.Adam([p for net in nets for p in net.parameters()], 2e-4, (0.5, 0.999))


def largest_difference(one, other):
    return max((p - q).abs().max().item() for p, q in zip(one.parameters(), other.parameters(), strict=True))


NOISE = {"generator": "unet_6"}  # smaller U-Nets have no dropout


@pytest.mark.parametrize(
    "settings", [NOISE, {}, {"norm": "instance"}, {"conditional": False}, {"lambda_l1": 0.0}, {"gan": "lsgan"}]
)
def test_pix2pix_steps_as_its_paper_says(settings):
    torch.manual_seed(1)
    c = Pix2PixConfig(**small("pix2pix", **settings))
    method = c.build(Domain(), Domain(), SIZE).double()
    assert any(isinstance(module, nn.Dropout) for module in method.modules()) == (settings == NOISE)
    before, G, D = copy.deepcopy(method.G_ab), copy.deepcopy(method.G_ab), copy.deepcopy(method.D_b)
    ours = trainee(method)
    optimizer_G, optimizer_D = adam(G), adam(D)
    criterion = nn.BCEWithLogitsLoss() if c.gan == "vanilla" else nn.MSELoss()

    def judged(x, y):
        return D(torch.cat([x, y], dim=1)) if c.conditional else D(y)

    def objective(logits, label):
        return criterion(logits, torch.full_like(logits, label))

    for step in range(4):
        a, b, *_ = batch_of(seed=step, dtype=torch.float64)
        torch.manual_seed(step)  # the noise z is dropout
        train_step(ours, Batch(a, b))

        torch.manual_seed(step)
        fake = G(a)
        on_fake, on_real = objective(judged(a, fake.detach()), 0.0), objective(judged(a, b), 1.0)
        optimizer_D.zero_grad()
        (0.5 * (on_real + on_fake)).backward()  # "we divide the objective by 2 while optimizing D"
        optimizer_D.step()
        generator_objective = objective(judged(a, fake), 1.0) + c.lambda_l1 * nn.functional.l1_loss(fake, b)
        optimizer_G.zero_grad()
        generator_objective.backward()
        optimizer_G.step()
    assert largest_difference(method.G_ab, G) < 1e-9
    assert largest_difference(method.D_b, D) < 1e-9
    assert largest_difference(method.G_ab, before) > 1e-4


class PlainPool:
    """The last images, one decision at a time, with the same draws."""

    def __init__(self, size):
        self.size, self.images = size, []

    def __call__(self, images):
        answers = []
        for image in images:
            swap, slot = torch.rand(()).item() > 0.5, torch.randint(self.size, ()).item()
            if len(self.images) < self.size:
                self.images.append(image.clone())
                answers.append(image)
            elif swap:
                answers.append(self.images[slot].clone())
                self.images[slot] = image.clone()
            else:
                answers.append(image)
        return torch.stack(answers)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"norm": "batch"},
        {"lambda_cycle_a": 3.0, "lambda_cycle_b": 7.0, "lambda_identity": 0.3},
        {"gan": "vanilla", "lambda_gan": 2.0, "lambda_identity": 0.0},
    ],
)
def test_cyclegan_steps_as_its_paper_says(settings):
    torch.manual_seed(1)
    c = CycleGANConfig(**small("cyclegan", **settings))
    method = c.build(Domain(), Domain(), SIZE).double()
    G, F, D_x, D_y = (copy.deepcopy(net) for net in (method.G_ab, method.G_ba, method.D_a, method.D_b))  # the paper's G: X -> Y
    ours = trainee(method)
    optimizer_G, optimizer_D = adam(G, F), adam(D_x, D_y)
    pool_x, pool_y = PlainPool(3), PlainPool(3)
    l1 = nn.functional.l1_loss
    criterion = nn.BCEWithLogitsLoss() if c.gan == "vanilla" else nn.MSELoss()

    def objective(logits, label):
        return criterion(logits, torch.full_like(logits, label))

    for step in range(6):
        x, y, *_ = batch_of(n=1 + step % 2, seed=step, dtype=torch.float64)
        torch.manual_seed(step)
        train_step(ours, Batch(x, y))

        torch.manual_seed(step)
        fake_y, fake_x = G(x), F(y)
        adversarial = objective(D_y(fake_y), 1.0) + objective(D_x(fake_x), 1.0)
        cycle = c.lambda_cycle_a * l1(F(fake_y), x) + c.lambda_cycle_b * l1(G(fake_x), y)
        identity = c.lambda_cycle_b * l1(G(y), y) + c.lambda_cycle_a * l1(F(x), x)  # G maps to Y, so G leaves y alone
        optimizer_G.zero_grad()
        (c.lambda_gan * adversarial + cycle + c.lambda_identity * identity).backward()
        optimizer_G.step()
        old_x, old_y = pool_x(fake_x.detach()), pool_y(fake_y.detach())
        optimizer_D.zero_grad()
        for judge, real, fake in ((D_x, x, old_x), (D_y, y, old_y)):
            (0.5 * (objective(judge(real), 1.0) + objective(judge(fake), 0.0))).backward()
        optimizer_D.step()
    for net, plain in ((method.G_ab, G), (method.G_ba, F), (method.D_a, D_x), (method.D_b, D_y)):
        assert largest_difference(net, plain) < 1e-9


@pytest.mark.parametrize("name", [name for name in METHODS if not method_config(name).paired])
def test_known_pairs_teach_every_unpaired_method_as_pairs_and_the_others_as_before(name):
    """The clean translation of a pair is compared with its partner, over all images of the batch; no other term changes."""
    config = method_config(name)(**small(name))
    torch.manual_seed(1)
    method, found = config.build(Domain(), Domain(), SIZE), {}
    method.extra = lambda **images: found.update(images) or {}
    kept = copy.deepcopy(method.state_dict())  # such as the image that came before
    batch = batch_of(n=3)

    def terms_with(known):
        method.load_state_dict(kept)
        torch.manual_seed(2)
        return next(terms for _, terms in method.losses(batch._replace(known=known)) if "gan" in str([*terms]))

    plain, mixed = terms_with(None), terms_with(torch.tensor([0.0, 1.0, 0.0]))
    added = {"pair_ab": ("clean_b" if "clean_b" in found else "fake_b", batch.b), "pair_ba": ("fake_a", batch.a)}
    added = {term: value for term, value in added.items() if term == "pair_ab" or "fake_a" in found}
    assert mixed.keys() - plain.keys() == added.keys()
    for term, (made, partner) in added.items():
        expected = config.lambda_pair * (found[made][1] - partner[1]).abs().mean().item() / 3
        assert mixed[term].item() == pytest.approx(expected, rel=1e-5)
    assert {name: term.item() for name, term in mixed.items() if name in plain} == {k: term.item() for k, term in plain.items()}


def mirrored(term):
    """The name of a term when a and b change places: idt_a is idt_b, gan_ab is gan_ba."""
    name, sides = term.rsplit("_", 1)
    return f"{name}_{sides[::-1] if len(sides) == 2 else {'a': 'b', 'b': 'a'}[sides]}"


CHANCE = ("wgan", "dropout")  # draws random numbers in the order of the sides
WITHOUT_CHANCE = [case for case in CASES if case.startswith("cyclegan") and not any(word in case for word in CHANCE)]


@pytest.mark.parametrize("case", WITHOUT_CHANCE)
def test_swapping_the_sides_of_cyclegan_swaps_its_losses(case):
    method = build(case)
    method.pool_a, method.pool_b = ImagePool(0, 3, SIZE, SIZE), ImagePool(0, 3, SIZE, SIZE)
    other, c = copy.deepcopy(method), method.config
    other.G_ab, other.G_ba, other.D_a, other.D_b = other.G_ba, other.G_ab, other.D_b, other.D_a
    other.config = dataclasses.replace(c, lambda_cycle_a=c.lambda_cycle_b, lambda_cycle_b=c.lambda_cycle_a)
    batch = batch_of()
    for (_, terms), (_, swapped) in zip(method.losses(batch), other.losses(Batch(batch.b, batch.a)), strict=True):
        assert {mirrored(name): term.item() for name, term in terms.items()} == pytest.approx(
            {name: term.item() for name, term in swapped.items()}, rel=1e-5
        )


@pytest.mark.parametrize(("gan", "share"), [("vanilla", 0.5), ("lsgan", 0.5), ("hinge", 0.5), ("wgan", 1.0)])
def test_a_discriminator_is_halved_but_not_a_critic(gan, share):
    class Constant(nn.Module):
        """Judges real images as 3 and fakes as -1, whose channels are 1 and 0."""

        def forward(self, x):
            return x.mean(dim=(1, 2, 3), keepdim=True) * 4 - 1

    terms = discriminator_terms(Constant(), torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), gan, lambda_gp=10.0, lambda_r1=0.0)
    by_hand = {
        "vanilla": (0.048587, 0.313262),  # log(1 + e^-3), log(1 + e^-1)
        "lsgan": (4.0, 1.0),  # (3 - 1)^2, (-1)^2
        "hinge": (0.0, 0.0),  # max(0, 1 - 3), max(0, 1 - 1)
        "wgan": (-3.0, -1.0),
    }[gan]
    assert terms["real"].item() == pytest.approx(share * by_hand[0], abs=1e-5)
    assert terms["fake"].item() == pytest.approx(share * by_hand[1], abs=1e-5)
    if gan == "wgan":  # the gradient is 4/16 for each of 16 values: its norm is 1, so there is nothing to penalise
        assert terms["gp"].item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("config", [Pix2PixConfig, CycleGANConfig])
def test_a_critic_with_batch_norm_is_refused(config):
    with pytest.raises(
        ConfigError, match=r"method\.gan wgan penalises .* which BatchNorm mixes with others'; set method\.norm instance"
    ):
        config(gan="wgan", norm="batch")
    assert config(gan="wgan", norm="instance").gan == "wgan"
