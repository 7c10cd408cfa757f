"""Generators that are told how to translate: with which strength, in how many steps, in which style.

Such a generator names what it takes in ``adjustable`` and makes, by ``adjusted``, a network that is called with images alone.
It is rebuilt from its spec as any other, so that whoever applies a snapshot needs no method.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from diptych.errors import ConfigError

HOW = {
    "strength": "a method that has one, such as santa",
    "steps": "a method that has them, such as unsb",
    "style": "a method that has several, such as pix2pixhd with method.num_features 3",
}


def adjusted(net: nn.Module, **wanted: Any) -> nn.Module:
    """The network with which images are translated; what is None stays as the generator has it.

    Raises ConfigError where something is wanted that this generator does not take, or a value is out of its range.
    """
    takes: tuple[str, ...] = getattr(net, "adjustable", ())
    for name, value in wanted.items():
        if value is not None and name in HOW and name not in takes:
            raise ConfigError(f"{name} {value:g}: this snapshot's generator takes no {name}; leave it out, or train {HOW[name]}")
    if not takes:
        return net
    make: Any = net.adjusted
    return make(**{name: value for name, value in wanted.items() if value is not None and name in takes})
