"""Networks so small that a step with them can be worked out by hand."""

import torch
from torch import nn


class Times(nn.Module):
    """A generator that multiplies every pixel by one number."""

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return self.factor * x


class Judge(nn.Module):
    """A discriminator whose logit at each pixel is the weighted sum of its channels."""

    def __init__(self, *weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, x):
        assert x.shape[1] == len(self.weights)
        return (x * self.weights[:, None, None]).sum(1, keepdim=True)


def flat(*values, side=2):
    """One image of one channel for each value, which all its pixels have."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, side, side).clone()


def items(terms):
    """Terms as numbers."""
    return {name: term.item() for name, term in terms.items()}
