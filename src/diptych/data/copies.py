"""Name the images that a data set holds more than once, exactly or nearly, within and across its splits and sides.

``copies_among`` searches one set of images for copies of those of another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from diptych.data.equal_files import equal_files, file_digest, grouped
from diptych.data.findings import Case, Finding
from diptych.data.inspection import Inspection, Listing, Place
from diptych.data.likeness import ALIGNED_AT_ONCE, MAX_BITS, MAX_COLOUR, MIN_CONTRAST, Likeness, aligned_likeness, near_copies
from diptych.data.splits import Ref, Split

MIN_LIKENESS, MIN_DETAIL = 0.93, 0.95  # of near copies (aligned_likeness); copies cropped by 3 % a side have 0.96 or more
MIN_PARTNER = 0.85  # likeness of the other sides of two pairs that are near copies
MIN_DETAIL_ALONE = 0.985  # above it, images are near copies even where their partners differ


def places_of(splits: Mapping[str, Split]) -> list[tuple[Place, ...]]:
    """List every image with its place: pairs together, other images alone."""
    found: list[tuple[Place, ...]] = []
    for name, split in splits.items():
        a, b = ([Place(name, side, ref) for ref in refs] for side, refs in (("A", split.a), ("B", split.b)))
        found += list(zip(a, b, strict=True)) if split.paired else [(place,) for place in (*a, *b)]
    return found


def find_copies(listing: Listing, inspection: Inspection) -> list[Finding]:
    """Find exact and near copies among the images that could be read; those of one flat colour have their own rule."""
    units = places_of(listing.splits)
    looked = {ref: facts.likeness for ref, facts in inspection.facts.items() if facts.likeness and not facts.look.flat}
    found = [*_exact(units, looked), *(_near_pairs if listing.paired else _near_images)(units, looked)]
    return _findings(found)


def same_files(splits: Mapping[str, Split]) -> list[Finding]:
    """Find images whose files are equal byte for byte; most files are never opened."""
    units = places_of(splits)
    equal = equal_files(place.ref.path for unit in units for place in unit)
    number = {path: index for index, group in enumerate(equal) for path in group}
    keys = {p.ref: (number[p.ref.path], p.ref.half) for unit in units for p in unit if p.ref.path in number}
    return _findings(_equal(units, keys))


def _findings(found: Iterable[tuple[str, Case]]) -> list[Finding]:
    rules: dict[str, list[Case]] = defaultdict(list)
    for rule, case in found:
        rules[rule].append(case)
    return [Finding(rule, tuple(cases), "group") for rule, cases in rules.items()]


def _rule(places: Sequence[Place], near: str = "") -> str:
    if len({place.split for place in places}) > 1:
        return f"{near}leakage"
    return f"{near}both sides" if len({place.side for place in places}) > 1 else f"{near}duplicate"


def _exact(units: Sequence[tuple[Place, ...]], looked: Mapping[Ref, Likeness]) -> Iterator[tuple[str, Case]]:
    for rule, case in _equal(units, {ref: likeness.digest for ref, likeness in looked.items()}):
        paths = {place.ref.path for place in case.places}
        files = "the same file" if sum(map(len, grouped(paths, file_digest))) == len(paths) else "equal pixels"
        yield rule, Case(case.places, ", ".join(filter(None, [case.note, files])))


def _equal(units: Sequence[tuple[Place, ...]], keys: Mapping[Ref, Hashable]) -> Iterator[tuple[str, Case]]:
    """Group the places of equal keys; pairs that are equal on both sides are one case, not two."""
    numbered = [(number, place) for number, unit in enumerate(units) for place in unit if place.ref in keys]
    sides: dict[frozenset[int], list[list[Place]]] = defaultdict(list)
    for group in grouped(numbered, lambda item: keys[item[1].ref]):
        places = [place for _, place in group]
        if len(units[group[0][0]]) == 1:
            yield _rule(places), Case(tuple(places))
            continue
        for number in sorted({number for number, _ in group}):
            if all(place in places for place in units[number]):
                yield "both sides", Case(units[number])
        for side in "AB":
            numbers = frozenset(number for number, place in group if place.side == side)
            if len(numbers) > 1:
                sides[numbers].append([place for place in places if place.side == side])
    yield from (_of_pairs(numbers, groups, units, "", "") for numbers, groups in sides.items())


def _of_pairs(
    numbers: Iterable[int], sides: Sequence[Sequence[Place]], units: Sequence[tuple[Place, ...]], near: str, note: str
) -> tuple[str, Case]:
    """Make a case of pairs that are alike on one side or on both."""
    if len(sides) == 2:
        places = tuple(place for number in sorted(numbers) for place in units[number])
        return _rule([units[number][0] for number in numbers], near), Case(places, f"both A and B{note}")
    return _rule(sides[0], near), Case(tuple(sides[0]), f"only {sides[0][0].side}{note}")


def _near_images(units: Sequence[tuple[Place, ...]], looked: Mapping[Ref, Likeness]) -> Iterator[tuple[str, Case]]:
    places = {looked[unit[0].ref].digest: unit[0] for unit in reversed(units) if unit[0].ref in looked}  # one of equal ones
    ordered = list(reversed(places.values()))
    found = near_copies([looked[place.ref] for place in ordered])
    edges = {(i, j): detail for i, j, alike, detail in found if alike >= MIN_LIKENESS and detail >= MIN_DETAIL}
    for cluster, note in _clusters(edges):
        places_there = tuple(ordered[i] for i in cluster)
        yield _rule(places_there, "near "), Case(places_there, note)


def _near_pairs(units: Sequence[tuple[Place, ...]], looked: Mapping[Ref, Likeness]) -> Iterator[tuple[str, Case]]:
    """Find pairs that are near copies: one side is and the other agrees, or one side is beyond doubt."""
    units = [unit for unit in units if all(place.ref in looked for place in unit)]
    details: tuple[dict[tuple[int, int], float], ...] = {}, {}
    for side in (0, 1):
        likenesses = [looked[unit[side].ref] for unit in units]
        found = [
            (i, j, alike, detail)
            for i, j, alike, detail in near_copies(likenesses)
            if alike >= MIN_LIKENESS and detail >= MIN_DETAIL
        ]
        agree = _partners([(looked[units[i][1 - side].ref], looked[units[j][1 - side].ref]) for i, j, *_ in found])
        for (i, j, _, detail), agrees in zip(found, agree, strict=True):
            if likenesses[i].digest != likenesses[j].digest and (agrees or detail >= MIN_DETAIL_ALONE):
                details[side][i, j] = detail
    both = {edge: min(details[0][edge], details[1][edge]) for edge in details[0].keys() & details[1].keys()}
    alone = [{edge: detail for edge, detail in of_side.items() if edge not in both} for of_side in details]
    for kept, edges in (((0, 1), both), ((0,), alone[0]), ((1,), alone[1])):
        for cluster, note in _clusters(edges):
            yield _of_pairs(cluster, [[units[i][side] for i in cluster] for side in kept], units, "near ", f", {note}")


def _clusters(edges: Mapping[tuple[int, int], float]) -> Iterator[tuple[list[int], str]]:
    """Join what is alike, also by way of others, such as the frames of a film; with how much alike the joined are."""
    group_of: dict[int, set[int]] = {}
    for i, j in edges:
        one, other = group_of.setdefault(i, {i}), group_of.setdefault(j, {j})
        if one is not other:
            one |= other
            group_of |= dict.fromkeys(other, one)
    for group in {id(group): group for _, group in sorted(group_of.items())}.values():
        alike = [detail for (i, _), detail in edges.items() if i in group]
        least, most = f"{min(alike):.0%}", f"{max(alike):.0%}"
        yield sorted(group), f"{least if least == most else f'{least} to {most}'} alike"


def _partners(pairs: Sequence[tuple[Likeness, Likeness]]) -> list[bool]:
    agree = []
    for start in range(0, len(pairs), 256):
        x, y = (torch.stack([torch.from_numpy(pair[k].gray) for pair in pairs[start : start + 256]]) / 255 for k in (0, 1))
        alike, detail = aligned_likeness(x, y)
        agree += ((alike >= MIN_PARTNER) & (detail >= MIN_PARTNER)).tolist()
    return agree


def copies_among(images: Sequence[Likeness], known: Iterable[Likeness | None]) -> dict[int, tuple[int, float]]:
    """Find which images have a copy among known ones: the index of the copy by that of the image, and how alike they are.

    1.0 stands for equal pixels, less for near copies, by the limits of ``diptych check``. Known images are taken one by one, so
    that any number of them fits in memory; None stands for one that could not be read. Images of one flat colour have only equal
    copies.
    """
    found: dict[int, tuple[int, float]] = {}
    equal: dict[bytes, list[int]] = defaultdict(list)
    for i, image in enumerate(images):
        equal[image.digest].append(i)
    hashes = np.array([image.hash for image in images], np.uint64)
    colours = np.array([image.colour for image in images], np.float32).reshape(-1, 3)
    contrast = np.array([image.gray.std() / 255 for image in images])
    waiting: list[tuple[int, int, Likeness]] = []  # pairs of images that may be near copies, to be aligned

    def align() -> None:
        if waiting:
            x = torch.stack([torch.from_numpy(images[i].gray) for i, _, _ in waiting]).float() / 255
            y = torch.stack([torch.from_numpy(other.gray) for _, _, other in waiting]).float() / 255
            for (i, j, _), alike, detail in zip(waiting, *(values.tolist() for values in aligned_likeness(x, y)), strict=True):
                if alike >= MIN_LIKENESS and detail >= MIN_DETAIL and detail > found.get(i, (0, 0.0))[1]:
                    found[i] = j, min(detail, 0.999)
            waiting.clear()

    for j, other in enumerate(known):
        if other is None:
            continue
        for i in equal.get(other.digest, ()):
            found[i] = j, 1.0
        spread = other.gray.std() / 255
        if spread > MIN_CONTRAST:
            near = (np.bitwise_count(hashes ^ np.uint64(other.hash)) <= MAX_BITS) & (contrast > MIN_CONTRAST)
            near &= np.abs(colours - np.array(other.colour, np.float32)).max(1) <= MAX_COLOUR
            near &= (contrast < spread / 0.75) & (contrast > spread * 0.75)
            waiting += [(int(i), j, other) for i in near.nonzero()[0] if found.get(int(i), (0, 0.0))[1] < 1.0]
        if len(waiting) >= ALIGNED_AT_ONCE:
            align()
    align()
    return found
