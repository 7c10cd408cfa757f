"""How a trained generator is applied to new images: one definition for previews, translation and evaluation."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor, nn

from diptych.choices import Mode
from diptych.errors import ConfigError


@contextmanager
def applied(net: nn.Module, mode: Mode, seed: int = 0) -> Iterator[nn.Module]:
    """Yield the network as a translator; inside the block nothing is recorded for gradients.

    ``eval`` uses the running statistics and no dropout. ``paper`` does as the published test of pix2pix: BatchNorm uses the
    statistics of the batch at hand and dropout stays on (Isola et al. 2017, section 3.2), drawn from the seed. Networks without
    both are the same in either mode.

    What is yielded has modules of its own over the weights of ``net``, which is left as it is, and a random generator of its
    own: no state is shared with other threads, and the random state of the process stays where it was.
    """
    translator, random = as_translator(net, mode)
    random.manual_seed(seed)
    with torch.inference_mode():
        yield translator


def as_translator(net: nn.Module, mode: Mode) -> tuple[nn.Module, torch.Generator]:
    """Modules in a mode over the weights and buffers of ``net``, and the generator that their dropout draws from.

    The modules change no buffer. With one generator, they serve one thread at a time where there is dropout in mode paper.
    Raises ConfigError for a kind of dropout that has no seeded form here.
    """
    random = torch.Generator(next(net.parameters()).device)
    kept = {id(tensor): tensor for tensor in itertools.chain(net.parameters(), net.buffers())}
    translator: nn.Module = copy.deepcopy(net, kept).train(mode == "paper")
    if mode == "paper":
        _prepare(translator, random)
    return translator, random


def depends_on_batch(net: nn.Module) -> bool:
    """Whether mode paper differs from eval for this network and depends on the batch there: BatchNorm, dropout, noise."""
    return any(isinstance(module, nn.BatchNorm2d | nn.Dropout | Noise) for module in net.modules())


def _prepare(net: nn.Module, random: torch.Generator) -> None:
    """Let BatchNorm use the statistics of its batch and forget them, and dropout draw from a generator."""
    for name, module in net.named_children():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
        elif isinstance(module, Noise):
            module.random = random
        elif type(module) is nn.Dropout:
            setattr(net, name, SeededDropout(module.p, random) if 0 < module.p < 1 else module)  # 0 and 1 draw nothing
        elif isinstance(module, nn.modules.dropout._DropoutNd):
            raise ConfigError(f"mode paper knows nn.Dropout only, found {type(module).__name__}; choose mode eval")
        _prepare(module, random)


@final
class Noise(nn.Module):
    """Normal noise of a network that draws its answers: from the translator's generator in mode paper, else always the same."""

    def __init__(self) -> None:
        super().__init__()
        self.random: torch.Generator | None = None

    def forward(self, like: Tensor) -> Tensor:
        random = self.random or torch.Generator(like.device).manual_seed(0)
        return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=random)


@final
class SeededDropout(nn.Module):
    """nn.Dropout in training, with a generator of its own; on the CPU bit-equal to it for equal random states."""

    def __init__(self, p: float, random: torch.Generator) -> None:
        super().__init__()
        self.p, self.random = p, random

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.random)
        return x * kept.div_(1 - self.p)
