"""Small trainings on a device, and how two of them compare."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diptych.methods import Batch, method_config
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.training.distributed import World
from diptych.training.execution.cuda_graph import GraphedStep
from diptych.training.step import train_step
from diptych.training.trainee import Trainee
from tests.cli.pictures import folder

SIZE = 64  # the least that a U-Net with dropout halves to one pixel
SMALL = {"ngf": 4, "ndf": 4, "num_layers": 1, "pool_size": 3, "dropout": True, "lambda_identity": 0.5}
STILL = {"dropout": False, "pool_size": 0}  # nothing is drawn, so that two devices compute the same
AGREE = 1e-6  # relative, in float64, where rounding stays small over 20 steps


def recipe_of(
    method: str, train: Mapping[str, Any] | None = None, data: Mapping[str, Any] | None = None, **settings: Any
) -> Recipe:
    """A recipe of small networks; ``settings`` that a method does not have are left out."""
    config = method_config(method)
    known = {field.name for field in dataclasses.fields(config)}
    chosen = {"generator": "unet_6" if config.paired else "resnet_1"} | SMALL | settings
    given = {name: value for name, value in chosen.items() if name in known}
    return Recipe.create(method, {"method": given, "train": {"precision": "fp32"} | dict(train or {}), "data": dict(data or {})})


def trainee_of(
    method: str, device: torch.device, train: Mapping[str, Any] | None = None, dtype: torch.dtype = torch.float32, **settings: Any
) -> Trainee:
    """A trainee whose networks begin alike on every device."""
    recipe = recipe_of(method, train, **settings)
    torch.manual_seed(0)
    trainee = Trainee(recipe.method.build(Domain(), Domain(), SIZE).to(device, dtype), recipe, device, World())
    for optimizer in trainee.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = torch.as_tensor(
                group["lr"], dtype=torch.float32
            )  # on the CPU rounded as on a GPU, where it is one already
    return trainee


def batch_of(seed: int, device: torch.device, n: int = 2, dtype: torch.dtype = torch.float32) -> Batch:
    """Images of noise, the same on every device."""
    random = torch.Generator().manual_seed(seed)
    return Batch(*((torch.rand(n, 3, SIZE, SIZE, generator=random, dtype=torch.float64) * 2 - 1).to(device, dtype) for _ in "ab"))


FAINT = 1e-3
Step = Callable[[Batch], None]


def plain_step(trainee: Trainee) -> Step:
    """Every kernel is launched as it comes."""
    return lambda batch: train_step(trainee, batch)


def recorded_step(trainee: Trainee) -> GraphedStep:
    """The step as a CUDA graph; in a rehearsal on the CPU, what stands in for one there."""
    if trainee.device.type == "cuda":
        return GraphedStep(trainee)
    from tests.training.test_step import record_on_the_cpu

    return GraphedStep(trainee, record_on_the_cpu(trainee))


def train_for(trainee: Trainee, step: Step, steps: range, n: int = 2) -> list[dict[str, float]]:
    """The losses of every step, at a learning rate that changes from step to step."""
    dtype = next(trainee.method.parameters()).dtype
    losses = []
    for k in steps:
        trainee.set_lr(1e-3 / (k + 1))
        step(batch_of(k, trainee.device, n, dtype))
        trainee.images += n
        assert trainee.guard.read(k, [], wait=True) is None
        losses.append(trainee.stats.read(World()))
    return losses


def weights_of(trainee: Trainee) -> dict[str, Tensor]:
    """A copy of all weights."""
    return {name: value.detach().clone() for name, value in trainee.method.named_parameters()}


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that are not equal to the bit."""
    assert one.keys() == other.keys()
    return [name for name, value in one.items() if not torch.equal(value, other[name])]


def assert_losses_agree(one: list[dict[str, float]], other: list[dict[str, float]], bound: float) -> None:
    """Every loss of every step, relative to the larger one."""
    assert len(one) == len(other) and one
    for k, (left, right) in enumerate(zip(one, other, strict=True)):
        assert left.keys() == right.keys() and left
        for name, value in left.items():
            off = abs(value - right[name]) / max(abs(value), abs(right[name]), 1e-3)
            assert off <= bound, f"step {k}, {name}: {value} and {right[name]} differ by {off:.1e}, more than {bound:g}"


def assert_same_weights(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], bound: float = 0.0) -> None:
    """Equal to the bit, or with a bound to that share of a tensor's greatest weight; where bits differ then, it is said.

    Biases before an instance norm learn nothing but rounding, so no tensor's greatest weight counts as less than FAINT.
    """
    if not (names := differing(found, expected)):
        return
    apart = {
        name: float((found[name] - expected[name]).abs().max() / max(float(expected[name].abs().max()), FAINT)) for name in names
    }
    worst = max(apart, key=lambda name: apart[name])
    said = f"{len(names)} of {len(found)} weights differ in bits, {worst} most: by {apart[worst]:.1e} of its greatest"
    assert apart[worst] <= bound, said
    warnings.warn(said, stacklevel=2)


def averages_of(trainee: Trainee) -> dict[str, Tensor]:
    """A copy of the averaged weights."""
    assert trainee.ema is not None
    return {name: value.detach().clone() for name, value in trainee.ema.named_parameters()}


def pictures(root: Path, count: int = 6) -> Path:
    """Aligned pairs in A/ and B/ of a folder."""
    folder(root / "A", count, height=72, width=76)
    folder(root / "B", count, seed=50, height=72, width=76)
    return root
