"""Pixels without data are in no loss, whatever the method is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from diptych.data.census import Census
from diptych.data.splits import Split
from diptych.methods import METHODS
from diptych.methods.pix2pix import Pix2Pix
from diptych.nets import StegoResNet
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.training.distributed import World
from diptych.training.masking import encoded, masking
from diptych.training.preparation import build_method

DOMAIN = Domain(1, "float32", 0.0, 1.0, masked=True)
UNETS = {name: {"generator": "unet_5"} for name in ("pix2pix", "bicyclegan", "colorization")}  # which pad 32 pixels to no more
CENSUS = Census(Split((), (), True), DOMAIN, DOMAIN)


def pixels(seed: int, *, hole: float | None) -> torch.Tensor:
    x = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
    if hole is not None:
        x[:, :, 8:20, 10:22] = hole
    return x


def last_layer(net: torch.nn.Module) -> torch.nn.Module:
    """The layer whose output becomes the image, by whatever way a method applies its generator."""
    net = net.net if isinstance(net, StegoResNet) else net  # which has its mask beside it
    return [layer for layer in net.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d)][-1]


@pytest.mark.parametrize("name", METHODS)
def test_what_a_network_makes_where_there_is_no_data_changes_no_loss(name: str) -> None:
    torch.manual_seed(0)
    settings = ({"ngf": 4} if name == "bridge" else {"ngf": 4, "ndf": 4}) | UNETS.get(name, {})
    recipe = Recipe.create(name, {"method": settings, "data": {"load_size": 32, "crop_size": 32}})
    domain = replace(DOMAIN, channels=3) if name == "colorization" else DOMAIN
    method = recipe.build(domain, domain).eval()
    begun = {key: value.clone() for key, value in method.state_dict().items()}
    a, b = (pixels(seed, hole=hole).expand(-1, domain.channels, -1, -1) for seed, hole in ((1, torch.nan), (2, None)))
    batch = encoded(a, b, Census(Split((), (), True), domain, domain))
    assert batch.valid is not None and batch.valid.logical_not().sum() == 2 * 12 * 12
    assert (batch.a[:, :, 8:20, 10:22] == -1).all() and (batch.b[:, :, 8:20, 10:22] == -1).all()

    def losses(noise: float, valid: torch.Tensor | None) -> list[float]:
        holes = ~batch.valid

        def disturb(net: torch.nn.Module, x: object, out: torch.Tensor) -> torch.Tensor:
            return out + noise * holes.repeat(len(out) // 2, 1, 1, 1)  # several passes may be one call

        hooks = [last_layer(net).register_forward_hook(disturb) for net in method.generators().values()]
        torch.manual_seed(1)
        with masking(method.generators().values(), valid):
            found = [float(term.detach()) for _, terms in method.losses(batch._replace(valid=valid)) for term in terms.values()]
        for hook in hooks:
            hook.remove()
        method.load_state_dict(begun)  # such as queues of what a discriminator saw
        return found

    assert method.masks
    assert losses(0.0, batch.valid) == losses(0.7, batch.valid)
    assert losses(0.0, None) != losses(0.7, None)


def test_a_method_that_masks_nothing_says_so(caplog, monkeypatch):
    recipe = Recipe.create("pix2pix", {"method": {"ngf": 4}, "data": {"load_size": 32, "crop_size": 32}})
    monkeypatch.setattr(Pix2Pix, "masks", False)
    build_method(recipe, CENSUS, World())
    (said,) = caplog.messages
    assert said.startswith("pixels without data count in the losses of pix2pix")


def test_the_mask_is_mirrored_with_the_images_that_a_method_mirrors() -> None:
    valid = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    valid[:, :, :, 0] = False
    x = torch.rand(2, 3, 4, 4).where(valid, -1.0)
    with masking([net := torch.nn.Conv2d(3, 3, 1)], valid):
        plain, mirrored = net(x), net(x.flip(3))
    assert torch.equal((plain == -1).all(1), ~valid[:, 0]) and torch.equal((mirrored == -1).all(1), ~valid.flip(3)[:, 0])


def test_no_gradient_passes_through_pixels_without_data() -> None:
    net = torch.nn.Conv2d(1, 1, 1)
    valid = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    valid[..., 0] = True
    x = torch.rand(2, 1, 4, 4).where(valid, -1.0).requires_grad_()  # two passes in one call
    with masking([net], valid):
        net(x).sum().backward()
    assert x.grad is not None and (x.grad[..., 1:] == 0).all() and (x.grad[..., 0] != 0).all()
    assert len(net._forward_hooks) == 0
