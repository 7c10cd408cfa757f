"""NaN and infinity never reach the weights, and are reported with the losses that have them and the files of the batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diptych.training.distributed import World, maximum_over

MAX_STEPS_BEHIND = 2  # the host learns of a step on a GPU at most so many steps later


@dataclass(frozen=True)
class NonFinite:
    """The losses and gradients of a step that are NaN or infinite, and the files of its batch."""

    step: int
    names: tuple[str, ...]
    files: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        files = ", ".join(" + ".join(pair) for pair in self.files)
        return f"step {self.step}: {', '.join(self.names)} became NaN or infinite, batch {files}"


@dataclass(frozen=True)
class _Flags:
    """The flags of one step on their way to the host: 1 for each name whose value is not finite."""

    step: int
    names: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    values: Tensor
    arrived: torch.cuda.Event | None

    def problem(self) -> NonFinite | None:
        bad = tuple(name for name, flag in zip(self.names, self.values.tolist(), strict=True) if flag)
        return NonFinite(self.step, bad, self.files) if bad else None


class NonFiniteGuard:
    """Leaves out every update that is not finite, without waiting for the device.

    The device itself decides: fused Adam leaves the weights alone when its tensor ``found_inf`` is 1. The host learns of it at
    once on a CPU, and at most MAX_STEPS_BEHIND steps later on a GPU. ``in_a_row`` counts successive steps with such an update.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.in_a_row = 0
        self._names: list[str] = []
        self._flags: list[Tensor] = []
        self._unread: deque[_Flags] = deque()

    @torch.no_grad()
    def check(self, phase: str, terms: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> Tensor:
        """Tell a phase's optimizer to leave the weights alone if a term or a gradient is not finite in any process.

        Returns what it was told, 1.0 or 0.0 on the device, for a device whose optimizer does not listen.
        """
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.stack(torch._foreach_norm(gradients)).sum()
        values = torch.stack([*(term.detach().to(norm.dtype) for term in terms.values()), norm])
        bad = maximum_over((~values.isfinite()).float(), self.world)
        told = bad.amax()
        optimizer.found_inf = told  # type: ignore[attr-defined] # fused Adam has this switch for gradient scalers
        self._names += [*(f"{phase}/{name}" for name in terms), f"gradients of {phase}"]
        self._flags.append(bad)
        return told

    def take_flags(self) -> tuple[list[str], list[Tensor]]:
        """Take away the names and flags that were checked since the last read(), which then does not read them."""
        taken = self._names, self._flags
        self._names, self._flags = [], []
        return taken

    def add_flags(self, taken: tuple[list[str], list[Tensor]]) -> None:
        """Let read() read what take_flags returned, as when a CUDA graph has computed these flags again."""
        names, flags = taken
        self._names, self._flags = [*self._names, *names], [*self._flags, *flags]

    def read(self, step: int, files: Sequence[tuple[str, str]], *, wait: bool = False) -> NonFinite | None:
        """Send the flags of this step to the host; return the oldest problem that is known there by now, or None.

        ``wait`` waits for the device, so that no problem is missed. Call this until it returns None. With several processes, all
        learn of a problem at the same step: each reads the flags exactly MAX_STEPS_BEHIND steps later, or when told to wait.
        """
        if self._flags:
            flags, arrived = send_to_host(torch.cat(self._flags))
            self._unread.append(_Flags(step, tuple(self._names), tuple(files), flags, arrived))
            self._names, self._flags = [], []
        while self._unread:
            oldest = self._unread[0]
            if oldest.arrived:
                may_wait = not wait and len(self._unread) <= MAX_STEPS_BEHIND
                if may_wait and (self.world.size > 1 or not oldest.arrived.query()):
                    return None
                oldest.arrived.synchronize()
            problem = self._unread.popleft().problem()
            self.in_a_row = self.in_a_row + 1 if problem else 0
            if problem:
                return problem
        return None


def send_to_host(flags: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Flags where the host can read them, and the event after which it may; None when it may at once."""
    if not flags.is_cuda:
        return flags, None
    on_host = torch.empty(flags.shape, pin_memory=True).copy_(flags, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return on_host, arrived
