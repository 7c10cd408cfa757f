"""The history of generated images that steadies a discriminator (Shrivastava et al. 2017; CycleGAN section 4)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ImagePool(nn.Module):
    """A buffer of earlier fakes, images and random choices included on the device, all of it in the state_dict.

    While it fills, every image passes and is stored. From then on, with probability 1/2, an image is exchanged for a random
    stored one and takes its place; otherwise it passes. size 0 passes everything.
    """

    images: Tensor
    count: Tensor

    def __init__(self, size: int, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size, channels, height, width))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def forward(self, fakes: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """As many images as came in, without gradient; one after another, so a batch may exchange images with itself."""
        if self.size == 0:
            return fakes.detach()
        return torch.stack([self._exchange(fake) for fake in fakes.detach()])

    def _exchange(self, fake: Tensor) -> Tensor:
        # Written without a branch on a tensor's value: nothing here waits for the device.
        filling = self.count < self.size
        swap = torch.rand((), device=fake.device) > 0.5
        slot = torch.where(filling, self.count, torch.randint(self.size, (), device=fake.device))[None]
        stored = self.images.index_select(0, slot)[0].to(fake.dtype)
        self.images.index_copy_(0, slot, torch.where(filling | swap, fake, stored)[None].to(self.images.dtype))
        self.count.add_(filling)
        return torch.where(swap & ~filling, stored, fake)
