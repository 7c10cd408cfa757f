"""Train a small CycleGAN on frames with and without the temporal loss, and measure how much its films flicker frame by frame.

    python experiments/film/neighbours.py PHOTOS OUT [--films 10] [--frames 12] [--epochs 4] [--seeds 1] [--arms ARM ...]

PHOTOS holds trainA and trainB. Each film is a camera that pans and zooms over a photo, 64 x 64 pixels. Two photos of trainA that
are not trained on make the films of the test, whose flow is known exactly from the camera. The warping error is the mean
square of y_t - W y_{t-1} over the pixels that were in view, in levels of 255 (Lai et al. 2018, eq. 7); the frames are translated
one by one, without any filter. Sharpness is the mean square of gradients of the translations.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from diptych.data.formats import write_pixels
from diptych.inference.translator import Translator
from diptych.recipe import Recipe
from diptych.training.loop import train

SIDE = 64
TERM: dict[str, Any] = {"loss": "temporal", "between": ["real_a"], "weight": 10.0}
ARMS: dict[str, list[dict[str, Any]]] = {
    "without": [],
    "synthetic motion": [TERM | {"motion": "synthetic"}],
    "real neighbours": [TERM | {"motion": "neighbours"}],
}
NETWORKS = {"generator": "resnet_3", "ngf": 16, "ndf": 16}


def camera(count: int, random: np.random.Generator) -> np.ndarray:
    """Left, top and extent of the view in each frame, as shares of the photo: (count, 3)."""
    extents = np.linspace(*random.uniform(0.45, 0.65, 2), count)
    starts, ends = random.uniform(0.0, 0.35, (2, 2))
    corners = np.linspace(starts, ends, count)
    return np.column_stack([corners, extents])


def frame(photo: np.ndarray, view: np.ndarray) -> np.ndarray:
    """What the camera sees: (SIDE, SIDE, 3)."""
    side = min(photo.shape[:2])
    left, top, extent = view * side
    scale = extent / SIDE
    # The pixel at (i, j) of a frame is at (left, top) + scale (i + 1/2, j + 1/2) - 1/2 of the photo.
    matrix = np.array([[scale, 0, left + scale / 2 - 0.5], [0, scale, top + scale / 2 - 0.5]])
    smooth = cv2.GaussianBlur(photo, (0, 0), max(0.4 * scale, 0.3))
    return cv2.warpAffine(smooth, matrix, (SIDE, SIDE), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)


def places(view: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel was in the frame before, (SIDE, SIDE, 2), and whether that was in view."""
    half = np.arange(SIDE) + 0.5
    over, down = (((view[axis] + half / SIDE * view[2]) - before[axis]) / before[2] * SIDE - 0.5 for axis in (0, 1))
    grid = np.stack(np.meshgrid(over, down), -1).astype(np.float32)
    return grid, ((grid >= 0) & (grid <= SIDE - 1)).all(-1)


def warping_error(images: list[np.ndarray], views: np.ndarray) -> float:
    """The mean square over the frames of a film, in levels of 255."""
    errors = []
    for number in range(1, len(images)):
        grid, inside = places(views[number], views[number - 1])
        moved = cv2.remap(images[number - 1].astype(np.float32), grid, None, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
        errors.append(float(np.square(images[number] - moved)[inside].mean()))
    return float(np.mean(errors))


def sharpness(images: list[np.ndarray]) -> float:
    """The mean square of gradients."""
    return float(np.mean([sum(np.square(np.diff(image.astype(float), axis=axis)).mean() for axis in (0, 1)) for image in images]))


def main() -> None:
    """Make the films, train every arm with every seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--films", type=int, default=10)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    options = parser.parse_args()
    random, tests = np.random.default_rng(0), []
    for side, count in (("A", options.films + 2), ("B", options.films)):
        for film, path in enumerate(sorted((options.photos / f"train{side}").iterdir())[:count]):
            photo, views = np.asarray(Image.open(path).convert("RGB")), camera(options.frames, random)
            frames = [frame(photo, view) for view in views]
            if film >= options.films:
                tests.append((frames, views))
                continue
            for number, pixels in enumerate(frames):
                write_pixels(options.out / "data" / f"train{side}" / f"{film:02d}-{number:03d}.png", pixels)

    data = {"source": [str(options.out / "data")], "resize": "none", "crop_size": SIDE, "holdout": 0.0}
    rows: dict[str, dict[str, list[float]]] = {name: {"error": [], "sharpness": []} for name in options.arms}
    for seed in range(options.seeds):
        for name in options.arms:
            extra = ARMS[name]
            settings = {"epochs": options.epochs, "decay_epochs": 0, "seed": seed, "lr": 0.0005}
            recipe = Recipe.create("cyclegan", {"method": NETWORKS, "data": data, "train": settings, "extra": extra})
            out = options.out / f"{name.replace(' ', '-')}-{seed}"
            translator = Translator.load(train(recipe, out, device="cpu", workers=0, num_previews=0), device="cpu")
            films = [([translator(image) for image in frames], views) for frames, views in tests]
            rows[name]["error"].append(float(np.mean([warping_error(images, views) for images, views in films])))
            rows[name]["sharpness"].append(float(np.mean([sharpness(images) for images, _ in films])))
            print(
                f"seed {seed}, {name}: error {rows[name]['error'][-1]:.1f}, sharpness {rows[name]['sharpness'][-1]:.0f}",
                flush=True,
            )
    source = float(np.mean([warping_error(frames, views) for frames, views in tests]))
    print(f"the films themselves: error {source:.1f}, sharpness {np.mean([sharpness(frames) for frames, _ in tests]):.0f}")
    (options.out / "scores.json").write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
