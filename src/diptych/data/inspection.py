"""Find all images of a data set, even where its layout is wrong, and look at each once."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diptych.data.decoders import first_line
from diptych.data.film_names import film_of
from diptych.data.folders import KNOWN, SPLITS, Layout, LayoutName, find_data
from diptych.data.formats import one_large_at_a_time, read_bytes, read_picture
from diptych.data.kinds import BUG, Look, look_over
from diptych.data.likeness import SIDE, Likeness, eight_bits, filled, likeness, shrunk
from diptych.data.listing import find_images, is_list, open_folder
from diptych.data.metadata import Picture
from diptych.data.pairing import match
from diptych.data.pillow_images import FORMATS
from diptych.data.registration import (
    GRID,
    Shift,
    cross_power,
    edges,
    find_common_shift,
    find_shift,
    find_turn,
    grid_scale,
)
from diptych.data.sides import side_traits
from diptych.data.splits import Ref, Split, take_half
from diptych.data.untrusted import refuse_untrusted
from diptych.errors import DataError
from diptych.messages import show
from diptych.reading import Reading

MIN_SIDE = 16  # pixels of the grid: below it, edges do not tell how images lie on one another
SIDES = {"left": ", left half", "right": ", right half", "whole": ""}


@dataclass(frozen=True)
class Place:
    """An image and where it stands: its split (empty where that is not known) and its side, "A" or "B"."""

    split: str
    side: str
    ref: Ref

    def __str__(self) -> str:
        where = f"{self.split} {self.side}".strip()
        return f"{where}{': ' if where else ''}{self.file}"

    @property
    def file(self) -> str:
        """The name of the file; of a frame, that of its film and the frame's own."""
        film = film_of(self.ref.path)
        return show(self.ref.path.relative_to(film.parent) if film else self.ref.path.name)


@dataclass(frozen=True)
class Listing:
    """What was found in the folders: a sentence, the splits, and what is wrong with them.

    ``how`` says how it was decided whether there are pairs. Orphans have no partner of their name, twins are images of one name;
    both are in no split. ``problem`` is what a training would stop at, or empty. ``unused`` names what lies beside the splits.
    """

    description: str
    paired: bool
    how: str
    splits: dict[str, Split]
    orphans: tuple[Place, ...] = ()
    twins: tuple[tuple[Place, ...], ...] = ()
    problem: str = ""
    unused: str = ""


@dataclass(frozen=True)
class Facts:
    """Holds what one look at an image told; only ``look`` where it cannot be read. ``mode`` is Pillow's word, or empty."""

    look: Look
    mode: str = ""
    likeness: Likeness | None = None
    traits: np.ndarray | None = None


@dataclass(frozen=True)
class PairFacts:
    """How the images of a pair lie on one another. ``turn``: what would make B lie on A."""

    shift: Shift
    turn: str = ""


@dataclass(frozen=True)
class Inspection:
    """All facts of a data set; ``shift`` is that of all pairs together. Pairs are those whose images could be compared."""

    facts: dict[Ref, Facts]
    pairs: dict[tuple[Ref, Ref], PairFacts] = field(default_factory=dict)
    shift: Shift = field(default_factory=Shift)


def list_data(sources: Sequence[str | Path], paired: bool | None = None, layout: LayoutName = "auto") -> Listing:
    """List the images of one folder (or catalogue name) or two, as pairs or not; None decides by the layout and the names.

    Frames of films are pairs only where ``paired`` says so: their numbers are the same in films with nothing in common.
    Raises DataError when there is no such folder, or no image in it; every other problem is in the listing.
    """
    roots = [open_folder(source, films=True) for source in sources if not is_list(source)]
    try:
        loose = find_data(sources, paired=False, layout=layout)
    except DataError as error:
        return Listing("", False, "as the layout is not known", _salvaged(roots), problem=str(error))
    listing = _listed(sources, paired, loose, layout)
    if loose.alone and not listing.paired:
        listing = replace(listing, splits=listing.splits | {"test": loose.alone})
    return replace(listing, unused=loose.leftovers)


