"""How far colours alone lead from elevation tints to shaded relief: with the pairs, and without them.

python experiments/relief/colours.py

With pairs: every colour becomes the mean of what its 50 nearest colours among the training pixels became. Without: the colours of
all training tints are carried onto the colours of all training reliefs by sliced optimal transport (Bonneel et al. 2015), also
after both were blurred. Each is scored on the test tiles, as training never sees them.
"""

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

Floats = npt.NDArray[np.float64]


def load(folder: Path) -> Floats:
    """All tiles of a folder, N x H x W x 3 in [-1, 1]."""
    return np.stack([np.asarray(Image.open(file).convert("RGB"), float) / 127.5 - 1 for file in sorted(folder.glob("*.*"))])


def psnr(found: Floats, truth: Floats) -> float:
    """The mean over tiles, in dB; the range of values is 2."""
    return float(np.mean(10 * np.log10(4 / np.mean((found - truth) ** 2, axis=(1, 2, 3)))))


def transport(colours: Floats, target: Floats, rng: np.random.Generator, rounds: int = 400, step: float = 0.3) -> Floats:
    """Move colours (N x 3) onto the distribution of as many others, along three random orthogonal axes a round."""
    moved = colours.copy()
    for _ in range(rounds):
        axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        ours, theirs = moved @ axes, target @ axes
        change = np.empty_like(ours)
        for axis in range(3):
            order = np.argsort(ours[:, axis])
            change[order, axis] = np.sort(theirs[:, axis]) - ours[order, axis]
        moved += step * change @ axes.T
    return moved


def recoloured(tiles: Floats, known: Floats, became: Floats, neighbours: int) -> Floats:
    """Each pixel as the mean of what the nearest known colours became."""
    _, nearest = cKDTree(known).query(tiles.reshape(-1, 3), k=neighbours)
    return became[nearest].mean(axis=1).reshape(tiles.shape)


def main() -> None:
    rng = np.random.default_rng(0)
    with as_file(files("diptych") / "data" / "relief") as root:
        tints, reliefs, tests, truth = (load(root / name) for name in ("trainA", "trainB", "testA", "testB"))
    pixels = rng.choice(tints[..., 0].size, 300_000, replace=False)
    known = tints.reshape(-1, 3)[pixels] + rng.normal(0, 1e-4, (len(pixels), 3))  # no two alike, which slows the search
    print(f"with pairs: {psnr(recoloured(tests, known, reliefs.reshape(-1, 3)[pixels], 50), truth):.2f} dB")
    for sigma in (0, 2, 8):
        here, there, seen = (gaussian_filter(x, (0, sigma, sigma, 0)) for x in (tints, reliefs, tests))
        some, others = (rng.choice(here[..., 0].size, 60_000, replace=False) for _ in range(2))
        known = here.reshape(-1, 3)[some] + rng.normal(0, 1e-4, (60_000, 3))
        moved = transport(known, there.reshape(-1, 3)[others], rng)
        print(f"without pairs, blurred by {sigma} pixels: {psnr(recoloured(seen, known, moved, 16), truth):.2f} dB")


if __name__ == "__main__":
    main()
