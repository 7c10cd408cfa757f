"""Images set aside for validation where a data set has no val folder of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise

import numpy as np

from diptych.data.datasets import DataConfig, known_pairs
from diptych.data.equal_files import equal_files
from diptych.data.neighbours import series
from diptych.data.splits import Ref, Split

MIN_HELD_OUT = 8  # images a side: fewer say nothing
MAX_HELD_OUT = 100  # images a side: more cost time
Node = tuple[int, int]
"""An image of a split: its side, 0 for a and 1 for b, and its index there."""


def hold_out(split: Split, config: DataConfig, seed: int, *, blocks: bool = False) -> tuple[Split, Split | None]:
    """The split without a random share, ``config.holdout``, of its images (of its pairs, when paired), and that share as a split.

    Images that belong together are on one side of the cut: both halves of a side-by-side file, files that are equal byte for
    byte, and pairs that are known among unpaired images (``config.pairs``), of which one at least is trained on. With ``blocks``,
    so do the frames of a film or of a numbered series (see diptych.data.neighbours): it is set aside whole, or in blocks of
    consecutive frames where it is too long, since a frame whose neighbours are trained on is as good as seen.

    At most 100 images a side are set aside. Where a side would give fewer than 8, none are, and the second is None.
    """
    random = np.random.default_rng((seed, 2))
    sides = split.a, split.b
    sizes = [min(MAX_HELD_OUT, round(config.holdout * len(side))) for side in sides]
    if min(sizes) < MIN_HELD_OUT:
        return split, None
    orders = [random.permutation(len(side)).tolist() for side in sides]
    known = known_pairs(split) if config.pairs and not split.paired else ()
    known_nodes = [((0, i), (1, j)) for i, j in known]
    group_of = _groups(split, chain(known_nodes, _blocks(split, sizes) if blocks else ()))
    not_held = {(0, index) for index, _ in known}
    held: tuple[set[int], set[int]] = set(), set()
    for node in ((side, index) for side, order in enumerate(orders) for index in order):
        group = group_of[node]
        more = [{index for side, index in group if side == of} for of in (0, 1)]
        fits = all(len(there | new) <= size for there, new, size in zip(held, more, sizes, strict=True))
        if fits and not (known and not_held <= group):
            not_held -= group
            for there, new in zip(held, more, strict=True):
                there |= new
    if min(map(len, held)) < MIN_HELD_OUT:  # few groups of many images
        return split, None
    return _part(split, held, False), _part(split, held, True)


def _part(split: Split, held: Sequence[set[int]], inside: bool) -> Split:
    def side(refs: Sequence[Ref], chosen: set[int]) -> tuple[Ref, ...]:
        return tuple(ref for index, ref in enumerate(refs) if (index in chosen) == inside)

    return Split(side(split.a, held[0]), side(split.b, held[1]), split.paired)


def _groups(split: Split, more: Iterable[tuple[Node, Node]]) -> dict[Node, frozenset[Node]]:
    """For each image all that belong together with it, itself among them; of ``more``, the two of each do."""
    group_of: dict[Node, set[Node]] = {
        (side, i): {(side, i)} for side, refs in enumerate((split.a, split.b)) for i in range(len(refs))
    }
    for first, other in chain(_together(split), more):
        one, two = sorted((group_of[first], group_of[other]), key=len)
        if one is not two:
            two |= one
            group_of |= dict.fromkeys(one, two)
    whole = {id(group): frozenset(group) for group in group_of.values()}
    return {node: whole[id(group)] for node, group in group_of.items()}


def _together(split: Split) -> Iterator[tuple[Node, Node]]:
    """Images of one pair, of one file, and of equal files."""
    if split.paired:
        yield from (((0, i), (1, i)) for i in range(len(split.a)))
    of_file: dict[object, Node] = {}
    paths = [ref.path for ref in (*split.a, *split.b)]
    same = {path: group[0] for group in equal_files(paths) for path in group}
    for side, refs in enumerate((split.a, split.b)):
        for index, ref in enumerate(refs):
            node = side, index
            yield of_file.setdefault(same.get(ref.path, ref.path), node), node


def _blocks(split: Split, sizes: Sequence[int]) -> Iterator[tuple[Node, Node]]:
    """Consecutive frames of one block: a series, or parts of it of as many frames as are to be set aside."""
    for side, (refs, size) in enumerate(zip((split.a, split.b), sizes, strict=True)):
        for run in series(refs):
            for first in range(0, len(run), size):
                yield from pairwise((side, index) for index in run[first : first + size])
