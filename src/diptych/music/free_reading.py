"""Read whole pages from outside: their staves, their symbols by a translator, and their notes, as one song."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from diptych.errors import DataError
from diptych.messages import counted
from diptych.music.beams import COMPOUND, SIMPLE, beat_of
from diptych.music.midi import Key, Meter, PlayedNote, Song, Track
from diptych.music.notes import Note
from diptych.music.page_geometry import SPACE, Page, read_geometry
from diptych.music.page_reading import Measure, ReadSystem, read_systems
from diptych.music.page_rhythm import rest_beside, usual_lengths
from diptych.music.symbols import CLASS

MIN_CONFIDENCE = 0.3  # the share of measures that add up; on other pictures it is less
LEAST_SPACE = 5.0  # pixels of a staff space below which symbols may be misread
SYSTEMS_PER_NOTE = 2  # noise looks like many staves and hardly a note
FITTED = 0.4  # what a measure counts whose notes were fitted into its length
OTHER_KEY = 0.8  # factor of the confidence of a system that seems to show another key than the others
CLEFS = [CLASS[name] for name in ("clef G", "clef F", "clef C")]
CLEF_AREA = 2.5  # squares of a staff space of the clef of a staff at least
BEGINNING = 6  # staff spaces from the beginning of a staff within which its clef stands
MANY = 0.5  # share of the staves of a page
DARK = 128  # gray level of most of a page below which it may be white on black
COMPOUND_LENGTHS = (Fraction(9, 2), Fraction(3, 2))  # quarters of 9/8 and 3/8; what lasts three quarters is taken for 3/4
Gray = UInt8[np.ndarray, "_ _"]  # pages of one document may differ in size
Translate = Callable[[Gray], UInt8[np.ndarray, "h w"]]
"""From a page at six pixels a staff space to the map of its symbols."""


@dataclass(frozen=True)
class FreeReading:
    """What was read from pages: notes timed from the beginning, the lengths of the measures, their keys, and a confidence of
    each system, the share of its measures that are as long as their meter."""

    notes: tuple[Note, ...]
    measures: tuple[Fraction, ...]
    fifths: tuple[int, ...]
    confidences: tuple[float, ...]
    meters: tuple[tuple[int, int] | None, ...] = ()
    """The beats and the unit of the meter that holds in each measure, None where it is not legible."""
    staves: int = 1
    """The staves of a system, of the one that has most."""
    clefs: tuple[tuple[str, ...], ...] = ()
    """The clef of each staff of its system at the beginning of each measure."""
    double_bars: frozenset[Fraction] = frozenset()
    """The times in quarters at which a double bar line stands."""

    @property
    def confidence(self) -> float:
        """The mean confidence of the systems."""
        return sum(self.confidences) / len(self.confidences) if self.confidences else 0.0


@dataclass(frozen=True)
class FreePages:
    """The pages of a document that show staves, what was read on each, and the numbers (from 1) of pages without staves.

    ``small`` has the numbers of pages with fewer than LEAST_SPACE pixels a staff space, and how many they have, ``inverted``
    those of pages that are white on black.
    """

    pages: tuple[Page, ...]
    systems: tuple[tuple[ReadSystem, ...], ...]
    without_staves: tuple[int, ...]
    small: tuple[tuple[int, float], ...] = ()
    inverted: tuple[int, ...] = ()

    def joined(self) -> FreeReading:
        """Join all systems to one piece."""
        return joined([system for page in self.systems for system in page])


def read_pages(path: Path, pages: Sequence[Gray], translate: Translate) -> FreePages:
    """Read the pages of a document. Raises DataError, in one line that begins with the path, where none shows a staff."""
    found, systems, empty, small, inverted = [], [], [], [], []
    for number, gray in enumerate(pages, 1):
        mapped = _mapped(gray, translate)
        if np.median(gray) < DARK and (mapped is None or clefs_shown(*mapped) < MANY):
            negative = _mapped(255 - gray, translate)
            if negative is not None and clefs_shown(*negative) >= MANY:
                mapped = negative
                inverted.append(number)
        if mapped is None:
            empty.append(number)
            continue
        seen, page = mapped
        found.append(page)
        if (space := SPACE * gray.shape[1] / page.gray.shape[1]) < LEAST_SPACE:
            small.append((number, space))
        if upside_down(seen, page, translate):
            raise DataError(f"{path}: page {number} stands upside down; turn it by 180 degrees")
        systems.append(tuple(read_systems(seen, page)))
    if not found:
        raise DataError(f"{path}: shows no staff of five lines; give a page of printed music, upright and at 100 dpi or more")
    return FreePages(tuple(found), tuple(systems), tuple(empty), tuple(small), tuple(inverted))


def _mapped(gray: Gray, translate: Translate) -> tuple[UInt8[np.ndarray, "h w"], Page] | None:
    """Return the map of the symbols of a page, and its staves; None where it shows none."""
    page = read_geometry(gray)
    return None if page is None else (translate(page.gray), page)


def upside_down(seen: UInt8[np.ndarray, "h w"], page: Page, translate: Translate) -> bool:
    """Whether few staves begin with a clef, but most do once the page is turned by 180 degrees."""
    if clefs_shown(seen, page) >= MANY:
        return False
    turned = translate(np.ascontiguousarray(page.gray[::-1, ::-1]))
    return clefs_shown(turned[::-1, ::-1], page, at_end=True) >= MANY


def clefs_shown(seen: UInt8[np.ndarray, "h w"], page: Page, *, at_end: bool = False) -> float:
    """The share of the staves that show as much of a clef as a clef has at their beginning, or at their end."""
    staves = [staff for system in page.systems for staff in system]
    shown = 0
    for staff in staves:
        x = max(0, staff.right - BEGINNING * SPACE if at_end else staff.left)
        top, bottom = (max(0, round(staff.row(x, position))) for position in (10, -10))
        shown += int(np.isin(seen[top:bottom, x : x + BEGINNING * SPACE], CLEFS).sum()) >= CLEF_AREA * SPACE**2
    return shown / len(staves)


def check_plausible(path: Path, reading: FreeReading) -> None:
    """Raise DataError where a reading has no notes, or where hardly a measure is as long as its meter."""
    if not reading.notes:
        raise DataError(f"{path}: shows staves, but no notes were found on them; give a page of printed music")
    if len(reading.notes) * SYSTEMS_PER_NOTE < len(reading.confidences):
        raise DataError(
            f"{path}: seems to show {len(reading.confidences)} systems, but only {counted(len(reading.notes), 'note')} on them; "
            "give a page of printed music"
        )
    if reading.confidence < MIN_CONFIDENCE:
        raise DataError(
            f"{path}: only {reading.confidence:.0%} of its measures add up to their meter, at least {MIN_CONFIDENCE:.0%} do on a "
            "page that can be read; give a sharper or larger picture, or look at what was understood with --report"
        )


def show_pages(found: FreePages) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a red frame around every head that was read, and a blue line at each staff's left end, page below page."""
    pictures = []
    for page, systems in zip(found.pages, found.systems, strict=True):
        picture = np.repeat(page.gray[..., None], 3, axis=2)
        for system, staves in zip(systems, page.systems, strict=True):
            for staff in staves:
                top, end = round(staff.row(staff.left, 4)), round(staff.row(staff.left, -4))
                picture[max(0, top) : end + 1, max(0, staff.left - 3) : max(1, staff.left - 1)] = (0, 0, 220)
            for head in (head for measure in system.measures for head in measure.heads):
                rows = slice(max(0, round(head.top) - 1), round(head.bottom) + 2)
                columns = slice(max(0, round(head.left) - 1), round(head.right) + 2)
                frame = picture[rows, columns]
                for edge in (frame[0], frame[-1], frame[:, 0], frame[:, -1]):
                    edge[:] = (220, 0, 0)
        pictures.append(picture)
    width = max(picture.shape[1] for picture in pictures)
    padded = [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures]
    return np.concatenate(padded).repeat(2, 0).repeat(2, 1)


