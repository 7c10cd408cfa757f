"""Readers of pix2pixHD's networks that are more than a ResNet: the local enhancer, and discriminators at several scales."""

from __future__ import annotations

import re
from typing import Any

from diptych.foreign.judges import judge_words
from diptych.foreign.layers import NORM_NAMES, Found, Layer, Said, State, norm_of, not_as_published, shape_of
from diptych.foreign.resnets import blocks_of, halvings, in_row


def local_enhancer(state: State, root: str, said: Said) -> Found:
    """The coarse-to-fine generator: ``model``, the global one without its head, then enhancers ``model1_1``, ``model1_2`` ..."""
    coarse, count = f"{root}model.", sum(bool(re.fullmatch(rf"{re.escape(root)}model\d+_1\.1\.weight", key)) for key in state)
    blocks = blocks_of(state, coarse)
    num_downs, after = halvings(state, coarse, blocks), blocks.first + blocks.count
    steps = [3 * level for level in range(num_downs)]
    if not num_downs or not count or blocks.first != 4 + 3 * num_downs:
        raise not_as_published("pix2pixHD's local enhancer", state)
    layers = [*in_row(coarse, 1, *(4 + step for step in steps)), *(layer for block in blocks.layers(coarse) for layer in block)]
    layers += in_row(coarse, *(after + step for step in steps))
    local = blocks_of(state, f"{root}model1_2.")
    for number in range(1, count + 1):
        down, up = f"{root}model{number}_1.", f"{root}model{number}_2."
        layers += [*in_row(down, 1, 4), *(layer for block in blocks_of(state, up).layers(up) for layer in block)]
        layers += in_row(up, local.count)
    head = Layer(f"{root}model{count}_2.{local.count + 4}")
    (width, in_channels, *_), (out_channels, *_) = shape_of(state, f"{root}model{count}_1.1"), shape_of(state, head.conv)
    norm, _, assumed = norm_of(state, layers[0].conv, said)
    spec: dict[str, Any] = {"net": "pix2pixhd_local", "in_channels": in_channels, "out_channels": out_channels, "width": width}
    spec |= {"num_downs": num_downs, "num_blocks": blocks.count, "num_enhancers": count, "num_local_blocks": local.count}
    words = (
        f"pix2pixHD local enhancer, ngf {width}, {NORM_NAMES[norm]}, {num_downs} downsamplings and {blocks.count} blocks inside"
    )
    return Found(spec | {"norm": norm}, (*layers, head), f"{words}, {in_channels} to {out_channels} channels", assumed)


def multiscale(state: State, root: str, said: Said) -> Found:
    """PatchGANs at several scales; the last in the file sees the image at its full size, which is the first of ours."""
    split = f"{root}scale0_layer0.0.weight" in state  # with feature matching every layer has a name of its own
    first = r"scale(\d+)_layer0\.0\.weight" if split else r"layer(\d+)\.0\.weight"
    num_scales = sum(bool(re.fullmatch(re.escape(root) + first, key)) for key in state)
    inside = r"scale0_layer(\d+)\.0\.weight" if split else r"layer0\.(\d+)\.weight"
    convs = [key for key in state if re.fullmatch(re.escape(root) + inside, key) and state[key].ndim == 4]
    layers: list[Layer] = []
    for scale in reversed(range(num_scales)):
        if split:
            layers += [Layer(f"{root}scale{scale}_layer{n}.0", f"{root}scale{scale}_layer{n}.1") for n in range(len(convs))]
        else:
            layers += in_row(f"{root}layer{scale}.", 0, *(2 + 3 * n for n in range(len(convs) - 1)))
    if len(convs) < 3:
        raise not_as_published("pix2pixHD's discriminator", state)
    width, in_channels, *_ = shape_of(state, layers[0].conv)
    norm, _, assumed = norm_of(state, layers[1].conv, said)
    spec: dict[str, Any] = {"net": "multiscale_patchgan", "in_channels": in_channels, "width": width, "norm": norm}
    spec |= {"num_layers": len(convs) - 2, "num_scales": num_scales}
    name = f"pix2pixHD discriminator of {num_scales} scales and {len(convs) - 2} layers"
    return Found(spec, tuple(layers), judge_words(name, width, norm, in_channels), assumed)
