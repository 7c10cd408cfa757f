"""The layers of a network as a list, recorded while its own ``forward`` runs on a tensor that has a shape and no data.

Nothing here knows a network by name: whatever is made of the layers and functions of `windows.py` can be recorded.
"""

from __future__ import annotations

import copy
import itertools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from diptych.errors import ConfigError
from diptych.inference.dropout import PositionDropout
from diptych.inference.windows import (
    Averaged,
    Convolved,
    Cropped,
    Dropped,
    Enlarged,
    Joined,
    Normalised,
    Operation,
    Padded,
    Pointwise,
    TransposedConvolved,
)
from diptych.nets.fixed_norm import FixedNorm
from diptych.nets.modes import SeededDropout


def of_layer(layer: nn.Module) -> Operation:
    """The operation of a layer. Raises ConfigError for a layer that has no form for windows."""
    match layer:
        case nn.BatchNorm2d() if layer.training or not layer.track_running_stats:
            return Normalised(layer)
        case nn.InstanceNorm2d() if not layer.track_running_stats:
            return Normalised(layer)
        case FixedNorm() | nn.BatchNorm2d() | nn.ReLU() | nn.LeakyReLU() | nn.Identity() | nn.Tanh():
            return Pointwise(layer)
        case nn.Dropout() if not layer.training:
            return Pointwise(layer)
        case PositionDropout() | SeededDropout():
            return Dropped(layer)
        case nn.Conv2d() if layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            return Convolved(layer)
        case nn.ConvTranspose2d() if layer.dilation == (1, 1) and _no_more(layer.output_padding, layer.padding):
            return TransposedConvolved(layer)
        case nn.Upsample() if layer.mode == "nearest" and float(layer.scale_factor or 0).is_integer():  # type: ignore[arg-type]
            return Enlarged(layer, int(layer.scale_factor))  # type: ignore[arg-type]
        case nn.Upsample() if layer.mode == "bilinear" and layer.scale_factor == 2.0 and not layer.align_corners:
            return Enlarged(layer, 2, reach=1)
        case nn.AvgPool2d() if layer.padding == 0 and isinstance(layer.kernel_size, int) and not layer.ceil_mode:
            return Averaged(layer)
        case nn.PixelShuffle():
            return Enlarged(layer, layer.upscale_factor, fewer=layer.upscale_factor**2)
        case nn.ReflectionPad2d() | nn.ReplicationPad2d():
            left, right, top, bottom = layer.padding
            return Padded((top, left), (bottom, right), mirrored=isinstance(layer, nn.ReflectionPad2d))
    raise ConfigError(f"the layer {layer} has no form for windows; translate images whole")


def _no_more(numbers: Any, most: Any) -> bool:
    return all(number <= bound for number, bound in zip(numbers, most, strict=True))


