"""Readers of U-Nets: pix2pix's, mmagic's and BicycleGAN's, which nest their levels, and PyTorch-GAN's, which numbers them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from diptych.errors import WeightsError
from diptych.foreign.layers import NORM_NAMES, Assumed, Found, Layer, Said, State, has, norm_of, not_as_published, shape_of
from diptych.nets.modes import Mode

COLOURS = 4  # channels that images of one picture have at most; a U-Net that takes more may be given a code beside them


def unet(state: State, root: str, said: Said) -> Found:
    """The U-Net of pix2pix: each level lies inside ``.3`` of the one around it, the first inside ``.1``."""
    num_downs = _depth(state, root, r"1(\.model\.3)*\.model\.1\.weight")

    def layers(level: int, down: bool) -> Layer:
        if level == 0:
            return Layer(f"{root}0") if down else Layer(f"{root}3")
        inside = f"{root}1{'.model.3' * (level - 1)}.model."
        place = 1 if down else 3 if level == num_downs - 1 else 5
        return Layer(f"{inside}{place}", f"{inside}{place + 1}")

    inputs, biased = shape_of(state, f"{root}0")[1], f"{layers(1, True).conv}.bias" in state
    if inputs <= COLOURS or not biased:  # BicycleGAN's convolutions all have biases
        return _nested("pix2pix", layers, num_downs, state, said, None)
    if said.code is None:
        raise WeightsError(
            f"has {inputs} input channels: a pix2pix U-Net of such images (import it with --code 0), or BicycleGAN's with a code "
            "beside its images (--where_add input; with --code 8, as published)"
        )
    if not 0 <= said.code < inputs:
        raise WeightsError(f"--code must be from 0 to {inputs - 1}, as the network takes {inputs} channels; found {said.code}")
    if not said.code:
        found = _nested("pix2pix", layers, num_downs, state, said, None)
        return replace(found, assumed=found.assumed | {"code": Assumed("no code beside the images", "--code 8")})
    return _with_code(layers, num_downs, state, said, said.code)


def _with_code(layers: Any, num_downs: int, state: State, said: Said, latent: int) -> Found:
    """BicycleGAN's U-Net that is given its code beside the image alone. Its doublings are those of `latent_unet`."""
    said = replace(said, dropout=bool(said.dropout))
    found = _nested("BicycleGAN", layers, num_downs, state, said, None)
    downs, ups = found.layers[:num_downs], found.layers[num_downs:]
    images = found.spec["in_channels"] - latent
    spec = found.spec | {"net": "latent_unet", "latent": latent, "everywhere": False, "in_channels": images}
    words = f"{found.origin.rpartition(', ')[0]}, a code of {latent} numbers, {images} to {spec['out_channels']} channels"
    assumed = found.assumed | {"code": Assumed(f"a code of {latent} numbers beside the images", "--code 0")}
    return Found(spec, (*downs, *ups), words, assumed, state=_swapped(state, ups[1:]))


