"""diptych compare: which of two or more systems is better on the same images, with intervals, tests, and images side by side."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from diptych.cli import command_parser, find_own_modules, names, positive, seed
from diptych.cli.own_files import out_folder

EXAMPLES = """\
  diptych compare runs/x runs/y                        two runs on their test images, in every direction that both have
  diptych compare runs/x runs/x-seed1 runs/y           trainings that differ in their seed alone are one system
  diptych compare ours/ theirs/ --data truth/          images that any tools made, paired by stem
  diptych compare ours.safetensors theirs.safetensors --data horse2zebra/ --metrics kid,structure"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("compare", EXAMPLES, "diptych compare A B [...] [--data DATA [DATA]] [options]")
    p.add_argument("systems", metavar="A", nargs="+", help="run folders, snapshot files, or folders of outputs; two or more")
    p.add_argument(
        "--data", nargs="+", default=[], metavar="DATA", help="the real images, as for evaluate (default: those of each run)"
    )
    p.add_argument(
        "--metrics", type=names, metavar="LIST", help="names as for evaluate (default: all that can be compared without fetching)"
    )
    p.add_argument("--snapshot", default="last", choices=("last", "best"), help="which snapshot of runs (default: last)")
    p.add_argument("--split", default="test", choices=("test", "val"), help="which images to score (default: test)")
    p.add_argument("--direction", choices=("a2b", "b2a"), help="compare only this direction (default: all that there are)")
    p.add_argument("--size", type=positive, metavar="N", help="resize to N x N, for snapshots without a recipe (default: 256)")
    p.add_argument("--truth", action="store_true", help="pair test images of equal names although training had no pairs")
    p.add_argument("--unpaired", action="store_true", help="take the two sides as two sets, whatever the names of the files")
    p.add_argument("--inputs", type=Path, metavar="DIR", help="the inputs of folders of outputs, with the same stems")
    p.add_argument(
        "--features", metavar="NET", help="the network of KID: inception, random-vgg or FILE.onnx (default: as for evaluate)"
    )
    p.add_argument("--weights", action="append", default=[], metavar="DIR", help="a folder of weight files, or NAME=FILE")
    p.add_argument("--no-fetch", action="store_true", help="never fetch weights")
    p.add_argument("--labels", choices=("a", "b"), help="the side whose colours are classes, for the FCN-score")
    p.add_argument("--palette", metavar="FILE", help="the colour of each class, as for evaluate")
    p.add_argument("--segmenter", metavar="NET", help="finds classes in photos, as for evaluate")
    p.add_argument("--classifier", metavar="NET", help="of the target rate, as for evaluate")
    p.add_argument("--target", metavar="CLASS", help="the class that translated images should be of")
    p.add_argument("--allow-seen", action="store_true", help="score images that were seen in training too, and mark the numbers")
    p.add_argument("--allow-doubles", action="store_true", help="score a set although some of its images are the same")
    p.add_argument(
        "--dropout-seeds",
        type=positive,
        default=1,
        metavar="N",
        help="apply translators that draw dropout N times, and say how far that moves the numbers (default: 1)",
    )
    p.add_argument("--seed", type=seed, default=0, help="the first seed of dropout, and that of the tests (default: 0)")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    p.add_argument(
        "--out", type=out_folder, metavar="DIR", help="the folder for compare.json and compare.html (default: runs/compare-A-B)"
    )
    return p


def main(argv: Sequence[str]) -> int:
    """Compare, write JSON and page, and print the tables."""
    args = parser().parse_intermixed_args(argv)
    from diptych.cli.console import console, notes, show_notes
    from diptych.cli.tables import print_differences, say_left_out, watched
    from diptych.device import pick_device
    from diptych.errors import ConfigError
    from diptych.messages import show
    from diptych.pages.comparison import pair_tables, write_comparison
    from diptych.scoring.compare import compare_systems
    from diptych.scoring.systems import find_systems, score_systems
    from diptych.scoring.task import Request

    show_notes()
    find_own_modules(args.segmenter, args.classifier)
    if args.truth and args.unpaired:
        raise ConfigError("--truth and --unpaired exclude each other; give one of them")
    device = str(pick_device(args.device))
    groups = find_systems(args.systems)
    out = args.out or Path("runs") / f"compare-{'-'.join(Path(group[0]).stem for group in groups)}"
    refuse_other_comparison(out, groups)
    request = Request(
        args.systems[0],
        tuple(args.data),
        snapshot=args.snapshot,
        split=args.split,
        direction=args.direction,
        size=args.size,
        paired=False if args.unpaired else True if args.truth else None,
        inputs=args.inputs,
        device=device,
        seed=args.seed,
    )
    same = ("features", "weights", "labels", "palette", "segmenter", "classifier", "target", "seed")
    words = {name: getattr(args, name) for name in same} | {"fetch": not args.no_fetch, "device": device}
    with watched() as watch:
        systems = score_systems(
            groups,
            request,
            metrics=args.metrics,
            words=words,
            dropout_seeds=args.dropout_seeds,
            allow_seen=args.allow_seen,
            allow_doubles=args.allow_doubles,
            watch=watch,
        )
    found = compare_systems(systems, seed=args.seed)
    page = write_comparison(found, out)
    print_differences(pair_tables(found))
    say_left_out(found.left_out)
    if all(len(system.trainings) == 1 for system in systems):
        notes.print("note: one training each; another seed may move these numbers more than other images do", soft_wrap=True)
    console.print(f"page  {show(page)}", soft_wrap=True)
    return 0


def refuse_other_comparison(folder: Path, groups: Sequence[Sequence[str]]) -> None:
    """Raise ConfigError where a folder holds the comparison of other systems, or files but no comparison."""
    from diptych.errors import ConfigError, DataError
    from diptych.messages import show
    from diptych.schemas import MAPPING, read_json

    try:
        kept = read_json(folder / "compare.json", MAPPING)["systems"]
        before = [str(path) for system in kept for path in system["trainings"]]
    except FileNotFoundError:
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"{show(folder)}: is not empty and holds no comparison; choose another --out") from None
        return
    except (OSError, DataError, LookupError, TypeError):
        before = []
    if before != [path for group in groups for path in group]:
        raise ConfigError(f"{show(folder)}: holds the comparison of {show(', '.join(before) or 'others')}; choose another --out")
