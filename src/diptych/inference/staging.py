"""What is computed when an image is translated by stages: which feature maps are kept, in which order, and what it takes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

from diptych.inference.recording import Node
from diptych.inference.windows import Convolved, Normalised, TransposedConvolved, Window, area, whole

SIDES = (512, 384, 256, 192, 128, 96, 64, 48, 32)
"""Heights and widths of windows, of which the largest is taken that fits into the memory."""

ENOUGH = 10**9  # bytes of a window; larger ones are no faster
LIBRARIES = 10**8  # bytes that torch and oneDNN take for themselves when they first compute


@dataclass(frozen=True)
class Stage:
    """One walk over all windows of one node.

    Its output is kept as a feature map, or it is only measured for the norm that follows, or it is the result. ``reads`` are the
    kept maps that it is computed from.
    """

    node: int
    kept: bool
    measured: bool
    reads: frozenset[int]


class Staging:
    """The stages of a recorded network.

    Outputs of convolutions and sums are kept. Where that takes more than ``disk`` bytes at one time, those at the full size of
    the image that are computed from kept maps or from the image are not: these take most memory and little time, and are
    computed again wherever they are needed.
    """

    def __init__(self, nodes: list[Node], disk: int = 0) -> None:
        self.nodes, self.last = nodes, len(nodes) - 1
        self.normed = {node.inputs[0] for node in nodes if isinstance(node.operation, Normalised)}
        self._choose(keep_full=True)
        if self.scratch > disk:
            self._choose(keep_full=False)

    def _choose(self, keep_full: bool) -> None:
        """Choose the maps that are kept, and with them the stages."""
        self.kept: set[int] = set()
        self.stages: list[Stage] = []
        used = self._used_by_heavy()
        for place, node in enumerate(self.nodes):
            if node.operation is None:
                continue
            full, again = area(whole(node.size)) >= area(whole(self.nodes[0].size)), self._recomputes(place)
            ends = place not in used and place not in self.normed  # nothing but the result is made of it
            if node.operation.heavy and not ends and (keep_full or again or not full):
                self.kept.add(place)
            kept, measured = place in self.kept, place in self.normed
            if kept or measured or place == self.last:
                self.stages.append(Stage(place, kept, measured, self._reads(place)))

    def _used_by_heavy(self) -> set[int]:
        """The nodes that a convolution or sum is computed from, through other operations."""
        used: set[int] = set()
        for place in range(self.last, 0, -1):
            node = self.nodes[place]
            if place in used or (node.operation is not None and node.operation.heavy):
                used.update(node.inputs)
        return used

    def _recomputes(self, place: int) -> bool:
        """Whether computing a node computes another convolution or sum again."""
        for source in self.nodes[place].inputs:
            operation = self.nodes[source].operation
            if source in self.kept or operation is None:
                continue
            if operation.heavy or self._recomputes(source):
                return True
        return False

    def _reads(self, place: int) -> frozenset[int]:
        found: set[int] = set()
        for source in self.nodes[place].inputs:
            found |= {source} if source in self.kept else self._reads(source)
        return frozenset(found)

    def expires(self, index: int) -> set[int]:
        """The kept maps that no stage after this one reads."""
        later = set().union(*(stage.reads for stage in self.stages[index + 1 :]))
        return {place for place in self.kept if place <= self.stages[index].node} - later

    @property
    def scratch(self) -> int:
        """The most bytes that kept maps take at one time."""
        most, held = 0, set[int]()
        for index, stage in enumerate(self.stages):
            held |= {stage.node} if stage.kept else set()
            most = max(most, sum(self.nodes[place].nbytes for place in held))
            held -= self.expires(index)
        return most

    def work(self, place: int) -> int:
        """The multiplications in computing all of a node from kept maps, about."""
        node = self.nodes[place]
        if node.operation is None:
            return 0
        below = sum(self.work(source) for source in node.inputs if source not in self.kept)
        return below + node.operation.work(node.shape.numel() // node.shape[1]) + node.shape.numel()

    def needs(self, place: int, window: Window, source: int) -> Window:
        """The window of an input that a window of a node needs."""
        operation, size = self.nodes[place].operation, self.nodes[source].size
        assert operation is not None
        rows, columns = (operation.needs(axis, window[axis], size[axis]) for axis in (0, 1))
        return rows, columns

    def window_bytes(self, place: int, window: Window) -> int:
        """The bytes that computing a window of a node takes, at most."""
        node = self.nodes[place]
        own = area(window) * node.shape[1] * node.dtype.itemsize
        if node.operation is None:
            return 3 * own
        inputs = 0
        for source in node.inputs:
            needed = self.needs(place, window, source)
            at_source = area(needed) * self.nodes[source].shape[1] * self.nodes[source].dtype.itemsize
            inputs += at_source if source in self.kept else self.window_bytes(source, needed)
            if isinstance(node.operation, Convolved | TransposedConvolved):
                inputs += at_source  # the padded or reordered copy
        return inputs + 2 * own

    def side(self, place: int, budget: int) -> int:
        """The largest side of windows of a node that take at most ``budget`` bytes, or the smallest side there is."""
        budget = min(budget, ENOUGH)
        return next((side for side in SIDES if self.most_window_bytes(place, side) <= budget), SIDES[-1])

    def most_window_bytes(self, place: int, side: int) -> int:
        """The bytes that a window of a side takes in the middle of a node's map."""
        height, width = self.nodes[place].size
        rows, columns = (((size - min(size, side)) // 2, (size + min(size, side)) // 2) for size in (height, width))
        return self.window_bytes(place, (rows, columns))

    @cached_property
    def least(self) -> int:
        """The bytes that the stages need at least, besides the image, its translation and the weights."""
        return max(self.most_window_bytes(stage.node, SIDES[-1]) for stage in self.stages)


def windows(size: tuple[int, int], side: int) -> list[Window]:
    """Cover a map with windows of nearly equal sizes, none larger than a side, row by row."""
    rows, columns = (_spans(length, side) for length in size)
    return [(row, column) for row in rows for column in columns]


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    count = -(-length // side)
    ends = [length * i // count for i in range(count + 1)]
    return list(itertools.pairwise(ends))


def whole_bytes(nodes: list[Node]) -> int:
    """About the bytes that a network takes for a whole image.

    At the worst layer these are the maps that are still used and the copies that the layer makes. Measured on CPUs, a process
    takes at most twice as much, since modules hold their inputs while they are called, and what the libraries need.
    """
    last_use = {source: place for place, node in enumerate(nodes) for source in node.inputs}
    most = 0
    for place, node in enumerate(nodes):
        held = sum(nodes[j].nbytes for j in range(place) if last_use.get(j, 0) >= place)
        heavy = isinstance(node.operation, Convolved | TransposedConvolved)
        copies = sum(nodes[j].nbytes for j in node.inputs) if heavy else 0
        most = max(most, held + node.nbytes + copies)
    return 2 * most + LIBRARIES
