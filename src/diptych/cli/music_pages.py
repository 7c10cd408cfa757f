"""Parts of `diptych music`: read engraved pages from outside, and build the data that teach it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any


def is_grid(path: Path) -> bool:
    """Whether a picture has the size of those that diptych draws on its own grid; all others are pages from outside."""
    from diptych.data.formats import read_pixels
    from diptych.music.layout import Layout

    if path.suffix.lower() == ".pdf":
        return False
    height, width, _ = read_pixels(path).shape
    layouts = [Layout(staves, space) for staves in (1, 2) for space in (4, 8)]
    return any(width == layout.width and height % layout.height == 0 for layout in layouts)


def read_free(args: argparse.Namespace) -> int:
    """Engraved pages to MIDI or a score."""
    from diptych.cli.console import console, notes
    from diptych.data.formats import write_pixels
    from diptych.errors import ConfigError
    from diptych.files import write_atomic
    from diptych.messages import counted
    from diptych.music.arrangement import arrange
    from diptych.music.free_reading import check_plausible, read_pages, show_pages, to_song
    from diptych.music.midi import midi_bytes
    from diptych.music.musicxml import to_musicxml
    from diptych.music.page_files import load_pages
    from diptych.music.page_geometry import SPACE
    from diptych.music.reading import MIN_CONFIDENCE
    from diptych.music.score_pages import write_score
    from diptych.music.translators import builtin_symbols

    if args.clef:
        raise ConfigError("--clef is for sheets on diptych's own grid; an engraved page shows its clefs")
    pages = load_pages(args.sheet)
    translate = cache(lambda: symbols_of(args.snapshot or builtin_symbols(), args.device))  # loaded where there are staves
    found = read_pages(args.sheet, pages, lambda gray: translate()(gray))
    reading = found.joined()
    if args.report:
        write_pixels(args.report, show_pages(found))
    count = len(reading.confidences)
    notes.print(f"{args.sheet}: read as an engraved page: {count} system{'s' if count != 1 else ''}", soft_wrap=True)
    for number in found.without_staves:
        notes.print(f"page {number} shows no staves and is left out", soft_wrap=True)
    for number in found.inverted:
        notes.print(f"page {number} is white on black, and was read as its negative", soft_wrap=True)
    for number, space in found.small:
        what = f"page {number} has a low resolution, {space:.1f} pixels from one staff line to the next, and may be misread"
        notes.print(f"{what}; give {SPACE} or more, as scans at 100 dpi have", soft_wrap=True)
    check_plausible(args.sheet, reading)
    for number, confidence in enumerate(reading.confidences, 1):
        if confidence < MIN_CONFIDENCE:
            notes.print(f"system {number}: confidence {confidence:.2f}; compare what was read with the page", soft_wrap=True)
    song = to_song(reading)
    if args.out.suffix.lower() in (".mid", ".midi"):
        write_atomic(args.out, midi_bytes(song, args.tempo))
    else:
        write_score(args.out, to_musicxml(arrange(replace(song, bpm=args.tempo))))
    what = f"confidence {reading.confidence:.2f}"
    read = f"{counted(len(reading.notes), 'note')} in {counted(len(reading.measures), 'measure')}"
    console.print(f"{read}, {what}, into {args.out}", soft_wrap=True)
    return 0


def symbols_of(path: Path, device: str) -> Any:
    """Return a snapshot's function from gray pages to maps of symbols. Raises ConfigError for a snapshot of another kind."""
    from diptych.errors import ConfigError
    from diptych.inference.translator import Translator
    from diptych.music.symbols import SYMBOLS

    translate = Translator.load(path, device=device, mode="eval")
    if translate.source.channels != 1 or translate.target.channels != len(SYMBOLS):
        raise ConfigError(
            f"{path}: translates {translate.source.channels} channel(s) to {translate.target.channels}; an engraved page is read "
            f"by a snapshot that `diptych train music-symbols` wrote, of 1 to {len(SYMBOLS)}"
        )
    return lambda gray: translate.pixels(gray[..., None])[..., 0]


def symbols(args: argparse.Namespace) -> int:
    """Build pages and the maps of their symbols."""
    from diptych.cli.console import bar, console
    from diptych.messages import counted
    from diptych.music.symbol_pages import build_symbols

    with bar("works") as progress:
        task = progress.add_task("engraving", total=None, note="")
        number, problems = build_symbols(
            args.sources,
            args.out,
            most=args.pages,
            seed=args.seed,
            jobs=args.jobs,
            fonts=args.fonts,
            watch=lambda done, total, name: progress.update(task, completed=done, total=total, note=name),
        )
    for problem in problems:
        console.print(f"skipped: {problem}", soft_wrap=True)
    failed = f", {counted(len(problems), 'score')} skipped" if problems else ""
    console.print(f"{counted(number, 'page')} and their symbols in {args.out}{failed}", soft_wrap=True)
    return 0
