"""Images worth looking at: the best, median and worst of an evaluation, and contact sheets of a test split."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from PIL import Image
from torch import Tensor

from diptych.data.datasets import DataConfig, view
from diptych.data.splits import Split
from diptych.evaluation.results import METRICS, Example
from diptych.evaluation.subject import Subject, rgb8, shown
from diptych.pixels import Domain
from diptych.sheets import Column, contact_sheet, spread

RANKED_BY = ("lpips_alex", "lpips_vgg", "psnr", "cycle")  # the first that there is
NUM_OF_RANK = 3  # images among the best, the median and the worst
MAX_SIDE = 512  # pixels of the longer side on a page
MAX_PNG_SIDE = 256  # pixels; larger images become JPEG

Rank = Literal["best", "median", "worst", "evenly chosen"]


def pick(subject: Subject, scores: Mapping[str, Sequence[float]], outputs: Sequence[Tensor] = ()) -> list[Example]:
    """The best, median and worst outputs by the first metric of RANKED_BY that was computed; without any, evenly chosen ones.

    ``outputs`` are all outputs as native pixels (1, c, h, w); where they were not kept, the chosen ones are translated again.
    """
    each = NUM_OF_RANK
    metric = next((name for name in RANKED_BY if scores.get(name)), "")
    count = len(subject.names)
    chosen: list[tuple[Rank, int]] = [("evenly chosen", i) for i in spread(range(count), 3 * each)]
    if metric:
        sign = 1.0 if METRICS[metric].better == "lower" else -1.0
        order = sorted(range(count), key=lambda i: (sign * scores[metric][i], i))
        each = min(each, max(1, count // 3))  # of four images one each, so that there is a median
        best, worst = order[:each], order[each:][-each:]
        rest = order[each : count - len(worst)]
        start = max(0, (len(rest) - each) // 2)
        ranks: list[tuple[Rank, list[int]]] = [("best", best), ("median", rest[start : start + each]), ("worst", worst[::-1])]
        chosen = [(rank, i) for rank, indices in ranks for i in indices]
    return [
        Example(
            subject.direction,
            rank,
            i,
            subject.names[i],
            metric,
            scores[metric][i] if metric else math.nan,
            images_of(subject, i, outputs[i] if outputs else None),
        )
        for rank, i in chosen
    ]


def images_of(subject: Subject, i: int, made: Tensor | None = None) -> dict[str, bytes]:
    """Image files of the input, output and truth of one image, where there are such: PNG, or JPEG where they are large."""
    x = subject.load(subject.inputs[i], subject.source) if subject.inputs else None
    if made is not None:
        y = made
    elif subject.outputs:
        y = subject.load(subject.outputs[i], subject.target)
    else:
        assert subject.translate and x is not None, "a subject has outputs, or inputs and a translator"
        y = subject.translate(x)
    images = {} if x is None else {"input": picture(subject.source, x)}
    images["output"] = picture(subject.target, y)
    if subject.paired:
        images["truth"] = picture(subject.target, subject.load(subject.targets[i], subject.target))
    return images


def picture(domain: Domain, pixels: Tensor) -> bytes:
    """An image file of native pixels (1, c, h, w)."""
    image = Image.fromarray(rgb8(domain, pixels)[0].permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    if max(image.size) > MAX_PNG_SIDE:
        image.save(file, "JPEG", quality=92, subsampling=0)
    else:
        image.save(file, "PNG")
    return file.getvalue()


def sheet_of(
    translate: Callable[[Tensor], Tensor],
    source: Domain,
    target: Domain,
    config: DataConfig,
    split: Split,
    rows: int = 6,
    blocks: int = 2,
) -> bytes:
    """A PNG of evenly chosen test images: blocks of input, output and, for pairs, truth, side by side."""
    columns: list[Column] = []
    chosen = spread(range(len(split.a)), rows * blocks)
    for block in (chosen[:rows], chosen[rows:]):
        inputs = [view(split.a[i], source, config)[None] for i in block]
        columns += [("input", [shown(source, x) for x in inputs]), ("output", [shown(target, translate(x)) for x in inputs])]
        columns += [("truth", [shown(target, view(split.b[i], target, config)[None]) for i in block])] if split.paired else []
    return contact_sheet([column for column in columns if column[1]])
