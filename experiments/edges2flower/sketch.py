"""Draw three flowers as a hand would, in shaky ink lines that no photo gave, as inputs of edges -> flower.

python experiments/edges2flower/sketch.py sketches/
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

SIDE, FINER = 128, 4  # pixels, the size of training; drawn four times as large and reduced, for smooth lines
FLOWERS = {  # petals, middle, radius of the middle, radius of the flower, half the width of a petal
    "meadow": (12, (64, 56), 13, 46, 7.0),
    "large-eye": (18, (60, 60), 20, 52, 6.0),
    "small": (9, (66, 52), 9, 40, 8.5),
}
Points = list[tuple[float, float]]


class Sketch:
    """White paper and a pen in a hand that shakes by up to 0.7 pixels."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.paper = Image.new("L", (SIDE * FINER, SIDE * FINER), 255)
        self.pen = ImageDraw.Draw(self.paper)

    def line(self, points: Points, width: float, closed: bool = False) -> None:
        """Draw a line; a closed one hides what is below it, as nobody draws through a petal."""
        shaky = [(x + self.random.uniform(-0.7, 0.7), y + self.random.uniform(-0.7, 0.7)) for x, y in points]
        places = [(x * FINER, y * FINER) for x, y in shaky]
        if closed:
            self.pen.polygon(places, fill=255)
            places.append(places[0])
        self.pen.line(places, fill=0, width=round(width * FINER), joint="curve")

    def flower(self, petals: int, middle: tuple[float, float], inner: float, outer: float, half: float) -> Image.Image:
        """Draw a stem, petals around a middle, and dots in it."""
        x, y = middle
        begin = y + 0.6 * outer
        for side in (0, 5):
            self.line([(x + side + 8 * (i / 9) ** 2, begin + i * (SIDE - begin) / 9) for i in range(10)], 2.2)
        for k in range(petals):
            turn = 2 * math.pi * k / petals + self.random.uniform(-0.06, 0.06)
            self.line(petal(middle, turn, inner, outer * self.random.uniform(0.93, 1.05), half), 1.6, closed=True)
        ring = [2 * math.pi * i / 18 for i in range(18)]
        self.line([(x + 1.15 * inner * math.cos(t), y + 1.15 * inner * math.sin(t)) for t in ring], 2.0, closed=True)
        for _ in range(14):
            turn, radius = self.random.uniform(0, 2 * math.pi), self.random.uniform(0, 0.8 * inner)
            dot = x + radius * math.cos(turn), y + radius * math.sin(turn)
            self.line([dot, (dot[0] + 1.5, dot[1] + 1)], 1.2)
        return self.paper.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def petal(middle: tuple[float, float], turn: float, inner: float, outer: float, half: float) -> Points:
    """The outline of a petal, from the middle outwards on one side and back on the other."""
    ahead, across = (math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))
    sides: tuple[Points, Points] = ([], [])
    for i in range(12):
        along, off = inner + (outer - inner) * i / 11, half * math.sin(math.pi * min(1.0, 0.93 * i / 11 + 0.04))
        for sign, points in zip((1, -1), sides, strict=True):
            points.append(tuple(middle[k] + along * ahead[k] + sign * off * across[k] for k in (0, 1)))  # type: ignore[arg-type]
    return sides[0] + sides[1][::-1]


def main(out: str) -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    for seed, (name, shape) in enumerate(FLOWERS.items()):
        Sketch(seed).flower(*shape).save(Path(out, f"{name}.png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
