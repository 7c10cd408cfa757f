"""A generator as a TorchScript program: native pixels in and out, any size, no diptych needed to run it."""

from __future__ import annotations

import copy
import io
import json
import warnings
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from diptych.inference.backends import padding
from diptych.nets.blocks import crop_centre
from diptych.pixels import TORCH_DTYPES, Domain

FACTS = "diptych.json"  # the name of the metadata inside the file: torch.jit.load(..., _extra_files={FACTS: ""})


class Portable(nn.Module):
    """encode, pad, translate, crop, decode without a branch on the size, so that tracing it once holds for every size."""

    def __init__(self, net: nn.Module, source: Domain, target: Domain) -> None:
        super().__init__()
        self.multiple, self.smallest = padding(net)
        self.net, self.source, self.target = net, source, target

    def forward(self, pixels: Shaped[Tensor, "n c h w"]) -> Shaped[Tensor, "n d h w"]:
        return self.target.decode(self.floats(pixels))

    def floats(self, pixels: Shaped[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        """The translation in [-1, 1], before it is rounded to pixels."""
        x = self.source.encode(pixels)
        height, width = x.shape[-2:]  # tensors while this is traced
        sides = [self._side(torch.as_tensor(side)) for side in (height, width)]
        mirrored = sides[0][2] & sides[1][2]
        for axis, (replicated, reflected, _) in enumerate(sides, 2):
            x = x.index_select(axis, torch.where(mirrored, reflected, replicated))
        return crop_centre(self.net(x), height, width)

    def _side(self, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where each padded row comes from, replicated or mirrored, and whether mirroring fits: nets.blocks.pad_to_multiple."""
        padded = ((size + self.multiple - 1) // self.multiple * self.multiple).clamp(min=self.smallest)
        before = (padded - size) // 2
        end: Any = padded  # a tensor, so that the trace keeps it
        rows, last = torch.arange(end) - before, size - 1
        return torch.minimum(rows.clamp(min=0), last), last - (last - rows.abs()).abs(), padded - size - before < size


def torchscript(net: nn.Module, source: Domain, target: Domain, facts: dict[str, str]) -> tuple[bytes, torch.jit.ScriptModule]:
    """A file for torch.jit.load, and its program in eval mode: ``forward`` (pixels to pixels) and ``floats`` (to [-1, 1]).

    The program is what is checked: loading such a file runs code, which diptych does with no file.
    """
    side = 2 * padding(net)[0]
    example = torch.zeros((1, source.channels, side, side), dtype=TORCH_DTYPES[source.dtype])
    file = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # torch says that TorchScript is no longer developed, and that conditions on sizes are traced as they came out: those that
        # are left hold for every padded size, and each export is checked on other sizes.
        warnings.simplefilter("ignore")
        portable = Portable(plain_layers(net), source, target).eval().requires_grad_(False)
        program = torch.jit.trace_module(portable, {"forward": example, "floats": example}, check_trace=False)
        torch.jit.save(program, file, _extra_files={FACTS: json.dumps(facts)})
    return file.getvalue(), program


def plain_layers(net: nn.Module) -> nn.Module:
    """A copy with torch's own layers in place of those of diptych.nets that choose a kernel by the size of the image."""
    net = copy.deepcopy(net)
    for module in net.modules():
        kind = next(kind for kind in type(module).__mro__ if kind.__module__.startswith("torch."))
        if kind is not nn.Module:
            module.__class__ = kind
    return net
