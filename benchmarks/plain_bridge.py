"""The training steps of UNSB and StegoGAN in the order of their authors' code, as benchmarks/plain_contrastive.py has others."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain_contrastive import ADAM, mse, noise_like, patch_nce, sampled, teach
from diptych.methods.stegogan import StegoGAN
from diptych.methods.unsb import UNSB

TIMES = (0.0, 0.5, 0.74, 0.86, 0.94)


class PlainUNSB:
    """D, then E, then G with H; one call of a network for each image, and the chain only as far as the time that was drawn."""

    def __init__(self, method: UNSB) -> None:
        self.G, self.H, self.D, self.E = method.G_ab.G, method.H, method.D_b, method.E
        nets = {"G": self.G, "H": self.H, "D": self.D, "E": self.E}
        self.adams = {name: torch.optim.Adam(net.parameters(), **ADAM) for name, net in nets.items()}
        self.before: Tensor | None = None

    def translated(self, x: Tensor, index: int, z: Tensor) -> Tensor:
        """G at a time."""
        return self.G(x, torch.full((len(x),), index, device=x.device), z)

    def encoded(self, x: Tensor, z: Tensor) -> list[Tensor]:
        """The published taps at time 0."""
        context = self.G.context(torch.zeros(len(x), dtype=torch.long, device=x.device), z.expand(len(x), -1))
        found = []
        for number, layer in enumerate([*self.G.stem, *self.G.down, *self.G.blocks]):
            x = layer(x, *context) if hasattr(layer, "style") else layer(x)
            found += [x] if number in (0, 4, 8, 12, 16) else []
            if number == 16:
                return found
        raise AssertionError(number)

    def step(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One update of all four networks; the terms as diptych names them."""
        n = len(real_a)
        index = int(torch.randint(5, ()))
        others = torch.cat([real_a[-1:] if self.before is None else self.before, real_a[:-1]])
        self.before = real_a[-1:].clone()
        states = [real_a, others, real_b]
        with torch.no_grad():
            for k in range(4):
                zs, noise = self.z(3 * n).split(n), noise_like(torch.cat(states)).split(n)
                if k < index:
                    delta, left = TIMES[k + 1] - TIMES[k], 1 - TIMES[k]
                    share, deviation = delta / left, (0.01 * delta * (1 - delta / left)) ** 0.5
                    fakes = [self.translated(x, k, z) for x, z in zip(states, zs, strict=True)]
                    states = [(1 - share) * x + share * y + deviation * e for x, y, e in zip(states, fakes, noise, strict=True)]
        fake, fake_other, idt = (self.translated(x, index, z) for x, z in zip(states, self.z(3 * n).split(n), strict=True))
        x, x_other, _ = states
        time = torch.full((n,), index, device=x.device)

        self.adams["D"].zero_grad()
        terms = {"D/fake": 0.5 * mse(self.D(fake.detach(), time), False), "D/real": 0.5 * mse(self.D(real_b, time), True)}
        (terms["D/fake"] + terms["D/real"]).backward()
        self.adams["D"].step()

        self.adams["E"].zero_grad()
        pair, other = torch.cat([x, fake.detach()], 1), torch.cat([x_other, fake_other.detach()], 1)
        free = torch.logsumexp(self.E(torch.cat([pair, other], 1), time).reshape(-1), dim=0)
        terms |= {"E/own": -self.E(torch.cat([pair, pair], 1), time).mean(), "E/other": free, "E/other_squared": free**2}
        (terms["E/own"] + free + free**2).backward()
        self.adams["E"].step()

        for net in (self.D, self.E):
            teach(net, False)
        self.adams["G"].zero_grad()
        self.adams["H"].zero_grad()
        pair, other = torch.cat([x, fake], 1), torch.cat([x_other, fake_other], 1)
        free = torch.logsumexp(self.E(torch.cat([pair, other], 1), time).reshape(-1), dim=0)
        entropy = self.E(torch.cat([pair, pair], 1), time).mean() - free
        terms["G/gan"] = mse(self.D(fake, time), True)
        terms["G/entropy"] = -(5 - index) / 5 * 0.01 * entropy
        terms["G/transport"] = 0.01 * torch.mean((x - fake) ** 2)
        z, places, nce = self.z(1), None, []
        for real, made in ((real_a, fake), (real_b, idt)):
            queries = self.encoded(made, z)
            keys, places = sampled(self.H, self.encoded(real, z), places)
            nce.append(patch_nce(sampled(self.H, queries, places)[0], keys, n))
        terms["G/nce"] = 0.5 * (nce[0] + nce[1])
        sum(value for name, value in terms.items() if name.startswith("G")).backward()
        self.adams["G"].step()
        self.adams["H"].step()
        for net in (self.D, self.E):
            teach(net, True)
        return terms

    def z(self, n: int) -> Tensor:
        """Normal noise vectors."""
        weight = self.G.head[1].weight
        return torch.randn(n, self.G.noise, device=weight.device, dtype=weight.dtype)


