"""pix2pixHD against a plain implementation of its objective, and its schedule from coarse to fine."""

import copy

import pytest
import torch
import torch.nn.functional as F

from diptych.errors import ConfigError
from diptych.methods import Batch
from diptych.methods.pix2pixhd import Pix2PixHDConfig
from diptych.nets import LocalEnhancer
from diptych.pixels import Domain
from diptych.recipe import Recipe, TrainConfig
from diptych.snapshot import Snapshot
from diptych.training.distributed import World
from diptych.training.step import train_step
from diptych.training.trainee import Trainee
from tests.contract.small import small

SIZE = 32
TINY = {"ngf": 4, "ndf": 2, "num_downs": 1, "num_blocks": 1, "local_blocks": 1}


def batch_of(seed):
    random = torch.Generator().manual_seed(seed)
    return Batch(*(torch.rand(1, 3, SIZE, SIZE, generator=random, dtype=torch.float64) * 2 - 1 for _ in "ab"))


def trainee(**settings):
    torch.manual_seed(1)
    recipe = Recipe(Pix2PixHDConfig(**(TINY | settings)), train=TrainConfig(precision="fp32"))
    return Trainee(recipe.build(Domain(), Domain()).double(), recipe, torch.device("cpu"), World())


@pytest.mark.parametrize("settings", [{}, {"lambda_l1": 5.0, "num_layers": 2, "num_scales": 3}])
def test_a_step_is_the_published_one(settings):
    ours = trainee(**settings)
    c = ours.method.config
    G, D = copy.deepcopy(ours.method.G_ab), copy.deepcopy(ours.method.D_b)
    adam_G, adam_D = (torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999)) for net in (G, D))
    for step in range(3):
        a, b, *_ = batch = batch_of(step)
        train_step(ours, batch)
        fake = G(a)
        on_real, on_fake = D.features(torch.cat([a, b], 1)), D.features(torch.cat([a, fake.detach()], 1))
        loss_D = sum(((r[-1] - 1) ** 2).mean() + (f[-1] ** 2).mean() for r, f in zip(on_real, on_fake, strict=True)) * 0.5
        on_fake = D.features(torch.cat([a, fake], 1))
        loss_G = sum(((f[-1] - 1) ** 2).mean() for f in on_fake)
        for r, f in zip(on_real, on_fake, strict=True):
            for i in range(len(f) - 1):  # the weights of the authors' code
                feat_weights, D_weights = 4.0 / (c.num_layers + 1), 1.0 / c.num_scales
                loss_G = loss_G + D_weights * feat_weights * F.l1_loss(f[i], r[i].detach()) * 10.0
        adam_G.zero_grad()
        (loss_G + c.lambda_l1 * F.l1_loss(fake, b)).backward()
        adam_G.step()
        adam_D.zero_grad()
        loss_D.backward()
        adam_D.step()
    for net, plain in ((ours.method.G_ab, G), (ours.method.D_b, D)):
        for one, other in zip(net.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


def test_the_enhancers_learn_alone_at_first_and_then_with_the_global_part():
    ours = trainee(enhancers=1, fix_global=0.5)
    G = ours.method.G_ab
    assert isinstance(G, LocalEnhancer)
    moved = []
    for share in (0.0, 0.4, 0.5, 0.9):
        before = copy.deepcopy(G)
        ours.set_progress(share)
        train_step(ours, batch_of(0))
        parts = [(before.coarse, G.coarse), (before.enhancers, G.enhancers), (before.head, G.head)]
        moved.append([any(not torch.equal(p, q) for p, q in zip(x.parameters(), y.parameters(), strict=True)) for x, y in parts])
    assert moved == [[False, True, True], [False, True, True], [True, True, True], [True, True, True]]
    ours.set_progress(0.2)
    first = ours.method.pace.kind(ours.method.turns)
    ours.set_progress(0.7)
    assert ours.method.pace.kind(ours.method.turns) != first  # a CUDA graph of its own


@pytest.mark.parametrize("bits", [32, 8])
def test_a_run_with_enhancers_begins_with_the_global_part_of_a_run_without(tmp_path, bits):
    coarse = trainee(ngf=8).method
    Snapshot(coarse.generators(), Domain(), Domain()).save(tmp_path / "global.safetensors", bits)
    fine = Pix2PixHDConfig(**(TINY | {"ngf": 8}), enhancers=1, global_snapshot=str(tmp_path / "global.safetensors"))
    G = fine.build(Domain(), Domain(), SIZE).G_ab
    weights = Snapshot.load(tmp_path / "global.safetensors").generators["a2b"].state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in G.coarse.state_dict().items())
    assert G.coarse.state_dict().keys() == {key for key in weights if not key.startswith("head.")}
    other = Pix2PixHDConfig(**(TINY | {"ngf": 16}), enhancers=1, global_snapshot=str(tmp_path / "global.safetensors"))
    with pytest.raises(ConfigError, match=r"expected the global generator with these ngf, .* found pix2pixhd_global; give"):
        other.build(Domain(), Domain(), SIZE)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fix_global": 0.5}, r"method\.fix_global need enhancers above the global part; set method\.enhancers"),
        ({"enhancers": 3, "ngf": 4}, r"method\.ngf must be halved 3 times \(method\.enhancers\), found 4"),
        ({"gan": "wgan", "norm": "batch"}, r"method\.gan wgan penalises"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Pix2PixHDConfig(**settings)


def test_labels_of_many_channels_are_translated_to_images():
    method = Pix2PixHDConfig(**small("pix2pixhd", num_downs=2)).build(Domain(36), Domain(3), SIZE)
    assert method.G_ab(torch.rand(1, 36, SIZE, SIZE)).shape == (1, 3, SIZE, SIZE)


def test_each_object_gets_the_mean_of_what_the_encoder_finds_in_it():
    method = trainee(instances=True, num_features=2).method
    a, b, *_ = batch = batch_of(0)
    a[:] = -1.0
    a[:, 0, :, :16], a[:, 1, :, 16:] = 1.0, 1.0  # two halves
    seen, judged = [], []
    method.G_ab.G.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0]))
    method.D_b.register_forward_pre_hook(lambda net, inputs: judged.append(inputs[0]))
    phases = dict(method.losses(batch))
    found = method.E(b)
    looks = torch.stack([found[..., :16].mean((2, 3)), found[..., 16:].mean((2, 3))])[:, 0]
    outline = torch.full((1, 1, SIZE, SIZE), -1.0, dtype=torch.float64)
    outline[..., 15:17] = 1.0
    torch.testing.assert_close(seen[0][:, :4], torch.cat([a, outline], 1))
    torch.testing.assert_close(seen[0][0, 4:, 0, [0, -1]], looks.T)
    assert all(x.shape[1] == 3 + 1 + 3 for x in judged)  # labels, outline, image, and no looks
    sum(phases["G"].values()).backward()
    assert any(p.grad.abs().sum() > 0 for p in method.E.parameters())
    assert method.G_ab.seen.tolist() == [1]  # a is no label map here, so that all regions are of one label
    torch.testing.assert_close(method.G_ab.looks[0, 0], looks[0])  # of the first of two as large


def test_features_need_instances_and_an_encoder():
    with pytest.raises(
        ConfigError,
        match=r"num_features are averaged over instances of label maps; set method\.instances true and data\.labels a",
    ):
        Pix2PixHDConfig(num_features=3)
    with pytest.raises(ConfigError, match=r"method\.global_snapshot holds no encoder, which method\.num_features need"):
        Pix2PixHDConfig(num_features=3, instances=True, enhancers=1, global_snapshot="x")
