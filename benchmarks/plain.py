"""The published order of operations, as plainly as it can be written: what benchmarks/step.py measures diptych against.

fp32, eager, one call for each use of a network, two Adams without fusing, image pools on the host, as in
junyanz/pytorch-CycleGAN-and-pix2pix (ARCHITECTURE of the step only: the networks are diptych's own, handed in).
"""

from __future__ import annotations

import itertools
import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain_bridge import PlainStegoGAN, PlainUNSB
from benchmarks.plain_contrastive import PlainCUT, PlainDCLGAN, PlainSANTA
from benchmarks.plain_others import PlainBridge, PlainPix2PixHD, PlainUVCGAN2
from benchmarks.plain_paired import PlainBicycleGAN, PlainColorization
from diptych.methods.cyclegan import CycleGAN
from diptych.methods.pix2pix import Pix2Pix
from diptych.nets.blocks import BlurDown, BlurUp

OWN = (nn.Conv2d, nn.ConvTranspose2d, nn.InstanceNorm2d, nn.ReflectionPad2d)
ADAM = {"lr": 2e-4, "betas": (0.5, 0.999)}


class HostPool:
    """The last 50 fakes as a list; Python's random chooses."""

    def __init__(self, size: int) -> None:
        self.size, self.images = size, list[Tensor]()

    def query(self, fakes: Tensor) -> Tensor:
        """As many images as came in: the first ``size`` pass and are stored, later ones are exchanged half of the time."""
        answer = []
        for fake in fakes.detach().unsqueeze(1):
            if len(self.images) < self.size:
                self.images.append(fake)
                answer.append(fake)
            elif random.uniform(0, 1) > 0.5:
                slot = random.randint(0, self.size - 1)
                answer.append(self.images[slot].clone())
                self.images[slot] = fake
            else:
                answer.append(fake)
        return torch.cat(answer)


def teach(nets: list[nn.Module], wanted: bool) -> None:
    """Whether gradients stop in these networks' weights."""
    for parameter in itertools.chain(*(net.parameters() for net in nets)):
        parameter.requires_grad_(wanted)


class PlainCycleGAN:
    """G_ab, G_ba, then D_a, D_b."""

    def __init__(self, method: CycleGAN) -> None:
        self.G_ab, self.G_ba, self.D_a, self.D_b = method.G_ab, method.G_ba, method.D_a, method.D_b
        self.adam_G = torch.optim.Adam(itertools.chain(self.G_ab.parameters(), self.G_ba.parameters()), **ADAM)
        self.adam_D = torch.optim.Adam(itertools.chain(self.D_a.parameters(), self.D_b.parameters()), **ADAM)
        self.pool_a, self.pool_b = HostPool(50), HostPool(50)

    def step(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One update of all four networks; the terms as diptych names them."""
        fake_b = self.G_ab(real_a)
        rec_a = self.G_ba(fake_b)
        fake_a = self.G_ba(real_b)
        rec_b = self.G_ab(fake_a)

        teach([self.D_a, self.D_b], False)
        self.adam_G.zero_grad()
        terms = {
            "G/idt_b": F.l1_loss(self.G_ab(real_b), real_b) * 5.0,
            "G/idt_a": F.l1_loss(self.G_ba(real_a), real_a) * 5.0,
            "G/gan_ab": self._mse(self.D_b(fake_b), True),
            "G/gan_ba": self._mse(self.D_a(fake_a), True),
            "G/cycle_a": F.l1_loss(rec_a, real_a) * 10.0,
            "G/cycle_b": F.l1_loss(rec_b, real_b) * 10.0,
        }
        sum(terms.values()).backward()
        self.adam_G.step()

        teach([self.D_a, self.D_b], True)
        self.adam_D.zero_grad()
        for side, D, real, fake in (
            ("b", self.D_b, real_b, self.pool_b.query(fake_b)),
            ("a", self.D_a, real_a, self.pool_a.query(fake_a)),
        ):
            terms[f"D/real_{side}"] = self._mse(D(real), True) * 0.5
            terms[f"D/fake_{side}"] = self._mse(D(fake.detach()), False) * 0.5
            (terms[f"D/real_{side}"] + terms[f"D/fake_{side}"]).backward()
        self.adam_D.step()
        return terms

    def _mse(self, logits: Tensor, real: bool) -> Tensor:
        return F.mse_loss(logits, torch.full_like(logits, float(real)))


class PlainPix2Pix:
    """D, then G."""

    def __init__(self, method: Pix2Pix) -> None:
        self.G, self.D = method.G_ab, method.D_b
        self.adam_G = torch.optim.Adam(self.G.parameters(), **ADAM)
        self.adam_D = torch.optim.Adam(self.D.parameters(), **ADAM)

    def step(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One update of both networks; the terms as diptych names them."""
        fake_b = self.G(real_a)

        teach([self.D], True)
        self.adam_D.zero_grad()
        terms = {
            "D/fake": self._bce(self.D(torch.cat([real_a, fake_b], 1).detach()), False) * 0.5,
            "D/real": self._bce(self.D(torch.cat([real_a, real_b], 1)), True) * 0.5,
        }
        (terms["D/fake"] + terms["D/real"]).backward()
        self.adam_D.step()

        teach([self.D], False)
        self.adam_G.zero_grad()
        terms["G/gan"] = self._bce(self.D(torch.cat([real_a, fake_b], 1)), True)
        terms["G/l1"] = F.l1_loss(fake_b, real_b) * 100.0
        (terms["G/gan"] + terms["G/l1"]).backward()
        self.adam_G.step()
        return terms

    def _bce(self, logits: Tensor, real: bool) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


class PublishedBlurDown(nn.Module):
    """A convolution of single channels with [1 2 1] x [1 2 1] / 16, of stride 2."""

    def forward(self, x: Tensor) -> Tensor:
        row = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype, device=x.device) / 4
        kernel = torch.outer(row, row).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, stride=2, groups=x.shape[1])


class PublishedBlurUp(nn.Module):
    """A transposed convolution of single channels with [1 3 3 1] x [1 3 3 1] / 16, of stride 2."""

    def forward(self, x: Tensor) -> Tensor:
        row = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device) / 4
        kernel = torch.outer(row, row).expand(x.shape[1], 1, 4, 4)
        y = F.conv_transpose2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), kernel, stride=2, padding=2, groups=x.shape[1])
        return y[:, :, 1:-1, 1:-1]


BLURS = {BlurDown: PublishedBlurDown, BlurUp: PublishedBlurUp}


def plain_layers(net: nn.Module) -> nn.Module:
    """The same network with PyTorch's own layers where diptych has faster ones for the same function."""
    for module in net.modules():
        if type(module) in BLURS:
            module.__class__ = BLURS[type(module)]
        elif type(module).__module__.startswith("diptych.nets") and isinstance(module, OWN):
            module.__class__ = next(own for own in OWN if isinstance(module, own))
    return net


PLAIN = {
    "cyclegan": PlainCycleGAN,
    "pix2pix": PlainPix2Pix,
    "cut": PlainCUT,
    "dclgan": PlainDCLGAN,
    "santa": PlainSANTA,
    "unsb": PlainUNSB,
    "stegogan": PlainStegoGAN,
    "uvcgan2": PlainUVCGAN2,
    "pix2pixhd": PlainPix2PixHD,
    "bridge": PlainBridge,
    "bicyclegan": PlainBicycleGAN,
    "colorization": PlainColorization,
}
