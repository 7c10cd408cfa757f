"""What can be scored, made ready as one value: a run, a snapshot, images that any tool made, or functions in Python."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from diptych.data.datasets import DataConfig
from diptych.data.folders import Half, Layout, Split, find_data
from diptych.errors import ConfigError, DataError
from diptych.evaluation.evaluate import carry_out, subjects_of
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.outputs import outputs_subject
from diptych.evaluation.plan import Plan, plan_evaluation
from diptych.evaluation.results import METRICS, Evaluation
from diptych.evaluation.seen import HELD_OUT, SeenBefore
from diptych.evaluation.subject import Subject, Translate
from diptych.messages import show
from diptych.methods import METHODS, method_config
from diptych.recorded import Recorded
from diptych.run import read_census
from diptych.scoring.published import ProtocolName, as_published
from diptych.scoring.real_images import RealImages, SplitName, data_name, find_real_images, readable, split_of, unseen_split
from diptych.scoring.snapshots import Loaded, about_snapshot
from diptych.snapshot import Snapshot
from diptych.zoo import resolve

log = logging.getLogger(__name__)
SNAPSHOTS = {"last": "snapshot.safetensors", "best": "snapshot-best.safetensors"}
Direction = Literal["a2b", "b2a"]
Watch = Callable[[str, int, int], None]
"""Called with the name of a task (reading, fetching, evaluating), and how much of it is done of how much."""


@dataclass(frozen=True)
class Request:
    """What is to be scored on what.

    ``subject`` is a run folder, a snapshot file or its name in the zoo, a folder of outputs, or functions by direction.
    ``data`` are the real images, as for training, or the one folder beside outputs; a run has its own. ``snapshot`` chooses
    among those of a run. ``direction`` scores only that one. ``data_direction`` b2a says that the subject's a is the data's b
    (default: as its recipe says). ``size`` is that of a subject without a recipe. ``paired`` takes images of equal names as
    pairs, or as two sets (default: as in training). ``inputs`` are those of outputs; ``truth_half`` is the half of side-by-side
    images that holds their truth. ``seed`` is that of dropout in mode paper. ``protocol`` resizes images as a publication did
    (diptych.scoring.published). ``instances`` is a folder with the instance maps of label maps, where they are not those of a
    run.
    """

    subject: str | Path | Mapping[str, Translate]
    data: tuple[str | Path, ...] = ()
    snapshot: Literal["last", "best"] = "last"
    split: SplitName = "test"
    direction: Direction | None = None
    data_direction: Direction | None = None
    size: int | None = None
    paired: bool | None = None
    inputs: str | Path | None = None
    truth_half: Half = "whole"
    device: str = "cpu"
    seed: int = 0
    protocol: ProtocolName | None = None
    instances: str | Path | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ConfigError(f"--size must be at least 1 pixel, found {self.size}")


RUN, SNAPSHOT, OUTPUTS, FUNCTIONS = "a run", "a snapshot file", "a folder of outputs", "functions"
UNUSED = {
    RUN: ("data_direction", "size", "inputs", "truth_half"),
    SNAPSHOT: ("snapshot", "inputs", "truth_half"),
    OUTPUTS: ("snapshot", "split", "direction", "data_direction", "size", "instances"),
    FUNCTIONS: ("snapshot", "inputs", "truth_half", "instances"),
}
"""What of a request makes no difference to a kind of subject."""


@dataclass(frozen=True)
class Task:
    """Images to score, ready for the evaluation. Its files are called ``name`` and belong into ``folder``, if a run has one."""

    subjects: Sequence[Subject]
    split_name: str
    about: Mapping[str, Any]
    seen: Sequence[SeenBefore] = ()
    applied: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 1
    folder: Path | None = None
    name: str = "evaluation"

    def plan(
        self,
        metrics: Sequence[str] | None,
        tools: Instruments,
        *,
        allow_doubles: bool = False,
        allow_seen: bool = False,
        offered: Sequence[str] = tuple(METRICS),
    ) -> Plan:
        """Make everything ready to measure; the arguments are those of diptych.evaluation.evaluate.score_translators."""
        return plan_evaluation(
            self.subjects,
            metrics,
            tools,
            self.seen,
            self.split_name,
            allow_doubles,
            allow_seen,
            self.applied,
            self.batch_size,
            self.about,
            offered,
        )

    def score(
        self,
        metrics: Sequence[str] | None,
        tools: Instruments,
        *,
        allow_doubles: bool = False,
        allow_seen: bool = False,
        offered: Sequence[str] = tuple(METRICS),
        watch: Callable[[int, int], None] = lambda done, total: None,
    ) -> Evaluation:
        """Measure; ``watch`` gets (done, total) images after every batch, and may raise to stop."""
        plan = self.plan(metrics, tools, allow_doubles=allow_doubles, allow_seen=allow_seen, offered=offered)
        return carry_out(plan, watch)


def task_of(request: Request, watch: Watch = lambda task, done, total: None) -> Task:
    """Find and read what a request names. Raises ConfigError and DataError for what cannot be scored."""
    subject, reading = request.subject, partial(watch, "reading")
    if isinstance(subject, Mapping):
        return functions_task(request, subject, reading)
    path = resolve(subject)
    return {RUN: run_task, SNAPSHOT: snapshot_task, OUTPUTS: outputs_task}[_kind_of(path)](request, path, reading)


def _kind_of(path: Path) -> str:
    if (path / "recipe.json").is_file():
        return RUN
    if path.is_file() or path.suffix == ".safetensors":
        return SNAPSHOT
    if not path.is_dir():
        raise DataError(f"{show(path)}: no such run folder, snapshot, name of the zoo or folder of outputs; check the path")
    return OUTPUTS


def refuse_unused(request: Request) -> None:
    """Raise ConfigError for a part of a request that makes no difference to its subject, which would be dropped in silence."""
    subject = request.subject
    kind = FUNCTIONS if isinstance(subject, Mapping) else _kind_of(resolve(subject))
    for part in fields(Request):
        if part.name in UNUSED[kind] and getattr(request, part.name) != part.default:
            what = "functions" if isinstance(subject, Mapping) else show(subject)
            raise ConfigError(f"--{part.name.replace('_', '-')}: makes no difference to {kind}, as {what} is; leave it out")


def run_task(request: Request, folder: Path, reading: Callable[[int, int], None]) -> Task:
    """A run's snapshot on its test or validation images, or on other data."""
    recipe = Recorded.read(folder / "recipe.json")
    if request.instances:
        recipe = replace(recipe, data=replace(recipe.data, instances=str(request.instances)))
    path, best = folder / SNAPSHOTS[request.snapshot], request.snapshot == "best"
    if best and not path.exists():
        raise ConfigError(f"{folder}: holds no {path.name}, which a training with validation keeps; use --snapshot last")
    census = read_census(folder) if (folder / "census.json").exists() else None
    if recipe.paired is None and census:  # a method of a user's own, whose code is not imported
        recipe = replace(recipe, paired=census.split.paired)
    held_out = request.split == "val" and not request.data
    if held_out:
        if census is None or census.val is None:
            raise DataError(f"{folder}: no images were set aside for validation; name other data after the run")
        real = RealImages(census.val, "images set aside for validation")
    else:
        found = find_real_images(recipe, request.split, paired=request.paired, data=request.data)
        if found is None:
            where = ", ".join(map(show, recipe.data.source))
            raise DataError(f"{where}: no {request.split} images; name other data after the run; held-out ones are --split val")
        real = found
    seen = [SeenBefore(census.split, "trained on")] if census else []
    if census and not held_out:
        seen.append(SeenBefore(census.val, "used to choose this snapshot" if best else HELD_OUT))
    sentence = ""
    if best and census and held_out:
        sentence = " This snapshot was chosen by its scores on these very images, so they flatter it."
    name = "evaluation" + "-best" * best + "-val" * (request.split == "val")
    name += "".join(f"-{Path(word).name}" for word in request.data)
    name += f"-{request.protocol}" if request.protocol else ""
    title = f"{recipe.method} on {data_name(request.data or recipe.data.source)}"
    train = census.split if census else None
    task = _of_snapshot(request, path, Snapshot.load(path), real, recipe.data, train, title, reading, sentence)
    return replace(task, seen=seen, folder=folder, name=name)


