"""After training: score the test images, write the report, and say where everything is."""

from __future__ import annotations

from pathlib import Path

from diptych.cli.console import bar, console
from diptych.cli.tables import watcher
from diptych.evaluation.results import METRICS, Evaluation
from diptych.evaluation.tables import number
from diptych.pages.report import write_report
from diptych.scoring.after_training import score_test_images
from diptych.training.signals import catch_interrupts


def finish(folder: Path, *, device: str = "auto", truth: bool = False, test: bool = True) -> None:
    """Score a finished run on its test images, where it has some, and write its report.

    ``test=False`` leaves the test images alone. ``truth`` pairs them by name although the method trained without pairs, as for
    the embedded data.
    """
    if test:
        with catch_interrupts() as interrupts, bar("images") as progress:
            watch = watcher(progress, interrupts)
            evaluation = score_test_images(
                folder, device=device, paired=truth or None, watch=lambda done, total: watch("scoring", done, total)
            )
        for line in lines(evaluation) if evaluation else ():
            console.print(line, soft_wrap=True)
    report = write_report(folder)
    console.print(f"snapshot  {folder / 'snapshot.safetensors'}\nreport    {report}", markup=False, soft_wrap=True)


def lines(evaluation: Evaluation) -> list[str]:
    """The numbers, with a line for each direction and each of model, truth, copy and mean."""
    found: dict[tuple[str, str], list[str]] = {}
    for result in evaluation.results:
        kind = METRICS[result.metric]
        text = f"{kind.title} {number(result.metric, result.estimate.value)}{' dB' if kind.unit == 'dB' else ''}"
        found.setdefault((result.direction, result.of), []).append(text)
    order = ("model", "truth", "copy", "mean")
    counts = {direction: f"{len(rows):,} test images" for direction, rows in evaluation.images.items()}
    return [
        f"{direction} {of:<6} {'   '.join(texts)}   ({counts[direction]})"
        for (direction, of), texts in sorted(found.items(), key=lambda item: (item[0][0], order.index(item[0][1])))
    ]
