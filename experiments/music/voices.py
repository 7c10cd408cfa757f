"""How often the voices of pianos are those of the score, where a staff has two or more in a measure.

python voices.py SCORE...

Notes of one measure and staff are compared in pairs, whether two are in one voice; F1 is over all pairs. Notes that begin and end
together in two voices are one chord to whoever does not see the stems, and count as the score has them.
"""

import sys
import xml.etree.ElementTree as ET
from fractions import Fraction
from itertools import combinations
from pathlib import Path

from diptych.music.engrave import note_of, times_of
from diptych.music.mei import ID, load_mei, parts, select_staves, verovio_toolkit, without_graces
from diptych.music.note_values import write_measure
from diptych.music.printed_times import count_empty


def measures_of(path):
    """The measures of a score's first part of two staves that have several voices on a staff: length, and voices of each note."""
    mei = load_mei(path)
    staves = next((staves for staves in parts(mei) if len(staves) == 2), None)
    if staves is None:
        return
    plain = without_graces(select_staves(mei, staves))
    count_empty(plain)
    engraver = verovio_toolkit()
    engraver.resetOptions()
    engraver.loadData(ET.tostring(plain, encoding="unicode"))
    times = times_of(engraver.renderToTimemap({"includeMeasures": True}))
    for measure in plain.iter("measure"):
        if measure.get(ID, "") not in times:
            continue
        begin, end = times[measure.get(ID)]
        for staff in measure.iter("staff"):
            voices = {}
            for number, layer in enumerate(staff.iter("layer")):
                for note in layer.iter("note"):
                    if (name := note.get(ID, "")) in times:
                        voices.setdefault(note_of(note, name, 0, begin, times), set()).add(number)
            if len(set().union(*voices.values())) > 1:
                yield end - begin, voices


def main(paths):
    measures = right = both = found = true = 0
    for length, voices in (measure for path in paths for measure in measures_of(Path(path))):
        written = {}
        for number, voice in enumerate(write_measure(voices, Fraction(0), length, Fraction(1))):
            for event in voice:
                for note in event.notes:
                    written.setdefault((note.onset, note.duration, note.midi), set()).add(number)
        pairs = list(combinations(voices, 2))
        here = [bool(voices[a] & voices[b]) for a, b in pairs]
        ours = [written.get((a.onset, a.duration, a.midi)) == written.get((b.onset, b.duration, b.midi)) for a, b in pairs]
        measures, right = measures + 1, right + (here == ours)
        both, found, true = both + sum(map(min, zip(here, ours, strict=True))), found + sum(ours), true + sum(here)
    print(f"{measures:,} measures: {right / measures:.3f} as in the score, pairs of notes F1 {2 * both / (found + true):.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