def snapshot_task(request: Request, path: Path, reading: Callable[[int, int], None]) -> Task:
    """Any snapshot on any data, brought to the size that the snapshot was trained at."""
    if not request.data:
        raise ConfigError(f"evaluate {path}: name the data to evaluate it on, one folder or two")
    snapshot = Snapshot.load(path)
    recipe = snapshot.about.get("recipe") or {}
    known = {f.name for f in fields(DataConfig)}
    kept = {key: value for key, value in recipe.get("data", {}).items() if key in known - {"source", "instances"}}
    size = request.size or snapshot.size or 256
    config = DataConfig(**kept) if kept and not request.size else DataConfig(load_size=size, crop_size=size)
    config = replace(config, direction=request.data_direction or kept.get("direction", "a2b"))
    if request.instances:
        config = replace(config, labels=kept.get("labels", "none"), instances=str(request.instances))
    method = recipe.get("method", {}).get("name")
    paired = method_config(method).paired if request.paired is None and method in METHODS else request.paired
    layout = _layout(request, paired)
    real, train = _unseen(request, layout, config)
    task = _of_snapshot(request, path, snapshot, real, config, train, f"{path.name} on {data_name(request.data)}", reading)
    return replace(task, seen=[SeenBefore(train, "among the training images")])


def functions_task(request: Request, functions: Mapping[str, Translate], reading: Callable[[int, int], None]) -> Task:
    """Functions of native pixels, by direction, on any data; they get images of ``size`` x ``size`` pixels, 256 by default."""
    if not request.data or not functions.keys() <= {"a2b", "b2a"}:
        raise ConfigError("evaluate: functions are named a2b and b2a, and take the data to evaluate them on, one folder or two")
    size = request.size or 256
    config = DataConfig(load_size=size, crop_size=size, direction=request.data_direction or "a2b")
    config = as_published(config, request.protocol) if request.protocol else config
    real, train = _unseen(request, _layout(request, request.paired), config)
    census = readable(real.split, reading)
    chosen = {way: function for way, function in functions.items() if request.direction in (None, way)}
    subjects = subjects_of(chosen, census.split, census.a, census.b, config, train)
    about = {"title": f"Functions on {data_name(request.data)}", "data": real.description}
    about |= {"sentence": _sentence(census.split, request.split, subjects)}
    return Task(subjects, request.split, about, [SeenBefore(train, "among the training images")])


