"""What a snapshot must hold, and networks rebuilt from what it says: edited files are refused before they take memory."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NotRequired, get_type_hints

import torch
from pydantic import ConfigDict, Field, TypeAdapter
from torch import Tensor, nn
from typing_extensions import TypedDict

from diptych.nets import DISCRIMINATORS, GENERATORS, build_net
from diptych.nets.modes import Mode
from diptych.schemas import MOST, MOST_PIXELS, DomainValues, Pixels, checked, not_finite

PLAIN = ConfigDict(arbitrary_types_allowed=True, extra="allow")


class _Network(TypedDict):
    __pydantic_config__ = PLAIN  # type: ignore[misc]
    spec: dict[str, Any]
    weights: dict[str, Tensor]
    scales: NotRequired[dict[str, Tensor]]


class _Snapshot(TypedDict):
    __pydantic_config__ = PLAIN  # type: ignore[misc]
    a: DomainValues
    b: DomainValues
    size: Annotated[int, Field(ge=0, le=MOST_PIXELS, strict=True)] | tuple[Pixels, Pixels]
    mode: Mode
    about: dict[str, Any]
    generators: dict[Literal["a2b", "b2a"], _Network]
    discriminators: NotRequired[dict[str, _Network]]


SNAPSHOT: TypeAdapter[Any] = TypeAdapter(_Snapshot)


def built(name: str, spec: Mapping[str, Any], weights: Mapping[str, Tensor]) -> nn.Module:
    """The network of a spec with its weights, in eval mode and without gradients.

    Raises ValueError when the spec is none, when the weights are not of the network that it describes, and when they are NaN or
    infinite. The network is first built without memory, so that a spec that counts billions takes none.
    """
    _check_spec(name, spec)
    try:
        with torch.device("meta"):
            shapes = {key: tensor.shape for key, tensor in build_net(dict(spec)).state_dict().items()}
    except Exception as error:  # a constructor may raise anything for numbers that do not belong together
        raise ValueError(f"{name}.spec: describes no network ({error})") from error
    if missing := [key for key in shapes if key not in weights] + [key for key in weights if key not in shapes]:
        raise ValueError(f"{name}.weights: {missing[0]} is only in one of the network and its weights")
    for key, tensor in weights.items():
        if tensor.shape != shapes[key]:
            raise ValueError(f"{name}.weights.{key}: has shape {tuple(tensor.shape)}, expected {tuple(shapes[key])}")
    for place in not_finite(dict(weights)):
        raise ValueError(f"{name}.weights.{place}: is NaN or infinite")
    net = build_net(dict(spec)).eval().requires_grad_(False)
    net.load_state_dict(dict(weights))
    return net


def _check_spec(name: str, spec: Mapping[str, Any]) -> None:
    """Raise ValueError unless the arguments of a network have its types, and none counts more than any network does."""
    kind = spec.get("net")
    if not isinstance(kind, str) or kind not in {**GENERATORS, **DISCRIMINATORS}:
        raise ValueError(
            f"{name}.spec.net: no network is called {kind!r:.60}; known: {', '.join([*GENERATORS, *DISCRIMINATORS])}"
        )
    init = {**GENERATORS, **DISCRIMINATORS}[kind].__init__
    hints, known = get_type_hints(init, include_extras=True), inspect.signature(init).parameters
    for key in known.keys() & spec.keys():
        try:
            checked(spec[key], TypeAdapter(hints[key], config=ConfigDict(arbitrary_types_allowed=True)))
        except ValueError as error:
            raise ValueError(f"{name}.spec.{key}: {error}") from None
    for key, number in _numbers(spec):
        if not -MOST <= number <= MOST:
            raise ValueError(f"{name}.spec.{key}: must be at most {MOST:,}, found {number:g}")


def _numbers(tree: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in a spec, which may hold the spec of a network inside, and the settings that they belong to."""
    if isinstance(tree, int | float):
        yield key, tree
    elif isinstance(tree, Mapping):
        for inner, value in tree.items():
            yield from _numbers(value, str(inner))
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _numbers(value, key)
