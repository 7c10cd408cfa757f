"""The recipe: everything that determines a run, as one frozen and strict value."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from diptych.data.datasets import DataConfig
from diptych.device import Precision
from diptych.errors import ConfigError
from diptych.loss_networks import LossNetworks
from diptych.methods import Extra, ExtraLosses, Method, MethodConfig, is_here, method_config, method_name
from diptych.methods.discriminators import PLAIN, DiscriminatorConfig, equip
from diptych.pixels import Domain
from diptych.recipe_files import method_named, read_values, yaml_reason
from diptych.renamed import translated
from diptych.setting_hints import no_such_setting
from diptych.settings import Count, Fraction, Needs, Seed, Weight, Whole, check_settings

Decay = Literal["epoch", "step", "cosine"]
PARTS = ("method", "data", "train", "start")
MEMORY_ONLY = ("train.accumulate", "train.checkpoint")
"""Settings that only trade memory for time: a run may go on with other values of them."""
PLACES = ("data.source", "data.layout", "data.instances", "start.weights", "start.weights_a2b", "start.weights_b2a", "start.run")
"""Settings that say where something lies: a run goes on where the same images lie elsewhere (diptych.data.fingerprints), and
files of weights are known by their hashes.
"""


@dataclass(frozen=True)
class TrainConfig:
    """How long and how to optimise; the defaults are the published ones.

    ``epochs`` run at the full learning rate ``lr``, then it falls linearly towards zero over ``decay_epochs``: from epoch to
    epoch as published, or with ``decay: step`` from step to step, for trainings of few epochs, or with ``decay: cosine`` along
    half a cosine (Loshchilov and Hutter 2017). ``warm_up`` is the number of epochs, perhaps a fraction, over which the rate
    first rises from 0. ``lr_d`` is the full rate of the discriminators where it differs (two time scales, Heusel et al. 2017);
    0: it is ``lr``. An epoch visits the larger side once. ``batch_size`` counts over all processes together. ``precision:
    auto`` is bf16 where the hardware computes in it. ``ema`` is the decay per step of averaged generator weights, 0 for none;
    with ``ema_warm_up`` it is at most (1 + n) / (10 + n) in update n, counted from 0. ``discriminator`` says how discriminators
    are regularised.

    Two settings save memory without changing results, except that BatchNorm sees one part of a batch at a time: ``accumulate``
    computes each process's batch in so many parts one after another; ``checkpoint`` recomputes the generators' activations
    instead of keeping them.
    """

    epochs: Whole = 100
    decay_epochs: Whole = 100
    decay: Decay = "epoch"
    batch_size: Count = 1
    lr: Weight = 2e-4
    lr_d: Weight = 0.0
    warm_up: Weight = 0.0
    betas: tuple[Fraction, Fraction] = (0.5, 0.999)
    precision: Precision = "auto"
    ema: Fraction = 0.0
    ema_warm_up: Annotated[bool, Needs(lambda recipe: recipe.train.ema > 0, "train.ema above 0")] = False
    seed: Seed = 0
    accumulate: Count = 1
    checkpoint: bool = False
    discriminator: DiscriminatorConfig = PLAIN

    def __post_init__(self) -> None:
        check_settings(self, "train")
        if self.epochs + self.decay_epochs < 1:
            raise ConfigError("train.epochs and train.decay_epochs are both 0; set at least one of them")
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"train.accumulate {self.accumulate} must divide train.batch_size {self.batch_size} into equal parts; "
                "choose one of its divisors"
            )

    def lr_at(self, epoch: float) -> float:
        """The learning rate after so many epochs. From epoch to epoch the last one still trains, at lr / (decay_epochs + 1)."""
        return self.lr * self._share_at(epoch)

    def lr_d_at(self, epoch: float) -> float:
        """The learning rate of the discriminators after so many epochs."""
        return (self.lr_d or self.lr) * self._share_at(epoch)

    def _share_at(self, epoch: float) -> float:
        """The share of the full rate after so many epochs, from 0 to 1."""
        fallen = max(0.0, epoch - self.epochs) / max(1, self.decay_epochs)
        if self.decay == "step":
            share = 1.0 - fallen
        elif self.decay == "cosine":
            share = 0.5 * (1.0 + math.cos(math.pi * min(1.0, fallen)))
        else:
            share = 1.0 - max(0, int(epoch) + 1 - self.epochs) / (self.decay_epochs + 1)
        return share * min(1.0, epoch / self.warm_up) if self.warm_up else share


@dataclass(frozen=True)
class StartConfig:
    """What the networks begin with, where it is not chance; ``diptych.training.start`` says how weights are taken.

    ``weights`` is a snapshot, a run folder, or a file of another tool, with generators and perhaps discriminators;
    ``weights_a2b`` and ``weights_b2a`` are those of one direction. ``run`` is a run folder whose training goes on, with the
    moments of its optimizers; ``lineage`` says in words which runs came before, the oldest first. Each of these files has its
    SHA-256 beside it, which is found when the training begins. ``freeze`` names parts of networks that are not trained, such as
    ``G_ab.down``.
    """

    weights: str = ""
    weights_sha256: str = ""
    weights_a2b: str = ""
    weights_a2b_sha256: str = ""
    weights_b2a: str = ""
    weights_b2a_sha256: str = ""
    run: str = ""
    run_sha256: str = ""
    lineage: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = [f"start.{name}" for name in ("weights_a2b", "weights_b2a", "run") if getattr(self, name)]
        if self.weights and given:
            raise ConfigError(f"start.weights and {given[0]} both say what the networks begin with; give one of them")
        if self.run and len(given) > 1:
            raise ConfigError(f"start.run and {given[0]} both say what the networks begin with; give one of them")

    @property
    def files(self) -> dict[str, str]:
        """The files that weights come from, by the name of their setting."""
        return {name: path for name in ("weights", "weights_a2b", "weights_b2a", "run") if (path := getattr(self, name))}


@dataclass(frozen=True)
class Recipe:
    """A method's settings, data, training and start, and losses added to the method's own, as YAML or JSON in and out.

    >>> Recipe.create("pix2pix", {"train": {"epochs": 5}}, ["--method.ngf", "32"])

    Raises ConfigError where a setting of the method breaks the rule of its type, and where ``extra`` names images that the
    method's step does not have, a loss that crops are too small for, or one term twice.
    """

    method: MethodConfig
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    extra: tuple[Extra, ...] = ()
    start: StartConfig = field(default_factory=StartConfig)

    def __post_init__(self) -> None:
        check_settings(self.method, "method")  # a method of a user's own need not do it itself
        if self.train.discriminator.ada_target and getattr(self.method, "gan", "") == "wgan":
            raise ConfigError(
                "train.discriminator.ada_target reads from the signs of logits how far D overfits, and those of a wgan critic "
                "have none that means real; set ada_target 0, or another method.gan"
            )
        name = method_name(type(self.method))
        if self.data.instances and not getattr(self.method, "instances", False):
            instead = "leave them out, or train pix2pixhd with method.instances true"
            raise ConfigError(f"data.instances: the method {name} does not look at them; {instead}")
        if self.data.pairs and self.method.paired:
            raise ConfigError(f"data.pairs mixes pairs into unpaired data, and {name} learns from pairs alone; leave it out")
        names = [term.name for term in self.extra]
        for term in self.extra:
            term.check_names(name, self.method.images)
            term.check_crop(self.data.crop_size)
            if names.count(term.name) > 1:
                raise ConfigError(f"extra: {term.loss} between {' and '.join(term.between)} stands there twice; keep one of them")

    def build(self, a: Domain, b: Domain) -> Method:
        """The method with freshly initialised networks for images of these domains, and what the recipe adds to any method:
        the losses of ``extra``, and what ``train.discriminator`` says.
        """
        method = equip(self.method.build(a, b, self.data.crop_size), self.train.discriminator)
        if self.extra:
            judges = {name: net for name, net in method.named_children() if callable(getattr(net, "features", None))}
            method.extra = ExtraLosses(self.extra, LossNetworks(judges, method.generators()))
        return method

    @classmethod
    def create(cls, method: str, settings: Mapping[str, Any] | None = None, overrides: Sequence[str] = ()) -> Recipe:
        """The recipe of a method (a name in METHODS, or module:Class), with some settings changed.

        First come nested settings, then overrides as ``--dotted.key value``. Raises ConfigError for an unknown key, naming the
        nearest, for a value of the wrong type, and for one that breaks a rule.
        """
        parser = recipe_parser(method)
        defaults = parser.get_defaults().as_dict()
        _check_groups(settings or {}, defaults)
        if unknown := _empty_unknown(settings or {}, defaults):
            raise ConfigError(no_such_setting(unknown, list(flat(parser.get_defaults().as_dict())), method))
        try:
            if settings:
                known = parser.parse_object(dict(settings))
                parser.set_defaults(flat(known.as_dict()))
            chosen = parser.instantiate(parser.parse_args(list(overrides)))
        except ArgumentError as error:
            raise ConfigError(_explain(str(error), parser, method)) from error
        except OverflowError as error:  # the library turns whole numbers into floats
            where = next((word.partition("=")[0].removeprefix("--") for word in overrides if len(word) > 308), "a setting")
            raise ConfigError(f"{where} must be a finite number, found a whole number above 1e308") from error
        added = tuple(Extra.from_dict(term) for term in chosen.extra)
        return cls(chosen.method, chosen.data, chosen.train, added, chosen.start)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], overrides: Sequence[str] = (), *, code: str | None = None) -> Recipe:
        """Undo to_dict; ``method.name`` chooses the method, other keys may be missing.

        Settings that an earlier version called otherwise are translated, and that is logged (diptych.renamed). A method of a
        user's own (module:Class) is imported only if ``code`` names it too: a recipe is data, and may be a stranger's. Raises
        ConfigError where it names code that is neither named nor imported already.
        """
        values = translated(values)
        method = values.get("method")
        name = method_named(values)
        if not is_here(name) and name != code and ":" in name:
            raise ConfigError(
                f"the recipe names code, {name}, which only `diptych train ... --method {name}` runs; first look at it"
            )
        settings = dict(values) | {
            "method": {k: v for k, v in method.items() if k != "name"} if isinstance(method, Mapping) else {}
        }
        return cls.create(name, settings, overrides)

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = (), *, code: str | None = None) -> Recipe:
        """Read a YAML or JSON file; ``code`` is the method of one's own that it may name (see from_dict)."""
        return cls.from_dict(read_values(path), overrides, code=code)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON or YAML; tuples become lists."""
        values: dict[str, Any] = {part: dataclasses.asdict(getattr(self, part)) for part in PARTS}
        if self.start == StartConfig():  # most trainings begin with chance, and their recipes say nothing of a start
            del values["start"]
        values["method"] = {"name": method_name(type(self.method))} | values["method"]
        return json.loads(json.dumps(values | {"extra": [term.to_dict() for term in self.extra]}))

    def to_yaml(self) -> str:
        """The recipe as a YAML file's text."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None)

    def replace(self, **changes: Any) -> Recipe:
        """A copy with some dotted keys changed, as in ``recipe.replace(**{"train.seed": 1})``, or with another ``extra``."""
        grouped: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
        extra = changes.pop("extra", self.extra)
        for key, value in changes.items():
            part, _, name = key.partition(".")
            grouped[part][name] = value
        return Recipe(**{part: dataclasses.replace(getattr(self, part), **given) for part, given in grouped.items()}, extra=extra)


