"""The training steps of UVCGANv2, pix2pixHD and a paired bridge as plainly as benchmarks/plain.py has those of others."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain_contrastive import ADAM, mse, noise_like, teach
from diptych.methods.bridge import Bridge
from diptych.methods.pix2pixhd import Pix2PixHD
from diptych.methods.uvcgan2 import UVCGAN2


class PlainUVCGAN2:
    """Both generators, a call for each image, then both discriminators beside the last three images that they saw."""

    def __init__(self, method: UVCGAN2) -> None:
        self.G_ab, self.G_ba, self.D_a, self.D_b = method.G_ab, method.G_ba, method.D_a, method.D_b
        self.adam_G = torch.optim.Adam(itertools.chain(self.G_ab.parameters(), self.G_ba.parameters()), **ADAM)
        self.adam_D = torch.optim.Adam(itertools.chain(self.D_a.parameters(), self.D_b.parameters()), **ADAM)
        self.past: dict[str, list[Tensor]] = {f"{kind}_{side}": [] for kind in ("real", "fake") for side in "ab"}

    def judged(self, D: nn.Module, x: Tensor, past: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of images beside earlier features, whose missing ones are the images' own; and the features."""
        features = D.body(x)
        beside = [past[k] if k < len(past) else features[k % len(x)] for k in range(3)]
        normed = D.norm(torch.cat([features, torch.stack(beside)]))[: len(x)]
        return D.head(normed), features.detach()

    def step(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One update of all four networks; the terms as diptych names them."""
        for D in (self.D_a, self.D_b):
            teach(D, False)
        self.adam_G.zero_grad()
        fake_b, fake_a = self.G_ab(real_a), self.G_ba(real_b)
        terms = {  # 5 and 2.5 as published, for images in [0, 1]
            "G/idt_a": 1.25 * F.l1_loss(self.G_ba(real_a), real_a),
            "G/idt_b": 1.25 * F.l1_loss(self.G_ab(real_b), real_b),
            "G/cycle_a": 2.5 * F.l1_loss(self.G_ba(fake_b), real_a),
            "G/cycle_b": 2.5 * F.l1_loss(self.G_ab(fake_a), real_b),
            "G/gan_ab": mse(self.judged(self.D_b, fake_b, self.past["fake_b"])[0], True),
            "G/gan_ba": mse(self.judged(self.D_a, fake_a, self.past["fake_a"])[0], True),
        }
        sum(terms.values()).backward()
        self.adam_G.step()

        self.adam_D.zero_grad()
        for side, D, real, fake in (("a", self.D_a, real_a, fake_a.detach()), ("b", self.D_b, real_b, fake_b.detach())):
            teach(D, True)
            reals, fakes = list(self.past[f"real_{side}"]), list(self.past[f"fake_{side}"])
            on_real, self.past[f"real_{side}"] = self.and_remembered(D, real, reals)
            on_fake, self.past[f"fake_{side}"] = self.and_remembered(D, fake, fakes)
            alpha = torch.rand((), device=real_a.device).to(real_a.dtype)
            between = (alpha * real + (1 - alpha) * fake).requires_grad_()
            mixed = [alpha * x + (1 - alpha) * y for x, y in zip(reals, fakes, strict=True)]
            value = self.judged(D, between, mixed)[0].mean((1, 2, 3)).sum()
            (slope,) = torch.autograd.grad(value, between, create_graph=True)
            terms[f"D/real_{side}"], terms[f"D/fake_{side}"] = 0.5 * mse(on_real, True), 0.5 * mse(on_fake, False)
            terms[f"D/gp_{side}"] = 4.0 * slope.square().sum((1, 2, 3)).mean()
            sum(terms[f"D/{name}_{side}"] for name in ("real", "fake", "gp")).backward()
        self.adam_D.step()
        return terms

    def and_remembered(self, D: nn.Module, x: Tensor, past: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Logits, and the last three features after these images."""
        logits, features = self.judged(D, x, past)
        return logits, [*features, *past][:3]


class PlainPix2PixHD:
    """Both objectives from a call of D for each image; then G's update, then D's."""

    def __init__(self, method: Pix2PixHD) -> None:
        self.G, self.D = method.G_ab, method.D_b
        self.adam_G, self.adam_D = (torch.optim.Adam(net.parameters(), **ADAM) for net in (self.G, self.D))

    def step(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One update of both networks; the terms as diptych names them."""
        fake_b = self.G(real_a)
        detached, on_real, on_fake = (self.D.features(torch.cat([real_a, x], 1)) for x in (fake_b.detach(), real_b, fake_b))
        layers = [(x, y) for one, other in zip(on_fake, on_real, strict=True) for x, y in zip(one[:-1], other[:-1], strict=True)]
        terms = {
            "D/fake": 0.5 * torch.stack([mse(scale[-1], False) for scale in detached]).sum(),
            "D/real": 0.5 * torch.stack([mse(scale[-1], True) for scale in on_real]).sum(),
            "G/gan": torch.stack([mse(scale[-1], True) for scale in on_fake]).sum(),
            "G/features": 40.0 * torch.stack([F.l1_loss(x, y.detach()) for x, y in layers]).mean(),
        }
        self.adam_G.zero_grad()
        (terms["G/gan"] + terms["G/features"]).backward()
        self.adam_G.step()
        self.adam_D.zero_grad()
        (terms["D/fake"] + terms["D/real"]).backward()
        self.adam_D.step()
        return terms


class PlainBridge:
    """DDBM's variance-preserving bridge: one network and one Adam."""

    def __init__(self, method: Bridge) -> None:
        self.unet = method.G_ab.unet
        self.adam = torch.optim.Adam(self.unet.parameters(), **ADAM)

    def step(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One update; the terms as diptych names them."""
        self.adam.zero_grad()
        times = torch.rand(len(real_a), dtype=real_a.dtype, device=real_a.device) * (1 - 1e-4) + 1e-4
        t = times[:, None, None, None]
        noise, end = torch.expm1(t**2 + 0.1 * t), torch.expm1(torch.tensor(1.1, dtype=t.dtype))
        scale, last = torch.exp(-0.5 * t**2 - 0.05 * t), torch.exp(torch.tensor(-0.55, dtype=t.dtype))
        a, b, c = noise / end * scale / last, (1 - noise / end) * scale, ((1 - noise / end) * noise).sqrt() * scale
        x = a * real_a + b * real_b + c * noise_like(real_a)
        power = 0.25 * (a**2 + b**2) + c**2
        out = (a**2 / 16 + c**2 / 4).sqrt() / power.sqrt()
        estimate = b / 4 / power * x + out * self.unet(torch.cat([x / power.sqrt(), real_a], 1), 250 * times.log())
        terms = {"G/bridge": (((estimate - real_b) / out) ** 2).mean()}
        terms["G/bridge"].backward()
        self.adam.step()
        return terms
