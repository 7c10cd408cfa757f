"""diptych translate: images and trees of folders through a snapshot."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from diptych.cli import command_parser

EXAMPLES = """\
  diptych translate runs/x/snapshot.safetensors photos/ --out paintings/
  diptych translate horse2zebra.safetensors zebra.jpg --direction b2a --out horses/"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("translate", EXAMPLES)
    p.add_argument("snapshot", metavar="SNAPSHOT", type=Path, help="a snapshot.safetensors of a run or of `diptych import`")
    p.add_argument("inputs", metavar="INPUT", nargs="+", help="an image, or a folder whose tree of images is kept")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="where results go: same names, same tree, same sizes")
    p.add_argument("--direction", default="a2b", choices=("a2b", "b2a"), help="which way (default: a2b)")
    p.add_argument(
        "--at",
        default="native",
        choices=("native", "trained"),
        help="work at the image's own size, or at the size of training and resize back (default: native)",
    )
    p.add_argument(
        "--mode",
        choices=("eval", "paper"),
        help="paper: batch statistics and dropout, as the published test; eval: neither (default: the snapshot's)",
    )
    p.add_argument("--seed", type=int, default=0, help="of paper's dropout (default: 0)")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    p.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="default: fp32")
    p.add_argument("--skip-existing", action="store_true", help="go on where an interrupted job stopped")
    p.add_argument("--dry-run", action="store_true", help="list what would be written")
    return p


def main(argv: Sequence[str]) -> int:
    """Translate every image; 1 when some could not be."""
    args = parser().parse_args(argv)
    from diptych.cli.console import bar, console, notes, show_notes
    from diptych.data.formats import show
    from diptych.inference.batch import plan, translate_files
    from diptych.inference.translator import Translator

    show_notes()
    translator = Translator.load(
        args.snapshot, args.direction, device=args.device, precision=args.precision, mode=args.mode, seed=args.seed
    )
    jobs = plan(args.inputs, args.out, translator)
    if args.dry_run:
        for job in jobs:
            console.print(f"{show(job.source)} -> {show(job.target)}", soft_wrap=True)
        return 0
    with bar("images") as progress:
        task = progress.add_task("translating", total=len(jobs), note="")
        outcomes = translate_files(
            jobs, translator, at=args.at, skip_existing=args.skip_existing, watch=lambda outcome: progress.advance(task)
        )
    problems = [outcome.problem for outcome in outcomes if outcome.problem]
    for problem in problems:
        notes.print(f"skipped: {problem}", soft_wrap=True)
    done = sum(not outcome.skipped and not outcome.problem for outcome in outcomes)
    already = sum(outcome.skipped for outcome in outcomes)
    tail = (f", {already} were there" if already else "") + (f", {len(problems)} of {len(outcomes)} skipped" if problems else "")
    console.print(f"{done} translated into {show(args.out)}{tail}", soft_wrap=True)
    return 1 if problems else 0
