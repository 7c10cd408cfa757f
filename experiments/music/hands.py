"""How often the hands of pianos are split as the score has them: by diptych.music.hands, and at middle C.

python hands.py SCORE...
"""

import sys
from fractions import Fraction
from pathlib import Path

from diptych.music.engrave import engrave
from diptych.music.hands import split_hands
from diptych.music.layout import QUARTER_WIDTHS
from diptych.music.mei import load_mei, parts, select_staves
from diptych.music.midi import PlayedNote


def piano_of(path):
    """The notes of a score's first part of two staves, each with its staff; none without such a part."""
    mei = load_mei(path)
    staves = next((staves for staves in parts(mei) if len(staves) == 2), None)
    if staves is None:
        return []
    start, found = Fraction(0), []
    for measure in engrave(select_staves(mei, staves), QUARTER_WIDTHS[0]).measures:
        for note in measure.notes:
            found.append((PlayedNote(start + note.onset, start + note.offset, note.midi, 64, 0), note.staff))
        start += measure.length
    return sorted(found, key=lambda each: (each[0].onset, each[0].pitch))


def main(paths):
    notes = hands = middle_c = 0
    pianos = [found for path in paths if (found := piano_of(Path(path)))]
    for found in pianos:
        left = split_hands([note for note, _ in found])
        notes += len(found)
        hands += sum(side == bool(staff) for side, (_, staff) in zip(left, found, strict=True))
        middle_c += sum((note.pitch < 60) == bool(staff) for note, staff in found)
    print(f"{notes:,} notes of {len(pianos)} pianos: hands {hands / notes:.3f}, middle C {middle_c / notes:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
