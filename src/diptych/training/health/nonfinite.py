"""NaN and infinity: kept away from the weights in the very step that makes them, and named with the files of the batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diptych.training.distributed import World, maximum_over

MAX_STEPS_BEHIND = 2  # steps that a GPU may be behind with its answer


@dataclass(frozen=True)
class NonFinite:
    """What was not finite in a step, and the files it trained on."""

    step: int
    names: tuple[str, ...]
    files: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        files = ", ".join(" + ".join(pair) for pair in self.files)
        return f"step {self.step}: {', '.join(self.names)} became NaN or infinite, batch {files}"


@dataclass(frozen=True)
class _Question:
    """Flags of one step on their way to the host: 1 where a name's value is not finite."""

    step: int
    names: tuple[str, ...]
    files: tuple[tuple[str, str], ...]
    flags: Tensor
    arrived: torch.cuda.Event | None

    def answer(self) -> NonFinite | None:
        bad = tuple(name for name, flag in zip(self.names, self.flags.tolist(), strict=True) if flag)
        return NonFinite(self.step, bad, self.files) if bad else None


class NonFiniteGuard:
    """Watches losses and gradients of every phase without waiting for the device.

    The decision to leave an update out is made where the numbers are: fused Adam takes it as a tensor. The host learns of it at
    once on a CPU and at most two steps later on a GPU.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.in_a_row = 0
        self._names: list[str] = []
        self._flags: list[Tensor] = []
        self._questions: deque[_Question] = deque()

    @torch.no_grad()
    def check(self, phase: str, terms: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
        """Tell a phase's optimizer to leave the weights alone if a term or a gradient is not finite, in any process."""
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.stack(torch._foreach_norm(gradients)).sum()
        values = torch.stack([*(term.detach().to(norm.dtype) for term in terms.values()), norm])
        bad = maximum_over((~values.isfinite()).float(), self.world)
        optimizer.found_inf = bad.amax()  # type: ignore[attr-defined] # a switch that fused Adam has for gradient scalers
        self._names += [*(f"{phase}/{name}" for name in terms), f"gradients of {phase}"]
        self._flags.append(bad)

    def take_flags(self) -> tuple[list[str], list[Tensor]]:
        """What was judged since the last reading, which read() then does not ask about."""
        judged = self._names, self._flags
        self._names, self._flags = [], []
        return judged

    def add_flags(self, judged: tuple[list[str], list[Tensor]]) -> None:
        """Ask about what take_flags returned, whose flags were computed anew where they are."""
        names, flags = judged
        self._names, self._flags = [*self._names, *names], [*self._flags, *flags]

    def read(self, step: int, files: Sequence[tuple[str, str]], *, wait: bool = False) -> NonFinite | None:
        """The oldest trouble known by now, None where there is none; asks about the step that was just judged."""
        if self._flags:
            flags, arrived = torch.cat(self._flags), None
            if flags.is_cuda:
                flags = torch.empty(flags.shape, pin_memory=True).copy_(flags, non_blocking=True)
                arrived = torch.cuda.Event()
                arrived.record()
            self._questions.append(_Question(step, tuple(self._names), tuple(files), flags, arrived))
            self._names, self._flags = [], []
        while self._questions:
            oldest = self._questions[0]
            if oldest.arrived and not oldest.arrived.query():
                if not wait and len(self._questions) <= MAX_STEPS_BEHIND:
                    return None
                oldest.arrived.synchronize()
            trouble = self._questions.popleft().answer()
            self.in_a_row = self.in_a_row + 1 if trouble else 0
            if trouble:
                return trouble
        return None
