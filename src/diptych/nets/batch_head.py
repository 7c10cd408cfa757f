"""UVCGANv2's discriminator: a spectrally normalised PatchGAN whose head judges an image beside others that it saw before.

Torbunov et al. 2023, arXiv 2303.16280, section 3.2. With small batches a discriminator sees no diversity; here BatchNorm compares
the image with a queue.
"""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from diptych.nets.blocks import full_precision
from diptych.nets.init import Init, initialise
from diptych.nets.patchgan import PatchGAN
from diptych.nets.spectral import spectrally_normed


class Past(NamedTuple):
    """Features of earlier images, and which of them are there already."""

    features: Float[Tensor, "k c p q"]
    there: Bool[Tensor, " k"]

    def mixed(self, other: Past, share: Tensor) -> Past:
        """These features with this share and the others with the rest."""
        return Past(torch.lerp(other.features, self.features, share), self.there & other.there)


@final
class FeatureQueue(nn.Module):
    """The features of the last ``size`` images, newest first: buffers, so that they are saved and resumed."""

    features: Tensor
    count: Tensor

    def __init__(self, size: int, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("features", torch.zeros(size, channels, height, width))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def past(self) -> Past:
        """What the queue holds now; pushing changes the queue and not what was returned."""
        return Past(self.features.clone(), torch.arange(self.size, device=self.count.device) < self.count)

    @torch.no_grad()
    def push(self, features: Float[Tensor, "n c p q"]) -> None:
        """Let the newest images take the places of the oldest."""
        if self.size:
            self.features.copy_(torch.cat([features.to(self.features.dtype), self.features])[: self.size])
            self.count.add_(len(features)).clamp_(max=self.size)


@final
class BatchHeadDiscriminator(nn.Module):
    """PatchGAN without its last convolution, BatchNorm over this batch and the past, conv3, LeakyReLU(0.01), conv3.

    The weights of the body are drawn by ``init`` and spectrally normalised; those of the head are neither, as in the authors'
    code. Without ``batch_norm`` images are judged alone.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: int = 64,
        num_layers: int = 3,
        batch_norm: bool = True,
        init: Init = "normal",
        init_gain: float = 0.02,
    ) -> None:
        super().__init__()
        self.spec = {"net": "batch_head", "in_channels": in_channels, "width": width, "num_layers": num_layers}
        self.spec |= {"batch_norm": batch_norm}
        body = PatchGAN(in_channels, width=width, num_layers=num_layers).layers[:-1]
        self.body = spectrally_normed(initialise(body, init, init_gain))
        channels = width * min(2 ** max(num_layers, 1), 8)
        # Statistics are those of the images at hand, always: a discriminator is never applied afterwards.
        self.norm = nn.BatchNorm2d(channels, track_running_stats=False) if batch_norm else None
        self.head = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(0.01), nn.Conv2d(channels, 1, 3, padding=1)
        )

    def forward(
        self, x: Float[Tensor, "n c h w"], past: Past | None = None, queue: FeatureQueue | None = None
    ) -> Float[Tensor, "n 1 p q"]:
        """Logits of images beside the past; their own features are pushed to a queue, if there is one, for later."""
        features = self.body(x)
        if queue is not None:
            queue.push(features.detach())
        if self.norm is not None:
            beside = [] if past is None else [self._filled(past, features)]
            features = self.norm(torch.cat([features, *beside]))[: len(x)]
        return full_precision(self.head(features))

    def features(self, x: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """The activations behind each LeakyReLU of the body and the logits of images alone: what feature matching compares."""
        found, y = [], x
        for layer in self.body.children():
            y = layer(y)
            found += [y] if isinstance(layer, nn.LeakyReLU) else []
        return [*found, self(x)]

    def _filled(self, past: Past, features: Float[Tensor, "n c p q"]) -> Float[Tensor, "k c p q"]:
        """The past, with images of this batch in the places that are still empty: nothing here waits for the device."""
        places = torch.arange(len(past.there), device=features.device) % len(features)
        own = features.index_select(0, places)
        return torch.where(past.there[:, None, None, None], past.features.to(features.dtype), own)
