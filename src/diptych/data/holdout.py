"""Images set aside for validation where a data set has no val folder of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diptych.data.folders import Ref, Split

LEAST, MOST = 8, 100  # images a side: fewer say nothing, more cost time


def hold_out(split: Split, share: float, seed: int) -> tuple[Split, Split | None]:
    """The split without a random share of its images (of its pairs, when paired), and that share as a split of its own.

    At most 100 images a side are set aside. Where a side would give fewer than 8, none are, and the second is None.
    """
    random = np.random.default_rng((seed, 2))
    sizes = [min(MOST, round(share * len(side))) for side in (split.a, split.b)]
    if min(sizes) < LEAST:
        return split, None
    drawn = [set(random.permutation(len(side))[:size].tolist()) for side, size in zip((split.a, split.b), sizes, strict=True)]
    if split.paired:
        drawn[1] = drawn[0]

    def part(inside: bool) -> Split:
        def side(refs: Sequence[Ref], chosen: set[int]) -> tuple[Ref, ...]:
            return tuple(ref for index, ref in enumerate(refs) if (index in chosen) == inside)

        return Split(side(split.a, drawn[0]), side(split.b, drawn[1]), split.paired)

    return part(False), part(True)
