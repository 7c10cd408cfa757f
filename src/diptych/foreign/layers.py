"""What the families have in common: a file's layers by name, the kind of its norms, and what a reader finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Size, Tensor

from diptych.errors import WeightsError
from diptych.nets import Norm, Padding
from diptych.nets.modes import Mode
from diptych.state_dicts import first_keys

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
NORM_NAMES: dict[Norm, str] = {
    "batch": "batch norm",
    "instance": "instance norm",
    "instance_affine": "affine instance norm",
    "none": "no norm",
}
State = Mapping[str, Tensor]
SaidNorm = Literal["instance", "batch", "none"]


class Layer(NamedTuple):
    """The names of a convolution in a file and of the norm behind it, whether or not the norm has tensors."""

    conv: str
    norm: str = ""


@dataclass(frozen=True)
class Said:
    """What the user says about a network where its file cannot; None where nothing is said.

    ``padding`` is that of the residual blocks, ``edge_padding`` that of the first and the last convolution and of
    resize-convolutions. ``norm`` says which norm has no parameters in the file, ``dropout`` whether there was dropout, and
    ``heads`` in how many heads a transformer attends. ``code`` is how many channels of a U-Net's input are a code.
    """

    padding: Padding | None = None
    edge_padding: Padding | None = None
    norm: SaidNorm | None = None
    dropout: bool | None = None
    heads: int | None = None
    code: int | None = None


@dataclass(frozen=True)
class Assumed:
    """What a file cannot say about its network: the value that is taken for it, and how to say another (an option)."""

    what: str
    option: str


@dataclass(frozen=True)
class Found:
    """A network that a reader inferred: its spec, and its layers in the file in the order in which our network has them.

    ``assumed`` has a row for every setting of Said that the file leaves open, by the setting's name. ``mode`` is how the makers'
    own test script applies the network; None leaves that to batch norm and dropout.

    ``layers`` are the convolutions with their norms and ``linears`` the linear layers; ``names`` says for further modules and
    tensors of ours which is theirs. ``state`` has the file's tensors where the network writes some of them in another way than
    ours. ``known`` are tensors that hold no weights, and ``unused`` those that the makers' network never uses. ``size`` is that
    of the images in training, in pixels.
    """

    spec: dict[str, Any]
    layers: tuple[Layer, ...]
    origin: str
    assumed: dict[str, Assumed] = field(default_factory=dict)
    mode: Mode | None = None
    linears: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    state: State | None = None
    known: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    size: int = 256


def shape_of(state: State, conv: str) -> Size:
    """The shape of a convolution's weight, by the name of the layer. Raises WeightsError when there is none."""
    weight = state.get(f"{conv}.weight")
    if weight is None or weight.ndim != 4:
        found = "is missing" if weight is None else f"is {dims(weight)} instead of a convolution"
        raise WeightsError(f"'{conv}.weight' {found}")
    return weight.shape


def norm_of(state: State, inner: str, said: Said) -> tuple[Norm, bool, dict[str, Assumed]]:
    """The kind of norm, whether the convolutions before it have biases, and what of this is assumed.

    ``inner`` names a convolution with a norm behind it. A norm without parameters leaves no trace: without biases it was the
    choice of nobody's networks but of InstanceNorm's in forks, or there is no norm. Statistics beside a norm without parameters
    are those of networks of 2017 and 2018, which wrote them and never read them, or of an InstanceNorm that uses them; that one
    is BatchNorm without scale and shift. With scale and shift, both norms are the same for one image at a time.
    """
    biased = f"{inner}.bias" in state
    affine = any(tensor.ndim == 1 and key.endswith(".weight") for key, tensor in state.items())
    statistics = any(key.endswith("running_mean") for key in state)
    if affine:
        norm: Norm = "batch" if statistics else "instance_affine"
        return norm, biased, {}
    if said.norm == "batch" and not statistics:
        raise WeightsError("--norm batch: the file holds no running statistics; leave the option out, or say none")
    if statistics:
        unused = "running statistics unused, as by the test scripts of 2017 and 2018"
        taken = "running statistics used" if said.norm == "batch" else unused
        other = "--norm instance" if said.norm == "batch" else "--norm batch uses them"
        return said.norm or "instance", biased, {"norm": Assumed(taken, other)}
    norm = said.norm or "instance"
    return norm, biased, {"norm": Assumed(NORM_NAMES[norm], f"--norm {'instance' if norm == 'none' else 'none'}")}


def not_as_published(what: str, state: State) -> WeightsError:
    """The error for a network that resembles a family and has another layout."""
    return WeightsError(f"looks like {what}, but its layers {first_keys(state)} are not laid out as published")


def has(it: bool) -> str:
    """The preposition of a part that is there or not."""
    return "with" if it else "without"


def dims(tensor: Tensor) -> str:
    """A shape as people write it."""
    return "x".join(map(str, tensor.shape)) or "a scalar"
