"""diptych study: ask people which pictures are fake, in a browser, by the protocol of the papers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.cli import command_parser, count, positive, seed
from diptych.errors import ConfigError

if TYPE_CHECKING:  # the real imports wait until the command runs, so that --help is instant
    from diptych.study.results import Results

EXAMPLES = """\
  diptych study new s/ --real testB/ --model cyclegan=out1/ --model cut=out2/
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

    n = action("new", "make a study from folders of real pictures and of finished outputs", new)
    n.add_argument("--real", type=Path, required=True, metavar="DIR", help="the folder of real pictures")
    n.add_argument("--model", action="append", type=named_folder, required=True, metavar="NAME=DIR", help="a method's outputs")
    n.add_argument(
        "--protocol", choices=("pairs", "single"), default="pairs", help="a real and a fake picture, or one (default: pairs)"
    )
    n.add_argument(
        "--question", choices=("fake", "real"), default="fake", help="which one of a pair is asked for (default: fake)"
    )
    n.add_argument("--same-input", action="store_true", help="pair a fake picture with the real one of its name")
    n.add_argument("--practice", type=count, default=10, metavar="N", help="practice trials, with feedback (default: 10)")
    n.add_argument("--trials", type=positive, default=40, metavar="N", help="trials that count (default: 40)")
    n.add_argument("--catch", type=count, default=0, metavar="N", help="obvious trials, to find who does not look (default: 0)")
    n.add_argument("--show-ms", type=positive, default=1000, metavar="MS", help="how long each picture is shown (default: 1000)")
    n.add_argument("--title", default="Real or fake?", help="the heading of the page (default: Real or fake?)")
    n.add_argument(
        "--languages",
        type=lambda t: t.split(","),
        default=["en", "ko", "de"],
        metavar="LIST",
        help="some of en,ko,de (default: all)",
    )
    n.add_argument(
        "--consent", action="append", default=[], type=named_folder, metavar="LANG=FILE", help="your own text to agree to"
    )
    n.add_argument("--invited-only", action="store_true", help="ask for a code that `diptych study codes` made")
    n.add_argument("--size", type=size, metavar="WxH", help="resize all pictures to this size")

    s = action("serve", "serve a study to participants and to its owner, until Ctrl-C", serve)
    s.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: 127.0.0.1, this machine alone)")
    s.add_argument("--port", type=positive, default=8000, help="the port (default: 8000)")
    s.add_argument("--public-url", metavar="URL", help="the address that participants see, behind a reverse proxy")

    r = action("results", "print how often each method fooled people, with intervals", results)
    r.add_argument("--out", type=Path, metavar="FILE.html", help="write a page with the best and worst pictures")
    r.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    r.add_argument("--csv", type=Path, metavar="FILE", help="write every answer, pseudonymous")
    r.add_argument("--strict", action="store_true", help="do not count marked trials (wrong display time, begun twice ...)")
    r.add_argument("--simulated", action="store_true", help="count simulated participants instead of people")
    r.add_argument("--width", type=float, default=0.03, metavar="W", help="interval of +-W to plan for (default: 0.03)")

    w = action("plan", "compute how many participants a study needs", plan, folder=False)
    w.add_argument("--share", type=float, required=True, metavar="P", help="the share of fooled answers that you expect")
    w.add_argument("--other", type=float, metavar="P", help="that of a second method, to tell the two apart")
    w.add_argument(
        "--trials", type=positive, default=40, metavar="N", help="trials that count for each participant (default: 40)"
    )
    w.add_argument("--spread", type=float, default=0.12, metavar="S", help="standard deviation between people (default: 0.12)")
    w.add_argument("--width", type=float, default=0.03, metavar="W", help="interval of +-W (default: 0.03)")
    w.add_argument("--power", type=float, default=0.8, metavar="P", help="probability to find a difference (default: 0.8)")

    m = action("simulate", "let simulated participants of known ability take part in a study that is being served", simulate)
    m.add_argument(
        "--fooled", action="append", type=named_share, required=True, metavar="NAME=P", help="a method's share of fooled answers"
    )
    m.add_argument("--participants", type=positive, default=10, metavar="N", help="how many take part (default: 10)")
    m.add_argument("--spread", type=float, default=0.0, metavar="S", help="standard deviation between them (default: 0)")
    m.add_argument("--workers", type=positive, default=4, metavar="N", help="how many take part at once (default: 4)")
    m.add_argument("--url", default="http://127.0.0.1:8000", help="where it is served (default: http://127.0.0.1:8000)")
    m.add_argument("--seed", type=seed, default=0, help="random seed (default: 0)")

    c = action("codes", "print invitation codes, each for one participant", codes)
    c.add_argument("--number", type=positive, default=1, metavar="N", help="how many (default: 1)")
    c.add_argument("--days", type=positive, default=60, metavar="N", help="how long they are valid (default: 60)")
    e = action("erase", "delete a participant's answers", erase)
    e.add_argument("code", metavar="CODE", help="the code on the participant's last page")
    b = action("backup", "copy all answers into one file, also while people take part", backup)
    b.add_argument("out", metavar="FILE", type=Path, help="the file to write")
    action("token", "make a new token for the owner, which replaces the former one", token)
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


