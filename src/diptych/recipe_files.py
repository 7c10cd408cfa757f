"""The text of a recipe as plain values, before anything in it is checked or looked up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from diptych.errors import ConfigError


def read_values(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises ConfigError where it holds none."""
    try:
        text = Path(path).read_text()
        # JSON is nearly YAML: its escapes of characters beyond 16 bits are pairs, which YAML reads as two characters.
        values = json.loads(text) if Path(path).suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML or JSON: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: a recipe is a mapping with the keys method, data, train, extra, start; found {type(values).__name__}"
        )
    return values


def method_named(values: Mapping[str, Any]) -> str:
    """The method that a recipe's values name."""
    method = values.get("method")
    name = method.get("name") if isinstance(method, Mapping) else method
    if not isinstance(name, str):
        raise ConfigError("a recipe needs method.name, e.g. method: {name: cyclegan}")
    return name
