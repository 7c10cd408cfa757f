"""The training steps of CUT and its relatives in the order of their authors' code: fp32, eager, a call for each use of a network.

As in benchmarks/plain.py the networks are diptych's own, handed in; blurs are the published convolutions. Random numbers are
drawn as diptych draws them, so that losses can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diptych.methods.cut import CUT
from diptych.methods.dclgan import DCLGAN
from diptych.methods.santa import SANTA

ADAM = {"lr": 2e-4, "betas": (0.5, 0.999)}


def mse(logits: Tensor, real: bool) -> Tensor:
    """Least squares against 1 or 0."""
    return F.mse_loss(logits, torch.full_like(logits, float(real)))


def teach(net: nn.Module, wanted: bool) -> None:
    """Whether gradients reach these weights."""
    for parameter in net.parameters():
        parameter.requires_grad_(wanted)


def noise_like(x: Tensor) -> Tensor:
    """Normal noise, drawn in the order of diptych's memory layout."""
    return torch.randn_like(x.contiguous(memory_format=torch.channels_last)).contiguous()


def layers_of(G: nn.Module) -> list[nn.Module]:
    """The flat list of layers by whose numbers the authors name feature maps."""
    return [*G.stem, *G.down, *G.blocks, *G.up, *G.head]


def encoded(G: nn.Module, x: Tensor, numbers: Sequence[int] = (0, 4, 8, 12, 16)) -> list[Tensor]:
    """The feature maps behind these layers."""
    found = []
    for number, layer in enumerate(layers_of(G)):
        x = layer(x)
        if number in numbers:
            found.append(x)
        if number == numbers[-1]:
            return found
    raise AssertionError(numbers)


def sampled(H: nn.Module, maps: Sequence[Tensor], places: list[Tensor] | None = None) -> tuple[list[Tensor], list[Tensor]]:
    """Unit vectors at 256 random places of each map, and the places."""
    places = places or [torch.randperm(x.shape[2] * x.shape[3], device=x.device)[:256] for x in maps]
    vectors = []
    for head, x, chosen in zip(H.heads, maps, places, strict=True):
        # The authors permute first; on a CPU, PyTorch 2.13 then gives instance norm at batch 1 a wrong gradient.
        y = head(x.flatten(2)[:, :, chosen].permute(0, 2, 1).flatten(0, 1))
        vectors.append(y / (y.norm(dim=1, keepdim=True) + 1e-7))  # the root of a sum of squares has no gradient at 0
    return vectors, places


def patch_nce(queries: Sequence[Tensor], keys: Sequence[Tensor], batch: int) -> Tensor:
    """The positive first, then all of the image with the own one at -10; the mean over maps."""
    total = 0.0
    for q, k in zip(queries, keys, strict=True):
        k = k.detach()
        positive = (q * k).sum(1, keepdim=True)
        q, k = q.view(batch, -1, q.shape[1]), k.view(batch, -1, k.shape[1])
        others = torch.bmm(q, k.transpose(2, 1))
        own = torch.eye(others.shape[1], device=q.device, dtype=torch.bool)[None]
        others = others.masked_fill(own, -10.0).flatten(0, 1)
        logits = torch.cat([positive, others], 1) / 0.07
        total = total + F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=q.device))
    return total / len(queries)


