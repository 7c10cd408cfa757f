"""Check a data set: name, image by image, what would spoil a training or its scores.

``check`` looks at every image (`diptych check`); ``quick_check`` compares files alone, in a second or two, before a training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.census import TOLERATED_SHARE, changes
from diptych.data.copies import find_copies, places_of, same_files
from diptych.data.findings import Case, Finding, in_order
from diptych.data.folders import LayoutName
from diptych.data.inspection import Facts, Inspection, Listing, Place, inspect, list_data
from diptych.data.kinds import Kind, Look, mark_unusable
from diptych.data.labels import label_remarks
from diptych.data.passed_over import passed_over
from diptych.data.ranges import stretching
from diptych.data.registration import Shift, grid_scale
from diptych.data.sides import exchanged
from diptych.data.splits import Ref, Split, films_in
from diptych.data.usage import unused
from diptych.errors import DataError
from diptych.messages import show
from diptych.reading import Reading

VERDICTS = ("nothing found", "usable, with findings", "not usable as it is")
MIN_PAIR_SHIFT = 3  # pixels of the grid by which a pair must be shifted more than the rest
MIN_COMMON_SHIFT = 2  # pixels of the grid by which all pairs together must be shifted


@dataclass(frozen=True)
class Row:
    """Describes the images of one side of one split in words: how many, their kinds, sizes, file types."""

    split: str
    side: str
    images: int
    kinds: str
    sizes: str
    files: str


@dataclass(frozen=True)
class Checkup:
    """Holds all that was found. ``shift`` is that of the pairs as a whole; None without pairs that could be compared.

    ``notes`` say what reading changes in the images or leaves out, which is no fault of theirs.
    """

    sources: tuple[str, ...]
    listing: Listing
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    shift: Shift | None = None
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> int:
        """0: nothing found, 1: usable with findings, 2: a training would refuse the data. VERDICTS says so in words."""
        return 2 if any(finding.blocks for finding in self.findings) else int(bool(self.findings))

    @property
    def images(self) -> int:
        """How many images were looked at; two for a file that holds both sides."""
        return sum(row.images for row in self.rows)

    @property
    def layout(self) -> str:
        """Describe the layout of the folders in words."""
        return self.listing.description or f"{' and '.join(map(show, self.sources))}: not a known layout"

    @property
    def pairing(self) -> str:
        """Say whether there are pairs, and why."""
        return f"{'pairs' if self.listing.paired else 'no pairs'}, {self.listing.how}"

    @property
    def alignment(self) -> str:
        """Say how the pairs as a whole lie on one another; empty where there are none."""
        if self.shift is None:
            return ""
        if not self.shift.clear:
            return "whether the pairs lie on one another cannot be told: their edges have too little in common"
        return (
            f"the pairs as a whole are {'not shifted' if str(self.shift) == 'not shifted' else f'shifted: B lies {self.shift}'}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to types that JSON knows."""
        shift = {"dx": self.shift.dx, "dy": self.shift.dy, "clear": self.shift.clear} if self.shift else None
        known = {"sources": list(self.sources), "layout": self.layout, "paired": self.listing.paired}
        known |= {"how": self.listing.how, "images": self.images, "verdict": VERDICTS[self.verdict], "exit_code": self.verdict}
        rows = [vars(row) for row in self.rows]
        known |= {"notes": list(self.notes)}
        return known | {"shift": shift, "what_is_there": rows, "findings": [finding.to_dict() for finding in self.findings]}


