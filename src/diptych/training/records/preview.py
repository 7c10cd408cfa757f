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
    """Up to ``rows`` images of each side, evenly spread over it and resized whole to the training size; pairs stay together.

    Images that cannot be read any more are left out and named in the log.
    """

    def __init__(self, split: Split, census: Census, config: DataConfig, rows: int = 4) -> None:
        self.paired, self.domains = split.paired, (census.a, census.b)
        self.a: list[Tensor] = []
        self.b: list[Tensor] = []
        chosen_a, chosen_b = ([(side, ref) for ref in spread(refs, rows)] for side, refs in enumerate((split.a, split.b)))
        together = zip(chosen_a, chosen_b, strict=True) if split.paired else ((one,) for one in (*chosen_a, *chosen_b))
        for group in together:
            try:
                read = [(side, self.domains[side].encode(view(ref, self.domains[side], config)[None])) for side, ref in group]
            except DataError as error:
                log.warning("not in the previews: %s", error)
                continue
            for side, image in read:
                (self.a, self.b)[side].append(image)

    def draw(self, generators: Mapping[str, nn.Module], mode: Mode) -> bytes:
        """Draw a PNG that has the columns input, output and, for pairs, truth for each direction."""
        columns: list[Column] = []
        for direction, net in generators.items():
            inputs, truth = (self.a, self.b) if direction == "a2b" else (self.b, self.a)
            source, target = self.domains if direction == "a2b" else self.domains[::-1]
            device = next(net.parameters()).device
            with applied(net, mode) as translate:
                outputs = [translate(x.to(device)).cpu() for x in inputs]
            shown = [source.picture(x) for x in inputs], [target.picture(x) for x in outputs]
            columns += [(direction[0], shown[0]), (direction.replace("2", " to "), shown[1])]
            columns += [(f"{direction[-1]}, truth", [target.picture(x) for x in truth])] if self.paired else []
        return contact_sheet(columns)
