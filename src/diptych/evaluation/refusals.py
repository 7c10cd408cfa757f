"""Sets of images that must not be scored. Their numbers would look like any others, so they are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from diptych.data.folders import Ref, Split
from diptych.errors import DataError
from diptych.evaluation.protocol import file_sums
from diptych.evaluation.subject import Subject
from diptych.messages import show


class SeenBefore(NamedTuple):
    """Images that must not be scored because they were used before, and how: ``trained on``. None where they are not known."""

    split: Split | None
    how: str


def refuse_wrong_sets(subject: Subject, *, allow_doubles: bool = False) -> dict[Path, str]:
    """Check the sets of a subject, and return the SHA-256 of every file.

    Raises DataError for empty sets, pairs of unequal number, doubled files (unless allowed), outputs that equal the truth or
    the inputs, and images that lie on both sides.
    """
    made, what = subject.outputs or subject.inputs, "outputs" if subject.outputs else "inputs"
    for name, refs in ((what, made), ("real images", subject.targets)):
        if not refs:
            raise DataError(f"{subject.direction}: no {name} to score, the set is empty; give at least one image on each side")
    if subject.paired and len(made) != len(subject.targets):
        raise DataError(f"{len(made)} {what} and {len(subject.targets)} truths cannot be pairs; give each its partner")
    if subject.outputs and subject.inputs and len(subject.outputs) != len(subject.inputs):
        raise DataError(f"{len(subject.outputs)} outputs and {len(subject.inputs)} inputs do not belong together, one by one")
    sums = file_sums([*subject.outputs, *subject.inputs, *subject.targets])
    for name, refs in (("outputs", subject.outputs), ("inputs", subject.inputs), ("real images", subject.targets)):
        _refuse_doubles(name, refs, sums, allow_doubles)
    if subject.outputs:
        _refuse_same("outputs", subject.outputs, "the truth", subject.targets, subject.paired, sums)
        _refuse_same("outputs", subject.outputs, "the inputs", subject.inputs, True, sums)
    if subject.inputs:
        _refuse_same("inputs", subject.inputs, "the truth", subject.targets, subject.paired, sums)
    return sums


def _refuse_doubles(name: str, refs: Sequence[Ref], sums: Mapping[Path, str], allowed: bool) -> None:
    first: dict[tuple[str, str], Ref] = {}
    doubles = []
    for ref in refs:
        content = sums[ref.path], ref.half
        if content in first:
            doubles.append((first[content], ref))
        first.setdefault(content, ref)
    if doubles and not allowed:
        (one, other), count = doubles[0], len(doubles)
        more = f", and {count - 1} more" if count > 1 else ""
        cause = "; remove them, or pass --allow-doubles if your data is so"
        if name == "outputs":
            cause = "; were files copied, or does the translator give one answer to all? --allow-doubles scores them"
        raise DataError(f"{show(other.path)}: is the same image as {show(one.path)}{more}, among {len(refs)} {name}{cause}")


def _refuse_same(
    name: str, refs: Sequence[Ref], other: str, others: Sequence[Ref], in_order: bool, sums: Mapping[Path, str]
) -> None:
    """Refuse two sets that share images: any of them when they are sets, more than half of them when they are pairs."""
    if in_order:  # a pair of equal images may be real, such as two empty label maps
        same = [one for one, two in zip(refs, others, strict=False) if (sums[one.path], one.half) == (sums[two.path], two.half)]
    else:
        known = {(sums[ref.path], ref.half) for ref in others}
        same = [ref for ref in refs if (sums[ref.path], ref.half) in known]
    if same and (not in_order or 2 * len(same) > len(refs)):
        raise DataError(
            f"{show(same[0].path)}: {len(same)} of {len(refs)} {name} are byte for byte among {other}; "
            "give two different sets of images"
        )


def refuse_seen(subject: Subject, before: SeenBefore, sums: Mapping[Path, str]) -> None:
    """Raise DataError when an image to score equals one that was seen before, byte for byte and under any name."""
    if before.split is None:
        return
    tested = {sums[ref.path]: ref.path for ref in (*subject.inputs, *subject.targets)}
    sizes = {path.stat().st_size for path in tested.values()}
    suspects = [ref for ref in (*before.split.a, *before.split.b) if _size(ref.path) in sizes]  # so that not every file is read
    found = {known: path for path, known in file_sums(suspects).items() if known in tested}
    if found:
        known, path = next(iter(found.items()))
        raise DataError(
            f"{show(tested[known])}: is byte for byte {show(path)}, which was {before.how} "
            f"({len(found)} of {len(tested)} files are); scores on it say nothing, take it out of the test images"
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # moved since training: what is not there cannot be compared
        return -1
