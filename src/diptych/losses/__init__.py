"""The losses of the papers: one function or value per formula, scalars in float32. Weights are the callers' business.

LOSSES is the table of those that compare images of a training step; a recipe adds any of them to any method (``extra``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor

from diptych.losses.adversarial import (
    Gan,
    check_gan,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    r1_penalty,
    zero_centred_penalty,
)
from diptych.losses.features import (
    FeatureMatching,
    LPIPSLoss,
    NeedsNetwork,
    Networks,
    PerceptualLoss,
    StyleLoss,
    feature_distance,
    feature_matching,
)
from diptych.losses.pixels import (
    L1,
    CharbonnierLoss,
    EdgeLoss,
    FocalFrequencyLoss,
    PixelLoss,
    StructureLoss,
    TotalVariation,
    l1,
)
from diptych.losses.similarity import MSSSIMLoss, NeedsSize, SSIMLoss
from diptych.losses.temporal import NeedsTranslator, NextFrames, TemporalLoss

__all__ = [
    "L1",
    "LOSSES",
    "CharbonnierLoss",
    "EdgeLoss",
    "FeatureMatching",
    "FocalFrequencyLoss",
    "Gan",
    "LPIPSLoss",
    "Loss",
    "MSSSIMLoss",
    "NeedsNetwork",
    "NeedsSize",
    "NeedsTranslator",
    "Networks",
    "NextFrames",
    "PerceptualLoss",
    "PixelLoss",
    "SSIMLoss",
    "StructureLoss",
    "StyleLoss",
    "TemporalLoss",
    "TotalVariation",
    "check_gan",
    "discriminator_loss",
    "feature_distance",
    "feature_matching",
    "generator_loss",
    "gradient_penalty",
    "l1",
    "r1_penalty",
    "zero_centred_penalty",
]


Loss = Callable[..., Float[Tensor, ""]]
"""How far an image x that a generator made is from an image y of the same step: a scalar to be made small.

Each is made by a class whose constructor's arguments are its options: a frozen dataclass, or an nn.Module where a network judges.
Such a network is frozen; it is neither trained nor saved with the method, and moves to where the images are. A loss with
``num_images = 1`` takes x alone, and one with ``any_channels = True`` compares images whose numbers of channels differ. Options
that need weights from a file are a NeedsNetwork, which makes the loss from a network; those that need the method's own generator
are a NeedsTranslator, whose x is a source image.
"""
LOSSES: dict[str, Callable[..., Any]] = {
    "pixel": PixelLoss,
    "structure": StructureLoss,
    "charbonnier": CharbonnierLoss,
    "ssim": SSIMLoss,
    "ms_ssim": MSSSIMLoss,
    "edge": EdgeLoss,
    "focal_frequency": FocalFrequencyLoss,
    "total_variation": TotalVariation,
    "perceptual": PerceptualLoss,
    "style": StyleLoss,
    "lpips": LPIPSLoss,
    "feature_matching": FeatureMatching,
    "temporal": TemporalLoss,
}
"""Losses of a step's images, by the name that a recipe's ``extra`` gives them; called with their options, each makes one."""
