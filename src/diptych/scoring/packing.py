"""Make the files of a zoo from a snapshot: one network a file in 16 or 8 bits, each with a card and an entry in the index."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from diptych.data.archives import is_there
from diptych.data.datasets import view
from diptych.errors import ConfigError, WeightsError
from diptych.evaluation.tables import read_tables
from diptych.files import sha256_of
from diptych.inference.choice import differences
from diptych.inference.translator import Translator
from diptych.messages import show
from diptych.pages.card import NAME as CARD
from diptych.pages.card import lines_of_network, remarks
from diptych.recipe_files import without_paths
from diptych.recorded import Recorded
from diptych.run import CENSUS, read_census
from diptych.sheets import spread
from diptych.snapshot import Snapshot, snapshot_in
from diptych.stored_weights import Bits, restored, stored
from diptych.training.publish import with_discriminators
from diptych.zoo import Model, pack

IMAGES = 16  # of the run's data, on which the weights of the file are compared with those of the snapshot
NOISE = (2, 64)  # the random images and the pixels of their side that take their place


@dataclass(frozen=True)
class Cost:
    """How far translations by the weights of a file are from those by the snapshot's own, in 255ths of the range of values.

    ``mean`` and ``greatest`` are of absolute differences over ``images`` of the run's data, or of random ones (``noise``).
    """

    mean: float
    greatest: float
    images: int
    noise: bool

    def __str__(self) -> str:
        where = f"{self.images} {'random images' if self.noise else 'images of its data'}"
        return f"mean difference {self.mean:.2f}/255, greatest {self.greatest:.0f}/255, on {where}"


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
    bits: Bits = 16,
    max_error: float = 1.0,
) -> Iterator[tuple[Model, Cost | None]]:
    """Write each network of a snapshot into a zoo's folder; yields its entry and what rounding its weights to ``bits`` costs.

    ``name`` translates A to B. The other direction is called ``back`` (NAME-b2a without it), and in its file the sides are
    exchanged, so that it too translates a2b; ``shows_back`` says what it does (``shows`` and ", backwards" without it). NAME-D_b
    and so on are discriminators, which always take 16 bits, and whose cost is not measured. Raises ConfigError where a file of
    the name is there, and where ``back`` or ``shows_back`` is given for a snapshot of one direction, and WeightsError where
    weights do not fit into 16 bits or the mean difference of a cost is above ``max_error``; then nothing is written.
    """
    if not max_error >= 0:
        raise ConfigError(f"--max-error must be at least 0, found {max_error:g}; the default is 1, of 255 levels")
    for option, text in (("--shows", shows), ("--shows-back", shows_back), ("--licence", licence)):
        if not text.isprintable():
            raise ConfigError(f"{option} must be one line of printable characters, found {text!r}")
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
    scores = {way: _scores(source, way) for way in snapshot.generators}
    costs = {part: _cost(source, part, one, part != name, bits) for part, one in alone.items() if one.generators}
    for part, cost in costs.items():
        if not cost.mean <= max_error:
            raise WeightsError(
                f"{part}: {bits} bits make a {cost}, more than --max-error {max_error:g}; nothing was written; take more bits"
            )
    for part, one in alone.items():
        path, translates = folder / f"{part}.safetensors", bool(one.generators)
        one.save(path, bits if translates else 16)
        way = ("a2b" if part == name else "b2a") if translates else ""
        sentence = (shows_back or f"{shows}, backwards") if way == "b2a" else shows
        size, numbers = path.stat().st_size, scores.get(way, {})
        entry = Model(part, path.name, sha256_of(path), size, sentence, licence, translates, numbers)
        weights = f"Weights of {bits} bits: {costs[part]}\n\n" if translates else ""
        pack(entry, folder, f"# {part}\n\n{sentence}\n\nLicence: {licence}\n\n{weights}{_card(source, path, way)}")
        yield entry, costs.get(part)


def _cost(source: Path, part: str, one: Snapshot, turned: bool, bits: Bits) -> Cost:
    net = copy.deepcopy(one.generators["a2b"])
    net.load_state_dict(restored(part, stored(f"{part}: a2b", net, bits)))
    whole, rounded = (Translator(snapshot, device="cpu") for snapshot in (one, replace(one, generators={"a2b": net})))
    known = _images(source, one, turned)
    images = known or _noise(one)
    apart = [differences(rounded.tensors(x), whole.tensors(x), one.b) for x in images]
    mean = sum(float(values.sum()) for values in apart) / max(1, sum(values.numel() for values in apart))
    greatest = max((float(values.max()) for values in apart if values.numel()), default=0.0)
    return Cost(mean, greatest, len(images), noise=not known)


def _images(source: Path, one: Snapshot, turned: bool) -> list[Tensor]:
    """Images of the run's data as native pixels, of the side that a network translates: held out, or else of the training."""
    folder = snapshot_in(source).parent
    if not ((folder / CENSUS).is_file() and (folder / "recipe.json").is_file()):
        return []
    census, config = read_census(folder), Recorded.read(folder / "recipe.json").data
    split = census.val or census.split
    refs = [ref for ref in (split.b if turned else split.a) if is_there(ref.path)]
    return [view(ref, one.a, config)[None] for ref in spread(refs, IMAGES)]


def _noise(one: Snapshot) -> list[Tensor]:
    count, side = NOISE
    noise = torch.rand(count, 1, one.a.channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return [one.a.decode(image) for image in noise]


def _card(source: Path, path: Path, direction: str) -> str:
    """What is known of one network that was packed: from its run, and what a person wrote into the run's card."""
    run = snapshot_in(source).parent
    known = (run / CENSUS).is_file() and (run / "recipe.json").is_file()
    parts = ["\n".join(lines_of_network(run, path, direction))] if known else []
    if written := "\n".join(remarks(run / CARD)):
        where = ", whose A is B here" if direction == "b2a" else ""
        used = written.replace("diptych translate snapshot.safetensors", f"diptych translate {path.stem}")
        parts.append(f"## Remarks\n\nFrom the card of the run{where}:\n\n{used}")
    return "\n\n".join(parts or ["No run is beside the snapshot that could say how it was trained."]) + "\n"


def _scores(source: Path, direction: str) -> dict[str, str]:
    """The scores of a direction that the run's evaluation printed, by name, with their intervals."""
    path = snapshot_in(source).with_name("evaluation.json")
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    for table in read_tables(path):
        if table.direction != direction:
            continue
        for row in table.rows:
            if cell := next((row.cells[of] for of in table.columns if row.cells.get(of)), None):
                found.setdefault(row.title, f"{cell.value} ({cell.interval})" if cell.interval else cell.value)
    return found