def to_song(reading: FreeReading) -> Song:
    """Return what was read as a song, a track for each staff of a system."""
    meters: list[Meter] = []
    keys: list[Key] = []
    start = Fraction(0)
    printed = reading.meters or (None,) * len(reading.measures)
    for length, fifths, meter in zip(reading.measures, reading.fifths, printed, strict=True):
        new = Meter(start, length, COMPOUND if length in COMPOUND_LENGTHS else SIMPLE)
        if meter and Fraction(4 * meter[0], meter[1]) == length:
            new = Meter(start, length, beat_of(*meter), meter[1])
        if not meters or (meters[-1].length, meters[-1].beat, meters[-1].unit) != (new.length, new.beat, new.unit):
            meters.append(new)
        if not keys or keys[-1].fifths != fifths:
            keys.append(Key(start, fifths))
        start += length
    notes = [
        PlayedNote(note.onset, note.offset, note.midi, note.velocity, note.staff, (note.step, note.alter))
        for note in reading.notes
    ]
    tracks = tuple(
        Track(staff, clefs=_clefs_of(staff, reading)) for staff in range(reading.staves)
    )  # also of one that only rests
    ordered = tuple(sorted(notes, key=lambda note: (note.onset, note.pitch)))
    return Song(
        ordered,
        tuple(meters) or (Meter(),),
        keys[0].fifths if keys else None,
        keys=tuple(keys),
        tracks=tracks,
        double_bars=reading.double_bars,
    )


