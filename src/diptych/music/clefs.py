"""Choose the clef and octave sign of each measure of a staff, so that few ledger lines are needed and no note is out of range."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from diptych.music.notes import CLEFS, Note

EDGE = 5  # staff steps from the middle line that need no ledger line
CLEF_CHANGE, OTHER_CLEF = 12.0, 1.0
"""Costs of a change of clef, and of a measure in another clef than the usual one."""
ANOTHER_FIRST = 2.0
"""The cost of a staff that begins in the other of treble and bass clef, less than a change, since no clef is there yet."""
OCTAVE_SIGN = {True: 10.0, False: 60.0}
"""The cost of an octave sign that begins, where these are usual (takes_octave_signs), and where players read ledger lines."""
OCTAVES = (0.0, 4.0, 24.0)
"""The cost of a measure without an octave sign, with 8va, and with 15ma."""
PRINTED_CLEFS = CLEFS | {"G2^8": CLEFS["G2"] + 7}
"""The diatonic step of the middle line by clef, for all that pages have: the last has an 8 above, as for recorders."""
NEAR_LINE, FAR_LINE, UNREADABLE_LINE, READABLE = 0.25, 2.25, 10.0, 5
"""The cost of a note for each of its first two ledger lines, for each further one, and for each after the fifth."""
KEYBOARDS = {*range(0, 9), *range(16, 24), 46}  # General MIDI programs from 0: pianos, celesta, organs, harp
OCTAVE_AWAY = {9, 13, *range(32, 40), 43, 72}
"""Programs whose parts are written an octave nearer than they sound: glockenspiel, xylophone, basses, double bass, piccolo."""
USUAL, LOW, ALTO, TENOR = ("G2", "F4"), ("F4", "G2"), ("C3", "G2"), ("F4", "C4")
CHOICES = {41: ALTO, 42: (*TENOR, "G2"), 57: TENOR, 70: TENOR} | dict.fromkeys((*range(32, 40), 43, 47, 58), LOW)
"""Clefs by General MIDI program from 0, the usual one first: viola, cello, trombone, bassoon; basses, timpani, tuba."""
VOICES = {"tenor": ("G2_8", "F4"), "tenore": ("G2_8", "F4")} | dict.fromkeys(
    ("bass", "basso", "basse", "bariton", "baritone"), LOW
)
"""Clefs of the low voices of a choir, by their whole names but for a number."""
NAMES = {
    "viola": 41,
    "bratsche": 41,
    "cello": 42,
    "contrabass": 43,
    "double bass": 43,
    "trombone": 57,
    "bassoon": 70,
    "fagott": 70,
}
"""The programs of instruments by what their names contain, for files that play them by another program."""


@dataclass(frozen=True)
class Placement:
    """The clef of a measure, and the octaves by which its notes sound higher (8va, 15ma) or lower than they are printed."""

    clef: str
    octaves: int = 0

    def position(self, note: Note) -> int:
        """Return where a note is printed, in staff steps upwards from the middle line."""
        return note.step - 7 * self.octaves - PRINTED_CLEFS[self.clef]


def takes_octave_signs(name: str, program: int | None) -> bool:
    """Return whether octave signs are usual for an instrument at sounding pitch: a keyboard, or one that reads other octaves."""
    number = _number(name, program)
    return number is None or number in KEYBOARDS | OCTAVE_AWAY


def usual_clefs(name: str, program: int | None) -> tuple[str, ...]:
    """Return the clefs of an instrument or a voice, the usual one first, by its name, else by its General MIDI program."""
    voice = re.sub(r"[\s.]*(\d+|i{1,3})?[\s.]*$", "", name.strip().casefold())
    if voice in VOICES:
        return VOICES[voice]
    number = _number(name, program)
    return USUAL if number is None else CHOICES.get(number, USUAL)


def _number(name: str, program: int | None) -> int | None:
    """Return the program of the instrument that a name contains, else the one that is given."""
    return next((number for part, number in NAMES.items() if part in name.casefold()), program)


def choose_clefs(
    measures: Sequence[Sequence[Note]], clefs: Sequence[str], *, octave_signs: bool = True, printed: Sequence[str] = ()
) -> list[Placement]:
    """Choose a placement for each measure of a staff from these clefs, the usual one first.

    Where the clef of each measure is known, it is ``printed``, and only octave signs are chosen.

    The choice minimises a sum of costs for ledger lines and changes (Viterbi). Treble clef may be raised by one or two octaves,
    bass clef lowered; without ``octave_signs`` this costs more.
    """
    sign = OCTAVE_SIGN[octave_signs]
    states = [Placement(clef, octaves) for clef in clefs for octaves in {"G2": (0, 1, 2), "F4": (0, -1, -2)}.get(clef, (0,))]
    another = ANOTHER_FIRST if set(clefs) == set(USUAL) else CLEF_CHANGE  # violas begin in alto clef, cellos in bass clef
    totals = [another * (state.clef != clefs[0]) + sign * (state.octaves != 0) for state in states]
    history: list[list[int]] = []
    for index, notes in enumerate(measures):
        ways = [[total + _change(before, after, sign) for total, before in zip(totals, states, strict=True)] for after in states]
        history.append([min(range(len(states)), key=each.__getitem__) for each in ways])
        totals = [min(each) + _cost(notes, state, clefs[0]) for each, state in zip(ways, states, strict=True)]
        if printed:
            totals = [total if state.clef == printed[index] else inf for total, state in zip(totals, states, strict=True)]
    index = min(range(len(states)), key=totals.__getitem__)
    found: list[Placement] = []
    for best in reversed(history):
        found.append(states[index])
        index = best[index]
    return found[::-1]


def _change(before: Placement, after: Placement, sign: float) -> float:
    return CLEF_CHANGE * (before.clef != after.clef) + sign * (after.octaves not in (0, before.octaves))


def _cost(notes: Sequence[Note], placement: Placement, usual: str) -> float:
    """Return the cost of a measure in a placement."""
    lines = [max(0, (abs(placement.position(note)) - EDGE + 1) // 2) for note in notes]
    heights = sum(NEAR_LINE * min(each, 2) + FAR_LINE * max(0, each - 2) for each in lines)
    heights += sum(UNREADABLE_LINE * max(0, each - READABLE) for each in lines)
    return heights + OCTAVES[abs(placement.octaves)] + OTHER_CLEF * (placement.clef != usual)
