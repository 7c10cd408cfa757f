"""diptych ablate: the variants that the papers compare, trained alike and put into their tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.cli import command_parser, find_own_modules

if TYPE_CHECKING:  # the real imports wait until the command runs, so that --help is instant
    from diptych.data.folders import Split
    from diptych.evaluation.instruments import Instruments
    from diptych.metrics.palette import Palette
    from diptych.recipe import Recipe

EXAMPLES = """\
  diptych ablate pix2pix facades/ --preset laptop --seeds 3
  diptych ablate relief --labels a --palette auto:8 --train.epochs 3 --train.decay_epochs 3
  diptych ablate cyclegan maps/ --truth --variants gan-alone,full
The same command again goes on where it stopped. Every setting of the recipe can be given as --part.name VALUE."""


def parser() -> argparse.ArgumentParser:
    """The command's options; recipe settings (--method.*, --data.*, --train.*) pass through to the recipe of all variants."""
    p = command_parser("ablate", EXAMPLES, "diptych ablate RECIPE [DATA ...] [options] [--part.name VALUE ...]")
    p.add_argument("recipe", metavar="RECIPE", help="cyclegan, pix2pix, a recipe of one of them by name, or a .yaml/.json file")
    p.add_argument("data", metavar="DATA", nargs="*", help="as for train, with test images")
    p.add_argument("--out", type=Path, metavar="DIR", help="where runs and tables go (default: runs/ablate-RECIPE)")
    p.add_argument("--preset", default="paper", help="paper or laptop, as for train (default: paper)")
    p.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of each variant (default: 3)")
    p.add_argument("--variants", type=lambda text: text.split(","), default=[], metavar="LIST", help="some only, by name")
    p.add_argument("--metrics", type=lambda text: text.split(","), metavar="LIST", help="as for evaluate (default: by the data)")
    p.add_argument("--truth", action="store_true", help="cyclegan: pair the test images by name, to score against the truth")
    p.add_argument("--labels", choices=("a", "b"), help="the side whose colours are classes, for the FCN-score")
    p.add_argument("--palette", metavar="FILE", help="the colour of each class: .json, .txt, .png, or auto:K to find K")
    p.add_argument("--segmenter", metavar="NET", help="as for evaluate (default: one is trained on the same pairs first)")
    p.add_argument("--weights", action="append", default=[], metavar="DIR", help="a folder of weight files, or NAME=FILE")
    p.add_argument("--device", default="auto", help="auto (all CUDA devices), cpu, cuda:N or mps (default: auto)")
    p.add_argument("--jobs", type=int, default=0, metavar="N", help="trainings side by side (default: one on each device)")
    p.add_argument("--dry-run", action="store_true", help="list the trainings and estimate their time; train nothing")
    return p


def main(argv: Sequence[str]) -> int:
    """Train all variants, score them, print and write the tables."""
    args, overrides = parser().parse_known_args(argv)
    from diptych.ablation.pictures import figure
    from diptych.ablation.table import estimates, markdown
    from diptych.ablation.trials import score, train_all, trials_of
    from diptych.ablation.variants import TABLES, VARIANTS
    from diptych.cli.console import bar, console, notes, show_notes, watching
    from diptych.cli.plan import planned
    from diptych.cli.train import choose_recipe
    from diptych.device import pick_device
    from diptych.errors import ConfigError
    from diptych.evaluation.results import METRICS
    from diptych.files import write_atomic
    from diptych.run import write_json

    show_notes()
    find_own_modules()
    if args.seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, found {args.seeds}")
    base = choose_recipe(args.recipe, args.data, args.preset, overrides)
    out = args.out or Path("runs") / f"ablate-{Path(args.recipe).stem.replace(':', '-')}"
    trials = trials_of(base, args.variants, args.seeds, out)
    devices = devices_of(args.device, args.jobs)
    if args.dry_run:
        one = planned(base, pick_device(args.device))
        hours = len(trials) * one.steps * one.seconds / 3600 / len(devices)
        console.print(base.to_yaml() + one.comments(), soft_wrap=True, end="")
        console.print("\n".join(f"# {trial.name}: {trial.folder}" for trial in trials), soft_wrap=True)
        console.print(f"# {len(trials)} trainings, about {hours:.1f} hours if all take as long as the whole recipe")
        return 0
    test = test_split(base, args.truth)
    out.mkdir(parents=True, exist_ok=True)
    options = {"num_previews": 2}
    palette = palette_of(args, base, out)
    segmenter = segmenter_of(args, base, palette, out, devices[0], options)
    tools = instruments(args, palette, segmenter, str(pick_device(devices[0].partition("#")[0])))
    with watching() as watch:
        train_all(trials, devices, options=options, watch=lambda name: named(name, watch))
    scores: dict[str, list[dict[str, Any]]] = {}
    metrics = args.metrics or default_metrics(test, tools)
    with bar("trainings") as progress:
        task = progress.add_task("scoring", total=len(trials), note="")
        for trial in trials:
            scores.setdefault(trial.variant.name, []).append(score(trial, test, metrics, tools))
            progress.update(task, advance=1, note=trial.name)
    method = base.method.name
    directions = sorted({result["direction"] for found in scores.values() for one in found for result in one["results"]})
    titles = {name: (metric.title, metric.better) for name, metric in METRICS.items()}
    text = markdown(TABLES[method], VARIANTS[method], scores, titles, directions)
    about = f"{len(test.a)} test images{' with truth' if test.paired else ''}, {args.seeds} seeds; means with 95 % intervals\n"
    write_atomic(out / "tables.md", f"{about}\n{text}".encode())
    numbers = {
        way: {name: {m: vars(e) for m, e in row.items()} for name, row in estimates(scores, way).items()} for way in directions
    }
    write_json(out / "ablation.json", numbers)
    for way in directions:
        firsts = [trial for trial in trials if trial.seed == base.train.seed]
        write_atomic(out / f"figure-{way}.png", figure(firsts, test, way, tools.device))
    console.print(f"{about}\n{text}", soft_wrap=True)
    notes.print(f"tables {out / 'tables.md'}, pictures {out / 'figure-*.png'}", soft_wrap=True)
    return 0


