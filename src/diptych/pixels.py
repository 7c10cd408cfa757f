"""Native pixels <-> model tensors: the only file that knows value ranges.

Three representations exist in diptych: native pixels (uint8, uint16, int16 or float32, as the files hold them), model tensors
(floats in [-1, 1]) and features. A :class:`Domain` converts between the first two and nobody else does. Label maps are one
channel a class in model tensors, 1 where a pixel is of the class and -1 elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, cast

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from diptych.choices import Alpha, Axis, Icc
from diptych.errors import ConfigError
from diptych.reading import PixelType as PixelType
from diptych.reading import Reading as Reading

TORCH_DTYPES: dict[PixelType, torch.dtype] = {
    "uint8": torch.uint8,
    "uint16": torch.uint16,
    "int16": torch.int16,
    "float32": torch.float32,
}
FULL_RANGE: dict[PixelType, tuple[float, float]] = {
    "uint8": (0.0, 255.0),
    "uint16": (0.0, 65535.0),
    "int16": (-32768.0, 32767.0),
    "float32": (0.0, 1.0),
}
INSTANCE_BYTES = 2  # bands and channels for the number of an object, from 0 to 65535: the high byte and the low one


@dataclass(frozen=True)
class Domain:
    """What one side of a translation looks like.

    ``low`` and ``high`` are the native values that become -1 and 1. Both zero means the full range of the pixel type
    (0-255, 0-65535, -32768-32767, and 0-1 for float32). Training measures the range of all types but uint8 from the data (see
    data.range), so that 12-bit images in 16-bit files do not come out black.

    A domain of labels has ``classes``, the native value of each class: one number for maps of indices, (r, g, b) for maps of
    colours. Its ``channels``, those of model tensors, are as many; ``bands`` are the channels of its native pixels. ``indices``
    are the numbers of the classes in palette files, and empty where the files are none. With ``instances`` the last two bands,
    and the last two channels, are the bytes of a number for each object (see diptych.data.instances).

    ``icc`` and ``alpha`` are the rules by which files were read (see Reading), so that a snapshot reads as its training did.
    ``masked``: float32 images may hold NaN, which marks pixels without data; ``stored`` is then the integer type of their files,
    or empty, and ``nodata`` the value that marks such pixels in files, or None. ``axis``: slices of volumes are taken along it.
    """

    channels: int = 3
    dtype: PixelType = "uint8"
    low: float = 0.0
    high: float = 0.0
    classes: tuple[tuple[int, ...], ...] = ()
    indices: tuple[int, ...] = ()
    icc: Icc = field(default="ignore", compare=False)  # two domains with equal pixels are equal
    alpha: Alpha = "white"
    masked: bool = False
    stored: PixelType | Literal[""] = ""
    nodata: float | None = None
    axis: Axis = field(default="z", compare=False)
    instances: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(tuple(map(int, value)) for value in self.classes))  # headers have lists
        object.__setattr__(self, "indices", tuple(map(int, self.indices)))
        if self.classes:
            self._check_classes()
        elif self.instances:
            raise ConfigError("domain: instances are of label maps, and it has no classes")
        if self.dtype not in TORCH_DTYPES:
            raise ConfigError(f"domain: dtype must be one of {', '.join(TORCH_DTYPES)}, found {self.dtype!r}")
        if self.channels < 1:
            raise ConfigError(f"domain: channels must be at least 1, found {self.channels}")
        if self.low == self.high == 0.0:
            low, high = FULL_RANGE[self.dtype]
            object.__setattr__(self, "low", low)
            object.__setattr__(self, "high", high)
        if not self.low < self.high:
            raise ConfigError(f"domain: low must be below high, found low={self.low:g} high={self.high:g}")
        low, high = FULL_RANGE[self.dtype]
        if self.dtype != "float32" and not low <= self.low < self.high <= high:
            raise ConfigError(
                f"domain: {self.dtype} holds values from {low:g} to {high:g}, found low={self.low:g} high={self.high:g}"
            )

    def _check_classes(self) -> None:
        classes = self.classes
        object.__setattr__(self, "channels", len(classes) + self.instances * INSTANCE_BYTES)
        low, high = FULL_RANGE[self.dtype]
        lengths = {len(value) for value in classes}
        if self.dtype == "float32" or lengths not in ({1}, {3}) or not all(low <= v <= high for value in classes for v in value):
            raise ConfigError(f"domain: classes are whole numbers or colours of uint8 or uint16 files, found {classes[:3]}")
        if not 2 <= len(set(classes)) == len(classes) or len(self.indices) not in (0, len(classes)):
            raise ConfigError(f"domain: labels have at least 2 classes, each of another value, found {classes[:3]}")

    @property
    def bands(self) -> int:
        """The channels of native pixels; those of model tensors are ``channels``."""
        return len(self.classes[0]) + self.instances * INSTANCE_BYTES if self.classes else self.channels

    @property
    def labels(self) -> Domain:
        """The same domain without the numbers of objects."""
        return replace(self, instances=False) if self.instances else self

    @property
    def colours(self) -> tuple[tuple[int, int, int], ...]:
        """How each class is shown to people: its own colour, or that which PASCAL VOC gives to its number."""
        if len(self.classes[0]) == 3:
            return cast(tuple[tuple[int, int, int], ...], self.classes)
        return tuple(_voc_colour(value) for (value,) in self.classes)

    @property
    def reading(self) -> Reading:
        """The rules by which the files of this domain are read."""
        return Reading(self.icc, self.alpha, masks=not self.classes, axis=self.axis)

    @property
    def clips(self) -> bool:
        """Whether the pixel type has values outside of low..high, which ``encode`` clips."""
        return self.dtype == "float32" or (self.low, self.high) != FULL_RANGE[self.dtype]

    @property
    def kind(self) -> Literal["gray", "rgb", "multiband", "labels"]:
        """How people look at it: one channel is gray, three are rgb, any other number is multiband; classes are labels."""
        if self.classes:
            return "labels"
        return {1: "gray", 3: "rgb"}.get(self.channels, "multiband")  # type: ignore[return-value]

    def __str__(self) -> str:
        if self.classes:
            with_instances = " with instance maps" if self.instances else ""
            return f"{len(self.classes)} classes in {len(self.classes[0])} x {self.dtype}{with_instances}"
        measured = "" if (self.low, self.high) == FULL_RANGE[self.dtype] else f" in {self.low:g}..{self.high:g}"
        without = " with pixels without data" if self.masked else ""
        return f"{self.channels} x {self.stored or self.dtype}{measured}{without}"

    def check(self, pixels: Shaped[Tensor, "n bands h w"]) -> None:
        """Raise ConfigError when the number of channels or the dtype is not the domain's."""
        if pixels.shape[1] != self.bands or pixels.dtype != TORCH_DTYPES[self.dtype]:
            found = f"{pixels.shape[1]} x {str(pixels.dtype).removeprefix('torch.')}"
            raise ConfigError(f"the model takes images of {self.bands} x {self.dtype}, found {found}; convert them first")

    def encode(self, pixels: Shaped[Tensor, "n bands h w"]) -> Float[Tensor, "n c h w"]:
        """Native pixels to floats in [-1, 1], on the device where the pixels are; values outside of low..high are clipped.

        Of labels, the channel of the class whose value is nearest is 1 and all others are -1. Values without data (NaN, in a
        masked domain) become -1, as networks compute with finite numbers; `valid` tells them apart. Raises ConfigError as check.
        """
        self.check(pixels)
        if self.instances:
            numbers = Domain(INSTANCE_BYTES).encode(pixels[:, -INSTANCE_BYTES:].to(torch.uint8))
            return torch.cat([self.labels.encode(pixels[:, :-INSTANCE_BYTES]), numbers], 1)
        if self.classes:
            offsets = (pixels[:, c : c + 1].to(torch.int64) - self._values(pixels, c) for c in range(self.bands))
            apart = torch.stack([offset.square() for offset in offsets]).sum(0)
            return torch.full_like(apart, -1.0, dtype=torch.float32).scatter(1, apart.argmin(1, keepdim=True), 1.0)
        unit = (pixels.to(torch.float32) - self.low) / (self.high - self.low)
        x = (unit - 0.5) / 0.5  # in this order it is bit-equal to ToTensor + Normalize(0.5, 0.5) of the published code
        x = x.nan_to_num_(-1.0) if self.masked else x
        return x.clamp_(-1.0, 1.0) if self.clips else x  # in place: a copy could have another memory layout

    def valid(self, pixels: Shaped[Tensor, "n bands h w"]) -> Bool[Tensor, "n 1 h w"] | None:
        """Tell which pixels have data in all of their channels; None in a domain whose images have no others."""
        return ~pixels.isnan().any(1, keepdim=True) if self.masked else None

    def decode(self, x: Float[Tensor, "n c h w"]) -> Shaped[Tensor, "n bands h w"]:
        """Floats in [-1, 1] to native pixels: clipped to the range, and rounded (not truncated) for integers.

        Of labels, the value of the class whose channel is highest.
        """
        assert x.shape[1] == self.channels, f"{x.shape[1]} channels for a domain of {self.channels}"
        if self.instances:
            numbers = Domain(INSTANCE_BYTES).decode(x[:, -INSTANCE_BYTES:]).to(TORCH_DTYPES[self.dtype])
            return torch.cat([self.labels.decode(x[:, :-INSTANCE_BYTES]), numbers], 1)
        if self.classes:
            best = x.argmax(1)
            return torch.stack([self._values(x, c).flatten()[best] for c in range(self.bands)], 1).to(TORCH_DTYPES[self.dtype])
        native = (x.to(torch.float32).clamp(-1.0, 1.0) + 1.0) * ((self.high - self.low) / 2.0) + self.low
        return native if self.dtype == "float32" else native.round().to(TORCH_DTYPES[self.dtype])

    def _values(self, like: Tensor, band: int) -> Int64[Tensor, "1 k 1 1"]:
        return torch.tensor([value[band] for value in self.classes], device=like.device).view(1, -1, 1, 1)

    def shown(self, x: Float[Tensor, "n c h w"]) -> Shaped[Tensor, "n 3 h w"]:
        """Model tensors of this domain as 8-bit RGB for people, labels in the colours of their classes."""
        if not self.classes:
            return to_rgb8(x)
        return torch.tensor(self.colours, dtype=torch.uint8, device=x.device)[x[:, : len(self.classes)].argmax(1)].movedim(-1, 1)

    def picture(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n _ h w"]:
        """Model tensors of this domain for a contact sheet: labels in the colours of their classes, others as they are."""
        return Domain().encode(self.shown(x)) if self.classes else x


def _voc_colour(number: int) -> tuple[int, int, int]:
    """The colour of a class in PASCAL VOC (Everingham et al. 2010): its bits, dealt out to red, green and blue in turn."""
    channels = [sum((number >> (3 * place + c) & 1) << (7 - place) for place in range(8)) for c in range(3)]
    return channels[0], channels[1], channels[2]


def to_rgb8(x: Float[Tensor, "n c h w"]) -> Shaped[Tensor, "n 3 h w"]:
    """Model tensors in [-1, 1] of any channel count to 8-bit RGB for people: gray repeated, multiband's first three."""
    rgb = x[:, :3] if x.shape[1] >= 3 else x[:, :1].expand(-1, 3, -1, -1)
    return Domain().decode(rgb)