class PlainCUT:
    """D, then G with H."""

    def __init__(self, method: CUT) -> None:
        self.G, self.H, self.D = method.G_ab, method.H, method.D_b
        self.adam_G, self.adam_H, self.adam_D = (torch.optim.Adam(net.parameters(), **ADAM) for net in (self.G, self.H, self.D))

    def step(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One update of all three networks; the terms as diptych names them."""
        fake_b, idt_b = self.G(torch.cat([real_a, real_b])).chunk(2)

        teach(self.D, True)
        self.adam_D.zero_grad()
        terms = {"D/fake": mse(self.D(fake_b.detach()), False) * 0.5, "D/real": mse(self.D(real_b), True) * 0.5}
        (terms["D/fake"] + terms["D/real"]).backward()
        self.adam_D.step()

        teach(self.D, False)
        self.adam_G.zero_grad()
        self.adam_H.zero_grad()
        terms["G/gan"] = mse(self.D(fake_b), True)
        places = None
        for name, real, fake in (("nce", real_a, fake_b), ("nce_idt", real_b, idt_b)):
            queries = encoded(self.G, fake)
            keys, places = sampled(self.H, encoded(self.G, real), places)
            terms[f"G/{name}"] = 0.5 * patch_nce(sampled(self.H, queries, places)[0], keys, len(real))
        (terms["G/gan"] + terms["G/nce"] + terms["G/nce_idt"]).backward()
        self.adam_G.step()
        self.adam_H.step()
        return terms


class PlainDCLGAN:
    """Both generators with both H, then both discriminators."""

    def __init__(self, method: DCLGAN) -> None:
        self.m = method
        G, H, D = [method.G_ab, method.G_ba], [method.H_a, method.H_b], [method.D_a, method.D_b]
        self.adams = [torch.optim.Adam([p for net in nets for p in net.parameters()], **ADAM) for nets in (G, H, D)]

    def step(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One update of all six networks; the terms as diptych names them."""
        m, numbers = self.m, (4, 8, 12, 16)
        fake_b, fake_a = m.G_ab(real_a), m.G_ba(real_b)
        idt_b, idt_a = m.G_ab(real_b), m.G_ba(real_a)
        for D in (m.D_a, m.D_b):
            teach(D, False)
        for adam in self.adams[:2]:
            adam.zero_grad()
        terms = {
            "G/gan_ab": 0.5 * mse(m.D_b(fake_b), True),
            "G/gan_ba": 0.5 * mse(m.D_a(fake_a), True),
            "G/idt_a": 0.5 * F.l1_loss(idt_a, real_a),
            "G/idt_b": 0.5 * F.l1_loss(idt_b, real_b),
        }
        sides = {"nce_a": (m.G_ab, m.G_ba, m.H_a, m.H_b, real_a, fake_b), "nce_b": (m.G_ba, m.G_ab, m.H_b, m.H_a, real_b, fake_a)}
        for name, (G, back, H, H_back, real, fake) in sides.items():
            keys, places = sampled(H, encoded(G, real, numbers))
            queries, _ = sampled(H_back, encoded(back, fake, numbers), places)
            terms[f"G/{name}"] = 0.5 * 2.0 * patch_nce(queries, keys, len(real))
        sum(terms.values()).backward()
        for adam in self.adams[:2]:
            adam.step()

        self.adams[2].zero_grad()
        for side, D, real, fake in (("a", m.D_a, real_a, fake_a), ("b", m.D_b, real_b, fake_b)):
            teach(D, True)
            terms[f"D/real_{side}"] = 0.5 * mse(D(real), True)
            terms[f"D/fake_{side}"] = 0.5 * mse(D(fake.detach()), False)
            (terms[f"D/real_{side}"] + terms[f"D/fake_{side}"]).backward()
        self.adams[2].step()
        return terms


class PlainSANTA:
    """D, then G."""

    def __init__(self, method: SANTA) -> None:
        self.G, self.D = method.G_ab, method.D_b
        self.adam_G, self.adam_D = (torch.optim.Adam(net.parameters(), **ADAM) for net in (self.G, self.D))

    def decoded(self, h: Tensor, strength: Tensor) -> tuple[Tensor, list[Tensor]]:
        """An image, and the maps behind decoder blocks 1 and 4, the convolutions of both upsamplings and the last convolution."""
        ends = self.G.ends
        s, maps = ends[0] + strength[:, None] * (ends[1] - ends[0]), []
        for index, block in enumerate(self.G.blocks[4:]):
            h = block(h, s)
            maps += [h] if index in (0, 3) else []
        for layer in self.G.up:
            h = layer(h, s) if hasattr(layer, "affine") and hasattr(layer, "linear") else layer(h)
            maps += [h] if isinstance(layer, nn.Conv2d) else []
        h = self.G.head(h)
        return torch.tanh(h), [*maps, h]

    def step(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One update of both networks; the terms as diptych names them."""
        n = len(real_a)
        h = torch.cat([real_a, real_b])
        for stage in (self.G.stem, self.G.down, *self.G.blocks[:4]):
            h = stage(h)
        mean = h
        h_a, h_b = (mean + noise_like(mean)).split(n)
        place, half = torch.rand(2, n, dtype=h.dtype, device=h.device)
        half = 0.05 + 0.05 * half
        d1, d2 = (place + half).clamp(0, 1), (place - half).clamp(0, 1)
        zero, one = torch.zeros_like(place), torch.ones_like(place)
        images, _ = self.decoded(torch.cat([h_a, h_a, h_b]), torch.cat([zero, one, one]))
        rec_a, fake_b, idt_b = images.split(n)

        teach(self.D, True)
        self.adam_D.zero_grad()
        terms = {"D/fake": mse(self.D(fake_b.detach()), False) * 0.5, "D/real": mse(self.D(real_b), True) * 0.5}
        (terms["D/fake"] + terms["D/real"]).backward()
        self.adam_D.step()

        teach(self.D, False)
        self.adam_G.zero_grad()
        terms["G/gan"] = mse(self.D(fake_b), True)
        terms["G/rec_a"] = 5.0 * F.l1_loss(rec_a, real_a)
        terms["G/idt_b"] = 5.0 * F.l1_loss(idt_b, real_b)
        terms["G/mean"] = 0.01 * mean.pow(2).mean()
        slopes = []
        for x, y in zip(self.decoded(h_a, d1)[1], self.decoded(h_a, d2)[1], strict=True):
            slopes.append((((x - y) / (d1 - d2).clamp(min=0.1)[:, None, None, None]) ** 2).mean())
        terms["G/path"] = 0.01 * sum(slopes) / len(slopes)
        sum(value for name, value in terms.items() if name.startswith("G")).backward()
        self.adam_G.step()
        return terms
