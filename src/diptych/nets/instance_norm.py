"""Instance normalisation (Ulyanov et al. 2016), also for images whose channels lie innermost in memory.

PyTorch's own copies such images to another layout and back, which on a CPU costs more than the convolutions gain from it.
"""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn


@final
class InstanceNorm(nn.InstanceNorm2d):
    """Every channel of every image to mean 0 and variance 1, eps 1e-5; without running statistics.

    The same function as its base class in either memory layout, and the layout stays as it is.
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if torch.compiler.is_compiling() or x.device.type != "cpu" or not channels_innermost(x) or x[0, 0].numel() == 1:
            return super().forward(x)  # where kernels are generated, no layout costs a copy
        y = _Normalise.apply(x, self.eps)
        if self.weight is not None:
            y = y * self.weight.to(y.dtype)[:, None, None] + self.bias.to(y.dtype)[:, None, None]
        return y


def channels_innermost(x: Tensor) -> bool:
    """Whether images lie in memory with channels innermost (channels_last) and in no other order."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


class _Normalise(torch.autograd.Function):
    """Forward as a group norm of one channel a group, backward as each image's batch norm: the fast kernels of this layout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        n, c, h, w = x.shape
        # The statistics take the dtype of these: float32 for bf16 images.
        exact = torch.promote_types(x.dtype, torch.float32)
        one, zero = torch.ones(c, dtype=exact), torch.zeros(c, dtype=exact)
        y, mean, inverse_std = torch.native_group_norm(x, one, zero, n, c, h * w, c, eps)
        ctx.save_for_backward(x, one, mean, inverse_std)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, one, means, inverse_stds = ctx.saved_tensors
        by_image = [
            torch.ops.aten.native_batch_norm_backward(g, image, one, None, None, m, s, True, ctx.eps, [True, False, False])[0]
            for g, image, m, s in zip(grad.split(1), x.split(1), means, inverse_stds, strict=True)
        ]
        return by_image[0] if len(by_image) == 1 else torch.cat(by_image), None
