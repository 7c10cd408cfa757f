"""Read pages of several engravers and compare the notes with those of the scores.

python engraved_pages.py exact SCORES              # rules alone, from the exact maps of verovio's pages
python engraved_pages.py verovio SCORES --snapshot SNAPSHOT [--scan]
python engraved_pages.py lilypond SCORES --snapshot SNAPSHOT --lilypond FOLDER/bin [--scan]
python engraved_pages.py musescore SCORES --snapshot SNAPSHOT --webmscore FOLDER [--scan]

Works are those of the composers that `diptych music symbols` keeps for testing and validation, without the composers in --not.
LilyPond comes with `pip install lilypond` (FOLDER is lilypond-binaries), MuseScore with `npm install webmscore` (run by node).
With these two, works are the beginnings of voices, in the engraver's own layout. Each page is a line of --out.
"""

import argparse
import json
import random
import subprocess
import xml.etree.ElementTree as ET
import zipfile
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.music.build import BuildConfig, assign_splits
from diptych.music.free_pages import FreeStyle, free_pages, free_style
from diptych.music.free_reading import joined, read_pages
from diptych.music.mei import load_mei
from diptych.music.note_metrics import NoteCounts, _matches, summarise
from diptych.music.page_geometry import read_geometry
from diptych.music.page_reading import read_systems
from diptych.music.printed_times import write_rest
from diptych.music.scans import random_scan, scanned
from diptych.music.score_files import find_scores
from diptych.music.symbol_pages import pages_of
from diptych.music.symbols import draw_page, draw_symbols

MEASURES = 32  # of a voice that are engraved by LilyPond and MuseScore
MUSESCORE = """
import fs from 'fs'
const { default: loaded } = await import(process.argv[2] + '/webmscore.nodejs.cjs')
const WebMscore = loaded.default ?? loaded
await WebMscore.ready
for (const name of process.argv.slice(3)) {
  const score = await WebMscore.load('musicxml', new Uint8Array(fs.readFileSync(name)))
  const pages = await score.npages()
  for (let page = 0; page < pages; page++)
    fs.writeFileSync(name.replace(/musicxml$/, `${page}.png`), await score.savePng(page, true, false))
  score.destroy()
}
"""


def composer(work):
    return work.path.parts[-4]


def within_measures(true, lengths, read, read_lengths):
    """Return how many notes have their pitch and place in their measure, where measures are aligned in their order."""
    true, read = by_measure(true, lengths), by_measure(read, read_lengths)
    best = np.zeros((len(true) + 1, len(read) + 1), int)
    for i, a in enumerate(true, 1):
        for j, b in enumerate(read, 1):
            best[i, j] = max(best[i - 1, j], best[i, j - 1], best[i - 1, j - 1] + sum((a & b).values()))
    return int(best[-1, -1])


def by_measure(notes, lengths):
    starts = np.cumsum([0, *lengths])
    found = [Counter() for _ in starts]
    for note in notes:
        number = int(np.searchsorted(starts, note.onset, side="right")) - 1
        found[number][Fraction(note.onset) - starts[number], note.staff, note.midi] += 1
    return found


def compare(true, measures, reading):
    """Return the counts of the whole page, and those where each note is compared within its measure."""
    matched = len(_matches(list(true), list(reading.notes), offsets=False))
    inside = within_measures(true, measures, reading.notes, reading.measures)
    sizes = len(true), len(reading.notes)
    return NoteCounts(*sizes, matched), NoteCounts(*sizes, inside)


def exact_reading(page):
    """Read a page of verovio from the exact map of its symbols, with staves found in its picture."""
    gray = draw_page(page.drawing, round(page.width * 12))
    found = read_geometry(gray)
    symbols = draw_symbols(page.drawing, found.gray.shape[1])
    high = found.gray.shape[0]
    return joined(read_systems(np.pad(symbols, ((0, max(0, high - len(symbols))), (0, 0)))[:high], found))


