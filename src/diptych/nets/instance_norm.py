"""Instance normalisation (Ulyanov et al. 2016), also for images whose channels lie innermost in memory.

PyTorch's own function copies such images into another layout and back, which costs more than the convolutions gain from it.
"""

from __future__ import annotations

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diptych.nets import fused


@final
class InstanceNorm(nn.InstanceNorm2d):
    """Normalise every channel of every image to mean 0 and variance 1, with eps 1e-5 and without running statistics.

    This computes the same function as the base class in either memory layout, and keeps the layout of its input.
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if x.shape[2:].numel() == 1:
            return super().forward(x)  # which refuses it
        if torch.compiler.is_compiling():
            y = _normalise_in_one_expression(x, self.eps)
        elif fused.usable(x):
            return fused.instance_norm(x, self.eps, 1.0, self.weight, self.bias)
        elif channels_innermost(x):
            y = _NormaliseImages.apply(_centred(x), self.eps)
        else:
            y = super().forward(x)
            if y.requires_grad:  # PyTorch 2.13 takes the gradient of one image in the other layout for numbers in another order
                y.register_hook(torch.Tensor.contiguous)
            return y
        if self.weight is not None:
            y = y * self.weight.to(y.dtype)[:, None, None] + self.bias.to(y.dtype)[:, None, None]
        return y


def channels_innermost(x: Tensor) -> bool:
    """Whether images lie in memory with channels innermost (channels_last) and in no other order."""
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _normalise_in_one_expression(x: Float[Tensor, "n c h w"], eps: float) -> Float[Tensor, "n c h w"]:
    """The formula itself, from which a compiler makes one fused kernel for whichever layout the images have."""
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = torch.var_mean(exact, (2, 3), correction=0, keepdim=True)
    return ((exact - mean) * torch.rsqrt(variance + eps)).to(x.dtype)


def _centred(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Images of at least float32 moved by one of their own pixels, which changes neither their normalisation nor its gradient.

    The kernels below apply x * scale + shift, which cancels where a channel's mean is much larger than its deviation.
    """
    return x - x[:, :, :1, :1].detach() if x.element_size() >= 4 else x


class _NormaliseImages(torch.autograd.Function):
    """Normalise each image as a batch of its own, for which PyTorch has fast kernels in this layout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        # The statistics take the dtype of this weight, which is float32 for bf16 images.
        one = torch.ones(x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
        images = x.split(1)
        found = [torch.ops.aten.native_batch_norm(image, one, None, None, None, True, 0.0, eps) for image in images]
        ctx.save_for_backward(x, one, *(statistic for _, *statistics in found for statistic in statistics))
        ctx.eps = eps
        return _joined([y for y, _, _ in found])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, one, *statistics = ctx.saved_tensors
        backward, wanted = torch.ops.aten.native_batch_norm_backward, [True, False, False]
        by_image = [
            backward(g, image, one, None, None, mean, inverse_std, True, ctx.eps, wanted)[0]
            for g, image, mean, inverse_std in zip(grad.split(1), x.split(1), statistics[::2], statistics[1::2], strict=True)
        ]
        return _joined(by_image), None


def _joined(images: list[Tensor]) -> Tensor:
    return images[0] if len(images) == 1 else torch.cat(images)