def check(
    sources: Sequence[str | Path],
    *,
    paired: bool | None = None,
    layout: LayoutName = "auto",
    reading: Reading | None = None,
    threads: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> Checkup:
    """Look at every image of a data set once and report all that is wrong. ``paired`` None: the layout and the names decide.

    ``reading`` is that of a training (see Reading); by default colours are converted to sRGB as a training does. Besides the
    reading, near copies cost n^2 / 2 comparisons of 64 bits (see likeness.py). Raises DataError only when there is no folder or
    no image at all.
    """
    listing = list_data(sources, paired, layout)
    inspection = inspect(listing, reading=reading or Reading(icc="srgb"), threads=threads, on_progress=on_progress)
    findings = [*_of_listing(listing), *_of_images(listing, inspection), _of_values(listing, inspection)]
    findings += [Finding("labels", detail="; ".join(_labels(listing)))]
    sides = _looks_by_side(listing, inspection)
    findings += [Finding(rule, detail=detail) for side, looks in sides for rule, detail in unused(side, looks)]
    findings.append(Finding("not images", detail=passed_over(sources, films_in(listing.splits.values()))))
    notes = tuple(note for side, looks in sides for note in changes(side, looks))
    findings += find_copies(listing, inspection)
    if listing.paired:
        findings += _of_pairs(listing, inspection)
    rows = [row for name, split in listing.splits.items() for row in _rows(name, split, inspection.facts)]
    shift = inspection.shift if inspection.pairs else None
    return Checkup(tuple(map(str, sources)), listing, tuple(rows), in_order(findings), shift, notes)


def _looks_by_side(listing: Listing, inspection: Inspection) -> list[tuple[str, list[Look]]]:
    """Return the usable images of each side, of all splits together."""
    units = places_of(listing.splits)
    looks = [(place.side, inspection.facts[place.ref].look) for unit in units for place in unit]
    return [(side, [look for of, look in looks if of == side and not look.reason]) for side in "AB"]


def quick_check(splits: Mapping[str, Split | None]) -> list[Finding]:
    """Find files that are equal byte for byte between train, val and test, between A and B, or within a split.

    It is meant for a training that has just taken its census: only files of one size are read, so 10,000 take about a second.
    """
    return list(in_order(same_files({name: split for name, split in splits.items() if split})))


def _of_listing(listing: Listing) -> list[Finding]:
    found = [
        Finding("orphan", tuple(Case((place,)) for place in listing.orphans)),
        Finding("twin", tuple(Case(group) for group in listing.twins), "name"),
        Finding("unused", detail=listing.unused),
    ]
    told = listing.orphans or listing.twins  # then the layout's own message says no more
    return found if told else [*found, Finding("layout", detail=listing.problem)]


def _of_images(listing: Listing, inspection: Inspection) -> list[Finding]:
    """Find what is wrong with single images, and pairs whose sizes differ."""
    looks = {ref: facts.look for ref, facts in inspection.facts.items()}
    cases: dict[str, list[Case]] = {rule: [] for rule in ("unreadable", "kind", "pair size", "turned", "flat")}
    refused, kinds = [], None
    for name, split in listing.splits.items():
        reasons, kinds, problem = _unusable(split, looks, kinds)
        refused += [f"{name}: {problem}"] if problem else []
        for unit in places_of({name: split}):
            for place in unit:
                if looks[place.ref].reason:
                    cases["unreadable"].append(Case((place,), looks[place.ref].reason))
                elif place.ref in reasons and _sizes(unit, looks, turned=True):
                    pair = inspection.pairs.get((unit[0].ref, unit[1].ref))
                    cases["turned"].append(Case(unit, pair.turn if pair and pair.turn else "width and height exchanged"))
                elif place.ref in reasons:
                    rule, what = ("pair size", unit) if _sizes(unit, looks) else ("kind", (place,))
                    cases[rule].append(Case(what, reasons[place.ref].partition(";")[0]))
                if looks[place.ref].flat:
                    cases["flat"].append(Case((place,)))
    units = {"pair size": "pair", "turned": "pair"}
    found = [Finding(rule, tuple(some), units.get(rule, "image")) for rule, some in cases.items()]
    return [*found, Finding("too many", detail=", and ".join(refused))]


def _of_values(listing: Listing, inspection: Inspection) -> Finding:
    """Name the images of 16 bits or floats with values far beyond those of the others of their side, in any split."""
    cases: list[Case] = []
    for side in "AB":
        places = [place for unit in places_of(listing.splits) for place in unit if place.side == side]
        usable = [(place, inspection.facts[place.ref].look) for place in places if not inspection.facts[place.ref].look.reason]
        for dtype in ("uint16", "int16", "float32"):
            own = [(place, look) for place, look in usable if look.dtype == dtype]
            outlying = compress(own, stretching([look for _, look in own]))
            cases += [Case((place,), f"values {look.low:g} to {look.high:g}") for place, look in outlying]
    return Finding("range", tuple(cases))


def _labels(listing: Listing) -> Iterator[str]:
    """Say which sides look like maps of label indices."""
    splits = listing.splits.values()
    return label_remarks(
        [("a", [ref for split in splits for ref in split.a]), ("b", [ref for split in splits for ref in split.b])]
    )


def _unusable(
    split: Split, looks: Mapping[Ref, Look], kinds: tuple[Kind, Kind] | None
) -> tuple[dict[Ref, str], tuple[Kind, Kind] | None, str]:
    """Return why images cannot be used, the kinds of the sides, and why the split as a whole cannot be used (empty if it can)."""
    if not (split.a and split.b):
        return {}, kinds, ""
    try:
        kinds, a, b = mark_unusable(split, looks, kinds)
    except DataError as error:
        return {}, kinds, str(error)
    bad = [[bool(look.reason) for look in side] for side in (a, b)]
    counts = (
        [("pairs", [x or y for x, y in zip(*bad, strict=True)])]
        if split.paired
        else [("images of A", bad[0]), ("images of B", bad[1])]
    )
    problems = [f"{sum(some)} of {len(some)} {what}" for what, some in counts if sum(some) > TOLERATED_SHARE * len(some)]
    reasons = {ref: look.reason for refs, side in ((split.a, a), (split.b, b)) for ref, look in zip(refs, side, strict=True)}
    return {ref: reason for ref, reason in reasons.items() if reason}, kinds, " and ".join(problems)


def _sizes(unit: Sequence[Place], looks: Mapping[Ref, Look], *, turned: bool = False) -> bool:
    """Tell whether the images of a pair differ in size; or, if ``turned``, have width and height exchanged."""
    if len(unit) < 2:
        return False
    a, b = (looks[place.ref] for place in unit)
    return (a.height, a.width) != (b.height, b.width) and (not turned or (a.height, a.width) == (b.width, b.height))


def _of_pairs(listing: Listing, inspection: Inspection) -> list[Finding]:
    """Find pairs that are turned, shifted or exchanged, and a shift of all pairs together."""
    units = [unit for unit in places_of(listing.splits) if (unit[0].ref, unit[1].ref) in inspection.pairs]
    if not units:
        return []
    whole, turned, shifted = inspection.shift, [], []
    for unit in units:
        a = inspection.facts[unit[0].ref].look
        pair = inspection.pairs[unit[0].ref, unit[1].ref]
        scale = grid_scale(a.height, a.width)
        if pair.turn and not _sizes(unit, {place.ref: inspection.facts[place.ref].look for place in unit}):
            turned.append(Case(unit, pair.turn))
        apart = max(abs(pair.shift.dx - (whole.dx if whole.clear else 0)), abs(pair.shift.dy - (whole.dy if whole.clear else 0)))
        if pair.shift.clear and apart * scale >= MIN_PAIR_SHIFT:
            shifted.append(Case(unit, f"B lies {pair.shift}", {"dx": pair.shift.dx, "dy": pair.shift.dy}))
    detail = f"B lies {whole} of A" if whole.clear and max(abs(whole.dx), abs(whole.dy)) * whole.scale >= MIN_COMMON_SHIFT else ""
    traits = [np.array([inspection.facts[unit[side].ref].traits for unit in units]) for side in (0, 1)]
    other_way = exchanged(*traits).tolist()
    swapped = tuple(Case(unit) for unit, is_other in zip(units, other_way, strict=True) if is_other)
    return [
        Finding("turned", tuple(turned), "pair"),
        Finding("exchanged", swapped, "pair"),
        Finding("shifted", tuple(shifted), "pair"),
        Finding("misaligned", detail=detail),
    ]


def _rows(name: str, split: Split, facts: Mapping[Ref, Facts]) -> list[Row]:
    return [_row(name, side, refs, [facts[ref] for ref in refs]) for side, refs in (("A", split.a), ("B", split.b)) if refs]


def _row(name: str, side: str, refs: Sequence[Ref], facts: Sequence[Facts]) -> Row:
    read = [fact for fact in facts if not fact.look.reason]
    kinds = Counter(f"{fact.look.channels} x {fact.look.dtype}{f' ({fact.mode})' if fact.mode else ''}" for fact in read)
    sizes = Counter((fact.look.width, fact.look.height) for fact in read)
    files = Counter(ref.path.suffix.lower() for ref in refs)
    if len(sizes) > 3:
        (least, _), (most, _) = (
            min(sizes.items(), key=lambda item: np.prod(item[0])),
            max(sizes.items(), key=lambda item: np.prod(item[0])),
        )
        text = f"{least[0]} x {least[1]} to {most[0]} x {most[1]}, {len(sizes)} sizes"
    else:
        text = _counted({f"{width} x {height}": count for (width, height), count in sizes.items()})
    return Row(name, side, len(refs), _counted(kinds), text, _counted(files))


def _counted(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ordered[0][0] if len(ordered) == 1 else ", ".join(f"{count:,} of {show(what)}" for what, count in ordered)
