"""Which image is the next frame of which, and what moves between the two.

A series is the numbered files of one folder whose names differ in their number alone, or the frames of one film. The next frame
has the next number, where numbers grow by the step that is commonest in the series; so a gap parts it, and a cut does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor

from diptych.data.splits import Ref
from diptych.motion import Cuts, likeness, opencv, places_before
from diptych.overlap import ahead
from diptych.pixels import Domain

NUMBERED = re.compile(r"(.*\D|)(\d+)(\D*)", re.DOTALL)
SMALL = 96  # pixels of the shorter side at which cuts are looked for
ALIKE = 0.5  # the least mean likeness of two frames of one shot
NONE = -1
OUT_OF_VIEW = 2.0
Picture = UInt8[np.ndarray, "h w 3"]


class Neighbour(NamedTuple):
    """The next frame as native pixels, and where the frame shows the same: see diptych.losses.NextFrames, without its n."""

    image: Shaped[Tensor, "c h w"]
    places: Float[Tensor, "h w 2"]
    likeness: Float[Tensor, "1 h w"]


def series(refs: Sequence[Ref]) -> list[list[int]]:
    """The indices of images that follow one another by their numbers, in runs of at least two.

    A number that stands twice in a series, as in 1.png and 01.png, ends a run: it does not say which image is meant.
    """
    found: dict[tuple[object, ...], dict[int, int]] = {}
    twice: set[tuple[object, ...]] = set()
    for index, ref in enumerate(refs):
        parts = NUMBERED.fullmatch(ref.path.stem)
        if parts:
            key: tuple[object, ...] = ref.path.parent, ref.path.suffix, ref.half, parts[1], parts[3]
            number = int(parts[2])
            twice |= {(*key, number)} if number in found.setdefault(key, {}) else set()
            found[key][number] = index
    runs: list[list[int]] = []
    for key, of_number in found.items():
        numbers = sorted(number for number in of_number if (*key, number) not in twice)
        steps = Counter(after - before for before, after in pairwise(numbers))
        step = min(steps, key=lambda step: (-steps[step], step), default=0)
        for place, number in enumerate(numbers):
            if not place or number - numbers[place - 1] != step:
                runs.append([])
            runs[-1].append(of_number[number])
    return [run for run in runs if len(run) > 1]


def next_frames(
    refs: Sequence[Ref],
    image: Callable[[int], Shaped[Tensor, "c h w"]],
    domain: Domain,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Int64[np.ndarray, " n"]:
    """For each image the index of the next frame of its shot, or NONE.

    ``image`` gives an image by its index; each of those that are numbered is read once. A shot ends where the luma jumps, as
    FFmpeg's scdet has it, and where less than half of a frame is found in the one before. ``watch`` is called with how many
    images were read, of how many. Raises DataError where an image cannot be read, MissingExtraError without OpenCV.
    """
    found = np.full(len(refs), NONE)
    runs = series(refs)
    done, total = 0, sum(map(len, runs))
    with one_thread():
        for run in runs:
            cuts, before = Cuts(), None
            with closing(ahead(lambda index: (index, _small(picture(image(index), domain))), run, threads=2, depth=4)) as read:
                for index, frame in read:
                    if not cuts.begins(frame) and before is not None and _alike(frame, before[1]):
                        found[before[0]] = index
                    before, done = (index, frame), done + 1
                    watch(done, total)
    return found


def neighbour(frame: Shaped[Tensor, "c h w"], after: Shaped[Tensor, "c h w"], domain: Domain) -> Neighbour:
    """The frame after another of the same size, with the flow between what both show. Both are native pixels."""
    with one_thread():
        shown, before = picture(after, domain), picture(frame, domain)
        places = places_before(shown, before)
        alike = likeness(shown, before, places)
    height, width = shown.shape[:2]
    unit = places * np.float32(2) / np.array([max(width - 1, 1), max(height - 1, 1)], np.float32) - np.float32(1)
    return Neighbour(
        after, torch.from_numpy(unit.astype(np.float32)).to(after.device), torch.from_numpy(alike[None, ..., 0]).to(after.device)
    )


def no_neighbour(frame: Shaped[Tensor, "c h w"]) -> Neighbour:
    """What stands for the next frame of an image that has none: the image, with all places out of view."""
    height, width = frame.shape[1:]
    places = torch.full((height, width, 2), OUT_OF_VIEW, device=frame.device)
    return Neighbour(frame, places, torch.zeros(1, height, width, device=frame.device))


def has_flow(domain: Domain) -> bool:
    """Whether optical flow can be found between images of a domain: gray or RGB pictures of 8 or 16 bits."""
    return domain.dtype in ("uint8", "uint16") and domain.bands in (1, 3) and not domain.classes and not domain.masked


def picture(pixels: Shaped[Tensor, "c h w"], domain: Domain) -> Picture:
    """Native pixels as 8-bit RGB over the range of their domain."""
    eight_bits = domain == Domain()
    shown = pixels if eight_bits else domain.shown(domain.encode(pixels[None]))[0]
    return np.ascontiguousarray(shown.cpu().numpy().transpose(1, 2, 0))


def _small(shown: Picture) -> Picture:
    cv2 = opencv()
    height, width = shown.shape[:2]
    scale = min(1.0, SMALL / min(height, width))
    result: Picture = cv2.resize(shown, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    return result


def _alike(frame: Picture, before: Picture) -> bool:
    return frame.shape == before.shape and float(likeness(frame, before, places_before(frame, before)).mean()) >= ALIKE


@contextmanager
def one_thread() -> Iterator[None]:
    """Let OpenCV compute by one thread: training needs the others, and its threads do not survive a fork."""
    cv2 = opencv()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
