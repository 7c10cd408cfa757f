"""Reader of UVCGANv2's generator, a U-Net with a vision transformer at its bottom (LS4GAN/uvcgan2)."""

from __future__ import annotations

from typing import Any

from diptych.errors import WeightsError
from diptych.foreign.layers import Assumed, Found, Layer, Said, State, not_as_published, shape_of

PUBLISHED_HEADS = 6


def vit_modnet(state: State, root: str, said: Said) -> Found:
    """The generator ``vit-modnet``: each level lies inside ``inner_module`` of the one around it, the transformer in the last."""
    levels = [f"{root}modnet."]
    while f"{levels[-1]}inner_module.conv.block.block.1.weight" in state:
        levels.append(f"{levels[-1]}inner_module.")
    bottom = f"{levels[-1]}inner_module."
    blocks: list[str] = []
    while f"{bottom}encoder.encoder.{len(blocks)}.norm1.weight" in state:
        blocks.append(f"{bottom}encoder.encoder.{len(blocks)}.")
    stem, style = Layer(f"{root}layer_input.0"), state.get(f"{bottom}extra_tokens")
    if style is None or style.ndim != 3 or style.shape[1] != 1 or not blocks:
        raise not_as_published("UVCGANv2's generator", state)
    features, (width, in_channels, *_) = style.shape[-1], shape_of(state, stem.conv)
    places = tuple(f"{bottom}trans_input.{axis}_const" for axis in "xy")
    size = _size(state, places) * 2 ** len(levels)
    heads = said.heads or (PUBLISHED_HEADS if features % PUBLISHED_HEADS == 0 else 1)
    if heads < 1 or features % heads:
        raise WeightsError(f"--heads {heads}: {features} features cannot be shared evenly among so many")

    layers = [stem, *(Layer(f"{level}conv.block.block.{place}") for level in levels for place in (1, 4))]
    layers += [Layer(f"{level}conv.downsample") for level in levels]
    inner = ("upsample.1", "block.conv_block1.conv", "block.conv_block2.conv")
    layers += [Layer(f"{level}deconv.{name}") for level in reversed(levels) for name in inner]
    styles = [f"{level}deconv.block.style_block{place}" for level in reversed(levels) for place in (1, 2)]
    linears = [f"{bottom}{name}" for name in ("trans_input.embed.projector", "trans_input.output", "trans_output")]
    linears += [f"{block}{name}" for block in blocks for name in ("atten.in_proj", "atten.out_proj", "ffn.net.0", "ffn.net.2")]
    names = {"style": f"{bottom}extra_tokens"}
    for place, block in enumerate(blocks):
        names |= {f"blocks.{place}.norms.{norm}": f"{block}norm{norm + 1}" for norm in (0, 1)}
        names |= {f"blocks.{place}.to_qkv.{part}": f"{block}atten.in_proj_{part}" for part in ("weight", "bias")}
        names[f"blocks.{place}.scale"] = f"{block}re_alpha"
    ours = (f"ups.{level}.{conv}.strength" for level in range(len(levels)) for conv in ("first", "second"))
    names |= {strength: f"{style_block}.re_alpha" for strength, style_block in zip(ours, styles, strict=True)}

    spec: dict[str, Any] = {"net": "vit_modnet", "in_channels": in_channels, "out_channels": in_channels, "width": width}
    spec |= {"num_downs": len(levels), "num_blocks": len(blocks), "features": features, "num_heads": heads, "released": True}
    words = f"UVCGANv2 generator of {len(levels)} levels and {len(blocks)} transformer blocks, width {width}, for {size} px"
    return Found(
        spec,
        (*layers, Layer(f"{root}layer_output")),
        f"{words}, {in_channels} to {in_channels} channels",
        {"heads": Assumed(f"{heads} heads of attention", "--heads N")},
        linears=(*linears, *(f"{style_block}.affine_mod" for style_block in styles)),
        names=names,
        known=places,
        size=size,
    )


def _size(state: State, places: tuple[str, ...]) -> int:
    """How many tokens a side the transformer has, by its table of places. Raises WeightsError where the sides differ."""
    sides = [int(state[name].max()) + 1 if name in state and state[name].numel() else 0 for name in places]
    if sides[0] != sides[1] or not sides[0]:
        raise WeightsError(
            f"looks like UVCGANv2's generator for images of {sides[0]} x {sides[1]} tokens; those of square images are read"
        )
    return sides[0]
