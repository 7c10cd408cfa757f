"""What the actions of diptych study do: one library call each, and what is printed of it."""

from __future__ import annotations

import argparse
import math
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from diptych.errors import ConfigError, StorageError
from diptych.messages import show

if TYPE_CHECKING:  # the real imports wait until an action runs, so that --help is instant
    from rich.progress import Progress, TaskID

    from diptych.inference.batch import Outcome
    from diptych.study.results import Results


T = TypeVar("T")


def once(given: Sequence[tuple[str, T]], flag: str) -> dict[str, T]:
    """NAME=VALUE options as a mapping. Raises ConfigError when a name is given twice."""
    if len(named := dict(given)) < len(given):
        raise ConfigError(f"{flag}: a name is given twice; give each its own")
    return named


def new(args: argparse.Namespace) -> int:
    """Make a study."""
    from diptych.cli.console import console, notes
    from diptych.files import read_bounded
    from diptych.study.make import check_words, new_study
    from diptych.study.protocol import Protocol

    names = ("question", "practice", "trials", "catch", "show_ms", "same_input")
    protocol = Protocol(args.protocol, **{name: getattr(args, name) for name in names}, inputs=args.show_inputs)
    if args.show_inputs and not args.inputs:
        raise ConfigError("--show-inputs: needs the inputs; give --inputs DIR")
    try:
        consent = {language: read_bounded(path, 10**6).decode() for language, path in once(args.consent, "--consent").items()}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--consent: cannot be read ({error})") from error
    models = once(args.model, "--model")
    check_words(args.folder, args.real, models, protocol, args.languages, consent)
    with tempfile.TemporaryDirectory() as scratch:
        study, owner, warnings = new_study(
            args.folder,
            args.real,
            finished(models, args, Path(scratch)),
            protocol,
            inputs=args.inputs,
            title=args.title,
            languages=args.languages,
            consent=consent,
            invited_only=args.invited_only,
            size=args.size,
            database=args.database,
        )
    for warning in warnings:
        notes.print(f"warning: {warning}", soft_wrap=True)
    sources = [source for source in ("real", *study.methods) if study.named(source)]
    numbers = ", ".join(f"{len(study.named(source))} of {source}" for source in sources)
    console.print(f"{args.folder}: pictures: {numbers}, {study.width}x{study.height}", soft_wrap=True)
    console.print(f"owner's token (kept nowhere else): {owner}", soft_wrap=True)
    console.print(f"next: diptych study serve {shlex.quote(str(args.folder))}", soft_wrap=True)
    return 0


