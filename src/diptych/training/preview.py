"""Contact sheets of a training: the same few images, translated again and again as it goes on."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from diptych.data.census import Census
from diptych.data.datasets import DataConfig, view
from diptych.data.folders import Split
from diptych.nets.modes import Mode, applied
from diptych.sheets import Column, contact_sheet, spread


class Preview:
    """Up to ``rows`` images of each side, evenly chosen, seen whole at the size of training."""

    def __init__(self, split: Split, census: Census, config: DataConfig, rows: int = 4) -> None:
        self.paired = split.paired
        chosen_a, chosen_b = spread(split.a, rows), spread(split.b, rows)
        self.a = [census.a.encode(view(ref, census.a, config)[None]) for ref in chosen_a]
        self.b = [census.b.encode(view(ref, census.b, config)[None]) for ref in chosen_b]

    def draw(self, generators: Mapping[str, nn.Module], mode: Mode) -> bytes:
        """A PNG: for each direction the columns input, output and, for pairs, truth."""
        columns: list[Column] = []
        for direction, net in generators.items():
            inputs, truth = (self.a, self.b) if direction == "a2b" else (self.b, self.a)
            device = next(net.parameters()).device
            with applied(net, mode):
                outputs = [net(x.to(device)).cpu() for x in inputs]
            columns += [(direction[0], inputs), (direction.replace("2", " to "), outputs)]
            columns += [(f"{direction[-1]}, truth", truth)] if self.paired else []
        return contact_sheet(columns)
