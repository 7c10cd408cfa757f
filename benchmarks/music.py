"""Train a reader of sheets on music21's Bach chorales in about two minutes, and compare it with the nearest training example.

    python benchmarks/music.py [CHORALES [SPACE]]     the number of chorales, 200 of 410 by default; pixels per staff space, 4

Exits with 1 unless the reader's F1 on chorales it never saw is above 0.75 and 0.3 above that of the nearest training example.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import diptych
from diptych.inference.translator import Translator
from diptych.music.build import BuildConfig, build
from diptych.music.dataset import MusicDataset
from diptych.music.evaluate import baseline, evaluate
from diptych.music.recipes import music_read
from diptych.music.score_files import find_scores

MIN_F1, MIN_LEAD = 0.75, 0.3  # of the reader; over the nearest training example
EPOCHS = 4


def main() -> int:
    count, space = [*map(int, sys.argv[1:]), *(200, 4)[len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "bach"
        start = time.perf_counter()
        files = [str(path) for path in find_scores(["music21:bach"])]
        manifest = build(files[:: max(1, len(files) // count)][:count], out, BuildConfig(space=space, most=12))
        print(f"built    {time.perf_counter() - start:5.0f} s: {manifest['systems']} systems", flush=True)
        recipe = music_read()
        data = replace(recipe.data, source=(str(out / "sheet"), str(out / "roll")))
        data = replace(data, crop_size=data.crop_size * space // 4)
        epochs = EPOCHS * 16 // space**2  # the same number of pixels in total
        recipe = replace(
            recipe, method=replace(recipe.method, ngf=16), data=data, train=replace(recipe.train, decay_epochs=epochs)
        )
        start = time.perf_counter()
        diptych.train(recipe, Path(name) / "run", num_previews=0, num_validations=0)
        print(f"trained  {time.perf_counter() - start:5.0f} s", flush=True)
        built = MusicDataset.load(out)
        reader = Translator.load(Path(name) / "run" / "snapshot.safetensors").pixels
        found = evaluate(built, "read", reader).scores()["f1"]
        near = evaluate(built, "read", baseline("nearest", built, "read"), by_system=True).scores()["f1"]
    print(f"reader   F1 {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]")
    print(f"nearest  F1 {near.value:.3f} [{near.low:.3f}, {near.high:.3f}]")
    return int(not (found.value > MIN_F1 and found.value > near.value + MIN_LEAD))


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except diptych.DiptychError as error:  # most often that music21, which brings the chorales, is not installed
        raise SystemExit(f"error: {error}") from None
