"""Read and write MIDI files as songs: notes on a grid, meters and a key."""

from __future__ import annotations

import io
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from diptych.errors import ConfigError, DataError
from diptych.extras import extra
from diptych.files import read_bounded
from diptych.music.beams import COMPOUND, COMPOUND_SIXTEENTHS, EIGHTHS, HALF, SIMPLE, SIXTEENTHS, beat_of
from diptych.music.instruments import title_of, track_name

MAX_TRACKS, MAX_NOTES, MAX_QUARTERS, MAX_BYTES = 256, 200_000, 20_000, 16_000_000
GRID = 24  # onsets and ends are rounded to 1/24 of a quarter, one pixel of a narrow quarter
SCORE_GRID = 48  # the same for scores: 64ths and triplets of 32nds are on it
SIGNATURE = b"MThd"  # the first bytes of every MIDI file
DRUM_CHANNEL = 9  # percussion in General MIDI, counted from 0
TICKS_PER_QUARTER = 480  # of written files


@dataclass(frozen=True)
class PlayedNote:
    """A note of a MIDI file, with onset and end in quarters."""

    onset: Fraction
    end: Fraction
    pitch: int
    velocity: int
    track: int
    name: tuple[int, int] | None = field(default=None, compare=False)
    """Its diatonic step and its alteration (see Note), where they are known."""


@dataclass(frozen=True, order=True)
class Meter:
    """The length of measures and of beats from ``onset`` on, all in quarters; ``unit`` is the denominator, 0 if unknown."""

    onset: Fraction = Fraction(0)
    length: Fraction = Fraction(4)
    beat: Fraction = SIMPLE
    unit: int = field(default=0, compare=False)


@dataclass(frozen=True, order=True)
class Key:
    """The key signature from ``onset`` (in quarters) on: fifths, and whether the key is minor."""

    onset: Fraction
    fifths: int
    minor: bool = False


@dataclass(frozen=True, order=True)
class Tempo:
    """The tempo from ``onset`` (in quarters) on, in quarters per minute."""

    onset: Fraction
    bpm: float


@dataclass(frozen=True)
class Track:
    """A pitched track of a MIDI file: ``PlayedNote.track`` of its notes, its name, and its General MIDI program (0 to 127)."""

    track: int
    name: str = ""
    program: int | None = None
    clefs: tuple[tuple[Fraction, str], ...] = ()
    """The clefs of its staff, each from an onset in quarters on, where they are known."""


@dataclass(frozen=True)
class Song:
    """The notes of a MIDI file by onset, its meters in order, and its first key in fifths where it names one.

    ``keys`` are all key signatures in order, ``tracks`` the tracks that have pitched notes, ``percussion`` is the number of notes
    on the percussion channel, which are left out, ``title`` the name of the file's first track where that is no part's name, and
    ``bpm`` the tempo at the beginning in quarters per minute, where the file states one; ``tempo_changes`` are the later ones.
    """

    notes: tuple[PlayedNote, ...]
    meters: tuple[Meter, ...] = (Meter(),)
    fifths: int | None = None
    moved: int = 0
    """The number of notes whose onset or end was rounded to the grid."""
    keys: tuple[Key, ...] = ()
    tracks: tuple[Track, ...] = ()
    percussion: int = 0
    title: str = ""
    bpm: float | None = None
    tempo_changes: tuple[Tempo, ...] = ()
    drums: tuple[str, ...] = ()
    """The names of the tracks that have percussion."""
    double_bars: frozenset[Fraction] = frozenset()
    """The times of double bar lines in quarters, which pages show and MIDI files do not."""


def read_midi(path: Path, grid: int = GRID) -> Song:
    """Read the pitched notes of a MIDI file, rounded to 1/``grid`` of a quarter, which is their least length.

    Raises DataError, in one line that begins with the path.

    Where notes of one pitch overlap, a note-off ends the oldest; without a note-off, a note lasts to the end of its track.
    Meters whose measures are no multiple of the grid, such as 1/64, are ignored.
    """
    mido = extra("mido", "music", "MIDI files")
    try:
        data = read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a MIDI file") from error
    if not data:
        raise DataError(f"{path}: is empty; export it again")
    if data[:4] != SIGNATURE:
        raise DataError(f"{path}: is no MIDI file, which begins with MThd; give a MIDI file")
    try:
        file = mido.MidiFile(file=io.BytesIO(data), clip=True)
    except EOFError as error:
        raise DataError(f"{path}: ends too early, after {len(data):,} bytes; copy or export it again") from error
    except (OSError, ValueError, KeyError, IndexError, TypeError, mido.KeySignatureError) as error:
        raise DataError(f"{path}: is a damaged MIDI file ({str(error) or type(error).__name__}); export it again") from error
    if len(file.tracks) > MAX_TRACKS:
        raise DataError(f"{path}: has {len(file.tracks):,} tracks, at most {MAX_TRACKS} are read; export only those to print")
    if file.type == 2 and len(file.tracks) > 1:
        raise DataError(
            f"{path}: holds several songs, {len(file.tracks)} tracks of MIDI type 2, and one can be read; export one alone"
        )
    if file.ticks_per_beat <= 0:
        raise DataError(f"{path}: counts time in SMPTE frames, not in beats; export it with ticks per beat")
    return _song(path, file, grid)


