"""What is special about CUT; its step beside the authors' order of operations is compared by benchmarks/step.py."""

import pytest
import torch
from torch import nn

from diptych.contrastive import hard_dce, patch_nce
from diptych.errors import ConfigError
from diptych.methods import Batch
from diptych.methods.cut import CUTConfig
from diptych.nets import taps
from diptych.pixels import Domain
from tests.contract.small import small

FASTCUT = {"lambda_nce": 10.0, "lambda_nce_idt": 0.0, "flip_equivariance": True}


def built(**settings):
    torch.manual_seed(1)
    return CUTConfig(**small("cut", **settings)).build(Domain(), Domain(), 16).double()


def images(n=2):
    random = torch.Generator().manual_seed(0)
    return Batch(*(torch.rand(n, 3, 16, 16, generator=random, dtype=torch.float64) * 2 - 1 for _ in "ab"))


def terms_of(method, batch, seed):
    torch.manual_seed(seed)
    return dict(method.losses(batch))["G"]


def test_without_the_second_term_the_first_is_not_halved():
    both, one = built(), built(lambda_nce_idt=0.0)
    batch = images()
    assert terms_of(one, batch, 3)["nce"].item() == pytest.approx(2 * terms_of(both, batch, 3)["nce"].item(), rel=1e-9)
    assert "nce_idt" not in terms_of(one, batch, 3)


def test_fastcut_compares_a_mirrored_translation_with_the_source_mirrored_back():
    method, batch = built(**FASTCUT, num_patches=1000), images(1)
    seen = set()
    for seed in range(8):
        torch.manual_seed(seed)
        flip = bool(torch.rand(()) < 0.5)
        found = terms_of(method, batch, seed)["nce"].item()
        source = batch.a.flip(-1) if flip else batch.a
        maps = taps(method.G_ab, method.G_ab(source), method.taps)
        maps = [x.flip(-1) if flip else x for x in maps]
        query, key = (method.H([x.flatten(2).mT for x in y]) for y in (maps, taps(method.G_ab, batch.a, method.taps)))
        expected = 10 * torch.stack([patch_nce(q, k) for q, k in zip(query, key, strict=True)]).mean()  # all places: no order
        assert found == pytest.approx(expected.item(), rel=1e-9)
        seen.add(flip)
    assert seen == {False, True}


@pytest.mark.parametrize("option", [{}, {"contrast": "hdce"}, {"lambda_src": 0.05}, {"queries": "attention"}, FASTCUT])
def test_every_option_brings_translations_nearer_to_their_sources(option):
    method, batch = built(lambda_gan=0.0, **option), images()
    optimizer = torch.optim.Adam(method.parameters(), 2e-3, (0.5, 0.999))
    values = []
    for step in range(30):
        terms = terms_of(method, batch, step)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        values.append(sum(terms.values()).item())
    assert sum(values[-5:]) < sum(values[:5])


def test_the_published_networks_are_the_anti_aliased_ones_with_taps_of_five_depths():
    method = CUTConfig(ngf=4, ndf=4).build(Domain(), Domain(), 16)
    assert method.taps == ("input", "down_1", "down_2", "block_1", "block_5")
    assert [head[0].in_features for head in method.H.heads] == [3, 8, 16, 16, 16]
    assert sum(isinstance(layer, nn.AvgPool2d) for layer in method.D_b.modules()) == 6
    assert method.G_ab.spec["upsample"] == method.G_ab.spec["downsample"] == "blur"


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ConfigError, match="lambda_nce, lambda_nce_idt and lambda_src are all 0, so nothing ties a translation"):
        CUTConfig(lambda_nce=0.0, lambda_nce_idt=0.0)
    with pytest.raises(ConfigError, match=r"method\.generator must be stylegan2, or resnet_N with a number N of blocks, such"):
        CUTConfig(generator="unet_8")
    with pytest.raises(ConfigError, match=r"method\.norm must be one of instance, instance_affine, none, found 'batch'"):
        CUTConfig(norm="batch")


@pytest.mark.parametrize(("progress", "gamma"), [(0.0, 50.0), (0.25, 40.0), (0.5, 30.0), (1.0, 10.0)])
def test_hard_negatives_count_more_as_training_goes_on(progress, gamma):
    method, batch = built(contrast="hdce", num_patches=1000), images(1)
    method.pace.set_progress(0.125)  # a step before, whose number on the device must give way
    terms_of(method, batch, 3)
    method.pace.set_progress(progress)
    maps = (taps(method.G_ab, x, method.taps) for x in (method.G_ab(batch.a), batch.a))
    queries, keys = (method.H([x.flatten(2).mT for x in y]) for y in maps)
    expected = torch.stack([hard_dce(q, k, 0.07, gamma) for q, k in zip(queries, keys, strict=True)]).mean() / 2
    found = terms_of(method, batch, 3)["nce"].item()
    assert found == pytest.approx(expected.item(), rel=1e-12)
    assert gamma == 50.0 or abs(found - terms_at_first(method, batch)) > 1e-9


def terms_at_first(method, batch):
    method.pace.set_progress(0.0)
    return terms_of(method, batch, 3)["nce"].item()
