"""Images to score that were seen before, by the training or by the choice of the snapshot: equal pixels and near copies."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from diptych.data.archives import changed_at
from diptych.data.copies import copies_among
from diptych.data.likeness import SIDE, Likeness, eight_bits, filled, likeness, shrunk
from diptych.data.splits import Half, Ref, Split
from diptych.errors import DataError
from diptych.evaluation.subject import Subject
from diptych.messages import show
from diptych.overlap import ahead

log = logging.getLogger(__name__)
READING_THREADS = 2  # decoding releases the GIL
MAX_KEPT = 16_384  # images whose likeness stays in memory, about 5 kB each, so that the trials of an ablation share it
HELD_OUT = "held out for validation"


class SeenBefore(NamedTuple):
    """Images that were used before, and how: ``trained on``. ``split`` is None where they are not known."""

    split: Split | None
    how: str


@dataclass(frozen=True)
class Sighting:
    """An image to score, and the image seen before that it equals or nearly equals."""

    image: Ref
    known: Ref
    how: str
    equal: bool

    def __str__(self) -> str:
        like = "equals" if self.equal else "is a near copy of"
        return f"{show(self.image.path)}: {like} {show(self.known.path)}, which was {self.how}"


def look_at(ref: Ref) -> Likeness:
    """Read what finds copies of an image. Raises DataError, beginning with the path, when it cannot be read."""
    try:
        size, changed = changed_at(ref.path)
    except OSError as error:
        raise DataError(
            f"{show(ref.path)}: cannot be read ({error.strerror}); it was there when the folder was listed"
        ) from error
    return _look_at(ref.path, ref.half, changed, size)


@lru_cache(maxsize=MAX_KEPT)
def _look_at(path: Path, half: Half, changed: int, size: int) -> Likeness:
    pixels = filled(Ref(path, half).read())
    return likeness(pixels, shrunk(eight_bits(pixels), SIDE, SIDE))


def look_at_all(refs: Iterable[Ref]) -> dict[Ref, Likeness]:
    """Look at every image once. Raises DataError as look_at does."""
    unique = list(dict.fromkeys(refs))
    with closing(ahead(look_at, unique, threads=READING_THREADS, depth=8)) as looks:
        return dict(zip(unique, looks, strict=True))


def digests_of(refs: Iterable[Ref]) -> dict[Ref, bytes]:
    """The digest of the pixels of every image: 16 bytes, so that many images fit. Raises DataError as look_at does."""
    unique = list(dict.fromkeys(refs))
    with closing(ahead(look_at, unique, threads=READING_THREADS, depth=8)) as looks:
        return {ref: look.digest for ref, look in zip(unique, looks, strict=True)}


def find_seen(images: Iterable[Ref], seen: Sequence[SeenBefore]) -> dict[Ref, Sighting]:
    """Find the images that equal, or nearly equal, an image seen before, on whichever side it was and under any name.

    Images seen before that can no longer be read are not compared; the log says how many. Without any that are known, nothing
    is read. Raises DataError as look_at does.
    """
    found = dict[Ref, Sighting]()
    known_splits = [(split, how) for split, how in seen if split is not None]
    looks = look_at_all(images) if known_splits else {}
    refs = list(looks)
    for split, how in known_splits:
        known, gone = list(dict.fromkeys((*split.a, *split.b))), list[Ref]()
        with closing(ahead(partial(_look_if_there, gone=gone), known, threads=READING_THREADS, depth=8)) as others:
            copies = copies_among([looks[ref] for ref in refs], others)
        for i, (j, detail) in copies.items():
            found.setdefault(refs[i], Sighting(refs[i], known[j], how, detail == 1.0))
        if gone:
            log.warning("%d of %d images that were %s can no longer be read, and were not compared", len(gone), len(known), how)
    return found


def _look_if_there(ref: Ref, gone: list[Ref]) -> Likeness | None:
    try:
        return look_at(ref)
    except DataError:
        gone.append(ref)
        return None


def seen_images(subject: Subject, sightings: Mapping[Ref, Sighting]) -> list[Sighting]:
    """Choose the sightings that count: a pair was seen only where both sides were, as two photos may have equal label maps."""
    inputs = [sightings.get(ref) for ref in subject.inputs]
    targets = [sightings.get(ref) for ref in subject.targets]
    if not subject.paired:
        return [sighting for sighting in (*inputs, *targets) if sighting]
    both = zip(inputs or targets, targets, strict=True)
    return [target for given, target in both if given and target]


def without_seen(subject: Subject, sightings: Mapping[Ref, Sighting]) -> Subject:
    """The subject without what was seen before. Raises DataError where nothing is left to score."""
    counted = seen_images(subject, sightings)
    if not counted:
        return subject
    gone = {sighting.image for sighting in counted}

    def kept(refs: tuple[Ref, ...], by: tuple[Ref, ...]) -> tuple[Ref, ...]:
        return tuple(ref for ref, judged in zip(refs, by, strict=True) if judged not in gone)

    by = subject.targets if subject.paired else subject.inputs or subject.outputs
    left = replace(
        subject,
        inputs=kept(subject.inputs, by if subject.inputs else ()),
        outputs=kept(subject.outputs, by if subject.outputs else ()),
        targets=kept(subject.targets, subject.targets),
    )
    if not left.names or not left.targets:
        what = "pairs" if subject.paired else "images of a side"
        raise DataError(f"{counted[0]}, and so were all {what} to score; give unseen ones, or score them with --allow-seen")
    return left
