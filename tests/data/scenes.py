"""Small scenes of random shapes, as a coloured picture and as a drawing of the same shapes: pairs of two modalities."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 96


def scene(seed: int, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """A picture (h, w, 3) with soft shading, and its label map (h, w, 3), both uint8."""
    random = np.random.default_rng(seed)
    palette = [(0, 0, 170), (255, 85, 0), (0, 255, 255), (170, 255, 80)]
    picture = Image.fromarray((random.random((7, 7, 3)) * 90 + 80).astype(np.uint8)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    labels = Image.new("RGB", (size, size), palette[0])
    for _ in range(14):
        x, y, w, h = random.integers(-10, size), random.integers(-10, size), random.integers(8, 40), random.integers(8, 40)
        box, kind = (int(x), int(y), int(x + w), int(y + h)), int(random.integers(1, 4))
        color = tuple(int(v) for v in random.integers(20, 230, 3))
        for image, fill in ((picture, color), (labels, palette[kind])):
            getattr(ImageDraw.Draw(image), "ellipse" if kind == 1 else "rectangle")(box, fill=fill)
    noise = random.normal(0, 4, (size, size, 3))
    shaded = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.7))) + noise
    return shaded.clip(0, 255).astype(np.uint8), np.asarray(labels)


def save(path: Path, pixels: np.ndarray, **how: object) -> Path:
    """Write an image, its folder made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **how)
    return path


def pairs(root: Path, count: int = 20, split: str = "train", seed: int = 0) -> Path:
    """trainA/ of pictures and trainB/ of their label maps."""
    for i in range(count):
        picture, labels = scene(seed + i)
        save(root / f"{split}A" / f"{i:03}.png", picture)
        save(root / f"{split}B" / f"{i:03}.png", labels)
    return root


def sets(root: Path, count: int = 8, split: str = "train", seed: int = 0) -> Path:
    """trainA/ and trainB/ of pictures that have nothing to do with one another, and no name in common."""
    for i in range(count):
        save(root / f"{split}A" / f"a{i:03}.png", scene(seed + i)[0])
        save(root / f"{split}B" / f"b{i:03}.png", scene(500 + seed + i)[0])
    return root
