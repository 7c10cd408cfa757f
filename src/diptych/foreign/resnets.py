"""Readers of residual generators: CycleGAN's, and those that other tools make of it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from diptych.foreign.layers import (
    NORM_NAMES,
    Assumed,
    Found,
    Layer,
    Said,
    State,
    has,
    norm_of,
    not_as_published,
    shape_of,
)
from diptych.nets import Padding
from diptych.nets.modes import Mode

Up = Literal["transposed", "resize", "resize_zero", "blur"]
# Where the two convolutions of a block stand -> whether a padding layer is before them, and dropout between them.
FLAT_BLOCKS: dict[tuple[int, ...], tuple[bool, bool]] = {
    (1, 5): (True, False),
    (1, 6): (True, True),
    (0, 3): (False, False),
    (0, 4): (False, True),
}
# How many layers a doubling has -> what it is, and where its convolution stands among them.
UPS: dict[int, tuple[Up, int]] = {3: ("transposed", 0), 4: ("resize_zero", 1), 5: ("resize", 2)}
GLOBAL_LACKS = (
    "net",
    "dropout",
    "bias",
    "padding",
    "edge_padding",
    "downsample",
)  # settings that pix2pixHD's generator does not have


@dataclass(frozen=True)
class Layout:
    """The parts of a residual generator by their names in a file; ``block_padding`` and ``edge_padding`` where the names tell."""

    maker: str
    stem: Layer
    downs: tuple[Layer, ...]
    blocks: tuple[tuple[Layer, Layer], ...]
    ups: tuple[Layer, ...]
    head: Layer
    dropout: bool
    block_padding: Padding | None = None
    edge_padding: Padding | None = None
    up: Up = "transposed"
    blur_down: bool = False
    mode: Mode | None = None

    def layers(self) -> tuple[Layer, ...]:
        """All layers in the order of computation."""
        return (self.stem, *self.downs, *(layer for block in self.blocks for layer in block), *self.ups, self.head)


def resnet(state: State, root: str, said: Said) -> Found:
    """The ResNet in a row of layers with blocks named ``conv_block`` or ``block``, as its authors and most tools nest it."""
    return _described(flat_layout(state, root), state, said)


def mmagic_resnet(state: State, root: str, said: Said) -> Found:
    """The ResNet of mmagic (and of mmgeneration before it), where a convolution, its norm and activation are one module."""
    found = re.compile(rf"{re.escape(root)}(\d+)\.block\.(\d+)\.conv\.weight")
    inside = [(int(m[1]), int(m[2])) for key in state if (m := found.fullmatch(key))]
    numbers = sorted({number for number, _ in inside})
    places = sorted({place for _, place in inside})
    head = max((int(m[1]) for key in state if (m := re.fullmatch(rf"{re.escape(root)}(\d+)\.conv\.weight", key))), default=0)
    first, last = numbers[0], numbers[-1]
    norm = "bn" if any(".bn." in key for key in state) else "in"

    def layer(name: str) -> Layer:
        return Layer(f"{root}{name}.conv", f"{root}{name}.{norm}")

    if len(places) != 2:
        raise not_as_published("mmagic's ResNet", state)
    layout = Layout(
        "mmagic",
        stem=layer("0"),
        downs=tuple(layer(str(number)) for number in range(1, first)),
        blocks=tuple((layer(f"{n}.block.{places[0]}"), layer(f"{n}.block.{places[1]}")) for n in range(first, last + 1)),
        ups=tuple(layer(str(number)) for number in range(last + 1, head)),
        head=layer(str(head)),
        dropout=places == [0, 2],
        mode="eval",
    )
    # mmagic has one setting of padding for blocks and edges.
    return _described(layout, state, replace(said, edge_padding=said.edge_padding or said.padding))


@dataclass(frozen=True)
class Blocks:
    """The residual blocks in a row of layers: the first block's place, their number and name, and the convolutions in each."""

    first: int
    count: int
    name: str
    at: tuple[int, ...]

    def layers(self, root: str) -> tuple[tuple[Layer, Layer], ...]:
        """The two layers of each block."""
        numbers = range(self.first, self.first + self.count)
        return tuple((self._layer(root, number, 0), self._layer(root, number, 1)) for number in numbers)

    def _layer(self, root: str, number: int, which: int) -> Layer:
        inside = f"{root}{number}.{self.name}."
        return Layer(f"{inside}{self.at[which]}", f"{inside}{self.at[which] + 1}")


def blocks_of(state: State, root: str) -> Blocks:
    """Find the residual blocks below a root. Raises WeightsError where they are not laid out as published."""
    pattern = re.compile(rf"{re.escape(root)}(\d+)\.(conv_block|block)\.(\d+)\.weight")
    found = [(int(m[1]), m[2], int(m[3])) for key in state if (m := pattern.fullmatch(key)) and state[key].ndim == 4]
    at = tuple(sorted({place for _, _, place in found}))
    if at not in FLAT_BLOCKS:
        raise not_as_published("a ResNet", state)
    numbers = sorted({number for number, _, _ in found})
    return Blocks(numbers[0], numbers[-1] + 1 - numbers[0], found[0][1], at)


def in_row(root: str, *places: int) -> tuple[Layer, ...]:
    """Layers at places of one row, each with its norm right behind it."""
    return tuple(Layer(f"{root}{place}", f"{root}{place + 1}") for place in places)