def devices_of(name: str, jobs: int) -> list[str]:
    """A device for each training that runs at a time: every CUDA device, or one; ``cpu#0``, ``cpu#1`` share the processor."""
    import torch

    if name == "auto" and torch.cuda.device_count() > 1:
        return [f"cuda:{index}" for index in range(min(jobs, torch.cuda.device_count()) if jobs else torch.cuda.device_count())]
    return [f"{name}#{index}" for index in range(jobs)] if jobs > 1 else [name]


def named(name: str, watch: Any) -> Any:
    """A Watch whose bar says which trial it is."""
    from dataclasses import replace

    return lambda step: watch(replace(step, task=f"{name}: {step.task}" if step.task != "preview" else step.task))


def test_split(base: Recipe, truth: bool) -> Split:
    """The test images in the recipe's direction. Raises DataError where there are none."""
    from diptych.data.census import take_census
    from diptych.data.folders import find_data
    from diptych.errors import DataError

    found = find_data(base.data.source, paired=base.method.paired or truth).test
    if found is None:
        raise DataError(f"{', '.join(base.data.source)}: no test images to compare variants on; add testA and testB")
    split = take_census(found).split
    return split.swapped() if base.data.direction == "b2a" else split


def palette_of(args: argparse.Namespace, base: Recipe, out: Path) -> Palette | None:
    """The palette that was given, or found in the training images of the labels' side; kept beside the tables."""
    from diptych.data.census import take_census
    from diptych.data.datasets import view
    from diptych.data.folders import find_data
    from diptych.errors import ConfigError
    from diptych.evaluation.subject import rgb8
    from diptych.metrics.palette import Palette
    from diptych.sheets import spread

    if not args.palette:
        return None
    kind, mark, count = args.palette.partition(":")
    if kind != "auto" or not mark:
        return Palette.load(Path(args.palette))
    if args.labels is None or not count.isdecimal():
        raise ConfigError(f"--palette {args.palette}: finds K label colours with auto:K and --labels a or b, such as auto:12")
    census = take_census(find_data(base.data.source, paired=base.method.paired or args.truth).train)
    refs, domain = (
        (census.split.a, census.a) if (args.labels == "a") != (base.data.direction == "b2a") else (census.split.b, census.b)
    )
    images = [rgb8(domain, view(ref, domain, base.data)[None])[0] for ref in spread(refs, 50)]
    palette = Palette.from_images(images, int(count))
    palette.save(out / "palette.json")
    return palette


def segmenter_of(
    args: argparse.Namespace, base: Recipe, palette: Palette | None, out: Path, device: str, options: dict[str, Any]
) -> Any:
    """What sees classes in photos: what was named, or a pix2pix trained now from photos to the labels' colours."""
    from diptych.ablation.variants import segmenter_recipe
    from diptych.cli.console import watching
    from diptych.cli.measuring import find_segmenter
    from diptych.training.loop import train

    if palette is None or args.labels is None:
        return None
    if not args.segmenter:
        with watching() as watch:
            recipe = segmenter_recipe(base, args.labels)
            args.segmenter = str(
                train(recipe, out / "segmenter", device=device.partition("#")[0], watch=named("segmenter", watch), **options)
            )
    args.device = device.partition("#")[0]
    return find_segmenter(args, palette)


def instruments(args: argparse.Namespace, palette: Palette | None, segmenter: Any, device: str) -> Instruments:
    """What the variants are measured with."""
    from diptych.cli.measuring import given_weights
    from diptych.evaluation.instruments import Instruments

    return Instruments(
        weights=given_weights(args.weights), labels=args.labels, palette=palette, segmenter=segmenter, device=device
    )


def default_metrics(test: Split, tools: Instruments) -> list[str]:
    """FCN-scores where there are labels, nearness to the truth where there is one, else the distance of the two sets."""
    fcn = ["fcn_pixel", "fcn_class", "fcn_iou"] if tools.palette and tools.labels else []
    lpips = ["lpips_alex"] if tools.at_hand("alexnet") else []
    return fcn + (["psnr", "ssim", *lpips] if test.paired else ["kid"])
