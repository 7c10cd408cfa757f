"""diptych export: write one direction of a snapshot as a file for programs without diptych."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from diptych.choices import Direction, Format
from diptych.cli import command_parser, out_or_default
from diptych.cli.own_files import out_file

EXAMPLES = """\
  diptych export runs/x/snapshot.safetensors --to onnx
  diptych export horse2zebra.safetensors --to torchscript --direction b2a --out zebra2horse.pt
  diptych export runs/x --discriminators --out horse2zebra.safetensors
With --discriminators a run's snapshot is written with the networks that judged it, for trainings that go on from it."""

ENDINGS: dict[Format, tuple[str, ...]] = {"onnx": (".onnx",), "torchscript": (".pt", ".pth", ".ts", ".torchscript")}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("export", EXAMPLES)
    p.add_argument(
        "snapshot",
        metavar="SNAPSHOT",
        type=Path,
        help="the trained translator: a run folder, a snapshot of it, or what `diptych import` wrote",
    )
    what = p.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", choices=get_args(Format), help="the format of the file")
    what.add_argument(
        "--discriminators",
        action="store_true",
        help="write the snapshot of a run folder as a snapshot that has its discriminators",
    )
    p.add_argument("--direction", default="a2b", choices=get_args(Direction), help="from A to B, or from B to A (default: a2b)")
    p.add_argument(
        "--strength",
        type=float,
        metavar="S",
        help="how strongly the file translates, from 0 to 1, where the generator has a strength (santa) (default: 1)",
    )
    p.add_argument(
        "--norm-from",
        type=Path,
        metavar="IMAGE",
        help="keep in the file the statistics that the norms of the network take from this image, instead of those of each image",
    )
    p.add_argument(
        "--out",
        type=out_file,
        metavar="FILE",
        help="the file to write (default: SNAPSHOT-DIRECTION.onnx or .pt, or snapshot-discriminators.safetensors, beside the "
        "snapshot, if there is none yet)",
    )
    return p


def main(argv: Sequence[str]) -> int:
    """Export, and print what was written and how far it differs from the network."""
    args = parser().parse_args(argv)
    from diptych.cli.console import console, notes
    from diptych.cli.own_files import refuse_foreign, refuse_suffix
    from diptych.cli.snapshots import chosen_snapshot
    from diptych.files import refuse_overwrite
    from diptych.inference.export import SIZES, SUFFIXES, export
    from diptych.messages import show

    if args.discriminators:
        return export_discriminators(args.snapshot, args.out)
    path = chosen_snapshot(args.snapshot, "export", rest=f" --to {args.to}")
    out = out_or_default(args.out, path.with_name(f"{path.stem}-{args.direction}{SUFFIXES[args.to]}"))
    refuse_overwrite(out, path)
    refuse_suffix(out, ENDINGS[args.to], args.to)
    refuse_foreign(out, (b"snapshot_sha256",))
    done = export(path, out, args.to, args.direction, strength=args.strength, norm_from=args.norm_from)
    if done.paper:
        notes.print(
            "note: this snapshot is applied in mode paper; the file is eval, without dropout and with the statistics of training",
            soft_wrap=True,
        )
    console.print(f"{show(done.path)}  {done.path.stat().st_size:,} bytes", soft_wrap=True)
    console.print(f"sha256  {done.sha256}", soft_wrap=True)
    console.print(f"greatest difference to the network {done.difference:.1e} of [-1, 1], at {len(SIZES)} sizes", soft_wrap=True)
    return 0


def export_discriminators(run: Path, out: Path | None) -> int:
    """Write a run's snapshot with its discriminators, and print what it holds."""
    from diptych.cli.console import console
    from diptych.cli.own_files import refuse_foreign, refuse_suffix
    from diptych.errors import ConfigError
    from diptych.messages import show
    from diptych.training.publish import with_discriminators

    if run.is_file():
        raise ConfigError(f"{show(run)}: is a file; discriminators lie in the training state, so give the run folder")
    out = out_or_default(out, run / "snapshot-discriminators.safetensors")
    refuse_suffix(out, (".safetensors",), "a snapshot")
    refuse_foreign(out, (b"diptych", b"generators"))
    snapshot = with_discriminators(run)
    digest = snapshot.save(out)
    console.print(f"{show(out)}  {', '.join([*snapshot.generators, *snapshot.discriminators])}", soft_wrap=True)
    console.print(f"sha256 of its content  {digest}", soft_wrap=True)
    return 0