def _song(path: Path, file: Any, grid: int) -> Song:
    notes: list[PlayedNote] = []
    tracks: list[Track] = []
    moved = 0
    title, titled = title_of(file)
    for index, messages in enumerate(file.tracks):
        channels: dict[int, int] = {}  # the number of the track that each channel is read as
        for channel, start, stop, pitch, velocity in _spans(messages):
            # a further channel of one MIDI track is a track of its own, numbered after those of the file
            number = channels.setdefault(channel, len(file.tracks) + len(tracks) + len(channels) if channels else index)
            onset = _quarters(start, file, grid)
            end = max(_quarters(stop, file, grid), onset + Fraction(1, grid))
            moved += (onset * file.ticks_per_beat, end * file.ticks_per_beat) != (start, stop)
            notes.append(PlayedNote(onset, end, pitch, velocity, number))
        name = "" if index == 0 and titled else track_name(messages)
        tracks.extend(Track(number, name, _program(messages, channel)) for channel, number in channels.items())
        if len(notes) > MAX_NOTES:
            raise DataError(f"{path}: has more than {MAX_NOTES:,} notes; split it into shorter files")
    drums = tuple(track_name(each) for each in file.tracks if any(map(_strikes, each)))
    percussion = sum(_strikes(message) for messages in file.tracks for message in messages)
    if not notes:
        what = "only percussion, which has no pitches" if percussion else "no notes"
        raise DataError(f"{path}: holds {what}; there is nothing to print")
    last = max(note.end for note in notes)
    if last > MAX_QUARTERS:
        raise DataError(
            f"{path}: lasts {float(last):,.0f} quarters, at most {MAX_QUARTERS:,} are read; split it into shorter files"
        )
    meters, keys = _signatures(file, grid)
    tempos = _tempos(file, grid)
    begins = bool(tempos) and not tempos[0].onset
    return Song(
        tuple(sorted(notes, key=lambda n: (n.onset, n.pitch, n.track))),
        meters,
        keys[0].fifths if keys else None,
        moved,
        keys,
        tuple(tracks),
        percussion,
        title,
        tempos[0].bpm if begins else None,
        tempos[begins:],
        drums,
    )


def _strikes(message: Any) -> bool:
    """Return whether a message begins a note of percussion."""
    return bool(message.type == "note_on" and message.channel == DRUM_CHANNEL and message.velocity)


def _program(messages: Iterable[Any], channel: int) -> int | None:
    """Return the first program that a track gives a channel."""
    return next((m.program for m in messages if m.type == "program_change" and m.channel == channel), None)


def choose_tracks(song: Song, wanted: Sequence[str]) -> Song:
    """Keep the tracks that are named, or numbered from 1 in the order of ``song.tracks``.

    Raises ConfigError, with a list of the tracks, for a name or a number that no track has.
    """
    kept: set[int] = set()
    for each in wanted:
        found = {
            track.track
            for number, track in enumerate(song.tracks, 1)
            if each == str(number) or each.casefold() == track.name.casefold()
        }
        if not found:
            known = ", ".join(f"{number} {track.name}".rstrip() for number, track in enumerate(song.tracks, 1))
            drums = each.casefold() in map(str.casefold, song.drums)
            what = f"{each!r} is percussion, which has no pitches" if drums else f"there is no pitched track {each!r}"
            raise ConfigError(f"tracks: {what}; choose from {known}, by number or by name")
        kept |= found
    return replace(
        song,
        notes=tuple(note for note in song.notes if note.track in kept),
        tracks=tuple(track for track in song.tracks if track.track in kept),
    )


