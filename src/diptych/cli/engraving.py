"""Part of `diptych music sheet`: engrave a MIDI file as a score that a musician can play from."""

from __future__ import annotations

import argparse
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the real import waits until the command runs
    from diptych.music.midi import Song


def engrave(args: argparse.Namespace) -> int:
    """Arrange, engrave and write a MIDI file; say what was left out, chosen or moved."""
    from diptych.cli.console import console, notes
    from diptych.messages import counted
    from diptych.music.arrangement import MAX_OUT_OF_KEY, arrange, count_changed, count_out_of_key
    from diptych.music.midi import SCORE_GRID
    from diptych.music.musicxml import tempos_of, to_musicxml
    from diptych.music.performances import is_performance
    from diptych.music.quantize import NOTABLE, count_unwritten, quantize
    from diptych.music.rasters import missing_letters
    from diptych.music.score_pages import check_suffix, write_score

    check_suffix(args.out)
    song = read_song(args, SCORE_GRID)
    performed = is_performance(song)
    song = begun(on_its_beats(song) if performed else song, args.pickup)
    quantized = quantize(song, performed=performed)
    for moved, what in ((quantized.onsets_moved, "onsets"), (quantized.ends_moved, "ends")):
        if moved:
            text = f"{what} of {moved:,} of {len(song.notes):,} notes moved by more than {NOTABLE} of a quarter to note values"
            notes.print(text, soft_wrap=True)
    if not performed and (unwritten := count_unwritten(as_in_file(args))):
        text = f"{unwritten:,} of {len(song.notes):,} notes are in quintuplets, septuplets or the like, which are not written"
        notes.print(f"{text}: the nearest sixteenths, triplets and shorter values stand for them", soft_wrap=True)
    score = arrange(quantized.song, args.layout)
    if score.estimated_key:
        notes.print("the file names no key; the key signature was estimated from the notes", soft_wrap=True)
    outside = count_out_of_key(score)
    if outside > MAX_OUT_OF_KEY * len(song.notes):
        text = f"{outside:,} of {len(song.notes):,} notes are outside the key signature, so that it says little of the music"
        notes.print(text, soft_wrap=True)
    for reason, changed in count_changed(score).items():
        text = f"{changed:,} of {len(song.notes):,} notes have another length or no head of their own: {reason}"
        notes.print(text, soft_wrap=True)
    tempos = tempos_of(score)
    if hidden := sum(not printed for _, printed in tempos):
        text = f"{hidden:,} of {len(tempos):,} tempos are not printed, since they are short or near the mark before them"
        notes.print(f"{text}; .musicxml holds them as sound", soft_wrap=True)
    if args.title is not None:
        score = replace(score, title=args.title)
    elif not score.title:
        score = replace(score, title=args.midi.stem.replace("_", " "))
        text = f"the file names no title, so its own name stands above the music: {score.title}"
        notes.print(f"{text}; --title gives another", soft_wrap=True)
    words = "".join([score.title, *(part.name for part in score.parts)]) if args.out.suffix.lower() in (".png", ".pdf") else ""
    if missing := missing_letters(words):
        text = f"no font has {' '.join(missing)}, so that the title or a part's name is printed with boxes"
        notes.print(f"{text}; install a font that has them, or write .svg or .musicxml", soft_wrap=True)
    pages = write_score(args.out, to_musicxml(score))
    parts = ", ".join(
        f"{part.name or 'unnamed'} ({len(part.staves)} {'staff' if len(part.staves) == 1 else 'staves'})" for part in score.parts
    )
    where = f" on {pages} page{'s' * (pages > 1)}" if pages else ""
    console.print(f"{counted(len(song.notes), 'note')}{where}: {parts}", soft_wrap=True)
    return 0


def begun(song: Song, pickup: Fraction | None) -> Song:
    """Begin a song with the pickup that is asked for; without one, say where accents speak for a pickup."""
    from diptych.cli.console import notes
    from diptych.music.pickups import likely_pickup, with_pickup

    if pickup is not None:
        return with_pickup(song, pickup)
    if (likely := likely_pickup(song)) is not None:
        text = f"the accents suggest that bars begin elsewhere than in the file; --pickup {likely} begins them there"
        notes.print(text, soft_wrap=True)
    return song


def on_its_beats(song: Song) -> Song:
    """Set a performance on the beats and bars that its notes have, and say so."""
    from diptych.cli.console import notes
    from diptych.music.midi import signature_of
    from diptych.music.performances import bar_performance

    barred = bar_performance(song)
    if barred is None:
        text = "a performance in which no steady beat was found; bars and note values follow the file's clock, not the music"
        notes.print(text, soft_wrap=True)
        return song
    count, unit = signature_of(barred.meter) or (0, 0)
    text = f"a performance that does not follow the file's beats; bars of {count}/{unit} were found from its notes"
    notes.print(f"{text}, at about {barred.bpm:.0f} quarters per minute", soft_wrap=True)
    if song.tempo_changes:
        text = (
            f"{len(song.tempo_changes):,} tempo changes of the file left out: its first tempo was taken for the whole performance"
        )
        notes.print(text, soft_wrap=True)
    return barred.song


def as_in_file(args: argparse.Namespace) -> Song:
    """Read the tracks that the options ask for with the times of the file, nearly without rounding, and say nothing."""
    from diptych.music.midi import TICKS_PER_QUARTER, choose_tracks, read_midi

    song = read_midi(args.midi, TICKS_PER_QUARTER)
    return choose_tracks(song, args.tracks) if args.tracks else song


def say_performance(song: Song) -> None:
    """Say that a song is a performance, which is drawn on the beats of its file where no score is engraved."""
    from diptych.cli.console import notes
    from diptych.music.performances import is_performance

    if is_performance(song):
        text = "this is a performance that does not follow the file's beats, on which it is drawn all the same"
        notes.print(f"{text}; `diptych music sheet` without --engine network finds its beats and bars", soft_wrap=True)


def read_song(args: argparse.Namespace, grid: int | None = None) -> Song:
    """Read the tracks of a MIDI file that the options ask for; say what percussion is left out and what the grid of rolls moved.

    Scores have a finer ``grid``, and what moves to note values is said later.
    """
    from diptych.cli.console import notes
    from diptych.music.midi import GRID, choose_tracks, read_midi

    song = read_midi(args.midi, grid or GRID)
    if song.percussion:
        notes.print(f"percussion left out: {song.percussion:,} notes, which have no pitch", soft_wrap=True)
    if song.moved and not grid:
        notes.print(f"{song.moved:,} of {len(song.notes):,} notes moved to the nearest 1/{GRID} of a quarter", soft_wrap=True)
    if args.tracks:
        song = choose_tracks(song, args.tracks)
    return song
