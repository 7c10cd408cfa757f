"""Readers of residual generators that are given more than an image: SANTA's, UNSB's and StegoGAN's."""

from __future__ import annotations

import re
from typing import Any

from diptych.errors import WeightsError
from diptych.foreign.layers import Found, Layer, Said, State, not_as_published, shape_of
from diptych.foreign.resnets import in_row

MASK = ("mask.conv1", "mask.conv2", "mask.conv3")


def santa(state: State, root: str, said: Said) -> Found:
    """SANTA's generator: ``encoder``, ``decoder``, whose norms are linear in a style, and the styles of both ends."""
    coder, decoder = f"{root}encoder.", f"{root}decoder."
    blur_down, blur_up = f"{coder}7.filt" in state, any(key.startswith(decoder) and key.endswith(".filt") for key in state)
    step, first = (4, 12) if blur_down else (3, 10)
    encoding, styled = _count(state, coder), _count(state, decoder)
    if not styled or f"{coder}{first}.conv_block.1.weight" not in state or encoding != (encoding + styled) // 2:
        raise not_as_published("SANTA's generator", state)
    ups = (styled + 1, styled + 5) if blur_up else (styled, styled + 3)
    head = Layer(f"{decoder}{ups[1] + 4}")
    blocks = [f"{coder}{first + place}.conv_block." for place in range(encoding)]
    blocks += [f"{decoder}{place}.conv_block." for place in range(styled)]
    layers = [*in_row(coder, 1, 4, 4 + step), *(layer for block in blocks for layer in in_row(block, 1, 5))]
    layers += [*in_row(decoder, *ups), head]
    norms = [f"{block}{place}" for block in blocks[encoding:] for place in (2, 6)]
    norms += [f"{decoder}{up + 1}" for up in ups]
    spec, words = _described("adain_resnet", layers, state)
    spec |= {"num_blocks": encoding + styled, "downsample": "blur" if blur_down else "strided"}
    spec |= {"upsample": "blur" if blur_up else "transposed"}
    return Found(
        spec,
        tuple(layers),
        f"SANTA generator of {encoding + styled} blocks, {words}",
        linears=tuple(f"{norm}.fc" for norm in norms),
        names={"ends": f"{root}domain_embedding.weight"},
    )


def unsb(state: State, root: str, said: Said) -> Found:
    """UNSB's generator as its released code applies it: the time, and half of each block, never reach an image.

    Its code scales by g(z), ours by 1 + g(z), so that the biases of these scales arrive less 1.
    """
    count = sum(bool(re.fullmatch(rf"{re.escape(root)}model_res\.\d+\.conv_fin\.2\.weight", key)) for key in state)
    down, up = f"{root}model.", f"{root}model_upsample."
    blur_down, blur_up = f"{down}7.filt" in state, f"{up}0.filt" in state
    if not count:
        raise not_as_published("UNSB's generator", state)
    blocks = [f"{root}model_res.{place}." for place in range(count)]
    ups = (1, 5) if blur_up else (0, 3)
    layers = [*in_row(down, 1, 4, 8 if blur_down else 7), *(Layer(f"{b}conv_fin.2", f"{b}conv_fin.3") for b in blocks)]
    layers += [*in_row(up, *ups), Layer(f"{up}{ups[1] + 4}")]
    spec, words = _described("bridge_chain", layers, state)
    if spec["in_channels"] != spec["out_channels"]:
        raise not_as_published("UNSB's generator", state)
    spec |= {"num_blocks": count, "time": "off", "downsample": "blur" if blur_down else "strided"}
    spec |= {"upsample": "blur" if blur_up else "transposed"}
    scales = [f"{block}adaptive.style_net" for block in blocks]
    shifted = dict(state)
    for scale in scales:
        if (bias := state.get(f"{scale}.bias")) is not None:
            shifted[f"{scale}.bias"] = bias.clone()
            shifted[f"{scale}.bias"][: len(bias) // 2] -= 1
    idle = (f"{root}time_embed.", *(f"{block}{name}." for block in blocks for name in ("conv_block", "Dense_time", "style")))
    return Found(
        spec,
        tuple(layers),
        f"UNSB generator of {count} blocks as its released code computes, 5 steps with tau 0.01 as published, {words}",
        linears=(*(f"{root}z_transform.{place}" for place in (1, 3, 5, 7)), *scales),
        state=shifted,
        unused=tuple(key for key in state if key.startswith(idle)),
    )


def stegogan(state: State, root: str, said: Said) -> Found:
    """StegoGAN's two generators: one has a ``mask`` behind its eighth block of nine, the other a ``fusion``.

    Its mask says what is kept, ours what is left out, so that its last convolution arrives with the other sign.
    """
    before, behind = (_count(state, f"{root}conv3_{part}.") for part in ("up", "down"))
    if behind != 1:
        raise WeightsError(f"looks like a StegoGAN generator with a seam {behind} blocks before the last; 1 is read")
    hides = f"{root}mask.conv1.weight" in state
    blocks = [f"{root}conv3_up.{place}.conv_block." for place in range(before)] + [f"{root}conv3_down.0.conv_block."]
    row = in_row(f"{root}decoder.", 0, 3)
    layers = [*in_row(f"{root}conv1.", 1), *in_row(f"{root}conv2.", 0, 3)]
    layers += [*(layer for block in blocks for layer in in_row(block, 1, 5)), *row, Layer(f"{root}decoder.7")]
    spec, words = _described("stego_resnet", layers, state)
    spec |= {"role": "hides" if hides else "restores", "num_blocks": before + 1}
    other = dict(state)
    if hides:
        layers += [Layer(f"{root}{name}") for name in MASK]
        spec["mask_layers"] = len(MASK)
        other |= {key: -state[key] for part in ("weight", "bias") if (key := f"{root}{MASK[-1]}.{part}") in state}
    else:
        layers += in_row(f"{root}fusion.0.conv_block.", 1, 5)
    what = "hides what its target lacks" if hides else "can be given what is hidden"
    return Found(spec, tuple(layers), f"StegoGAN generator of {before + 1} blocks that {what}, {words}", state=other)


def _count(state: State, root: str) -> int:
    """How many residual blocks without dropout stand below a root."""
    return sum(bool(re.fullmatch(rf"{re.escape(root)}\d+\.conv_block\.5\.weight", key)) for key in state)


def _described(net: str, layers: list[Layer], state: State) -> tuple[dict[str, Any], str]:
    """What all have in common: the spec's channels and width, and words for them."""
    (width, in_channels, *_), (out_channels, *_) = shape_of(state, layers[0].conv), shape_of(state, layers[-1].conv)
    spec: dict[str, Any] = {"net": net, "in_channels": in_channels, "out_channels": out_channels, "width": width}
    return spec, f"ngf {width}, instance norm, {in_channels} to {out_channels} channels"
