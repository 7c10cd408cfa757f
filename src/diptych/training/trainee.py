"""Everything that one training changes, and its state for an exact resume."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diptych.ema import Ema
from diptych.errors import ConfigError
from diptych.files import Tree
from diptych.methods import Method
from diptych.nets import recompute_stages
from diptych.recipe import Recipe
from diptych.training.distributed import World, gather
from diptych.training.guard import Guard
from diptych.training.stats import Stats

log = logging.getLogger(__name__)


class Trainee:
    """Everything that one training changes.

    The method's networks, their optimizers, the average, the statistics, the position. ``parts`` is how many parts of a batch
    are computed one after another, ``layout`` the memory layout of images in which its networks are fastest. ``compiled``
    generates kernels for each network, which takes a minute or more in the first step.
    """

    def __init__(self, method: Method, recipe: Recipe, device: torch.device, world: World, *, compiled: bool = False) -> None:
        self.method, self.world, self.device = method.to(device), world, device
        self.bf16 = recipe.train.precision == "bf16"
        self.parts = recipe.train.accumulate
        self.layout = torch.channels_last if device.type == "cpu" else torch.contiguous_format
        on_gpu = device.type == "cuda"  # there a recorded step reads its learning rate and its count from the device
        self.optimizers = {
            phase: torch.optim.Adam(
                [p for net in nets for p in net.parameters()],
                torch.tensor(recipe.train.lr, device=device) if on_gpu else recipe.train.lr,
                recipe.train.betas,
                fused=True,
                capturable=on_gpu,
            )
            for phase, nets in method.phases().items()
        }
        self.ema = Ema(nn.ModuleDict(method.generators()), recipe.train.ema) if recipe.train.ema else None
        self.stats, self.guard = Stats(), Guard(world)
        self.images = 0
        self.restored = 0  # how often; a recorded step knows nothing of tensors that came in its way
        if recipe.train.checkpoint:
            for net in method.generators().values():
                recompute_stages(net)
        if compiled:
            for nets in method.phases().values():
                for net in nets:
                    net.compile()

    def set_lr(self, lr: float) -> None:
        """The same learning rate for every phase."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(lr)
                else:
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
        self.images, self.restored = state["images"], self.restored + 1
        torch.set_rng_state(local["rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(local["cuda_rng"], self.device)
        if state["threads"] != torch.get_num_threads():
            log.warning(
                "resumed with %d CPU threads after %d: not bit-identical from here", torch.get_num_threads(), state["threads"]
            )


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
