"""diptych import: turn weights of another tool into a snapshot, and infer everything about their networks."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from diptych.cli import command_parser, out_or_default

EXAMPLES = """\
  diptych import latest_net_G.pth                                  writes latest_net_G.safetensors
  diptych import latest_net_G_A.pth latest_net_G_B.pth --out horse2zebra.safetensors
The second file, if there is one, translates back (b2a). Discriminators can be imported too, although they translate nothing."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("import", EXAMPLES)
    p.add_argument(
        "a2b", metavar="FILE.pth", type=Path, help="weights written by junyanz/pytorch-CycleGAN-and-pix2pix or vintagify"
    )
    p.add_argument("b2a", metavar="BACK.pth", type=Path, nargs="?", help="the generator for the other direction, if there is one")
    p.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the snapshot to write (default: FILE.safetensors beside the first file, if there is none yet)",
    )
    return p


def main(argv: Sequence[str]) -> int:
    """Recognise the networks, print what was found, and write the snapshot."""
    args = parser().parse_args(argv)
    from diptych.cli.console import console
    from diptych.files import refuse_overwrite
    from diptych.foreign import load_foreign, to_snapshot

    refuse_overwrite(args.out or args.a2b.with_suffix(".safetensors"), args.a2b, args.b2a)
    out = out_or_default(args.out, args.a2b.with_suffix(".safetensors"))
    found = {name: load_foreign(path) for name, path in (("a2b", args.a2b), ("b2a", args.b2a)) if path}
    for name, foreign in found.items():
        console.print(f"{name}: {foreign.origin}", soft_wrap=True)
    to_snapshot(found).save(out)
    console.print(f"snapshot  {out}", soft_wrap=True)
    return 0
