"""An ablation from beginning to end: variants trained, scored alike, and put into the papers' tables."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diptych.ablation.pictures import figure
from diptych.ablation.table import estimates, markdown
from diptych.ablation.tools import ablation_tools, default_metrics
from diptych.ablation.trials import score, trials_of
from diptych.ablation.variants import TABLES, VARIANTS
from diptych.data.census import Census
from diptych.data.listing import refuse_out_in_data
from diptych.errors import DataError
from diptych.evaluation.results import METRICS
from diptych.files import refuse_links_out, write_atomic
from diptych.messages import counted, show
from diptych.recipe import Recipe
from diptych.run import write_json
from diptych.scoring.many import prefixed, train_all
from diptych.scoring.real_images import find_real_images, readable
from diptych.scoring.tools import Side
from diptych.training.progress import Progress, Watch

log = logging.getLogger(__name__)


def ablate(
    base: Recipe,
    out: Path,
    *,
    variants: Sequence[str] = (),
    num_seeds: int = 3,
    metrics: Sequence[str] | None = None,
    paired: bool | None = None,
    labels: Side | None = None,
    palette: str | None = None,
    segmenter: str | None = None,
    weights: Sequence[str] = (),
    devices: Sequence[str] = ("cpu",),
    watch: Watch = lambda progress: None,
) -> str:
    """Train the variants of a recipe, score them on its test images, and return the tables as Markdown.

    ``out`` gets a run folder for each variant and seed, ``tables.md``, ``ablation.json`` and a figure for each direction. No
    ``variants`` means all of the recipe's method. ``metrics`` None chooses them by the data (default_metrics). ``paired`` True
    takes test images of equal names as pairs. ``labels``, ``palette``, ``segmenter`` and ``weights`` are those of
    diptych.evaluate. ``devices`` train side by side (see train_all).

    Raises ConfigError for unknown variants, DataError without test images, and what a training raises.
    """
    trials = trials_of(base, variants, num_seeds, out)
    census = comparable_images(base, out, paired)
    test = census.split
    out.mkdir(parents=True, exist_ok=True)
    refuse_links_out([out / "segmenter", *(trial.folder for trial in trials)], out)
    tools = ablation_tools(
        base,
        out,
        labels=labels,
        palette=palette,
        segmenter=segmenter,
        weights=weights,
        paired=paired,
        device=devices[0].partition("#")[0],
        watch=lambda name: prefixed(name, watch),
    )
    train_all(trials, devices, watch=lambda name: prefixed(name, watch))
    scores: dict[str, list[dict[str, Any]]] = {}
    for done, trial in enumerate(trials):
        watch(Progress("scoring", done, len(trials)))
        found = score(trial, test, metrics or default_metrics(test, tools), tools)
        scores.setdefault(trial.variant.name, []).append(found)
    watch(Progress("scoring", len(trials), len(trials)))
    method = base.method.name
    directions = sorted({result["direction"] for found in scores.values() for one in found for result in one["results"]})
    titles = {name: (metric.title, metric.better) for name, metric in METRICS.items()}
    truth, over = " with truth" if test.paired else "", "seeds and images" if num_seeds > 1 else "images alone"
    about = f"{counted(len(test.a), 'test image')}{truth}, {counted(num_seeds, 'seed')}; means with 95 % intervals over {over}\n"
    about += "".join(f"not scored: {skipped}\n" for skipped in census.skipped)
    text = f"{about}\n{markdown(TABLES[method], VARIANTS[method], scores, titles, directions, labels)}"
    write_atomic(out / "tables.md", text.encode())
    numbers = {
        way: {name: {m: vars(e) for m, e in row.items()} for name, row in estimates(scores, way).items()} for way in directions
    }
    write_json(out / "ablation.json", numbers)
    for way in directions:
        firsts = [trial for trial in trials if trial.seed == base.train.seed]
        write_atomic(out / f"figure-{way}.png", figure(firsts, test, way, tools.device))
    return text


def comparable_images(base: Recipe, out: Path, paired: bool | None) -> Census:
    """The census of the test images that can be read, in the recipe's direction.

    Raises DataError where there are none, and ConfigError where ``out`` lies in the data.
    """
    refuse_out_in_data(out, base.data.source)
    found = find_real_images(base, paired=paired)
    if found is None:
        raise DataError(f"{', '.join(base.data.source)}: no test images to compare variants on; add testA and testB")
    census = readable(found.split, fitting=base.data.fit)
    if (fewest := min(len(census.split.a), len(census.split.b))) == 1:
        log.warning(
            "%s: %s on a side, which shows nothing of how the variants differ on other images; add test images",
            ", ".join(show(source) for source in base.data.source),
            counted(fewest, "test image"),
        )
    return census
