"""Translate a large image in windows whose norms have fixed statistics, which may be those of a sample of it.

With fixed statistics each pixel of a result depends on its surroundings alone. So windows with wide enough margins give what the
whole image gives with these statistics, in one pass and without feature maps on a disk. Where the statistics are those of a few
windows of the image instead of all of it, the result is near that of the whole image, and `norm_error` finds out how near.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diptych.errors import ConfigError
from diptych.inference.cuda import EXACT_FLOAT32
from diptych.inference.dropout import PositionDropout
from diptych.inference.maps import Moments, Source, Target
from diptych.inference.norm_error import SeenNorms, sampling_error
from diptych.inference.norm_statistics import NormStatistics, measure_norms
from diptych.inference.pytorch import TorchBackend
from diptych.inference.recording import record
from diptych.inference.staging import Staging, whole_bytes, windows
from diptych.inference.window_state import WindowState
from diptych.inference.windows import Window
from diptych.memory import give_back, resident_memory, too_little
from diptych.nets.blocks import margins, padding_of
from diptych.nets.fixed_norm import measuring_norms
from diptych.nets.modes import SeededDropout

SIDES = (2048, 1536, 1024, 768, 512, 384, 256)  # of windows, of which the largest is taken that fits into the memory
SAMPLE_SIDE, SAMPLES = 512, 16
GAPS = 3 / 2  # how much more memory a process takes for windows than one of them takes
FAR = 2**13  # a map in whose middle a window reaches no border


def windowed(backend: TorchBackend) -> None:
    """Raise ConfigError for a network that windows cannot translate: its norms are not fixed, or it has dropout."""
    if measuring_norms(backend.net):
        raise ConfigError("the norms of the network take their statistics from the image, so windows need statistics to keep")
    if any(isinstance(module, SeededDropout | PositionDropout) for module in backend.net.modules()):
        raise ConfigError("dropout has no form for windows with margins; add --mode eval, or translate by stages")


def reach(backend: TorchBackend) -> int:
    """How many pixels around a window a network looks at, rounded up to the multiple that it computes with.

    Raises ConfigError for a network with a layer that has no form for windows.
    """
    multiple, _ = padding_of(backend.net)
    plan = Staging(record(backend.net, backend.source.channels, FAR, FAR))
    middle = (FAR // 2, FAR // 2 + multiple)
    needed: list[Window | None] = [None] * len(plan.nodes)
    needed[plan.last] = (middle, middle)
    for place in range(plan.last, 0, -1):
        window = needed[place]
        for source in plan.nodes[place].inputs if window is not None else ():
            needed[source] = _joined(needed[source], plan.needs(place, window, source))  # type: ignore[arg-type]
    image = needed[0]
    assert image is not None, "the output is made of the image"
    pixels = max(max(middle[0] - span[0], span[1] - middle[1]) for span in image)
    return math.ceil(pixels / multiple) * multiple


def _joined(one: Window | None, other: Window) -> Window:
    if one is None:
        return other
    rows, columns = ((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(one, other, strict=True))
    return rows, columns


def translate_windows(
    backend: TorchBackend,
    source: Source,
    out: Target,
    memory: int,
    state: WindowState,
    watch: Callable[[float], None] = lambda share: None,
    *,
    look: bool = False,
) -> dict[str, Moments]:
    """Write the translation of an image into an array, window by window, by a network whose norms are fixed.

    The result is that of the whole image in one call, to rounding. ``memory`` bounds the bytes that a window takes, and ``state``
    knows the windows that are done. With ``look`` the moments of what each norm saw of the whole image are returned. Raises
    ConfigError where the memory is too little for any, for dropout, and for norms that are not fixed.
    """
    windowed(backend)
    around, multiple = reach(backend), padding_of(backend.net)[0]
    axes = _axes(source.shape[0], source.shape[1], *padding_of(backend.net))
    padded = (len(axes[0].places), len(axes[1].places))
    side = _side(backend, around, padded, memory)
    parts = windows((padded[0] // multiple, padded[1] // multiple), side // multiple)
    begun = state.done(side)
    held = resident_memory()
    seen = SeenNorms(backend.net, state.moments if begun else {})
    for index, part in enumerate(parts[begun:], begun):
        rows, columns = (axis.part(span[0] * multiple, span[1] * multiple, around) for axis, span in zip(axes, part, strict=True))
        pixels = _read(source, rows.places, columns.places)
        looking = seen.watching(pixels.shape[:2], rows.own, columns.own) if look else nullcontext()
        with EXACT_FLOAT32, torch.inference_mode(), looking:
            x = backend.source.encode(torch.from_numpy(pixels).permute(2, 0, 1)[None].to(backend.device))
            y = backend.target.decode(backend.net(x.to(**backend.input_format)))[0].permute(1, 2, 0).cpu().numpy()
        out[rows.target, columns.target] = y[rows.inside, columns.inside]
        if backend.device.type == "cpu" and resident_memory() > held + memory // 4:
            give_back()  # windows of other sizes cannot use all that the ones before have freed
        state.note(side, index + 1, seen.moments, last=index + 1 == len(parts))
        watch((index + 1) / len(parts))
    return seen.moments


@dataclass(frozen=True)
class _Part:
    """Rows or columns of a window: which of the image it is made of, where its result goes, and what of it goes there.

    ``own`` is the window without its margins, but with what was put around the image.
    """

    places: np.ndarray
    target: slice
    inside: slice
    own: slice


@dataclass(frozen=True)
class _Axis:
    """The rows or columns of a padded image: which of the image stand at its places, and how many were put before it."""

    places: np.ndarray
    before: int
    size: int

    def part(self, start: int, stop: int, around: int) -> _Part:
        """The part of a window, with rows or columns around it as far as there are any."""
        first, last = max(0, start - around), min(len(self.places), stop + around)
        begin, end = max(start, self.before), min(stop, self.before + self.size)
        target, inside = slice(begin - self.before, end - self.before), slice(begin - first, end - first)
        return _Part(self.places[first:last], target, inside, slice(start - first, stop - first))


def _axes(height: int, width: int, multiple: int, smallest: int) -> tuple[_Axis, _Axis]:
    """Pad an image as `diptych.nets.blocks.pad_to_multiple` does."""
    added = [margins(size, multiple, smallest) for size in (height, width)]
    mirrored = all(after < size for (_, after), size in zip(added, (height, width), strict=True))
    axes = []
    for (before, after), size in zip(added, (height, width), strict=True):
        places = np.arange(-before, size + after)
        places = size - 1 - np.abs(size - 1 - np.abs(places)) if mirrored else places.clip(0, size - 1)
        axes.append(_Axis(places, before, size))
    return axes[0], axes[1]


def _read(source: Source, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Read the smallest part of an image that has these rows and columns, and take them."""
    top, left = rows.min(), columns.min()
    part = np.asarray(source[top : rows.max() + 1, left : columns.max() + 1])
    return np.ascontiguousarray(part[rows - top][:, columns - left])