def recipe_parser(method: str) -> ArgumentParser:
    """A parser of --method.*, --data.*, --train.*, --start.* and --extra for one method."""
    parser = ArgumentParser(exit_on_error=False, add_help=False, allow_abbrev=False)
    kinds: tuple[tuple[str, Any], ...] = (
        ("method", method_config(method)),
        ("data", DataConfig),
        ("train", TrainConfig),
        ("start", StartConfig),
    )
    for key, kind in kinds:
        parser.add_argument(f"--{key}", type=kind, default=kind())
    parser.add_argument("--extra", type=list[dict[str, Any]], default=[])
    return parser


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The first key that makes two recipes' dicts other trainings, as ``train.lr: 0.0002 -> 0.001``; None when there is none."""
    flat_old, flat_new = flat(old), flat(new)
    if bool(flat_old.get("data.instances")) != bool(flat_new.get("data.instances")):  # a place, but not whether there is one
        return f"data.instances: {flat_old.get('data.instances') or 'none'} -> {flat_new.get('data.instances') or 'none'}"
    for key in flat_old | flat_new:
        if key not in (*MEMORY_ONLY, *PLACES) and flat_old.get(key) != flat_new.get(key):
            return f"{key}: {flat_old.get(key)} -> {flat_new.get(key)}"
    return None


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    by_key: dict[str, Any] = {}
    for key, value in values.items():
        by_key |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return by_key


