"""The contrastive losses: patches of an image and of its translation, compared in a space of unit vectors.

Queries are patches of the translation, keys those of the source at the same places. Both are (n images, p patches, d numbers),
of length 1; keys receive no gradient. Sums of exponentials are computed in at least float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from diptych.nets.blocks import full_precision, own_precision
from diptych.nets.instance_norm import channels_innermost

Patches = Float[Tensor, "n p d"]
Project = Callable[[Sequence[Tensor]], list[Tensor]]
Negatives = Literal["image", "batch"]
MASKED = -10.0  # the cosine that takes the place of a patch's own among its negatives, as published


def random_places(x: Float[Tensor, "n c h w"], count: int) -> Int[Tensor, " p"]:
    """``count`` different positions of a map, or all of them where it has fewer, in random order."""
    return torch.randperm(x.shape[-2] * x.shape[-1], device=x.device)[:count]


def patches_at(x: Float[Tensor, "n c h w"], places: Int[Tensor, " p"]) -> Float[Tensor, "n p c"]:
    """The features of a map at positions, counted row by row. Their gradient lies in memory as the map does."""
    return x.flatten(2).mT[:, places] if channels_innermost(x) else x.flatten(2)[..., places].mT


def most_certain_attention(x: Float[Tensor, "n c h w"], count: int) -> Float[Tensor, "n p hw"]:
    """The rows of least entropy of an image's attention to itself, softmax over j of f_i . f_j (QS-Attn, Hu et al. 2022).

    These are the queries that know best which places they belong to. Memory is (h w)^2 numbers for each image.
    """
    with own_precision(x):
        f = full_precision(x).flatten(2)
        attention = (f.mT @ f).softmax(-1)
        entropy = -torch.xlogy(attention, attention).sum(-1)
        rows = entropy.argsort(dim=1)[:, :count]
        return attention.gather(1, rows[..., None].expand(-1, -1, attention.shape[-1]))


def patches_by(attention: Float[Tensor, "n p hw"], x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n p c"]:
    """The means of a map's features that rows of attention ask for."""
    with own_precision(attention):
        return attention @ x.to(attention.dtype).flatten(2).mT


def patch_nce(query: Patches, key: Patches, temperature: float = 0.07, negatives: Negatives = "image") -> Float[Tensor, ""]:
    """PatchNCE: each query should match the key at its own place, and no other (CUT, Park et al. 2020, eq. 3).

    The cross-entropy of choosing it by cosine / temperature. The others come from the same image, or from the whole batch.
    """
    if negatives == "batch":
        query, key = query.flatten(0, 1)[None], key.flatten(0, 1)[None]
    logits = _cosines(query, key) / temperature
    own = torch.arange(logits.shape[1], device=logits.device).repeat(len(logits))
    return F.cross_entropy(logits.flatten(0, 1), own)


def patch_nce_of_maps(
    target: Sequence[Tensor],
    source: Sequence[Tensor],
    of_target: Project,
    of_source: Project,
    num_patches: int = 256,
    temperature: float = 0.07,
) -> Float[Tensor, ""]:
    """The mean PatchNCE of several feature maps (n, c, h, w) of translations against those of their sources.

    Random places are drawn for each map; the two networks make unit vectors of the features there.
    """
    places = [random_places(x, num_patches) for x in source]
    with torch.no_grad():
        keys = of_source([patches_at(x.detach(), at) for x, at in zip(source, places, strict=True)])
    queries = of_target([patches_at(x, at) for x, at in zip(target, places, strict=True)])
    return torch.stack([patch_nce(q, k, temperature) for q, k in zip(queries, keys, strict=True)]).mean()


def hard_dce(
    query: Patches, key: Patches, temperature: float = 0.07, gamma: float | Tensor = 50.0, negatives: Negatives = "image"
) -> Float[Tensor, ""]:
    """Decoupled PatchNCE with hard negatives (hDCE, Jung et al. 2022).

    mean_i log sum_{j != i} exp((w_ij q_i . k_j - q_i . k_i) / temperature): a query's own key is not among the alternatives.
    w_ij is softmax_j(k_i . k_j / gamma), divided by its largest of a row, so that keys alike to the own count more. The
    published code prints another value, of the same gradient.
    """
    if negatives == "batch":
        query, key = query.flatten(0, 1)[None], key.flatten(0, 1)[None]
    own = torch.eye(query.shape[1], dtype=torch.bool, device=query.device)
    weights = (_cosines(key, key).masked_fill(own, MASKED).detach() / gamma).softmax(-1)
    cosines = _cosines(query, key)
    positive = cosines.diagonal(dim1=1, dim2=2)[..., None]
    others = (weights / weights.amax(-1, keepdim=True) * cosines).masked_fill(own, MASKED)
    return ((others - positive) / temperature).logsumexp(-1).mean()


def semantic_relation(query: Patches, key: Patches) -> Float[Tensor, ""]:
    """SRC: patches of the translation should be as alike to each other as those of the source are (Jung et al. 2022).

    The Jensen-Shannon divergence between the softmax of each column of Q Q^T and of K K^T, summed over columns; the mean over
    images.
    """
    of_q, of_k = (_cosines(x, x).log_softmax(1) for x in (query, key.detach()))
    middle = torch.logaddexp(of_q, of_k) - math.log(2.0)
    divergence = of_q.exp() * (of_q - middle) + of_k.exp() * (of_k - middle)
    return 0.5 * divergence.sum() / len(query)


def _cosines(x: Patches, y: Patches) -> Float[Tensor, "n p q"]:
    with own_precision(x):
        return full_precision(x) @ full_precision(y).mT
