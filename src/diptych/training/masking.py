"""Pixels without data in a training: they are in no loss of a method (Method.masks).

A sample's pixel counts where both of its images have data. Elsewhere both images, and every image that a generator makes of
them, hold one value. So a pixel loss is 0 there and a discriminator sees no difference, and no gradient passes through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from diptych.data.census import Census
from diptych.methods import Batch
from diptych.methods.base import FILL


def encoded(a: Tensor, b: Tensor, census: Census, known: Tensor | None = None) -> Batch:
    """Make a batch for a method of native pixels of both sides, (n, c, h, w), on the device where they are."""
    masks = [mask for mask in (census.a.valid(a), census.b.valid(b)) if mask is not None]
    a, b = census.a.encode(a), census.b.encode(b)
    if not masks:
        return Batch(a, b, known)
    valid = masks[0] & masks[-1]
    return Batch(a.where(valid, FILL), b.where(valid, FILL), known, valid)


@contextmanager
def masking(generators: Iterable[nn.Module], valid: Bool[Tensor, "n 1 h w"] | None) -> Iterator[None]:
    """Inside this block, what generators make has the fill where a batch has no data; None changes nothing."""
    hooks = [] if valid is None else [net.register_forward_hook(partial(_fill, valid)) for net in generators]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _fill(valid: Tensor, net: nn.Module, inputs: tuple[Any, ...], out: Any) -> Any:
    if not isinstance(out, Tensor) or out.shape[2:] != valid.shape[2:]:
        return None  # such as features, which are no image
    times = len(out) // len(valid)  # several passes over the same samples may be one call
    valid = valid.repeat(times, 1, 1, 1)
    filled = (inputs[0] == FILL).all(1, keepdim=True)
    mirrored = valid.flip(3)
    turned = (filled | mirrored).all((1, 2, 3), True) & ~(filled | valid).all((1, 2, 3), True)  # a method may mirror its inputs
    return torch.where(torch.where(turned, mirrored, valid), out, FILL)
