"""How a training begins: with chance, with weights of a snapshot, run or other tool, or where another run ended."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from diptych.errors import ConfigError, DataError, SnapshotError
from diptych.files import sha256_of
from diptych.foreign import load_networks, to_snapshot
from diptych.messages import nearest, show
from diptych.methods import Method
from diptych.methods.discriminators import EquippedDiscriminator
from diptych.recipe import Recipe, StartConfig
from diptych.run import Run
from diptych.schemas import MAPPING, read_json
from diptych.snapshot import Snapshot, snapshot_in
from diptych.training.distributed import World, broadcast, on_first
from diptych.training.state_files import read_state
from diptych.training.weights import take
from diptych.trees import Tree, read_header
from diptych.zoo import resolve

log = logging.getLogger(__name__)
JUDGE_OF = {"a2b": "D_b", "b2a": "D_a"}
"""The network that judges the translations of a direction."""


@dataclass(frozen=True)
class Weights:
    """Tensors by network: generators by direction, all others by the name that a method gives them, such as ``D_b``."""

    generators: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    others: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


def weights_file(path: Path) -> Path:
    """The file that a setting of weights names: a file, the newest training state or else the last snapshot of a run folder, or
    a network of the zoo by its name.
    """
    path = resolve(path)
    if not path.is_dir():
        return path
    states = Run(path).states()
    found = states[0] if states else snapshot_in(path)
    if found == path:
        raise ConfigError(f"{show(path)}: holds neither a training state nor a snapshot; give a run folder, or a file of weights")
    return found


def with_hashes(recipe: Recipe, out: Path | None = None) -> Recipe:
    """The recipe with the SHA-256 of every file that its start names. Raises ConfigError for a file that cannot be read.

    A hash that stands there already is kept: a run that goes on needs the file no more. So is that of a run folder as source of
    weights, where the run in ``out`` began with an earlier state of it.
    """
    found: dict[str, str] = {}
    for name, path in recipe.start.files.items():
        if hash_of(recipe.start, name):
            continue
        if out and Path(path).is_dir() and (before := _hash_in(out, name, path)):
            found[f"start.{name}_sha256"] = before
        else:
            try:
                found[f"start.{name}_sha256"] = sha256_of(weights_file(Path(path)))
            except OSError as error:
                raise ConfigError(f"start.{name} {show(path)}: cannot be read ({error.strerror}); check the path") from error
    return recipe.replace(**found)


def _hash_in(out: Path, name: str, path: str) -> str:
    """The hash that a run's recipe has beside the same setting of its start; empty where there is none."""
    try:
        start = read_json(out / "recipe.json", MAPPING)["start"]
        return str(start[f"{name}_sha256"]) if start[name] == path else ""
    except (OSError, DataError, LookupError, TypeError):
        return ""


def hash_of(start: StartConfig, name: str) -> str:
    """The SHA-256 that stands beside a file of the start; empty before it is found."""
    return str(getattr(start, f"{name}_sha256"))


def begin(method: Method, recipe: Recipe, world: World) -> Tree | None:
    """Put the weights that a recipe starts with into its new networks, and say what fitted; all processes do so together.

    Returns the state of the run that goes on, or None. Raises ConfigError for weights that do not fit at all or whose file is
    another one than the recipe's hash says, and SnapshotError for a damaged file.
    """
    start, state = recipe.start, None
    names = {id(module): name for name, module in method.named_modules()}
    named = {way: names[id(net)] for way, net in method.generators().items()}
    for name, path in start.files.items():
        way = name.removeprefix("weights_") if name.startswith("weights_") else ""
        opened = broadcast(on_first(partial(_open, recipe, name, Path(path), way, named), world), world)
        if name == "run":
            state = opened
            opened = _of_state(state, named, averaged=False)
        _put(method, opened, f"{path} (SHA-256 {hash_of(start, name)[:12]})", say=world.first)
    return state


def _open(recipe: Recipe, name: str, path: Path, way: str, named: Mapping[str, str]) -> Weights | Tree:
    """Read one file of weights; the whole state where a run goes on. ``named`` are the names of the generators by direction."""
    file = weights_file(path)
    if not file.is_file():
        raise ConfigError(f"start.{name} {show(path)}: no such file; give a snapshot, a run folder, or weights of another tool")
    found, expected = sha256_of(file), hash_of(recipe.start, name)
    if found != expected:
        raise ConfigError(
            f"start.{name} {show(file)}: has SHA-256 {found[:12]}, not {expected[:12]} as the recipe says; restore it"
        )
    if name == "run":
        return read_state(file)
    whole = _read(file, named)
    if not way:
        if len(whole.generators) == 1 and len(named) > 1 and file.suffix != ".safetensors":
            raise ConfigError(f"{show(file)}: holds one generator; say which it is with --weights-a2b or --weights-b2a")
        return whole
    return _of_direction(whole, way, file)


