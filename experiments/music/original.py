"""The set-up that failed, made again: 256 x 256 pictures, a roll that is an array of 128 pitches stretched by a resize.

python original.py build VOICE OUT     from what `diptych music build` wrote: OUT/{sheet,roll}/{train,test}/ID.png
python original.py score VOICE PRED [THRESHOLD]    F1 of rolls in PRED, read as 128 pitches; give OUT/roll/test for the ceiling
"""

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.music.dataset import MusicDataset, from_json
from diptych.music.note_metrics import NoteCounts, count_matches, summarise
from diptych.music.notes import Note
from diptych.music.spelling import spell

SIDE, PITCHES = 256, 128


def array_of(system):
    """128 pitches, the highest on top, by 128 equal parts of the system's time."""
    length, array = system.measure_starts[-1], np.zeros((PITCHES, PITCHES), np.uint8)
    for note in system.notes:
        first, last = (round(time / length * PITCHES) for time in (note.onset, note.offset))
        array[127 - note.midi, first : max(last, first + 1)] = 255
    return array


def notes_of(array, system, threshold):
    """Runs of lit cells as notes."""
    length, found = system.measure_starts[-1], []
    for pitch in range(PITCHES):
        lit = np.concatenate([[0], array[127 - pitch] >= 255 * threshold, [0]]).astype(int)
        for first, last in zip(np.flatnonzero(np.diff(lit) > 0), np.flatnonzero(np.diff(lit) < 0), strict=True):
            onset, end = (Fraction(int(k), PITCHES) * length for k in (first, last))
            step, alter = spell(pitch, system.fifths)
            found.append(Note(onset, 0, step, alter, end - onset))
    return replace(system, notes=tuple(sorted(found)))


def build(voice, out):
    built = MusicDataset.load(voice)
    for split in ("train", "test"):
        for name, records in built.pages(split, 0 if split == "train" else 1000).items():
            sheet = built.page("sheet", split, name)
            for record in records:
                pictures = {"sheet": built.row(sheet, record)[..., 0], "roll": array_of(from_json(record))}
                for kind, picture in pictures.items():
                    folder = out / kind / split
                    folder.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{record['id']}.png")


def score(voice, predictions, threshold=0.5):
    built, by_work = MusicDataset.load(voice), {}
    for records in built.pages("test", 1000).values():
        for record in records:
            truth = from_json(record)
            image = Image.open(next(predictions.glob(f"{record['id']}*.png"))).convert("L")
            found = notes_of(np.asarray(image.resize((PITCHES, PITCHES), Image.Resampling.BOX)), truth, float(threshold))
            by_work[record["work"]] = by_work.get(record["work"], NoteCounts()) + count_matches(truth, found)
    for name, estimate in summarise(by_work).items():
        print(f"{name:<20}{estimate.value:.3f}  [{estimate.low:.3f}, {estimate.high:.3f}]")


if __name__ == "__main__":
    {"build": build, "score": score}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
