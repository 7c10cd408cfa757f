"""The three things that can be evaluated, as one: a run, a snapshot with data, or finished images."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from torch import nn

from diptych.cli.console import notes
from diptych.data.census import take_census
from diptych.data.datasets import DataConfig
from diptych.data.folders import Split, find_data
from diptych.device import pick_device
from diptych.errors import ConfigError, DataError
from diptych.evaluation.evaluate import subjects_of
from diptych.evaluation.outputs import finished
from diptych.evaluation.subject import Subject
from diptych.files import sha256_of
from diptych.inference.translator import Translator
from diptych.messages import show
from diptych.methods import METHODS, method_config
from diptych.recipe import Recipe
from diptych.run import read_census
from diptych.snapshot import Snapshot

SNAPSHOTS = {"last": "snapshot.safetensors", "best": "snapshot-best.safetensors"}
BATCH = {"cpu": 4, "mps": 8, "cuda": 16}  # images of one size at a time
SEEN_FOLDERS = re.compile(r"train(ing)?[-_ ]?[ab]?", re.IGNORECASE)


@dataclass(frozen=True)
class Case:
    """What judge() takes, and where its results go: ``out`` is a folder, ``name`` the stem of the files in it."""

    subjects: list[Subject]
    split_name: str
    about: dict[str, Any]
    guards: list[tuple[Split | None, str]] = field(default_factory=list)
    applied: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 1
    out: Path | None = None
    name: str = "evaluation"


def case_of(args: Namespace, on_progress: Callable[[int, int], None]) -> Case:
    """What a command line names."""
    first = Path(args.subject)
    if (first / "recipe.json").is_file():
        return run_case(first, args, on_progress)
    if first.is_file() or first.suffix == ".safetensors":
        return snapshot_case(first, args, on_progress)
    if not first.is_dir():
        raise DataError(f"{show(first)}: no such run folder, snapshot or folder of outputs; check the path")
    return folder_case(args, on_progress)


def run_case(folder: Path, args: Namespace, on_progress: Callable[[int, int], None]) -> Case:
    """A run's snapshot on its test (or validation) images, or on other data."""
    recipe = Recipe.load(folder / "recipe.json")
    path = folder / SNAPSHOTS[args.snapshot]
    if args.snapshot == "best" and not path.exists():
        raise ConfigError(f"{folder}: holds no {path.name}, which a training with validation keeps; use --snapshot last")
    census = read_census(folder) if (folder / "census.json").exists() else None
    if args.split == "val" and not args.data:
        if census is None or census.val is None:
            raise DataError(f"{folder}: no images were set aside for validation; use --split test")
        split, description = census.val, "images set aside for validation"
    else:
        sources = args.data or recipe.data.source
        layout = find_data(sources, paired=(recipe.method.paired or args.truth) and not args.unpaired)
        found, description = layout.val if args.split == "val" else layout.test, layout.description
        if found is None and args.data:
            found = unseen(layout.train, sources)
            if found is None:
                raise DataError(f"{', '.join(map(show, sources))}: lies in a folder of training images; give unseen ones")
        if found is None:
            raise DataError(
                f"{', '.join(map(show, sources))}: no {args.split} images; name other data after the run, or use --split val"
            )
        split = found.swapped() if recipe.data.direction == "b2a" else found
    snapshot = Snapshot.load(path)
    guards: list[tuple[Split | None, str]] = [(census.split, "trained on")] if census else []
    sentence = ""
    if args.snapshot == "best" and census:
        if args.split == "val" and not args.data:
            sentence = " This snapshot was chosen by its scores on these very images, so they flatter it."
        else:
            guards.append((census.val, "used to choose this snapshot"))
    name = "evaluation" + "-best" * (args.snapshot == "best") + "-val" * (args.split == "val")
    name += "".join(f"-{Path(word).name}" for word in args.data)
    about = {"title": f"{recipe.method.name} on {_data_name(args.data or recipe.data.source)}", "data": description}
    train = census.split if census else None
    return _snapshot_case(snapshot, path, split, recipe.data, train, guards, args, about, sentence, folder, name, on_progress)


