"""The command line, with one file for each command of the table below. A command parses, calls the library, and prints."""

from __future__ import annotations

import argparse
import importlib
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise, takewhile
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

from diptych.cli.streams import standard_streams
from diptych.errors import ConfigError, DiptychError, Interrupted, OutOfMemory, StorageError, out_of_memory
from diptych.messages import nearest, printable, show

COMMANDS: dict[str, str] = {
    "train": "train a translator on folders of images, or resume an interrupted run",
    "fetch": "download a published data set by name, with its terms and its checksum",
    "prepare": "make pairs of one folder of photos: edges, gray, few pixels, holes ... and the photos themselves",
    "plan": "measure what a training would need: memory, hours, and the largest batch and crop that fit",
    "translate": "translate images and folders of images with a trained snapshot",
    "zoo": "list trained networks that can be used by name, or make such files",
    "push": "publish a snapshot with its model card on the Hugging Face hub",
    "pull": "fetch a snapshot from the Hugging Face hub",
    "export": "write a snapshot as one ONNX or TorchScript file for other programs",
    "evaluate": "score a run, a snapshot or finished images, with intervals and documented protocols",
    "reproduce": "score published translators again, beside the numbers that were printed for them",
    "compare": "compare systems on the same images: differences with intervals and tests, images side by side",
    "check": "check a data set before training: damage, leakage, duplicates, misaligned pairs",
    "doctor": "diagnose from a run's statistics what went wrong in training, and what to change",
    "study": "ask people which pictures are fake, in a browser, by the protocol of the papers",
    "bench": "train several methods under one budget, and compare them on the same images",
    "ablate": "train the variants that the papers compare, and print their tables",
    "music": "MIDI and sheet music: build data, draw sheets, read them, and score note by note",
    "import": "turn another tool's weights (.pth) into a snapshot",
    "runs": "list runs: how far each one came, and its best score",
    "report": "write a run's report.html once more",
    "demo": "train on the embedded real data, translate unseen continents, and write a report",
}
UNRECOGNIZED = "unrecognized arguments: "  # how argparse begins this message
OPTION = re.compile(r"--[\w-]+")  # and no setting of a recipe, which has a dot in its name and may be empty
LIKE_OPTION = re.compile(r"--?[A-Za-z]\S*$")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit code (see diptych.errors)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # These must be set before torch starts its threads and takes memory. Waiting threads should sleep: on a machine that also
    # does other work, spinning made every convolution several times slower. Large tensors should lie in large pages: a third of
    # the time of a network on a large image went into faults of small ones.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    with standard_streams(), ctrl_c() as came:
        try:
            return run(arguments)
        except DiptychError as error:
            text = printable(str(error))
            print(text if isinstance(error, Interrupted) else f"error: {text}", file=sys.stderr)
            return error.exit_code
        except OSError as error:
            if out_of_memory(error) and not came:
                print(f"error: {ran_out(error)}", file=sys.stderr)
                return OutOfMemory.exit_code
            if error.errno is None or came:  # what libraries raise is their own
                raise
            print(f"error: {refused(error)}", file=sys.stderr)
            return StorageError.exit_code
        except (Exception, KeyboardInterrupt) as error:
            if not came and not isinstance(error, KeyboardInterrupt):
                if not (out_of_memory(error) or "can't start new thread" in str(error)):
                    raise
                print(f"error: {ran_out(error)}", file=sys.stderr)
                return OutOfMemory.exit_code
            print("interrupted; run the same command again", file=sys.stderr)
            return 130


def refused(error: OSError) -> str:
    """One line for what the system refused: the path, the reason, and what is safe."""
    where = f"{show(str(error.filename))}: " if error.filename else ""
    return (
        f"{where}the system refused it ({error.strerror}); files that were written before are whole; "
        "look at the disk, its space and its permissions, and run the same command"
    )


def ran_out(error: Exception) -> str:
    """One line for memory that ran out where no part of a command was prepared for it."""
    reason = printable(" ".join(str(error).split())[:200]) or "no more could be taken"
    return (
        f"memory ran out ({reason}); files that were written before are whole; close other programs, raise the limit of this "
        "process (ulimit -v) or choose smaller sizes, and run the same command"
    )


@contextmanager
def ctrl_c() -> Iterator[list[int]]:
    """Collect the SIGINTs that arrive inside the block; each raises KeyboardInterrupt as usual.

    Libraries turn a KeyboardInterrupt during their import into ImportError and other errors, so that the type of an exception
    does not tell whether Ctrl-C was pressed.
    """
    came: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        came.append(signum)
        raise KeyboardInterrupt

    plain = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a background job ignores SIGINT
    if not plain or threading.current_thread() is not threading.main_thread():
        yield came
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run(arguments: Sequence[str]) -> int:
    """Run one command and flush what it printed; return the exit code."""
    name = arguments[0] if arguments else "--help"
    refuse_empty_words(arguments)
    try:
        if name in COMMANDS:
            code = int(load(name).main(arguments[1:]))
        elif name.startswith("-"):
            overview().parse_args(arguments or ["--help"])
            code = 0
        else:
            near = nearest(name, COMMANDS, n=1)
            raise ConfigError(f"no command is called {name!r}; {f'did you mean {near[0]}?' if near else 'see `diptych --help`'}")
    except SystemExit:  # after --help and --version
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return code