def padded(x: Tensor, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Operation:
    """The operation of F.pad."""
    if mode not in ("reflect", "replicate") or len(pad) != 4:
        raise ConfigError(f"padding {mode!r} has no form for windows; translate images whole")
    return Padded((pad[2], pad[0]), (pad[3], pad[1]), mode == "reflect")


def joined(tensors: Sequence[Tensor], dim: int = 0) -> Operation:
    """The operation of torch.cat, over channels."""
    if dim not in (1, -3):
        raise ConfigError(f"joining maps along dimension {dim} has no form for windows; translate images whole")
    return Joined()


def added(x: Tensor, y: Tensor) -> Operation:
    """The operation of x + y for two maps of one shape. It counts as heavy, since each sum would compute all sums before it."""
    return Pointwise(torch.add, heavy=True)


def cropped(x: Tensor, index: Any) -> Operation:
    """The operation of x[..., top:bottom, left:right]."""
    spatial = index[1:] if isinstance(index, tuple) and len(index) == 3 and index[0] is Ellipsis else ()
    if not spatial or not all(isinstance(part, slice) and part.step in (None, 1) for part in spatial):
        raise ConfigError(f"taking {index} of a map has no form for windows; translate images whole")
    rows, columns = (part.indices(size)[:2] for part, size in zip(spatial, x.shape[2:], strict=True))
    return Cropped((rows, columns))


FUNCTIONS: dict[Any, Callable[..., Operation]] = {
    F.pad: padded,
    torch.cat: joined,
    torch.tanh: lambda *_, **__: Pointwise(torch.tanh),
    Tensor.tanh: lambda *_, **__: Pointwise(torch.tanh),
    Tensor.add: added,
    Tensor.__add__: added,
    torch.add: added,
    Tensor.mul: lambda x, y: Pointwise(torch.mul, heavy=True),
    Tensor.__rsub__: lambda _, number: Pointwise(lambda x: number - x),
    Tensor.sigmoid: lambda *_, **__: Pointwise(torch.sigmoid),
    Tensor.to: lambda _, dtype, **__: Pointwise(operator.methodcaller("to", dtype)),
    Tensor.__getitem__: cropped,
}


@dataclass(frozen=True)
class Node:
    """One operation, the places of its inputs in the list, and the shape (1, c, h, w) and dtype of its output.

    The first node of a recording is the image itself, whose operation is None.
    """

    operation: Operation | None
    inputs: tuple[int, ...]
    shape: torch.Size
    dtype: torch.dtype

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.shape[2], self.shape[3]

    @property
    def nbytes(self) -> int:
        """The bytes of the whole output."""
        return self.shape.numel() * self.dtype.itemsize


def record(net: nn.Module, channels: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> list[Node]:
    """List what a network does with one image of a size, in order; the last node is its output.

    Raises ConfigError for a layer or function that has no form for windows.
    """
    weights = itertools.chain(net.parameters(), net.buffers())
    without_data = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in weights}
    image = torch.empty((1, channels, height, width), dtype=dtype, device="meta")
    recorder = _Recorder(image)
    shadow = copy.deepcopy(net, without_data)
    for layer, module in zip(net.modules(), shadow.modules(), strict=True):
        if not any(True for _ in module.children()):
            module.forward = partial(recorder.apply, layer)
    with torch.inference_mode(), recorder:
        out = shadow(image)
    last = recorder.places[id(out)]
    return recorder.nodes[: last + 1]


class _Recorder(TorchFunctionMode):
    """Notes layers, and functions of torch that are called outside of layers, on tensors that come from the image.

    None of them is called: only the shape and dtype of its output are made.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.nodes = [Node(None, (), image.shape, image.dtype)]
        self.places = {id(image): 0}
        self.kept = [image]  # so that no other tensor takes its id

    def note(self, operation: Operation, inputs: list[Tensor], dtype: torch.dtype | None = None) -> Tensor:
        channels, first = operation.channels(*(x.shape[1] for x in inputs)), inputs[0]
        size = [operation.length(axis, first.shape[axis + 2]) for axis in (0, 1)]
        out = torch.empty((1, channels, *size), dtype=dtype or first.dtype, device="meta")
        self.places[id(out)] = len(self.nodes)
        self.nodes.append(Node(operation, tuple(self.places[id(x)] for x in inputs), out.shape, out.dtype))
        self.kept.append(out)
        return out

    def apply(self, layer: nn.Module, x: Tensor) -> Tensor:
        with torch._C.DisableTorchFunction():
            return self.note(of_layer(layer), [x])

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        flat = itertools.chain.from_iterable(arg if isinstance(arg, list | tuple) else [arg] for arg in args)
        inputs = [x for x in flat if isinstance(x, Tensor) and id(x) in self.places]
        if inputs and function in FUNCTIONS:
            dtype = args[1] if function is Tensor.to else None
            return self.note(FUNCTIONS[function](*args, **(kwargs or {})), inputs, dtype)
        out = function(*args, **(kwargs or {}))
        if inputs and isinstance(out, Tensor):
            raise ConfigError(f"the network calls {function.__name__}, which has no form for windows; translate images whole")
        return out
