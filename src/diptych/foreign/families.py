"""One table of the families of networks that other tools write, and the recognition of one network by it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from diptych.errors import WeightsError
from diptych.foreign.judges import mmagic_patchgan, patchgan
from diptych.foreign.layers import STATISTICS, Assumed, Found, Said, State, dims
from diptych.foreign.pix2pixhd import local_enhancer, multiscale
from diptych.foreign.residual import santa, stegogan, unsb
from diptych.foreign.resnets import mmagic_resnet, resnet
from diptych.foreign.unets import activated_unet, latent_unet, mmagic_unet, unet
from diptych.foreign.vits import vit_modnet
from diptych.nets import DISCRIMINATORS, build_net
from diptych.nets.modes import Mode, depends_on_batch

SUPPORTED = "docs/import.md lists what is supported"
Role = Literal["generator", "discriminator"]
ROW = r"\d+\.(weight|bias|running_mean|running_var|num_batches_tracked|filt)"
MODULES = r"\d+\.((conv|bn|in)\.)?(weight|bias|running_mean|running_var|num_batches_tracked)"


@dataclass(frozen=True)
class Family:
    """Networks with one way of naming layers.

    ``sign`` is the name of a convolution that each of them has, without the root that all its names share. ``only`` is what all
    names look like, where the sign alone would fit other networks too. ``judges`` says that they are discriminators.
    """

    sign: str
    read: Callable[[State, str, Said], Found]
    only: str = ""
    judges: bool = False

    def owns(self, names: Mapping[str, Tensor]) -> bool:
        """Whether names without their root, with their tensors, are those of a network of this family."""
        signed = any(tensor.ndim == 4 and re.fullmatch(self.sign, name) for name, tensor in names.items())
        return signed and (not self.only or all(re.fullmatch(self.only, name) for name in names))


FAMILIES: tuple[Family, ...] = (
    Family(r"modnet\.conv\.block\.block\.\d\.weight", vit_modnet),
    Family(r"submodule\.down\.1\.weight", latent_unet),
    Family(r"decoder\.\d+\.conv_block\.\d+\.weight", santa),
    Family(r"model_res\.\d+\.conv_fin\.\d+\.weight", unsb),
    Family(r"conv3(_up|_down)?\.\d+\.conv_block\.\d+\.weight", stegogan),
    Family(r"model1_1\.\d+\.weight", local_enhancer),
    Family(r"(scale0_)?layer0\.0\.weight", multiscale, judges=True),
    Family(r"\d+\.block\.\d+\.conv\.weight", mmagic_resnet),
    Family(r"\d+\.(conv_)?block\.\d+\.weight", resnet),
    Family(r"1\.model\.\d+\.conv\.weight", mmagic_unet),
    Family(r"1\.model\.\d+\.weight", unet),
    Family(r"down1\.model\.0\.weight", activated_unet),
    Family(r"0\.conv\.weight", mmagic_patchgan, only=MODULES, judges=True),
    Family(r"0\.weight", patchgan, only=ROW, judges=True),
)

STRANGERS = {  # what one of the names looks like -> what it is, and why its weights fit no network of ours
    r"input_blocks\.\d+\.\d+\.(in_layers\.2\.)?weight": (
        "the U-Net of a diffusion model or bridge (BBDM, DDBM, I2SB); diptych's bridge has another network"
    ),
    r"unet\.conv\.block\.block\.\d\.weight": "the generator of UVCGAN (2022), which diptych has not; UVCGANv2's is read",
    r"conv\.1\.shortcut\.1\.weight": "the encoder of BicycleGAN, which only training needs; give its generator",
    r"_head\.net\.\d+\.bias": "a discriminator of UVCGANv2, which only training needs; give its generator",
    r"model_main\.\d+\.dense\.weight": (
        "a discriminator of UNSB, which is told the time at every layer; diptych's is told it once"
    ),
}


@dataclass(frozen=True)
class Foreign:
    """One of our networks in eval mode, with the weights of another tool.

    ``origin`` describes in words what was inferred, and ``assumed`` what the file could not say, by the settings of Said.
    ``stale`` names tensors in the file that the network never uses. ``mode`` is how the makers' own test script applies it, and
    ``size`` that of the images in training, in pixels.
    """

    role: Role
    net: nn.Module
    origin: str
    stale: tuple[str, ...] = ()
    assumed: Mapping[str, Assumed] = field(default_factory=dict)
    mode: Mode = "eval"
    size: int = 256


def family_of(names: Mapping[str, Tensor]) -> Family | None:
    """The family of a network by its names without their root; None where they are no known network's."""
    return next((family for family in FAMILIES if family.owns(names)), None)


