"""What is special about DCLGAN and SimDCL; the step beside the authors' order of operations is compared by benchmarks/step.py."""

import pytest
import torch
import torch.nn.functional as F

from diptych.errors import ConfigError
from diptych.methods import Batch, dclgan
from diptych.methods.dclgan import DCLGANConfig
from diptych.nets import taps
from diptych.pixels import Domain
from tests.contract.small import small


def built(**settings):
    torch.manual_seed(1)
    return DCLGANConfig(**small("dclgan", init_gain=0.3, **settings)).build(Domain(), Domain(), 16)


def images(n=2, seed=0):
    random = torch.Generator().manual_seed(seed)
    return Batch(*(torch.rand(n, 3, 16, 16, generator=random) * 2 - 1 for _ in "ab"))


def generators_terms(method, batch, seed=0):
    torch.manual_seed(seed)
    return next(iter(method.losses(batch)))[1]


def digested(H, S, maps):
    """SimDCL's digest of one image, written out: the first six patches of each map, projected, as channels of one convolution."""
    rows = []
    for head, x in zip(H.heads, maps, strict=True):
        y = head(torch.stack([x[0, :, place // x.shape[3], place % x.shape[3]] for place in range(6)]))
        rows.append(y / (y.norm(dim=1, keepdim=True) + 1e-7))
    conv, _, _, _, first, _, second = S.layers
    y = F.conv2d(torch.stack(rows)[None], conv.weight, conv.bias, stride=2).relu().mean((2, 3))
    y = second(first(y).relu())[0]
    return y / y.norm()


def test_similarity_is_the_distance_of_digests_of_real_and_made_images_of_one_domain(monkeypatch):
    monkeypatch.setattr(dclgan, "random_places", lambda x, count: torch.arange(count))
    method, batch = built(lambda_similarity=10.0), images(1)
    terms = generators_terms(method, batch)
    nets = {
        "a": (method.G_ab, method.H_a, batch.a, method.G_ba(batch.b)),
        "b": (method.G_ba, method.H_b, batch.b, method.G_ab(batch.a)),
    }
    for side, (encoder, H, real, fake) in nets.items():
        kinds = {"real": real, "fake": fake}
        found = {k: digested(H, method.S[f"{k}_{side}"], taps(encoder, x, method.taps)) for k, x in kinds.items()}
        expected = 10.0 * (found["real"] - found["fake"]).abs().mean()
        assert terms[f"similarity_{side}"].item() == pytest.approx(expected.item(), rel=1e-4)
        assert expected > 0.1


def test_similarity_teaches_the_encoder_of_real_images_too():
    method = built(lambda_similarity=10.0)
    for side, H in (("a", method.H_a), ("b", method.H_b)):
        real = [x.requires_grad_() for x in (torch.randn(2, 8, 4, 4), torch.randn(2, 16, 4, 4), torch.randn(2, 16, 4, 4))]
        method._digest(f"real_{side}", H, real).sum().backward()
        assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in real)


def test_dclgan_itself_has_no_digests_and_draws_what_it_drew():
    plain, similar = built(), built(lambda_similarity=1e-3)
    assert not list(plain.S.parameters()) and "similarity_a" not in generators_terms(plain, images())
    assert all(torch.equal(x, similar.state_dict()[key]) for key, x in plain.state_dict().items())


def test_what_cannot_be_digested_is_refused():
    with pytest.raises(
        ConfigError, match=r"at least 3 patches by 3 features, found num_patches 2 and projection 256; raise them"
    ):
        DCLGANConfig(lambda_similarity=10.0, num_patches=2)
