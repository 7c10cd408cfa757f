"""The door by which training states come in: what each must hold, so that an edited file ends in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter
from torch import Tensor
from typing_extensions import TypedDict

from diptych.errors import SnapshotError
from diptych.run import STATE_FORMAT
from diptych.schemas import Whole, checked, not_finite
from diptych.snapshot import check_header
from diptych.trees import Tree, read_tree


def _bytes(state: Tensor) -> Tensor:
    if state.dtype != torch.uint8:
        raise ValueError(f"the state of a random generator is bytes, not {state.dtype}")
    return state


PLAIN = ConfigDict(arbitrary_types_allowed=True, extra="allow")
Generator = Annotated[Tensor, AfterValidator(_bytes)]


class _Rank(TypedDict):
    __pydantic_config__ = PLAIN  # type: ignore[misc]
    rng: Generator
    buffers: dict[str, Tensor]


class _Stats(TypedDict):
    __pydantic_config__ = PLAIN  # type: ignore[misc]
    steps: Whole


class _State(TypedDict):
    """What Trainee.state gives, with its place; versions may add more."""

    __pydantic_config__ = PLAIN  # type: ignore[misc]
    step: Whole
    images: Whole
    threads: Whole
    method: dict[str, Tensor]
    optimizers: dict[str, list[dict[str, Any]]]
    ema: dict[str, Tensor | None] | None
    stats: _Stats
    ranks: Annotated[list[_Rank], Field(min_length=1)]


STATE: TypeAdapter[Any] = TypeAdapter(_State)


def read_state(path: Path) -> Tree:
    """Read and verify a training state: its hash, what it holds, and that its weights and moments are finite.

    Raises SnapshotError that begins with the path.
    """
    check_header(path, "state", STATE_FORMAT)
    state = read_tree(path)
    try:
        checked(state, STATE)
    except ValueError as error:
        raise SnapshotError(f"{path}: no whole training state: {error}; use another copy or an older file") from error
    learnt = {name: state[name] for name in ("method", "optimizers", "ema")}
    learnt["buffers"] = [rank["buffers"] for rank in state["ranks"]]
    for name in not_finite(learnt):
        raise SnapshotError(f"{path}: {name} is NaN or infinite; use another copy or an older file")
    return state
