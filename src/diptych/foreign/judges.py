"""Readers of discriminators: PatchGAN and the pixel discriminator, one beside the other or in mmagic's modules."""

from __future__ import annotations

from typing import Any

from diptych.errors import WeightsError
from diptych.foreign.layers import NORM_NAMES, Found, Layer, Said, State, norm_of, shape_of
from diptych.nets import Norm
from diptych.state_dicts import first_keys


def patchgan(state: State, root: str, said: Said) -> Found:
    """The PatchGAN of pix2pix and CycleGAN, or with kernels of one pixel their pixel discriminator."""
    pixel = shape_of(state, f"{root}0")[-1] == 1
    num_layers = 0 if pixel else sum(tensor.ndim == 4 and key.endswith(".weight") for key, tensor in state.items()) - 2
    if not pixel and num_layers < 1:
        raise WeightsError(f"looks like a PatchGAN, but {first_keys(state)} are fewer than three convolutions")
    blurred = f"{root}2.filt" in state  # CUT's: a blur stands behind each activation but the last
    step = 4 if blurred else 3
    places = [0, *(step - 1 + step * place for place in range(max(num_layers, 1)))]
    layers = [Layer(f"{root}{place}", f"{root}{place + 1}") for place in [*places, places[-1] + 3]]
    return _described("CUT PatchGAN" if blurred else "PatchGAN", layers, num_layers, state, said, blurred)


def mmagic_patchgan(state: State, root: str, said: Said) -> Found:
    """mmagic's PatchGAN, where a convolution, its norm and activation are one module."""
    num_layers = sum(tensor.ndim == 4 for tensor in state.values()) - 2
    if num_layers < 1:
        raise WeightsError(f"looks like mmagic's PatchGAN, but {first_keys(state)} are fewer than three convolutions")
    norm = "bn" if any(".bn." in key for key in state) else "in"
    layers = [Layer(f"{root}{place}.conv", f"{root}{place}.{norm}") for place in range(num_layers + 1)]
    return _described("mmagic PatchGAN", [*layers, Layer(f"{root}{num_layers + 1}")], num_layers, state, said)


def _described(maker: str, layers: list[Layer], num_layers: int, state: State, said: Said, blurred: bool = False) -> Found:
    width, in_channels, *_ = shape_of(state, layers[0].conv)
    norm, bias, assumed = norm_of(state, layers[1].conv, said)
    if norm == "instance_affine":  # vintagify's: the same keys and shapes, but other strides and a sigmoid
        raise WeightsError("a PatchGAN with affine instance norm is not one of the published networks")
    spec: dict[str, Any] = {"net": "patchgan", "in_channels": in_channels, "width": width, "num_layers": num_layers}
    spec |= {"norm": norm, "bias": bias, "downsample": "blur" if blurred else "strided"}
    name = f"{maker} of {num_layers} layers" if num_layers else "pixel discriminator"
    return Found(spec, tuple(layers), judge_words(name, width, norm, in_channels), assumed)


def judge_words(name: str, width: int, norm: Norm, in_channels: int) -> str:
    """A discriminator in words."""
    paired = ", so it judges pairs" if in_channels % 2 == 0 else ""
    return f"{name}, ndf {width}, {NORM_NAMES[norm]}, {in_channels} channels{paired}"
