"""Systems to compare, from words to evaluations: runs, snapshots and folders of outputs, scored on the same images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from diptych.errors import ConfigError
from diptych.evaluation.evaluate import carry_out
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.results import METRICS, Evaluation
from diptych.evaluation.seen import SeenBefore
from diptych.evaluation.subject import Subject
from diptych.messages import show
from diptych.recipe import flat
from diptych.recorded import Recorded
from diptych.scoring.task import Request, Task, Watch, task_of
from diptych.scoring.tools import tools_of

log = logging.getLogger(__name__)
COMPARABLE = tuple(
    name
    for name, metric in METRICS.items()
    if metric.looks != "sets" or name in ("kid", "nearest")  # a distance of sets other than KID has no test here
)


@dataclass(frozen=True)
class Training:
    """One training of a system, or images that any tool made: its evaluation, and its subjects by direction.

    ``by_dropout`` holds the value of each metric for each dropout seed, by direction and metric, where there were several.
    """

    path: str
    evaluation: Evaluation
    subjects: Mapping[str, Subject]
    by_dropout: Mapping[tuple[str, str], Sequence[float]]


@dataclass(frozen=True)
class System:
    """What is compared: one training, or several of one recipe that differ in their seed alone."""

    name: str
    trainings: tuple[Training, ...]

    @property
    def evaluations(self) -> list[Evaluation]:
        """The evaluation of each training."""
        return [training.evaluation for training in self.trainings]

    def spread(self, metric: str, direction: str) -> tuple[float, float]:
        """The standard deviation of a metric over trainings, and over dropout seeds within a training; NaN where there is one."""
        values = [found.value for one in self.evaluations if (found := one.value(metric, direction))]
        drawn = [stdev(seeds) for one in self.trainings if len(seeds := one.by_dropout.get((direction, metric), ())) > 1]
        return stdev(values) if len(values) > 1 else float("nan"), fmean(drawn) if drawn else float("nan")


def find_systems(words: Sequence[str | Path]) -> list[list[str]]:
    """The words of each system: runs whose recipes differ in train.seed alone are trainings of one; the log says so.

    Raises ConfigError for fewer than two systems, and for a word that is given twice.
    """
    paths = [str(word) for word in words]
    if twice := [path for i, path in enumerate(paths) if path in paths[:i]]:
        raise ConfigError(f"compare: {show(twice[0])} is given twice; name two different systems")
    groups: dict[Any, list[str]] = {}
    for path in paths:
        groups.setdefault(_recipe_but_seed(path), []).append(path)
    if len(groups) < 2:
        one = (
            f"{', '.join(map(show, paths))}: differ in train.seed alone, which makes them one system" if len(paths) > 1 else "one"
        )
        raise ConfigError(f"compare: needs two systems, found {one}; name another run, snapshot or folder of outputs")
    for group in groups.values():
        if len(group) > 1:
            log.info("%s: trainings of one recipe with different seeds, taken as one system", ", ".join(map(show, group)))
    return list(groups.values())


def _recipe_but_seed(path: str) -> Any:
    file = Path(path) / "recipe.json"
    if not file.is_file():
        return path
    values = flat(Recorded.read(file).values)
    return tuple(sorted((key, str(value)) for key, value in values.items() if key != "train.seed"))


def score_systems(
    groups: Sequence[Sequence[str]],
    request: Request,
    *,
    metrics: Sequence[str] | None = None,
    offered: Sequence[str] = COMPARABLE,
    words: Mapping[str, Any] | None = None,
    dropout_seeds: int = 1,
    allow_seen: bool = False,
    allow_doubles: bool = False,
    watch: Watch = lambda task, done, total: None,
) -> list[System]:
    """Score every training of every system alike, on the images that none of them has seen.

    ``metrics`` are computed; without them all of ``offered`` that can be. ``request`` says on which images
    (diptych.scoring.task); its subject is replaced by each word. ``words`` are arguments of tools_of. Translators that draw
    dropout are applied with ``dropout_seeds`` seeds, and each image's score is their mean.
    Raises ConfigError for metrics that cannot be compared, and what diptych.evaluate raises.
    """
    if wrong := [name for name in metrics or () if name in METRICS and name not in offered]:
        raise ConfigError(f"compare: {wrong[0]} is a distance of sets, which has no test here; kid compares sets")
    tasks = {path: task_of(replace(request, subject=path), watch) for group in groups for path in group}
    seen = _seen_by_any(tasks.values())
    tools: Instruments | None = None
    systems = []
    for group in groups:
        trainings = []
        for path in group:
            task = replace(tasks[path], seen=seen)
            tools = tools or tools_of(task.subjects, **dict(words or {}), watch=partial(watch, "fetching"))
            score = partial(
                _score, metrics=metrics, offered=offered, tools=tools, allow_seen=allow_seen, allow_doubles=allow_doubles
            )
            trainings.append(_training(path, task, request, dropout_seeds, score, watch))
        systems.append(System(_name(group), tuple(trainings)))
    return systems


def _seen_by_any(tasks: Any) -> list[SeenBefore]:
    found = {(before.how, before.split): before for task in tasks for before in task.seen if before.split is not None}
    return list(found.values())


Score = Callable[..., tuple[Evaluation, dict[str, Subject]]]


def _score(
    task: Task,
    watch: Callable[[int, int], None],
    *,
    metrics: Sequence[str] | None,
    offered: Sequence[str],
    tools: Instruments,
    **allowed: bool,
) -> tuple[Evaluation, dict[str, Subject]]:
    plan = task.plan(metrics, tools, offered=offered, **allowed)
    return carry_out(plan, watch), {part.subject.direction: part.subject for part in plan.parts}


def _training(path: str, task: Task, request: Request, dropout_seeds: int, score: Score, watch: Watch) -> Training:
    """Score one training with every dropout seed; the scores of an image are means over seeds, sets are those of the first."""
    name = Path(path).name
    evaluation, subjects = score(task, partial(watch, f"{name}"))
    if "seed" not in task.applied or dropout_seeds < 2:
        return Training(path, evaluation, subjects, {})
    every = [evaluation]
    for seed in range(request.seed + 1, request.seed + dropout_seeds):
        again = replace(task_of(replace(request, subject=path, seed=seed)), seen=task.seen)
        every.append(score(again, partial(watch, f"{name}, dropout seed {seed}"))[0])
    values = {
        (result.direction, result.metric): [
            found.value for one in every if (found := one.value(result.metric, result.direction)) is not None
        ]
        for result in evaluation.results
        if result.of == "model"
    }
    images = {
        direction: [_mean_row([one.images[direction][i] for one in every]) for i in range(len(rows))]
        for direction, rows in evaluation.images.items()
    }
    return Training(path, replace(evaluation, images=images), subjects, values)


def _mean_row(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: value if key == "name" else fmean(float(row[key]) for row in rows) for key, value in rows[0].items()}


def _name(group: Sequence[str]) -> str:
    """What to call a system: the end of its path, and of several trainings how many there are."""
    first = show("/".join(Path(group[0]).parts[-2:]))
    return first if len(group) == 1 else f"{first} and {len(group) - 1} more"
