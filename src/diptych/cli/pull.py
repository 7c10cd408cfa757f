"""diptych pull: fetch a snapshot from the Hugging Face hub."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from diptych.cli import command_parser, out_or_default
from diptych.cli.own_files import out_file

EXAMPLES = """\
  diptych pull user/horse2zebra                        writes horse2zebra.safetensors, and its card as horse2zebra.md
  diptych pull user/horse2zebra@v2 --out zebras.safetensors
  diptych translate hf:user/horse2zebra photo.jpg --out zebra.jpg       without a copy"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("pull", EXAMPLES)
    p.add_argument("repository", metavar="USER/NAME", help="the repository of the hub, perhaps with @REVISION")
    p.add_argument("--out", type=out_file, metavar="FILE", help="the file to write (default: NAME.safetensors)")
    return p


def main(argv: Sequence[str]) -> int:
    """Fetch snapshot and card, copy them, and print the licence."""
    args = parser().parse_args(argv)
    from diptych.cli.console import console, show_notes
    from diptych.cli.own_files import refuse_foreign, refuse_suffix
    from diptych.files import write_atomic
    from diptych.hub import CARD, pull, repository
    from diptych.snapshot import Snapshot

    show_notes()
    name, _ = repository(args.repository)
    out = out_or_default(args.out, Path(f"{name.partition('/')[2]}.safetensors"))
    refuse_suffix(out, (".safetensors",), "a snapshot")
    fetched = pull(args.repository)
    Snapshot.load(fetched)  # a file that is none is named before anything is written
    card, copy = fetched.with_name(CARD), out.with_suffix(".md")
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    refuse_foreign(out, (b"diptych", b"generators"))
    if text:
        refuse_foreign(copy, (text.encode(),))
    write_atomic(out, fetched.read_bytes())
    if text:
        write_atomic(copy, text.encode())
    found = re.search(r"^license: *(.+)$", text, re.MULTILINE)
    console.print(f"snapshot  {out}\nlicence   {found[1] if found else 'not said; ask who published it'}", soft_wrap=True)
    return 0
