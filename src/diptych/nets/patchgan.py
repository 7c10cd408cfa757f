"""The PatchGAN discriminator of pix2pix and CycleGAN (Isola et al. 2017, section 3.2.2)."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from diptych.errors import ConfigError
from diptych.nets.blocks import Downsample, Norm, downsampling, full_precision, norm_layer
from diptych.nets.convolutions import Conv2d
from diptych.nets.stage import Stage


class PatchGAN(nn.Module):
    """Logits, one for each overlapping patch of the image: a convolutional judge of any image size.

    num_layers strided 4x4 convolutions and two of stride 1 see patches of
    1 (num_layers=0, the pixel discriminator), 16 (1), 34 (2), **70 (3, the papers')**, 142 (4) and 286 (5) pixels. With
    ``downsample`` blur it is the anti-aliased one of CUT (Park et al. 2020), whose blurs see 84 pixels instead of 70. ``bias``
    says whether convolutions before a norm have one (default: unless the norm is batch).
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: int = 64,
        num_layers: int = 3,
        norm: Norm = "instance",
        downsample: Downsample = "strided",
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        if num_layers < 0:
            raise ConfigError(f"a PatchGAN needs num_layers >= 0, found {num_layers}")
        self.spec = {"net": "patchgan", "in_channels": in_channels, "width": width, "num_layers": num_layers, "norm": norm}
        self.spec |= {"downsample": downsample, "bias": bias}
        bias = norm != "batch" if bias is None else bias
        self.num_layers = num_layers
        kernel_size, padding = (4, 1) if num_layers else (1, 0)

        def conv(inputs: int, outputs: int, bias: bool) -> Callable[[int], nn.Module]:
            return lambda stride: Conv2d(inputs, outputs, kernel_size, stride, padding, bias=bias)

        layers: list[nn.Module] = []
        inputs = in_channels
        for layer in range(max(num_layers, 1) + 1):
            outputs = width * min(2**layer, 8)
            made = conv(inputs, outputs, bias or layer == 0)
            after = [nn.LeakyReLU(0.2)] if layer == 0 else [norm_layer(norm, outputs), nn.LeakyReLU(0.2)]
            layers += downsampling(downsample, made, *after) if layer < num_layers else [made(1), *after]
            inputs = outputs
        layers += [Conv2d(inputs, 1, kernel_size, 1, padding, bias=bias or num_layers > 0)]
        self.layers = Stage(*layers)

    @property
    def receptive_field(self) -> int:
        """Height and width in pixels of the patch that one logit sees."""
        field = 1
        for module in reversed([m for m in self.layers.modules() if isinstance(m, nn.Conv2d | nn.AvgPool2d)]):
            kernel_size, stride = (size[0] if isinstance(size, tuple) else size for size in (module.kernel_size, module.stride))
            field = field * stride + kernel_size - stride
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
