"""The methods, one paper a file, in one plain table: name -> where its configuration lives.

A method of your own needs no row: ``mypackage.dclgan:DCLGANConfig`` works wherever a name does.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from typing import TYPE_CHECKING, Any, cast, get_args

from diptych.errors import ConfigError
from diptych.messages import nearest

if TYPE_CHECKING:
    from diptych.methods.base import Batch, Method, MethodConfig, Terms
    from diptych.methods.extra import Extra, ExtraLosses

METHODS: dict[str, str] = {
    "pix2pix": "diptych.methods.pix2pix:Pix2PixConfig",
    "cyclegan": "diptych.methods.cyclegan:CycleGANConfig",
    "cut": "diptych.methods.cut:CUTConfig",
    "dclgan": "diptych.methods.dclgan:DCLGANConfig",
    "santa": "diptych.methods.santa:SANTAConfig",
    "unsb": "diptych.methods.unsb:UNSBConfig",
    "stegogan": "diptych.methods.stegogan:StegoGANConfig",
    "bicyclegan": "diptych.methods.bicyclegan:BicycleGANConfig",
    "bridge": "diptych.methods.bridge:BridgeConfig",
    "colorization": "diptych.methods.colorization:ColorizationConfig",
    "pix2pixhd": "diptych.methods.pix2pixhd:Pix2PixHDConfig",
    "uvcgan2": "diptych.methods.uvcgan2:UVCGAN2Config",
}
DEMANDED = {
    "name": "what people call it",
    "paired": "whether it needs aligned pairs",
    "mode": "how its translators are applied, eval or paper",
    "images": "the names of the images in its step, or ()",
    "build": "build(a, b, crop_size), which makes its networks",
}
"""What every configuration of a method has; methods/base.py says more."""

__all__ = [
    "METHODS",
    "Batch",
    "Extra",
    "ExtraLosses",
    "Method",
    "MethodConfig",
    "Terms",
    "is_here",
    "method_config",
    "method_name",
]


def __getattr__(name: str) -> Any:
    """Classes are imported when first used, so that the names of methods can be looked up without torch."""
    if name not in __all__:
        raise AttributeError(f"module 'diptych.methods' has no attribute {name!r}")
    return getattr(importlib.import_module(f"diptych.methods.{'extra' if name.startswith('Extra') else 'base'}"), name)


def is_here(name: str) -> bool:
    """Whether a method is one of METHODS or is imported already, so that looking it up runs no code."""
    return name in METHODS or name.partition(":")[0] in sys.modules


def method_config(name: str) -> type[MethodConfig]:
    """The configuration class of a method, by its name in METHODS or as ``module:Class``.

    Raises ConfigError, naming the nearest method, when there is none; and naming what is missing, when it is incomplete.
    """
    module, _, attribute = METHODS.get(name, name).partition(":")
    if not attribute:
        near = nearest(name, METHODS, n=1)
        hint = f"did you mean {near[0]}?" if near else "or module:Class of your own"
        raise ConfigError(f"no method is called {name!r}; known: {', '.join(METHODS)}; {hint}")
    try:
        config: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"method {name}: {error}; give it as module:Class, importable from here") from error
    has_settings: bool = dataclasses.is_dataclass(config)
    if not has_settings:
        raise ConfigError(f"method {name}: {attribute} is no dataclass; decorate it with @dataclass(frozen=True)")
    missing = [f"{word} ({meaning})" for word, meaning in DEMANDED.items() if not hasattr(config, word)]
    if missing:
        raise ConfigError(f"method {name}: {attribute} lacks {', '.join(missing)}; see docs/method.md")
    from diptych.nets.modes import Mode

    if config.mode not in get_args(Mode):
        raise ConfigError(f"method {name}: {attribute}.mode must be one of {', '.join(get_args(Mode))}, found {config.mode!r}")
    if name in METHODS and config.name != name:
        raise ConfigError(f"method {name}: {attribute}.name must be its name in METHODS, found {config.name!r}")
    return cast("type[MethodConfig]", config)


def method_name(config: type[MethodConfig]) -> str:
    """What recipes call a method: its name in METHODS, or module:Class of a user's own."""
    place = f"{config.__module__}:{config.__qualname__}"
    return config.name if METHODS.get(config.name) == place else place
