"""The PatchGAN discriminator of pix2pix and CycleGAN (Isola et al. 2017, section 3.2.2)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets.blocks import Norm, full_precision, norm_layer
from diptych.nets.convolutions import Conv2d
from diptych.nets.stage import Stage


class PatchGAN(nn.Module):
    """Logits, one for each overlapping patch of the image: a convolutional judge of any image size.

    num_layers strided 4x4 convolutions and two of stride 1 see patches of
    1 (num_layers=0, the pixel discriminator), 16 (1), 34 (2), **70 (3, the papers')**, 142 (4) and 286 (5) pixels.
    """

    def __init__(self, in_channels: int, *, width: int = 64, num_layers: int = 3, norm: Norm = "instance") -> None:
        super().__init__()
        if num_layers < 0:
            raise ConfigError(f"a PatchGAN needs num_layers >= 0, found {num_layers}")
        self.spec = {"net": "patchgan", "in_channels": in_channels, "width": width, "num_layers": num_layers, "norm": norm}
        bias = norm != "batch"
        self.num_layers = num_layers
        kernel_size, padding = (4, 1) if num_layers else (1, 0)
        layers: list[nn.Module] = [Conv2d(in_channels, width, kernel_size, 2 if num_layers else 1, padding), nn.LeakyReLU(0.2)]
        inputs = width
        for layer in range(1, max(num_layers, 1) + 1):
            outputs = width * min(2**layer, 8)
            stride = 2 if layer < num_layers else 1
            layers += [
                Conv2d(inputs, outputs, kernel_size, stride, padding, bias=bias),
                norm_layer(norm, outputs),
                nn.LeakyReLU(0.2),
            ]
            inputs = outputs
        layers += [Conv2d(inputs, 1, kernel_size, 1, padding, bias=bias or num_layers > 0)]
        self.layers = Stage(*layers)

    @property
    def receptive_field(self) -> int:
        """Height and width in pixels of the patch that one logit sees."""
        field = 1
        for module in reversed([m for m in self.layers if isinstance(m, nn.Conv2d)]):
            field = field * module.stride[0] + module.kernel_size[0] - module.stride[0]
        return field

    @property
    def smallest(self) -> int:
        """The smallest height and width in pixels that still give a logit."""
        return 3 * 2**self.num_layers if self.num_layers else 2

    def features(self, x: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """The activations behind each LeakyReLU, and the logits last: what feature matching compares."""
        found = []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                found.append(x)
        return [*found, full_precision(x)]

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 p q"]:
        if min(x.shape[-2:]) < self.smallest:
            found = f"{x.shape[-1]}x{x.shape[-2]}"
            raise ConfigError(
                f"a PatchGAN of {self.num_layers} layers needs images of at least {self.smallest} pixels a side, found {found}; "
                "use larger crops or fewer layers"
            )
        return full_precision(self.layers(x))
