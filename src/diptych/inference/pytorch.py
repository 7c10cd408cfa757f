"""The torch backend, on any device and in either mode; several threads may use it."""

from __future__ import annotations

import copy
import threading
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from typing import Any, final

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from diptych.choices import Dropout
from diptych.inference.backends import ComputingPrecision
from diptych.inference.cuda import EXACT_FLOAT32, FASTEST_KERNELS, Replays, to_device, to_host
from diptych.inference.dropout import drop_by_position
from diptych.inference.flat import keep_flat
from diptych.inference.norm_statistics import NormStatistics, fix_norms
from diptych.nets.modes import Mode, as_translator, depends_on_batch
from diptych.pixels import Domain

BF16: dict[str, Any] = {"dtype": torch.bfloat16, "memory_format": torch.channels_last}  # the layout of the fast kernels


@final
class TorchBackend:
    """A generator on a device, called with native pixels on the CPU or the device; it returns native pixels on the CPU.

    fp32 is exact on CUDA too: TF32 is off while it computes. bf16 takes the fastest kernels that cuDNN finds there for a shape
    that comes again, so its results may differ between runs by rounding. ``replay`` records a shape that comes again as a CUDA
    graph, where results do not depend on the batch. ``compiled`` generates kernels with torch.compile for each shape. ``norms``
    are statistics for norms that would take them from the image.
    """

    def __init__(
        self,
        net: nn.Module,
        source: Domain,
        target: Domain,
        device: torch.device,
        precision: ComputingPrecision,
        mode: Mode,
        seed: int,
        replay: bool = True,
        compiled: bool = False,
        dropout: Dropout = "image",
        norms: NormStatistics | None = None,
    ) -> None:
        if next(net.parameters()).device != device:
            net = copy.deepcopy(net).to(device)
        if precision == "bf16":
            net = _in_bf16(net)
        self.source, self.target, self.device, self.seed = source, target, device, seed
        self.input_format = BF16 if precision == "bf16" else {}
        self.exact = precision == "fp32"
        self.net, self.random = as_translator(net, mode)
        if norms is not None:
            self.net = fix_norms(self.net, norms)
        keep_flat(self.net)
        if dropout == "position":
            drop_by_position(self.net, seed)
        if compiled:
            self.net.compile(dynamic=False)
        self.draws = mode == "paper" and depends_on_batch(net)
        self.one_at_a_time: AbstractContextManager[Any] = threading.Lock() if self.draws else nullcontext()
        replay = replay and not self.draws and not getattr(net, "draws_noise", False)
        self.replays = Replays(self._compute) if replay and device.type == "cuda" else None
        self.seen: Counter[torch.Size] = Counter()

    def __call__(self, pixels: Shaped[Tensor, "n c h w"]) -> Shaped[Tensor, "n d h w"]:
        """Translate a batch."""
        self.seen[pixels.shape] += 1
        searched = self.device.type == "cuda" and self.seen[pixels.shape] > 1  # searching takes longer than one image
        kernels = EXACT_FLOAT32 if self.exact else FASTEST_KERNELS if searched else nullcontext()
        pixels = to_device(pixels, self.device)
        with self.one_at_a_time, kernels, torch.inference_mode():
            if self.draws:
                self.random.manual_seed(self.seed)
            out = self.replays(pixels) if self.replays else self._compute(pixels)
        return to_host(out)

    def _compute(self, pixels: Shaped[Tensor, "n c h w"]) -> Shaped[Tensor, "n d h w"]:
        return self.target.decode(self.net(self.source.encode(pixels).to(**self.input_format)))


def _in_bf16(net: nn.Module) -> nn.Module:
    """Copy a network and cast its convolutions once; autocast would cast them for every image. Norms stay in float32."""
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(**BF16)
    return net
