"""Why notes are lost: scores as read, and read again with the true clefs and the true key.

python diagnose.py BUILT SNAPSHOT [SPLIT [MOST [THRESHOLD]]]
"""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from diptych.inference.translator import Translator
from diptych.music.dataset import MusicDataset, from_json
from diptych.music.note_metrics import NoteCounts, count_matches, summarise
from diptych.music.notes import CLEFS, apply_accidentals
from diptych.music.roll import read_roll
from diptych.music.sign_rolls import read_signs


def renamed(seen, clefs):
    """The same places read in other clefs."""
    moved = [CLEFS[to] - CLEFS[of] for to, of in zip(clefs, seen.clefs, strict=True)]
    return replace(seen, clefs=clefs, notes=tuple(replace(note, step=note.step + moved[note.staff]) for note in seen.notes))


def unmarked(system):
    """The same system without keys and accidentals: what is left are places."""
    return apply_accidentals(replace(system, fifths=0, notes=tuple(replace(note, accidental="") for note in system.notes)))


def main(folder, snapshot, split="val", most="300", threshold="0.5"):
    built, translate = MusicDataset.load(Path(folder)), Translator.load(snapshot).pixels
    kinds = ("as read", "true clef", "true clef and key", "places alone")
    read = read_signs if built.layout.signs else read_roll
    scores, keys, clefs = {kind: {} for kind in kinds}, Counter(), Counter()
    for name, records in built.pages(split, int(most)).items():
        page = translate(built.page("sheet", split, name))
        for record in records:
            truth = from_json(record)
            seen = read(built.row(page, record), built.layout, float(threshold), built.clef)
            clear = renamed(seen, truth.clefs)
            keys[truth.fifths, seen.fifths] += 1
            clefs[truth.clefs, seen.clefs] += 1
            readings = (seen, apply_accidentals(clear), apply_accidentals(replace(clear, fifths=truth.fifths)), unmarked(clear))
            for kind, reading in zip(kinds, readings, strict=True):
                true = unmarked(truth) if kind == "places alone" else truth
                work = scores[kind]
                work[record["work"]] = work.get(record["work"], NoteCounts()) + count_matches(true, reading)
    for kind, by_work in scores.items():
        print(f"{kind:<20}" + "  ".join(f"{k} {v.value:.3f}" for k, v in list(summarise(by_work).items())[:4]))
    print("keys (true, read):", keys.most_common(12))
    print("clefs (true, read):", clefs.most_common(4))


if __name__ == "__main__":
    main(*sys.argv[1:])
