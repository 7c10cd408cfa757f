"""Parts of `diptych music`: read a sheet through a translator, and write what was read as MIDI or as a score."""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # the door of the command line imports no library
    from diptych.music.layout import Layout

MIDI = (".mid", ".midi")
LAYOUTS: dict[Literal["staff", "grand"], int] = {"staff": 1, "grand": 2}


def read(args: argparse.Namespace) -> int:
    """Sheet music to MIDI, from diptych's own grid or from an engraved page: the picture's size tells which."""
    from diptych.cli.console import notes
    from diptych.cli.music_pages import is_grid, read_free
    from diptych.data.formats import read_pixels, write_pixels
    from diptych.errors import ConfigError, DataError
    from diptych.music.notes import CLEFS
    from diptych.music.pages import by_page, unstacked
    from diptych.music.reading import MIN_CONFIDENCE, certainty, check_legible, show_reading
    from diptych.music.translators import builtin

    check_out(args.out)
    if args.clef and args.clef not in CLEFS:
        raise ConfigError(f"--clef must be one of {', '.join(CLEFS)}, found {args.clef!r}")
    if is_midi(args.sheet):
        raise DataError(f"{args.sheet}: is a MIDI file, not a picture; `diptych music sheet` engraves it")
    if not is_grid(args.sheet):
        return read_free(args)
    pixels = read_pixels(args.sheet)
    layout = layout_seen(args, args.sheet, pixels, "sheet")
    staves = "single staves" if layout.staves == 1 else "two staves"
    notes.print(f"{args.sheet}: read as a sheet of {staves} on diptych's own grid", soft_wrap=True)
    rows = [pixels[top : top + layout.height, :, 0] for top in range(0, len(pixels), layout.height)]
    seen = check_legible(args.sheet, rows, layout)
    translate = translator(args.snapshot or builtin("read", layout), args.device, "read")
    roll = by_page(pixels, layout, translate)
    found = unstacked(roll, layout, clef=args.clef)
    if args.report:
        write_pixels(args.report, show_reading(rows, found, layout))
    for index, (system, legible) in enumerate(zip(found, seen, strict=False)):
        strength = certainty(roll[index * layout.height : (index + 1) * layout.height], system, layout)
        confidence = min(legible.confidence, float(strength.mean()) if len(strength) else 1.0)
        if confidence < MIN_CONFIDENCE:
            notes.print(f"system {index + 1}: confidence {confidence:.2f}; compare what was read with the sheet", soft_wrap=True)
    return write_song(args, roll, args.sheet, layout, args.clef)


def roll2midi(args: argparse.Namespace) -> int:
    """A roll to MIDI or to a score."""
    from diptych.data.formats import read_pixels
    from diptych.music.pages import check_roll

    check_out(args.out)
    picture = read_pixels(args.roll)
    layout = layout_seen(args, args.roll, picture, "roll")
    check_roll(args.roll, picture, layout)
    return write_song(args, picture, args.roll, layout)


def check_out(path: Path) -> None:
    """Refuse a suffix that nothing is written as, before anything is read. Raises ConfigError."""
    from diptych.errors import ConfigError
    from diptych.music.score_pages import SUFFIXES

    suffix = path.suffix.lower()
    if suffix not in (*MIDI, *SUFFIXES):
        kinds = f"{', '.join((*MIDI[:1], *SUFFIXES[:-1]))} or {SUFFIXES[-1]}"
        raise ConfigError(f"{path}: what is read is written as {kinds}, found {suffix or 'no suffix'}")


def is_midi(path: Path) -> bool:
    """Whether a file begins as MIDI files do."""
    from diptych.files import open_regular

    with suppress(OSError), open_regular(path) as file:
        return file.read(4) == b"MThd"
    return False


def layout_seen(args: argparse.Namespace, path: Path, pixels: Any, kind: Literal["sheet", "roll"]) -> Layout:
    """The layout that is asked for, or the one whose staff lines a picture shows."""
    from diptych.music.pages import layout_by_lines, layout_by_size

    if args.layout == "auto":
        return layout_by_lines(path, pixels, kind)
    return layout_by_size(path, pixels, LAYOUTS[args.layout], kind)


def write_song(args: argparse.Namespace, picture: Any, path: Path, layout: Layout, clef: str = "") -> int:
    """Read a roll and write it as MIDI, or as a score where the file's suffix asks for one."""
    from diptych.cli.console import console
    from diptych.errors import DataError
    from diptych.files import write_atomic
    from diptych.music.midi import midi_bytes
    from diptych.music.pages import unstacked
    from diptych.music.staves import to_song

    found = unstacked(picture, layout, clef=clef)
    if not found:
        raise DataError(f"{path}: shows no notes; a picture that diptych made holds them where its layout has them")
    song = to_song(found)
    if args.out.suffix.lower() in MIDI:
        write_atomic(args.out, midi_bytes(song, args.tempo))
    else:
        from diptych.music.arrangement import arrange
        from diptych.music.musicxml import to_musicxml
        from diptych.music.score_pages import write_score

        arranged = next(name for name, staves in LAYOUTS.items() if staves == layout.staves)
        write_score(args.out, to_musicxml(arrange(replace(song, bpm=args.tempo), arranged)))
    console.print(f"{len(song.notes):,} notes into {args.out}", soft_wrap=True)
    return 0


def translator(path: Path, device: str, task: Literal["read", "draw"]) -> Any:
    """A snapshot's function from pictures to pictures, of its direction that does the task. Raises ConfigError without one."""
    from diptych.errors import ConfigError
    from diptych.inference.translator import Translator
    from diptych.music.pages import CHANNELS
    from diptych.snapshot import Snapshot

    snapshot = Snapshot.load(path)
    source, target = ("sheet", "roll") if task == "read" else ("roll", "sheet")
    found = []
    for direction in snapshot.generators:
        loaded = Translator(snapshot, direction, device=device)
        found.append(f"{loaded.source.channels} channel(s) to {loaded.target.channels}")
        if (loaded.source.channels, loaded.target.channels) == (CHANNELS[source], CHANNELS[target]):
            return loaded.pixels
    raise ConfigError(
        f"{path}: translates {' and '.join(found)}; to {task}, {CHANNELS[source]} of a {source} become {CHANNELS[target]} of a "
        f"{target}: give a snapshot that `diptych train music-{task}` wrote"
    )
