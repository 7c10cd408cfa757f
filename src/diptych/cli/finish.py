"""After training: score the test images, write the report, and say where everything is."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

from diptych.cli.console import console
from diptych.cli.tables import watched
from diptych.evaluation.results import METRICS, Evaluation
from diptych.evaluation.tables import cell
from diptych.evaluation.verdict import verdict
from diptych.messages import show
from diptych.pages.report import write_report
from diptych.scoring.after_training import score_test_images

STOPPED = "the training is over and saved; stopped while its test images were scored, which the same command does anew"


def finish(folder: Path, *, device: str = "auto", truth: bool = False, test: bool = True) -> None:
    """Score a finished run on its test images, where it has some, and write its report.

    ``test=False`` leaves the test images alone. ``truth`` pairs them by name although the method trained without pairs, as for
    the embedded data.
    """
    if test:
        with watched(STOPPED) as watch:
            evaluation = score_test_images(
                folder, device=device, paired=truth or None, watch=lambda done, total: watch("scoring", done, total)
            )
        for line in [*lines(evaluation), *verdicts(evaluation, folder)] if evaluation else ():
            console.print(line, soft_wrap=True)
    report = write_report(folder)
    console.print(f"snapshot  {folder / 'snapshot.safetensors'}\nreport    {report}", markup=False, soft_wrap=True)


def lines(evaluation: Evaluation) -> list[str]:
    """The numbers with their intervals, in a line for each direction and each of model, truth, copy and mean.

    An arrow says which way is better.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for result in evaluation.results:
        kind, shown = METRICS[result.metric], cell(result.metric, asdict(result))
        interval = f" ({shown.interval})" if math.isfinite(result.estimate.low) else ""
        arrow = "↑" if kind.better == "higher" else "↓"
        text = f"{kind.title} {arrow} {shown.value}{interval}{' dB' if kind.unit == 'dB' else ''}"
        found.setdefault((result.direction, result.of), []).append(text)
    order = ("model", "truth", "copy", "mean")
    counts = {direction: f"{len(rows):,} test images" for direction, rows in evaluation.images.items()}
    return [
        f"{direction} {of:<6} {'   '.join(texts)}   ({counts[direction]})"
        for (direction, of), texts in sorted(found.items(), key=lambda item: (item[0][0], order.index(item[0][1])))
    ]


def verdicts(evaluation: Evaluation, folder: Path) -> list[str]:
    """A sentence for each direction: whether it is better than doing nothing, and what to do next."""
    return [verdict(evaluation, direction, show(folder)) for direction in evaluation.images]