def joined(systems: Sequence[ReadSystem]) -> FreeReading:
    """Join the systems of pages to one piece. A measure lasts as long as most measures since the last meter that is printed.

    One that seems to be shorter or longer was misread and keeps the others in time, but for a pickup, the last measure, and
    two that are one measure together, as at a repeat sign; one of them may be a rest, at a double bar line.
    """
    systems = _tied_over(systems)
    expected = iter(_usual_lengths([measure for system in systems for measure in system.measures]))
    systems = [
        replace(system, measures=tuple(part for measure in system.measures for part in _parted(measure, next(expected))))
        for system in systems
    ]
    measures = [measure for system in systems for measure in system.measures]
    usual = _usual_lengths(measures)
    lengths = []
    for index, (measure, length) in enumerate(zip(measures, usual, strict=True)):
        outer = index in (0, len(measures) - 1)
        beside = [] if measure.meter else measures[max(0, index - 1) : index]
        beside += [other for other in measures[index + 1 : index + 2] if not other.meter]
        halves = any(other.printed > 0 and other.printed + measure.printed == length for other in beside)
        lengths.append(measure.printed if (outer or halves) and 0 < measure.printed < length else length)
    doubles = [measure.ends_double for measure in measures]
    for index, (measure, length) in enumerate(zip(measures, usual, strict=True)):
        rest = rest_beside(index, [other.printed for other in measures], doubles) if 0 < measure.printed * 2 <= length else None
        if rest is not None:
            lengths[index], lengths[rest] = measure.printed, length - measure.printed
    start = Fraction(0)
    timed: list[Note] = []
    ends: set[Fraction] = set()
    for measure, length in zip(measures, lengths, strict=True):
        timed += [replace(note, onset=start + note.onset) for note in measure.notes]
        start += length
        ends |= {start} if measure.ends_double else set()
    confidences, first = [], 0
    for system in systems:
        here = range(first, first + len(system.measures))
        right = sum(1.0 if measures[k].clean else FITTED for k in here if measures[k].printed in (0, lengths[k], usual[k]))
        share = right / len(here) if here and not system.guessed else 0.0
        confidences.append(share * (1.0 if system.agrees else OTHER_KEY))
        first += len(here)
    meters: list[tuple[int, int] | None] = []
    for measure in measures:
        signature = measure.signature
        held = meters[-1] if meters and not measure.meter else None
        meters.append((signature.beats, signature.unit) if signature else held)
    keys = tuple(measure.fifths for measure in measures)
    staves = max((len(system.clefs) for system in systems), default=1)
    clefs = tuple(clefs for system in systems for clefs in _clefs_in(system))
    notes = tuple(_without_ties(timed))
    return FreeReading(notes, tuple(lengths), keys, tuple(confidences), tuple(meters), staves, clefs, frozenset(ends))


