"""Recognises the networks of other tools from the keys and shapes of their weights, and loads the weights into ours.

A published ``.pth`` file is a bare state_dict. It does not describe its network, but its keys and shapes determine everything
that has weights. Our networks have the layers of the published ones in the same order, so that each of our keys has exactly one
published name. A file fits when both sets of names are equal and all shapes are. What leaves no trace in a file (strides,
padding, activations) is assumed to be as published.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from diptych.errors import WeightsError
from diptych.nets import Norm, PatchGAN, ResNet, UNet
from diptych.nets.modes import Mode, depends_on_batch
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from diptych.state_dicts import first_keys, read_state_dict

SUPPORTED = "supported are the ResNet, U-Net, PatchGAN and pixel networks of pix2pix and CycleGAN, and vintagify's generator"
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
NORM_NAMES: dict[Norm, str] = {
    "batch": "batch norm",
    "instance": "instance norm",
    "instance_affine": "affine instance norm",
    "none": "no norm",
}


@dataclass(frozen=True)
class Foreign:
    """One of our networks in eval mode, with the weights of another tool.

    ``origin`` describes in words what was inferred. ``stale`` names tensors in the file that the network never uses.
    """

    role: Literal["generator", "discriminator"]
    net: nn.Module
    origin: str
    stale: tuple[str, ...] = ()


def load_foreign(path: str | Path) -> Foreign:
    """Load the network in a file of another tool. Raises WeightsError, in one line that begins with the path."""
    state = read_state_dict(path)
    try:
        return recognise(state)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def to_snapshot(found: Mapping[str, Foreign]) -> Snapshot:
    """The snapshot of imported networks, by direction for generators and by any name for discriminators.

    Generators with batch norm or dropout are applied in ``paper`` mode unless asked otherwise: test.py of
    junyanz/pytorch-CycleGAN-and-pix2pix calls model.eval() only with its option --eval. Raises WeightsError when two generators
    do not translate between the same two domains.
    """
    generators = {name: foreign.net for name, foreign in found.items() if foreign.role == "generator"}
    judges = {name: foreign.net for name, foreign in found.items() if foreign.role == "discriminator"}
    specs: dict[str, Any] = {name: net.spec for name, net in generators.items()}
    shapes = {
        (s["in_channels"], s["out_channels"]) if name == "a2b" else (s["out_channels"], s["in_channels"])
        for name, s in specs.items()
    }
    if len(shapes) > 1:
        raise WeightsError(
            f"the two generators map between different channels {sorted(shapes)}; import each into a snapshot of its own"
        )
    channels_a, channels_b = shapes.pop() if shapes else (3, 3)
    about = {"origin": {name: foreign.origin for name, foreign in found.items()}}
    mode: Mode = "paper" if any(map(depends_on_batch, generators.values())) else "eval"
    return Snapshot(generators, Domain(channels_a), Domain(channels_b), 256, mode, about, judges)


def recognise(state: Mapping[str, Tensor]) -> Foreign:
    """Build the network that a state_dict belongs to, and load its weights.

    Raises WeightsError, which names the first keys that do not fit.
    """
    filters = [key for key in state if key.endswith(".filt")]
    if filters:
        raise WeightsError(
            f"the anti-aliased up- and downsampling of CUT ({first_keys(filters)}) is not supported; "
            "use weights trained with --no_antialias --no_antialias_up"
        )
    read = next((read for pattern, read in FAMILIES if any(re.match(pattern, key) for key in state)), None)
    if read is None:
        raise WeightsError(f"the keys {first_keys(state)} belong to no known network; {SUPPORTED}")
    with torch.device("meta"):  # shapes are compared before memory is spent
        found = read(state)
    stale = tuple(key for key in state if key.endswith(STATISTICS) and found.norm != "batch")
    tensors = _fit(found, {key: tensor for key, tensor in state.items() if key not in stale})
    found.net.load_state_dict(tensors, assign=True)
    role: Literal["generator", "discriminator"] = "discriminator" if isinstance(found.net, PatchGAN) else "generator"
    return Foreign(role, found.net.eval(), found.origin, stale)


@dataclass(frozen=True)
class _Found:
    """A network of the inferred shape without weights, and a function from our keys to the published ones."""

    net: nn.Module
    norm: Norm
    origin: str
    published: Callable[[str], str]


def _resnet(state: Mapping[str, Tensor]) -> _Found:
    block = "conv_block" if any(".conv_block." in key for key in state) else "block"
    num_blocks = len({key.split(".")[1] for key in state if f".{block}." in key})
    dropout = any(key.endswith(f".{block}.6.weight") and tensor.ndim == 4 for key, tensor in state.items())
    (width, in_channels, *_), (out_channels, *_) = _conv(state, "model.1"), _conv(state, f"model.{17 + num_blocks}")
    norm = _norm(state, "model.1")
    net = ResNet(in_channels, out_channels, width=width, num_blocks=num_blocks, norm=norm, dropout=dropout)
    start = {"stem": 0, "down": 4, "blocks": 10, "up": 10 + num_blocks, "head": 16 + num_blocks}

    def published(ours: str) -> str:  # blocks.3.layers.5.weight -> model.13.conv_block.5.weight
        part, number, rest = ours.split(".", 2)
        return f"model.{start[part] + int(number)}.{rest}".replace("layers", block)

    maker = "CycleGAN" if block == "conv_block" else "vintagify"
    words = f"{maker} ResNet of {num_blocks} blocks, ngf {width}, {NORM_NAMES[norm]}, {_has(dropout)} dropout"
    return _Found(net, norm, f"{words}, {in_channels} to {out_channels} channels", published)


def _unet(state: Mapping[str, Tensor]) -> _Found:
    num_downs = 1 + sum(bool(re.fullmatch(r"model\.model\.1(\.model\.3)*\.model\.1\.weight", key)) for key in state)
    (width, in_channels, *_), (_, out_channels, *_) = _conv(state, "model.model.0"), _conv(state, "model.model.3")
    norm = _norm(state, "model.model.0")
    if num_downs < 2:
        raise WeightsError(f"looks like a U-Net, but its levels {first_keys(state)} are not nested as published; {SUPPORTED}")
    dropout = norm == "batch"  # leaves no trace in the keys; the U-Nets of pix2pix, with batch norm, were trained with it
    net = UNet(in_channels, out_channels, width=width, num_downs=num_downs, norm=norm, dropout=dropout)

    def published(ours: str) -> str:  # each level lies inside .model.3 of the one around it, the first inside .model.1
        part, number, rest = ours.split(".", 2)
        if part == "head":
            return f"model.model.3.{rest}"
        level = int(number) if part == "downs" else num_downs - 1 - int(number)
        if level == 0:
            return f"model.model.{rest}"
        position, tensor = rest.split(".")
        offset = 0 if part == "downs" else 2 if level == num_downs - 1 else 4
        return f"model.model.1{'.model.3' * (level - 1)}.model.{int(position) + offset}.{tensor}"

    words = f"pix2pix U-Net of {num_downs} halvings, ngf {width}, {NORM_NAMES[norm]}, {in_channels} to {out_channels} channels"
    return _Found(net, norm, f"{words}, {_has(dropout)} dropout (assumed: the file cannot say)", published)


def _patchgan(state: Mapping[str, Tensor]) -> _Found:
    root = "net" if "net.0.weight" in state else "model"
    num_layers = 0 if root == "net" else sum(tensor.ndim == 4 for tensor in state.values()) - 2
    width, in_channels, *_ = _conv(state, f"{root}.0")
    norm = _norm(state, f"{root}.2")
    if num_layers < 1 and root == "model":
        raise WeightsError(f"looks like a PatchGAN, but {first_keys(state)} are fewer than three convolutions; {SUPPORTED}")
    if norm == "instance_affine":  # vintagify's: the same keys and shapes, but other strides and a sigmoid
        raise WeightsError(f"a PatchGAN with affine instance norm is not one of the published networks; {SUPPORTED}")
    net = PatchGAN(in_channels, width=width, num_layers=num_layers, norm=norm)
    name = f"PatchGAN of {num_layers} layers" if num_layers else "pixel discriminator"
    paired = ", so it judges pairs" if in_channels % 2 == 0 else ""
    words = f"{name}, ndf {width}, {NORM_NAMES[norm]}, {in_channels} channels{paired}"
    return _Found(net, norm, words, lambda ours: ours.replace("layers", root))


FAMILIES: tuple[tuple[str, Callable[[Mapping[str, Tensor]], _Found]], ...] = (
    (r"model\.\d+\.(conv_)?block\.", _resnet),
    (r"model\.model\.", _unet),
    (r"(model|net)\.0\.weight$", _patchgan),
)


def _conv(state: Mapping[str, Tensor], name: str) -> torch.Size:
    weight = state.get(f"{name}.weight")
    if weight is None or weight.ndim != 4:
        found = "is missing" if weight is None else f"is {_dims(weight)} instead of a convolution"
        raise WeightsError(f"'{name}.weight' {found}; {SUPPORTED}")
    return weight.shape


def _norm(state: Mapping[str, Tensor], inner: str) -> Norm:
    """The kind of norm. ``inner`` names a convolution that has a bias exactly when an instance norm follows it."""
    biased = f"{inner}.bias" in state
    affine = any(tensor.ndim == 1 and key.endswith(".weight") for key, tensor in state.items())
    statistics = any(key.endswith("running_mean") for key in state)
    match biased, affine, statistics:
        case True, False, _:
            return "instance"  # before 2018 it carried running statistics that it never used
        case True, True, False:
            return "instance_affine"
        case False, True, True:
            return "batch"
        case False, False, False:
            return "none"
    found = f"{_has(biased)} convolution biases, {_has(affine)} norm weights and {_has(statistics)} running statistics"
    raise WeightsError(f"no published norm comes {found}; supported are batch, instance and affine instance norm as published")


def _fit(found: _Found, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the file's tensors by our keys, in the types of our network.

    Raises WeightsError unless keys and shapes fit exactly.
    """
    wanted = {found.published(key): (key, tensor) for key, tensor in found.net.state_dict().items()}
    # Files older than PyTorch 0.4.1 do not count batches; without any norm the published convolutions have no biases.
    absent = ("num_batches_tracked", ".bias") if found.norm == "none" else ("num_batches_tracked",)
    zeros = {key: torch.zeros(like.shape, dtype=like.dtype) for key, (_, like) in wanted.items() if key.endswith(absent)}
    state = {**zeros, **state}
    misfits = [f"{key[:80]!r} is unexpected" for key in state if key not in wanted]
    for key, (_, like) in wanted.items():
        if key not in state:
            misfits.append(f"{key!r} is missing")
        elif state[key].shape != like.shape:
            misfits.append(f"{key!r} is {_dims(state[key])} instead of {_dims(like)}")
    if misfits:
        more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
        raise WeightsError(f"looks like a {found.origin}, but {', '.join(misfits[:3])}{more}; {SUPPORTED}")
    return {ours: state[key].to(like.dtype, copy=True).contiguous() for key, (ours, like) in wanted.items()}


def _has(it: bool) -> str:
    return "with" if it else "without"


def _dims(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
