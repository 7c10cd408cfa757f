"""Spectral normalisation (Miyato et al. 2018, arXiv 1802.05957) in the files of other tools."""

from __future__ import annotations

import torch
from torch import Tensor

from diptych.errors import WeightsError
from diptych.foreign.layers import State, dims


def without_spectral_norm(state: State) -> tuple[State, frozenset[str]]:
    """Put weights divided by their spectral norm in place of the tensors that it is made of, and name these weights.

    The quotients are those that PyTorch's two implementations compute in eval mode, to the bit.
    """
    names = [key.removesuffix("weight_orig") for key in state if key.endswith(".weight_orig")]
    parts = {name: ("weight_orig", "weight_u", "weight_v") for name in names}
    modern = "parametrizations.weight."
    names = [key.removesuffix(f"{modern}original") for key in state if key.endswith(f".{modern}original")]
    parts |= {name: (f"{modern}original", f"{modern}0._u", f"{modern}0._v") for name in names}
    plain, used, divided = dict(state), set(), set()
    for name, keys in parts.items():
        if not all(f"{name}{key}" in state for key in keys):
            continue
        weight, u, v = (state[f"{name}{key}"] for key in keys)
        plain[f"{name}weight"] = weight / _norm(weight, u, v)
        used |= {f"{name}{key}" for key in keys}
        divided.add(f"{name}weight")
    return {key: tensor for key, tensor in plain.items() if key not in used}, frozenset(divided)


def _norm(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """u^T W v, where W has the output channels of the convolution as rows: the second dimension of transposed convolutions.

    The vectors nearly are the singular vectors of the largest singular value, so that of two readings the larger one is right.
    """
    readings = [weight.flatten(1), weight.transpose(0, 1).flatten(1)]
    fitting = [matrix for matrix in readings if matrix.shape == (u.numel(), v.numel())]
    if not fitting:
        raise WeightsError(f"the spectral norm of a weight of {dims(weight)} has vectors of {u.numel()} and {v.numel()} numbers")
    return max((torch.dot(u, torch.mv(matrix, v)) for matrix in fitting), key=float)
