"""diptych music: MIDI and sheet music as two domains: build data, convert, draw sheets, read them, and score."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diptych.cli import command_parser, count, names, positive
from diptych.cli.music_building import build
from diptych.cli.music_pages import symbols
from diptych.cli.own_files import out_file, out_folder
from diptych.cli.sheet_reading import LAYOUTS, read, roll2midi, translator

if TYPE_CHECKING:  # the real imports wait until the command runs, so that --help is instant
    from diptych.music.layout import Layout
    from diptych.music.notes import System

EXAMPLES = """\
  diptych music build scores/ --out voice                    rolls and sheets of every single staff
  diptych train music-read voice/sheet voice/roll            a reader of sheets
  diptych train music-draw voice/roll voice/sheet            a drawer of sheets
  diptych music score voice --snapshot runs/music-read/snapshot.safetensors
  diptych music sheet song.mid --out song.pdf
  diptych music read page.pdf --out page.musicxml            an engraved page, or a sheet that diptych drew
  diptych music midi2roll song.mid --out roll.png            and roll2midi back
`diptych music ACTION --help` shows the options of one action."""
BUILTIN = Path("builtin")  # in place of a snapshot: the translator that comes with diptych
FONTS = ("Leipzig", "Bravura", "Leland", "Petaluma", "Gootville")  # that verovio brings


def bpm(text: str) -> float:
    """A tempo from the command line."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"must be a number of quarters per minute from 1 to 1000, found {text!r}")
    return value