def _of_direction(whole: Weights, way: str, file: Path) -> Weights:
    """What a file says of one direction; a single generator is taken for that of any direction."""
    nets = whole.generators
    only = next(iter(nets.values())) if len(nets) == 1 else None
    chosen = nets.get(way, only)
    judge = JUDGE_OF[way]
    others = {judge: whole.others[judge]} if judge in whole.others else {}
    if len(whole.others) == 1 and not nets:
        others = {judge: next(iter(whole.others.values()))}
    if chosen is None and not others:
        raise ConfigError(f"{show(file)}: holds no network for {way}; it holds {', '.join([*nets, *whole.others]) or 'none'}")
    return Weights({way: chosen} if chosen is not None else {}, others)


def _read(file: Path, named: Mapping[str, str]) -> Weights:
    """The networks in a state or snapshot of diptych or in a file of another tool."""
    try:
        header = read_header(file) if file.suffix == ".safetensors" else {}
    except SnapshotError:  # a .safetensors of another tool
        header = {}
    if header.get("kind") == "state":
        return _of_state(read_state(file), named, averaged=True)
    snapshot = Snapshot.load(file) if header.get("kind") == "snapshot" else to_snapshot(load_networks(file).all())
    judges = {JUDGE_OF.get(name, name): net.state_dict() for name, net in snapshot.discriminators.items()}
    return Weights({way: net.state_dict() for way, net in snapshot.generators.items()}, judges)


def _of_state(state: Tree, named: Mapping[str, str], averaged: bool) -> Weights:
    """The networks of a training state; its generators are the averaged ones where ``averaged`` asks for them."""
    tensors = state["method"] | state["ranks"][0]["buffers"]
    others: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, rest = key.partition(".")
        others.setdefault(name, {})[rest] = tensor
    generators = {way: others.pop(name) for way, name in named.items() if name in others}
    moving: dict[str, dict[str, Tensor]] = {}
    for key, tensor in (state["ema"] or {}).items() if averaged else ():
        if key.startswith("nets."):  # nets.a2b.stem.1.weight
            _, way, rest = key.split(".", 2)
            moving.setdefault(way, {})[rest] = tensor
    return Weights(generators | moving, others)


def _put(method: Method, weights: Weights, origin: str, say: bool) -> None:
    """Copy weights into the networks of a method, and log by name what was taken and what was not."""
    names = {id(module): name for name, module in method.named_modules()}
    networks = {names[id(net)]: net for nets in method.phases().values() for net in nets}
    given = dict(weights.others) | {
        names[id(net)]: weights.generators[way] for way, net in method.generators().items() if way in weights.generators
    }
    reports = [take(name, plain(net), bare(given[name])) for name, net in networks.items() if name in given]
    if not reports:
        raise ConfigError(
            f"{origin}: holds {', '.join([*weights.generators, *weights.others])}, none of which this method trains"
        )
    if not say:
        return
    for report in reports:
        log.info("weights of %s: %s", origin, report)
    if fresh := [name for name in networks if name not in given]:
        log.info("weights of %s: nothing for %s, which the training goes on with as it is", origin, ", ".join(fresh))


def plain(net: nn.Module) -> nn.Module:
    """A discriminator without what a recipe adds around it (train.discriminator); any other network as it is."""
    inner = net.net if isinstance(net, EquippedDiscriminator) else net
    assert isinstance(inner, nn.Module), "what is equipped is a network"
    return inner


def bare(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors of a network without those that were added around it in training."""
    if not tensors or not all(name.startswith(("net.", "probability.")) for name in tensors):
        return tensors
    return {name.removeprefix("net."): value for name, value in tensors.items() if name.startswith("net.")}


def freeze(method: Method, names: Iterable[str]) -> None:
    """Exclude parts of networks from training, by names such as ``G_ab.down`` or ``D_b``.

    Raises ConfigError, naming the nearest, for a name that no part has, and where nothing of a phase would be left to train.
    """
    parts = {name: module for name, module in method.named_modules() if name and any(True for _ in module.parameters())}
    for name in names:
        if name not in parts:
            near = nearest(name, parts, n=1)
            hint = (
                f"did you mean {near[0]}?" if near else f"there are {', '.join(n for n in parts if '.' not in n)} and their parts"
            )
            raise ConfigError(f"start.freeze: no part of the networks is called {name!r}; {hint}")
        parts[name].requires_grad_(False)
    for phase, nets in method.phases().items():
        if not any(p.requires_grad for net in nets for p in net.parameters()):
            raise ConfigError(f"start.freeze leaves nothing of phase {phase} to train; freeze less")
