"""The text of a recipe as plain values, before anything in it is checked or looked up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from diptych.errors import ConfigError
from diptych.files import read_bounded
from diptych.messages import show
from diptych.schemas import parse_json

MOST_BYTES = 1_000_000  # YAML is read at about a megabyte in ten seconds
MOST_VALUES = 10_000  # which a recipe may hold once its aliases are written out


def read_values(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. Raises ConfigError where it holds none, and for a file without bounds."""
    try:
        text = read_bounded(Path(path), MOST_BYTES).decode()
        # JSON is nearly YAML: its escapes of characters beyond 16 bits are pairs, which YAML reads as two characters.
        values = parse_json(text) if Path(path).suffix == ".json" else _from_yaml(text)
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError) as error:
        reason = "is nested too deeply" if isinstance(error, RecursionError) else yaml_reason(error)
        raise ConfigError(f"{show(path)}: cannot be read as YAML or JSON: {reason}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"{show(path)}: a recipe is a mapping with the keys method, data, train, extra, start; found {type(values).__name__}"
        )
    return values


def yaml_reason(error: Exception) -> str:
    """What is wrong with a text of YAML or JSON and where, in one line; of tags that mean objects, that they are not read."""
    said = error.problem if isinstance(error, yaml.MarkedYAMLError) and error.problem else str(error)
    if tag := re.search(r"constructor for the tag '(.*?)'", said):
        named = tag[1].replace("tag:yaml.org,2002:", "!!")
        said = f"the tag {named} is not read, as a recipe holds plain values only; write the value itself"
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return " ".join(said.split()) + (f" (line {mark.line + 1}, column {mark.column + 1})" if mark else "")


def without_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's values as they are published: files and folders by their names alone, as a path tells of its owner's computer.

    Addresses such as ``hf:user/name`` stay, and so does how much of an earlier run a training goes on from.
    """
    data, start = dict(values.get("data", {})), dict(values.get("start", {}))
    if "source" in data:
        data["source"] = [_name_of(source) for source in data["source"]]
    if data.get("instances"):
        data["instances"] = _name_of(data["instances"])
    start |= {key: _name_of(start[key]) for key in ("weights", "weights_a2b", "weights_b2a", "run") if start.get(key)}
    if start.get("lineage"):
        start["lineage"] = [re.sub(r"^.*[/\\](?=[^/\\]+ at [\d,]+ images)", "", before) for before in start["lineage"]]
    return {**values, "data": data} | ({"start": start} if start else {})


def _name_of(word: str) -> str:
    return word if re.match(r"\w{2,}:", word) else re.split(r"[/\\]", word.rstrip("/\\"))[-1] or word


def _from_yaml(text: str) -> Any:
    """What safe YAML means. Raises ValueError for aliases that refer to themselves or stand for very many values."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        _count(node, [], MOST_VALUES)
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: yaml.Node | None, around: list[int], left: int) -> int:
    """How many more values a document may hold after those of a node, each alias counted as what it stands for."""
    if node is None:
        return left
    if id(node) in around:
        raise ValueError("an alias refers to what it is part of")
    left -= 1
    if left < 0:
        raise ValueError(f"holds more than {MOST_VALUES:,} values, aliases written out")
    around.append(id(node))
    if isinstance(node, yaml.CollectionNode):
        for item in node.value:
            for part in item if isinstance(item, tuple) else (item,):
                left = _count(part, around, left)
    around.pop()
    return left


def method_named(values: Mapping[str, Any]) -> str:
    """The method that a recipe's values name."""
    method = values.get("method")
    name = method.get("name") if isinstance(method, Mapping) else method
    if not isinstance(name, str):
        raise ConfigError("a recipe needs method.name, e.g. method: {name: cyclegan}")
    return name
