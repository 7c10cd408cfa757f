"""Feature maps inside a generator, by name: what contrastive methods compare.

A generator that has taps lists its ``stages`` and says at which ``position`` each tap lies, as `ResNet` does. The published
taps of CUT, numbers 0, 4, 8, 12 and 16 of its anti-aliased network of 9 blocks, are `cut_taps(9)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jaxtyping import Float
from torch import Tensor, nn

from diptych.nets.blocks import crop_centre, pad_to_multiple
from diptych.nets.stage import Stage, StyledStage

Position = tuple[int, int]
"""An index in a network's stages, and how many layers of that stage come before."""


class Tapped(Protocol):
    """A generator whose feature maps have names."""

    multiple: int
    smallest: int

    def stages(self) -> list[nn.Module]:
        """What is applied to the padded image, in order."""
        ...

    def position(self, tap: str) -> Position:
        """Where a named map is taken. Raises ConfigError for an unknown name."""
        ...


class Translating(Tapped, Protocol):
    """One that says what becomes of its last features."""

    def finish(self, features: Tensor) -> Tensor:
        """Images, of what the last stage gives."""
        ...


def cut_taps(num_blocks: int) -> tuple[str, ...]:
    """The encoder's taps in CUT: the padded image, both downsamplings, the first block, and the middle one where it is another.

    Of 9 blocks, those are block 1 and block 5 as published.
    """
    blocks = [f"block_{k}" for k in (1, (num_blocks + 1) // 2)] if num_blocks else []
    return tuple(dict.fromkeys(["input", "down_1", "down_2", *blocks]))


def taps(net: Tapped, x: Float[Tensor, "n c h w"], names: Sequence[str], *context: Tensor) -> list[Tensor]:
    """The maps (n, c, h, w) at these taps for images x; the network is computed up to the last of them.

    ``context`` is what the stages of some networks take beside features. Maps of images whose size is padded inside are those of
    the padded image. Raises ConfigError for an unknown name.
    """
    x = pad_to_multiple(x, net.multiple, smallest=net.smallest)
    return walk(net.stages(), x, [net.position(name) for name in names], context, to_the_end=False)[1]


def tapped(
    net: Translating, x: Float[Tensor, "n c h w"], names: Sequence[str], *context: Tensor
) -> tuple[Float[Tensor, "n d h w"], list[Tensor]]:
    """What the network makes of images x, and the maps at these taps on the way, in one pass."""
    padded = pad_to_multiple(x, net.multiple, smallest=net.smallest)
    features, maps = walk(net.stages(), padded, [net.position(name) for name in names], context)
    return crop_centre(net.finish(features), *x.shape[-2:]), maps


def walk(
    stages: Sequence[nn.Module],
    x: Tensor,
    positions: Sequence[Position],
    context: Sequence[Tensor] = (),
    to_the_end: bool = True,
) -> tuple[Tensor, list[Tensor]]:
    """Apply stages in a row; return the last output, and the maps at positions.

    A stage that says ``conditional`` is called with the context beside its features.
    """
    found: dict[Position, Tensor] = {}
    for index, stage in enumerate(stages):
        more = context if getattr(stage, "conditional", False) else ()
        layers, begin = list(stage) if isinstance(stage, nn.Sequential) else [stage], 0
        for end in sorted({end for place, end in positions if place == index}):
            x = found[index, end] = _part(stage, layers[begin:end])(x, *more)
            begin = end
            if layers[end:] and _overwrites(layers[end:]):
                x = x.clone()
        if len(found) == len(set(positions)) and not to_the_end:
            break
        if layers[begin:]:
            x = _part(stage, layers[begin:])(x, *more)
    return x, [found[position] for position in positions]


def _part(stage: nn.Module, layers: list[nn.Module]) -> nn.Module:
    """Some layers of a stage, computed as the stage would."""
    if not isinstance(stage, Stage | StyledStage) or len(layers) == len(stage):
        return stage
    part = type(stage)(*layers)
    part.recompute, part.training = stage.recompute, stage.training
    return part


def _overwrites(layers: list[nn.Module]) -> bool:
    """Whether the first of these layers that does something changes its input in place."""
    first = next((layer for layer in layers if not isinstance(layer, nn.Identity)), None)
    return isinstance(first, nn.ReLU) and first.inplace
