"""Engrave MIDI files of all kinds with `diptych music sheet`, and count how many give a right page.

    python experiments/music/any_midi/run.py FILES... --out results.jsonl

verovio, which is no part of what writes the MusicXML, plays it back. Its notes are compared with those that mido reads from the
file, percussion aside: a pair has one pitch, and onsets within a tenth of a quarter. In a performance that follows no beat of its
file, whose onsets are moved to the beats that are found, notes are compared in their order instead. The
printed pages are then read by templates of note heads (heads.py): what stands out in the picture as a head is compared with the
places where verovio put heads. A page is right where F1 of the notes is at least 0.98, verovio draws a head for every note, and
F1 of the heads that templates read is at least 0.95. Each file has a process of its own, so that a crash or a long run costs one
file. The results are appended, and files that are there already are left out.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import time
from bisect import bisect_right
from collections import defaultdict
from pathlib import Path

from heads import read_heads

TOLERANCE = 0.1  # quarters
RIGHT, LEGIBLE = 0.98, 0.95  # F1 of notes, and of heads that are read from the pages
PAGES = 2  # of a file that are read by templates, evenly spread
SECONDS = 240  # for one file


def main() -> None:
    parser = argparse.ArgumentParser(description="Engrave MIDI files and count the right pages.")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--one", action="store_true", help="judge the only file in this process, and print its result")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(judge(args.files[0], args.out)))
        return
    done = {json.loads(line)["path"] for line in args.out.read_text().splitlines()} if args.out.exists() else set()
    for path in args.files:
        if str(path) not in done:
            with open(args.out, "a") as file:
                file.write(json.dumps({"path": str(path), **in_a_process(path, args.out)}) + "\n")
    print(table([json.loads(line) for line in args.out.read_text().splitlines()]))


def in_a_process(path: Path, out: Path) -> dict[str, object]:
    try:
        run = subprocess.run(
            [sys.executable, __file__, path, "--out", out.with_suffix(".musicxml"), "--one"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"takes more than {SECONDS} s"}
    if run.returncode:
        return {"error": f"ends with {run.returncode}: {run.stderr.strip().splitlines()[-1] if run.stderr else ''}"}
    return json.loads(run.stdout.strip().splitlines()[-1])


def judge(path: Path, out: Path) -> dict[str, object]:
    """Engrave one file as MusicXML with the command, and compare."""
    from diptych.cli import main as diptych
    from diptych.music.mei import verovio_toolkit
    from diptych.music.midi import SCORE_GRID, read_midi
    from diptych.music.performances import is_performance
    from diptych.music.score_pages import engrave_pages

    started = time.process_time()
    out.unlink(missing_ok=True)  # the command overwrites nothing
    code = diptych(["music", "sheet", str(path), "--out", str(out)])
    if code:
        return {"refused": code}
    text = out.read_text()
    pages = engrave_pages(text)
    engraver = verovio_toolkit()
    engraver.resetOptions()
    engraver.loadData(text)
    back = out.with_suffix(".mid")
    back.write_bytes(base64.b64decode(engraver.renderToMIDI()))
    true, found = notes_of(path), notes_of(back, percussion=())  # verovio gives the tenth part the channel of percussion
    performed = is_performance(read_midi(path, SCORE_GRID))
    matched = count_in_order(true, found) if performed else count_matches(true, found)
    chosen = [pages[k * len(pages) // min(PAGES, len(pages))] for k in range(min(PAGES, len(pages)))]
    legible = read_heads(chosen)
    heads = sum(page.count('class="notehead"') for page in pages)
    written = text.count("<pitch>")
    return {
        "notes": sum(map(len, true.values())),
        "printed": sum(map(len, found.values())),
        "performed": performed,
        "f1": round(2 * matched / max(1, sum(map(len, true.values())) + sum(map(len, found.values()))), 4),
        "heads": round(heads / max(1, written), 4),
        "read": round(legible, 4),
        "pages": len(pages),
        "seconds": round(time.process_time() - started, 1),
    }


def notes_of(path: Path, percussion: tuple[int, ...] = (9,)) -> dict[int, list[float]]:
    """The onsets in quarters of each pitch, read by mido alone; channels of percussion are left out."""
    import mido

    file = mido.MidiFile(path, clip=True)
    found: dict[int, list[float]] = defaultdict(list)
    for track in file.tracks:
        ticks, once = 0, set()
        for message in track:
            ticks += message.time
            if message.type == "note_on" and message.velocity and message.channel not in percussion:
                if (ticks, message.channel, message.note) not in once:  # struck twice at once, it has one head
                    found[message.note].append(round(ticks / file.ticks_per_beat, 3))
                once.add((ticks, message.channel, message.note))
    return {pitch: sorted(onsets) for pitch, onsets in found.items()}


def count_matches(true: dict[int, list[float]], found: dict[int, list[float]]) -> int:
    """The largest number of pairs of one pitch whose onsets are near; on a line, taking the earliest that fits is optimal."""
    total = 0
    for pitch, onsets in true.items():
        others, k = found.get(pitch, []), 0
        for onset in onsets:
            while k < len(others) and others[k] < onset - TOLERANCE:
                k += 1
            if k < len(others) and others[k] <= onset + TOLERANCE:
                total += 1
                k += 1
    return total


def count_in_order(true: dict[int, list[float]], found: dict[int, list[float]]) -> int:
    """The number of notes that are printed in the order of a performance, whose beats are found and so have no true place.

    The k-th notes of each pitch are one pair; the longest sequence of pairs that is in order in both counts.
    """
    pairs = sorted(pair for pitch, onsets in true.items() for pair in zip(onsets, found.get(pitch, []), strict=False))
    ends: list[float] = []  # of the sequences of each length, the earliest
    for _, place in pairs:
        k = bisect_right(ends, place)
        ends[k : k + 1] = [place]
    return len(ends)


def table(rows: list[dict[str, object]]) -> str:
    """The results as Markdown, and the share of right pages."""
    lines = ["| file | notes | F1 | heads | read | pages | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    good = 0
    for row in rows:
        f1, heads, read = (float(row.get(name, 0)) for name in ("f1", "heads", "read"))  # type: ignore[arg-type]
        right = f1 >= RIGHT and heads >= 1 and read >= LEGIBLE
        good += right
        said = "right" if right else row.get("error") or ("refused" if "refused" in row else "wrong")
        values = " | ".join(str(row.get(name, "")) for name in ("notes", "f1", "heads", "read", "pages"))
        lines.append(f"| {Path(str(row['path'])).name} | {values} | {said} |")
    return "\n".join([*lines, "", f"{good} of {len(rows)} pages are right ({good / len(rows):.0%})"])


if __name__ == "__main__":
    main()