def voice_of(path, out):
    """Write the beginning of a score's first part, if that has one staff, as MusicXML in no layout of its own; say whether."""
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith(("xml", "musicxml")) and "META-INF" not in name)
        root = ET.fromstring(archive.read(name))  # noqa: S314 - the data set is known
    first, *others = root.findall("part")
    if first.find(".//staves") is not None:
        return False
    for part in others:
        root.remove(part)
    listed = root.find("part-list")
    for child in list(listed):
        if child.get("id") != first.get("id"):
            listed.remove(child)
    for child in root.findall("defaults") + root.findall("credit"):
        root.remove(child)
    for measure in first.findall("measure")[MEASURES:]:
        first.remove(measure)
    for measure in first:
        for child in measure.findall("print") + measure.findall("direction"):
            # musicxml2ly writes these dynamics as syntax errors, and LilyPond drops notes beside them
            if child.tag == "print" or child.find("direction-type/dynamics/other-dynamics") is not None:
                measure.remove(child)
    ET.ElementTree(root).write(out, encoding="UTF-8", xml_declaration=True)
    return True


def lengths_in(path):
    """Return the lengths of the measures of a score's first part in quarters, as MusicXML has them."""
    lengths, divisions = [], 1
    for measure in ET.parse(path).getroot().find("part"):  # noqa: S314 - it was written here
        divisions = int(measure.findtext("attributes/divisions", divisions))
        now = last = 0
        for child in measure:
            lasts = int(child.findtext("duration", 0)) if child.find("chord") is None else 0
            now += -lasts if child.tag == "backup" else lasts
            last = max(last, now)
        lengths.append(Fraction(last, divisions))
    return lengths


def fill_short_rests(mei, lengths):
    """Write the rests of incomplete measures out, since verovio gives a measure's rest there no time."""
    for measure, length in zip(mei.iter("measure"), lengths, strict=True):
        if measure.get("metcon") != "false":
            continue
        for layer in measure.iter("layer"):
            if [child.tag for child in layer] == ["mRest"]:
                write_rest(layer, length)


def truth_of(path):
    """Return the notes of a score of one staff, and the lengths of its measures."""
    from diptych.music.mei import select_staves

    mei = load_mei(path)
    fill_short_rests(mei, lengths_in(path))
    start, notes, measures = Fraction(0), [], []
    for page in free_pages(select_staves(mei, [mei.find(".//staffDef").get("n")]), FreeStyle(height=400.0)):
        notes += [replace(note, onset=note.onset + start) for note in page.notes if not (note.continued and measures)]
        start += sum(page.measures)
        measures += page.measures
    return notes, measures


def engrave_elsewhere(options, paths):
    """Engrave MusicXML files in their folder by LilyPond or MuseScore, at about 200 dpi."""
    folder = paths[0].parent
    if options.engraver == "musescore":
        (folder / "engrave.mjs").write_text(MUSESCORE)
        command = ["node", "--no-experimental-fetch", "engrave.mjs", Path(options.webmscore).resolve()]
        for path in paths:  # a second score in one process ends it
            subprocess.run([*command, path.name], cwd=folder)
        return
    command = [f"{options.lilypond}/lilypond", "-dno-point-and-click", "-l", "WARN", "--png", "-dresolution=200"]
    for path in paths:
        subprocess.run([f"{options.lilypond}/musicxml2ly", "-o", path.stem, path.name], cwd=folder, capture_output=True)
        said = subprocess.run([*command, f"{path.stem}.ly"], cwd=folder, capture_output=True, text=True).stderr
        (folder / f"{path.stem}.log").write_text(said)


def misprinted(log):
    """Whether LilyPond said that it left music out, or that bar lines are not where the score has them."""
    return log.exists() and any(word in log.read_text() for word in ("error:", "check failed"))


def other_meter(path):
    """Whether measures last longer than the meter that a part prints, as where another part has another meter."""
    meter = None
    for measure, length in zip(ET.parse(path).getroot().find("part"), lengths_in(path), strict=True):  # noqa: S314 - it was written here
        time = measure.find("attributes/time")
        if time is not None and time.findtext("beats", "").isdigit():
            meter = Fraction(4 * int(time.findtext("beats")), int(time.findtext("beat-type")))
        if meter is not None and length > meter:
            return True
    return False


def on_white(path):
    image = Image.open(path).convert("RGBA")
    return np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("L"))


def verovio_pages(works, options):
    """Yield name, composer, style, picture or None for an exact reading, the page, its notes and measures."""
    for work in works:
        try:
            page, name = next(pages_of(work, 1, options.seed if options.styles is None else options.styles))
        except Exception as error:
            print(f"{work.name}: left out, {error}")
            continue
        if not page.notes or ({note.staff for note in page.notes} != {0}) != options.piano:
            continue
        yield work, free_style(name.rsplit(" ", 1)[0]), page, page.notes, page.measures


