"""diptych evaluate: score a run, a snapshot, or images that any tool made, with intervals and protocols."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.cli import command_parser, find_own_modules, names, seed
from diptych.cli.own_files import out_folder
from diptych.cli.sharding import own_shard, shard

if TYPE_CHECKING:  # the real import waits until the command runs, so that --help is instant
    from diptych.scoring.task import Request

STOPPED = "stopped; no result was written, finished parts of the share are kept"
EXAMPLES = """\
  diptych evaluate runs/x                              its snapshot on its test images, in every direction that it has
  diptych evaluate horse2zebra.safetensors horse2zebra/ --metrics kid,fid --allow-small
  diptych evaluate outputs/ truth/ --inputs inputs/    images that any tool made, paired by stem
  diptych evaluate runs/facades --labels a --palette auto:12 --segmenter photo2label.safetensors"""

USAGE = "diptych evaluate RUN [DATA ...] | SNAPSHOT DATA [DATA] | OUTPUTS TRUTH [options]"


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("evaluate", EXAMPLES, USAGE)
    p.add_argument("subject", metavar="RUN", help="a run folder, a snapshot file, its name in the zoo, or a folder of outputs")
    p.add_argument(
        "data", metavar="DATA", nargs="*", help="the real images, as for training; beside OUTPUTS the folder of their truth"
    )
    p.add_argument(
        "--protocol",
        choices=("cyclegan2017", "cut2020", "mmagic"),
        help="score the whole test set as a publication did, and set its numbers beside ours where the task is the same",
    )
    p.add_argument(
        "--metrics", type=names, metavar="LIST", help="names such as psnr,ssim,kid (default: all that need no fetching)"
    )
    p.add_argument(
        "--snapshot", default="last", choices=("last", "best"), help="which snapshot of a run to score (default: last)"
    )
    p.add_argument(
        "--split", default="test", type=split, metavar="SPLIT", help="which images to score, test or val (default: test)"
    )
    p.add_argument("--direction", choices=("a2b", "b2a"), help="score only this direction (default: all that the snapshot has)")
    p.add_argument(
        "--data-direction",
        choices=("a2b", "b2a"),
        help="b2a: the snapshot's side a is side b of DATA (default: as its recipe says)",
    )
    p.add_argument("--size", type=int, metavar="N", help="resize to N x N, for a snapshot without a recipe (default: 256)")
    pairing = p.add_mutually_exclusive_group()
    pairing.add_argument("--truth", action="store_true", help="pair test images of equal names although training had no pairs")
    pairing.add_argument(
        "--unpaired", action="store_true", help="take the two sides as two sets, whatever the names of the files"
    )
    p.add_argument("--inputs", type=Path, metavar="DIR", help="the inputs of OUTPUTS, with the same stems")
    p.add_argument("--instances", type=Path, metavar="DIR", help="the instance maps of label maps in DATA, by the same names")
    p.add_argument(
        "--truth-half",
        default="whole",
        choices=("left", "right"),
        help="which half of side-by-side images in TRUTH is the truth; the other half is the input",
    )
    p.add_argument(
        "--features",
        metavar="NET",
        help="the network of FID and KID: inception, random-vgg or FILE.onnx (default: inception where it is cached)",
    )
    p.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="DIR",
        help="a folder of weight files, or NAME=FILE[#sha256=...]; may be repeated",
    )
    p.add_argument("--no-fetch", action="store_true", help="never fetch weights")
    p.add_argument("--allow-small", action="store_true", help="compute FID on fewer than 2,048 images, marked as biased")
    p.add_argument("--allow-doubles", action="store_true", help="score a set although some of its images are the same")
    p.add_argument("--allow-seen", action="store_true", help="score images that were seen in training too, and mark the numbers")
    p.add_argument("--labels", choices=("a", "b"), help="the side whose colours are classes, for the FCN-score")
    p.add_argument("--palette", metavar="FILE", help="the colour of each class: .json, .txt, .png, or auto:K to find K")
    p.add_argument(
        "--segmenter",
        metavar="NET",
        help="finds classes in photos: FILE.onnx, transformers:NAME, python:MODULE:NAME or a snapshot",
    )
    p.add_argument(
        "--classifier",
        metavar="NET",
        help="of the target rate: probe (trained on the training images), FILE.onnx, transformers:NAME or python:MODULE:NAME",
    )
    p.add_argument("--target", metavar="CLASS", help="the class that translated images should be of, by name or number")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    p.add_argument("--seed", type=seed, default=0, help="the seed of dropout in mode paper and of the intervals (default: 0)")
    p.add_argument("--resamples", type=int, default=1000, metavar="N", help="how often the bootstrap resamples (default: 1000)")
    p.add_argument(
        "--no-cache", action="store_true", help="neither keep features of images on the disk nor use those that are there"
    )
    p.add_argument(
        "--out", type=out_folder, metavar="DIR", help="the folder for evaluation.json and .html (default: the run folder)"
    )
    shares = p.add_mutually_exclusive_group()
    shares.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="measure share I of N of the images, as job I of an array of N, into a folder in DIR; under torchrun each process "
        "takes its own share",
    )
    shares.add_argument("--merge", action="store_true", help="make the report of the shares that --shard measured into DIR")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the JSON here as well")
    p.add_argument("--dry-run", action="store_true", help="say what would be computed on how many images")
    return p


def split(text: str) -> str:
    """Parse --split: test or val."""
    if text == "train":
        raise argparse.ArgumentTypeError("images that were trained on say nothing about new ones; choose test or val")
    if text not in ("test", "val"):
        raise argparse.ArgumentTypeError(f"must be test or val, found {text!r}")
    return text


RESULTS = (b'"protocols"', b'"left_out"')  # what every evaluation.json holds


def main(argv: Sequence[str]) -> int:
    """Evaluate, print the tables, and write JSON and page."""
    args = parser().parse_intermixed_args(argv)
    from functools import partial

    from diptych.cli.console import console, notes, show_notes
    from diptych.cli.own_files import PAGE, refuse_foreign
    from diptych.cli.tables import print_tables, say_left_out, watched
    from diptych.device import pick_device
    from diptych.errors import ConfigError
    from diptych.evaluation.evaluate import carry_out
    from diptych.evaluation.offers import check_names, choose_metrics
    from diptych.evaluation.passes import num_images
    from diptych.evaluation.shards import measure_shard, merge_shards
    from diptych.files import refuse_overwrite
    from diptych.messages import counted, show, were_there
    from diptych.pages.evaluation import write_evaluation
    from diptych.run import write_json
    from diptych.scoring.published import PROTOCOLS, beside_published
    from diptych.scoring.task import refuse_unused, task_of
    from diptych.scoring.tools import tools_of

    show_notes()
    own = args.shard or (None if args.merge else own_shard())
    if own and args.json:
        raise ConfigError("--json: a share has no report to write; give it beside --merge")
    if (own or args.merge) and args.out is None and not (Path(args.subject) / "recipe.json").is_file():
        raise ConfigError("--shard and --merge need --out DIR, a folder that all shares have in common")
    refuse_foreign(args.json, RESULTS)
    refuse_overwrite(args.json, args.subject, *args.data, args.palette)
    find_own_modules(args.segmenter, args.classifier)
    args.device = str(pick_device(args.device))
    metrics = args.metrics
    check_names(metrics or ())  # before a probe is trained
    with watched(*([STOPPED] if own else [])) as watch:
        request = request_of(args)
        refuse_unused(request)
        task = task_of(request, watch)
        tools = tools_of(task.subjects, **tool_words(args), watch=partial(watch, "fetching"))
        if args.protocol:
            task = beside_published(args.protocol, task, args.data, args.labels, tools.palette)
            metrics = metrics or list(PROTOCOLS[args.protocol].metrics)
        if args.dry_run:
            chosen, left_out = choose_metrics(metrics, task.subjects, tools)
            for subject in task.subjects:
                names = chosen[subject.direction]
                count = num_images(subject, names)
                console.print(f"{subject.direction}: {', '.join(names) or 'nothing'} on {count:,} images", soft_wrap=True)
            say_left_out(left_out)
            return 0
        out = args.out or task.folder
        refuse_foreign(out and out / f"{task.name}.json", RESULTS)
        refuse_foreign(out and out / f"{task.name}.html", PAGE)
        allowed = {"allow_doubles": args.allow_doubles, "allow_seen": args.allow_seen or bool(args.protocol)}
        plan, evaluating = task.plan(metrics, tools, **allowed), partial(watch, "evaluating")
        shares = Path(out or ".") / f"{task.name}-shards"
        if own:
            number, count = own
            measured, earlier = measure_shard(plan, shares, own, evaluating)
            console.print(
                f"share {number} of {count}: {counted(measured, 'image')} measured into {show(shares)}{were_there(earlier)}",
                soft_wrap=True,
            )
            notes.print(f"note: with --merge, the same command makes the report of all {count:,} shares", soft_wrap=True)
            return 0
        evaluation = merge_shards(plan, shares, evaluating) if args.merge else carry_out(plan, evaluating)
    if args.json:
        write_json(args.json, evaluation.to_json())
    page = write_evaluation(evaluation, out, task.name) if out else None  # before printing, which a closed pipe may end
    print_tables(evaluation)
    say_left_out(evaluation.left_out)
    if page is None:
        notes.print("note: --out DIR writes evaluation.json, and evaluation.html with the images", soft_wrap=True)
        return 0
    console.print(f"page  {show(page)}", soft_wrap=True)
    return 0


def request_of(args: argparse.Namespace) -> Request:
    """What the command line asks to score."""
    from diptych.scoring.task import Request

    return Request(
        args.subject,
        tuple(args.data),
        snapshot=args.snapshot,
        split=args.split,
        direction=args.direction,
        data_direction=args.data_direction,
        size=args.size,
        paired=False if args.unpaired else True if args.truth else None,
        inputs=args.inputs,
        instances=args.instances,
        truth_half=args.truth_half,
        device=args.device,
        seed=args.seed,
        protocol=args.protocol,
    )


def tool_words(args: argparse.Namespace) -> dict[str, Any]:
    """What the command line says to measure with, as the arguments of tools_of."""
    same = ("features", "weights", "labels", "palette", "segmenter", "classifier", "target", "device")
    numbers = ("allow_small", "seed", "resamples")
    words = {name: getattr(args, name) for name in (*same, *numbers)}
    if args.protocol:
        words |= {"allow_small": True, "features": args.features or "inception"}
    return words | {"fetch": not args.no_fetch, "cache": not args.no_cache}