def _listed(sources: Sequence[str | Path], paired: bool | None, loose: Layout, layout: LayoutName) -> Listing:
    """List a layout that was recognised, as pairs or not."""
    splits = {name: split for name in SPLITS if (split := getattr(loose, name))}
    if loose.train.a[0].half != "whole":
        how = "as told" if paired is not None else "as the images are side by side"
        kept = paired is not False
        description = find_data(sources, paired=kept, layout=layout).description
        return Listing(description, kept, how, {name: Split(side.a, side.b, kept) for name, side in splits.items()})
    if paired is False:
        return Listing(loose.description, False, "as told", splits)
    if paired is None and loose.films:
        return Listing(
            loose.description, False, "as frames of films have numbers for names (--paired takes them for pairs)", splits
        )
    matched = {name: _matched(name, split) for name, split in splits.items()}
    same, most = sum(len(pairs.a) for pairs, *_ in matched.values()), sum(min(len(s.a), len(s.b)) for s in splits.values())
    how = "as told" if paired else f"as {same:,} of {most:,} names are the same on both sides"
    if paired is None and same * 2 < most:
        return Listing(loose.description, False, how, splits)
    description, problem = loose.description, ""
    try:
        description = find_data(sources, paired=True).description
    except DataError as error:
        problem = str(error)
    if not all(pairs.a for pairs, *_ in matched.values()):
        return Listing(description, False, "as no name is the same on both sides", splits, problem=problem)
    orphans = tuple(place for _, alone, _ in matched.values() for place in alone)
    twins = tuple(group for *_, groups in matched.values() for group in groups)
    return Listing(description, True, how, {name: pairs for name, (pairs, *_) in matched.items()}, orphans, twins, problem)


def _matched(name: str, split: Split) -> tuple[Split, list[Place], list[tuple[Place, ...]]]:
    """Return the pairs of one split by their names, the images without a partner, and those of one name on one side."""
    found = match(split)
    alone = [Place(name, side, ref) for side, refs in zip("AB", found.alone, strict=True) for ref in refs]
    twins = [
        tuple(Place(name, side, ref) for ref in refs) for side, groups in zip("AB", found.twins, strict=True) for refs in groups
    ]
    return found.paired(split), alone, twins


def _plain(folder: str) -> str:
    return re.sub(r"[-_ ]", "", folder.lower())


def _salvaged(roots: Sequence[Path]) -> dict[str, Split]:
    """Sort all images of an unknown layout by the names of their folders, into side A where those say nothing.

    The outermost folder that names a split decides, and the outermost that names a side: ``trainA/b/1.png`` is of A.
    """
    words = {word: name for name, words in SPLITS.items() for word in words}
    found: dict[str, tuple[list[Ref], list[Ref]]] = {}
    for root_side, root in enumerate(roots):
        for path in find_images(root, films=True):
            split, side = "", -1 if len(roots) == 1 else root_side
            for part in map(_plain, path.relative_to(root).parts[:-1]):
                sided = part in KNOWN and part not in words
                split = split or words.get(part[:-1] if sided else part, "")
                side = "ab".index(part[-1]) if sided and side < 0 else side
            found.setdefault(split, ([], []))[max(side, 0)].append(Ref(path))
    inside = {name: found[name] for name in (*SPLITS, "") if name in found}
    return {name: Split(tuple(dict.fromkeys(a)), tuple(dict.fromkeys(b)), False) for name, (a, b) in inside.items()}


