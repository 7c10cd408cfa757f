"""Sets of images that must not be scored. Their numbers would look like any others, so they are refused."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from diptych.data.splits import Ref
from diptych.errors import DataError
from diptych.evaluation.seen import digests_of
from diptych.evaluation.subject import Subject
from diptych.messages import show


def refuse_wrong_sets(subject: Subject, *, allow_doubles: bool = False) -> dict[Ref, bytes]:
    """Check the sets of a subject, and return the digest of the pixels of every image.

    Raises DataError for empty sets, pairs of unequal number, doubled images (unless allowed), outputs that equal the truth or
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
    digests = digests_of([*subject.outputs, *subject.inputs, *subject.targets])
    pairs = [(digests[x], digests[t]) for x, t in zip(subject.inputs, subject.targets, strict=False)]
    for name, refs in (("outputs", subject.outputs), ("inputs", subject.inputs), ("real images", subject.targets)):
        alone = name == "outputs" or not (subject.paired and subject.inputs)
        _refuse_doubles(name, refs, [digests[ref] for ref in refs] if alone else pairs, allow_doubles)
    if subject.outputs:
        _refuse_same("outputs", subject.outputs, "the truth", subject.targets, subject.paired, digests)
        _refuse_same("outputs", subject.outputs, "the inputs", subject.inputs, True, digests)
    if subject.inputs:
        _refuse_same("inputs", subject.inputs, "the truth", subject.targets, subject.paired, digests)
    return digests


def _refuse_doubles(name: str, refs: Sequence[Ref], contents: Sequence[Hashable], allowed: bool) -> None:
    """Refuse images of equal contents; those of pairs are the pixels of both sides, as label maps of two photos may be equal."""
    first: dict[Hashable, Ref] = {}
    doubles = []
    for ref, content in zip(refs, contents, strict=True):
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
    name: str, refs: Sequence[Ref], other: str, others: Sequence[Ref], in_order: bool, digests: Mapping[Ref, bytes]
) -> None:
    """Refuse two sets that share images: any of them when they are sets, more than half of them when they are pairs."""
    if in_order:  # a pair of equal images may be real, such as two empty label maps
        same = [one for one, two in zip(refs, others, strict=False) if digests[one] == digests[two]]
    else:
        known = {digests[ref] for ref in others}
        same = [ref for ref in refs if digests[ref] in known]
    if same and (not in_order or 2 * len(same) > len(refs)):
        raise DataError(
            f"{show(same[0].path)}: {len(same)} of {len(refs)} {name} are pixel for pixel among {other}; "
            "give two different sets of images"
        )
