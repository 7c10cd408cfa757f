"""Everything that one training changes, and its state for an exact resume."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import nn

from diptych.ema import Ema
from diptych.errors import ConfigError
from diptych.files import Tree
from diptych.methods import Method
from diptych.recipe import Recipe
from diptych.training.distributed import World, gather
from diptych.training.guard import Guard
from diptych.training.stats import Stats

log = logging.getLogger(__name__)


class Trainee:
    """Everything that one training changes.

    The method's networks, their optimizers, the average, the statistics, the position.
    """

    def __init__(self, method: Method, recipe: Recipe, device: torch.device, world: World) -> None:
        self.method, self.world, self.device = method.to(device), world, device
        self.bf16 = recipe.train.precision == "bf16"
        self.optimizers = {
            phase: torch.optim.Adam(
                [p for net in nets for p in net.parameters()], recipe.train.lr, recipe.train.betas, fused=True
            )
            for phase, nets in method.phases().items()
        }
        self.ema = Ema(nn.ModuleDict(method.generators()), recipe.train.ema) if recipe.train.ema else None
        self.stats, self.guard = Stats(), Guard(world)
        self.images = 0

    def set_lr(self, lr: float) -> None:
        """The same learning rate for every phase."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = lr

    def translators(self) -> Mapping[str, nn.Module]:
        """The generators to show and to keep: the averaged ones where there are any."""
        return self.ema.translators() if self.ema else self.method.generators()

    def state(self) -> Tree:
        """All of it, for an exact resume; collective over all processes."""
        local = {"rng": torch.get_rng_state(), "buffers": dict(self.method.named_buffers())}
        if self.device.type == "cuda":
            local["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        return {
            "images": self.images,
            "threads": torch.get_num_threads(),
            "method": dict(self.method.named_parameters()),
            "optimizers": {phase: [o.state.get(p, {}) for p in _parameters(o)] for phase, o in self.optimizers.items()},
            "ema": self.ema.state_dict() if self.ema else None,
            "stats": {"sums": self.stats.sums, "steps": self.stats.steps},
            "ranks": gather(local, self.world),
        }

    def restore(self, state: Tree) -> None:
        """Undo state()."""
        if len(state["ranks"]) != self.world.size:
            raise ConfigError(
                f"this run was trained by {len(state['ranks'])} processes, not {self.world.size}; resume it with as many"
            )
        local = state["ranks"][self.world.rank]
        self.method.load_state_dict(state["method"] | local["buffers"])
        for phase, optimizer in self.optimizers.items():
            groups = optimizer.state_dict()["param_groups"]
            moments = {index: kept for index, kept in enumerate(state["optimizers"][phase]) if kept}  # none: never had a gradient
            optimizer.load_state_dict({"state": moments, "param_groups": groups})
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.stats.sums = {name: value.to(self.device) for name, value in state["stats"]["sums"].items()}
        self.stats.steps = state["stats"]["steps"]
        self.images = state["images"]
        torch.set_rng_state(local["rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(local["cuda_rng"], self.device)
        if state["threads"] != torch.get_num_threads():
            log.warning(
                "resumed with %d CPU threads after %d: not bit-identical from here", torch.get_num_threads(), state["threads"]
            )


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
