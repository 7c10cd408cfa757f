"""Cut a score into systems of whole measures, each with its roll and its sheet, and count what cannot be used by its reason."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

from diptych.errors import DataError
from diptych.music.beams import rebeam
from diptych.music.engrave import Engraving, Measure, engrave
from diptych.music.layout import QUARTER_WIDTHS, Layout
from diptych.music.mei import load_mei, parts, select_staves
from diptych.music.notes import CLEFS, Note, System, apply_accidentals, without_overlaps
from diptych.music.print_styles import PrintStyle, set_clef, varied_style
from diptych.music.roll import Roll, draw_roll, read_roll
from diptych.music.sheet_image import Sheet, draw_sheet
from diptych.music.sign_rolls import draw_signs


@dataclass(frozen=True)
class Excerpt:
    """One system of a score: the part and the first measure, counted from 0, its notes, and its two pictures."""

    part: int
    measure: int
    system: System
    roll: Roll
    sheet: Sheet
    held: tuple[tuple[Fraction, int, int], ...] = ()
    """Onset, staff and step of the heads that a tie leads to."""
    font: str = "Leipzig"

    @property
    def digest(self) -> str:
        """A hash of the notes and their places, equal for equal music from different scores."""
        notes = [(n.onset, n.staff, n.step, n.alter, n.duration, n.accidental, n.continued, n.goes_on) for n in self.system.notes]
        return hashlib.sha256(
            repr((self.system.clefs, self.system.fifths, self.system.quarter_width, notes)).encode()
        ).hexdigest()


def excerpts(
    path: Path, layout: Layout, font: str = "Leipzig", tune: int = 0, varied: str = ""
) -> tuple[list[Excerpt], Counter[str]]:
    """Return the systems of all parts with as many staves as the layout, and counts of unused measures by reason.

    With ``varied``, a name, each part has a clef, a font, line weights and a size of its own, which follow from the name; where
    the layout has one staff, the staves of a piano are single parts too. ``tune`` chooses among the scores of one file (see
    diptych.music.score_files.tunes). Raises DataError, in one line that begins with the path, for a file without such a part.
    """
    mei = load_mei(path, tune)
    grouped = [[staff] for staves in parts(mei) for staff in staves] if varied and layout.staves == 1 else parts(mei)
    chosen = [staves for staves in grouped if len(staves) == layout.staves]
    if not chosen:
        raise DataError(f"{path}: has no part of {layout.staves} {'staff' if layout.staves == 1 else 'staves'}")
    found: list[Excerpt] = []
    left_out: Counter[str] = Counter()
    for part, staves in enumerate(chosen):
        alone = rebeam(select_staves(mei, staves))
        style = varied_style(f"{varied} {part}") if varied else PrintStyle(font)
        if layout.staves == 1 and style.clef:
            alone = set_clef(alone, style.clef)
        try:
            found.extend(_part(alone, part, layout, style, left_out))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    return found, left_out


def _part(mei: ET.Element, part: int, layout: Layout, style: PrintStyle, left_out: Counter[str]) -> Iterator[Excerpt]:
    narrow = engrave(mei, QUARTER_WIDTHS[0], style)
    engravings: dict[int, Engraving] = {QUARTER_WIDTHS[0]: narrow}
    index = 0
    while index < len(narrow.measures):
        reason, taken = "", None
        for quarter_width in QUARTER_WIDTHS:
            if quarter_width not in engravings:
                engravings[quarter_width] = engrave(mei, quarter_width, style)
            taken, reason = _window(engravings[quarter_width], index, layout, quarter_width)
            if taken or not narrow.measures[index].notes:
                break
        if taken is None:
            left_out[reason] += 1
            index += 1
            continue
        measures, system = taken
        engraving = engravings[system.quarter_width]
        before = engraving.measures[index - 1] if index else None
        picture = draw_sheet(engraving, measures, layout, system.quarter_width, before, style)
        starts = zip(system.measure_starts, measures, strict=False)
        held = tuple((start + n.onset, n.staff, n.step) for start, measure in starts for n in measure.held if start + n.onset)
        roll = draw_signs(system, layout, held) if layout.signs else draw_roll(system, layout)
        yield Excerpt(part, index, system, roll, picture, held, style.font)
        index += len(measures)


def _window(
    engraving: Engraving, first: int, layout: Layout, quarter_width: int
) -> tuple[tuple[list[Measure], System] | None, str]:
    """Take as many usable measures as fit from ``first`` on, or say why none can be."""
    start = engraving.measures[first]
    measures: list[Measure] = []
    for measure in engraving.measures[first:]:
        same = (measure.clefs, measure.fifths, measure.beat) == (start.clefs, start.fifths, start.beat)
        if measure.reject_reason or not same or not layout.fits([m.length for m in [*measures, measure]], quarter_width):
            break
        measures.append(measure)
    reason = start.reject_reason or "too long for a system"
    while measures:
        system, reason = _system(measures, layout, quarter_width)
        if system:
            return (measures, system), ""
        measures.pop()
    return None, reason


def _system(measures: Sequence[Measure], layout: Layout, quarter_width: int) -> tuple[System | None, str]:
    """Return measures as one system, with times on its grid of pixels, or None and the reason."""
    lengths = tuple(measure.length for measure in measures)
    starts = accumulate(lengths, initial=Fraction(0))
    notes = [replace(n, onset=n.onset + start) for measure, start in zip(measures, starts, strict=False) for n in measure.notes]
    notes += [note for note in measures[0].held if not note.onset]  # tied over from the system before
    if not notes:
        return None, "no notes"
    clefs = measures[0].clefs
    if any(abs(note.step - CLEFS[clefs[note.staff]]) > layout.max_position for note in notes):
        return None, "notes too far from their staff"
    alters: dict[tuple[int, int, Fraction], int] = {}
    for note in notes:
        if alters.setdefault((note.staff, note.step, note.onset), note.alter) != note.alter:
            return None, "two notes on one step at once"
    whole = [_until(note, sum(lengths, Fraction(0))) for note in without_overlaps(notes)]
    system = System(clefs, measures[0].fifths, lengths, quarter_width, tuple(whole), measures[0].beat)
    if apply_accidentals(system) != system:
        return None, "accidentals that do not say how it sounds"
    seen = read_roll(draw_roll(system, layout), layout)
    if [_written(note) for note in seen.notes] != [_written(note) for note in system.notes]:
        return None, "notes too close in time"
    tick = Fraction(1, quarter_width * layout.space)
    moved = max(abs(a.onset - b.onset) for a, b in zip(seen.notes, system.notes, strict=True))
    return (replace(seen, measures=lengths, beat=system.beat), "") if moved <= tick else (None, "notes too close in time")


def _until(note: Note, end: Fraction) -> Note:
    """Return a note that ends with its system; one that goes on is tied into the next."""
    return replace(note, duration=min(note.offset, end) - note.onset, goes_on=note.offset > end)


def _written(note: Note) -> tuple[int, int, int, str, bool, bool]:
    return note.staff, note.step, note.alter, note.accidental, note.continued, note.goes_on
