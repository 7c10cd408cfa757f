"""Every method takes label maps and rectangular crops, and compares classes by their cross-entropy."""

import pytest
import torch

from diptych.errors import ConfigError
from diptych.losses import PixelLoss
from diptych.methods import Batch, method_config
from diptych.pixels import Domain
from tests.contract.small import NAMES, small, unmixed

LABELS = Domain(classes=((0,), (1,), (2,)))  # as many channels as a photograph, so that no method has to refuse them
SIZE = 16, 32


@pytest.mark.parametrize("name", NAMES)
def test_a_step_on_labels_and_rectangles_is_finite_and_reaches_every_network(name, monkeypatch):
    torch.manual_seed(0)
    kinds = []
    called = PixelLoss.__call__
    monkeypatch.setattr(PixelLoss, "__call__", lambda self, *images: kinds.append(self.kind) or called(self, *images))
    method = method_config(name)(**small(name, **unmixed(name))).build(LABELS, LABELS, SIZE)
    pixels = torch.randint(3, (2, 1, *SIZE), dtype=torch.uint8)
    for phase, terms in method.losses(Batch(LABELS.encode(pixels), LABELS.encode(pixels.flip(3)), torch.ones(2))):
        assert all(term.isfinite() for term in terms.values())
        taught = [p for net in method.phases()[phase] for p in net.parameters() if p.requires_grad]
        sum(terms.values()).backward()
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in taught)
    assert set(kinds) <= {"ce"}


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan"])
def test_cross_entropy_is_refused_where_there_are_no_classes(name):
    with pytest.raises(ConfigError, match=r"pixel_loss.kind ce compares classes, and this side holds none"):
        method_config(name)(**small(name, pixel_loss=PixelLoss("ce"))).build(Domain(), Domain(), 16)
