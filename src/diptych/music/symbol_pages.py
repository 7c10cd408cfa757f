"""Build a data set of pages and their symbol maps: scores engraved freely by verovio, drawn, and scanned by simulation."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from diptych.data.formats import write_pixels
from diptych.errors import ConfigError, DataError
from diptych.files import refuse_links_out
from diptych.music.build import BuildConfig, Work, assign_splits
from diptych.music.free_pages import FreePage, free_pages, free_style
from diptych.music.mei import load_mei, parts, select_staves
from diptych.music.processes import map_in_processes
from diptych.music.rasters import SERIFS
from diptych.music.scans import CLEAN, levelled, random_scan, scanned
from diptych.music.score_files import find_scores
from diptych.music.symbols import draw_page, draw_symbols

SPACE = 6  # pixels of a staff space in the pages that are read
SIZES = (0.93, 1.07)  # of a page, since a staff space is measured with an error
RESOLUTIONS = (6.0, 14.0)  # pixels of a staff space at which pages are drawn and scanned
MAX_TURN = 0.5  # degrees that remain after a page was straightened
PAGES_PER_STYLE = 3
ROOM = 4  # staff spaces above and below the symbols of a page that are kept
SMALLEST = (256, 512)  # height and width of a page in pixels, that of the crops of a training
SCANS = 0.5  # the share of pages that are scanned
DECORATIONS = (
    *("slur", "dynam", "hairpin", "verse", "syl", "fermata", "dir", "tempo", "artic", "trill", "mordent", "pedal", "octave"),
    *("graceGrp", "grace", "left", "right"),
)
"""Elements and attributes of MEI that a page shows beside its notes; the last two are repeats."""
Picture = UInt8[np.ndarray, "h w"]


def build_symbols(
    sources: Sequence[str],
    out: Path,
    *,
    most: int = 2000,
    seed: int = 0,
    jobs: int = 1,
    fonts: Sequence[str] = (),
    watch: Callable[[int, int, str], None] | None = None,
) -> tuple[int, list[str]]:
    """Write pages to ``out/page`` and their maps to ``out/symbols``, PNGs of one name.

    Returns how many there are, and for each score that failed, wholly or from some page on, its path and the reason.

    Works are split by composer as `diptych music build` does with this seed, and those for testing are left out. Pages of all
    works come in turn, at most ``most``. Each place in ``fonts`` has the same share of
    parts; without it, each font has. Raises DataError for sources without scores, ConfigError where ``out`` holds pages.
    """
    works = [work for work in assign_splits(find_scores(list(sources)), BuildConfig(seed=seed)) if work.split == "train"]
    refuse_links_out((out / "page", out / "symbols"), out)
    if any((out / "page").glob("*.png")):
        raise ConfigError(f"{out}: holds pages already; give another folder")
    random.Random(seed).shuffle(works)
    each = max(1, -(-most // max(1, len(works))))
    number, problems = 0, list[str]()
    for place, (work, result) in enumerate(map_in_processes(partial(_pairs_of, each, seed, tuple(fonts)), works, jobs), 1):
        found, problem = result or ([], f"{work.path}: verovio crashed on it")
        problems += [problem] if problem else []
        for index, (page, symbols) in enumerate(found):
            name = f"{work.name}-{index}.png"
            write_pixels(out / "page" / name, page[..., None])
            write_pixels(out / "symbols" / name, symbols[..., None])
            number += 1
        if watch:
            watch(place, len(works), work.name)
        if number >= most:
            break
    if not number:
        raise DataError(
            f"{out}: no page could be engraved from these scores; {problems[0] if problems else 'all are for testing'}"
        )
    return number, problems


def _pairs_of(most: int, seed: int, fonts: tuple[str, ...], work: Work) -> tuple[list[tuple[Picture, Picture]], str]:
    """Draw the pages of a work; the reason, with its path, says why there are no more of them."""
    drawn: list[tuple[Picture, Picture]] = []
    try:
        for page, name in pages_of(work, most, seed, fonts):
            drawn.append(draw_pair(page, name))
    except DataError as error:
        reason = str(error).removeprefix(f"{work.path}: ")
        return drawn, f"{work.path}: {reason}"
    return drawn, "" if drawn else f"{work.path}: has no pages"


def pages_of(work: Work, most: int, seed: int, fonts: Sequence[str] = ()) -> Iterator[tuple[FreePage, str]]:
    """Engrave pages of a work, of a part and in a style that chance decides; yield each with a name of its own."""
    mei = load_mei(work.path, work.tune)
    dice = random.Random(f"{seed} {work.name}")
    if not (groups := parts(mei)):
        raise DataError(f"{work.path}: has no parts")
    for turn in range(-(-most // PAGES_PER_STYLE)):
        group = dice.choice(groups)
        if len(group) > 1 and dice.random() < 0.5:
            group = [dice.choice(group)]
        name = f"{seed} {work.name} {turn}"
        style = free_style(name)
        if fonts:
            style = replace(style, font=random.Random(f"{name} font").choice(fonts))
        kept = select_staves(mei, group, DECORATIONS if dice.random() < 0.6 else ())
        pages = list(free_pages(kept, style, 6))
        for place, page in enumerate(dice.sample(pages, min(len(pages), PAGES_PER_STYLE))):
            yield page, f"{name} {place}"


def draw_pair(page: FreePage, name: str) -> tuple[Picture, Picture]:
    """Draw a page and its map; its name decides resolution, size, turn, scan and typeface."""
    return seen_pair(page.width, partial(draw_page, page.drawing), partial(draw_symbols, page.drawing), name)


def seen_pair(spaces: float, ink: Callable[..., Picture], classes: Callable[..., Picture], name: str) -> tuple[Picture, Picture]:
    """Draw a page of a width in staff spaces, and its map, by functions of a width in pixels and a turn in degrees.

    That of the page's ink takes a typeface too. The name decides as in draw_pair.
    """
    dice = random.Random(name)
    turn = dice.uniform(-MAX_TURN, MAX_TURN) if dice.random() < 0.5 else 0.0
    width = round(spaces * SPACE * dice.uniform(*SIZES))
    space = dice.uniform(*RESOLUTIONS)
    symbols = classes(width, turn)
    scan = random_scan(dice) if dice.random() < SCANS else CLEAN
    serif = random.Random(f"{name} letters").choice(list(SERIFS))
    drawn = scanned(ink(round(spaces * space), turn, serif), space, scan, dice.randrange(2**31))
    way = dice.choice((Image.Resampling.BILINEAR, Image.Resampling.BOX, Image.Resampling.LANCZOS))
    small = np.array(Image.fromarray(drawn).resize(symbols.shape[::-1], way))
    rows = np.flatnonzero(symbols.any(1))
    top, end = (rows[0] - ROOM * SPACE, rows[-1] + ROOM * SPACE) if len(rows) else (0, 0)
    top = max(0, min(top, len(symbols) - SMALLEST[0]))
    kept = slice(top, max(end, top + SMALLEST[0]))
    return levelled(small)[kept], symbols[kept]
