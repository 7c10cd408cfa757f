"""Look at every image once before training: what the two domains are, and which images cannot be used and why.

A run that has begun should not stop at night because of one damaged file; nor should it quietly train on half of the data.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from functools import partial
from itertools import compress
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, TypeVar

from diptych.data.census_schema import parse_census
from diptych.data.findings import Finding
from diptych.data.frames import Fitting, Frame, common_frames
from diptych.data.instances import beside
from diptych.data.kinds import Kind, Look, look_at_sides, mark_unusable
from diptych.data.labels import LabelDomains, fit_labels
from diptych.data.ranges import ValueRange, full_range, robust_range, stretching
from diptych.data.splits import Half, Ref, Split
from diptych.data.usage import unused
from diptych.errors import ConfigError, DataError
from diptych.messages import show
from diptych.pixels import FULL_RANGE, Domain, Reading

T = TypeVar("T")
TOLERATED_SHARE = 0.05  # the share of unusable images above which training on the rest needs a person's decision


@dataclass(frozen=True)
class Skipped:
    """Names an image that is left out, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{show(self.path)}: {self.reason}"


@dataclass(frozen=True)
class Census:
    """The usable images of a split, the domain of each side, what was left out, and images of one flat colour.

    ``val`` are images that validate a training and are never trained on. Flat images are kept, but instance normalisation
    divides by their standard deviation, so they can blow up gradients. ``outliers`` are images with values far beyond those of
    the others, or beyond a given range, which clips them. ``sizes`` are heights and widths of the split's images. ``notes`` say
    what reading changed or left out, and what the images leave unused.
    """

    split: Split
    a: Domain
    b: Domain
    skipped: tuple[Skipped, ...] = ()
    flat: tuple[Path, ...] = ()
    val: Split | None = None
    outliers: tuple[Path, ...] = ()
    sizes: Mapping[Ref, tuple[int, int]] = field(default_factory=dict, compare=False)  # says nothing that the files do not
    notes: tuple[str, ...] = field(default=(), compare=False)

    def swapped(self) -> Census:
        """The same with A and B exchanged."""
        val = self.val and self.val.swapped()
        return replace(self, split=self.split.swapped(), a=self.b, b=self.a, val=val)

    def remarks(self) -> Iterator[str]:
        """Say what a person should know of the data before a training begins, one line each."""
        yield from (f"skipped: {skipped}" for skipped in self.skipped)
        yield from self.notes
        for path in self.flat:
            yield f"{show(path)}: one flat colour, which InstanceNorm amplifies; consider removing it"
        if self.outliers:
            more = f" and {len(self.outliers) - 3:,} more" if len(self.outliers) > 3 else ""
            yield (
                f"{', '.join(map(show, self.outliers[:3]))}{more}: "
                "values far beyond those of the other images, or beyond data.range; "
                f"training maps A from {self.a.low:g}..{self.a.high:g} and B from {self.b.low:g}..{self.b.high:g} to -1..1; "
                "repair these images, or leave such values out with data.range robust or LOW,HIGH"
            )

    def to_json(self) -> str:
        """Write one line of ASCII; names of any bytes survive, as JSON escapes lone surrogates."""
        return json.dumps(
            {
                **_written(self.split),
                "val": _written(self.val) if self.val else None,
                "domains": [asdict(domain) for domain in (self.a, self.b)],
                "skipped": [[str(item.path), item.reason] for item in self.skipped],
                "flat": [str(path) for path in self.flat],
                "outliers": [str(path) for path in self.outliers],
                "notes": list(self.notes),
                "sizes": [[self.sizes.get(ref) for ref in side] for side in (self.split.a, self.split.b)],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Census:
        """Read what to_json wrote. Raises DataError when the text is anything else."""
        try:
            found = parse_census(text)
            val = _understood(found["val"]) if found.get("val") else None
            domain_a, domain_b = (
                Domain(**values) if isinstance(values, dict) else Domain(*values)  # older censuses have four values
                for values in found["domains"]
            )
            skipped = tuple(Skipped(Path(path), reason) for path, reason in found["skipped"])
            split = _understood(found)
            flat, outliers = (tuple(map(Path, found.get(name, ()))) for name in ("flat", "outliers"))
            sizes, notes = _sizes(split, found), tuple(map(str, found.get("notes", ())))
            return cls(split, domain_a, domain_b, skipped, flat, val, outliers, sizes, notes)
        except (AttributeError, ConfigError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"damaged ({type(error).__name__}: {error}); remove it and run the same command again") from error


def _written(split: Split) -> dict[str, Any]:
    return {
        "paired": split.paired,
        "sides": [[_written_ref(ref) for ref in side] for side in (split.a, split.b)],
    }


def _written_ref(ref: Ref) -> list[Any]:
    frame = list(astuple(ref.frame)) if ref.frame else []
    more = [frame, str(ref.instances)] if ref.instances else [frame] if frame else []
    return [str(ref.path), ref.half, ref.key, *more]


def _understood_ref(path: str, half: Half = "whole", key: str = "", frame: Sequence[Any] = (), instances: str = "") -> Ref:
    return Ref(Path(path), half, key, Frame(*frame) if frame else None, Path(instances) if instances else None)


def _understood(written: dict[str, Any]) -> Split:
    """Read a split that was written down; older censuses have no keys."""
    a, b = (tuple(_understood_ref(*ref) for ref in side) for side in written["sides"])
    return Split(a, b, written["paired"])


def _sizes(split: Split, written: dict[str, Any]) -> dict[Ref, tuple[int, int]]:
    """Read the sizes of the images; older censuses have none."""
    sides = zip((split.a, split.b), written.get("sizes", ((), ())), strict=True)
    return {ref: (size[0], size[1]) for refs, sizes in sides for ref, size in zip(refs, sizes, strict=bool(sizes)) if size}


def take_census(
    split: Split,
    *,
    like: Census | None = None,
    strict: bool = False,
    value_range: ValueRange = "full",
    labels: LabelDomains = (None, None),
    fitting: Fitting = "none",
    reading: Reading | None = None,
    threads: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> Census:
    """Read every file of a split once and decide what each side is and what must be left out.

    The most common channels and dtype of a side are its domain; images that neither are of it nor can be made so by ``fit``
    are left out, and so are pairs of which one image is, or whose sizes differ unless ``fitting`` brings them to one. All types
    but uint8 get the range of values that ``value_range`` says: all that were found, the robust range (see diptych.data.ranges),
    or a given one. Pixels without data are in no range, and make the domain a masked one. ``reading`` says how profiles and
    transparency are read. With ``like``, another census, the domains and the reading are the other's. Unpaired, each side is
    judged alone. ``labels`` are the domains of sides that hold label maps (see diptych.data.labels); images that are none of
    those are left out.

    The result does not depend on ``threads``. ``on_progress`` gets (done, total) files.

    Raises DataError when nothing is left, more than 5 % are unusable, or, if ``strict``, any is; ConfigError when a range is
    given that a side cannot have.
    """
    reading = reading or Reading()
    labels = _of_labels((like.a, like.b) if like else labels)
    rules = (like.a.reading, like.b.reading) if like else tuple(given.reading if given else reading for given in labels)
    looks = look_at_sides(split, rules, threads, on_progress)
    looks = _without_other_labels(split, looks, labels, threads)
    kinds, kept, (skipped_a, skipped_b) = _sift(split, looks, like, fitting)
    skipped = _unique([*skipped_a, *skipped_b])
    if split.paired:
        _decide("pairs", split.a, kept.a, skipped, strict)
    else:
        _decide("images", split.a, kept.a, skipped_a, strict)
        _decide("images", split.b, kept.b, skipped_b, strict)
    kept, looks = _framed(kept, looks, fitting, labels)
    flat = _unique(ref.path for ref in (*kept.a, *kept.b) if looks[ref].flat)
    sizes = {ref: (looks[ref].height, looks[ref].width) for ref in (*kept.a, *kept.b)}
    sides = [(name, [looks[ref] for ref in refs]) for name, refs in (("A", kept.a), ("B", kept.b))]
    notes = tuple(note for name, side in sides for note in changes(name, side))
    notes += tuple(
        note for (name, side), domain in zip(sides, labels, strict=True) if not domain for note in unused_lines(name, side)
    )
    if like:
        return Census(kept, like.a, like.b, skipped, flat, sizes=sizes, notes=notes)
    if isinstance(value_range, tuple) and kinds[0][1] == kinds[1][1] == "uint8":
        raise ConfigError("data.range: both sides hold 8 bits, which always range from 0 to 255; set data.range full")
    (domain_a, outliers_a), (domain_b, outliers_b) = (
        (replace(given, axis=reading.axis, instances=any(ref.instances for ref in refs)), iter(()))
        if given
        else _domain(kind, [looks[ref] for ref in refs], refs, value_range, reading)
        for given, kind, refs in zip(labels, kinds, (kept.a, kept.b), strict=True)
    )
    outliers = _unique([*outliers_a, *outliers_b])
    return Census(kept, domain_a, domain_b, skipped, flat, outliers=outliers, sizes=sizes, notes=notes)


def still_usable(split: Split, census: Census) -> tuple[Split, tuple[Skipped, ...]]:
    """Part the images of a split that can be read now and brought to the domains of a census from the others."""
    looks = look_at_sides(split, (census.a.reading, census.b.reading))
    looks = _without_other_labels(split, looks, _of_labels((census.a, census.b)))
    _, kept, (skipped_a, skipped_b) = _sift(split, looks, census)
    return kept, _unique([*skipped_a, *skipped_b])


def _sift(
    split: Split, looks: Mapping[Ref, Look], like: Census | None, fitting: Fitting = "none"
) -> tuple[tuple[Kind, Kind], Split, tuple[tuple[Skipped, ...], tuple[Skipped, ...]]]:
    """Return the kinds of the sides, the images (or pairs) that can be used, and by side those that cannot be."""
    given = (_kind_of(like.a), _kind_of(like.b)) if like else None
    kinds, a, b = mark_unusable(split, looks, given, fitting)
    good_a, good_b = [not look.reason for look in a], [not look.reason for look in b]
    if split.paired:
        good_a = good_b = [both == (True, True) for both in zip(good_a, good_b, strict=True)]
    kept = Split(tuple(compress(split.a, good_a)), tuple(compress(split.b, good_b)), split.paired)
    return kinds, kept, (_skipped(split.a, a), _skipped(split.b, b))


def _of_labels(domains: LabelDomains) -> LabelDomains:
    """The domains that are of labels, None in place of others."""
    a, b = (domain.labels if domain and domain.classes else None for domain in domains)
    return a, b


def _framed(kept: Split, looks: dict[Ref, Look], fitting: Fitting, labels: LabelDomains) -> tuple[Split, dict[Ref, Look]]:
    """The pairs with the frames that bring their images to one size, and the looks at them with that size."""
    if not kept.paired or fitting == "none":
        return kept, looks
    sides: tuple[list[Ref], list[Ref]] = ([], [])
    nearest = labels[0] is not None, labels[1] is not None
    found = dict(looks)
    for refs in zip(kept.a, kept.b, strict=True):
        a, b = (looks[ref] for ref in refs)
        frames = common_frames((a.height, a.width), (b.height, b.width), fitting, nearest)
        for side, ref, frame in zip(sides, refs, frames, strict=True):
            side.append(replace(ref, frame=frame))
            found[side[-1]] = replace(looks[ref], height=frame.height, width=frame.width) if frame else looks[ref]
    return Split(tuple(sides[0]), tuple(sides[1]), True), found


def _without_other_labels(split: Split, looks: Mapping[Ref, Look], labels: LabelDomains, threads: int = 2) -> dict[Ref, Look]:
    """The looks, with all images of sides of labels of one kind, and the reason why one is no label map of its side."""
    found = dict(looks)
    for domain, refs in zip(labels, (split.a, split.b), strict=True):
        if domain is None:
            continue
        readable = [ref for ref in refs if not found[ref].reason]
        with ThreadPool(threads) as pool:
            reasons = pool.map(partial(_no_label, domain=domain), readable, chunksize=8)
        for ref, reason in zip(readable, reasons, strict=True):
            found[ref] = replace(found[ref], channels=domain.bands, dtype=domain.dtype, reason=reason)
    return found


def _no_label(ref: Ref, domain: Domain) -> str:
    """Why an image is no label map of a domain, or its instance map is none of it; empty where all is well."""
    try:
        labels = fit_labels(ref.read(domain.reading), domain)
        if ref.instances:
            beside(labels, ref)
    except DataError as error:
        return str(error).removeprefix(f"{show(ref.path)}: ")
    return ""


def _kind_of(domain: Domain) -> Kind:
    return domain.labels.bands, domain.stored or domain.dtype


def changes(side: str, looks: Sequence[Look]) -> Iterator[str]:
    """Say what reading changed in the images of a side or left out, a line each, and how many pixels have no data."""
    for note, count in Counter(note for look in looks for note in look.notes).most_common():
        yield f"{count:,} of {len(looks):,} images of {side}: {note}"
    if masked := [look.without for look in looks if look.masked]:
        share = sum(masked) / len(masked)
        yield f"{len(masked):,} of {len(looks):,} images of {side}: {share:.2%} of the pixels have no data"


def unused_lines(side: str, looks: Sequence[Look]) -> Iterator[str]:
    """Say what the images of a side leave unused, in a line each."""
    yield from (str(Finding(rule, detail=detail)) for rule, detail in unused(side, looks))


def _skipped(refs: Sequence[Ref], looks: Sequence[Look]) -> tuple[Skipped, ...]:
    return tuple(Skipped(ref.path, look.reason) for ref, look in zip(refs, looks, strict=True) if look.reason)


def _unique(items: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(items))


def _decide(what: str, refs: Sequence[Ref], kept: Sequence[Ref], skipped: Sequence[Skipped], strict: bool) -> None:
    """Raise DataError when what is left is too little to go on without a person."""
    bad, total = len(refs) - len(kept), len(refs)
    where = f"{show(refs[0].path.parent)}: {bad} of {total} {what} cannot be used"
    examples = ", and ".join(str(item) for item in skipped[:3])
    if bad == total:
        raise DataError(f"{where}, so none is left: {examples}")
    if bad and strict:
        raise DataError(f"{where}, and strict allows none: {skipped[0]}")
    if bad > TOLERATED_SHARE * total:
        raise DataError(f"{where}, more than {TOLERATED_SHARE:.0%}: {examples}")


def _domain(
    kind: Kind, looks: Sequence[Look], refs: Sequence[Ref], value_range: ValueRange, reading: Reading
) -> tuple[Domain, Iterator[Path]]:
    """The domain of a side, and its images whose values lie far beyond those of the others or beyond a given range.

    Images of 8 bits among those of 16 say nothing of the range: ``fit`` brings them into it. One image with a nodata tag or a
    mask makes the domain a masked one, of float32.
    """
    channels, dtype = kind
    how: dict[str, Any] = {"icc": reading.icc, "alpha": reading.alpha, "axis": reading.axis}
    if any(look.masked for look in looks):
        nodata = Counter(look.nodata for look in looks if look.nodata is not None).most_common(1)
        number = nodata[0][0] if nodata and math.isfinite(nodata[0][0]) else None
        how |= {"masked": True, "stored": "" if dtype == "float32" else dtype, "nodata": number}
    in_memory = "float32" if how.get("masked") else dtype
    if dtype == "uint8":
        return Domain(channels, in_memory, *FULL_RANGE["uint8"], **how), iter(())
    own = [(look, ref.path) for look, ref in zip(looks, refs, strict=True) if look.dtype == dtype]
    measured = [look for look, _ in own]
    if isinstance(value_range, tuple):
        low, high = value_range
        outlying = [look.low < low or look.high > high for look in measured]
    else:
        low, high = (robust_range if value_range == "robust" else full_range)(measured)
        outlying = stretching(measured)
    where = show(refs[0].path.parent)
    if low == high:
        raise DataError(f"{where}: every value of every image is {low:g}, there is nothing to learn; check how they were made")
    try:
        return Domain(channels, in_memory, low, high, **how), compress((path for _, path in own), outlying)
    except ConfigError as error:
        raise ConfigError(f"data.range {low:g},{high:g}, for the images of {where}: {error}") from error
