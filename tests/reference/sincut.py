"""SinCUT's networks as plain functions of a list of weights, written from the layers' definitions: zeros put between pixels,
sums over a kernel's places, one image and one filter after another."""

import math

import torch
import torch.nn.functional as F

BLUR = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])).double() / 64


def correlated(x, weight, pad=(0, 0), stride=1):
    """Sums over the places of a kernel (d, c, k, k), after zeros were put around (n, c, h, w)."""
    x = F.pad(x, (*pad, *pad))
    size = weight.shape[-1]
    high, wide = x.shape[2] - size + 1, x.shape[3] - size + 1
    total = 0.0
    for i in range(size):
        for j in range(size):
            total = total + torch.einsum("nchw,dc->ndhw", x[:, :, i : i + high, j : j + wide], weight[:, :, i, j])
    return total[:, :, ::stride, ::stride]


def blurred(x, pad, gain=1.0):
    """Every channel alone."""
    return torch.cat([correlated(x[:, c : c + 1], gain * BLUR[None, None], pad) for c in range(x.shape[1])], 1)


def leaky(x, bias):
    x = x + bias[None, :, None, None]
    return math.sqrt(2) * torch.where(x > 0, x, 0.2 * x)


def layer(x, weights, halves=False, active=True):
    """A convolution of an equalised weight, and its bias where it is active."""
    weight = weights.pop(0)
    weight = weight / math.sqrt(weight.shape[1] * weight.shape[2] * weight.shape[3])
    size = weight.shape[-1]
    if halves:
        whole = 2 + size - 1
        y = correlated(blurred(x, ((whole + 1) // 2, whole // 2)), weight, stride=2)
    else:
        y = correlated(x, weight, (size // 2, size // 2))
    return leaky(y, weights.pop(0)) if active else y


def residual(x, weights, halves=False):
    y = layer(layer(x, weights), weights, halves)
    return (y + (layer(x, weights, halves, active=False) if halves else x)) / math.sqrt(2)


def doubled(x, weights):
    """Zeros between the pixels, the kernel turned by half a turn, and the blur; as without noise."""
    weight, _, bias = (weights.pop(0) for _ in range(3))
    weight = weight / math.sqrt(weight.shape[1] * 9)
    weight = torch.stack([w / ((w * w).sum() + 1e-8) ** 0.5 for w in weight])
    apart = torch.zeros(x.shape[0], x.shape[1], 2 * x.shape[2] - 1, 2 * x.shape[3] - 1, dtype=x.dtype)
    apart[:, :, ::2, ::2] = x
    return leaky(blurred(correlated(apart, weight.flip(2, 3), (2, 2)), (1, 1), gain=4.0), bias)


def generated(x, weights):
    """The translation, and what layers 0, 2 and 4 of the encoder give."""
    weights = list(weights)
    down = residual(layer(x, weights), weights, halves=True)
    y, seen = down, []
    for _ in range(6):
        y = residual(y, weights)
        seen.append(y)
    return layer(doubled(y, weights), weights), [x, down, seen[1]]


def judged(x, weights):
    """One logit for each image."""
    weights = list(weights)
    y = layer(x, weights)
    while y.shape[-1] > 4:
        y = residual(y, weights, halves=True)
    y = layer(y, weights).flatten(1)
    first, bias, last, shift = weights[0].flatten(1), weights[1], weights[2].flatten(1), weights[3]
    hidden = leaky((y @ first.T / math.sqrt(first.shape[1]))[..., None, None], bias).flatten(1)
    return hidden @ last.T / math.sqrt(last.shape[1]) + shift