def stranger(names: Mapping[str, Tensor]) -> str | None:
    """What a file holds, by one of its names, where that is known to fit no network of ours."""
    found = (what for sign, what in STRANGERS.items() for name in names if re.search(rf"(^|\.){sign}$", name))
    return next(found, None)


def recognise(state: State, root: str, family: Family, said: Said = Said()) -> Foreign:  # noqa: B008 it is frozen
    """Build the network whose tensors have names that begin with ``root``, and load its weights.

    Raises WeightsError, which names the first keys that do not fit.
    """
    try:
        found = family.read(state, root, said)
        with torch.device("meta"):  # shapes are compared before memory is spent
            net = build_net(found.spec)
        state = found.state or state
        statistics = (key for key in state if key.endswith(STATISTICS) and found.spec.get("norm") != "batch")
        stale = (*statistics, *found.unused)
        known = {*stale, *found.known, *_filters(state)}
        tensors = _fit(net, found, {key: tensor for key, tensor in state.items() if key not in known})
    except WeightsError as error:
        raise WeightsError(f"{error}; {SUPPORTED}") from None
    net.load_state_dict(tensors, assign=True)
    role: Role = "discriminator" if found.spec["net"] in DISCRIMINATORS else "generator"
    mode: Mode = found.mode or ("paper" if role == "generator" and depends_on_batch(net) else "eval")
    return Foreign(role, net.eval(), found.origin, stale, found.assumed, mode, found.size)


def _filters(state: State) -> list[str]:
    """The blurs of anti-aliased networks, which are constants of ours. Raises WeightsError for other blurs than CUT's."""
    keys = [key for key in state if key.endswith(".filt")]
    for key in keys:
        row = {3: torch.tensor([1.0, 2.0, 1.0]) / 4, 4: torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4}.get(state[key].shape[-1])
        if row is None or not torch.allclose(state[key].float(), torch.outer(row, row).expand(state[key].shape)):
            raise WeightsError(f"{key!r} is a blur of {dims(state[key])} other than CUT's")
    return keys


def _layers_of(net: nn.Module) -> list[list[str]]:
    """The convolutions of a network in the order of their registration, each with the norm behind it, if there is one."""
    layers: list[list[str]] = []
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            layers.append([name])
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            layers[-1].append(name)
    return layers


def _fit(net: nn.Module, found: Found, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the file's tensors by our keys, in the types of our network.

    Raises WeightsError unless names and shapes fit exactly.
    """
    names: dict[str, str] = {}
    for ours, theirs in zip(_layers_of(net), found.layers, strict=True):
        names |= dict(zip(ours, theirs, strict=False))
    linears = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    names |= dict(zip(linears, found.linears, strict=True)) | dict(found.names)
    wanted = {}
    for key, tensor in net.state_dict().items():
        name, _, part = key.rpartition(".")
        wanted[names[key] if key in names else f"{names[name]}.{part}"] = (key, tensor)
    state = {**_absent(wanted, found), **state}
    for key in wanted.keys() & state.keys():
        if not wanted[key][1].ndim and state[key].shape == (1,):  # a number may be written as a list of one
            state[key] = state[key].reshape(())
    misfits = [f"{key[:80]!r} is unexpected" for key in state if key not in wanted]
    for key, (_, like) in wanted.items():
        if key not in state:
            misfits.append(f"{key!r} is missing")
        elif state[key].shape != like.shape:
            misfits.append(f"{key!r} is {dims(state[key])} instead of {dims(like)}")
    if misfits:
        more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
        raise WeightsError(f"looks like a {found.origin}, but {', '.join(misfits[:3])}{more}")
    return {ours: state[key].to(like.dtype, copy=True).contiguous() for key, (ours, like) in wanted.items()}


def _absent(wanted: Mapping[str, tuple[str, Tensor]], found: Found) -> dict[str, Tensor]:
    """Tensors that a complete file may lack: counts of batches before PyTorch 0.4.1, and a norm's unit scale and zero shift."""
    absent = {key: torch.zeros(like.shape, dtype=like.dtype) for key, (_, like) in wanted.items() if "num_batches" in key}
    if found.spec.get("norm") == "batch" and "norm" in found.assumed:  # running statistics alone, and the user says they are used
        norms = {layer.norm for layer in found.layers}
        for key, (_, like) in wanted.items():
            name, _, part = key.rpartition(".")
            if name in norms and part in ("weight", "bias"):
                absent[key] = torch.full(like.shape, float(part == "weight"), dtype=like.dtype)
    return absent
