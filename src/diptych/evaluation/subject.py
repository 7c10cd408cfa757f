"""What is scored: the images of one direction, read and translated batch by batch, each of them once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from diptych.data.archives import is_there
from diptych.data.augment import to_tensor
from diptych.data.datasets import DataConfig, read_as, view
from diptych.data.splits import Ref
from diptych.errors import DataError
from diptych.messages import show
from diptych.overlap import ahead
from diptych.pixels import Domain
from diptych.sheets import spread

Translate = Callable[[Tensor], Tensor]
"""Native pixels (n, c, h, w) of one domain to native pixels of the other, on the CPU."""
READING_THREADS = 2  # decoding releases the GIL
MAX_TRAINED = 2000  # training images that outputs are compared with
Item = TypeVar("Item")


@dataclass(frozen=True)
class Subject:
    """One direction to score.

    Either ``translate`` makes the outputs from ``inputs``, or ``outputs`` are image files of any tool; inputs, where there are
    any, then belong to them in order. When ``paired``, targets[i] is the truth of output i; otherwise targets are any real
    images. ``back`` translates the other way. The mean colour of ``train_targets`` is a baseline; with
    ``train_inputs`` they train a probe. ``config`` says how images
    are brought to the size of training; None leaves them at their own.
    """

    direction: str
    source: Domain
    target: Domain
    inputs: tuple[Ref, ...]
    targets: tuple[Ref, ...]
    paired: bool
    config: DataConfig | None = None
    translate: Translate | None = None
    back: Translate | None = None
    outputs: tuple[Ref, ...] = ()
    train_targets: tuple[Ref, ...] = ()
    train_inputs: tuple[Ref, ...] = ()

    @property
    def names(self) -> list[str]:
        """The name of each output."""
        return [ref.name for ref in self.outputs or self.inputs]

    def load(self, ref: Ref, domain: Domain) -> Tensor:
        """An image as it is scored: native pixels (1, c, h, w)."""
        return (view(ref, domain, self.config) if self.config else to_tensor(read_as(ref, domain)))[None]


@dataclass(frozen=True)
class ImageBatch:
    """Output ``y`` and truth ``t`` of one size, and input ``x``, which may have another; None where there is none.

    All are native pixels on the device. ``first`` is the index of the first image in the subject.
    """

    subject: Subject
    x: Shaped[Tensor, "n c _ _"] | None
    y: Shaped[Tensor, "n d h w"]
    t: Shaped[Tensor, "n d h w"] | None
    first: int = 0

    @cached_property
    def fake(self) -> Float[Tensor, "n d h w"]:
        """The outputs in [-1, 1]."""
        return self.subject.target.encode(self.y)

    @cached_property
    def truth(self) -> Float[Tensor, "n d h w"]:
        """The truths in [-1, 1]."""
        assert self.t is not None, "only pairs have a truth"
        return self.subject.target.encode(self.t)

    @cached_property
    def given(self) -> Float[Tensor, "n c h w"]:
        """The inputs in [-1, 1]."""
        assert self.x is not None, "these outputs came without inputs"
        return self.subject.source.encode(self.x)


def trained_images(subject: Subject, most: int = MAX_TRAINED) -> list[Ref]:
    """Training images of the target side, evenly chosen among those that are still there."""
    return spread([ref for ref in subject.train_targets if is_there(ref.path)], most)


def translated(subject: Subject, batch_size: int, device: torch.device, images: range | None = None) -> Iterator[ImageBatch]:
    """Successive images of a subject, by default all, with their translations, as batches of neighbours of one size.

    Raises DataError when an output and its truth differ in size.
    """

    def read(i: int) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x = subject.load(subject.inputs[i], subject.source) if subject.inputs else None
        y = subject.load(subject.outputs[i], subject.target) if subject.outputs else None
        t = subject.load(subject.targets[i], subject.target) if subject.paired else None
        return x, y, t

    def shapes(images: tuple[Tensor | None, ...]) -> tuple[torch.Size | None, ...]:
        return tuple(None if image is None else image.shape for image in images)

    chosen = range(len(subject.names)) if images is None else images
    first = chosen.start
    with closing(ahead(read, chosen, threads=READING_THREADS, depth=2 * batch_size + 1)) as sides_of_all:
        for group in grouped(sides_of_all, shapes, batch_size):
            x, y, t = (None if side[0] is None else torch.cat(side) for side in zip(*group, strict=True))
            if y is None:
                assert subject.translate and x is not None, "a subject has outputs, or inputs and a translator"
                y = subject.translate(x)
            if t is not None and t.shape[2:] != y.shape[2:]:
                made, wanted = (f"{image.shape[3]} x {image.shape[2]}" for image in (y, t))
                where = show((subject.outputs or subject.inputs)[first].path)
                raise DataError(f"{where}: the output is {made}, its truth {wanted}; bring both to one size")
            if t is not None and subject.target.masked:  # pixels without data are alike in both, and differ nowhere
                valid = ~(y.isnan() | t.isnan()).any(1, keepdim=True)
                y, t = y.where(valid, torch.nan), t.where(valid, torch.nan)
            sides = (None if image is None else image.to(device) for image in (x, y, t))
            yield ImageBatch(subject, *sides, first=first)  # type: ignore[arg-type, misc]
            first += len(group)


def real_images(
    subject: Subject,
    batch_size: int,
    device: torch.device,
    refs: Sequence[Ref] | None = None,
    domain: Domain | None = None,
) -> Iterator[Tensor]:
    """The real images of the target side, or others of a domain: native pixels, as batches of neighbours of one size."""

    def read(ref: Ref) -> Tensor:
        return subject.load(ref, domain or subject.target)

    refs = subject.targets if refs is None else refs
    with closing(ahead(read, refs, threads=READING_THREADS, depth=2 * batch_size + 1)) as images:
        for group in grouped(images, lambda image: image.shape, batch_size):
            yield torch.cat(group).to(device)


def grouped(items: Iterable[Item], key: Callable[[Item], object], most: int) -> Iterator[list[Item]]:
    """Lists of neighbours whose key is the same, each within ``most`` items that begin at a multiple of ``most``.

    Which items come together therefore depends on nothing before that multiple.
    """
    group: list[Item] = []
    for i, item in enumerate(items):
        if group and (i % most == 0 or key(item) != key(group[0])):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def rgb8(domain: Domain, pixels: Shaped[Tensor, "n c h w"]) -> UInt8[Tensor, "n 3 h w"]:
    """Native pixels as 8-bit RGB, which the networks of metrics take."""
    return pixels if domain == Domain() else domain.shown(domain.encode(pixels))


def shown(domain: Domain, pixels: Shaped[Tensor, "n c h w"]) -> Float[Tensor, "n _ h w"]:
    """Native pixels as a contact sheet takes them."""
    return domain.picture(domain.encode(pixels))
