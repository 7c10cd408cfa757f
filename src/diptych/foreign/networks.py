"""All networks in a file of another tool: found below whatever prefixes, and put in the places that a snapshot has for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from diptych.errors import ConfigError, WeightsError
from diptych.foreign.families import SUPPORTED, Foreign, family_of, stranger
from diptych.foreign.families import recognise as recognise_network
from diptych.foreign.layers import Said, State
from diptych.foreign.spectral import without_spectral_norm
from diptych.nets.modes import Mode
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from diptych.state_dicts import first_keys, read_tensors

DIRECTIONS = ("a2b", "b2a")
WORDS = "model|net|state_dict|params|params_ema|ema"  # parts of prefixes that name no network
INNER = re.compile(rf"((^|(?<=\.))({WORDS})\.)+$")
OUTER = re.compile(rf"^(({WORDS})\.)+(?=.)")
BEFORE = r"(?:^|[_.]|G|D|[nN]et|[gG]en|[gG]enerator|[dD]iscriminator)_?"
SIDES: tuple[tuple[re.Pattern[str], str], ...] = (  # the first that fits
    (re.compile(BEFORE + r"(?:AB|A2B|AtoB|ab|a2b|atob|a_to_b)$"), "a2b"),
    (re.compile(BEFORE + r"(?:BA|B2A|BtoA|ba|b2a|btoa|b_to_a)$"), "b2a"),
    (re.compile(BEFORE + r"[Aa]$"), "a2b"),
    (re.compile(BEFORE + r"[Bb]$|^F$"), "b2a"),
)


@dataclass(frozen=True)
class Networks:
    """What a file holds: generators by direction, discriminators by name (``D_b`` judges images of b), and what was left out.

    ``labels`` says how the file calls each of them, ``notes`` what was guessed about their places and what was left out and why.
    """

    generators: Mapping[str, Foreign]
    discriminators: Mapping[str, Foreign] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def all(self) -> dict[str, Foreign]:
        """All networks by direction and by name."""
        return {**self.generators, **self.discriminators}


def load_networks(path: str | Path, said: Said = Said(), take: Mapping[str, str] | None = None) -> Networks:  # noqa: B008 frozen
    """Load all networks in a file of another tool.

    ``take`` names the generators of a file that holds several, by direction, where their names don't tell it. Raises
    WeightsError, in one line that begins with the path, when the file holds no network that is known, and ConfigError for what
    is said in vain.
    """
    state = read_tensors(path)
    try:
        found = _in_their_places(state, said, take or {})
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    _refuse_idle(said, found.all())
    return found


def load_foreign(path: str | Path, said: Said = Said()) -> Foreign:  # noqa: B008 it is frozen
    """Load the only network in a file of another tool. Raises WeightsError, in one line that begins with the path."""
    state = read_tensors(path)
    try:
        return recognise(state, said)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def recognise(state: State, said: Said = Said()) -> Foreign:  # noqa: B008 it is frozen
    """Build the only network that a state_dict holds, and load its weights. Raises WeightsError."""
    state, divided = without_spectral_norm(state)
    roots = _roots(state)
    if len(roots) != 1:
        raise WeightsError(f"holds the networks {first_keys(map(_label, roots))}; load_networks loads all of them")
    ((root, part),) = roots.items()
    foreign = _recognised(root, part, said, divided)
    _refuse_parts(root, [key for key in state if key not in part], foreign)
    _refuse_idle(said, {"network": foreign})
    return foreign


def to_snapshot(found: Mapping[str, Foreign]) -> Snapshot:
    """The snapshot of imported networks, by direction for generators and by any name for discriminators.

    Generators with batch norm or dropout are applied in ``paper`` mode unless their makers' test script does otherwise: test.py
    of junyanz/pytorch-CycleGAN-and-pix2pix calls model.eval() only with its option --eval. Raises WeightsError when two
    generators do not translate between the same two domains.
    """
    generators = {name: foreign.net for name, foreign in found.items() if foreign.role == "generator"}
    judges = {name: foreign.net for name, foreign in found.items() if foreign.role == "discriminator"}
    specs: dict[str, Any] = {name: net.spec for name, net in generators.items()}
    shapes = {
        (s["in_channels"], s["out_channels"]) if name == "a2b" else (s["out_channels"], s["in_channels"])
        for name, s in specs.items()
    }
    if len(shapes) > 1:
        raise WeightsError(
            f"the two generators map between different channels {sorted(shapes)}; import each into a snapshot of its own"
        )
    channels_a, channels_b = shapes.pop() if shapes else (3, 3)
    about = {"origin": {name: foreign.origin for name, foreign in found.items()}}
    mode: Mode = "paper" if any(found[name].mode == "paper" for name in generators) else "eval"
    size = max((found[name].size for name in generators), default=256)
    return Snapshot(generators, Domain(channels_a), Domain(channels_b), size, mode, about, judges)


def _roots(state: State) -> dict[str, dict[str, Tensor]]:
    """The networks of known families in a state_dict, by the prefix that all names of a network share."""
    prefixes = dict.fromkeys(key[: m.end()] for key in state for m in re.finditer(r"^|\.", key))  # in the order of the file
    found: dict[str, dict[str, Tensor]] = {}
    translates = False
    for root in prefixes:
        if any(root.startswith(outer) for outer in found):
            continue
        part = {key: tensor for key, tensor in state.items() if key.startswith(root)}
        if family := family_of({key.removeprefix(root): tensor for key, tensor in part.items()}):
            found[root] = part
            translates = translates or not family.judges
    if not translates and (what := stranger(state)):
        raise WeightsError(f"holds {what}; {SUPPORTED}")
    if not found:
        raise WeightsError(f"the keys {first_keys(state)} belong to no known network; {SUPPORTED}")
    return found


def _recognised(root: str, part: State, said: Said, divided: frozenset[str]) -> Foreign:
    family = family_of({key.removeprefix(root): tensor for key, tensor in part.items()})
    assert family is not None, "roots are those of families"
    foreign = recognise_network(part, root, family, said)
    if divided.isdisjoint(part):
        return foreign
    return replace(foreign, origin=f"{foreign.origin}, spectral norm folded into the weights")


def _refuse_parts(root: str, outside: list[str], foreign: Foreign) -> None:
    """Raise WeightsError when tensors stand beside a network as its parts do, which our network would lack."""
    beside = [key for key in outside if key.startswith(INNER.sub("", root))]
    if beside:
        raise WeightsError(f"looks like a {foreign.origin}, but {first_keys(beside)} unexpected; {SUPPORTED}")


def _refuse_idle(said: Said, found: Mapping[str, Foreign]) -> None:
    """Raise ConfigError when something is said that the files tell themselves, or that no network has."""
    for setting in fields(said):
        if getattr(said, setting.name) is not None and not any(setting.name in foreign.assumed for foreign in found.values()):
            origins = "; ".join(foreign.origin for foreign in found.values())
            raise ConfigError(
                f"--{setting.name.replace('_', '-')} changes nothing: it does not apply to a {origins}; leave it out"
            )


def _label(root: str) -> str:
    """How a file calls the network below a root: the prefix without the words that name no network."""
    return OUTER.sub("", INNER.sub("", root)).rstrip(".")


def _side(label: str) -> str | None:
    """Where a network leads by its name, or by that of its side: a2b, b2a, or None where the name does not tell."""
    tail = label.rpartition(".")[2]
    return next((direction for pattern, direction in SIDES if pattern.search(tail)), None)


def _in_their_places(state: State, said: Said, take: Mapping[str, str]) -> Networks:
    state, divided = without_spectral_norm(state)
    roots = _roots(state)
    known, notes = {}, []
    for root, part in roots.items():
        try:
            known[_label(root)] = _recognised(root, part, said, divided)
        except WeightsError as error:
            if len(roots) == 1:
                raise
            notes.append(f"left out {_label(root) or 'a network'}: {error}")
    outside = [key for key in state if not key.startswith(tuple(roots))]
    for root in roots:
        if _label(root) in known and (len(roots) == 1 or INNER.sub("", root)):
            _refuse_parts(root, outside, known[_label(root)])
    if outside:
        notes.append(f"left out {first_keys(sorted({key.split('.')[0] for key in outside}))}: no known network")
    generators = {label: foreign for label, foreign in known.items() if foreign.role == "generator"}
    judges = {label: foreign for label, foreign in known.items() if foreign.role == "discriminator"}
    if not known or (len(roots) > 1 and not generators):
        raise WeightsError("; ".join(notes) or f"holds the discriminators {first_keys(judges)} and no generator")
    placed, guess = _directions(list(generators), take)
    named = _judged(list(judges), placed)
    return Networks(
        {direction: generators[label] for direction, label in placed.items()},
        {name: judges[label] for name, label in named.items()},
        placed | named,
        tuple([*guess, *notes]),
    )


def _directions(labels: list[str], take: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Which generator translates where, by the names that a file gives them, and what of it is a guess."""
    listed = first_keys(labels)
    if take:
        if strange := [label for label in take.values() if label not in labels]:
            held = "one that has no name; leave the option out" if labels == [""] else f"{listed or 'none'}; name one of them"
            raise ConfigError(f"--take: the file holds no generator {strange[0]!r}, but {held}")
        return dict(take), []
    if len(labels) < 2:
        return dict(zip(DIRECTIONS, labels, strict=False)), []
    if len(labels) == 2:
        first, second = map(_side, labels)
        if first != second:  # one name is enough: G and F
            swapped = first == "b2a" or second == "a2b"
            return dict(zip(DIRECTIONS, reversed(labels) if swapped else labels, strict=True)), []
        option = f"--take a2b={labels[1]},b2a={labels[0]}"
        return dict(zip(DIRECTIONS, labels, strict=True)), [f"assumed: {labels[0]} translates a2b and {labels[1]} b2a ({option})"]
    raise WeightsError(f"holds {len(labels)} generators, {', '.join(labels)}; choose with --take a2b=NAME or a2b=NAME,b2a=NAME")


def _judged(labels: list[str], placed: Mapping[str, str]) -> dict[str, str]:
    """Names of discriminators by the domain that they judge: ``D_b`` judges images of b.

    Where a discriminator is called as a generator is, it judges what that generator makes: so does ``D_A`` beside ``G_A`` in the
    authors' code. Elsewhere ``D_A`` judges images of A.
    """
    if len(labels) == 1:
        return {"D_b": labels[0]}
    makers = {label.rpartition(".")[2]: direction for direction, label in placed.items()}
    names: dict[str, str] = {}
    for label in labels:
        tail = label.rpartition(".")[2]
        made = makers.get(tail) or makers.get(tail.replace("D", "G", 1))
        side = made[-1] if made else (_side(label) or "")[:1]
        names[f"D_{side}" if side and f"D_{side}" not in names else label] = label
    return names