class PlainStegoGAN:
    """Both generators, then both discriminators; each pass is a call of its own."""

    def __init__(self, method: StegoGAN) -> None:
        from benchmarks.plain import HostPool

        self.G_ab, self.G_ba, self.D_a, self.D_b = method.G_ab, method.G_ba, method.D_a, method.D_b
        self.adam_G = torch.optim.Adam(itertools.chain(self.G_ab.parameters(), self.G_ba.parameters()), **ADAM)
        self.adam_D = torch.optim.Adam(itertools.chain(self.D_a.parameters(), self.D_b.parameters()), **ADAM)
        self.pool_a, self.pool_b = HostPool(50), HostPool(50)

    def halves(self, G: nn.Module) -> tuple[nn.Module, nn.Module]:
        """What comes before the seam behind the eighth block, and after it."""
        net = G.net
        return nn.Sequential(net.stem, net.down, *net.blocks[:8]), nn.Sequential(*net.blocks[8:], net.up, net.head, nn.Tanh())

    def hidden(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """G_ba: the translation, what it keeps apart, the mask."""
        first, second = self.halves(self.G_ba)
        f = first(x)
        mask = torch.sigmoid(self.G_ba.mask(f))
        return second(f * (1 - mask)), f * mask, mask

    def restored(self, x: Tensor, u: Tensor | None = None) -> Tensor:
        """G_ab, with what was kept apart or without."""
        first, second = self.halves(self.G_ab)
        f = first(x)
        return second(f if u is None else f + self.G_ab.fusion(u))

    def step(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One update of all four networks; the terms as diptych names them."""
        fake_a, u, mask = self.hidden(real_b)
        rec_b = self.restored(fake_a + 0.01 * noise_like(fake_a), u)
        rec_clean = self.restored(fake_a)
        fake_b, clean = self.restored(real_a, u.detach()), self.restored(real_a)
        rec_a, _, mask_of_fake = self.hidden(fake_b)
        for D in (self.D_a, self.D_b):
            teach(D, False)
        self.adam_G.zero_grad()
        mask, mask_of_fake = (each.amax(1, keepdim=True) for each in (mask, mask_of_fake))
        large, large_of_fake = (F.interpolate(each, scale_factor=4, mode="bilinear") for each in (mask, mask_of_fake))
        apart = ((rec_clean - real_b).abs() * (1 - large)).mean() + ((clean - fake_b).abs() * (1 - large_of_fake)).mean()
        terms = {
            "G/cycle_a": 10.0 * F.l1_loss(rec_a, real_a),
            "G/cycle_b": 10.0 * F.l1_loss(rec_b, real_b),
            "G/idt_a": 5.0 * F.l1_loss(self.hidden(real_a)[0], real_a),
            "G/idt_b": 5.0 * F.l1_loss(self.restored(real_b), real_b),
            "G/mask": 0.3 * (torch.sqrt(mask + 1e-10).mean() + torch.sqrt(mask_of_fake + 1e-10).mean()),
            "G/clean": 1.0 * apart,
            "G/gan_ab": mse(self.D_b(fake_b), True),
            "G/gan_ba": mse(self.D_a(fake_a), True),
        }
        sum(terms.values()).backward()
        self.adam_G.step()

        self.adam_D.zero_grad()
        sides = (("b", self.D_b, real_b, self.pool_b.query(fake_b)), ("a", self.D_a, real_a, self.pool_a.query(fake_a)))
        for side, D, real, fake in sides:
            teach(D, True)
            terms[f"D/real_{side}"] = 0.5 * mse(D(real), True)
            terms[f"D/fake_{side}"] = 0.5 * mse(D(fake.detach()), False)
            (terms[f"D/real_{side}"] + terms[f"D/fake_{side}"]).backward()
        self.adam_D.step()
        return terms
