"""Choose the clef and octave sign of each measure of a staff, so that few ledger lines are needed and no note is out of range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diptych.music.notes import CLEFS, Note

EDGE = 5  # staff steps from the middle line that need no ledger line
CLEF_CHANGE, OTHER_CLEF, OCTAVE_SIGN = 12.0, 1.0, 10.0
"""Costs, in ledger lines: a change of clef, a measure in another clef than the usual one, and an 8va that begins."""
OCTAVES = (0.0, 1.0, 16.0)
"""The cost of a measure without an octave sign, with 8va, and with 15ma."""
KEYBOARDS = {*range(0, 9), *range(16, 24), 46}  # General MIDI programs from 0: pianos, celesta, organs, harp
CHOICES = {41: ("C3", "G2"), 42: ("F4", "C4", "G2"), 57: ("F4", "C4"), 70: ("F4", "C4")}
"""Clefs by General MIDI program from 0, the usual one first: viola, cello, trombone, bassoon."""
USUAL = ("G2", "F4")


@dataclass(frozen=True)
class Placement:
    """The clef of a measure, and the octaves by which its notes sound higher (8va, 15ma) or lower than they are printed."""

    clef: str
    octaves: int = 0

    def position(self, note: Note) -> int:
        """Return where a note is printed, in staff steps upwards from the middle line."""
        return note.step - 7 * self.octaves - CLEFS[self.clef]


def choose_clefs(measures: Sequence[Sequence[Note]], clefs: Sequence[str]) -> list[Placement]:
    """Choose a placement for each measure of a staff from these clefs, the usual one first.

    The choice minimises the number of ledger lines and of changes (Viterbi); a measure without notes keeps what is there. Treble
    clef may be raised by one or two octaves, bass clef lowered.
    """
    states = [Placement(clef, octaves) for clef in clefs for octaves in {"G2": (0, 1, 2), "F4": (0, -1, -2)}.get(clef, (0,))]
    totals = [_change(Placement(clefs[0]), state) for state in states]
    history: list[list[int]] = []
    for notes in measures:
        best = [
            min(range(len(states)), key=lambda k, state=state: totals[k] + _change(states[k], state))  # type: ignore[misc]
            for state in states
        ]
        history.append(best)
        totals = [
            totals[k] + _change(states[k], state) + _cost(notes, state) + OTHER_CLEF * (state.clef != clefs[0])
            for k, state in zip(best, states, strict=True)
        ]
    index = min(range(len(states)), key=totals.__getitem__)
    found: list[Placement] = []
    for best in reversed(history):
        found.append(states[index])
        index = best[index]
    return found[::-1]


def _change(before: Placement, after: Placement) -> float:
    return CLEF_CHANGE * (before.clef != after.clef) + OCTAVE_SIGN * (after.octaves not in (0, before.octaves))


def _cost(notes: Sequence[Note], placement: Placement) -> float:
    """Return the cost of a measure's notes: their ledger lines, each beyond the third counting three times."""
    lines = [max(0, (abs(placement.position(note)) - EDGE + 1) // 2) for note in notes]
    return OCTAVES[abs(placement.octaves)] + sum(each + 2 * max(0, each - 3) for each in lines)
