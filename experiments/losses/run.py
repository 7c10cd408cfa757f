"""Show what three added losses do to real images: style, feature matching and SSIM. Usage: run.py DATA VGG16 OUT

DATA holds the folders facades and sunflower2daisy, VGG16 is torchvision's weight file (or any other as FILE#sha256=...).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

import diptych
from diptych.loss_networks import LossNetworks
from diptych.metrics.image import l1, ssim

SMALL = {"generator": "unet_5", "ngf": 16, "ndf": 16, "num_layers": 2, "norm": "instance", "dropout": False}
DATA = {"direction": "b2a", "load_size": 72, "crop_size": 64}
TRAIN = {"epochs": 1, "decay_epochs": 0, "batch_size": 4, "lr": 5e-4, "precision": "fp32"}
FEATURES = {"loss": "feature_matching", "between": ["fake_b", "real_b"], "beside": "real_a", "weight": 40}
SSIM = {"loss": "ssim", "between": ["fake_b", "real_b"], "weight": 50}
VARIANTS: dict[str, dict[str, Any]] = {
    "gan": {"method": SMALL | {"lambda_l1": 0.0}},
    "gan_features": {"method": SMALL | {"lambda_l1": 0.0}, "extra": [FEATURES]},
    "l1": {"method": SMALL | {"lambda_gan": 0.0}},
    "l1_ssim": {"method": SMALL | {"lambda_gan": 0.0}, "extra": [SSIM]},
}


def painted(photo: Image.Image, seed: int = 0) -> Image.Image:
    """A photo repainted with 6,000 short strokes that turn around its middle, from broad to fine: a painting's texture."""
    random, canvas = np.random.default_rng(seed), photo.resize((24, 24)).resize(photo.size)
    draw, pixels = ImageDraw.Draw(canvas), np.asarray(photo)
    for stroke in range(6000):
        x, y = random.uniform(0, photo.width), random.uniform(0, photo.height)
        angle = np.arctan2(y - photo.height / 2, x - photo.width / 2) + np.pi / 2 + random.normal(0, 0.3)
        length, width = 10 - 5 * stroke / 6000, int(5 - 3 * stroke / 6000)
        colour = pixels[int(y), int(x)] + random.normal(0, 22, 3)
        ends = [x - length * np.cos(angle), y - length * np.sin(angle), x + length * np.cos(angle), y + length * np.sin(angle)]
        draw.line(ends, tuple(int(c) for c in np.clip(colour, 0, 255)), width)
    return canvas


def square(path: Path, size: int) -> Image.Image:
    """The middle square of a photo."""
    photo = Image.open(path).convert("RGB")
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)


def style(data: Path, vgg16: str, out: Path) -> Image.Image:
    """Photos of daisies in the strokes of a painted sunflower: the perceptual loss keeps the photo, style the painting."""
    painting = painted(square(sorted((data / "sunflower2daisy/trainA").iterdir())[3], 256))
    photos = sorted((data / "sunflower2daisy/trainB").iterdir())[:48]
    for place, path in enumerate(photos[:40]):
        left, top = (17 * place) % 128, (29 * place) % 128
        for side, image in (("A", square(path, 128)), ("B", painting.crop((left, top, left + 128, top + 128)))):
            (out / "pairs" / side).mkdir(parents=True, exist_ok=True)
            image.save(out / "pairs" / side / f"{place:03d}.png")
    net = {"network": "vgg16", "weights": vgg16}
    extra = [
        {"loss": "perceptual", "between": ["fake_b", "real_a"], "layers": [3], "weight": 5.0, **net},
        {"loss": "style", "between": ["fake_b", "real_b"], "layers": [1, 2, 3, 4], "weight": 0.05, **net},
        {"loss": "total_variation", "between": ["fake_b"], "weight": 1.0},
    ]
    method = {
        "generator": "resnet_2",
        "ngf": 16,
        "upsample": "resize",
        "norm": "instance",
        "dropout": False,
        "lambda_gan": 0.0,
        "lambda_l1": 0.01,
    }
    train = {"epochs": 2, "decay_epochs": 1, "batch_size": 1, "lr": 2e-3, "precision": "fp32"}
    settings = {"method": method, "data": {"source": [str(out / "pairs")], "load_size": 72, "crop_size": 64}, "train": train}
    recipe = diptych.Recipe.create("pix2pix", settings | {"extra": extra})
    translate = diptych.Translator.load(diptych.train(recipe, out / "style", device="cpu", workers=0), device="cpu")
    rows = [[painting.resize((192, 192)), *(square(p, 192) for p in photos[40:44])]]
    rows.append([Image.new("RGB", (192, 192), "white"), *(translate(image) for image in rows[0][1:])])
    return sheet(rows)


def facades(data: Path, vgg16: str, out: Path) -> tuple[Image.Image, dict[str, dict[str, float]]]:
    """Labels to photos, with and without feature matching and SSIM; scores on 32 test pairs."""
    files = sorted((data / "facades/test").iterdir(), key=lambda path: int(path.stem))[:32]
    pairs = [np.asarray(Image.open(path).convert("RGB").resize((128, 64), Image.Resampling.LANCZOS)) for path in files]
    photos, labels = ([pair[:, part] for pair in pairs] for part in (slice(0, 64), slice(64, 128)))
    distance = LossNetworks({}).lpips("vgg16", vgg16)
    rows, scores = [[Image.fromarray(image) for image in images[:6]] for images in (labels, photos)], {}
    for name, settings in VARIANTS.items():
        values = settings | {"data": DATA | {"source": [str(data / "facades")]}, "train": TRAIN}
        snapshot = diptych.train(diptych.Recipe.create("pix2pix", values), out / name, device="cpu", workers=0)
        translate = diptych.Translator.load(snapshot, device="cpu")
        fakes = [translate(image) for image in labels]
        x, y = (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1 for images in (fakes, photos))
        with torch.inference_mode():
            found = {
                "l1": l1(x, y),
                "ssim": ssim(x, y),
                "lpips_vgg": torch.cat([distance(a, b) for a, b in zip(x.split(16), y.split(16), strict=True)]),
            }
        scores[name] = {metric: round(value.mean().item(), 4) for metric, value in found.items()}
        rows.insert(-1, [Image.fromarray(image) for image in fakes[:6]])
    return sheet([[image.resize((128, 128)) for image in row] for row in rows]), scores


def sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Images in rows, two pixels apart."""
    width, height = rows[0][0].size
    whole = Image.new("RGB", (len(rows[0]) * (width + 2), len(rows) * (height + 2)), "white")
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            whole.paste(image, (column * (width + 2), row * (height + 2)))
    return whole


if __name__ == "__main__":
    data, vgg16, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    style(data, vgg16, out).save(out / "style.jpg", quality=88)
    picture, scores = facades(data, vgg16, out)
    picture.save(out / "facades.jpg", quality=88)
    (out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    print(json.dumps(scores, indent=1))
