"""The contrastive losses against their formulas, written out with loops, cross_entropy and autograd, and by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from diptych.contrastive import (
    hard_dce,
    most_certain_attention,
    patch_nce,
    patches_at,
    patches_by,
    random_places,
    semantic_relation,
)


def unit_patches(n=2, p=5, d=4, seed=0):
    random = torch.Generator().manual_seed(seed)
    q, k = (F.normalize(torch.randn(n, p, d, generator=random, dtype=torch.float64), dim=-1) for _ in "qk")
    return q.requires_grad_(), k.requires_grad_()


def published_patch_nce(query, key, temperature):
    """The positive first, then the others of the image, where a patch's own has the cosine -10; cross-entropy to class 0."""
    losses = []
    for q, k in zip(query, key.detach(), strict=True):
        for i in range(len(q)):
            others = [q[i] @ k[j] if j != i else q.new_tensor(-10.0) for j in range(len(q))]
            logits = torch.stack([q[i] @ k[i], *others]) / temperature
            losses.append(F.cross_entropy(logits[None], torch.tensor([0])))
    return torch.stack(losses).mean()


@pytest.mark.parametrize("temperature", [0.07, 0.2])
def test_patch_nce_is_the_cross_entropy_of_the_published_logits(temperature):
    query, key = unit_patches()
    found, published = patch_nce(query, key, temperature), published_patch_nce(query, key, temperature)
    assert found.item() == pytest.approx(published.item(), rel=1e-12)
    for one, other in zip(torch.autograd.grad(found, query), torch.autograd.grad(published, query), strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_patch_nce_of_perfect_and_of_opposite_matches_by_hand():
    axes = torch.eye(3)[None]
    assert patch_nce(axes, axes, 1.0).item() == pytest.approx(math.log(math.e + 2) - 1)  # cosine 1 against 0 and 0
    assert patch_nce(-axes, axes, 1.0).item() == pytest.approx(math.log(math.exp(-1) + 2) + 1)


def test_negatives_of_the_batch_are_those_of_one_image_with_all_patches():
    query, key = unit_patches(n=3, p=2)
    joined = patch_nce(query.reshape(1, 6, 4), key.reshape(1, 6, 4))
    assert patch_nce(query, key, negatives="batch").item() == pytest.approx(joined.item(), rel=1e-12)
    assert patch_nce(query, key).item() != pytest.approx(joined.item(), rel=1e-3)
    one = torch.ones(4, 1, 3) / 3**0.5  # one patch an image, and all alike: a guess among four
    assert patch_nce(one, one, negatives="batch").item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("loss", [patch_nce, hard_dce, semantic_relation])
def test_keys_get_no_gradient(loss):
    query, key = unit_patches()
    given = torch.autograd.grad(loss(query, key.detach()), query)
    assert torch.equal(given[0], torch.autograd.grad(loss(query, key), query)[0]) and given[0].abs().max() > 0


@pytest.mark.parametrize("loss", [patch_nce, hard_dce, semantic_relation])
def test_under_bf16_the_losses_are_computed_in_full_precision(loss):
    query, key = (x.detach().float() for x in unit_patches(p=64))
    exact = loss(query, key)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(query, key), exact) and exact.dtype == torch.float32


@pytest.mark.parametrize("gamma", [0.3, 50.0])
def test_hard_negatives_have_the_published_gradient(gamma):
    query, key = unit_patches()
    total = 0.0
    for q, k in zip(query, key.detach(), strict=True):
        alike = k @ k.T
        for i in range(len(q)):
            row = torch.softmax(torch.where(torch.arange(len(q)) == i, -10.0, alike[i]) / gamma, 0)
            row = row / row.max()
            exponents = [(row[j] * (q[i] @ k[j]) - q[i] @ k[i]) / 0.07 for j in range(len(q)) if j != i]
            v = torch.stack(exponents).logsumexp(0)
            total = total + torch.exp(v - v.detach()) / (query.shape[0] * len(q))  # as published: its gradient is that of v
    found = torch.autograd.grad(hard_dce(query, key, 0.07, gamma), query)[0]
    assert torch.allclose(found, torch.autograd.grad(total, query)[0], rtol=1e-9, atol=1e-12)


def test_semantic_relation_is_the_published_divergence():
    query, key = unit_patches()
    expected = []
    for q, k in zip(query.detach(), key.detach(), strict=True):
        p, r = torch.softmax(q @ q.T, 0), torch.softmax(k @ k.T, 0)
        middle = (p + r) / 2
        divergences = [F.kl_div(middle.log(), x, reduction="sum") for x in (p, r)]  # sum x (log x - log m)
        expected.append(sum(divergences) / 2)
    assert semantic_relation(query, key).item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-9)
    assert semantic_relation(key, key).item() == pytest.approx(0.0, abs=1e-12)


def test_places_are_different_ones_of_the_map_and_all_of_a_small_one():
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    places = random_places(x, 7)
    assert len(places.unique()) == 7 and places.max() < 12
    assert random_places(x, 100).sort().values.tolist() == list(range(12))
    features = patches_at(x, torch.tensor([0, 5, 11]))
    assert features.tolist() == [[[0.0, 12.0], [5.0, 17.0], [11.0, 23.0]]]


def test_attention_keeps_the_most_certain_rows_and_mixes_features_by_them():
    x = torch.zeros(1, 2, 1, 4)
    x[0, 0], x[0, 1] = torch.tensor([9.0, 0.0, 0.1, 0.0]), torch.tensor([0.0, 8.0, 0.0, 0.1])
    rows = most_certain_attention(x, 2)
    assert rows.shape == (1, 2, 4) and torch.allclose(rows.sum(-1), torch.ones(1, 2))
    assert rows.argmax(-1).tolist() == [[0, 1]]  # the positions of strong features attend to themselves alone
    by_hand = torch.softmax(torch.tensor([81.0, 0.0, 0.9, 0.0]), 0)
    assert torch.allclose(rows[0, 0], by_hand)
    y = torch.rand(1, 2, 1, 4)
    assert torch.allclose(patches_by(rows, y)[0, 0], (y[0, :, 0] * by_hand).sum(1))