def outputs_task(request: Request, folder: Path, reading: Callable[[int, int], None]) -> Task:
    """Images that any tool made, beside the truth or beside any real images."""
    if len(request.data) != 1:
        raise ConfigError(
            f"evaluate {request.subject}: is no run and no snapshot, so it is taken as a folder of outputs; "
            "name one folder of real images after it"
        )
    truth, inputs = request.data[0], request.inputs
    paired = request.paired is not False
    subject = outputs_subject(folder, truth, inputs, paired=paired, truth_half=request.truth_half, on_progress=reading)
    what = "pairs by name" if subject.paired else f"outputs against {len(subject.targets):,} real images"
    about = {
        "title": f"{folder.name} against {Path(truth).name}",
        "sentence": f"{len(subject.outputs):,} {what}, as the files are.",
        "data": f"outputs {request.subject}, real images {truth}" + (f", inputs {inputs}" if inputs else ""),
        "finished": True,
    }
    return Task([subject], "given", about)


def _layout(request: Request, paired: bool | None) -> Layout:
    """The images of other data. Unless ``paired`` says whether they are pairs, their names do, and the log tells the result."""
    if paired is not None:
        return find_data(request.data, paired=paired)
    try:
        layout, how = find_data(request.data, paired=True), "pairs by name; --unpaired takes them as two sets"
    except DataError:
        layout, how = find_data(request.data, paired=False), "two sets without pairs"
    log.info("%s are read as %s", ", ".join(map(show, request.data)), how)
    return layout


def _unseen(request: Request, layout: Layout, config: DataConfig) -> tuple[RealImages, Split | None]:
    """The images to score, and the training images beside them where the data has both."""
    split = unseen_split(layout, request.split, request.data)
    train = config.oriented(layout.train) if split_of(layout, request.split) else None
    return RealImages(config.oriented(split), layout.description), train


def _of_snapshot(
    request: Request,
    path: Path,
    snapshot: Snapshot,
    real: RealImages,
    config: DataConfig,
    train: Split | None,
    title: str,
    reading: Callable[[int, int], None],
    remark: str = "",
) -> Task:
    """A snapshot on the real images that can be read. Raises ConfigError for a direction that it does not translate."""
    census = readable(real.split, reading, config.fit, (snapshot.a, snapshot.b))
    config = as_published(config, request.protocol) if request.protocol else config
    snapshot.domains(request.direction or next(iter(snapshot.generators), "a2b"))
    loaded = Loaded.on(snapshot, request.device, request.seed)
    subjects = [s for s in loaded.subjects(census.split, config, train) if request.direction in (None, s.direction)]
    about = {
        "title": title,
        "data": real.description,
        "sentence": _sentence(census.split, request.split, subjects) + remark,
        "snapshot": about_snapshot(path, snapshot) | {"selection": snapshot.about.get("selection")},
        "skipped": [str(item) for item in census.skipped],
    }
    return Task(subjects, request.split, about, applied=loaded.applied, batch_size=loaded.batch_size)


def _sentence(split: Split, split_name: SplitName, subjects: Sequence[Subject]) -> str:
    """What was scored, in words: ``106 pairs of the test split, a to b.``"""
    what = f"{len(split.a):,} pairs" if split.paired else f"{len(split.a):,} and {len(split.b):,} images"
    which = {"test": "of the test split", "val": "of the validation split"}[split_name]
    return f"{what} {which}, {' and '.join(s.direction.replace('2', ' to ') for s in subjects)}."
