"""Make the files of a zoo from a snapshot: one network a file in 16 bits, each with a card and an entry in the index."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from diptych.errors import ConfigError, WeightsError
from diptych.evaluation.tables import read_tables
from diptych.files import read_text, sha256_of
from diptych.messages import show
from diptych.pages.card import NAME as CARD
from diptych.pages.card import lines
from diptych.recipe_files import without_paths
from diptych.snapshot import Snapshot, snapshot_in
from diptych.training.publish import with_discriminators
from diptych.zoo import Model, pack

PROBE = 64  # pixels a side of the random images on which 16 and 32 bits are compared
LIMIT = 65504.0  # the largest number of 16-bit floats


def pack_snapshot(
    source: Path,
    name: str,
    folder: Path,
    shows: str,
    licence: str,
    *,
    back: str = "",
    shows_back: str = "",
    discriminators: bool = False,
) -> Iterator[tuple[Model, float]]:
    """Write each network of a snapshot into a zoo's folder; yields its entry and the greatest difference that 16 bits make.

    ``name`` translates A to B. The other direction is called ``back`` (NAME-b2a without it), and in its file the sides are
    exchanged, so that it too translates a2b; ``shows_back`` says what it does (``shows`` and ", backwards" without it). NAME-D_b
    and so on are discriminators, for which no difference is measured. Raises ConfigError where a file of the name is there, and
    where ``back`` or ``shows_back`` is given for a snapshot of one direction, and WeightsError where weights do not fit into 16
    bits.
    """
    snapshot = with_discriminators(source) if discriminators else Snapshot.load(source)
    if recipe := snapshot.about.get("recipe"):  # older snapshots hold paths
        snapshot = replace(snapshot, about={**snapshot.about, "recipe": without_paths(recipe)})
    if (back or shows_back) and "b2a" not in snapshot.generators:
        raise ConfigError(f"{show(source)}: translates from A to B alone; leave --back and --shows-back out")
    swapped = replace(snapshot, a=snapshot.b, b=snapshot.a)
    alone: dict[str, Snapshot] = {}
    for way, net in snapshot.generators.items():
        part, sides = (name, snapshot) if way == "a2b" else (back or f"{name}-b2a", swapped)
        alone[part] = replace(sides, generators={"a2b": net}, discriminators={})
    for judge, net in snapshot.discriminators.items() if discriminators else ():
        alone[f"{name}-{judge}"] = replace(snapshot, generators={}, discriminators={judge: net})
    for path in [folder / f"{part}{suffix}" for part in alone for suffix in (".safetensors", ".md")]:
        if os.path.lexists(path):
            raise ConfigError(f"{show(path)}: is there already; remove it, or take another --name")
    card, scores = _card(source), _scores(source)
    for part, one in alone.items():
        path = folder / f"{part}.safetensors"
        small = {"generators": _in_16_bits(one.generators, part), "discriminators": _in_16_bits(one.discriminators, part)}
        replace(one, generators=small["generators"], discriminators=small["discriminators"]).save(path)
        translates = bool(one.generators)
        difference = _difference(one, Snapshot.load(path)) if translates else 0.0
        size, numbers = path.stat().st_size, scores if part == name else {}
        turned = translates and part != name
        sentence = (shows_back or f"{shows}, backwards") if turned else shows
        entry = Model(part, path.name, sha256_of(path), size, sentence, licence, translates, numbers)
        used = card.replace("diptych translate snapshot.safetensors", f"diptych translate {part}")
        pack(entry, folder, f"# {part}\n\n{sentence}\n\nLicence: {licence}\n\n{used}")
        yield entry, difference


def _in_16_bits(nets: Mapping[str, nn.Module], where: str) -> dict[str, nn.Module]:
    for name, net in nets.items():
        largest = max((float(value.abs().max()) for value in net.state_dict().values() if value.is_floating_point()), default=0.0)
        if not largest <= LIMIT:
            raise WeightsError(f"{where}: {name} has a weight of {largest:g}, which 16 bits cannot hold")
    return {name: copy.deepcopy(net).half() for name, net in nets.items()}


@torch.inference_mode()
def _difference(one: Snapshot, other: Snapshot) -> float:
    noise = torch.rand(2, one.a.channels, PROBE, PROBE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    outputs = [snapshot.generators["a2b"].eval()(noise) for snapshot in (one, other)]
    return float((outputs[0] - outputs[1]).abs().max())


def _card(source: Path) -> str:
    path = snapshot_in(source).with_name(CARD)
    text = "No card was written beside this snapshot.\n"
    if path.is_file():
        text = read_text(path)
    elif path.with_name("recipe.json").is_file():
        text = "\n".join(lines(path.parent)) + "\n"
    text = text.partition("\n---\n")[2].strip() + "\n" if text.startswith("---\n") else text
    return text.partition("\n## Licence\n\nNot chosen yet.")[0]  # now it is, and stands above


def _scores(source: Path) -> dict[str, str]:
    """The scores that the run's evaluation printed, by name, with their intervals."""
    path = snapshot_in(source).with_name("evaluation.json")
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    for table in read_tables(path):
        for row in table.rows:
            if cell := next((row.cells[of] for of in table.columns if row.cells.get(of)), None):
                found.setdefault(row.title, f"{cell.value} ({cell.interval})" if cell.interval else cell.value)
    return found