def _clefs_in(system: ReadSystem) -> list[tuple[str, ...]]:
    """Return the clefs of each measure of a system; those of one in which nothing is printed are the last before it."""
    found = [system.clefs]
    for measure in system.measures:
        found.append(measure.clefs or found[-1])
    return found[1:]


def _clefs_of(staff: int, reading: FreeReading) -> tuple[tuple[Fraction, str], ...]:
    """Return the clefs of a staff, each from the onset on at which it begins; a system that leaves the staff out has none."""
    found: list[tuple[Fraction, str]] = []
    start = Fraction(0)
    for length, clefs in zip(reading.measures, reading.clefs, strict=False):
        if staff < len(clefs) and (not found or found[-1][1] != clefs[staff]):
            found.append((start, clefs[staff]))
        start += length
    return tuple(found)


def _parted(measure: Measure, length: Fraction) -> list[Measure]:
    """Return two measures for one that lasts twice as long as others: the bar line within it was not seen."""
    late = [note.onset >= length for note in measure.notes]
    if not measure.clean or measure.printed != 2 * length or any(n.onset < length < n.offset for n in measure.notes):
        return [measure]
    halves = [[k for k, second in enumerate(late) if second == part] for part in (False, True)]
    (first, heads), (second, others) = (
        ([measure.notes[k] for k in half], tuple(measure.heads[k] for k in half)) for half in halves
    )
    moved = tuple(replace(note, onset=note.onset - length) for note in second)
    return [
        replace(measure, printed=length, notes=tuple(first), heads=heads, ends_double=False),
        replace(measure, printed=length, notes=moved, heads=others, meter=False, signature=None),
    ]


def _usual_lengths(measures: Sequence[Measure]) -> list[Fraction]:
    """Return for each measure the most frequent printed length of those that share its meter."""
    groups: list[list[Measure]] = []
    for measure in measures:
        if measure.meter or not groups:
            groups.append([])
        groups[-1].append(measure)
    usual: list[Fraction] = []
    for group in groups:
        signature = group[0].signature
        known = signature.length if signature else None
        likely = usual_lengths([measure.printed for measure in group if measure.printed > 0], known)
        usual += [likely[0] if likely else known or Fraction(4)] * len(group)
    return usual


def _tied_over(systems: Sequence[ReadSystem]) -> list[ReadSystem]:
    """Mark both notes that a tie over the end of a system joins. It is printed as two curves, of which one may not be seen."""
    measures = [list(system.measures) for system in systems]
    for before, after in pairwise(each for each in measures if each):
        notes, following = list(before[-1].notes), list(after[0].notes)
        ends = {(note.staff, note.step): k for k, note in enumerate(notes) if note.offset == before[-1].printed}
        for index, note in enumerate(following):
            k = ends.get((note.staff, note.step)) if note.onset == 0 else None
            if k is None or not (notes[k].goes_on or note.continued) or (note.accidental and note.alter != notes[k].alter):
                continue
            notes[k], following[index] = replace(notes[k], goes_on=True), replace(note, continued=True)
        before[-1], after[0] = replace(before[-1], notes=tuple(notes)), replace(after[0], notes=tuple(following))
    return [replace(system, measures=tuple(each)) for system, each in zip(systems, measures, strict=True)]


def _without_ties(notes: Iterable[Note]) -> list[Note]:
    """Join notes that ties lead to with those before them on their step."""
    found: list[Note] = []
    open_at: dict[tuple[int, int, Fraction], int] = {}
    for note in sorted(notes):
        before = open_at.pop((note.staff, note.step, note.onset), None) if note.continued else None
        if before is None:
            found.append(note)
            index = len(found) - 1
        else:
            index = before
            found[index] = replace(found[index], duration=note.offset - found[index].onset, goes_on=note.goes_on)
        if note.goes_on:
            open_at[note.staff, note.step, note.offset] = index
    return sorted(found)
