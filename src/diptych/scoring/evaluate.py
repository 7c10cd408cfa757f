"""``diptych.evaluate``: the command of that name as one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from diptych.data.folders import Half
from diptych.device import pick_device
from diptych.evaluation.results import Evaluation
from diptych.evaluation.subject import Translate
from diptych.metrics.features import Extractor
from diptych.metrics.judges import Classifier
from diptych.metrics.segmentation import Palette, Segmenter
from diptych.pages.evaluation import write_evaluation
from diptych.scoring.published import PROTOCOLS, ProtocolName, beside_published
from diptych.scoring.real_images import SplitName
from diptych.scoring.task import Direction, Request, Watch, refuse_unused, task_of
from diptych.scoring.tools import Side, tools_of


def evaluate(
    subject: str | Path | Mapping[str, Translate],
    *data: str | Path,
    metrics: Sequence[str] | None = None,
    out: str | Path | None = None,
    snapshot: Literal["last", "best"] = "last",
    split: SplitName = "test",
    direction: Direction | None = None,
    data_direction: Direction | None = None,
    size: int | None = None,
    paired: bool | None = None,
    inputs: str | Path | None = None,
    instances: str | Path | None = None,
    truth_half: Half = "whole",
    features: str | Extractor | None = None,
    weights: Sequence[str | Path] = (),
    fetch: bool = True,
    labels: Side | None = None,
    palette: str | Path | Palette | None = None,
    segmenter: str | Path | Segmenter | None = None,
    classifier: str | Classifier | None = None,
    target: str | int | None = None,
    allow_small: bool = False,
    allow_doubles: bool = False,
    allow_seen: bool = False,
    protocol: ProtocolName | None = None,
    seed: int = 0,
    resamples: int = 1000,
    cache: bool = True,
    device: str = "auto",
    watch: Watch = lambda task, done, total: None,
) -> Evaluation:
    """Score a run, a snapshot, a folder of outputs or functions against real images, with intervals and protocols.

    ``subject`` is a run folder, a snapshot file or its name in the zoo, a folder of images that any tool made, or functions by
    direction, such as ``{"a2b": function}``, of native pixels (n, c, h, w). ``data`` are one or two folders of real images, as
    for training; a run has its own, and beside outputs it is the folder of the truth. ``metrics`` are names as docs/evaluate.md
    lists them; None computes all that need no fetching. ``out`` is a folder to write ``evaluation.json`` and
    ``evaluation.html`` into; None writes nothing. The other arguments are the options of ``diptych evaluate``; ``paired`` True
    is --truth, False --unpaired. ``watch`` gets the task (reading, fetching, evaluating), done and total, and may raise to
    stop.

    Raises ConfigError for arguments, DataError for images that must not or cannot be scored, SnapshotError and WeightsError for
    damaged or missing files.

    >>> evaluation = diptych.evaluate("runs/facades", metrics=["psnr", "lpips_alex"])
    >>> print(evaluation.value("psnr"))
    13.2 [12.8, 13.6], n=106
    """
    device = str(pick_device(device))
    if protocol is not None:
        features, allow_small, allow_seen = features or "inception", True, True
    words = subject, data, snapshot, split, direction, data_direction, size, paired, inputs, truth_half, device, seed, protocol
    request = Request(*words, instances)
    refuse_unused(request)
    task = task_of(request, watch)
    tools = tools_of(
        task.subjects,
        features=features,
        weights=weights,
        fetch=fetch,
        labels=labels,
        palette=palette,
        segmenter=segmenter,
        classifier=classifier,
        target=target,
        allow_small=allow_small,
        seed=seed,
        resamples=resamples,
        cache=cache,
        device=device,
        watch=partial(watch, "fetching"),
    )
    if protocol is not None:
        task = beside_published(protocol, task, data, labels, tools.palette)
        metrics = metrics or PROTOCOLS[protocol].metrics
    evaluation = task.score(
        metrics, tools, allow_doubles=allow_doubles, allow_seen=allow_seen, watch=partial(watch, "evaluating")
    )
    if out is not None:
        write_evaluation(evaluation, Path(out), task.name)
    return evaluation
