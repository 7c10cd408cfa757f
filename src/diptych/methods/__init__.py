"""The methods, one paper a file, in one plain table: name -> where its configuration lives.

A method of your own needs no row: ``mypackage.dclgan:DCLGANConfig`` works wherever a name does.
"""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from diptych.errors import ConfigError

if TYPE_CHECKING:
    from diptych.methods.base import Batch, Method, MethodConfig, Terms

METHODS: dict[str, str] = {
    "pix2pix": "diptych.methods.pix2pix:Pix2PixConfig",
    "cyclegan": "diptych.methods.cyclegan:CycleGANConfig",
}

__all__ = ["METHODS", "Batch", "Method", "MethodConfig", "Terms", "method_config"]


def __getattr__(name: str) -> Any:
    """Classes are imported when first used, so that the names of methods can be looked up without torch."""
    if name not in __all__:
        raise AttributeError(f"module 'diptych.methods' has no attribute {name!r}")
    return getattr(importlib.import_module("diptych.methods.base"), name)


def method_config(name: str) -> type[MethodConfig]:
    """The configuration class of a method, by its name in METHODS or as ``module:Class``.

    Raises ConfigError, naming the nearest method, when there is none.
    """
    module, _, attribute = METHODS.get(name, name).partition(":")
    if not attribute:
        near = get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]}?" if near else "or module:Class of your own"
        raise ConfigError(f"no method is called {name!r}; known: {', '.join(METHODS)}; {hint}")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"method {name}: {error}; give it as module:Class, importable from here") from error