def _swapped(state: State, ups: Sequence[Layer]) -> State:
    """Let doublings see the skip before what comes from inside, as ours do; BicycleGAN's see it behind."""
    swapped = dict(state)
    for up in ups:
        weight = state[f"{up.conv}.weight"]
        swapped[f"{up.conv}.weight"] = weight.roll(len(weight) // 2, 0)
    return swapped


def mmagic_unet(state: State, root: str, said: Said) -> Found:
    """The U-Net of mmagic: a convolution, its norm and activation are one module, so that levels lie inside ``.1``."""
    num_downs = _depth(state, root, r"1(\.model\.1)*\.model\.0\.conv\.weight")
    norm = "bn" if any(".bn." in key for key in state) else "in"

    def layers(level: int, down: bool) -> Layer:
        inside = root + ("1" + ".model.1" * (level - 1) + ".model." if level else "")
        place = 0 if down else 1 if level == num_downs - 1 else 2
        return Layer(f"{inside}{place}.conv", f"{inside}{place}.{norm}")

    return _nested("mmagic", layers, num_downs, state, said, "eval")


def _depth(state: State, root: str, inner: str) -> int:
    num_downs = 1 + sum(bool(re.fullmatch(re.escape(root) + inner, key)) for key in state)
    if num_downs < 2:
        raise not_as_published("a U-Net", state)
    return num_downs


def _nested(maker: str, layers: Any, num_downs: int, state: State, said: Said, mode: Mode | None) -> Found:
    first, last = layers(0, True), layers(0, False)
    (width, in_channels, *_), (_, out_channels, *_) = shape_of(state, first.conv), shape_of(state, last.conv)
    norm, bias, assumed = norm_of(state, first.conv, said)
    # Dropout leaves no trace in the keys; the U-Nets of pix2pix, with batch norm, were trained with it.
    dropout = (norm == "batch") if said.dropout is None else said.dropout
    if num_downs > 5:
        assumed["dropout"] = Assumed(f"{has(dropout)} dropout", "--no-dropout" if dropout else "--dropout")
    spec: dict[str, Any] = {"net": "unet", "in_channels": in_channels, "out_channels": out_channels, "width": width}
    spec |= {"num_downs": num_downs, "norm": norm, "dropout": dropout, "bias": bias}
    words = f"{maker} U-Net of {num_downs} halvings, ngf {width}, {NORM_NAMES[norm]}, {in_channels} to {out_channels} channels"
    downs = [layers(level, True) for level in range(num_downs)]
    ups = [layers(level, False) for level in reversed(range(num_downs))]
    return Found(spec, (*downs, *ups), words, assumed, mode)


def activated_unet(state: State, root: str, said: Said) -> Found:
    """The U-Nets of PyTorch-GAN's pix2pix (8 levels), DualGAN (7) and DiscoGAN (6): ``down1`` ..., ``up1`` ..., ``final``."""
    num_downs = sum(bool(re.fullmatch(rf"{re.escape(root)}down\d+\.model\.0\.weight", key)) for key in state)
    if num_downs < 2:
        raise not_as_published("PyTorch-GAN's U-Net", state)
    resize_head = f"{root}final.2.weight" in state
    head = Layer(f"{root}final.{2 if resize_head else 0}")
    downs = [Layer(f"{root}down{n}.model.0", f"{root}down{n}.model.1") for n in range(1, num_downs + 1)]
    ups = [Layer(f"{root}up{n}.model.0", f"{root}up{n}.model.1") for n in range(1, num_downs)]
    (width, in_channels, *_), outer = shape_of(state, downs[0].conv), shape_of(state, head.conv)
    out_channels = outer[0] if resize_head else outer[1]
    norm, bias, assumed = norm_of(state, downs[0].conv, said)
    dropout = True if said.dropout is None else said.dropout
    assumed["dropout"] = Assumed(f"{has(dropout)} dropout", "--no-dropout" if dropout else "--dropout")
    spec: dict[str, Any] = {"net": "unet_activated", "in_channels": in_channels, "out_channels": out_channels, "width": width}
    spec |= {"num_downs": num_downs, "norm": norm, "bias": bias, "resize_head": resize_head}
    # As published at 256 px (pix2pix: 5 and 4 levels), 128 px (DualGAN: 4 and 3) and 64 px (DiscoGAN: 4 and 3).
    spec |= {"down_dropout": (5 if num_downs > 7 else 4) * dropout, "up_dropout": (4 if num_downs > 7 else 3) * dropout}
    words = (
        f"PyTorch-GAN U-Net of {num_downs} halvings, ngf {width}, {NORM_NAMES[norm]}, {in_channels} to {out_channels} channels"
    )
    return Found(spec, (*downs, *ups, head), words, assumed)


def latent_unet(state: State, root: str, said: Said) -> Found:
    """BicycleGAN's U-Net that is given its code at every level: each level lies inside ``submodule`` of the one around it.

    Its doublings see what comes from inside before the skip, ours behind it, so that the halves of their weights change places.
    """
    levels = [root]
    while f"{levels[-1]}submodule.down.1.weight" in state:
        levels.append(f"{levels[-1]}submodule.")
    downs = [Layer(f"{level}down.{int(place > 0)}", f"{level}down.2") for place, level in enumerate(levels)]
    ups = [Layer(f"{level}up.1", f"{level}up.2") for level in levels]
    if f"{root}up.3.weight" in state:
        raise WeightsError("looks like BicycleGAN's U-Net with bilinear doublings; the one with transposed convolutions is read")
    (width, inputs, *_), (_, out_channels, *_) = shape_of(state, downs[0].conv), shape_of(state, ups[0].conv)
    latent = shape_of(state, downs[1].conv)[1] - width
    if not 0 < latent < inputs:
        raise not_as_published("BicycleGAN's U-Net", state)
    norm, bias, assumed = norm_of(state, downs[0].conv, said)
    dropout = bool(said.dropout)
    if len(levels) > 5:
        assumed["dropout"] = Assumed(f"{has(dropout)} dropout", "--no-dropout" if dropout else "--dropout")
    spec: dict[str, Any] = {"net": "latent_unet", "latent": latent, "in_channels": inputs - latent, "out_channels": out_channels}
    spec |= {"width": width, "num_downs": len(levels), "norm": norm, "dropout": dropout, "bias": bias}
    words = f"BicycleGAN U-Net of {len(levels)} halvings, ngf {width}, a code of {latent} numbers, {NORM_NAMES[norm]}"
    words = f"{words}, {inputs - latent} to {out_channels} channels"
    return Found(spec, (*downs, *reversed(ups)), words, assumed, state=_swapped(state, ups[:-1]))
