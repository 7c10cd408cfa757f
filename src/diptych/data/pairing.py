"""The rule by which two images are a pair: their paths agree, from the folders of their sides on and without the suffix.

``trainA/x/0.png`` belongs to ``trainB/x/0.jpg`` and not to ``trainB/y/0.png``. Accents that are composed on one side and
decomposed on the other are the same name. A side-by-side file has both images of its pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diptych.data.listing import spelling
from diptych.data.splits import Ref, Split


def key_in(folder: Path, path: Path) -> str:
    """The key of an image in the folder that holds one side of one split: its relative path without the suffix."""
    return spelling(path.relative_to(folder).with_suffix("").as_posix())


@dataclass(frozen=True)
class Match:
    """The images of both sides compared by their keys.

    ``pairs`` are indices into both sides, in the order of A; of several images of one key on a side they take the first. By side:
    ``alone`` are images whose key the other side lacks, ``twins`` groups of images that share a key.
    """

    pairs: tuple[tuple[int, int], ...]
    alone: tuple[tuple[Ref, ...], tuple[Ref, ...]]
    twins: tuple[tuple[tuple[Ref, ...], ...], tuple[tuple[Ref, ...], ...]]

    def paired(self, split: Split) -> Split:
        """The pairs of the split that was matched."""
        return Split(tuple(split.a[i] for i, _ in self.pairs), tuple(split.b[j] for _, j in self.pairs), paired=True)


def match(split: Split) -> Match:
    """Match the two sides of a split by their keys, whether or not they are known as pairs."""
    a, b = _by_key(split.a), _by_key(split.b)
    pairs = tuple((indices[0], b[key][0]) for key, indices in a.items() if key in b)
    alone_a = tuple(split.a[i] for key, indices in a.items() if key not in b for i in indices)
    alone_b = tuple(split.b[i] for key, indices in b.items() if key not in a for i in indices)
    return Match(pairs, (alone_a, alone_b), (_twins(split.a, a), _twins(split.b, b)))


def _by_key(refs: Sequence[Ref]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index, ref in enumerate(refs):
        found.setdefault(ref.key, []).append(index)
    return found


def _twins(refs: Sequence[Ref], by_key: dict[str, list[int]]) -> tuple[tuple[Ref, ...], ...]:
    return tuple(tuple(refs[i] for i in indices) for indices in by_key.values() if len(indices) > 1)
