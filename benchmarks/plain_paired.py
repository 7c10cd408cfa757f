"""The training steps of BicycleGAN and colorization as plainly as benchmarks/plain.py has those of others."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.plain_contrastive import ADAM, mse, teach
from diptych.methods.bicyclegan import BicycleGAN
from diptych.methods.colorization import Colorization
from diptych.nets.colorizer import lab_of, lightness_of


class PlainBicycleGAN:
    """G and E from both paths, E without the gradient of the code that is found again; then both discriminators."""

    def __init__(self, method: BicycleGAN) -> None:
        self.G, self.E, self.D, self.D2 = method.G_ab, method.E_b, method.D_b, method.D_random
        self.adam_G = torch.optim.Adam(itertools.chain(self.G.parameters(), self.E.parameters()), **ADAM)
        self.adam_D = torch.optim.Adam(itertools.chain(self.D.parameters(), self.D2.parameters()), **ADAM)

    def step(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One update of all four networks; the terms as diptych names them."""
        mean, log_variance = self.E(real_b)
        code = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        drawn = torch.randn_like(mean)
        fake, other = self.G.translate(real_a, code), self.G.translate(real_a, drawn)
        for D in (self.D, self.D2):
            teach(D, False)
        terms = {
            "G/gan_encoded": sum(mse(scale, True) for scale in self.D(fake)),
            "G/gan_random": sum(mse(scale, True) for scale in self.D2(other)),
            "G/l1": 10.0 * F.l1_loss(fake, real_b),
            "G/kl": 0.01 * -0.5 * torch.sum(1.0 + log_variance - mean**2 - log_variance.exp()),
        }
        self.adam_G.zero_grad()
        sum(terms.values()).backward(retain_graph=True)
        teach(self.E, False)
        terms["G/latent"] = 0.5 * F.l1_loss(self.E(other)[0], drawn)
        terms["G/latent"].backward()
        teach(self.E, True)
        self.adam_G.step()

        self.adam_D.zero_grad()
        for name, D, real, made in (("encoded", self.D, real_b, fake), ("random", self.D2, real_b.roll(1, 0), other)):
            teach(D, True)
            terms[f"D/real_{name}"] = sum(mse(scale, True) for scale in D(real))
            terms[f"D/fake_{name}"] = sum(mse(scale, False) for scale in D(made.detach()))
            (terms[f"D/real_{name}"] + terms[f"D/fake_{name}"]).backward()
        self.adam_D.step()
        return terms


class PlainColorization:
    """D, then G, on lightness and colours."""

    def __init__(self, method: Colorization) -> None:
        self.G, self.D = method.G_ab.unet, method.D_b
        self.adam_G, self.adam_D = (torch.optim.Adam(net.parameters(), **ADAM) for net in (self.G, self.D))

    def judged(self, light: Tensor, colours: Tensor, real: bool) -> Tensor:
        """The cross-entropy of D's logits with what it should say."""
        logits = self.D(torch.cat([light, colours], 1))
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))

    def step(self, real_a: Tensor, real_b: Tensor) -> dict[str, Tensor]:
        """One update of both networks; the terms as diptych names them."""
        light, colours = lightness_of(real_a), lab_of(real_b)[:, 1:]
        guess = self.G(light)
        teach(self.D, True)
        self.adam_D.zero_grad()
        terms = {"D/fake": 0.5 * self.judged(light, guess.detach(), False), "D/real": 0.5 * self.judged(light, colours, True)}
        (terms["D/fake"] + terms["D/real"]).backward()
        self.adam_D.step()

        teach(self.D, False)
        self.adam_G.zero_grad()
        terms |= {"G/gan": self.judged(light, guess, True), "G/l1": 100.0 * F.l1_loss(guess, colours)}
        (terms["G/gan"] + terms["G/l1"]).backward()
        self.adam_G.step()
        return terms