def _side(backend: TorchBackend, around: int, padded: tuple[int, int], memory: int) -> int:
    """The largest side of windows that fit into the memory with their margins."""
    needed = 0
    for side in SIDES:
        high, wide = (min(length, side + 2 * around) for length in padded)
        needed = whole_bytes(record(backend.net, backend.source.channels, high, wide))
        if needed <= memory:
            return side
    raise ConfigError(too_little("windows of this network need", round(needed * GAPS), backend.device))


def translate_sampled(
    backend: TorchBackend,
    fix: Callable[[NormStatistics], TorchBackend],
    source: Source,
    out: Target,
    memory: int,
    state: WindowState,
    watch: Callable[[float], None],
) -> float:
    """Write the translation of an image as `translate_windows` does, with norms that are measured in a sample of it.

    ``fix`` makes the backend of fixed norms. Returns an upper figure of the mean absolute error, see `norm_error`.
    """
    sample = sampled_windows(backend, source, memory)
    norms = state.norms or state.measured(sample_norms(backend, sample))
    whole = translate_windows(fix(norms), source, out, memory, state, watch, look=True)
    with EXACT_FLOAT32:
        return sampling_error(backend.net, encoded(backend, sample), norms, whole)


def sampled_windows(backend: TorchBackend, source: Source, memory: int) -> list[np.ndarray]:
    """Windows that are spread evenly over an image, in two batches of native pixels (n, h, w, c).

    They are SAMPLES together, or fewer where they would be more than the image; at least two. Each batch has to fit into the
    memory. Raises ConfigError where not even one window fits.
    """
    side = min(SAMPLE_SIDE, *source.shape[:2])
    needed = whole_bytes(record(backend.net, backend.source.channels, side, side))
    if memory < needed:
        raise ConfigError(too_little(f"windows of {side} pixels need", round(needed * GAPS), backend.device))
    count = min(SAMPLES // 2, memory // needed, max(1, source.shape[0] * source.shape[1] // (2 * side**2)))
    corners = _spread(source.shape[0], source.shape[1], side, 2 * count)
    return [
        np.stack([np.array(source[top : top + side, left : left + side]) for top, left in corners[half::2]]) for half in (0, 1)
    ]


def sample_norms(backend: TorchBackend, windows: list[np.ndarray]) -> NormStatistics:
    """Measure norms in two batches of equally many windows, one after the other."""
    with EXACT_FLOAT32:
        return _pooled(*(measure_norms(backend.net, images) for images in encoded(backend, windows)))


def encoded(backend: TorchBackend, windows: list[np.ndarray]) -> Iterator[Float[Tensor, "n c h w"]]:
    """Batches of native pixels as the network takes them, one after the other."""
    for pixels in windows:
        x = backend.source.encode(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(backend.device))
        yield x.to(**backend.input_format)


def _spread(height: int, width: int, side: int, count: int) -> list[tuple[int, int]]:
    """The corners of windows that lie on a grid of about square cells, in an order in which neighbours take turns."""
    columns = max(1, min(count, round(math.sqrt(count * width / height))))
    rows = -(-count // columns)
    corners = []
    for index in range(count):
        row, column = divmod(index, columns)
        column = (
            column if row % 2 == 0 else columns - 1 - column
        )  # so that even and odd ones lie like the squares of a chessboard
        tops, lefts = (height - side) * (2 * row + 1) // (2 * rows), (width - side) * (2 * column + 1) // (2 * columns)
        corners.append((tops, lefts))
    return corners


def _pooled(one: NormStatistics, other: NormStatistics) -> NormStatistics:
    """The statistics of two equal numbers of pixels together."""
    layers = {}
    for name, (mean, variance) in one.layers.items():
        mean2, variance2 = other.layers[name]
        layers[name] = ((mean + mean2) / 2, (variance + variance2) / 2 + ((mean - mean2) / 2).square())
    return NormStatistics(layers)
