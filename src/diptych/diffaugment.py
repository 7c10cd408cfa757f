"""Differentiable augmentations of what a discriminator sees, so that it cannot learn few images by heart.

DiffAugment (Zhao et al. 2020, arXiv 2006.10738) applies them to real and generated images alike, with gradients to the generator.
ADA (Karras et al. 2020, arXiv 2006.06676, section 3.2) applies them with a probability that follows how far D overfits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

Images = Float[Tensor, "n c h w"]


def uniform(x: Images, low: float, high: float) -> Float[Tensor, "n 1 1 1"]:
    """One random number for each image."""
    return torch.empty(len(x), 1, 1, 1, dtype=x.dtype, device=x.device).uniform_(low, high)


def brightness(x: Images) -> Images:
    """Add a number between -1/2 and 1/2."""
    return x + uniform(x, -0.5, 0.5)


def saturation(x: Images) -> Images:
    """Multiply the distance from the mean over channels by a factor between 0 and 2."""
    grey = x.mean(1, keepdim=True)
    return torch.lerp(grey.expand_as(x), x, uniform(x, 0.0, 2.0))


def contrast(x: Images) -> Images:
    """Multiply the distance from the mean of the image by a factor between 1/2 and 3/2."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean.expand_as(x), x, uniform(x, 0.5, 1.5))


def translation(x: Images) -> Images:
    """Move by up to an eighth of height and width; what comes in from outside is 0, the middle of the range."""
    moved = x
    for dimension in (2, 3):
        size = x.shape[dimension]
        reach = int(size / 8 + 0.5)
        offset = torch.randint(-reach, reach + 1, (len(x), 1), device=x.device)
        source = torch.arange(size, device=x.device) + offset
        shape = [len(x), 1, 1, 1]
        shape[dimension] = size
        inside = ((source >= 0) & (source < size)).view(shape)
        moved = moved.gather(dimension, source.clamp(0, size - 1).view(shape).expand_as(x)) * inside
    return moved


def cutout(x: Images) -> Images:
    """Set a square of half the height and width to 0; its centre lies anywhere in the image."""
    inside = torch.ones((), dtype=torch.bool, device=x.device)
    for dimension in (2, 3):
        size = x.shape[dimension]
        half = int(size * 0.5 + 0.5)
        first = torch.randint(size + 1 - half % 2, (len(x), 1), device=x.device) - half // 2
        place = torch.arange(size, device=x.device)
        shape = [len(x), 1, 1, 1]
        shape[dimension] = size
        inside = inside & ((place >= first) & (place < first + half)).view(shape)
    return x * ~inside


def flip(x: Images) -> Images:
    """Mirror left and right for half of the images."""
    return torch.where(uniform(x, 0.0, 1.0) < 0.5, x.flip(3), x)


AUGMENTATIONS: dict[str, tuple[Callable[[Images], Images], ...]] = {
    "color": (brightness, saturation, contrast),
    "translation": (translation,),
    "cutout": (cutout,),
    "flip": (flip,),
}
"""What a policy such as ``color,translation,cutout`` (the published one) is made of; flip is ADA's."""


def kinds_of(policy: str) -> list[str]:
    """The words of a policy; none for the empty policy."""
    return [word.strip() for word in policy.split(",")] if policy else []


def augment(x: Images, policy: str, probability: Float[Tensor, ""] | float = 1.0) -> Images:
    """Apply every transformation of the policy to each image with this probability, by draws of their own."""
    for kind in kinds_of(policy):
        for transformation in AUGMENTATIONS[kind]:
            changed = transformation(x)
            x = changed if isinstance(probability, float) else torch.where(uniform(x, 0.0, 1.0) < probability, changed, x)
    return x


@final
class AdaptiveProbability(nn.Module):
    """The probability of augmentation that keeps the mean sign of D's logits on real images at a target (ADA, eq. 1).

    It begins at 0 and moves by (images of the batch) / ``images`` in every step, so that it goes from 0 to 1 in no less than
    ``images`` images. As published, it moves at every fourth batch by four times as much. It is a buffer, so it is saved.
    """

    value: Tensor

    def __init__(self, target: float, images: int) -> None:
        super().__init__()
        self.target, self.images = target, images
        self.register_buffer("value", torch.zeros(()))

    @torch.no_grad()
    def adapt(self, on_real: Tensor, boundary: float) -> None:
        """Follow D's logits on real images, (n, ...); ``boundary`` is the logit between real and fake."""
        overfitting = (on_real.float() - boundary).sign().mean()
        self.value.add_((overfitting - self.target).sign() * (len(on_real) / self.images)).clamp_(0.0, 1.0)
