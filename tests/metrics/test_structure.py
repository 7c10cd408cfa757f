"""Structure distance compares what is like what within two images, and nothing else."""

import numpy as np
import pytest
import torch

from diptych.errors import DataError
from diptych.metrics import structure
from diptych.metrics.structure import StructureDistance, structure_distance
from diptych.nets.backbones import VGG16


def by_hand(x, y):
    """Equation 4 of F-LSeSim in loops."""
    x, y = (features.reshape(len(features), -1).T for features in (x, y))
    cosine = lambda a, b: float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))  # noqa: E731
    maps = [[np.array([cosine(side[i], other) for other in side]) for i in range(len(side))] for side in (x, y)]
    return np.mean([1 - cosine(one, other) for one, other in zip(*maps, strict=True)])


def test_it_is_one_less_the_cosine_of_self_similarity_maps():
    random = np.random.default_rng(0)
    x, y = random.random((2, 5, 3, 4))
    found = structure_distance(*(torch.from_numpy(side)[None] for side in (x, y)))
    assert float(found[0]) == pytest.approx(by_hand(x, y)) and found[0] > 0.001


def test_textures_may_be_exchanged_but_not_places():
    random = torch.Generator().manual_seed(0)
    x = torch.rand(1, 6, 5, 5, generator=random)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=random)).Q
    other_texture = torch.einsum("cd,ndhw->nchw", rotation, x) * 3
    assert float(structure_distance(x, other_texture)) == pytest.approx(0, abs=1e-6)
    assert float(structure_distance(x, x.flip(3))) > 0.005


def test_many_places_are_sampled_evenly(monkeypatch):
    x, y = torch.rand(2, 1, 8, 24, 24, generator=torch.Generator().manual_seed(0))
    whole = float(structure_distance(x, y))
    monkeypatch.setattr(structure, "MAX_QUERIES", 64)
    assert float(structure_distance(x, y)) == pytest.approx(whole, rel=0.1)


def test_the_network_sees_images_of_one_size():
    torch.manual_seed(0)
    distance = StructureDistance(VGG16().eval().requires_grad_(False), "none")
    x, y = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    found = distance(x, y)
    taps = [distance.net(side)[2] for side in (x, y)]
    assert torch.allclose(found, structure_distance(*taps), atol=1e-6)
    assert float(distance(x, x).abs().max()) < 1e-6
    with pytest.raises(DataError, match="structure distance compares images of one size, found 32 x 32 and 16 x 32"):
        distance(x, y[..., :16])
