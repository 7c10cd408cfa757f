"""The networks of pix2pixHD (Wang et al. 2018), keyed as its authors key them; the global generator is junyanz.ResnetGenerator.

Written from METHODS.md section 8: the local enhancer adds its own features to those of the global generator at half the size, and
the discriminators at several scales have kernels padded by 2.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tests.reference.junyanz import NormLayer, ResnetBlock, ResnetGenerator, instance


def halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)


class LocalEnhancer(nn.Module):
    def __init__(
        self,
        input_nc: int = 3,
        output_nc: int = 3,
        ngf: int = 32,
        n_down: int = 4,
        n_global: int = 9,
        n_local: int = 3,
        n: int = 1,
    ) -> None:
        super().__init__()
        whole = ResnetGenerator(input_nc, output_nc, ngf * 2**n, n_blocks=n_global, n_downsampling=n_down)
        self.model = whole.model[:-3]
        self.n = n
        for k in range(1, n + 1):
            width = ngf * 2 ** (n - k)
            down: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(input_nc, width, 7), instance(width), nn.ReLU()]
            down += [nn.Conv2d(width, 2 * width, 3, 2, 1), instance(2 * width), nn.ReLU()]
            up: list[nn.Module] = [ResnetBlock(2 * width, instance, False, "conv_block") for _ in range(n_local)]
            up += [nn.ConvTranspose2d(2 * width, width, 3, 2, 1, 1), instance(width), nn.ReLU()]
            up += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, output_nc, 7), nn.Tanh()] if k == n else []
            self.add_module(f"model{k}_1", nn.Sequential(*down))
            self.add_module(f"model{k}_2", nn.Sequential(*up))

    def forward(self, x: Tensor) -> Tensor:
        pyramid = [x]
        for _ in range(self.n):
            pyramid.append(halved(pyramid[-1]))
        y = self.model(pyramid.pop())
        for k in range(1, self.n + 1):
            y = self.get_submodule(f"model{k}_2")(self.get_submodule(f"model{k}_1")(pyramid.pop()) + y)
        return y


class MultiscaleDiscriminator(nn.Module):
    """``split`` names every layer, as with feature matching; otherwise each scale is one row of layers."""

    def __init__(
        self, input_nc: int = 3, ndf: int = 64, n_layers: int = 3, scales: int = 2, split: bool = True, norm: NormLayer = instance
    ) -> None:
        super().__init__()
        self.n_layers, self.scales, self.split = n_layers, scales, split
        dims = [ndf * min(2**k, 8) for k in range(n_layers + 1)]
        for scale in range(scales):
            layers = [[nn.Conv2d(input_nc, ndf, 4, 2, 2), nn.LeakyReLU(0.2)]]
            for k in range(1, n_layers + 1):
                layers += [[nn.Conv2d(dims[k - 1], dims[k], 4, 2 if k < n_layers else 1, 2), norm(dims[k]), nn.LeakyReLU(0.2)]]
            layers += [[nn.Conv2d(dims[-1], 1, 4, 1, 2)]]
            if split:
                for k, part in enumerate(layers):
                    self.add_module(f"scale{scale}_layer{k}", nn.Sequential(*part))
            else:
                self.add_module(f"layer{scale}", nn.Sequential(*(layer for part in layers for layer in part)))

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for scale in reversed(range(self.scales)):
            names = [f"scale{scale}_layer{k}" for k in range(self.n_layers + 2)] if self.split else [f"layer{scale}"]
            y = x
            for name in names:
                y = self.get_submodule(name)(y)
            found.append(y)
            x = halved(x)
        return found
