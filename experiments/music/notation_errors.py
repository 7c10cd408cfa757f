"""Read engraved pages to MusicXML and compare the notation with that of the scores, in the units of published readers.

python notation_errors.py SCORES --piano --skip 220 --works 12
pip install musicdiff rapidfuzz                    # beside diptych; musicdiff brings music21 and converter21

The first page of each work is engraved by verovio in its own clefs, without lyrics and dynamics, and read by the translator that
ships. OMR-NED is musicdiff's edit distance over the number of symbols in both scores, for notes, rests, beams, ties, clefs, keys
and meters. The symbol error rate is the edit distance between the tokens of both scores as **kern, over those of the truth, where
a note's value, dots, pitch, accidental and tie are a token each and beams are none, much as in bekern (Rios-Vila et al. 2024).
"""

import argparse
import random
import re
import tempfile
import warnings
import xml.etree.ElementTree as ET
import zipfile
from dataclasses import replace
from pathlib import Path

import converter21
import music21
import musicdiff
from engraved_pages import composer
from musicdiff.detaillevel import DetailLevel
from rapidfuzz.distance import Levenshtein

from diptych.cli.music_pages import symbols_of
from diptych.music.arrangement import arrange
from diptych.music.build import BuildConfig, assign_splits
from diptych.music.free_pages import free_pages, free_style
from diptych.music.free_reading import read_pages, to_song
from diptych.music.mei import load_mei, parts, select_staves
from diptych.music.musicxml import to_musicxml
from diptych.music.score_files import find_scores
from diptych.music.symbols import draw_page
from diptych.music.translators import builtin_symbols

DETAIL = DetailLevel.NotesAndRests | DetailLevel.Beams | DetailLevel.Ties | DetailLevel.Signatures
NOTE = re.compile(r"\d+(?:%\d+)?|\.|[a-gA-Gr]+|[#n-]+|[\[\]_]|q+")
LEFT_OUT = ("direction", "harmony", "print", "sound", "listening", "figured-bass")


def truth_of(path, group, count):
    """The first measures of a part, as MusicXML of what a reader is asked for: without graces, words, dynamics and layout."""
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith(("xml", "musicxml")) and "META-INF" not in name)
        root = ET.fromstring(archive.read(name))  # noqa: S314 - the data set is known
    first = 0  # staves are numbered through all parts
    for part in root.findall("part"):
        staves = int(part.findtext(".//staves", "1"))
        kept = [first + k + 1 for k in range(staves)] == [int(number) for number in group]
        first += staves
        if not kept:
            root.remove(part)
            listed = root.find("part-list")
            listed.remove(next(child for child in listed if child.get("id") == part.get("id")))
    for child in root.findall("defaults") + root.findall("credit") + root.findall("part-list/part-group"):
        (root if child in list(root) else root.find("part-list")).remove(child)
    part = root.find("part")
    if part is None:
        return None
    for measure in part.findall("measure")[count:]:
        part.remove(measure)
    for measure in part:
        for child in list(measure):
            if child.tag in LEFT_OUT or child.find("grace") is not None:
                measure.remove(child)
            for word in child.findall("lyric") + child.findall("notations/articulations") + child.findall("notations/ornaments"):
                next(parent for parent in child.iter() if word in list(parent)).remove(word)
    return ET.tostring(root, encoding="unicode")


def kern_tokens(path):
    """The tokens of a score as **kern, line by line, without comments, beams and layout."""
    score = music21.converter.parse(path, forceSource=True)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(score.write("humdrum", Path(folder) / "score.krn")).read_text()
    tokens = []
    for line in text.splitlines():
        if line.startswith(("!", "*I", "*staff", "*part", "*MM", "*>", "*met")) or not line.strip("*\t"):
            continue
        for cell in line.split("\t"):
            if cell[0] in "*=!":
                tokens.append(re.sub(r"\d+", "", cell) if cell.startswith("=") else cell)
            else:
                tokens += [token for note in cell.split(" ") for token in (*NOTE.findall(note), " ")]
            tokens.append("\t")
        tokens.append("\n")
    return tokens


def pages(options):
    """Yield works, the path of what was read, and that of the truth."""
    works = [work for work in assign_splits(find_scores([options.scores]), BuildConfig(seed=0)) if work.split in ("test", "val")]
    random.Random(options.seed).shuffle(works)
    translate = symbols_of(options.snapshot or builtin_symbols(), "cpu")
    for work in works[options.skip :]:
        mei = load_mei(work.path)
        group = next((group for group in parts(mei) if (len(group) == 2) == options.piano), None)
        if group is None:
            continue
        style = replace(free_style(f"{options.seed} {work.name} 0"), clef="")
        page = next(iter(free_pages(select_staves(mei, group), style, 1)))
        truth = truth_of(work.path, group, len(page.measures))
        if truth is None or not page.notes:
            print(f"{work.name}: left out, its part was not found in the file")
            continue
        reading = read_pages(work.path, [draw_page(page.drawing, round(page.width * 12))], translate).joined()
        song = to_song(reading)
        read = to_musicxml(arrange(song))
        files = [options.folder / side / f"{work.name}.musicxml" for side in ("read", "true")]
        for path, text in zip(files, (read, truth), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        yield work, style, *files


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores")
    parser.add_argument("--snapshot", type=Path)
    parser.add_argument("--piano", action="store_true", help="parts of two staves instead of one")
    parser.add_argument("--works", type=int, default=12)
    parser.add_argument("--skip", type=int, default=0, help="leave out so many works at the beginning of the order")
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("notation"))
    options = parser.parse_args()
    converter21.register()
    warnings.filterwarnings("ignore")
    wrong = symbols = edits = tokens = 0
    for number, (work, style, read, true) in enumerate(pages(options), 1):
        found = musicdiff._diff_omr_ned_metrics(read, true, DETAIL)
        given, expected = kern_tokens(read), kern_tokens(true)
        distance = Levenshtein.distance(given, expected)
        both = found.gt_numsyms + found.pred_numsyms
        print(
            f"{work.name} of {composer(work)}, {style.font}: OMR-NED {found.omr_edit_distance / both:.3f}, "
            f"symbol error rate {distance / len(expected):.3f}",
            flush=True,
        )
        wrong, symbols = wrong + found.omr_edit_distance, symbols + both
        edits, tokens = edits + distance, tokens + len(expected)
        if number == options.works:
            break
    print(
        f"OMR-NED {wrong / symbols:.3f} of {symbols:,} symbols in both, "
        f"symbol error rate {edits / tokens:.3f} of {tokens:,} tokens"
    )


if __name__ == "__main__":
    main()
