"""An evaluation shared by several processes: each measures a share of the images, and one report is made of all that they kept.

Every process plans the whole evaluation and shows its own share of each pass to the meters. What these keep of every image goes
into files of a few hundred images each, in the folder ``3-of-16`` for share 3 of 16. Which images go through a network together
is the same as in one process, so that the merged report has the same numbers.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diptych.errors import ConfigError, DataError, SnapshotError
from diptych.evaluation.evaluate import carry_out
from diptych.evaluation.meters import StyleMeter
from diptych.evaluation.passes import Pass, metric_of, part_passes, show
from diptych.evaluation.plan import Part, Plan
from diptych.evaluation.results import Evaluation
from diptych.evaluation.setups import MeterSetup
from diptych.files import refuse_links_out, sweep
from diptych.messages import show as shown
from diptych.trees import read_header, read_tree, write_tree

PIECE = 256  # images of a file, at most: what a killed process loses
Shard = tuple[int, int]
"""The number of a share, from 1, and how many there are."""
Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class Piece:
    """Successive images of one pass through the part of this index in a plan, which are kept in one file."""

    part: int
    which: Pass
    images: range
    file: Path


def pieces_of(plan: Plan, shard: Shard, folder: Path) -> list[Piece]:
    """The pieces of a share in their order, each beginning at a multiple of the batch size. A share may have none."""
    number, count = shard
    batch, found = plan.batch_size, list[Piece]()
    most = max(1, PIECE // batch) * batch
    for index, part in enumerate(plan.parts):
        for which, total in part_passes(part).items():
            batches = -(-total // batch)
            first, last = (min(total, batches * i // count * batch) for i in (number - 1, number))
            for start in range(first, last, most):
                file = folder / f"{number}-of-{count}" / f"{len(found):04}.safetensors"
                found.append(Piece(index, which, range(start, min(last, start + most)), file))
    return found


def measure_shard(plan: Plan, folder: Path, shard: Shard, watch: Watch = lambda done, total: None) -> tuple[int, int]:
    """Measure a share of what is planned and keep it below ``folder``; returns how many images were measured, and were there.

    An interrupted share goes on where it stopped. ``watch`` gets (done, total) images after every batch, and may raise to stop.
    Raises ConfigError where the share's folder holds another evaluation, and DataError where a file in it is damaged.
    """
    pieces = pieces_of(plan, shard, folder)
    refuse_links_out((piece.file.parent for piece in pieces), folder.parent)
    facts, made = facts_of(plan), _made(plan)
    for file in sorted((folder / f"{shard[0]}-of-{shard[1]}").glob("*.safetensors")):
        _check(file, facts, made)
    sweep(piece.file for piece in pieces)
    left = [piece for piece in pieces if not piece.file.exists()]
    total, done = sum(len(piece.images) for piece in left), 0
    for index, part in enumerate(plan.parts):
        meters, left_out = list(part.meters), dict[str, str]()
        styles = [setup for setup in meters if isinstance(setup.meter, StyleMeter)]
        others = [setup for setup in meters if setup not in styles]
        prepared = not styles
        for piece in (piece for piece in left if piece.part == index):
            if piece.which == "outputs" and not prepared:  # outputs are compared with the mean of all real images
                for _ in show(part, "real", range(part_passes(part)["real"]), styles, plan, left_out):
                    watch(done, total)
                prepared = True
            for count in show(part, piece.which, piece.images, meters if piece.which == "outputs" else others, plan, left_out):
                done += count
                watch(done, total)
            _keep(piece.file, part, {"facts": facts, "made": made, "left_out": left_out})
    return total, sum(len(piece.images) for piece in pieces) - total


def merge_shards(plan: Plan, folder: Path, watch: Watch = lambda done, total: None) -> Evaluation:
    """Make the report of an evaluation whose shares lie below ``folder``: the one that a single process makes.

    Raises DataError, naming the shares, where some are missing or not finished or a file is damaged, and ConfigError where they
    are of another evaluation or of different numbers of shares.
    """
    shards = _shards_in(folder)
    facts, made = facts_of(plan), None
    for number, count in shards:
        for file in sorted((folder / f"{number}-of-{count}").glob("*.safetensors")):
            made = _check(file, facts, made)
    if made is None:
        raise DataError(f"{shown(folder)}: holds no shares of this evaluation; measure them first, with --shard 1/N to N/N")
    plan = _as_made(plan, made)
    count = shards[0][1]
    pieces = {number: pieces_of(plan, (number, count), folder) for number in range(1, count + 1)}
    _refuse_gaps(folder, pieces)
    return carry_out(plan, watch, partial(_fill, pieces=[piece for each in pieces.values() for piece in each]))


def facts_of(plan: Plan) -> dict[str, str]:
    """Hashes of all that shares must have in common. The device and the size of batches are compared apart from them."""
    snapshot = plan.about.get("snapshot")
    images = [[part.subject.direction, part.images, part.given["trained"], part.given["mean"]] for part in plan.parts]
    settings = [
        [
            list(part.metrics),
            {key: value for key, value in part.common.items() if key != "batch_size"},
            part.given,
            [setup.protocol for setup in part.meters],
            plan.asked,
        ]
        for part in plan.parts
    ]
    every = {"snapshot": snapshot.get("sha256") if isinstance(snapshot, Mapping) else None}
    every |= {"images": images, "settings": settings}
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest() for name, value in every.items()
    }


DIFFERENCES = {
    "snapshot": "another snapshot",
    "images": "other images, or images that have changed since",
    "settings": "other metrics, options or versions of the libraries",
}


def _made(plan: Plan) -> dict[str, Any]:
    return {"device": plan.tools.device, "batch_size": plan.batch_size, "identity": plan.about["identity"]}


def _as_made(plan: Plan, made: Mapping[str, Any]) -> Plan:
    """The plan of the processes that measured, where the one that merges has another device."""
    parts = [replace(part, common={**part.common, "batch_size": made["batch_size"]}) for part in plan.parts]
    about = {**plan.about, "device": made["device"], "identity": made["identity"]}
    return replace(plan, parts=parts, about=about, batch_size=made["batch_size"])


def _check(file: Path, facts: Mapping[str, str], made: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """How a file was made. Raises ConfigError for another evaluation than this, or made otherwise than the first one."""
    try:
        header = read_header(file)
        found, how = dict(header["facts"]), dict(header["made"])
        kind = (torch.device(how["device"]).type, how["batch_size"])
    except (SnapshotError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise _damaged(file) from error
    for name, words in DIFFERENCES.items():
        if found.get(name) != facts[name]:
            raise ConfigError(
                f"{shown(file.parent)}: was measured with {words}; remove it and measure it again, or choose another --out"
            )
    if made is not None and kind != (wanted := (torch.device(made["device"]).type, made["batch_size"])):
        was, now = (f"{device} in batches of {batch}" for device, batch in (kind, wanted))
        raise ConfigError(f"{shown(file.parent)}: was measured on {was}, not on {now}; measure all shares on one kind of device")
    return how if made is None else made


def _damaged(file: Path) -> DataError:
    shard = file.parent.name.replace("-of-", "/")
    return DataError(f"{shown(file)}: is damaged or not of a share; remove it, and give the command with --shard {shard} again")


def _keep(file: Path, part: Part, header: dict[str, Any]) -> None:
    """Write what the meters of a part keep, and let go of it. What was kept by meters that were left out is not written."""
    kept: dict[str, dict[str, Tensor]] = {}
    for index, setup in enumerate(part.meters):
        rows = {of: torch.from_numpy(rows.take()) for of, rows in setup.meter.kept.items() if len(rows)}
        if rows and metric_of(setup) not in header["left_out"]:
            kept[str(index)] = rows
    write_tree(file, {**header, "kept": kept})


def _fill(
    part: Part, meters: list[MeterSetup], plan: Plan, left_out: dict[str, str], outputs: list[Tensor], *, pieces: list[Piece]
) -> Iterator[int]:
    """Give the meters of a part what was kept of all images, in their order; the arguments are those of passes.measure."""
    gone = dict[str, str]()
    for piece in (piece for piece in pieces if plan.parts[piece.part] is part):
        try:
            tree = read_tree(piece.file)
            for index, rows in tree["kept"].items():
                for of, kept in rows.items():
                    part.meters[int(index)].meter.kept[of].add(kept.numpy())
            gone = {**tree["left_out"], **gone}
        except (SnapshotError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(piece.file) from error
        yield len(piece.images)
    left_out |= gone
    meters[:] = [setup for setup in meters if metric_of(setup) not in gone]


def _shards_in(folder: Path) -> list[Shard]:
    """The shares that have a folder, all of one number of shares. Raises ConfigError where there are several numbers."""
    names = (re.fullmatch(r"([1-9][0-9]*)-of-([1-9][0-9]*)", path.name) for path in folder.glob("*-of-*") if path.is_dir())
    shards = sorted((int(name[1]), int(name[2])) for name in names if name)
    counts = sorted({count for _, count in shards})
    if len(counts) > 1:
        found = " and of ".join(f"{count:,}" for count in counts)
        raise ConfigError(f"{shown(folder)}: holds shares of {found}; remove the folders of all numbers but one")
    return shards


def _refuse_gaps(folder: Path, pieces: Mapping[int, list[Piece]]) -> None:
    """Raise DataError, naming them in one line, for shares of which files are missing."""
    missing, begun = list[str](), list[str]()
    for number, each in pieces.items():
        there = sum(piece.file.exists() for piece in each)
        if there < len(each):
            (begun if there else missing).append(f"{number}/{len(pieces)}")
    if missing or begun:
        parts = [f"{what}: {', '.join(which)}" for what, which in (("missing", missing), ("not finished", begun)) if which]
        again = (missing + begun)[0]
        raise DataError(f"{shown(folder)}: shares are {'; '.join(parts)}; give the command with --shard {again} and so on first")
