"""diptych export: write one direction of a snapshot as a file for programs without diptych."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from diptych.choices import Direction, Format
from diptych.cli import command_parser, out_or_default

EXAMPLES = """\
  diptych export runs/x/snapshot.safetensors --to onnx
  diptych export horse2zebra.safetensors --to torchscript --direction b2a --out zebra2horse.pt"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("export", EXAMPLES)
    p.add_argument(
        "snapshot",
        metavar="SNAPSHOT",
        type=Path,
        help="the trained translator: the snapshot.safetensors of a run, or what `diptych import` wrote",
    )
    p.add_argument("--to", required=True, choices=get_args(Format), help="the format of the file")
    p.add_argument("--direction", default="a2b", choices=get_args(Direction), help="from A to B, or from B to A (default: a2b)")
    p.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the file to write (default: SNAPSHOT-DIRECTION.onnx or .pt beside the snapshot, if there is none yet)",
    )
    return p


def main(argv: Sequence[str]) -> int:
    """Export, and print what was written and how far it differs from the network."""
    args = parser().parse_args(argv)
    from diptych.cli.console import console, notes
    from diptych.files import refuse_overwrite
    from diptych.inference.export import SIZES, SUFFIXES, export
    from diptych.messages import show

    out = out_or_default(args.out, args.snapshot.with_name(f"{args.snapshot.stem}-{args.direction}{SUFFIXES[args.to]}"))
    refuse_overwrite(out, args.snapshot)
    done = export(args.snapshot, out, args.to, args.direction)
    if done.paper:
        notes.print(
            "note: this snapshot is applied in mode paper; the file is eval, without dropout and with the statistics of training",
            soft_wrap=True,
        )
    console.print(f"{show(done.path)}  {done.path.stat().st_size:,} bytes", soft_wrap=True)
    console.print(f"sha256  {done.sha256}", soft_wrap=True)
    console.print(f"greatest difference to the network {done.difference:.1e} of [-1, 1], at {len(SIZES)} sizes", soft_wrap=True)
    return 0