def units(text: str) -> Fraction:
    """A number of units of a meter from the command line, such as 1, 1.5 or 3/2."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"must be a number of units of the meter, such as 1 or 3/2, found {text!r}") from None


def parser() -> argparse.ArgumentParser:
    """The actions and their options."""
    p = command_parser("music", EXAMPLES, "diptych music ACTION ... [options]")
    actions = p.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(p), prog="diptych music")

    def action(name: str, help: str, function: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        a = actions.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.", allow_abbrev=False)
        a.set_defaults(run=function)
        return a

    b = action("build", "build a data set of engraved sheets and piano rolls that line up", build)
    b.add_argument(
        "sources", metavar="SRC", nargs="+", help=".mxl, .musicxml, .xml, .abc or .mei scores, folders of them, or music21:bach"
    )
    b.add_argument(
        "--out", type=out_folder, required=True, metavar="DIR", help="the folder of the data set, to write or to resume"
    )
    b.add_argument("--layout", choices=LAYOUTS, default="staff", help="single staves, or a piano's two (default: staff)")
    b.add_argument("--space", type=int, choices=(4, 8), default=4, help="pixels between two staff lines (default: 4)")
    b.add_argument(
        "--test", type=float, default=0.15, metavar="SHARE", help="share of works for testing, 1 for all (default: 0.15)"
    )
    b.add_argument("--val", type=float, metavar="SHARE", help="share of works for validation (default: 0.05, 0 with --test 1)")
    b.add_argument("--most", type=count, default=0, metavar="N", help="take at most N systems of a work (default: 0, all)")
    b.add_argument("--seed", type=count, default=0, help="random seed that splits the works by composer (default: 0)")
    b.add_argument("--font", choices=FONTS, default="Leipzig", help="the music font (default: Leipzig)")
    b.add_argument("--varied", action="store_true", help="print each part in a clef, a font, line weights and a size of its own")
    b.add_argument("--free", action="store_true", help="build for unpaired training: the two sides are of different composers")
    b.add_argument("--signs", action="store_true", help="draw rolls of signs, which are learned unpaired, one system a page")
    b.add_argument("--pairs", type=count, default=0, metavar="N", help="with --free, works on both sides (default: 0)")
    b.add_argument(
        "--clef",
        default="",
        metavar="CLEF",
        help="keep only systems with this clef in the first staff, such as G2 (default: all)",
    )
    b.add_argument("--jobs", type=positive, default=2, metavar="N", help="number of processes (default: 2)")

    y = action("symbols", "build a data set of freely engraved pages and maps of their symbols", symbols)
    y.add_argument("sources", metavar="SRC", nargs="+", help="scores or folders of them, as for build")
    y.add_argument("--out", type=out_folder, required=True, metavar="DIR", help="the folder of the data set to write")
    y.add_argument("--pages", type=positive, default=2000, metavar="N", help="the number of pages (default: 2000)")
    y.add_argument("--seed", type=count, default=0, help="random seed of the split by composer and of the pages (default: 0)")
    y.add_argument("--jobs", type=positive, default=2, metavar="N", help="number of processes (default: 2)")
    y.add_argument(
        "--fonts", nargs="+", choices=FONTS, default=(), help="fonts of music; one that is named twice has twice the pages"
    )

    m = action("midi2roll", "draw a MIDI file as a roll", midi2roll)
    m.add_argument("midi", metavar="FILE.mid", type=Path)
    r = action("roll2midi", "read a roll back into a MIDI file", roll2midi)
    r.add_argument("roll", metavar="FILE.png", type=Path)
    s = action("sheet", "engrave a MIDI file as sheet music, or draw it through a translator", sheet)
    s.add_argument("midi", metavar="FILE.mid", type=Path)
    e = action("read", "read a page of printed music into a MIDI file or a score, through a translator", read)
    e.add_argument("sheet", metavar="PAGE.png|pdf", type=Path)
    e.add_argument("--clef", default="", metavar="CLEF", help="of a sheet on diptych's own grid (default: as it is read)")
    e.add_argument("--report", type=Path, metavar="FILE.png", help="show what was read: the page with a frame around every head")
    for a in (r, e):
        a.add_argument(
            "--tempo", type=bpm, metavar="BPM", help="quarters per minute, which no picture shows (default: none, so 120)"
        )
    scores = "FILE.mid|musicxml|pdf"
    for a, what in ((m, "FILE.png"), (r, scores), (s, "FILE.pdf|png|svg|musicxml"), (e, scores)):
        a.add_argument("--out", type=out_file, required=True, metavar=what, help="what to write")
        layouts, default = (tuple(LAYOUTS), "staff") if a is m else (("auto", *LAYOUTS), "auto")
        a.add_argument("--layout", choices=layouts, default=default, help=f"single staves, or a piano's two (default: {default})")
    s.add_argument(
        "--engine",
        choices=("verovio", "network"),
        help="engrave a score, or let a translator draw the page (default: verovio, or network with --snapshot)",
    )
    s.add_argument(
        "--pickup",
        type=units,
        metavar="UNITS",
        help="begin with a pickup of so many units of the meter, such as 1 for a quarter in 4/4 (default: that of the file)",
    )
    s.add_argument("--title", metavar="TEXT", help="what stands above a score (default: the title in the file, or its name)")
    for a in (m, s):
        a.add_argument(
            "--tracks", type=names, default=[], metavar="LIST", help="numbers or names, such as 1,3 or Flute (default: all)"
        )
        a.add_argument("--space", type=int, choices=(4, 8), help="pixels a staff space (default: 4)")
        a.add_argument("--signs", action="store_true", help="take a roll of signs, for translators trained without pairs")

    c = action("score", "score a reader or a drawer of sheets, note by note, on works it never saw", score)
    c.add_argument("data", metavar="DATA", type=Path, help="a data set that `diptych music build` wrote")
    c.add_argument("--task", choices=("read", "draw"), default="read", help="from sheets to notes or back (default: read)")
    c.add_argument("--baseline", choices=("blank", "copy", "nearest"), help="score a baseline instead of a snapshot")
    c.add_argument("--pred", type=Path, metavar="DIR", help="score finished pages, named like those of the data")
    c.add_argument("--reader", type=Path, metavar="SNAPSHOT", help="with --task draw, the reader of drawn sheets, or builtin")
    c.add_argument("--split", choices=("test", "val", "train"), default="test", help="the works to score (default: test)")
    c.add_argument("--most", type=count, default=0, metavar="N", help="score at most N systems (default: 0, all)")
    c.add_argument("--threshold", type=float, metavar="P", help="least certainty of a note (default: 8/9; signs: 1/2)")
    c.add_argument("--report", type=Path, metavar="FILE.html", help="write a page of examples to see and hear")
    c.add_argument("--examples", type=count, default=12, metavar="N", help="number of examples on that page (default: 12)")
    c.add_argument("--json", type=Path, metavar="FILE", help="also write the scores to this file")
    for a in (s, e, c):
        own = ", or builtin" if a is c else " (default: the one that comes with diptych)"
        a.add_argument("--snapshot", type=Path, metavar="FILE", help=f"the trained translator{own}")
        a.add_argument("--device", default="auto", help="where to compute: auto, cpu, cuda, cuda:N or mps (default: auto)")
    return p


def main(argv: Sequence[str]) -> int:
    """Run one action."""
    args = parser().parse_args(argv)
    from diptych.cli.console import show_notes
    from diptych.cli.own_files import PAGE, refuse_existing, refuse_foreign, refuse_foreign_folder
    from diptych.files import refuse_overwrite

    show_notes()
    inputs = [getattr(args, name, None) for name in ("midi", "roll", "sheet", "snapshot", "reader")]
    for name in ("out", "report", "json"):
        refuse_overwrite(getattr(args, name, None), *inputs)
    if args.action == "build":
        refuse_foreign_folder(args.out, "build.json")
    elif args.action != "score":
        refuse_existing(args.out)
        if getattr(args, "report", None):
            refuse_existing(args.report)
    else:
        refuse_foreign(args.report, PAGE)
        refuse_foreign(args.json, (b'"value"', b'"low"'))
    return int(args.run(args))


def midi2roll(args: argparse.Namespace) -> int:
    """MIDI to a picture."""
    from diptych.data.formats import write_pixels
    from diptych.music.pages import stacked

    layout = layout_of(args)
    found = systems_of(args, layout)
    write_pixels(args.out, stacked(found, layout))
    say_written(found, layout, args.out)
    return 0


def sheet(args: argparse.Namespace) -> int:
    """MIDI to sheet music."""
    from diptych.data.formats import write_pixels
    from diptych.errors import ConfigError

    if args.engine == "verovio" or not (args.engine or args.snapshot):
        from diptych.cli.engraving import engrave

        if vain := next((name for name in ("space", "signs") if getattr(args, name)), ""):
            raise ConfigError(f"--{vain} is for sheets that a translator draws; add --engine network, or leave it out")
        return engrave(args)
    from diptych.music.pages import by_page, stacked, write_pdf
    from diptych.music.translators import builtin

    for name in ("pickup", "title"):
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} is for engraved scores; leave out --engine network and --snapshot")
    if args.signs and not args.snapshot:
        raise ConfigError("--signs needs --snapshot: what comes with diptych draws from rolls with a bar for each note")
    if args.out.suffix.lower() not in (".png", ".pdf"):
        raise ConfigError(f"{args.out}: a sheet is written as .png or .pdf")
    layout = layout_of(args)
    translate = translator(args.snapshot or builtin("draw", layout), args.device, "draw")
    found = systems_of(args, layout)
    picture = by_page(stacked(found, layout), layout, translate)
    if args.out.suffix.lower() == ".pdf":
        write_pdf(args.out, picture, layout)
    else:
        write_pixels(args.out, picture)
    say_written(found, layout, args.out)
    return 0


def score(args: argparse.Namespace) -> int:
    """Print note-level scores with their intervals."""
    from diptych.cli.console import bar, console
    from diptych.data.formats import read_pixels
    from diptych.errors import ConfigError
    from diptych.evaluation.results import finite
    from diptych.music.dataset import MusicDataset
    from diptych.music.evaluate import baseline, evaluate
    from diptych.music.listening import write_page
    from diptych.music.translators import builtin
    from diptych.run import write_json

    given = [name for name in ("snapshot", "baseline", "pred") if getattr(args, name)]
    if len(given) != 1:
        what = " and ".join(given) or "none; --snapshot builtin scores the translator that comes with diptych"
        raise ConfigError(f"score takes one of --snapshot, --baseline and --pred, found {what}")
    if args.reader and args.task == "read":
        raise ConfigError("--reader reads what was drawn; leave it out, or score with --task draw")
    built = MusicDataset.load(args.data)

    def named(snapshot: Path, task: Literal["read", "draw"]) -> Path:
        return builtin(task, built.layout) if snapshot == BUILTIN else snapshot

    if args.baseline:
        translate: Any = baseline(args.baseline, built, args.task)
    elif args.pred:
        pages = iter(built.pages(args.split, args.most))
        translate = lambda _: read_pixels(args.pred / next(pages))  # noqa: E731
    else:
        translate = translator(named(args.snapshot, args.task), args.device, args.task)
    reader = translator(named(args.reader, "read"), args.device, "read") if args.reader else None
    with bar("pages") as progress:
        task = progress.add_task("scoring", total=None, note="")
        found = evaluate(
            built,
            args.task,
            translate,
            reader=reader,
            split=args.split,
            most=args.most,
            threshold=args.threshold,
            by_system=bool(args.baseline),
            num_examples=args.examples if args.report else 0,
            watch=lambda done, total: progress.update(task, completed=done, total=total),
        )
    scores = [(TITLES.get(name, name.replace("f1", "F1 in")), estimate) for name, estimate in found.scores().items()]
    for name, e in scores:
        interval = "" if math.isnan(e.low) else f"  [{e.low:.3f}, {e.high:.3f}]"  # none of a single work
        console.print(f"{name:<26}{e.value:.3f}{interval}", soft_wrap=True)
    notes = sum(c.reference for c in found.notes.values()) or sum(int(row[2]) for row in found.heads.values())
    who = f" by {len(found.notes or found.heads):,} composers" if found.unit == "composer" else ""
    facts = f"{notes:,} notes of {len(found.works):,} works{who}; 95 % intervals by {found.unit}"
    console.print(facts, soft_wrap=True)
    if args.report:
        title = f"{'Sheets read' if args.task == 'read' else 'Sheets drawn'}: {args.data.resolve().name}"
        origin = f"{args.split} of the data, {args.snapshot or args.baseline or args.pred}"
        write_page(args.report, title, f"{facts}; {origin}", scores, found.examples)
        console.print(f"report in {args.report}", soft_wrap=True)
    if args.json:
        write_json(args.json, finite({name: vars(estimate) for name, estimate in found.scores().items()}))
    return 0


TITLES = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "f1_offsets": "F1 with note ends",
    "recall_out_of_key": "recall out of key",
    "recall_in_key": "recall in key",
    "perfect": "systems without an error",
    "heads_f1": "F1 of note heads",
}


def layout_of(args: argparse.Namespace) -> Layout:
    """The geometry that the options ask for."""
    from diptych.music.layout import Layout

    return Layout(LAYOUTS.get(args.layout, 1), args.space or 4, args.signs)  # a translator draws single staves unless asked


def say_written(found: Sequence[System], layout: Layout, out: Path) -> None:
    """Say how many notes are on how many systems."""
    from diptych.cli.console import console
    from diptych.music.staves import to_song

    notes, systems = (count_of(number, what) for number, what in ((len(to_song(found).notes), "note"), (len(found), "system")))
    console.print(f"{notes} on {systems} of {'one staff' if layout.staves == 1 else 'two staves'} into {out}", soft_wrap=True)


def systems_of(args: argparse.Namespace, layout: Layout) -> list[System]:
    """A MIDI file's systems; what was moved to the grid, ends early, is left out or has fewer staves than in a score is said."""
    from diptych.cli.console import notes
    from diptych.cli.engraving import read_song, say_performance
    from diptych.errors import DataError
    from diptych.music.arrangement import count_staves
    from diptych.music.staves import count_changed, to_systems

    song = read_song(args)
    say_performance(song)
    try:
        found = to_systems(song, layout)
    except DataError as error:
        raise DataError(f"{args.midi}: {error}") from error
    if layout.signs:
        notes.print("a roll of signs has no velocities, no beats and no ends within chords", soft_wrap=True)
    total = count_of(len(song.notes), "note")
    shortened, left_out = count_changed(song, found)
    if shortened:
        notes.print(f"{shortened:,} of {total} end earlier, for the next has their step", soft_wrap=True)
    if left_out:
        notes.print(
            f"{left_out:,} of {total} left out, for another of their pitch begins with them on their staff", soft_wrap=True
        )
    if (staves := count_staves(song)) > layout.staves:
        here = "one staff; --layout grand has two" if layout.staves == 1 else "two"
        notes.print(f"what a score has on {staves:,} staves stands here on {here}", soft_wrap=True)
    return found


def count_of(number: int, what: str) -> str:
    """A number of things in words, such as 1 note or 2 notes."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
