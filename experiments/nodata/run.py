"""Depth from one photograph, with real missing values: are they better masked than filled in?

The disparity of the Middlebury motorcycle (Scharstein et al. 2014, in scikit-image) is float32, and 7 % of its pixels have none,
where one camera sees what the other does not. Tiles of the left three quarters train, the right quarter tests. ``masked``
trains on NaN; ``filled`` on the same tiles with 0 in their place; ``untagged`` on -9999 without a tag that says what it means.

python experiments/nodata/run.py OUT [masked filled untagged]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import skimage.data
import tifffile
from PIL import Image

from diptych import Recipe, Translator, train

FILLS = {"masked": np.nan, "filled": 0.0, "untagged": -9999.0}
TILE, STEP, SEEDS = 96, 32, (0, 1, 2)


def tiles(out: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Write the training tiles of both kinds; return the photograph, the disparity and the column where the test begins."""
    left, _, disparity = skimage.data.stereo_motorcycle()
    disparity = np.where(np.isfinite(disparity) & (disparity > 0), disparity, np.nan).astype(np.float32)
    edge = left.shape[1] * 3 // 4
    for kind, fill in FILLS.items():
        for side in "AB":
            (out / kind / f"train{side}").mkdir(parents=True, exist_ok=True)
        for y in range(0, left.shape[0] - TILE + 1, STEP):
            for x in range(0, edge - TILE + 1, STEP):
                box = np.s_[y : y + TILE, x : x + TILE]
                target = np.nan_to_num(disparity[box], nan=fill)
                Image.fromarray(left[box]).save(out / kind / "trainA" / f"{y:03}-{x:03}.png")
                tifffile.imwrite(out / kind / "trainB" / f"{y:03}-{x:03}.tif", target)
    return left, disparity, edge


def main(out: Path, kinds: list[str]) -> None:
    """Train each kind for each seed, and print the mean absolute error where the truth is known."""
    left, disparity, edge = tiles(out)
    truth, test = disparity[:, edge:], np.ascontiguousarray(left[:, edge:])
    known = ~np.isnan(truth)
    print(f"{np.isnan(disparity).mean():.1%} of the disparity is missing; constant guess (median): ", end="")
    print(f"{np.abs(truth[known] - np.nanmedian(disparity[:, :edge])).mean():.2f} pixels")
    for kind in kinds or list(FILLS):
        errors = []
        for seed in SEEDS:
            settings = {
                "method": {"generator": "resnet_3", "ngf": 16, "norm": "instance", "dropout": False, "lambda_gan": 0.0},
                "data": {"source": [str(out / kind)], "resize": "none", "crop_size": 64, "holdout": 0.0},
                "train": {"epochs": 2, "decay_epochs": 1, "batch_size": 4, "lr": 1e-3, "seed": seed},
            }
            snapshot = train(Recipe.create("pix2pix", settings), out / f"{kind}-{seed}", workers=0, num_previews=0)
            found = Translator.load(snapshot)(test)[..., 0]
            errors.append(float(np.abs(found[known] - truth[known]).mean()))
        print(
            f"{kind}: mean absolute error {np.mean(errors):.2f} pixels ({', '.join(f'{error:.2f}' for error in errors)})",
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