def other_pages(works, options):
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = []
    for work in works:
        if len(chosen) < options.works and voice_of(work.path, folder / f"{work.name}.musicxml"):
            chosen.append(work)
    if not any(folder.glob("*.png")):
        engrave_elsewhere(options, [folder / f"{work.name}.musicxml" for work in chosen])
    for work in chosen:
        pages = sorted([*folder.glob(f"{work.name}.png"), *folder.glob(f"{work.name}[.-]*.png")])
        if not pages or misprinted(folder / f"{work.name}.log"):
            print(f"{work.name}: left out, {'its music was not all engraved' if pages else 'not engraved'}")
            continue
        if other_meter(folder / f"{work.name}.musicxml"):
            print(f"{work.name}: left out, its measures are longer than its meter")
            continue
        yield work, None, [on_white(page) for page in pages], *truth_of(folder / f"{work.name}.musicxml")


def dirty(picture, name):
    """Simulate how a page is scanned."""
    dice = random.Random(name)
    space = 12.0
    turned = Image.fromarray(picture).rotate(dice.uniform(-1, 1), Image.Resampling.BICUBIC, fillcolor=255)
    return scanned(np.array(turned), space, random_scan(dice), dice.randrange(2**31))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engraver", choices=["exact", "verovio", "lilypond", "musescore"])
    parser.add_argument("scores")
    parser.add_argument("--snapshot", type=Path)
    parser.add_argument("--works", type=int, default=40)
    parser.add_argument("--skip", type=int, default=0, help="leave out so many works at the beginning of the order")
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--styles", type=int, help="with verovio, a seed of its own for the style of each work (default: --seed)")
    parser.add_argument("--scan", action="store_true")
    parser.add_argument("--piano", action="store_true", help="with verovio and exact, take systems of two staves, and no others")
    parser.add_argument("--not", dest="without", nargs="*", default=[], help="folders of composers to leave out")
    parser.add_argument("--lilypond")
    parser.add_argument("--webmscore")
    parser.add_argument("--folder", default="engraved")
    parser.add_argument("--out", type=Path, default=Path("pages.jsonl"))
    options = parser.parse_args()
    works = [w for w in assign_splits(find_scores([options.scores]), BuildConfig(seed=0)) if w.split in ("test", "val")]
    works = [work for work in works if composer(work) not in options.without]
    random.Random(options.seed).shuffle(works)
    works = works[options.skip :]
    translate = None
    if options.engraver != "exact":
        from diptych.cli.music_pages import symbols_of

        translate = symbols_of(options.snapshot, "cpu")
    pages = (verovio_pages if options.engraver in ("exact", "verovio") else other_pages)(works, options)
    groups, number = {}, 0
    for work, style, shown, notes, measures in pages:
        if options.engraver == "exact":
            reading = exact_reading(shown)
        else:
            pictures = shown if style is None else [draw_page(shown.drawing, round(shown.width * 12))]
            if options.scan:
                pictures = [dirty(picture, f"{work.name} {k}") for k, picture in enumerate(pictures)]
            try:
                reading = read_pages(work.path, pictures, translate).joined()
            except Exception as error:
                print(f"{work.name}: refused, {error}")
                continue
        whole, inside = compare(notes, measures, reading)
        f = [2 * c.matched / max(1, c.reference + c.estimated) for c in (whole, inside)]
        line = {"work": work.name, "engraver": options.engraver, "scan": options.scan, "notes": whole.reference}
        line |= {"read": whole.estimated, "f1": round(f[0], 3), "in_measures": round(f[1], 3), "confidence": reading.confidence}
        line |= {"font": style.font, "clef": style.clef or "own"} if style else {}
        print(json.dumps(line), flush=True)
        with options.out.open("a") as out:
            out.write(json.dumps(line) + "\n")
        for group in ("all", *((f"font {style.font}", f"clef {style.clef or 'own'}") if style else ())):
            for counts, what in ((whole, "whole page"), (inside, "within measures")):
                by_composer = groups.setdefault((group, what), {})
                by_composer[composer(work)] = by_composer.get(composer(work), NoteCounts()) + counts
        number += 1
        if number == options.works:
            break
    for (group, what), by_composer in sorted(groups.items()):
        total = sum(by_composer.values(), NoteCounts()).reference
        e = summarise(by_composer)["f1"]
        print(f"{group:14} {what:16} {e.value:.3f} [{e.low:.3f}, {e.high:.3f}]  {total:,} notes of {len(by_composer)} composers")


if __name__ == "__main__":
    main()
