"""The table of what can be wrong with a data set, and the sentences that say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from diptych.data.inspection import Place


@dataclass(frozen=True)
class Rule:
    """What is found (``{n}`` is how many), what to do about it, and whether a training would refuse the data."""

    title: str
    advice: str
    blocks: bool = False


RULES: dict[str, Rule] = {  # the gravest first
    "layout": Rule("a training would stop at the folders as they are", "change what the message names", blocks=True),
    "too many": Rule(
        "more images than a training tolerates cannot be used", "repair or remove those that are named below", blocks=True
    ),
    "orphan": Rule(
        "{n} without a partner of the same name", "add the missing ones, remove these, or train unpaired", blocks=True
    ),
    "twin": Rule("{n} with several images on one side", "remove or rename all but one", blocks=True),
    "unused": Rule("images that the layout does not use", "move them to where the layout has its splits, or out of the folder"),
    "leakage": Rule(
        "{n} of equal images in two splits", "remove them from one: a score on images that were trained on tells nothing"
    ),
    "near leakage": Rule(
        "{n} of nearly equal images in two splits",
        "look at them, and keep copies and shots of one scene in one split: scores on the others come out too good",
    ),
    "both sides": Rule("{n} of equal images in A and B", "remove it from one side; a pair of equal images teaches copying"),
    "near both sides": Rule("{n} of nearly equal images in A and B", "look at them, and keep each on one side"),
    "unreadable": Rule("{n} that cannot be read", "repair or remove them; a training leaves them out"),
    "kind": Rule("{n} of another kind than the rest of their side", "convert or remove them; a training leaves them out"),
    "pair size": Rule(
        "{n} whose two images differ in size",
        "bring both to one size, or train with --data.fit; otherwise a training leaves them out",
    ),
    "turned": Rule(
        "{n} in which one image is turned or mirrored", "turn it back; an EXIF orientation may have been lost, or applied twice"
    ),
    "exchanged": Rule("{n} with A and B exchanged, by the look of the other pairs", "exchange them back"),
    "misaligned": Rule(
        "the pairs as a whole do not lie on one another",
        "shift or crop one side by as much, at all pairs, or train with --data.max_shift",
    ),
    "shifted": Rule(
        "{n} shifted against one another more than the rest", "register them again, remove them, or train with --data.max_shift"
    ),
    "labels": Rule("what looks like label maps would be trained as near-black pictures", "that trains each number as a class"),
    "range": Rule(
        "{n} with values far beyond those of the rest",
        "repair them, or train with --data.range robust or LOW,HIGH: they squeeze the others into a small part of it",
    ),
    "lonely value": Rule(
        "a value lies far from all others, as one that means no data",
        "tag it as nodata (gdal_edit.py -a_nodata VALUE), make it NaN, or leave it out with data.range LOW,HIGH",
    ),
    "few values": Rule(
        "few of 256 values are used",
        "if they are label indices, pictures of them are near black: give them as labels, or spread them over 0..255",
    ),
    "unused range": Rule("half of 0..255 or more is unused", "spread the values over it, or check how the images were made"),
    "gray as RGB": Rule("gray images are stored as RGB", "store them as gray: the network then has one channel to predict"),
    "empty channel": Rule("a channel says nothing", "leave it out, or check how the images were made"),
    "not images": Rule("files of other kinds are passed over", "convert to PNG, TIFF or .npy what is an image"),
    "flat": Rule(
        "{n} of one flat colour", "remove those that mean nothing; instance norm divides by their deviation, which is 0"
    ),
    "duplicate": Rule("{n} of equal images within a split", "keep one of each; the others only weigh it more"),
    "near duplicate": Rule("{n} of nearly equal images within a split", "look at them; copies weigh their image more"),
}

MAX_NAMED = 4  # images of a case that are named one by one


@dataclass(frozen=True)
class Case:
    """Holds images that are one case of a finding, such as two copies, a note on them, and what was measured, by name."""

    places: tuple[Place, ...]
    note: str = ""
    measured: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """Name the images, or the first of each split and side where there are many, such as the frames of a film."""
        named = list(map(str, self.places))
        if len(named) > MAX_NAMED:
            groups: dict[tuple[str, str], list[Place]] = {}
            for place in self.places:
                groups.setdefault((place.split, place.side), []).append(place)
            named = [f"{some[0]}{f' and {len(some) - 1:,} more' if some[1:] else ''}" for some in groups.values()]
        return (", " if len(self.places) > MAX_NAMED else " and ").join(named) + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class Finding:
    """All cases of one rule. ``unit`` is what is counted, such as "pair"; ``detail`` says more, such as a measured shift."""

    rule: str
    cases: tuple[Case, ...] = ()
    unit: str = "image"
    detail: str = ""

    @property
    def blocks(self) -> bool:
        """Whether a training would refuse the data for it."""
        return RULES[self.rule].blocks

    @property
    def title(self) -> str:
        """Say in a few words what was found, and how often."""
        number = f"{len(self.cases):,} {self.unit}{'' if len(self.cases) == 1 else 's'}"
        return RULES[self.rule].title.format(n=number)

    @property
    def advice(self) -> str:
        """What to do about it."""
        return RULES[self.rule].advice

    def __str__(self) -> str:
        """Say in one line what was found, in which images (the first few), and what to do."""
        more = f" and {len(self.cases) - 3:,} more" if len(self.cases) > 3 else ""
        which = ", ".join(map(str, self.cases[:3])) + more
        return f"{self.title}{': ' + self.detail if self.detail else ''}{': ' + which if which else ''}; {self.advice}"

    def to_dict(self) -> dict[str, Any]:
        """Convert to types that JSON knows."""
        cases = [
            {
                "note": case.note,
                **case.measured,
                "images": [{"split": p.split, "side": p.side, "path": str(p.ref.path), "half": p.ref.half} for p in case.places],
            }
            for case in self.cases
        ]
        known = {"rule": self.rule, "title": self.title, "blocks": self.blocks, "detail": self.detail}
        return known | {"count": len(cases), "advice": self.advice, "cases": cases}


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Join the findings of each rule, leave out empty ones, and put the gravest first."""
    joined: dict[str, Finding] = {}
    for found in findings:
        first = joined.get(found.rule)
        joined[found.rule] = replace(first, cases=first.cases + found.cases) if first else found
    return tuple(joined[rule] for rule in RULES if rule in joined and (joined[rule].cases or joined[rule].detail))
