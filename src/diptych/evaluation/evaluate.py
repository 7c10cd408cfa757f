"""A translator against the truth of test pairs, beside the two baselines that anyone can have for nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from diptych.data.datasets import DataConfig, view
from diptych.data.folders import Ref, Split
from diptych.errors import DataError
from diptych.metrics.image import psnr, ssim
from diptych.pixels import Domain
from diptych.sheets import Column, contact_sheet, spread

Pairs = Sequence[tuple[Ref, Ref]]


def score_pairs(
    translate: Callable[[Tensor], Tensor],
    source: Domain,
    target: Domain,
    config: DataConfig,
    pairs: Pairs,
    train_targets: Sequence[Ref],
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """PSNR (dB) and SSIM, means over test pairs (input, truth), of the translator (``model``) and of two baselines.

    ``copy`` is the input itself (None where the channels differ), ``mean`` the mean colour of the training targets.
    ``translate`` takes and gives native pixels. Raises DataError when there are no pairs.
    """
    if not pairs:
        raise DataError("no test pairs to score against; a test split needs an image of the same stem on both sides")
    mean = torch.stack([target.encode(view(ref, target, config)[None]).mean(dim=(0, 2, 3)) for ref in train_targets]).mean(0)
    scores: dict[str, list[tuple[float, float]]] = {"model": [], "copy": [], "mean": []}
    for done, (given, wanted) in enumerate(pairs, 1):
        x, truth = view(given, source, config)[None], target.encode(view(wanted, target, config)[None])
        guesses = {"model": target.encode(translate(x)), "mean": mean[None, :, None, None].expand_as(truth)}
        if source.channels == target.channels:
            guesses["copy"] = source.encode(x)
        for name, guess in guesses.items():
            scores[name].append((float(psnr(guess, truth)), float(ssim(guess, truth))))
        watch(done, len(pairs))

    def means(values: list[tuple[float, float]]) -> dict[str, float] | None:
        return (
            {"psnr": sum(p for p, _ in values) / len(values), "ssim": sum(s for _, s in values) / len(values)} if values else None
        )

    return {name: means(values) for name, values in scores.items()} | {"n": len(pairs)}


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
        columns += [("input", [source.encode(x) for x in inputs]), ("output", [target.encode(translate(x)) for x in inputs])]
        columns += [("truth", [target.encode(view(split.b[i], target, config)[None]) for i in block])] if split.paired else []
    return contact_sheet([column for column in columns if column[1]])
