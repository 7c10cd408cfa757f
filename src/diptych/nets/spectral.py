"""Spectral normalisation of discriminators (Miyato et al. 2018, arXiv 1802.05957)."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized


def spectrally_normed(net: nn.Module) -> nn.Module:
    """Divide the weight of every convolution and linear layer by its largest singular value, in place (eq. 8).

    The singular value is estimated by one power iteration for each forward pass in training, which is saved with the network.
    Weights that are normalised already stay as they are.
    """
    for module in list(net.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and not is_parametrized(module):
            spectral_norm(module)
    return net