def snapshot_case(path: Path, args: Namespace, on_progress: Callable[[int, int], None]) -> Case:
    """Any snapshot on any data."""
    if not args.data:
        raise ConfigError(f"evaluate {path}: name the data to evaluate it on, one folder or two")
    snapshot = Snapshot.load(path)
    recipe = snapshot.about.get("recipe") or {}
    known = {f.name for f in fields(DataConfig)}
    kept = {key: value for key, value in recipe.get("data", {}).items() if key in known and key != "source"}
    size = args.size or snapshot.size or 256
    config = DataConfig(**kept) if kept and not args.size else DataConfig(load_size=size, crop_size=size)
    name = recipe.get("method", {}).get("name")
    if name in METHODS or args.truth or args.unpaired:
        paired = (args.truth or (name in METHODS and method_config(name).paired)) and not args.unpaired
        layout = find_data(args.data, paired=paired)
    else:
        try:
            layout, paired = find_data(args.data, paired=True), True
        except DataError:
            layout, paired = find_data(args.data, paired=False), False
        how = "pairs by name; --unpaired takes them as two sets" if paired else "two sets without pairs"
        notes.print(f"note: {', '.join(map(show, args.data))} are read as {how}", soft_wrap=True)
    found = layout.val if args.split == "val" else layout.test
    train = layout.train if found else None
    found = found or unseen(layout.train, args.data)
    if found is None:
        raise DataError(f"{', '.join(map(show, args.data))}: no {args.split} images, only some to train on; give unseen images")
    direction = args.data_direction or kept.get("direction", "a2b")
    split, train = (s.swapped() if s and direction == "b2a" else s for s in (found, train))
    assert split is not None, "a found split stays found"
    about = {"title": f"{path.name} on {_data_name(args.data)}", "data": layout.description}
    guards = [(train, "among the training images")]
    return _snapshot_case(snapshot, path, split, config, train, guards, args, about, "", None, "evaluation", on_progress)


def folder_case(args: Namespace, on_progress: Callable[[int, int], None]) -> Case:
    """Outputs of any tool beside the truth."""
    if len(args.data) != 1:
        raise ConfigError(
            f"evaluate {args.subject}: is no run and no snapshot, so it is taken as a folder of outputs; "
            "name one folder of real images after it"
        )
    options = {"paired": not args.unpaired, "truth_half": args.truth_half, "on_progress": on_progress}
    subject = finished(args.subject, args.data[0], args.inputs, **options)
    what = "pairs by name" if subject.paired else f"outputs against {len(subject.targets):,} real images"
    about = {
        "title": f"{Path(args.subject).name} against {Path(args.data[0]).name}",
        "sentence": f"{len(subject.outputs):,} {what}, as the files are.",
        "data": f"outputs {args.subject}, real images {args.data[0]}" + (f", inputs {args.inputs}" if args.inputs else ""),
        "finished": True,
    }
    return Case([subject], "given", about)


def _snapshot_case(
    snapshot: Snapshot,
    path: Path,
    split: Split,
    config: DataConfig,
    train: Split | None,
    guards: list[tuple[Split | None, str]],
    args: Namespace,
    about: dict[str, Any],
    sentence: str,
    out: Path | None,
    name: str,
    on_progress: Callable[[int, int], None],
) -> Case:
    census = take_census(split, on_progress=on_progress)
    for skipped in census.skipped:
        notes.print(f"warning: not scored: {skipped}", soft_wrap=True)
    snapshot.domains(args.direction or next(iter(snapshot.generators), "a2b"))  # or says what it does translate
    translators = {d: Translator(snapshot, d, device=args.device, seed=args.seed) for d in snapshot.generators}
    subjects = subjects_of(
        {d: translator.tensors for d, translator in translators.items()}, census.split, snapshot.a, snapshot.b, config, train
    )
    if args.direction:
        subjects = [subject for subject in subjects if subject.direction == args.direction]
    what = f"{len(census.split.a):,} pairs" if split.paired else f"{len(census.split.a):,} and {len(census.split.b):,} images"
    which = {"test": "of the test split", "val": "of the validation split"}[args.split]
    about |= {
        "sentence": f"{what} {which}, {' and '.join(s.direction.replace('2', ' to ') for s in subjects)}.{sentence}",
        "snapshot": {
            "file": str(path),
            "sha256": sha256_of(path),
            "images": snapshot.about.get("images"),
            "selection": snapshot.about.get("selection"),
        },
        "skipped": [str(item) for item in census.skipped],
    }
    applied = {"mode": snapshot.mode, "seed": args.seed, "precision": "fp32"}
    batch_size = batch_for(snapshot, args.device)
    return Case(subjects, args.split, about, guards, applied, batch_size, out, name)


def batch_for(snapshot: Snapshot, device: str) -> int:
    """How many images to translate together: one where they would influence one another."""
    mixing = (nn.BatchNorm2d, nn.Dropout)
    if snapshot.mode == "paper" and any(isinstance(m, mixing) for net in snapshot.generators.values() for m in net.modules()):
        return 1
    return BATCH[pick_device(device).type]


def unseen(split: Split, sources: Any) -> Split | None:
    """A folder without splits may be all test images; one whose images lie in a folder called train is not."""
    roots = [Path(source).resolve() for source in sources]
    for ref in (split.a[0], split.b[0]):
        path = ref.path.resolve()
        inside = [path.relative_to(root).parts[:-1] for root in roots if path.is_relative_to(root)]
        folders = [*(part for parts in inside for part in parts), *(root.name for root in roots)]
        if any(SEEN_FOLDERS.fullmatch(folder) for folder in folders):
            return None
    return split


def _data_name(sources: Any) -> str:
    return " and ".join(show(Path(source).name) for source in sources)
