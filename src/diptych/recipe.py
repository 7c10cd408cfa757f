"""The recipe: everything that determines a run, as one frozen and strict value."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from diptych.data.datasets import DataConfig
from diptych.device import Precision
from diptych.errors import ConfigError
from diptych.methods import MethodConfig, method_config

Decay = Literal["epoch", "step"]
MEMORY_ONLY = ("train.accumulate", "train.checkpoint")
"""Settings of the same training in less memory: a run may go on with other values of them."""


@dataclass(frozen=True)
class TrainConfig:
    """How long and how to optimise; the defaults are the published ones.

    ``epochs`` at the full learning rate ``lr``, then ``decay_epochs`` in which it falls linearly towards zero: from epoch to
    epoch as published, or with ``decay: step`` from step to step, for trainings of few epochs. An epoch visits the larger side
    once. ``batch_size`` counts over all processes together. ``precision: auto`` is bf16 where the hardware computes in it.
    ``ema`` is the decay per step of averaged generator weights, 0 for none.

    For less memory, at the same results but for BatchNorm's statistics, which are those of a part: ``accumulate`` computes each
    process's batch in so many parts one after another; ``checkpoint`` recomputes the generators' activations instead of keeping
    them.
    """

    epochs: int = 100
    decay_epochs: int = 100
    decay: Decay = "epoch"
    batch_size: int = 1
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    precision: Precision = "auto"
    ema: float = 0.0
    seed: int = 0
    accumulate: int = 1
    checkpoint: bool = False

    def __post_init__(self) -> None:
        least = {"epochs": 0, "decay_epochs": 0, "batch_size": 1, "lr": 0.0, "seed": 0, "accumulate": 1}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise ConfigError(f"train.{name} must be at least {smallest}, found {getattr(self, name)}")
        if self.seed >= 2**63:
            raise ConfigError(f"train.seed must be below 2^63, found {self.seed}")
        if self.decay not in get_args(Decay):
            raise ConfigError(f"train.decay must be one of {', '.join(get_args(Decay))}, found {self.decay!r}")
        if self.epochs + self.decay_epochs < 1:
            raise ConfigError("train.epochs and train.decay_epochs are both 0; set at least one of them")
        if not 0.0 <= self.ema < 1.0:
            raise ConfigError(f"train.ema must be at least 0 and below 1, found {self.ema}")
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"train.accumulate {self.accumulate} must divide train.batch_size {self.batch_size} into equal parts; "
                "choose one of its divisors"
            )

    def lr_at(self, epoch: float) -> float:
        """The learning rate after so many epochs. From epoch to epoch the last one still trains, at lr / (decay_epochs + 1)."""
        if self.decay == "step":
            return self.lr * (1.0 - max(0.0, epoch - self.epochs) / max(1, self.decay_epochs))
        return self.lr * (1.0 - max(0, int(epoch) + 1 - self.epochs) / (self.decay_epochs + 1))


@dataclass(frozen=True)
class Recipe:
    """A method's settings, the data and the training, as YAML or JSON in and out.

    >>> Recipe.create("pix2pix", {"train": {"epochs": 5}}, ["--method.ngf", "32"])
    """

    method: MethodConfig
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    @classmethod
    def create(cls, method: str, settings: Mapping[str, Any] | None = None, overrides: Sequence[str] = ()) -> Recipe:
        """The recipe of a method (a name in METHODS, or module:Class), with some settings changed.

        First come nested settings, then overrides as ``--dotted.key value``. Raises ConfigError for an unknown key, naming the
        nearest, or a value of the wrong type.
        """
        parser = recipe_parser(method)
        for key, value in (settings or {}).items():
            if key in ("method", "data", "train") and not isinstance(value, Mapping):
                raise ConfigError(f"{key}: expected settings by name such as {key}: {{...}}, found {value!r}")
        try:
            if settings:
                known = parser.parse_object(dict(settings))
                parser.set_defaults(flat(known.as_dict()))
            chosen = parser.instantiate(parser.parse_args(list(overrides)))
        except ArgumentError as error:
            raise ConfigError(_explain(str(error), parser)) from error
        return cls(chosen.method, chosen.data, chosen.train)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
        """Undo to_dict; ``method.name`` chooses the method, other keys may be missing."""
        method = values.get("method")
        name = method.get("name") if isinstance(method, Mapping) else method
        if not isinstance(name, str):
            raise ConfigError("a recipe needs method.name, e.g. method: {name: cyclegan}")
        settings = dict(values) | {
            "method": {k: v for k, v in method.items() if k != "name"} if isinstance(method, Mapping) else {}
        }
        return cls.create(name, settings, overrides)

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
        """Read a YAML or JSON file."""
        try:
            text = Path(path).read_text()
            # JSON is nearly YAML: its escapes of characters beyond 16 bits are pairs, which YAML reads as two characters.
            values = json.loads(text) if Path(path).suffix == ".json" else yaml.safe_load(text)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: cannot be read as YAML or JSON: {' '.join(str(error).split())}") from error
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: a recipe is a mapping with the keys method, data, train; found {type(values).__name__}")
        return cls.from_dict(values, overrides)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON or YAML; tuples become lists."""
        name = {"name": _name(type(self.method))}
        values = {"method": name | dataclasses.asdict(self.method), "data": dataclasses.asdict(self.data)}
        return json.loads(json.dumps(values | {"train": dataclasses.asdict(self.train)}))

    def to_yaml(self) -> str:
        """The recipe as a YAML file's text."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None)

    def replace(self, **changes: Any) -> Recipe:
        """A copy with some dotted keys changed, as in ``recipe.replace(**{"train.seed": 1})``."""
        grouped: dict[str, dict[str, Any]] = {"method": {}, "data": {}, "train": {}}
        for key, value in changes.items():
            part, _, name = key.partition(".")
            grouped[part][name] = value
        parts = {part: dataclasses.replace(getattr(self, part), **given) for part, given in grouped.items()}
        return Recipe(**parts)


def recipe_parser(method: str) -> ArgumentParser:
    """A parser of --method.*, --data.* and --train.* for one method."""
    parser = ArgumentParser(exit_on_error=False, add_help=False, allow_abbrev=False)
    for key, kind in (("method", method_config(method)), ("data", DataConfig), ("train", TrainConfig)):
        parser.add_argument(f"--{key}", type=kind, default=kind())
    return parser


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The first key that makes two recipes' dicts other trainings, as ``train.lr: 0.0002 -> 0.001``; None when there is none."""
    flat_old, flat_new = flat(old), flat(new)
    for key in flat_old | flat_new:
        if key not in MEMORY_ONLY and flat_old.get(key) != flat_new.get(key):
            return f"{key}: {flat_old.get(key)} -> {flat_new.get(key)}"
    return None


