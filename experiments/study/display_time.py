"""How long is each picture of 200 trials on screen in Chromium? Needs `pip install playwright` and Chromium."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright
from served import serving, study_in

from diptych.study.protocol import Protocol
from diptych.study.results import marks
from diptych.study.store import Store

TRIALS, PORT = 200, 20_777


def main() -> None:
    """Print mean, standard deviation, extremes, and how many are off by more than a frame."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder:
        study = study_in(Path(folder), Protocol(practice=0, trials=TRIALS), number=210, side=256)
        with serving(study, PORT) as url, sync_playwright() as started:
            browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(url)
            page.locator("#welcome button").click()
            for _ in range(TRIALS):
                page.wait_for_selector("#answers:not([hidden])", timeout=60_000)
                page.keyboard.press("ArrowLeft")
                page.wait_for_function("() => document.querySelector('#answers').hidden")
            page.wait_for_selector("#done:not([hidden])")
            version = browser.version
            browser.close()
        store = Store(study.folder)
        (person,) = store.participants()
        store.close()
    times = np.array([ms for answer in person.answers for ms in answer.shown_ms])
    frame = np.median([answer.frame_ms for answer in person.answers])
    late = sum("late" in marks(study, trial, answer) for trial, answer in zip(person.trials, person.answers, strict=True))
    print(f"Chromium {version}, frames of {frame:.2f} ms, {len(times)} pictures of {len(person.answers)} trials")
    print(f"mean {times.mean():.2f} ms, standard deviation {times.std():.2f}, from {times.min():.1f} to {times.max():.1f}")
    print(f"trials with a picture off by more than a frame: {late} of {TRIALS}")


if __name__ == "__main__":
    main()
