"""Fifty people at once answer 100 trials each: how long does a request take?"""

import argparse
import random
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from served import serving, study_in

from diptych.study.folder import Secrets
from diptych.study.protocol import Protocol
from diptych.study.simulate import Browser, take_part
from diptych.study.store import Store

PEOPLE, TRIALS, PORT = 50, 100, 20_675


def main() -> None:
    """Print how many answers are stored, and how long requests took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--show-ms", type=int, default=1000, metavar="MS", help="how long each picture is shown (default: 1000)")
    show_ms = parser.parse_args().show_ms
    with tempfile.TemporaryDirectory() as folder:
        study = study_in(Path(folder), Protocol(practice=0, trials=TRIALS, show_ms=show_ms), number=120, side=256)
        store, keys, browsers, began = Store(study.folder), Secrets.load(study.folder), [], time.monotonic()
        with serving(study, PORT) as url, ThreadPoolExecutor(PEOPLE) as pool:

            def person(seed: int) -> None:
                browsers.append(Browser(url))
                take_part(study, keys, store, browsers[-1], {"one": 0.3, "two": 0.3}, 0.0, random.Random(seed))

            list(pool.map(person, range(PEOPLE)))
        stored = sum(len(p.answers) for p in store.participants())
        store.close()
    times = 1000 * np.concatenate([browser.timings for browser in browsers])
    median, most = np.quantile(times, [0.5, 0.99])
    print(f"{stored} of {PEOPLE * TRIALS} answers stored in {time.monotonic() - began:.0f} s")
    print(f"{len(times)} requests: median {median:.0f} ms, 99 % at most {most:.0f} ms, longest {times.max():.0f} ms")


if __name__ == "__main__":
    main()