def refuse_empty_words(arguments: Sequence[str]) -> None:
    """Raise ConfigError for a word that is empty or blank, such as a shell variable that is not set.

    As a path it would mean the working folder. Settings of a recipe may be empty.
    """
    for before, word in pairwise(["", *arguments]):
        option, mark, value = word.partition("=")
        if mark and not value.strip() and OPTION.fullmatch(option):
            before, word = option, value
        elif word.strip() or (before.startswith("--") and not OPTION.fullmatch(before)):
            continue
        raise ConfigError(
            f"found {word!r} after {before or 'diptych'}, where a value was expected; a shell variable may not be set "
            "(the working folder is written as .)"
        )


def load(name: str) -> ModuleType:
    """Import the module of one command. The other commands stay unimported, so that help is instant."""
    return importlib.import_module(f"diptych.cli.{name}_" if name == "import" else f"diptych.cli.{name}")


def find_own_modules(*named: str | None) -> None:
    """Let ``module:name`` on the command line find modules in the working folder, which is searched last.

    Without such a word nothing in that folder is ever imported, also not in place of a package that is not installed.
    """
    if any(word and ":" in word for word in named):
        sys.path.append(os.getcwd())


def overview() -> argparse.ArgumentParser:
    """The parser of `diptych` without a command, which prints the list of commands."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {sentence}" for name, sentence in COMMANDS.items())
    parser = Parser(
        "diptych",
        description="Image-to-image translation, paired (pix2pix) and unpaired (CycleGAN).",
        epilog=f"commands:\n{commands}\n\n`diptych COMMAND --help` shows a command's options and examples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="diptych COMMAND ...",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    return parser


class Version(argparse.Action):
    """Print the installed version, which is looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *args: object, **kwargs: object) -> None:
        from importlib.metadata import version

        print(f"diptych {version('diptych')}")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """An argument parser that reports mistakes as ConfigError, in one line."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # -1GB and -3,4 are values too, which their types refuse
        self._words: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, and keep the words for what `error` says."""
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError instead of printing the usage; it names an unknown option first, and the nearest option or choice."""
        near: list[str] = []
        unknown = message.removeprefix(UNRECOGNIZED).split()[0] if message.startswith(f"{UNRECOGNIZED}-") else ""
        if name := (unknown or self._unknown_option()).partition("=")[0]:
            near = nearest(name, [each for each in self.options() if each != name], n=1)  # another action may have it
            message = f"no option is called {name}"
        elif found := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            near = nearest(found[1], re.findall(r"[\w-]+", found[2]), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{message}{hint}; see `{self.prog} --help`")

    def _unknown_option(self) -> str:
        """The first of the words that looks like an option and is none; argparse tells of it only where nothing else is wrong."""
        known = set(self.options())
        words = takewhile(lambda word: word != "--", self._words)
        return next((word for word in words if LIKE_OPTION.match(word) and word.partition("=")[0] not in known), "")

    def options(self) -> list[str]:
        """The options of this parser and of its subcommands."""
        below = [parser for action in self._actions if isinstance(action.choices, dict) for parser in action.choices.values()]
        own = [option for action in self._actions for option in action.option_strings]
        return own + [option for parser in below if isinstance(parser, Parser) for option in parser.options()]


def command_parser(name: str, examples: str, usage: str | None = None) -> argparse.ArgumentParser:
    """A parser for one command, with the command's sentence above the options and examples below them."""
    return Parser(
        f"diptych {name}",
        usage=usage,
        description=f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def out_or_default(out: Path | None, default: Path) -> Path:
    """The file to write: --out, or a default name. Raises ConfigError if the default name is taken."""
    if out is None and os.path.lexists(default):
        raise ConfigError(f"{default}: is there already; give --out {default} to replace it, or --out with another name")
    return out or default


def count(text: str) -> int:
    """The type of an option that is 0, 1, 2 ..."""
    return _whole(text, 0)


def positive(text: str) -> int:
    """The type of an option that is 1, 2, 3 ..."""
    return _whole(text, 1)


def seed(text: str) -> int:
    """The type of --seed: a number that torch takes as one."""
    return _whole(text, 0, 2**63 - 1)


def port(text: str) -> int:
    """The type of an option that is a port of TCP."""
    return _whole(text, 1, 65_535)


def names(text: str) -> list[str]:
    """The type of an option that is a list of names with commas between."""
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"must be names with commas between, found {text!r}")
    return found


def _whole(text: str, least: int, most: int | None = None) -> int:
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    if not text.removeprefix("-").isdecimal() or not least <= int(text) <= (int(text) if most is None else most):
        raise argparse.ArgumentTypeError(f"must be a whole number {bounds}, found {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """The type of an option that is a duration."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds of at least 0, found {text!r}")
    return value