def _name(config: type) -> str:
    """A built-in method's name, or module:Class of a user's own."""
    builtin = config.__module__.startswith("diptych.methods.")
    return config.name if builtin else f"{config.__module__}:{config.__qualname__}"  # type: ignore[attr-defined]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    by_key: dict[str, Any] = {}
    for key, value in values.items():
        by_key |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return by_key


def _explain(message: str, parser: ArgumentParser) -> str:
    """One line from the parser's message, with the nearest key where one is unknown."""
    line = " ".join(message.split())
    known = list(flat(parser.get_defaults().as_dict()))
    group = re.search(r"Group '(\w+)' does not accept option '([\w.]+)'", line)
    option = re.search(r"(?:Option '|unrecognized arguments: --)([\w.-]+)", line)
    unknown = f"{group[1]}.{group[2]}" if group else option[1] if option else None
    if unknown is None:
        key = re.search(r'Parser key "([\w.]+)":\s*(.*)', line)
        return f"{key[1]}: {_plain(key[2])}" if key else line
    near = get_close_matches(unknown, known, n=1, cutoff=0.5) or [k for k in known if k.endswith(f".{unknown}")]
    near = near or get_close_matches(f"x.{unknown}", [f"x.{k.split('.')[-1]}" for k in known], n=1)
    hint = f"did you mean {near[0].removeprefix('x.')}?" if near else f"known: {', '.join(known)}"
    return f"recipe: no setting is called {unknown}; {hint}"


def _plain(text: str) -> str:
    """The parser's type messages in the user's words."""
    text = re.sub(r"typing\.Literal(\[[^\]]*\])", r"one of \1", re.sub(r"<class '(\w+)'>", r"\1", text))
    return re.sub(r"Expected an? (.*?)\. Got value: (.*)", r"expected \1, found \2", text)