def _explain(message: str, parser: ArgumentParser, method: str) -> str:
    """One line from the parser's message, with the nearest key where one is unknown."""
    line = " ".join(message.split())
    group = re.search(r"Group '(\w+)' does not accept option '([\w.]+)'", line)
    option = re.search(r"(?:Option '|unrecognized arguments: --)([\w.-]+)", line)
    unknown = f"{group[1]}.{group[2]}" if group else option[1] if option else None
    if unknown is None:
        key = re.search(r'Parser key "([\w.]+)":\s*(.*)', line)
        if key and "Unable to load config" in line:
            part = next((name for name in flat(parser.get_defaults().as_dict()) if name.startswith(f"{key[1]}.")), key[1])
            return f"{key[1]}: expected settings by name, such as {part}, found {line.rpartition('config ')[2]}"
        if not key:
            return line
        text = _plain(key[2])
        text += "; put terms in [ ], or add one with --extra+" if key[1] == "extra" and "expected list" in text else ""
        return f"{key[1]} {text}" if text.startswith("must ") else f"{key[1]}: {text}"
    return no_such_setting(unknown, list(flat(parser.get_defaults().as_dict())), method)


def _check_groups(values: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> None:
    """Raise ConfigError where another value stands in place of a group of settings, or nothing in place of a list."""
    for key, value in values.items():
        inside = known.get(key)
        if isinstance(inside, Mapping):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}{key}: expected settings by name such as {key}: {{...}}, found {value!r}")
            _check_groups(value, inside, f"{prefix}{key}.")
        elif isinstance(inside, list) and value is None:
            raise ConfigError(f"{prefix}{key}: expected list, found None; leave it out, or give []")