def size(text: str) -> tuple[int, int]:
    """The type of --size."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 8 <= int(width) <= 4096 and 8 <= int(height) <= 4096):
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT, each from 8 to 4096, found {text!r}")
    return int(width), int(height)


def once(given: Sequence[tuple[str, Path]], flag: str) -> dict[str, Path]:
    """NAME=PATH options as a mapping. Raises ConfigError when a name is given twice."""
    if len(named := dict(given)) < len(given):
        raise ConfigError(f"{flag}: a name is given twice; give each its own")
    return named


def new(args: argparse.Namespace) -> int:
    """Make a study."""
    from diptych.cli.console import console, notes
    from diptych.study.make import new_study
    from diptych.study.protocol import Protocol

    names = ("question", "practice", "trials", "catch", "show_ms", "same_input")
    protocol = Protocol(args.protocol, **{name: getattr(args, name) for name in names})
    try:
        consent = {language: path.read_text(encoding="utf-8") for language, path in once(args.consent, "--consent").items()}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--consent: cannot be read ({error})") from error
    study, owner, warnings = new_study(
        args.folder,
        args.real,
        once(args.model, "--model"),
        protocol,
        title=args.title,
        languages=args.languages,
        consent=consent,
        invited_only=args.invited_only,
        size=args.size,
    )
    for warning in warnings:
        notes.print(f"warning: {warning}", soft_wrap=True)
    numbers = ", ".join(f"{len(study.named(source))} of {source}" for source in ("real", *study.methods))
    console.print(f"{args.folder}: pictures: {numbers}, {study.width}x{study.height}", soft_wrap=True)
    console.print(f"owner's token (kept nowhere else): {owner}", soft_wrap=True)
    console.print(f"next: diptych study serve {args.folder}", soft_wrap=True)
    return 0


def serve(args: argparse.Namespace) -> int:
    """Serve it."""
    from diptych.cli.console import notes
    from diptych.study.serve import serve as run

    def started(url: str) -> None:
        notes.print(
            f"participants: {url}\nowner: {url}/owner\nstop with Ctrl-C; every acknowledged answer is on the disk", soft_wrap=True
        )

    run(args.folder, host=args.host, port=args.port, public_url=args.public_url, started=started)
    return 0


def results(args: argparse.Namespace) -> int:
    """Print the table, and write what was asked for."""
    from diptych.cli.console import console, notes
    from diptych.files import write_atomic
    from diptych.pages.frame import write_page
    from diptych.run import write_json
    from diptych.study.export import answers_csv
    from diptych.study.folder import Study
    from diptych.study.page import page, percent
    from diptych.study.results import MARKS, results_of
    from diptych.study.store import Store

    study = Study.load(args.folder)
    store = Store(args.folder)
    people = store.participants()
    store.close()
    if args.csv:
        write_atomic(args.csv, answers_csv(study, people).encode("utf-8", "replace"))
        args.csv.chmod(0o600)
    found = results_of(study, people, strict=args.strict, simulated=args.simulated, width=args.width)
    if args.json:
        write_json(args.json, found.to_json())
    if args.out:
        write_page(args.out, page(study, found))
    print_table(found)
    for c in found.comparisons:
        console.print(f"{c.one} - {c.other}: {percent(c.difference)}, p = {c.p:.2g}, after Holm {c.p_holm:.2g}", soft_wrap=True)
    for why, number in found.left_out.items():
        notes.print(f"left out: {number} ({why})", soft_wrap=True)
    for name, number in found.marked.items():
        notes.print(f"marked{', not counted' if args.strict else ''}: {number} trials ({MARKS[name]})", soft_wrap=True)
    return 0


def print_table(found: Results) -> None:
    """Print the papers' table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from diptych.cli.console import console
    from diptych.study.page import table

    titles = {
        "method": "method",
        "fooled": "fooled",
        "error": "+- error",
        "interval": "95 % interval",
        "doubted": "real called fake",
    }
    titles |= {"participants": "people", "trials": "trials", "more": f"more for +-{100 * found.width:g}%"}
    if found.protocol["kind"] == "pairs":
        del titles["doubted"]
    printed = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, title in titles.items():
        printed.add_column(title, justify="left" if name == "method" else "right", no_wrap=name != "method")
    for row in table(found):
        printed.add_row(*(str(row[name]) for name in titles))
    wide = console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=120)
    wide.print(printed)


