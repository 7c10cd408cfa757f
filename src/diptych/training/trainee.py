"""Everything that training changes: networks, optimizers, averages, position; and its state for an exact resume."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from diptych.errors import ConfigError, SnapshotError, out_of_memory
from diptych.methods import Method, method_name
from diptych.methods.discriminators import Pace, discriminator_phases
from diptych.nets import recompute_stages
from diptych.recipe import Recipe
from diptych.training.distributed import World, gather
from diptych.training.ema import Ema
from diptych.training.health.nonfinite import NonFiniteGuard
from diptych.training.random_state import random_state, set_random_state
from diptych.training.records.averages import LossAverages
from diptych.trees import Tree

log = logging.getLogger(__name__)


class Trainee:
    """Everything that training changes: the method's networks, their optimizers, averaged weights, mean losses and position.

    A batch is computed in ``parts`` equal parts, one after another. ``layout`` is the memory layout of images; the default is
    the one in which convolutions are fastest on the device. ``compiled`` generates kernels for each network, which takes a
    minute or more in the first step. ``images`` counts the images trained on, ``restored`` how often a state was restored.
    """

    def __init__(
        self,
        method: Method,
        recipe: Recipe,
        device: torch.device,
        world: World,
        *,
        compiled: bool = False,
        layout: torch.memory_format | None = None,
    ) -> None:
        self.method, self.recipe, self.world, self.device = method.to(device), recipe, world, device
        self.bf16 = recipe.train.precision == "bf16"
        self.parts = recipe.train.accumulate
        self.layout = layout or fastest_layout(device)
        if device.type == "cuda":  # here, weights in another layout than the images would be rearranged at every use
            for tensor in (*method.parameters(), *method.buffers()):
                tensor.data = tensor.data.contiguous(memory_format=self.layout) if tensor.dim() == 4 else tensor.data
        on_gpu = device.type == "cuda"  # a CUDA graph reads the learning rate and the step count from the device
        self.optimizers = {
            phase: torch.optim.Adam(
                [p for net in nets for p in net.parameters() if p.requires_grad],
                torch.tensor(recipe.train.lr, device=device) if on_gpu else recipe.train.lr,
                recipe.train.betas,
                fused=True,
                capturable=on_gpu,
            )
            for phase, nets in method.phases().items()
        }
        self.ema = self._average(method) if recipe.train.ema else None
        self.discriminator_phases = discriminator_phases(method)
        if recipe.train.lr_d and not self.discriminator_phases:
            raise ConfigError(
                "train.lr_d is the rate of discriminators, and with these settings the method has none; leave it out"
            )
        self.stats, self.guard = LossAverages(), NonFiniteGuard(world)
        self.images = 0
        self.asks_host = device.type == "mps"  # whose fused Adam did not know found_inf before torch of mid 2026
        self.restored = 0  # a CUDA graph recorded before a restore still points at the old tensors
        if recipe.train.checkpoint:
            for net in method.generators().values():
                recompute_stages(net)
        if compiled:
            for nets in method.phases().values():
                for net in nets:
                    net.compile(dynamic=False if on_gpu else None)  # None compiles once for all further sizes

    def set_lr(self, lr: float, lr_d: float | None = None) -> None:
        """Set the learning rate of every phase; ``lr_d`` is that of phases that train no generator, where it differs."""
        for phase, optimizer in self.optimizers.items():
            rate = lr if lr_d is None or phase not in self.discriminator_phases else lr_d
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def _average(self, method: Method) -> Ema:
        train = self.recipe.train
        return Ema(nn.ModuleDict(method.generators()), train.ema, warm_up=train.ema_warm_up).to(self.device)

    def set_progress(self, share: float) -> None:
        """Say which share of the training is over, from 0 to 1, for weights and parts that follow a schedule."""
        self.method.pace.set_progress(share)
        self.method.extra.set_progress(share)

    def begin_step(self) -> Pace:
        """Tell the method which step comes, and return which of its rarer parts the step has."""
        self.method.pace.step = self.images // self.recipe.train.batch_size
        return self.method.pace

    def translators(self) -> Mapping[str, nn.Module]:
        """The generators for previews and snapshots: with averaged weights where the recipe asks for them."""
        return self.ema.translators() if self.ema else self.method.generators()

    def state(self) -> Tree:
        """All of this as a tree, for an exact resume; all processes must call this together.

        Weights and moments are equal in all processes. Buffers, summed losses and random state are not, so each process adds its
        own.
        """
        buffers = {name: buffer.cpu() for name, buffer in self.method.named_buffers()}  # gathering pickles them
        sums = {name: value.cpu() for name, value in self.stats.sums.items()}
        local = random_state(self.device) | {"buffers": buffers, "sums": sums}
        return {
            "images": self.images,
            "threads": torch.get_num_threads(),
            "computes": self.method.computes,
            "method": dict(self.method.named_parameters()),
            "optimizers": {phase: [o.state.get(p, {}) for p in _parameters(o)] for phase, o in self.optimizers.items()},
            "ema": self.ema.state_dict() if self.ema else None,
            "stats": {"steps": self.stats.steps},
            "ranks": gather(local, self.world),
        }

    def restore(self, state: Tree) -> None:
        """Go back to a state.

        Raises ConfigError when it was saved by another number of processes, and SnapshotError when its tensors are not those of
        these networks.
        """
        if len(state["ranks"]) != self.world.size:
            raise ConfigError(
                f"this run was trained by {len(state['ranks'])} processes, not {self.world.size}; to go on, run the same command "
                f"with as many (torchrun --nproc-per-node {len(state['ranks'])} if all are on one machine)"
            )
        try:
            self._restore(state, state["ranks"][self.world.rank])
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            if out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:200]
            raise SnapshotError(
                f"the training state does not fit the networks of its recipe ({reason}); remove it, and the one before is used"
            ) from error

    def _restore(self, state: Tree, local: Tree) -> None:
        self.method.load_state_dict(state["method"] | local["buffers"])
        for phase in self.optimizers:
            self.load_moments(phase, state["optimizers"][phase])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        sums = local["sums"] if "sums" in local else state["stats"]["sums"]  # states of older versions have those of rank 0
        self.stats.sums = {name: value.to(self.device) for name, value in sums.items()}
        self.stats.steps = state["stats"]["steps"]
        self.images, self.restored = state["images"], self.restored + 1
        set_random_state(local, self.device)
        if random_state(self.device).keys() != local.keys() - {"buffers", "sums"}:
            log.warning(
                "this training began on another kind of device than %s: it is not bit-identical from here on", self.device
            )
        if state.get("computes", 1) != self.method.computes:  # states of older versions do not say
            log.warning(
                "another version of diptych began this training, in which %s computed its steps otherwise (docs/train.md); from "
                "here on they are those of this version",
                method_name(type(self.recipe.method)),
            )
        if state["threads"] != torch.get_num_threads():
            log.warning(
                "this training is resumed with %d CPU threads and was saved with %d: it is not bit-identical from here on",
                *(torch.get_num_threads(), state["threads"]),
            )

    def load_moments(self, phase: str, moments: Sequence[Mapping[str, object]]) -> None:
        """Give the optimizer of a phase the moments of each of its parameters, in their order."""
        optimizer = self.optimizers[phase]
        for parameter, kept in zip(_parameters(optimizer), moments, strict=True):
            if any(isinstance(value, Tensor) and value.shape not in (parameter.shape, torch.Size()) for value in kept.values()):
                raise ValueError(f"a moment of optimizer {phase} has not the shape of its weight, {tuple(parameter.shape)}")
        found = {
            index: {name: _laid_out_as(parameter, value) for name, value in kept.items()}
            for index, (parameter, kept) in enumerate(zip(_parameters(optimizer), moments, strict=True))
            if kept  # it is empty for a parameter that never had a gradient
        }
        optimizer.load_state_dict({"state": found, "param_groups": optimizer.state_dict()["param_groups"]})


def fastest_layout(device: torch.device) -> torch.memory_format:
    """The memory layout of images in which convolutions are fastest: channels last on CPUs and CUDA."""
    return torch.channels_last if device.type in ("cpu", "cuda") else torch.contiguous_format


def _laid_out_as(parameter: nn.Parameter, value: object) -> object:
    """Copy an Adam moment into its parameter's memory layout, as the fused optimizer needs it; the step count stays as it is."""
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
