"""MIDI files as systems of music and back: meters, keys, spelling, staves, and whole measures that fit on a system."""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.metrics.models import extra
from diptych.music.beams import SIMPLE, beat_of
from diptych.music.layout import QUARTERS, WIDTH, Layout
from diptych.music.notes import CLEFS, SEMITONES, Note, System, marked, parted

MOST_TRACKS, MOST_NOTES, MOST_QUARTERS, MOST_BYTES = 256, 200_000, 20_000, 16_000_000
GRID = 24  # parts of a quarter that onsets and ends are brought to: a pixel where a quarter is narrow
CLOSE = Fraction(1, 3)  # quarters: onsets nearer than this need a wide quarter
DRUMS = 9
PPQ = 480
TOP, BOTTOM = ("G2", "F4")
SPLIT = 60  # middle C: where one stream of notes is parted onto two staves


@dataclass(frozen=True)
class Played:
    """A note of a MIDI file: onset and end in quarters."""

    onset: Fraction
    end: Fraction
    pitch: int
    velocity: int
    track: int


@dataclass(frozen=True, order=True)
class Meter:
    """From ``onset`` on, measures have a length and beats, all in quarters."""

    onset: Fraction = Fraction(0)
    length: Fraction = Fraction(4)
    beat: Fraction = SIMPLE


@dataclass(frozen=True)
class Song:
    """A MIDI file's notes, its meters in their order, its key in sharps where it says one, and its tempo."""

    notes: tuple[Played, ...]
    meters: tuple[Meter, ...] = (Meter(),)
    fifths: int | None = None
    bpm: float = 120.0
    moved: int = 0
    """Notes that were off the grid and were brought to it."""