def plan(args: argparse.Namespace) -> int:
    """Print how many participants are needed."""
    from diptych.cli.console import console
    from diptych.study.planning import deviation, needed_for_difference, needed_for_width

    needed = needed_for_width(args.width, deviation(args.share, args.trials, args.spread))
    console.print(f"{needed} participants for {100 * args.share:g} % +- {100 * args.width:g} % with {args.trials} trials each")
    if args.other is not None:
        each = needed_for_difference(args.share, args.other, args.trials, args.spread, args.power)
        shares = f"{100 * args.share:g} % from {100 * args.other:g} %"
        console.print(f"{each} participants for each method, to tell {shares} with probability {args.power:g}")
    return 0


def simulate(args: argparse.Namespace) -> int:
    """Let simulated participants take part."""
    from diptych.cli.console import bar, notes
    from diptych.study.folder import Secrets, Study
    from diptych.study.simulate import simulate as run
    from diptych.study.store import Store

    study, keys = Study.load(args.folder), Secrets.load(args.folder)
    store = Store(args.folder)
    with bar("participants") as progress:
        task = progress.add_task("taking part", total=args.participants, note="")
        run(
            study,
            keys,
            store,
            args.url.rstrip("/"),
            args.participants,
            dict(args.fooled),
            spread=args.spread,
            seed=args.seed,
            workers=args.workers,
            watch=lambda done: progress.update(task, completed=done),
        )
    store.close()
    notes.print(f"{args.participants} took part; diptych study results {args.folder} --simulated", soft_wrap=True)
    return 0


def codes(args: argparse.Namespace) -> int:
    """Print invitation codes."""
    from diptych.cli.console import console
    from diptych.study.folder import Secrets, Study
    from diptych.study.tokens import new_code

    if not Study.load(args.folder).invited_only:
        raise ConfigError(f"{args.folder}: is open to everybody; make it with --invited-only to use codes")
    key = Secrets.load(args.folder).key
    for _ in range(args.number):
        console.print(new_code(key, args.days))
    return 0


def erase(args: argparse.Namespace) -> int:
    """Delete a participant."""
    from diptych.cli.console import notes
    from diptych.study.folder import Study
    from diptych.study.store import Store

    Study.load(args.folder)
    store = Store(args.folder)
    store.erase(args.code.strip().lower())
    store.close()
    notes.print("erased; copies and exports made before still hold these answers")
    return 0


def backup(args: argparse.Namespace) -> int:
    """Copy the database."""
    from diptych.study.folder import Study
    from diptych.study.store import Store

    Study.load(args.folder)
    store = Store(args.folder)
    store.backup(args.out)
    store.close()
    return 0


def token(args: argparse.Namespace) -> int:
    """Replace the owner's token."""
    from diptych.cli.console import console
    from diptych.study.folder import Study, new_token

    Study.load(args.folder)
    console.print(f"owner's token (kept nowhere else): {new_token(args.folder)}; restart the server", soft_wrap=True)
    return 0