def finished(models: Mapping[str, Path], args: argparse.Namespace, scratch: Path) -> dict[str, Path]:
    """The folder of each method's outputs; runs and snapshots translate the inputs into folders in ``scratch``."""
    from diptych.cli.console import bar
    from diptych.cli.snapshots import chosen_snapshot, is_snapshot
    from diptych.study.sources import files_of, translated
    from diptych.zoo import resolve

    folders = dict(models)
    for place, (name, path) in enumerate(models.items()):
        found = resolve(path)
        if not is_snapshot(found) and (found.is_dir() and not (found / "recipe.json").exists()):
            continue
        if not found.exists():
            raise ConfigError(f"--model {name}={show(path)}: no such folder, run or snapshot; check the path")
        snapshot = chosen_snapshot(found, "study")
        if not args.inputs:
            raise ConfigError(f"--model {name}={path}: translates pictures; give the folder of them as --inputs DIR")
        out = scratch / str(place)
        with bar(f"images by {name}") as progress:
            task = progress.add_task("translating", total=len(files_of(args.inputs)), note="")

            def watch(outcome: Outcome, progress: Progress = progress, task: TaskID = task) -> None:
                progress.advance(task)

            folders[name] = translated(snapshot, args.inputs, out, direction=args.direction, device=args.device, watch=watch)
    return folders


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
    from diptych.cli.own_files import refuse_foreign, refuse_same_files
    from diptych.files import write_atomic
    from diptych.pages.frame import write_page
    from diptych.run import write_json
    from diptych.study.export import COLUMNS, answers_csv
    from diptych.study.folder import Study
    from diptych.study.page import page, percent
    from diptych.study.results import MARKS, results_of
    from diptych.study.store import Store

    study = Study.load(args.folder)
    refuse_same_files({"--out": args.out, "--json": args.json, "--csv": args.csv})
    refuse_foreign(args.csv, (",".join(COLUMNS).encode(),))
    refuse_foreign(args.json, (b'"left_out"', b'"marked"'))
    refuse_foreign(args.out, (b"Perceptual study", b"<html"))
    store = Store(args.folder)
    people = store.participants()
    store.close()
    problems: list[StorageError] = []

    def write(file: Path | None, writer: Callable[[Path], None]) -> None:
        try:
            if file:
                writer(file)
        except StorageError as error:  # said at the end, so that one file that cannot be written does not cost the others
            problems.append(error)

    def write_csv(file: Path) -> None:
        write_atomic(file, answers_csv(study, people).encode("utf-8", "replace"))
        file.chmod(0o600)

    found = results_of(study, people, strict=args.strict, simulated=args.simulated, width=args.width)  # refused before writing
    write(args.csv, write_csv)
    write(args.json, lambda file: write_json(file, found.to_json()))
    write(args.out, lambda file: write_page(file, page(study, found)))
    print_table(found)
    for c in found.comparisons:
        console.print(f"{c.one} - {c.other}: {percent(c.difference)}, p = {c.p:.2g}, after Holm {c.p_holm:.2g}", soft_wrap=True)
    for why, number in found.left_out.items():
        notes.print(f"left out: {number} ({why})", soft_wrap=True)
    for name, number in found.marked.items():
        notes.print(f"marked{', not counted' if args.strict else ''}: {number} trials ({MARKS[name]})", soft_wrap=True)
    if problems:
        raise StorageError("; ".join(map(str, problems))) from problems[0]
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
    if found.compares:
        titles |= {"fooled": "preferred", "strength": "strength"}
    if found.protocol["kind"] != "single":
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
    from diptych.study.planning import POWER, deviation, needed_for_difference, needed_for_width

    for option, value in (("--share", args.share), ("--other", args.other)):
        if value is not None and not 0 < value < 1:
            raise ConfigError(f"{option} must be between 0 and 1, as people are to differ, found {value:g}")
    if args.power is not None and args.other is None:
        raise ConfigError("--power: is that of telling two methods apart; give the share of the second as --other")
    share, width = exact_percent(args.share), exact_percent(args.width)
    needed = needed_for_width(args.width, deviation(args.share, args.trials, args.spread))
    lines = [f"{needed:,} participants for {share} +- {width} with {args.trials} trials each"]
    if args.other is not None:
        power = POWER if args.power is None else args.power
        each = needed_for_difference(args.share, args.other, args.trials, args.spread, power)
        shares = f"{share} from {exact_percent(args.other)}"
        lines.append(f"{each:,} participants for each method, to tell {shares} with probability {power:g}")
    console.print("\n".join(lines), soft_wrap=True)  # when all is known to make sense
    return 0


def exact_percent(share: float) -> str:
    """A share in percent with all digits that were given, so that two that differ look different."""
    return f"{(100 * Decimal(str(share))).normalize():f} %"


def simulate(args: argparse.Namespace) -> int:
    """Let simulated participants take part."""
    from diptych.cli.console import bar, notes
    from diptych.cli.progress import duration
    from diptych.study.folder import Secrets, Study
    from diptych.study.simulate import check_shares
    from diptych.study.simulate import simulate as run
    from diptych.study.store import Store

    study, keys = Study.load(args.folder), Secrets.load(args.folder)
    fooled = once(args.fooled, "--fooled")
    check_shares(study, fooled, args.spread)
    store = Store(args.folder)
    one, rounds = study.protocol.seconds, math.ceil(args.participants / args.workers)
    notes.print(
        f"pictures are shown to each for {duration(one)} in all, as to people, and to {min(args.workers, args.participants)} at "
        f"once: this takes at least {duration(one * rounds)}",
        soft_wrap=True,
    )
    with bar("answers") as progress:
        task = progress.add_task("taking part", total=args.participants * study.protocol.length, note="")
        run(
            study,
            keys,
            store,
            args.url.rstrip("/"),
            args.participants,
            fooled,
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
    from diptych.cli.console import notes
    from diptych.study.folder import Study
    from diptych.study.store import Store

    Study.load(args.folder)
    store = Store(args.folder)
    store.backup(args.out)
    store.close()
    notes.print(f"the answers of now are in {args.out}", soft_wrap=True)
    return 0


def token(args: argparse.Namespace) -> int:
    """Replace the owner's token."""
    from diptych.cli.console import console
    from diptych.study.folder import Study, new_token

    Study.load(args.folder)
    console.print(f"owner's token (kept nowhere else): {new_token(args.folder)}; restart the server", soft_wrap=True)
    return 0