def inspect(
    listing: Listing,
    *,
    reading: Reading | None = None,
    threads: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Look at every image once; the result does not depend on ``threads``. ``on_progress`` gets (done, total) files or pairs."""
    units = list(_units(listing))
    facts: dict[Ref, Facts] = {}
    pairs: dict[tuple[Ref, Ref], PairFacts] = {}
    overlay = Overlay()
    with ThreadPool(threads) as pool:  # Pillow, imagecodecs and NumPy release the GIL where it takes time
        for done, (refs, found, pair) in enumerate(
            pool.imap(partial(_examine, listing.paired, reading or Reading()), units, chunksize=4), start=1
        ):
            facts.update(zip(refs, found, strict=True))
            if pair:
                pairs[refs[0], refs[1]], power = pair
                overlay.add(found[0].look, power)
            if on_progress:
                on_progress(done, len(units))
    return Inspection(facts, pairs, overlay.shift())


Drawn = tuple[int, int, np.ndarray]
"""Height and width of an image, and its edges (see registration.edges)."""


class Overlay:
    """Lays all pairs on one another: sums of their cross powers, one sum for each scale by which images were reduced."""

    def __init__(self) -> None:
        self.sums: dict[int, tuple[Tensor, float, int]] = {}  # by eighths of an octave: the sum, and that of the scales; how many
        self.sizes: list[tuple[float, float]] = []  # of all pairs: the scale, and the shorter side on the grid

    def add(self, look: Look, power: Tensor | None) -> None:
        """Add a pair, whose cross power is None where only its sizes are known."""
        scale = grid_scale(look.height, look.width)
        self.sizes.append((scale, min(look.height, look.width) * scale))
        if power is not None:
            key = round(8 * math.log2(scale))
            total, scales, count = self.sums.get(key, (torch.zeros_like(power), 0.0, 0))
            self.sums[key] = total.add_(power), scales + scale, count + 1

    def shift(self) -> Shift:
        """Find a shift of all pairs by equally many pixels of the grid, or else by equally many pixels of the images."""
        if not self.sizes:
            return Shift()
        scale, extent = (float(value) for value in np.median(np.array(self.sizes), axis=0))
        size = round(extent), round(extent)
        whole = torch.zeros(GRID, GRID // 2 + 1, dtype=torch.complex64)
        for total, _, _ in self.sums.values():
            whole += total
        found = find_shift(whole / len(self.sizes), scale, size)
        if found.clear or len(self.sums) < 2:
            return found
        return find_common_shift([(total, scales / count) for total, scales, count in self.sums.values()], size)


def _units(listing: Listing) -> Iterator[tuple[Ref, ...]]:
    """Group the images that are looked at together: the two of a pair, or all that are in one file."""
    for split in listing.splits.values():
        if split.paired:
            yield from zip(split.a, split.b, strict=True)
        else:
            files: dict[Path, list[Ref]] = {}
            for ref in (*split.a, *split.b):
                files.setdefault(ref.path, []).append(ref)
            yield from map(tuple, files.values())


def _examine(
    paired: bool, reading: Reading, refs: tuple[Ref, ...]
) -> tuple[tuple[Ref, ...], list[Facts], tuple[PairFacts, Tensor | None] | None]:
    facts: list[Facts] = []
    drawn: list[Drawn] = []
    for path, group in groupby(refs, key=lambda ref: ref.path):  # both halves of a file come from one reading
        with one_large_at_a_time(path):
            _look_into(path, list(group), reading, facts, drawn if paired else None)
    if not paired or len(drawn) < 2 or any(fact.look.flat for fact in facts):
        return refs, facts, None
    return refs, facts, compare(*drawn)


def _look_into(path: Path, refs: Sequence[Ref], reading: Reading, facts: list[Facts], drawn: list[Drawn] | None) -> None:
    """Add the facts of each image in a file, and of those that can be used the size and the edges if ``drawn`` is a list."""
    picture: Picture | None = None
    for ref in refs:
        try:
            picture = picture or read_picture(path, reading)
            pixels = take_half(picture.pixels, ref)
            look, seen = look_over(pixels, picture.metadata), filled(pixels)
            image = eight_bits(seen)
            small = shrunk(image, SIDE, SIDE)
            drawing = image.shape[0], image.shape[1], edges(image) if drawn is not None else np.empty((0, 0))
            facts.append(Facts(look, _mode(path), likeness(seen, small), side_traits(small)))
            if drawn is not None:
                drawn.append(drawing)
        except DataError as error:
            facts.append(Facts(Look(reason=str(error).removeprefix(f"{show(path)}: "))))
        except MemoryError:
            facts.append(Facts(Look(reason="does not fit into memory; cut it into tiles")))
        except Exception as error:  # one odd file must not end the look at all others
            facts.append(Facts(Look(reason=f"made diptych fail ({type(error).__name__}: {first_line(error)}), {BUG}")))


def compare(a: Drawn, b: Drawn) -> tuple[PairFacts, Tensor | None] | None:
    """Measure how b lies on a, and the cross power of their edges; None where they are too small or too unlike in size."""
    (height, width, edges_a), (_, _, edges_b) = a, b
    if min(*edges_a.shape, *edges_b.shape) < MIN_SIDE:
        return None
    if edges_a.shape != edges_b.shape:
        if edges_a.shape != edges_b.shape[::-1]:
            return None
        return PairFacts(Shift(), find_turn(edges_a, edges_b)), None
    power = cross_power(edges_a, edges_b)
    shift = find_shift(power, grid_scale(height, width), edges_a.shape)
    return PairFacts(shift, "" if shift.clear else find_turn(edges_a, edges_b)), power


def _mode(path: Path) -> str:
    """Return Pillow's mode of a file that was read; empty where Pillow does not know the format."""
    try:
        refuse_untrusted()
        with Image.open(io.BytesIO(read_bytes(path)), formats=FORMATS) as image:
            return image.mode
    except Exception:  # the pixels were read, so whatever Pillow says of the header is no finding
        return ""
