"""Losses that a recipe adds: between which images, of which weight, and what is refused before anything is read."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from diptych.errors import ConfigError
from diptych.losses import LOSSES
from diptych.methods import Batch, Extra, ExtraLosses
from diptych.pixels import Domain
from diptych.recipe import Recipe, first_difference
from diptych.training import loop as training

TINY = {
    "cyclegan": {"generator": "resnet_1", "ngf": 4, "ndf": 4, "num_layers": 1, "pool_size": 0},
    "pix2pix": {"generator": "unet_3", "ngf": 4, "ndf": 4, "num_layers": 1, "dropout": False},
}
RANDOM = {"network": "alexnet", "weights": "random", "layers": [1]}
TERM = {"loss": "pixel", "between": ["fake_b", "real_a"], "weight": 3.0}


def recipe_of(method, *terms, **settings):
    return Recipe.create(method, {"method": TINY[method] | settings, "data": {"crop_size": 16}, "extra": list(terms)})


def built(method, *terms, **settings):
    torch.manual_seed(1)
    return recipe_of(method, *terms, **settings).build(Domain(), Domain())


def batch_of():
    random = torch.Generator().manual_seed(0)
    return Batch(*(torch.rand(2, 3, 16, 16, generator=random) * 2 - 1 for _ in "ab"))


def terms_of(method, batch):
    return {f"{phase}/{name}": term.item() for phase, terms in method.losses(batch) for name, term in terms.items()}


@pytest.mark.parametrize("name", TINY)
def test_a_term_is_added_to_the_generators_phase_and_changes_no_other(name):
    batch, plain, added = batch_of(), built(name), built(name, TERM | {"kind": "bce"})
    torch.manual_seed(2)
    before = terms_of(plain, batch)
    torch.manual_seed(2)
    after = terms_of(added, batch)
    fake_b = plain.G_ab(batch.a)
    expected = 3.0 * F.binary_cross_entropy((fake_b + 1) / 2, (batch.a + 1) / 2).item()
    assert after.pop("G/pixel_fake_b_real_a") == pytest.approx(expected, rel=1e-5)
    assert after == before


def test_every_image_that_cyclegan_names_is_the_one_that_its_name_says():
    batch, images = batch_of(), {}
    method = built("cyclegan")
    method.extra = lambda **named: images.update(named) or {}
    list(method.losses(batch))
    assert tuple(images) == method.config.images
    G, F = method.G_ab, method.G_ba
    a, b = batch.a, batch.b
    expected = {"fake_a": F(b), "fake_b": G(a), "rec_a": F(G(a)), "rec_b": G(F(b)), "idt_a": F(a), "idt_b": G(b)}
    for name, image in (expected | {"real_a": a, "real_b": b}).items():
        torch.testing.assert_close(images[name], image, msg=name)


def test_an_image_that_the_settings_leave_out_is_named():
    method = built("cyclegan", TERM | {"between": ["rec_a", "real_a"]}, lambda_cycle_a=0.0)
    with pytest.raises(ConfigError, match="extra: pixel: with these settings the step makes no rec_a; it has real_a, real_b"):
        list(method.losses(batch_of()))


@pytest.mark.parametrize(
    "term",
    [
        {"loss": "total_variation", "between": ["real_a"]},
        {"loss": "pixel", "between": ["real_a", "real_b"]},
        {"loss": "feature_matching", "between": ["real_b", "fake_b"]},  # whose second image receives no gradient
    ],
)
def test_a_term_that_no_network_learns_from_is_refused(term):
    with pytest.raises(ConfigError, match="no network learns from it; name first an image that a network makes"):
        list(built("cyclegan", term).losses(batch_of()))
    with torch.no_grad():
        assert "G/" + "_".join((term["loss"], *term["between"])) in terms_of(built("cyclegan", term), batch_of())


@pytest.mark.parametrize("loss", sorted(set(LOSSES) - {"temporal", "feature_matching", "total_variation", "lpips"}))
def test_images_of_other_channels_are_compared_by_a_loss_that_can_and_else_refused_by_name(loss):
    options = {"ms_ssim": {"scales": 1}, "perceptual": RANDOM, "style": RANDOM}.get(loss, {})
    recipe = Recipe.create(
        "pix2pix",
        {
            "method": TINY["pix2pix"],
            "data": {"crop_size": 16},
            "extra": [{"loss": loss, "between": ["fake_b", "real_a"]} | options],
        },
    )
    step = recipe.build(Domain(1), Domain(3)).losses(Batch(torch.rand(1, 1, 32, 32), torch.rand(1, 3, 32, 32)))
    if loss in ("structure", "edge", "perceptual", "style"):
        terms = dict(step)["G"]
        assert terms[f"{loss}_fake_b_real_a"].isfinite()
    else:
        with pytest.raises(
            ConfigError, match=f"{loss} compares channel by channel, and fake_b has 3 and real_a has 1; structure"
        ):
            list(step)


@pytest.mark.parametrize(("name", "beside", "channels"), [("pix2pix", {}, (6, 3)), ("cyclegan", {"beside": "real_a"}, (3, 6))])
def test_features_of_a_discriminator_are_matched_on_as_many_channels_as_it_judges(name, beside, channels):
    term = {"loss": "feature_matching", "between": ["fake_b", "real_b"]}
    message = (
        "extra: feature_matching: D_b judges {} channels, found {}; a discriminator that judges pairs needs `beside: real_a`"
    )
    with pytest.raises(ConfigError, match=message.format(*channels)):
        list(built(name, term | beside).losses(batch_of()))
    other = {} if beside else {"beside": "real_a"}
    assert "G/feature_matching_fake_b_real_b" in terms_of(built(name, term | other), batch_of())


def test_known_pairs_are_mixed_into_unpaired_data_alone():
    with pytest.raises(ConfigError, match=r"data.pairs mixes pairs into unpaired data, and pix2pix learns from pairs alone"):
        Recipe.create("pix2pix", {"data": {"pairs": 0.5}})
    assert Recipe.create("cyclegan", {"data": {"pairs": 0.5}}).data.pairs == 0.5


def test_terms_survive_a_file_and_are_part_of_what_makes_a_training():
    recipe = recipe_of("cyclegan", TERM, {"loss": "structure", "between": ["fake_a", "real_b"], "enough": 0.5})
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert recipe.to_dict()["extra"][1] == {"loss": "structure", "between": ["fake_a", "real_b"], "weight": 1.0, "enough": 0.5}
    assert "extra" in first_difference(recipe_of("cyclegan").to_dict(), recipe.to_dict())
    assert recipe.replace(extra=()).extra == () and recipe.replace(**{"train.seed": 1}).extra == recipe.extra


def test_terms_on_the_command_line_replace_those_of_the_recipe_or_are_appended():
    settings = {"extra": [TERM]}
    word = "{loss: structure, between: [fake_b, real_a], weight: 2}"
    assert [t.loss for t in Recipe.create("pix2pix", settings, ["--extra", f"[{word}]"]).extra] == ["structure"]
    assert [t.loss for t in Recipe.create("pix2pix", settings, [f"--extra+={word}"]).extra] == ["pixel", "structure"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([TERM | {"loss": "pixl"}], "extra: no loss is called 'pixl'; did you mean pixel?"),
        ([TERM | {"wieght": 2}], "extra: pixel has no option 'wieght'; did you mean weight?"),
        (
            [TERM | {"enough": 2}],
            "extra: pixel has no option 'enough'; known: between, weight, schedule, beside, kind, foreground",
        ),
        ([TERM | {"weight": -1}], "extra: pixel.weight must be at least 0, found -1"),
        ([TERM | {"kind": "l2"}], "extra: pixel.kind must be one of l1, bce, ce, found 'l2'"),
        ([TERM | {"between": ["fake_c", "real_a"]}], "extra: pixel: pix2pix has no image called 'fake_c'; did you mean fake_b?"),
        ([TERM | {"between": ["rec_a", "real_a"]}], "extra: pixel: pix2pix has no image called 'rec_a'; did you mean real_a?"),
        ([TERM | {"between": ["fake_b"]}], "extra: pixel: between names two images, such as [fake_b, real_b]; found ['fake_b']"),
        ([TERM | {"loss": "total_variation"}], "extra: total_variation: between names one image, such as [fake_b]; found ["),
        ([TERM | {"beside": "real_c"}], "extra: pixel: pix2pix has no image called 'real_c'; did you mean real_b?"),
        (
            [TERM | {"schedule": [[0.5, 1], [0.2, 0]]}],
            "extra: pixel.schedule must have growing shares of the training from 0 to 1",
        ),
        ([TERM | {"schedule": 3}], "extra: pixel: schedule has points such as [[0, 0], [0.1, 1]]; found 3"),
        ([TERM | {"schedule": [[0, -1]]}], "extra: pixel.schedule must have growing shares"),
        ([{"loss": "pixel"}], "extra: a term needs loss and between"),
        ([TERM, TERM], "extra: pixel between fake_b and real_a stands there twice; keep one of them"),
        ([TERM | {"between": "fake_b"}], "extra: pixel: between is a list of names, such as [fake_b, real_b]; found 'fake_b'"),
        (TERM, "extra: expected list"),
    ],
)
def test_a_wrong_term_is_one_line_that_suggests_what_is_near(extra, message):
    with pytest.raises(ConfigError) as caught:
        Recipe.create("pix2pix", {"extra": extra})
    assert message in str(caught.value) and "\n" not in str(caught.value)


class Judging(nn.Module):
    """A loss that is a network with a buffer and an option of its own, as a perceptual loss is."""

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__()
        self.strength = strength
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.conv = nn.Conv2d(3, 2, 3).requires_grad_(False)

    def forward(self, x, y):
        return self.strength * (self.conv(x - self.mean) - self.conv(y - self.mean)).abs().mean()


@pytest.mark.parametrize(
    ("term", "crop", "message"),
    [
        (
            {"loss": "ms_ssim"},
            64,
            r"ms_ssim: 5 scales need images of 161 pixels a side, found 64x64; set scales to 3, or train on",
        ),
        (
            {"loss": "ms_ssim", "scales": 2},
            16,
            r"ms_ssim: 2 scales need images of 21 .* found 16x16; set scales to 1, or train on",
        ),
        ({"loss": "ssim"}, [8, 32], r"ssim: the window needs images of 11 pixels a side, found 32x8; train on larger crops"),
    ],
)
def test_a_loss_that_needs_larger_crops_is_refused_with_the_recipe(term, crop, message):
    settings = {"data": {"crop_size": crop, "load_size": crop}, "extra": [term | {"between": ["fake_b", "real_a"]}]}
    with pytest.raises(ConfigError, match=message):
        Recipe.create("cyclegan", settings)


def test_a_loss_that_is_a_network_is_neither_trained_nor_saved_and_moves_to_the_images(monkeypatch):
    monkeypatch.setitem(LOSSES, "judging", Judging)
    plain, method = built("cyclegan"), built("cyclegan", TERM | {"loss": "judging", "strength": 2.0})
    assert method.state_dict().keys() == plain.state_dict().keys()
    assert [*dict(method.named_parameters())] == [*dict(plain.named_parameters())]
    (_, terms), *_ = method.losses(batch_of())
    terms["judging_fake_b_real_a"].backward()
    assert all(p.grad.abs().max() > 0 for p in method.G_ab.parameters() if p.ndim > 1)
    meta = torch.zeros(1, 3, 8, 8, device="meta")
    extra = ExtraLosses([Extra("judging", ("fake_b", "real_a"))])
    assert extra(fake_b=meta, real_a=meta)["judging_fake_b_real_a"].device.type == "meta"


def test_a_scheduled_weight_is_linear_between_its_points_and_follows_the_training():
    schedule = [[0.1, 0], [0.3, 2]]
    method, plain = built("pix2pix", TERM | {"schedule": schedule}), built("pix2pix", TERM)
    batch, name = batch_of(), "G/pixel_fake_b_real_a"
    whole = terms_of(plain, batch)[name]
    for share, factor in ((0.0, 0.0), (0.1, 0.0), (0.15, 0.5), (0.2, 1.0), (0.3, 2.0), (1.0, 2.0)):
        method.extra.set_progress(share)
        assert terms_of(method, batch)[name] == pytest.approx(factor * whole, rel=1e-5)
    recipe = recipe_of("pix2pix", TERM | {"schedule": schedule})
    assert recipe.to_dict()["extra"][0]["schedule"] == schedule and Recipe.from_dict(recipe.to_dict()) == recipe


def test_the_training_says_how_much_of_it_is_over(tmp_path, monkeypatch):
    shares = []
    monkeypatch.setattr(ExtraLosses, "set_progress", lambda self, share: shares.append(share))
    data = {"source": ["relief"], "resize": "none", "crop_size": 16, "flip": False}
    train = {"epochs": 1, "decay_epochs": 0, "batch_size": 16, "precision": "fp32"}
    recipe = Recipe.create("pix2pix", {"method": TINY["pix2pix"], "data": data, "train": train})
    training.train(recipe, tmp_path / "run", device="cpu", workers=0, num_previews=0)
    assert shares[0] == 0 and shares == sorted(shares) and shares[-1] == 1 - 1 / len(shares)


def test_features_of_a_discriminator_of_pairs_are_matched_beside_the_other_image():
    term = {"loss": "feature_matching", "between": ["fake_b", "real_b"], "beside": "real_a"}
    batch, method = batch_of(), built("pix2pix", term)
    D, fake_b = method.D_b, method.G_ab(batch.a)
    one, other = (D.features(torch.cat([batch.a, image], 1))[:-1] for image in (fake_b, batch.b))
    expected = sum((x - y).abs().mean().item() for x, y in zip(one, other, strict=True)) / len(one)
    assert terms_of(method, batch)["G/feature_matching_fake_b_real_b"] == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ConfigError, match="this method has no discriminator 'D_a'; did you mean D_b"):
        built("pix2pix", term | {"judge": "D_a"})


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("lpips", "ms_ssim")])
def test_every_loss_joins_a_training_step_of_an_unpaired_method(name):
    between = {"total_variation": ["fake_b"], "temporal": ["real_a"]}.get(name, ["fake_b", "real_b"])
    network = {"network": "vgg16", "weights": "random"} if name in ("perceptual", "style") else {}
    method = built("cyclegan", {"loss": name, "between": between} | network)
    found = [terms for _, terms in method.losses(batch_of())]
    value = found[0]["_".join([name, *between])]
    value.backward()
    assert value.isfinite() and all(p.grad is not None for p in method.G_ab.parameters())
    assert all(p.grad is None for p in method.D_b.parameters())
