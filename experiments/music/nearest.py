"""The nearest training example as a reader of a build without pairs: examples are taken from another build, of one clef.

python nearest.py BUILT FREE [MOST]
"""

import sys
from dataclasses import replace
from pathlib import Path

from diptych.music.dataset import MusicDataset
from diptych.music.evaluate import baseline, evaluate


def main(built, free, most="1000"):
    free, built = MusicDataset.load(Path(free)), MusicDataset.load(Path(built))
    tested = {record["work"] for record in free.records if record["split"] == "test"}
    records = tuple(r for r in built.records if r["work"] not in tested and (not free.clef or r["clefs"][0] == free.clef))
    near = baseline("nearest", replace(built, records=records), "read")
    for name, estimate in evaluate(free, "read", near, most=int(most), by_system=True).scores().items():
        print(f"{name:<20}{estimate.value:.3f}  [{estimate.low:.3f}, {estimate.high:.3f}]")


if __name__ == "__main__":
    main(*sys.argv[1:])
