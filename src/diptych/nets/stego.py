"""The generators of StegoGAN (Wu et al. 2024): one keeps apart what its target cannot show, the other can be given it back."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diptych.nets.blocks import ReflectionPad2d, Upsample, bounded, crop_centre, full_precision, norm_layer, pad_to_multiple
from diptych.nets.resnet import ResidualBlock, ResNet
from diptych.nets.taps import walk

Role = Literal["hides", "restores"]
Features = Float[Tensor, "n f p q"]


class StegoResNet(nn.Module):
    """A ResNet with a seam after one of its last blocks, the eighth of nine.

    A generator that ``hides`` has a mask there: M = sigmoid(conv(ReLU(IN(conv(f))))) for every number of the features f. It goes
    on with f (1 - M), and u = f M is what it has left out. One that ``restores`` adds a residual block of such u to its own
    features. Called with images alone, both translate what the two domains have in common. With ``mask_layers`` 3, which is what
    is trained, the mask has one more convolution and norm and is padded with zeros, as in the authors' code; snapshots of earlier
    versions have 2.
    """

    multiple, smallest = ResNet.multiple, ResNet.smallest

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        role: Role,
        width: int = 64,
        num_blocks: int = 9,
        upsample: Upsample = "transposed",
        mask_layers: Literal[2, 3] = 2,
    ) -> None:
        super().__init__()
        self.spec = {"net": "stego_resnet", "in_channels": in_channels, "out_channels": out_channels, "role": role}
        self.spec |= {"width": width, "num_blocks": num_blocks, "upsample": upsample, "mask_layers": mask_layers}
        self.net = ResNet(in_channels, out_channels, width=width, num_blocks=num_blocks, upsample=upsample)
        self.seam = 2 + max(0, num_blocks - 1)
        deep = 4 * width
        if mask_layers == 2:
            convs: list[nn.Module] = [nn.Sequential(ReflectionPad2d(1), nn.Conv2d(deep, deep, 3)) for _ in range(2)]
        else:
            convs = [nn.Conv2d(deep, deep, 3, padding=1) for _ in range(3)]
        hides = role == "hides"
        normed = [layer for conv in convs[:-1] for layer in (conv, norm_layer("instance", deep), nn.ReLU())]
        self.mask = nn.Sequential(*normed, convs[-1]) if hides else None
        self.fusion = None if hides else ResidualBlock(deep, "instance", False, True)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        features = self._encode(x)
        return self._decode(features if self.mask is None else features * (1 - self.mask(features).sigmoid()), x)

    def hide(self, x: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n d h w"], Features, Features]:
        """The translation, what it has left out of the features, and the mask of that, from 0 (kept) to 1 (left out)."""
        assert self.mask is not None, "only a generator that hides has a mask"
        features = self._encode(x)
        mask = self.mask(features).sigmoid()
        return self._decode(features * (1 - mask), x), features * mask, mask

    def restore(self, x: Float[Tensor, "n c h w"], hidden: Features | None) -> Float[Tensor, "n d h w"]:
        """The translation with what another generator has hidden; without it where that is None."""
        features = self._encode(x)
        if hidden is not None:
            assert self.fusion is not None, "only a generator that restores takes what is hidden"
            features = features + self.fusion(hidden)
        return self._decode(features, x)

    def maps(self, x: Float[Tensor, "n c h w"]) -> dict[str, Float[Tensor, "n 1 h w"]]:
        """Maps beside the translation of images x, by name, in their size; none for a generator without a mask.

        ``mask`` is from 0 to 1, and high where content of x has no counterpart in the target.
        """
        if self.mask is None:
            return {}
        mask = self.mask(self._encode(x)).sigmoid()
        return {"mask": spread(mask, x)}

    def _encode(self, x: Tensor) -> Features:
        return walk(self.net.stages()[: self.seam], pad_to_multiple(x, self.multiple, self.smallest), ())[0]

    def _decode(self, features: Features, x: Tensor) -> Tensor:
        out, _ = walk(self.net.stages()[self.seam :], features, ())
        return crop_centre(bounded(full_precision(out)), *x.shape[-2:])


def spread(mask: Features, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
    """The largest of a mask's channels, over the images whose features it masks, in their size (bilinear)."""
    largest = full_precision(mask).amax(1, keepdim=True)
    return crop_centre(F.interpolate(largest, scale_factor=4.0, mode="bilinear"), *x.shape[-2:])