def read_midi(path: Path) -> Song:
    """The pitched notes of a MIDI file, on the grid. Raises DataError, in one line that begins with the path."""
    mido = extra("mido", "music", "MIDI files")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: has {path.stat().st_size:,} bytes, at most {MOST_BYTES:,} are read")
        file = mido.MidiFile(path, clip=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read or is no MIDI file ({error.strerror or error}); give a MIDI file") from error
    except (EOFError, ValueError, KeyError, IndexError, TypeError, mido.KeySignatureError) as error:
        raise DataError(f"{path}: is damaged or no MIDI file ({type(error).__name__}: {error}); export it again") from error
    if len(file.tracks) > MOST_TRACKS:
        raise DataError(f"{path}: has {len(file.tracks):,} tracks, at most {MOST_TRACKS} are read; export the ones to print")
    if file.ticks_per_beat <= 0:
        raise DataError(f"{path}: counts time in frames of film, not in beats; export it with a tempo")
    return _song(path, file)


def _song(path: Path, file: Any) -> Song:
    notes: list[Played] = []
    meters = {Fraction(0): Meter()}
    keys: list[str] = []
    tempos: list[int] = []
    drums = moved = 0
    for track, messages in enumerate(file.tracks):
        ticks, sounding = 0, {}  # type: tuple[int, dict[tuple[int, int], tuple[int, int]]]
        for message in messages:
            ticks += message.time
            if message.type == "time_signature" and message.numerator:
                onset, count, unit = _quarters(ticks, file), message.numerator, message.denominator
                meters[onset] = Meter(onset, Fraction(4 * count, unit), beat_of(count, unit))
            elif message.type == "key_signature":
                keys.append(message.key)
            elif message.type == "set_tempo":
                tempos.append(message.tempo)
            elif message.type in ("note_on", "note_off") and message.channel == DRUMS:
                drums += 1
            elif message.type in ("note_on", "note_off"):
                name = message.channel, message.note
                if name in sounding:
                    start, velocity = sounding.pop(name)
                    onset, end = _quarters(start, file), _quarters(ticks, file)
                    moved += onset * file.ticks_per_beat != start
                    notes.append(Played(onset, max(end, onset + Fraction(1, 8)), message.note, velocity, track))
                if message.type == "note_on" and message.velocity:
                    sounding[name] = ticks, message.velocity
        if len(notes) > MOST_NOTES:
            raise DataError(f"{path}: has more than {MOST_NOTES:,} notes; cut it into songs")
    if not notes:
        what = "percussion alone, which has no pitches" if drums else "no notes"
        raise DataError(f"{path}: holds {what}; there is nothing to print")
    fifths = _KEYS.get(keys[0].removesuffix("m"), 0) + (-3 if keys[0].endswith("m") else 0) if keys else None
    last = max(note.end for note in notes)
    if last > MOST_QUARTERS:
        raise DataError(f"{path}: lasts {float(last):,.0f} quarters, at most {MOST_QUARTERS:,} are read; cut it into songs")
    return Song(
        tuple(sorted(notes, key=lambda n: (n.onset, n.pitch, n.track))),
        tuple(sorted(meters.values())),
        fifths,
        60e6 / tempos[0] if tempos else 120.0,
        moved,
    )


_KEYS = {"Cb": -7, "Gb": -6, "Db": -5, "Ab": -4, "Eb": -3, "Bb": -2, "F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
_KEYS |= {"F#": 6, "C#": 7, "G#": 8, "D#": 9, "A#": 10}


def _quarters(ticks: int, file: Any) -> Fraction:
    return Fraction(round(Fraction(ticks * GRID, file.ticks_per_beat)), GRID)


def key_of(notes: Iterable[Played]) -> int:
    """The key signature, -6 to 6 sharps, whose scale holds the most of what sounds; the one with fewer accidentals on a tie."""
    weights = [0.0] * 12
    for note in notes:
        weights[note.pitch % 12] += float(note.end - note.onset)
    scales = {fifths: {(7 * (fifths + k)) % 12 for k in range(-1, 6)} for fifths in range(-6, 7)}
    return max(scales, key=lambda fifths: (sum(weights[pitch] for pitch in scales[fifths]), -abs(fifths)))


def spell(pitch: int, fifths: int) -> tuple[int, int]:
    """The staff step of a MIDI pitch, and its alteration (-1, 0 or 1), in a key.

    From the twelve neighbours of the key on the line of fifths: flat second, third, sixth and seventh, raised fourth.
    """
    for nearness in (range(fifths - 4, fifths + 8), range(-8, 13)):
        for tonal in nearness:  # -1 is F, 0 C, 1 G
            letter, alter = (4 * tonal) % 7, (tonal + 1) // 7
            if (7 * tonal - pitch) % 12 == 0 and abs(alter) <= 1:
                octave = (pitch - SEMITONES[letter] - alter) // 12 - 1
                return 7 * octave + letter, alter
    raise AssertionError(pitch)  # every pitch has a name between F flat and B sharp


def systems(song: Song, layout: Layout) -> list[System]:
    """The song as systems one after another, with the accidentals that a printer would set.

    Raises DataError when a measure is longer than a system, a note is too far from its staff, or two notes that sound at once
    have no names on two steps.
    """
    fifths = song.fifths if song.fifths is not None and abs(song.fifths) <= 7 else key_of(song.notes)
    clefs = (TOP, BOTTOM) if layout.staves == 2 else (_clef(song.notes),)
    notes = _staved(song, fifths, layout)  # by onset, as the song's
    bars, beats = _bars(song)
    found: list[System] = []
    held: list[Note] = []  # from the systems before
    index = 0
    while index < len(bars) - 1:
        near = notes[_first(notes, bars[index]) : _first(notes, bars[min(index + WIDTH, len(bars) - 1)])]
        alike = next((k for k, beat in enumerate(beats[index : index + WIDTH]) if beat != beats[index]), WIDTH)
        taken, quarter = _fitting(bars[index : index + alike + 1], near, layout)
        if not taken:
            length = bars[index + 1] - bars[index]
            raise DataError(f"a measure of {length} quarters is longer than a system; give a MIDI file with shorter measures")
        start, end = bars[index], bars[index + taken]
        lengths = tuple(b - a for a, b in pairwise(bars[index : index + taken + 1]))
        here = [note for note in held + near if note.onset < end and note.offset > start]
        held = [note for note in here if note.offset > end]
        cut = _apart([_cut(note, start, end) for note in here])
        found.append(marked(System(clefs, fifths, lengths, quarter, cut, beats[index])))
        index += taken
    return found


def _first(notes: Sequence[Note], time: Fraction) -> int:
    """The index of the first note that begins at a time or later."""
    return bisect_left(notes, time, key=lambda note: note.onset)


def _clef(notes: Sequence[Played]) -> str:
    mean = sum(note.pitch for note in notes) / len(notes)
    return TOP if mean >= SPLIT - 3 else BOTTOM


def _staved(song: Song, fifths: int, layout: Layout) -> list[Note]:
    """Every note spelled, on its staff: by track where two tracks have notes, else parted at middle C."""
    tracks = sorted({note.track for note in song.notes})
    means = {t: sum(n.pitch for n in song.notes if n.track == t) / sum(n.track == t for n in song.notes) for t in tracks}
    clefs = (TOP, BOTTOM) if layout.staves == 2 else (_clef(song.notes),)
    notes = []
    for note in song.notes:
        staff = 0
        if layout.staves == 2 and len(tracks) == 2:
            staff = int(means[note.track] < max(means.values()))
        elif layout.staves == 2:
            staff = int(note.pitch < SPLIT)
        step, alter = spell(note.pitch, fifths)
        if abs(step - CLEFS[clefs[staff]]) > layout.reach:
            raise DataError(
                f"the note {note.pitch} at quarter {float(note.onset):g} stands {abs(step - CLEFS[clefs[staff]])} steps from the "
                f"middle of its staff, at most {layout.reach} can be drawn; transpose it, or choose --layout grand"
            )
        notes.append(Note(note.onset, staff, step, alter, note.end - note.onset, "", note.velocity))
    return notes


def _bars(song: Song) -> tuple[list[Fraction], list[Fraction]]:
    """Where measures begin, to the end of the last that has a note, and the beat of each."""
    end = max(note.end for note in song.notes)
    bars, beats = [Fraction(0)], []
    while bars[-1] < end:
        meter = [meter for meter in song.meters if meter.onset <= bars[-1]][-1]
        bars.append(bars[-1] + meter.length)
        beats.append(meter.beat)
    return bars, beats


def _fitting(bars: Sequence[Fraction], notes: Sequence[Note], layout: Layout) -> tuple[int, int]:
    """How many measures from the first on fit on one system, and the width of a quarter that their notes need."""
    best = 0, QUARTERS[0]
    for count in range(1, len(bars)):
        lengths = [b - a for a, b in pairwise(bars[: count + 1])]
        inside = [note for note in notes if bars[0] <= note.onset < bars[count]]
        quarter = _width(inside, lengths, layout)
        if not layout.fits(lengths, quarter):
            break
        best = count, quarter
    return best


def _width(notes: Sequence[Note], lengths: Sequence[Fraction], layout: Layout) -> int:
    """The narrow quarter unless onsets come too close for it, and the wide one would fit."""
    times = sorted({note.onset for note in notes})
    close = any(b - a < CLOSE for a, b in pairwise(times))
    return QUARTERS[1] if close and layout.fits(lengths[:1], QUARTERS[1]) else QUARTERS[0]


def _cut(note: Note, start: Fraction, end: Fraction) -> Note:
    """The part of a note inside a system, timed from its beginning."""
    onset, offset = max(note.onset, start), min(note.offset, end)
    return replace(note, onset=onset - start, duration=offset - onset, held=note.onset < start)


def _apart(notes: Sequence[Note]) -> tuple[Note, ...]:
    """No step twice at once: a second alteration of a step that sounds is written as the neighbouring step where that can be."""
    placed: list[Note] = []
    for note in sorted(notes):
        against = [other for other in placed if _clash(note, other)]
        rest = [other for other in placed if other not in against]
        for moved in ([_respelled(note), *against], [note, *map(_respelled, against)]) if against else ():
            if not any(_clash(a, b) for k, a in enumerate(moved) for b in [*rest, *moved[:k]]):
                placed = [*rest, *moved]
                break
        else:
            placed.append(note)
    clash = next(((a, b) for k, a in enumerate(placed) for b in placed[:k] if _clash(a, b)), None)
    if clash:
        a, b = clash
        raise DataError(f"the notes {b.midi} and {a.midi} sound at once and have no names on two steps; leave one of them out")
    return parted(placed)


def _clash(a: Note, b: Note) -> bool:
    return a.staff == b.staff and a.step == b.step and a.alter != b.alter and a.onset < b.offset and b.onset < a.offset


def _respelled(note: Note) -> Note:
    """The same pitch on a neighbouring step, where it has a name there."""
    others = (replace(note, step=step, alter=alter) for step in (note.step - 1, note.step + 1) for alter in (-1, 0, 1))
    return next((other for other in others if other.midi == note.midi), note)


def to_song(found: Iterable[System], bpm: float = 120.0) -> Song:
    """Systems one after another as a song; a note that goes on from the system before is one with it."""
    notes: list[Played] = []
    sounding: dict[tuple[int, int], int] = {}
    """The index of the last note of each pitch on each track."""
    meters: list[Meter] = []
    start = Fraction(0)
    fifths = None
    for system in found:
        fifths = system.fifths if fifths is None else fifths
        for begin, length in zip(system.starts, system.measures, strict=False):
            if not meters or (meters[-1].length, meters[-1].beat) != (length, system.beat):
                meters.append(Meter(start + begin, length, system.beat))
        for note in system.notes:
            played = Played(start + note.onset, start + note.offset, note.midi, note.velocity, note.staff)
            before = sounding.get((played.pitch, played.track)) if note.held else None
            if before is not None and notes[before].end == played.onset:
                notes[before] = replace(notes[before], end=played.end)
            else:
                sounding[played.pitch, played.track] = len(notes)
                notes.append(played)
        start += system.starts[-1]
    return Song(tuple(sorted(notes, key=lambda n: (n.onset, n.pitch))), tuple(meters), fifths, bpm)


def midi_bytes(song: Song) -> bytes:
    """A song as a MIDI file, a track for each staff."""
    mido = extra("mido", "music", "MIDI files")
    file = mido.MidiFile(ticks_per_beat=PPQ)
    first = mido.MidiTrack()
    first.append(mido.MetaMessage("set_tempo", tempo=round(60e6 / song.bpm)))
    if song.fifths is not None:
        names = {fifths: name for name, fifths in _KEYS.items()}
        first.append(mido.MetaMessage("key_signature", key=names[song.fifths]))
    time = 0
    for meter in song.meters:
        signature = _signature(meter)
        ticks = round(meter.onset * PPQ)
        if signature:
            first.append(mido.MetaMessage("time_signature", numerator=signature[0], denominator=signature[1], time=ticks - time))
            time = ticks
    file.tracks.append(first)
    for number in sorted({note.track for note in song.notes}):
        events = []
        for note in song.notes:
            if note.track == number:
                events.append((round(note.end * PPQ), 0, note.pitch, 0))
                events.append((round(note.onset * PPQ), 1, note.pitch, note.velocity))
        track, time = mido.MidiTrack(), 0
        for ticks, on, pitch, velocity in sorted(events):
            kind = "note_on" if on else "note_off"
            track.append(mido.Message(kind, note=pitch, velocity=velocity, time=ticks - time, channel=min(number, 8)))
            time = ticks
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def _signature(meter: Meter) -> tuple[int, int] | None:
    """The numbers of a meter: eighths where beats are three of them; quarters where it is whole ones, else eighths or shorter."""
    for unit in (4, 8, 16, 32) if meter.beat == SIMPLE else (8,):
        count = meter.length * unit / 4
        if count.denominator == 1 and 0 < count < 256:
            return int(count), unit
    return None