def halvings(state: State, root: str, blocks: Blocks, stem: int = 1) -> int:
    """How often the width doubles between the first convolution and the blocks."""
    width, channels = shape_of(state, f"{root}{stem}")[0], shape_of(state, blocks.layers(root)[0][0].conv)[0]
    return round(math.log2(max(1.0, channels / width)))


def flat_layout(state: State, root: str) -> Layout:
    """The layout of a ResNet whose layers stand in one row: their places tell padding layers, dropout and resampling."""
    stem = 0 if f"{root}0.weight" in state else 1
    blocks = blocks_of(state, root)
    num_downs, after = halvings(state, root, blocks, stem), blocks.first + blocks.count
    convs = [int(m[1]) for key in state if (m := re.fullmatch(rf"{re.escape(root)}(\d+)\.weight", key)) and state[key].ndim == 4]
    blurs = [int(m[1]) for key in state if (m := re.fullmatch(rf"{re.escape(root)}(\d+)\.filt", key))]
    blur_down, blur_up = any(place < blocks.first for place in blurs), any(place >= after for place in blurs)
    head, down = max(convs), 4 if blur_down else 3
    up, rest = divmod(head - stem - after, num_downs or 1)
    if not num_downs or blocks.first != stem + 3 + down * num_downs or up not in UPS or rest:
        raise not_as_published("a ResNet", state)
    kind, offset = UPS[up]
    padded, dropout = FLAT_BLOCKS[blocks.at]
    return Layout(
        "CUT" if blurs else "CycleGAN" if blocks.name == "conv_block" else "PyTorch-GAN",
        stem=in_row(root, stem)[0],
        downs=in_row(root, *(stem + 3 + down * level for level in range(num_downs))),
        blocks=blocks.layers(root),
        ups=in_row(root, *(after + up * level + offset for level in range(num_downs))),
        head=Layer(f"{root}{head}"),
        dropout=dropout,
        block_padding=None if padded else "zero",
        edge_padding=None if stem else "zero",
        up="blur" if blur_up else kind,
        blur_down=blur_down,
    )


def _described(layout: Layout, state: State, said: Said) -> Found:
    """The spec and the words of a layout; what its names do not tell is assumed, or said by the user."""
    num_downs, num_blocks = len(layout.downs), len(layout.blocks)
    (width, in_channels, *_), (out_channels, *_) = shape_of(state, layout.stem.conv), shape_of(state, layout.head.conv)
    norm, bias, assumed = norm_of(state, layout.stem.conv, said)
    mode, maker = layout.mode, layout.maker
    if norm == "batch" and layout.block_padding == "zero":
        maker, mode = "DeepLIIF", "eval"
    elif maker == "PyTorch-GAN" and norm == "instance_affine":
        maker = "vintagify"
    padding = layout.block_padding or said.padding or "reflect"
    # DeepLIIF pads with zeros throughout; the code that it derives from mirrors the edges however the blocks are padded.
    follows = maker in ("DeepLIIF", "mmagic")
    edges = layout.edge_padding or said.edge_padding or (padding if follows else "reflect")
    if not layout.block_padding:
        assumed["padding"] = Assumed(f"{padding} padding in the blocks", f"--padding {_other(padding)}")
    if not layout.edge_padding:
        assumed["edge_padding"] = Assumed(f"{edges} padding at the edges", f"--edge-padding {_other(edges)}")
    spec: dict[str, Any] = {"net": "resnet", "in_channels": in_channels, "out_channels": out_channels, "width": width}
    spec |= {"num_blocks": num_blocks, "norm": norm, "dropout": layout.dropout, "bias": bias}
    spec |= {"padding": padding, "edge_padding": edges, "downsample": "blur" if layout.blur_down else "strided"}
    spec |= {"upsample": "blur"} if layout.up == "blur" else {}
    if layout.up in ("resize", "resize_zero"):
        spec |= {"upsample": "resize", "resize_padding": "zero" if layout.up == "resize_zero" else edges}
    if num_downs != 2:
        if (
            layout.dropout
            or layout.up != "transposed"
            or layout.blur_down
            or "zero" in (layout.block_padding, layout.edge_padding)
        ):
            raise not_as_published(f"pix2pixHD's generator of {num_downs} downsamplings", state)
        assumed = {name: guess for name, guess in assumed.items() if name == "norm"}  # its padding is no option
        maker, spec = "pix2pixHD", {"net": "pix2pixhd_global", "num_downs": num_downs} | _without(spec, GLOBAL_LACKS)
    words = f"{maker} ResNet of {num_blocks} blocks, ngf {width}, {NORM_NAMES[norm]}, {has(layout.dropout)} dropout"
    words += ", anti-aliased" if layout.blur_down or layout.up == "blur" else ""
    words += ", resize-convolutions" if spec.get("upsample") == "resize" else ""
    words += "" if bias == (norm != "batch") else f", {has(bias)} biases"
    words += "" if num_downs == 2 else f", {num_downs} downsamplings"
    return Found(spec, layout.layers(), f"{words}, {in_channels} to {out_channels} channels", assumed, mode)


def _without(spec: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name not in names}


def _other(padding: Padding) -> str:
    return "replicate" if padding == "reflect" else "reflect"
