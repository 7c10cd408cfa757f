"""How a trained generator is applied to new images: the one meaning, for previews, translation and evaluation alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

Mode = Literal["eval", "paper"]


@contextmanager
def applied(net: nn.Module, mode: Mode, seed: int = 0) -> Iterator[nn.Module]:
    """The network as a translator inside this block, without gradients; training and random state are left as they were.

    ``eval``: running statistics, no dropout. ``paper``: as the published pix2pix test does it, BatchNorm uses the statistics
    of the batch at hand and dropout stays on (Isola et al. 2017, section 3.2), drawn from the seed. Networks with neither are
    the same in both.
    """
    training = {module: module.training for module in net.modules()}
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    device = next(net.parameters()).device
    net.train(mode == "paper")
    for norm in norms:
        norm.track_running_stats = mode == "eval"  # statistics of new images must not enter the running ones
    try:
        with torch.inference_mode(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield net
    finally:
        for module, was_training in training.items():
            module.training = was_training
        for norm in norms:
            norm.track_running_stats = True
