"""Score the trainings that run.py made, without the baselines that its own page has. Usage: score.py WEIGHTS FOLDER METHOD ...

FOLDER is OUT/TASK of run.py; the first METHOD is what the others are compared with, by a paired test over the test images (Holm).
Prints the table and writes scores.json and sheet.jpg into FOLDER.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from run import sheet

from diptych import Recipe, Translator
from diptych.data.datasets import view
from diptych.data.folders import find_data
from diptych.metrics.estimate import mean_estimate, sign_flip_p_value
from diptych.metrics.image import psnr, ssim
from diptych.metrics.lpips import LPIPS
from diptych.scoring.compare import holm


def main() -> None:
    weights, folder, names = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    recipe = Recipe.load(folder / names[0] / "seed-0" / "recipe.json")
    test = find_data(recipe.data.source, paired=True).test
    assert test is not None
    split, metrics = recipe.data.oriented(test), {}
    for name, backbone in (("lpips_alex", "alexnet"), ("lpips_vgg", "vgg16")):
        path = weights / f"{backbone}.pth"
        metrics[name] = LPIPS.load(name.removeprefix("lpips_"), path)
    metrics |= {"ssim": ssim, "psnr": psnr}
    scores: dict[str, dict[str, list[float]]] = {}
    for name in names:
        translate = Translator.load(folder / name / "seed-0" / "snapshot.safetensors", device="cpu")
        given, truth = (
            torch.stack([view(ref, domain, recipe.data) for ref in refs])
            for refs, domain in ((split.a, translate.source), (split.b, translate.target))
        )
        x, y = (translate.target.encode(pixels) for pixels in (translate.tensors(given), truth))
        with torch.inference_mode():
            scores[name] = {metric: measure(x, y).tolist() for metric, measure in metrics.items()}
        print(name, *(f"{metric} {mean_estimate(values)}" for metric, values in scores[name].items()), sep="  ", flush=True)
    for metric in metrics:
        apart = [np.subtract(scores[name][metric], scores[names[0]][metric]) for name in names[1:]]
        ps = holm([sign_flip_p_value(differences) for differences in apart])
        print(metric, *(f"{n}: {d.mean():+.4f}, p {p:.3f}" for n, d, p in zip(names[1:], apart, ps, strict=True)), sep="  ")
    (folder / "scores.json").write_text(json.dumps(scores))
    sheet(folder, names).save(folder / "sheet.jpg", quality=88)


if __name__ == "__main__":
    main()
