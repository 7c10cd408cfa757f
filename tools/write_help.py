"""Write the --help of every command to docs/cli, so that the texts can be read and compared without running them."""

import os
from argparse import ArgumentParser, _SubParsersAction
from pathlib import Path
from unittest.mock import patch

from diptych.cli import COMMANDS, load, overview

FOLDER = Path(__file__).parents[1] / "docs" / "cli"


def help_texts() -> dict[str, str]:
    """The help of `diptych` and of each command, by name."""
    with patch.dict(os.environ, COLUMNS="100", NO_COLOR="1"):  # argparse asks for them when it prints
        return {"diptych": overview().format_help()} | {name: full_help(load(name).parser()) for name in COMMANDS}


def full_help(parser: ArgumentParser) -> str:
    """A parser's help, then that of each of its actions."""
    chosen = [action for action in parser._actions if isinstance(action, _SubParsersAction)]
    return "\n".join([parser.format_help(), *(full_help(each) for action in chosen for each in action.choices.values())])


def main() -> None:
    """Replace every text."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in help_texts().items():
        (FOLDER / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
