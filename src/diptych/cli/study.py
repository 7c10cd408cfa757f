"""diptych study: ask people which pictures are fake, in a browser, by the protocol of the papers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

from diptych.choices import Direction
from diptych.cli import command_parser, count, names, port, positive, seed
from diptych.cli import study_actions as do
from diptych.cli.own_files import out_file

MOST_DAYS = 36_500
EXAMPLES = """\
  diptych study new s/ --real testB/ --model cyclegan=out1/ --model cut=out2/
  diptych study new s/ --real testB/ --model cyclegan=runs/cyclegan --model cut=runs/cut --inputs testA/
  diptych study new s/ --protocol compare --model cyclegan=out1/ --model cut=out2/
  diptych study serve s/                                 http://127.0.0.1:8000 for participants, /owner for you
  diptych study simulate s/ --fooled cyclegan=0.27 --fooled cut=0.31      a rehearsal, while it is served
  diptych study results s/ --out results.html --csv answers.csv
  diptych study plan --share 0.25 --width 0.03           how many participants
`diptych study ACTION --help` shows the options of one action."""


def parser() -> argparse.ArgumentParser:
    """The actions and their options."""
    p = command_parser("study", EXAMPLES, "diptych study ACTION ... [options]")
    actions = p.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(p), prog="diptych study")

    def action(
        name: str, help: str, function: Callable[[argparse.Namespace], int], folder: bool = True
    ) -> argparse.ArgumentParser:
        a = actions.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.", allow_abbrev=False)
        a.set_defaults(run=function)
        if folder:
            a.add_argument("folder", metavar="DIR", type=Path, help="the folder of the study")
        return a

    n = action("new", "make a study from a folder of real pictures and from finished outputs, runs or snapshots", do.new)
    n.add_argument("--real", type=Path, metavar="DIR", help="the folder of real pictures; not in comparisons of methods")
    n.add_argument(
        "--model",
        action="append",
        type=named_folder,
        required=True,
        metavar="NAME=DIR",
        help="a method's outputs, or a run or snapshot that translates the --inputs",
    )
    n.add_argument("--inputs", type=Path, metavar="DIR", help="the folder of inputs, for runs, snapshots and --show-inputs")
    n.add_argument(
        "--direction",
        choices=get_args(Direction),
        default="a2b",
        help="the way that runs and snapshots translate (default: a2b)",
    )
    n.add_argument("--device", default="auto", help="the hardware that translates: auto, cpu, cuda ... (default: auto)")
    n.add_argument(
        "--protocol",
        choices=("pairs", "single", "compare"),
        default="pairs",
        help="show a real and a fake picture, or one picture, or what two methods made of one input (default: pairs)",
    )
    n.add_argument(
        "--question",
        choices=("fake", "real", "better"),
        help="which one is asked for: of pairs fake or real (default: fake), in comparisons better or real (default: better)",
    )
    n.add_argument("--same-input", action="store_true", help="pair a fake picture with the real one of its name")
    n.add_argument("--show-inputs", action="store_true", help="show the input of the pictures above them all the time")
    n.add_argument("--practice", type=count, default=10, metavar="N", help="practice trials, with feedback (default: 10)")
    n.add_argument("--trials", type=positive, default=40, metavar="N", help="trials that count (default: 40)")
    n.add_argument("--catch", type=count, default=0, metavar="N", help="obvious trials, to find who does not look (default: 0)")
    n.add_argument("--show-ms", type=positive, default=1000, metavar="MS", help="how long each picture is shown (default: 1000)")
    n.add_argument("--title", help="the heading of the page (default: Real or fake?, in comparisons Which is better?)")
    n.add_argument(
        "--languages",
        type=names,
        default=["en", "ko", "de"],
        metavar="LIST",
        help="some of en,ko,de (default: all)",
    )
    n.add_argument(
        "--consent", action="append", default=[], type=named_folder, metavar="LANG=FILE", help="your own text to agree to"
    )
    n.add_argument("--invited-only", action="store_true", help="ask for a code that `diptych study codes` made")
    n.add_argument("--size", type=size, metavar="WxH", help="resize all pictures to this size")
    n.add_argument(
        "--database",
        metavar="URL",
        help="keep the answers in PostgreSQL, such as postgresql://user@host/name, whose password stands in ~/.pgpass "
        "(default: a file of SQLite in DIR)",
    )

    s = action("serve", "serve a study to participants and to its owner, until Ctrl-C", do.serve)
    s.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: 127.0.0.1, this machine alone)")
    s.add_argument("--port", type=port, default=8000, help="the port (default: 8000)")
    s.add_argument("--public-url", type=address, metavar="URL", help="the address that participants see, behind a reverse proxy")

    r = action("results", "print how often each method fooled people, with intervals", do.results)
    r.add_argument("--out", type=out_file, metavar="FILE.html", help="write a page with the best and worst pictures")
    r.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    r.add_argument("--csv", type=Path, metavar="FILE", help="write every answer, pseudonymous")
    r.add_argument("--strict", action="store_true", help="do not count marked trials (wrong display time, begun twice ...)")
    r.add_argument("--simulated", action="store_true", help="count simulated participants instead of people")
    r.add_argument("--width", type=float, default=0.03, metavar="W", help="interval of +-W to plan for (default: 0.03)")

    w = action("plan", "compute how many participants a study needs", do.plan, folder=False)
    w.add_argument("--share", type=float, required=True, metavar="P", help="the share of fooled answers that you expect")
    w.add_argument("--other", type=float, metavar="P", help="that of a second method, to tell the two apart")
    w.add_argument(
        "--trials", type=positive, default=40, metavar="N", help="trials that count for each participant (default: 40)"
    )
    w.add_argument(
        "--spread",
        type=float,
        metavar="S",
        help="standard deviation between people (default: 0.12, or the most that the share allows)",
    )
    w.add_argument("--width", type=float, default=0.03, metavar="W", help="interval of +-W (default: 0.03)")
    w.add_argument("--power", type=float, metavar="P", help="probability to find a difference (default: 0.8)")

    m = action("simulate", "let simulated participants of known ability take part in a study that is being served", do.simulate)
    m.add_argument(
        "--fooled",
        action="append",
        type=named_share,
        required=True,
        metavar="NAME=P",
        help="a method's share of fooled answers; in comparisons its strength",
    )
    m.add_argument("--participants", type=positive, default=10, metavar="N", help="how many take part (default: 10)")
    m.add_argument("--spread", type=float, default=0.0, metavar="S", help="standard deviation between them (default: 0)")
    m.add_argument("--workers", type=positive, default=50, metavar="N", help="how many take part at once (default: 50)")
    m.add_argument(
        "--url", type=address, default="http://127.0.0.1:8000", help="where it is served (default: http://127.0.0.1:8000)"
    )
    m.add_argument("--seed", type=seed, default=0, help="random seed (default: 0)")

    c = action("codes", "print invitation codes, each for one participant", do.codes)
    c.add_argument("--number", type=positive, default=1, metavar="N", help="how many (default: 1)")
    c.add_argument("--days", type=days, default=60, metavar="N", help="how long they are valid (default: 60)")
    e = action("erase", "delete a participant's answers", do.erase)
    e.add_argument("code", metavar="CODE", help="the code on the participant's last page")
    b = action("backup", "copy all answers into one file, also while people take part", do.backup)
    b.add_argument("out", metavar="FILE", type=Path, help="the file to write")
    action("token", "make a new token for the owner, which replaces the former one", do.token)
    return p


def main(argv: Sequence[str]) -> int:
    """Run one action."""
    args = parser().parse_args(argv)
    from diptych.cli.console import show_notes

    show_notes()
    return int(args.run(args))


def named_folder(text: str) -> tuple[str, Path]:
    """The type of NAME=PATH."""
    name, is_there, path = text.partition("=")
    if not name or not is_there or not path:
        raise argparse.ArgumentTypeError(f"must be NAME=PATH, found {text!r}")
    return name, Path(path)


def named_share(text: str) -> tuple[str, float]:
    """The type of NAME=SHARE."""
    name, _, share = text.partition("=")
    try:
        return name, float(share)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be NAME=SHARE, such as cut=0.3, found {text!r}") from error


def address(text: str) -> str:
    """The type of the address of a server, as far as a port; paths are for others to judge."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of a port, or of brackets
        good = False
    if not good:
        raise argparse.ArgumentTypeError(f"must be like https://study.example.org or http://127.0.0.1:8000, found {text!r}")
    return text


def days(text: str) -> int:
    """The type of --days: at most a hundred years."""
    found = positive(text)
    if found > MOST_DAYS:
        raise argparse.ArgumentTypeError(f"must be at most {MOST_DAYS:,} days, found {text!r}")
    return found


def size(text: str) -> tuple[int, int]:
    """The type of --size."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 8 <= int(width) <= 4096 and 8 <= int(height) <= 4096):
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT, each from 8 to 4096, found {text!r}")
    return int(width), int(height)
