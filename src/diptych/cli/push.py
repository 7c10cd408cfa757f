"""diptych push: publish a snapshot with its model card on the Hugging Face hub."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from diptych.cli import command_parser
from diptych.errors import ConfigError
from diptych.files import read_text
from diptych.licences import licence_on_the_hub

EXAMPLES = """\
  diptych push runs/x user/horse2zebra --licence cc-by-nc-4.0
  diptych push snapshot.safetensors user/horse2zebra --licence apache-2.0 --private
Then hf:user/horse2zebra is a snapshot for every command. Log in first, with `hf auth login` or $HF_TOKEN."""
OPEN = re.compile(r"^license: unknown\b.*$", re.MULTILINE)
UNCHOSEN = "Not chosen yet. The licences of the training images limit the choice; say here what others may do with this model."


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("push", EXAMPLES)
    p.add_argument("snapshot", metavar="SNAPSHOT", type=Path, help="a run folder, a snapshot, or a name of the zoo")
    p.add_argument("repository", metavar="USER/NAME", help="the repository of the hub, which is made if there is none")
    p.add_argument(
        "--licence", metavar="ID", help="what others may do with it, as the hub writes it, unless the card says so already"
    )
    p.add_argument("--private", action="store_true", help="make a repository that only you can see")
    return p


def main(argv: Sequence[str]) -> int:
    """Write the licence into the card, upload snapshot and card, and print the address."""
    args = parser().parse_args(argv)
    from diptych.cli.console import console, show_notes
    from diptych.hub import push, repository
    from diptych.pages.card import NAME
    from diptych.snapshot import Snapshot, snapshot_in

    show_notes()
    name, _ = repository(args.repository)
    path = snapshot_in(args.snapshot)
    Snapshot.load(path)  # what is no snapshot is not published
    card = licensed(path.with_name(NAME), name, args.licence)
    console.print(f"{push(path, card, args.repository, private=args.private)}; use it as hf:{name}", soft_wrap=True)
    return 0


def licensed(path: Path, name: str, licence: str | None) -> str:
    """The card beside a snapshot, or a short one where there is none, with the licence that was chosen.

    Raises ConfigError where neither the card nor ``licence`` says one.
    """
    short = f"---\nlicense: unknown\nlibrary_name: diptych\ntags: [image-to-image]\n---\n\n# {name}\n\n## Licence\n\n{UNCHOSEN}\n"
    text = read_text(path) if path.is_file() else short
    if licence is None and not OPEN.search(text):
        return text
    if licence is None:
        raise ConfigError("--licence: choose one that the training images allow, such as cc-by-nc-4.0, or write it into the card")
    known = licence_on_the_hub(licence)
    if not OPEN.search(text):
        raise ConfigError(f"--licence {licence}: {path.name} says a licence already; change it there, or leave --licence out")
    return OPEN.sub(f"license: {known}", text, count=1).replace(UNCHOSEN, licence)
