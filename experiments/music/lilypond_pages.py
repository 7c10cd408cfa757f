"""Build pages of LilyPond and the exact maps of their symbols, as `diptych music symbols` does with verovio.

python lilypond_pages.py SCORES --lilypond FOLDER/bin --out pages --works 80

LilyPond gives each symbol the colour of its class, in an SVG that is drawn twice: in black, and in the grays of the classes.
Works are those that `diptych music symbols` trains on; pages are the beginnings of their voices (see engraved_pages.py).
"""

import argparse
import random
import re
import subprocess
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

from engraved_pages import voice_of
from PIL import Image

from diptych.music.build import BuildConfig, assign_splits
from diptych.music.score_files import find_scores
from diptych.music.symbol_pages import seen_pair
from diptych.music.symbols import CLASS, SYMBOL_SCALE, SYMBOLS, map_of, rasterise

PALE = 200  # gray from which on the edge of a letter is paper
COLOURS = r"""
#(define (shade number) (rgb-color (/ number 255.0) 0 0))
#(define (grace? grob) (< (ly:grob-property grob 'font-size 0) -1))
#(define (by-log table)
   (lambda (grob)
     (let* ((holder (if (grob::has-interface grob 'flag-interface) (ly:grob-parent grob X) grob))
            (log (ly:grob-property holder 'duration-log 2)))
       (if (grace? grob) black (shade (list-ref table (max 0 (min 5 log))))))))
#(define (by-sign alteration) (shade (cond ((> alteration 0) {sharp}) ((< alteration 0) {flat}) (else {natural}))))
#(define (of-accidental grob) (if (grace? grob) black (by-sign (ly:grob-property grob 'alteration 0))))
#(define (of-key grob)
   (let ((signs (ly:grob-property grob 'alteration-alist '()))) (if (pair? signs) (by-sign (cdar signs)) black)))
#(define (of-clef grob)
   (let ((glyph (ly:grob-property grob 'glyph)))
     (cond ((not (string? glyph)) black)
           ((string-prefix? "clefs.G" glyph) (shade {clef G}))
           ((string-prefix? "clefs.F" glyph) (shade {clef F}))
           ((string-prefix? "clefs.C" glyph) (shade {clef C}))
           (else black))))
#(define (usual number) (lambda (grob) (if (grace? grob) black (shade number))))
\layout { \context { \Score
  \override NoteHead.color = #(by-log '({hollow head} {hollow head} {head} {head} {head} {head}))
  \override Flag.color = #(by-log '(0 0 0 {flag} {two flags} {three flags}))
  \override Rest.color = #(by-log '({long rest} {long rest} {quarter rest} {eighth rest} {16th rest} {32nd rest}))
  \override MultiMeasureRest.color = #(shade {long rest})
  \override Accidental.color = #of-accidental
  \override AccidentalCautionary.color = #of-accidental
  \override KeySignature.color = #of-key
  \override KeyCancellation.color = #(shade {natural})
  \override Clef.color = #of-clef
  \override ClefModifier.color = #(shade {clef G})
  \override TimeSignature.color = #(shade {digit})
  \override TupletNumber.color = #(shade {digit})
  \override Stem.color = #(usual {stem})
  \override Beam.color = #(usual {beam})
  \override BarLine.color = #(shade {bar line})
  \override Tie.color = #(shade {curve})
  \override Slur.color = #(shade {curve})
  \override PhrasingSlur.color = #(shade {curve})
  \override OttavaBracket.color = #(shade {octave sign})
  \override Dots.color = #(shade {dot})
} }
"""
"""Colours by the class of a symbol; the red of a colour is the number of the class, and grace notes are black."""


def colours():
    """Return LilyPond's settings with the numbers of classes in them."""
    return re.sub(r"\{([a-zA-Z0-9 ]+)\}", lambda name: str(CLASS[name[1]]), COLOURS)


def engrave(works, options):
    """Engrave the voices of works as SVG; yield the name of a work, and its page."""
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "colours.ily").write_text(colours())
    for work in works:
        if not voice_of(work.path, folder / f"{work.name}.musicxml"):
            continue
        subprocess.run(
            [options.lilypond / "musicxml2ly", "-o", work.name, f"{work.name}.musicxml"], cwd=folder, capture_output=True
        )
        source = folder / f"{work.name}.ly"
        if not source.exists():
            continue
        version, rest = source.read_text().split("\n", 1)
        source.write_text(f'{version}\n\\include "colours.ily"\n{rest}')
        command = [options.lilypond / "lilypond", "-dno-point-and-click", "-dbackend=svg", "-l", "ERROR", source.name]
        subprocess.run(command, cwd=folder, capture_output=True)
        for page in sorted([*folder.glob(f"{work.name}.svg"), *folder.glob(f"{work.name}-*.svg")]):
            yield work.name, page


def plain(element):
    """Remove the namespace from the names of all elements, as rasterise expects."""
    for child in element.iter():
        child.tag = child.tag.split("}")[-1]
    return element


def draw_ink(page, width, turn, serif):
    ink = ET.Element("g", {"color": "black"})
    for child in page:
        copied = ET.fromstring(ET.tostring(child))  # noqa: S314 - LilyPond wrote it
        for group in copied.iter("g"):
            group.attrib.pop("color", None)
        ink.append(copied)
    return rasterise(ink, page, box_of(page), width, turn, serif)


def draw_classes(page, width, turn):
    ink = ET.Element("g", {"shape-rendering": "crispEdges"})
    found = []
    for group in page.iter("g"):
        red = re.match(r"rgba\(([\d.]+)%", group.get("color", ""))
        if red and (number := round(float(red[1]) * 2.55)):
            found.append((number, group))
    for number, group in sorted(found, key=lambda pair: pair[0]):
        outer = ET.SubElement(ink, "g", {"color": f"#{number:02x}{number:02x}{number:02x}"})
        outer.extend(group)
    return without_letters(map_of(rasterise(ink, page, box_of(page), width * SYMBOL_SCALE, turn)))


def without_letters(symbols):
    """Settle the pixels of text, such as a tuplet's number, whose edges are drawn in grays between its class and white."""
    symbols[symbols >= PALE] = 0
    symbols[symbols >= len(SYMBOLS)] = CLASS["digit"]
    return symbols


def box_of(page):
    return tuple(float(number) for number in page.get("viewBox").split())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores")
    parser.add_argument("--lilypond", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--works", type=int, default=80)
    parser.add_argument("--folder", type=Path, default=Path("coloured"))
    options = parser.parse_args()
    works = [work for work in assign_splits(find_scores([options.scores]), BuildConfig(seed=0)) if work.split == "train"]
    random.Random("lilypond").shuffle(works)
    for kind in ("page", "symbols"):
        (options.out / kind).mkdir(parents=True, exist_ok=True)
    names = set()
    for name, path in engrave(works, options):
        names.add(name)
        if len(names) > options.works:
            break
        page = plain(ET.parse(path).getroot())  # noqa: S314 - LilyPond wrote it
        drawn, symbols = seen_pair(box_of(page)[2], partial(draw_ink, page), partial(draw_classes, page), path.stem)
        for kind, picture in (("page", drawn), ("symbols", symbols)):
            Image.fromarray(picture).save(options.out / kind / f"lilypond-{path.stem}.png")
        print(path.stem, drawn.shape, flush=True)


if __name__ == "__main__":
    main()
