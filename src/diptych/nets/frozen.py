"""Networks that judge without being taught."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """Inside this block gradients pass through the networks without reaching their weights."""
    trained = [p for net in nets for p in net.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
