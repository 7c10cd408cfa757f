"""Draw a flower by hand, so to say: ink lines of curves that no photo gave, as an input of edges -> flower.

python experiments/edges2flower/sketch.py sketch.png
"""

from __future__ import annotations

import math
import sys
from itertools import pairwise

from PIL import Image, ImageDraw

SIDE = 512  # pixels, drawn at four times this size and reduced, for smooth lines
PETALS = 17


def curve(points: list[tuple[float, float]], steps: int = 40) -> list[tuple[float, float]]:
    """Points on the Bezier curve of these control points, by de Casteljau's construction."""
    found = []
    for i in range(steps + 1):
        t, left = i / steps, points
        while len(left) > 1:
            left = [((1 - t) * x + t * u, (1 - t) * y + t * v) for (x, y), (u, v) in pairwise(left)]
        found.append(left[0])
    return found


def main(path: str) -> None:
    size = 4 * SIDE
    image = Image.new("L", (size, size), 255)
    pen = ImageDraw.Draw(image)

    def line(points: list[tuple[float, float]]) -> None:
        pen.line([(x * size, y * size) for x, y in points], fill=0, width=14, joint="curve")

    x, y, inner = 0.5, 0.42, 0.1
    for i in range(PETALS):
        turn = 2 * math.pi * (i + 0.15 * math.sin(5 * i)) / PETALS  # no hand is regular
        length, width = 0.3 + 0.03 * math.sin(3 * i), 0.075 + 0.01 * math.cos(7 * i)
        ahead, across = (math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))

        def at(along: float, side: float, ahead=ahead, across=across) -> tuple[float, float]:
            return x + along * ahead[0] + side * across[0], y + along * ahead[1] + side * across[1]

        for side in (-1, 1):
            line(curve([at(inner, side * 0.015), at(0.6 * length, side * width), at(0.95 * length, side * width), at(length, 0)]))
        line(curve([at(inner + 0.02, 0), at(0.5 * length, 0.008), at(0.75 * length, 0)]))
    line([(x + inner * math.cos(t / 30), y + inner * math.sin(t / 30)) for t in range(190)])
    for i in range(60):  # the dots of the middle, on a spiral of golden angles
        radius, turn = 0.085 * math.sqrt(i / 60), 2.39996 * i
        dot = (x + radius * math.cos(turn)) * size, (y + radius * math.sin(turn)) * size
        pen.ellipse([dot[0] - 10, dot[1] - 10, dot[0] + 10, dot[1] + 10], fill=0)
    for side in (-0.012, 0.012):
        line(curve([(x + side, y + 0.3), (x + side + 0.02, 0.8), (x + side - 0.05, 1.0)]))
    image.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
