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

ADAM = {"lr": 2e-4, "betas": (0.5, 0.999)}


def mse(logits: Tensor, real: bool) -> Tensor:
    """Least squares against 1 or 0."""
    return F.mse_loss(logits, torch.full_like(logits, float(real)))


def teach(net: nn.Module, wanted: bool) -> None:
    """Whether gradients reach these weights."""
    for parameter in net.parameters():
        parameter.requires_grad_(wanted)


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
        vectors.append(y / (y.pow(2).sum(1, keepdim=True).sqrt() + 1e-7))
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
