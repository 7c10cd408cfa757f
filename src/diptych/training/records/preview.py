"""Contact sheets that show the same few images again and again, translated by the networks as they learn."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from diptych.data.census import Census
from diptych.data.datasets import DataConfig, view
from diptych.data.folders import Split
from diptych.errors import DataError
from diptych.nets.modes import Mode, applied
from diptych.sheets import Column, contact_sheet, spread

log = logging.getLogger(__name__)


class Preview:
    """Up to ``rows`` images of each side, evenly spread over the split and resized whole to the training size."""

    def __init__(self, split: Split, census: Census, config: DataConfig, rows: int = 4) -> None:
        self.paired = split.paired
        self.a: list[Tensor] = []
        self.b: list[Tensor] = []
        for ref_a, ref_b in zip(spread(split.a, rows), spread(split.b, rows), strict=False):
            try:
                a, b = view(ref_a, census.a, config), view(ref_b, census.b, config)
            except DataError as error:
                log.warning("not in the previews: %s", error)
                continue
            self.a.append(census.a.encode(a[None]))
            self.b.append(census.b.encode(b[None]))

    def draw(self, generators: Mapping[str, nn.Module], mode: Mode) -> bytes:
        """Draw a PNG that has the columns input, output and, for pairs, truth for each direction."""
        columns: list[Column] = []
        for direction, net in generators.items():
            inputs, truth = (self.a, self.b) if direction == "a2b" else (self.b, self.a)
            device = next(net.parameters()).device
            with applied(net, mode) as translate:
                outputs = [translate(x.to(device)).cpu() for x in inputs]
            columns += [(direction[0], inputs), (direction.replace("2", " to "), outputs)]
            columns += [(f"{direction[-1]}, truth", truth)] if self.paired else []
        return contact_sheet(columns)
