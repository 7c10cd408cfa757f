"""The variants that the papers compare, each as settings on top of one recipe, in the order of the papers' tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diptych.errors import ConfigError
from diptych.recipe import Recipe


@dataclass(frozen=True)
class Variant:
    """One row: the settings of the method that differ from the recipe, under a name for files and one for people."""

    name: str
    title: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """One table of a paper, by the names of its variants.

    ``published`` are its scores of Cityscapes labels -> photo at 256 px where they are known, and ``published_back`` those of
    photo -> labels: per-pixel accuracy, per-class accuracy and class IoU. In the papers, forward is the way from labels.
    """

    title: str
    source: str
    rows: tuple[str, ...]
    published: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    published_back: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    def published_for(self, labels: str | None, direction: str) -> Mapping[str, tuple[float, float, float]]:
        """The published scores of the task that a direction is when side ``labels`` holds label maps; nothing without labels.

        With labels on side b, the cycle that the paper calls forward begins at b, so that the two cycles change places.
        """
        if labels is None:
            return {}
        numbers = self.published if direction[0] == labels else self.published_back
        return numbers if labels == "a" else {_TURNED.get(name, name): scores for name, scores in numbers.items()}


_TURNED = {"gan-forward-cycle": "gan-backward-cycle", "gan-backward-cycle": "gan-forward-cycle"}
_NO_IDENTITY = {"lambda_identity": 0.0}
CYCLEGAN = (
    Variant("cycle-alone", "Cycle alone", {"lambda_gan": 0.0} | _NO_IDENTITY),
    Variant("gan-alone", "GAN alone", {"lambda_cycle_a": 0.0, "lambda_cycle_b": 0.0} | _NO_IDENTITY),
    Variant("gan-forward-cycle", "GAN + forward cycle", {"lambda_cycle_b": 0.0} | _NO_IDENTITY),
    Variant("gan-backward-cycle", "GAN + backward cycle", {"lambda_cycle_a": 0.0} | _NO_IDENTITY),
    Variant("full", "CycleGAN", _NO_IDENTITY),
    Variant("full-identity", "CycleGAN + identity", {"lambda_identity": 0.5}),
)
PIX2PIX = (
    Variant("l1", "L1", {"lambda_gan": 0.0}),
    Variant("gan", "GAN", {"lambda_l1": 0.0, "conditional": False}),
    Variant("cgan", "cGAN", {"lambda_l1": 0.0}),
    Variant("l1-gan", "L1 + GAN", {"conditional": False}),
    Variant("l1-cgan", "L1 + cGAN"),
    Variant("encoder-decoder-l1", "Enc-dec L1", {"generator": "encoder_decoder", "lambda_gan": 0.0}),
    Variant("encoder-decoder-l1-cgan", "Enc-dec L1+cGAN", {"generator": "encoder_decoder"}),
    Variant("patch-1", "Patch 1 x 1", {"num_layers": 0}),
    Variant("patch-16", "Patch 16 x 16", {"num_layers": 1}),
    Variant("patch-286", "Patch 286 x 286", {"num_layers": 5}),
)
VARIANTS: dict[str, tuple[Variant, ...]] = {"cyclegan": CYCLEGAN, "pix2pix": PIX2PIX}

TABLES: dict[str, tuple[Table, ...]] = {
    "cyclegan": (
        Table(
            "Losses",
            "Zhu et al. 2017, tables 4 and 5",
            tuple(variant.name for variant in CYCLEGAN),
            {
                "cycle-alone": (0.22, 0.07, 0.02),
                "gan-alone": (0.51, 0.11, 0.08),
                "gan-forward-cycle": (0.55, 0.18, 0.12),
                "gan-backward-cycle": (0.39, 0.14, 0.06),
                "full": (0.52, 0.17, 0.11),
            },
            {
                "cycle-alone": (0.10, 0.05, 0.02),
                "gan-alone": (0.53, 0.11, 0.07),
                "gan-forward-cycle": (0.49, 0.11, 0.07),
                "gan-backward-cycle": (0.01, 0.06, 0.01),
                "full": (0.58, 0.22, 0.16),
            },
        ),
    ),
    "pix2pix": (
        Table(
            "Losses",
            "Isola et al. 2017, table 1",
            ("l1", "gan", "cgan", "l1-gan", "l1-cgan"),
            {
                "l1": (0.42, 0.15, 0.11),
                "gan": (0.22, 0.05, 0.01),
                "cgan": (0.57, 0.22, 0.16),
                "l1-gan": (0.64, 0.20, 0.15),
                "l1-cgan": (0.66, 0.23, 0.17),
            },
            {
                "l1": (0.86, 0.42, 0.35),
                "cgan": (0.74, 0.28, 0.22),
                "l1-cgan": (0.83, 0.36, 0.29),
            },
        ),
        Table(
            "Generators",
            "Isola et al. 2017, table 2",
            ("encoder-decoder-l1", "encoder-decoder-l1-cgan", "l1", "l1-cgan"),
            {
                "encoder-decoder-l1": (0.35, 0.12, 0.08),
                "encoder-decoder-l1-cgan": (0.29, 0.09, 0.05),
                "l1": (0.48, 0.18, 0.13),
                "l1-cgan": (0.55, 0.20, 0.14),
            },
        ),
        Table(
            "Patch sizes of the discriminator",
            "Isola et al. 2017, table 3",
            ("patch-1", "patch-16", "l1-cgan", "patch-286"),
            {
                "patch-1": (0.39, 0.15, 0.10),
                "patch-16": (0.65, 0.21, 0.17),
                "l1-cgan": (0.66, 0.23, 0.17),
                "patch-286": (0.42, 0.16, 0.11),
            },
        ),
    ),
}


def recipe_of(base: Recipe, variant: Variant, seed: int) -> Recipe:
    """The recipe of one variant and seed: everything else is the base's.

    Raises ConfigError where a variant cannot be made of the base: an encoder-decoder is a U-Net without skips.
    """
    settings = dict(variant.settings)
    if settings.get("generator") == "encoder_decoder":
        kind, _, depth = base.method.generator.rpartition("_")  # type: ignore[attr-defined]
        if kind != "unet":
            raise ConfigError(
                f"ablate: {variant.name} takes the skips out of a U-Net, found method.generator {kind}_{depth}; choose unet_N"
            )
        settings["generator"] = f"encoder_decoder_{depth}"
    return base.replace(**{f"method.{key}": value for key, value in settings.items()}, **{"train.seed": seed})


def segmenter_recipe(base: Recipe, labels: str) -> Recipe:
    """A segmenter for the FCN-score: pix2pix's L1 row from photos to the colours of the labels, on the base's data and budget.

    ``labels`` is the side, a or b, that is label maps in the base's direction. Needs pairs, also where the base needs none.
    """
    method = {key: getattr(base.method, key) for key in ("generator", "ngf", "upsample") if hasattr(base.method, key)}
    method |= {"norm": "instance", "dropout": False, "lambda_gan": 0.0}
    values = base.to_dict()
    if labels == "a":  # photos are b: train in the other direction
        values["data"]["direction"] = "a2b" if base.data.direction == "b2a" else "b2a"
    return Recipe.from_dict({"method": {"name": "pix2pix"} | method, "data": values["data"], "train": values["train"]})
