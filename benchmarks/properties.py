"""Whether methods do what they are for, on drawn images: `python -m benchmarks.properties`, from the repository.

SANTA: how far a translation is from its source grows with the strength (Spearman's rank correlation, over strengths from 0 to 1).
UNSB: how far it is after 1 to 5 steps. StegoGAN: b shows squares that a never shows; how well the mask of G_ba finds them (the
intersection over union of the largest values of the mask, as many as there are pixels of squares). Bridge: a square of b has a
brightness that a does not tell; how well the spread of eight answers ranks the true error, as `diptych translate --maps` does.

Domain a has blue fields of soft blobs, domain b red ones. Each method is trained for some hundred steps at 32 pixels. UNSB's
steps differ only as long as a single one does not go the whole way, which it learns in 200 steps on these images: ask for 100.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.inference.calibration import calibration, rank_correlation
from diptych.inference.uncertainty import Maps, difference
from diptych.methods import Batch
from diptych.nets import adjusted
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.snapshot import Snapshot
from diptych.training.distributed import World
from diptych.training.step import train_step
from diptych.training.trainee import Trainee

SIZE = 32
GAN: dict[str, Any] = {"generator": "resnet_3", "ngf": 16, "ndf": 16, "num_layers": 2}
SETTINGS: dict[str, dict[str, Any]] = {
    "santa": GAN,
    "unsb": GAN,
    "stegogan": GAN | {"ngf": 8},
    "bridge": {"ngf": 16, "num_levels": 2, "num_blocks": 1, "num_attention": 0, "steps": 5},
}
RATES = {"stegogan": 1e-3}
"""Learning rates other than 5e-4."""


def drawn(n: int, random: torch.Generator, *, red: bool, squares: bool = False) -> tuple[Tensor, Tensor]:
    """n images (n, 3, 32, 32) in [-1, 1], and where their green squares are, as 0 and 1."""
    blobs = F.interpolate(torch.rand(n, 1, 4, 4, generator=random), (SIZE, SIZE), mode="bicubic").clamp(0, 1)
    colour = torch.tensor([1.0, 0.3, 0.1] if red else [0.1, 0.3, 1.0])[:, None, None]
    images, places = 2 * blobs * colour - 1, torch.zeros(n, 1, SIZE, SIZE)
    if squares:
        for place in places:
            top, left = (int(x) for x in torch.randint(2, SIZE - 10, (2,), generator=random))
            place[:, top : top + 8, left : left + 8] = 1
        images = torch.where(places > 0, torch.tensor([-1.0, 1.0, -1.0])[:, None, None], images)
    return images, places


def drawn_pairs(n: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """n blue images with a green square, and the same in red with a gray square of any brightness."""
    a, places = drawn(n, random, red=False, squares=True)
    gray = 2 * torch.rand(n, 1, 1, 1, generator=random) - 1
    return a, torch.where(places > 0, gray, a.flip(1))


def trained(method: str, steps: int, **settings: Any) -> Trainee:
    """A method trained with small networks and these settings of its own, on new images in each step."""
    train = {"batch_size": 4, "precision": "fp32", "lr": RATES.get(method, 5e-4)}
    recipe = Recipe.create(method, {"method": SETTINGS[method] | settings, "train": train})
    torch.manual_seed(0)
    trainee = Trainee(recipe.method.build(Domain(), Domain(), SIZE), recipe, torch.device("cpu"), World())
    random = torch.Generator().manual_seed(1)
    for _ in range(steps):
        if method == "bridge":
            batch = Batch(*drawn_pairs(4, random))
        else:
            squares = method == "stegogan"
            batch = Batch(drawn(4, random, red=False)[0], drawn(4, random, red=True, squares=squares)[0])
        train_step(trainee, batch)
    return trainee


@torch.no_grad()
def distances(trainee: Trainee, option: str, values: list[float], *, of_target: bool = False) -> Tensor:
    """The mean distance of each of 32 translations from its source, (values, 32), for each value of an option.

    ``of_target``: from the source in red instead, which is what a translation should be.
    """
    images, _ = drawn(32, torch.Generator().manual_seed(2), red=False)
    net, like = trainee.method.generators()["a2b"].eval(), images.flip(1) if of_target else images
    return torch.stack([(adjusted(net, **{option: value})(images) - like).abs().mean((1, 2, 3)) for value in values])


@torch.no_grad()
def mask_overlap(trainee: Trainee) -> float:
    """The intersection over union of the mask's largest values with the squares of b."""
    images, places = drawn(64, torch.Generator().manual_seed(3), red=True, squares=True)
    mask = trainee.method.generators()["b2a"].eval().maps(images)["mask"]
    found = torch.zeros_like(places).flatten()
    found[mask.flatten().topk(int(places.sum())).indices] = 1
    both = (found * places.flatten()).sum()
    return float(both / (found.sum() + places.sum() - both))


def main() -> None:
    """Print one line for each method."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, default=400, help="training steps of each method (default: 400)")
    p.add_argument("--method", action="append", choices=SETTINGS, help="only these")
    p.add_argument("--time", choices=("on", "off"), default="on", help="whether UNSB's generator is told the time (default: on)")
    args = p.parse_args()
    for method in args.method or SETTINGS:
        if method == "stegogan":
            print(f"stegogan: the mask overlaps the squares by {mask_overlap(trained(method, args.steps)):.3f}", flush=True)
        elif method == "bridge":
            print(
                f"bridge: rank correlation of spread with the true error: {spread_ranks(trained(method, args.steps))}", flush=True
            )
        else:
            option, values = ("strength", [k / 10 for k in range(11)]) if method == "santa" else ("steps", list(range(1, 6)))
            trainee = trained(method, args.steps, **({"time": args.time} if method == "unsb" else {}))
            of_images = distances(trainee, option, values)
            found, growth = of_images.mean(1), of_images[-1] - of_images[0]
            row = ", ".join(f"{value:g}: {distance:.4f}" for value, distance in zip(values, found.tolist(), strict=True))
            error = growth.std() / len(growth) ** 0.5
            correlation = rank_correlation(torch.tensor(values).numpy(), found.numpy())
            print(
                f"{method}: change by {option}: {row}, from first to last by {growth.mean():.4f} +- {error:.4f}; "
                f"rank correlation {correlation:.3f}",
                flush=True,
            )
            if method == "unsb":
                left = distances(trainee, option, values, of_target=True).mean(1).tolist()
                row = ", ".join(f"{value:g}: {distance:.4f}" for value, distance in zip(values, left, strict=True))
                weights = sum(p.numel() for p in trainee.method.generators()["a2b"].parameters())
                print(f"unsb: distance from the source in red: {row}; {weights:,} weights of the generator", flush=True)


def spread_ranks(trainee: Trainee, n: int = 16) -> str:
    """How well the spread ranks the true error on new pairs."""
    a, b = drawn_pairs(n, torch.Generator().manual_seed(4))
    maps = Maps(Snapshot(trainee.translators(), Domain(), Domain(), mode="paper"), "a2b", ["spread"], device="cpu")
    pairs = []
    for image, truth in zip(Domain().decode(a), b, strict=True):
        out, found = maps(image)
        pairs.append((found["spread"].numpy(), difference(out[None], truth[None], Domain())[0].numpy()))
    return str(calibration(pairs))


if __name__ == "__main__":
    main()
