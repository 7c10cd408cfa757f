"""Write a generator as a TorchScript program, which takes and gives native pixels of any size and runs without diptych."""

from __future__ import annotations

import copy
import inspect
import io
import json
import warnings

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from diptych.inference.flat import keep_flat
from diptych.nets.blocks import crop_centre, pad_to_multiple, padding_of
from diptych.pixels import TORCH_DTYPES, Domain

FACTS = "diptych.json"  # the name of the metadata inside the file: torch.jit.load(..., _extra_files={FACTS: ""})


class Portable(nn.Module):
    """A generator from native pixels to native pixels, in a form whose trace holds for every size and on every device."""

    def __init__(self, net: nn.Module, source: Domain, target: Domain) -> None:
        super().__init__()
        self.multiple, self.smallest = padding_of(net)
        self.net, self.source, self.target = net, source, target
        self.pad = torch.jit.script(inspect.unwrap(pad_to_multiple))  # a trace would keep the branches of one size

    def forward(self, pixels: Shaped[Tensor, "n c h w"]) -> Shaped[Tensor, "n d h w"]:
        return self.target.decode(self.floats(pixels))

    def floats(self, pixels: Shaped[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        """The translation in [-1, 1], before it is rounded to pixels."""
        x = self.source.encode(pixels)
        height, width = x.shape[-2:]  # tensors while this is traced
        return crop_centre(self.net(self.pad(x, self.multiple, self.smallest)), height, width)


def torchscript(net: nn.Module, source: Domain, target: Domain, facts: dict[str, str]) -> tuple[bytes, torch.jit.ScriptModule]:
    """Make the bytes of a file for torch.jit.load, and the program in it, in mode eval.

    The program has two methods: ``forward`` gives pixels, ``floats`` the numbers in [-1, 1] before they are rounded. It is
    returned so that it can be checked without loading the file, since loading it would run code from a file.
    """
    side = 2 * padding_of(net)[0]
    example = torch.zeros((1, source.bands, side, side), dtype=TORCH_DTYPES[source.dtype])
    file = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # torch warns that TorchScript is no longer developed, and that a trace keeps one branch of each condition on a size. The
        # branches that are left hold for every padded size, and each export is checked at other sizes.
        warnings.simplefilter("ignore")
        portable = Portable(keep_flat(plain_layers(net)), source, target).eval().requires_grad_(False)
        program = torch.jit.trace_module(portable, {"forward": example, "floats": example}, check_trace=False)
        torch.jit.save(program, file, _extra_files={FACTS: json.dumps(facts)})
    return file.getvalue(), program


def plain_layers(net: nn.Module) -> nn.Module:
    """Copy a network with torch's own layers in place of those of diptych.nets, which choose kernels by the size of an image."""
    net = copy.deepcopy(net)
    for module in net.modules():
        kind = next(kind for kind in type(module).__mro__ if kind.__module__.startswith("torch."))
        if kind is not nn.Module:
            module.__class__ = kind
    return net