def _spans(messages: Iterable[Any]) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield the notes of a track: channel, first tick, last tick, pitch, velocity."""
    ticks = 0
    sounding: defaultdict[tuple[int, int], deque[tuple[int, int]]] = defaultdict(deque)  # by channel and pitch, oldest first
    for message in messages:
        ticks += message.time
        if message.type not in ("note_on", "note_off") or message.channel == DRUM_CHANNEL:
            continue
        queue = sounding[message.channel, message.note]
        if message.type == "note_on" and message.velocity:
            queue.append((ticks, message.velocity))
        elif queue:
            start, velocity = queue.popleft()
            yield message.channel, start, ticks, message.note, velocity
    for (channel, pitch), queue in sounding.items():
        for start, velocity in queue:
            yield channel, start, ticks, pitch, velocity


def _signatures(file: Any, grid: int) -> tuple[tuple[Meter, ...], tuple[Key, ...]]:
    """Return the meters of all tracks that lie on the grid, and all key signatures."""
    meters = {Fraction(0): Meter()}
    keys: dict[Fraction, Key] = {}
    for messages in file.tracks:
        ticks = 0
        for message in messages:
            ticks += message.time
            onset = _quarters(ticks, file, grid)
            if message.type == "time_signature":
                count, unit = message.numerator, message.denominator
                length = Fraction(4 * count, unit)
                if length and (length * GRID).denominator == 1:
                    meters[onset] = Meter(onset, length, beat_of(count, unit), unit)
            elif message.type == "key_signature":
                minor = message.key.endswith("m")
                keys.setdefault(onset, Key(onset, _KEYS[message.key.removesuffix("m")] - 3 * minor, minor))
    return tuple(sorted(meters.values())), tuple(sorted(keys.values()))


def _tempos(file: Any, grid: int) -> tuple[Tempo, ...]:
    """Return the tempos of all tracks that differ from the one before; of several on one place of the grid, the last one."""
    found: dict[Fraction, tuple[int, float]] = {}
    for messages in file.tracks:
        ticks = 0
        for message in messages:
            ticks += message.time
            if message.type == "set_tempo" and message.tempo:
                onset = _quarters(ticks, file, grid)
                if ticks >= found.get(onset, (0, 0.0))[0]:
                    found[onset] = ticks, 60e6 / message.tempo
    tempos = [Tempo(onset, bpm) for onset, (_, bpm) in sorted(found.items())]
    return tuple(tempo for k, tempo in enumerate(tempos) if not k or tempo.bpm != tempos[k - 1].bpm)


_KEYS = {"Cb": -7, "Gb": -6, "Db": -5, "Ab": -4, "Eb": -3, "Bb": -2, "F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
_KEYS |= {"F#": 6, "C#": 7, "G#": 8, "D#": 9, "A#": 10}


def _quarters(ticks: int, file: Any, grid: int) -> Fraction:
    return Fraction(round(Fraction(ticks * grid, file.ticks_per_beat)), grid)


def midi_bytes(song: Song, bpm: float | None = None) -> bytes:
    """Encode a song as a MIDI file with a track for each staff, its title, names, programs, keys, meters and tempos.

    ``bpm``, in quarters per minute, takes the place of the song's tempos.
    """
    mido = extra("mido", "music", "MIDI files")
    file = mido.MidiFile(ticks_per_beat=TICKS_PER_QUARTER)
    first = mido.MidiTrack()
    names = {fifths: name for name, fifths in _KEYS.items()}
    begin = song.bpm if bpm is None else bpm
    tempos = (*([Tempo(Fraction(0), begin)] if begin else []), *(song.tempo_changes if bpm is None else ()))
    signs: list[tuple[Fraction, Any]] = [
        (tempo.onset, mido.MetaMessage("set_tempo", tempo=round(60e6 / tempo.bpm))) for tempo in tempos
    ]
    for key in song.keys or (Key(Fraction(0), song.fifths),) if song.fifths is not None else ():
        name = names[key.fifths + 3 * key.minor] + "m" * key.minor
        signs.append((key.onset, mido.MetaMessage("key_signature", key=name)))
    for meter in song.meters:
        if signature := signature_of(meter):
            signs.append((meter.onset, mido.MetaMessage("time_signature", numerator=signature[0], denominator=signature[1])))
    if song.title:
        first.append(mido.MetaMessage("track_name", name=song.title))
    time = 0
    for onset, message in sorted(signs, key=lambda sign: sign[0]):
        ticks = round(onset * TICKS_PER_QUARTER)
        first.append(message.copy(time=ticks - time))
        time = ticks
    file.tracks.append(first)
    known = {track.track: track for track in song.tracks}
    for number in sorted({note.track for note in song.notes}):
        events = []
        for note in song.notes:
            if note.track == number:
                events.append((round(note.end * TICKS_PER_QUARTER), 0, note.pitch, 0))
                events.append((round(note.onset * TICKS_PER_QUARTER), 1, note.pitch, note.velocity))
        track, time = mido.MidiTrack(), 0
        channel, about = min(number, 8), known.get(number, Track(number))
        if about.name:
            track.append(mido.MetaMessage("track_name", name=about.name))
        if about.program is not None:
            track.append(mido.Message("program_change", program=about.program, channel=channel))
        for ticks, on, pitch, velocity in sorted(events):
            kind = "note_on" if on else "note_off"
            track.append(mido.Message(kind, note=pitch, velocity=velocity, time=ticks - time, channel=channel))
            time = ticks
        file.tracks.append(track)
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def signature_of(meter: Meter) -> tuple[int, int] | None:
    """Return numerator and denominator of a meter.

    Where the denominator is unknown, it follows from the beat: an eighth in compound meters, a half for beats of a half, and else
    the longest note that divides the measure.
    """
    if meter.unit:
        return int(meter.length * meter.unit / 4), meter.unit
    for unit in UNITS[meter.beat]:
        count = meter.length * unit / 4
        if count.denominator == 1 and 0 < count < 256:
            return int(count), unit
    return None


UNITS = {SIMPLE: (4, 8, 16, 32), HALF: (2, 4, 8), COMPOUND: (8,), COMPOUND_SIXTEENTHS: (16,), EIGHTHS: (8,), SIXTEENTHS: (16,)}
"""The denominators that a meter with this beat can have, the most usual one first."""
