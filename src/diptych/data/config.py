"""The settings of a recipe's ``data``: which images, and how they become training crops."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from diptych.choices import Alpha, Axis, Icc
from diptych.data.folders import LayoutName
from diptych.data.frames import FITTINGS, Fitting
from diptych.data.instances import with_instances
from diptych.data.labels import SIDES, Labelled, parse_classes
from diptych.data.ranges import parse_range
from diptych.data.splits import Split
from diptych.errors import ConfigError
from diptych.reading import Reading
from diptych.settings import Size, check_settings, sides


@dataclass(frozen=True)
class DataConfig:
    """Where images come from and how they become training crops.

    ``source``: one or two folders, or the name of embedded data. ``layout``: ``side_by_side`` says that one folder holds images
    A|B, whatever their shape; ``auto`` recognises the folders (see diptych.data.folders). ``direction: b2a`` swaps the sides.

    ``resize``: ``square`` makes every image load_size x load_size as published, ``aspect`` brings its shorter side to
    load_size, ``none`` keeps its own size (enlarged only where a crop would not fit). Then a random crop of crop_size, then a
    mirror image half of the time if ``flip``. Both sizes are the side of a square or [height, width]. ``fit`` brings the images
    of a pair to one size before that, where theirs differ (see diptych.data.frames): ``resize`` B to the size of A, ``crop`` both
    to the middle that they share, or ``pad`` both; with ``none`` such pairs are left out. ``max_shift`` cuts pairs that are
    shifted against one another by up to so many pixels to what both show, where that can be measured (diptych.data.alignment).

    More chance: ``turns`` by any number of quarters, an ``angle`` of up to so many degrees to either side, and a ``zoom`` by a
    factor from 1 / zoom to zoom. Pairs stay pairs, as both images are changed alike. ``jitter_a`` and ``jitter_b`` change
    brightness, contrast and saturation of one side by factors from 1 - jitter to 1 + jitter, which breaks pairs where the colours
    of that side decide what belongs to them.

    ``pairs`` is the share of samples of an unpaired training that are known pairs: images of one name on both sides.
    ``holdout`` is the share of the training images set aside for validation where there is no val folder (see
    diptych.data.holdout); the papers trained on all, 0. ``range`` says which values of 16-bit and float images become -1 and 1:
    the lowest and highest of the training images (``full``), the same without outliers (``robust``, see diptych.data.ranges),
    or given ones (``LOW,HIGH``); values beyond are clipped. ``labels`` says which side holds label maps, which become one channel
    a class (see diptych.data.labels), and ``classes`` what the classes are: those that the files show (``auto``), a number of
    them, their values (``0,7,11``), or a palette file. Sides are meant as they are trained on, after ``direction``. ``icc`` and
    ``alpha`` say what becomes of ICC profiles and of transparency (see diptych.pixels.Reading); label maps are read without them.
    ``instances`` is a folder with an instance map for each label map of A, by the same name, which gives every object a number or
    a colour of its own (see diptych.data.instances). ``axis`` is the axis of volumes along which their slices are taken (see
    diptych.data.volumes).
    """

    source: tuple[str, ...] = ()
    direction: Literal["a2b", "b2a"] = "a2b"
    resize: Literal["square", "aspect", "none"] = "square"
    load_size: Size = 286
    crop_size: Size = 256
    flip: bool = True
    turns: bool = False
    angle: float = 0.0
    zoom: float = 1.0
    jitter_a: float = 0.0
    jitter_b: float = 0.0
    pairs: float = 0.0
    holdout: float = 0.05
    range: str = "full"
    layout: LayoutName = "auto"
    fit: Fitting = "none"
    max_shift: int = 0
    labels: Labelled = "none"
    classes: int | str = "auto"
    instances: str = ""
    icc: Icc = "srgb"
    alpha: Alpha = "white"
    axis: Axis = "z"

    def __post_init__(self) -> None:
        check_settings(self, "data")
        parse_range(self.range)
        parse_classes(self.classes)
        for name, words in (("icc", get_args(Icc)), ("alpha", get_args(Alpha)), ("axis", get_args(Axis))):
            if getattr(self, name) not in words:
                raise ConfigError(f"data.{name} must be one of {', '.join(words)}, found {getattr(self, name)!r}")
        if self.labels not in SIDES:
            raise ConfigError(f"data.labels must be one of {', '.join(SIDES)}, found {self.labels!r}")
        if self.classes != "auto" and self.labels == "none":
            raise ConfigError(f"data.classes {self.classes} has no meaning without labels; set data.labels a, b or both")
        if self.instances and self.labels not in ("a", "both"):
            raise ConfigError("data.instances are the objects of A's label maps, and A holds pictures; set data.labels a")
        if not 0.0 <= self.holdout <= 0.5:
            raise ConfigError(f"data.holdout must be between 0 and 0.5, found {self.holdout}")
        if not 0.0 <= self.pairs <= 1.0:
            raise ConfigError(f"data.pairs is a share of the samples, from 0 to 1, found {self.pairs}")
        if self.fit not in FITTINGS:
            raise ConfigError(f"data.fit must be one of {', '.join(FITTINGS)}, found {self.fit!r}")
        if not 0.0 <= self.angle <= 180.0:
            raise ConfigError(f"data.angle is in degrees, from 0 to 180, found {self.angle}")
        if not 1.0 <= self.zoom <= 4.0:
            raise ConfigError(f"data.zoom must be between 1 and 4, found {self.zoom}")
        for side, jitter in (("a", self.jitter_a), ("b", self.jitter_b)):
            if not 0.0 <= jitter <= 1.0:
                raise ConfigError(f"data.jitter_{side} must be between 0 and 1, found {jitter}")
            if jitter and self.labels in (side, "both"):
                raise ConfigError(f"data.jitter_{side} changes colours, which are the classes of labels; set it to 0")
        if self.max_shift < 0:
            raise ConfigError(f"data.max_shift must be at least 0, found {self.max_shift}")
        if self.max_shift and self.fit == "resize":
            raise ConfigError("data.max_shift moves images by their pixels, which data.fit resize changes; set it to crop or pad")
        for name in ("load_size", "crop_size"):  # a square is one number, however it was written
            height, width = sides(getattr(self, name))
            object.__setattr__(self, name, height if height == width else (height, width))
        if min(sides(self.crop_size)) < 1:
            raise ConfigError(f"data.crop_size must be at least 1, found {self.crop_size}")
        if self.resize != "none" and any(
            load < crop for load, crop in zip(sides(self.load_size), sides(self.crop_size), strict=True)
        ):
            raise ConfigError(
                f"data.load_size must be at least data.crop_size ({self.crop_size}), found {self.load_size}; "
                "raise it, or set data.resize none"
            )

    @property
    def reading(self) -> Reading:
        """The rules by which pictures are read."""
        return Reading(self.icc, self.alpha, axis=self.axis)

    def unaugmented(self) -> DataConfig:
        """The same without chance but for the places of crops, which are neither enlarged nor changed."""
        plain: dict[str, Any] = {"load_size": self.crop_size, "flip": False, "turns": False, "angle": 0.0, "zoom": 1.0}
        return replace(self, **plain, jitter_a=0.0, jitter_b=0.0)

    @property
    def changes(self) -> bool:
        """Whether crops are changed by more than mirroring."""
        return bool(self.turns or self.angle or self.zoom != 1.0 or self.jitter_a or self.jitter_b)

    @property
    def crop_side(self) -> int:
        """The side of a crop; of one that is not square, that of a square of as many pixels."""
        return round(math.sqrt(math.prod(sides(self.crop_size))))

    def oriented(self, split: Split) -> Split:
        """Images as they were found, with the sides as the recipe means them: exchanged where ``direction`` is b2a.

        The label maps of A have their instance maps. Raises DataError where ``instances`` lacks one.
        """
        meant = split.swapped() if self.direction == "b2a" else split
        return with_instances(meant, self.instances) if self.instances else meant
