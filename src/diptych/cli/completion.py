"""Completion of commands, options and paths in a shell, by shtab: ``shtab --shell=bash diptych.cli.completion.whole_parser``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diptych.cli import COMMANDS, load, overview

PLACES = ("FILE", "DIR", "DATA", "RUN", "IMAGE", "INPUT", "SNAPSHOT", "TRUTH", "SOURCE", "FOLDER", "SONG")


def whole_parser() -> argparse.ArgumentParser:
    """The parser of `diptych` with those of all commands in it, for shtab alone: commands are parsed one by one."""
    import shtab  # which calls this function

    parser = argparse.ArgumentParser("diptych", description=overview().description)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, sentence in COMMANDS.items():
        commands.add_parser(name, help=sentence, parents=[load(name).parser()], add_help=False)
    for action in _actions(parser):
        if action.choices is None and action.nargs != 0 and _is_path(action):
            action.complete = shtab.FILE
    return parser


def _is_path(action: argparse.Action) -> bool:
    words = action.metavar if isinstance(action.metavar, str) else ""
    return action.type is Path or any(word in words.upper() for word in PLACES)


def _actions(parser: argparse.ArgumentParser) -> Iterator[Any]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from _actions(below)