def _empty_unknown(values: Mapping[str, Any], known: Mapping[str, Any]) -> str | None:
    """The first key that holds an empty mapping and is in no recipe; the parser passes over those, and finds all others."""
    for key, value in values.items():
        if value == {} and key not in known:
            return key
        inside = known.get(key)
        if isinstance(value, Mapping) and isinstance(inside, Mapping) and (found := _empty_unknown(value, inside)):
            return f"{key}.{found}"
    return None


def _plain(text: str) -> str:
    """The parser's type messages in the user's words."""
    text = re.sub(r"typing\.Literal(\[[^\]]*\])", r"one of \1", re.sub(r"<class '(\w+)'>", r"\1", text))
    union = re.match(r"Does not validate against any of the Union subtypes Subtypes: \[(.*)\] Errors: .* Given value: (.*)", text)
    if union:
        kinds = re.sub(r"tuple\[(\w+), \1\]", r"a list of two \1", union[1]).replace(", ", " or ")
        text = f"expected {kinds}, found {union[2]}"
    text = re.sub(r"Expected an? (.*?)\. Got value: ?(.*)", r"expected \1, found \2", text).rstrip()
    expected, _, found = text.partition(", found ")
    if expected == "expected float" and re.fullmatch(r"[+-]?(nan|inf|infinity)", found, re.IGNORECASE):
        return f"must be a finite number, found {found}"
    try:
        yaml.safe_load(found)
    except yaml.constructor.ConstructorError as error:
        return yaml_reason(error)
    except yaml.YAMLError:
        return f"not valid YAML, found {found}; look for a bracket or a quotation mark that is not closed"
    return text
