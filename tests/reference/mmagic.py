"""The networks of mmagic (mmgeneration before it), nested and keyed as it nests and keys them.

A convolution, its norm and its activation are one module (``conv``, ``bn`` or ``in``), which may begin with the activation.
Written from facts about layers and keys; deliberately plain.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConvModule(nn.Module):
    """act, conv, norm in the given order; padding that is not of zeros stands in front of the convolution."""

    def __init__(
        self, conv: nn.Module, norm: str | None, act: nn.Module | None, first: bool = False, pad: nn.Module | None = None
    ):
        super().__init__()
        self.conv, self.act, self.first, self.pad, self.norm_name = (
            conv,
            act,
            first,
            pad,
            {"BN": "bn", "IN": "in"}.get(norm or ""),
        )
        if self.norm_name:
            channels = conv.out_channels
            self.add_module(self.norm_name, nn.BatchNorm2d(channels) if norm == "BN" else nn.InstanceNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(x) if self.act and self.first else x
        x = self.conv(self.pad(x) if self.pad else x)
        x = self.get_submodule(self.norm_name)(x) if self.norm_name else x
        return self.act(x) if self.act and not self.first else x


def padded(
    padding: str, inputs: int, outputs: int, kernel: int, norm: str | None, bias: bool, act: nn.Module | None
) -> ConvModule:
    margin = kernel // 2
    layers = {"reflect": nn.ReflectionPad2d(margin), "replicate": nn.ReplicationPad2d(margin), "zeros": None}
    conv = nn.Conv2d(inputs, outputs, kernel, padding=margin if padding == "zeros" else 0, bias=bias)
    return ConvModule(conv, norm, act, pad=layers[padding])


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, norm: str, dropout: bool, padding: str) -> None:
        super().__init__()
        block: list[nn.Module] = [padded(padding, channels, channels, 3, norm, norm == "IN", nn.ReLU())]
        block += [nn.Dropout(0.5)] if dropout else []
        block += [padded(padding, channels, channels, 3, norm, norm == "IN", None)]
        self.block = nn.Sequential(*block)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class ResnetGenerator(nn.Module):
    def __init__(
        self, inputs: int = 3, outputs: int = 3, base: int = 64, norm: str = "IN", dropout: bool = False, num_blocks: int = 9,
        padding: str = "reflect",
    ) -> None:  # fmt: skip
        super().__init__()
        bias = norm == "IN"
        model: list[nn.Module] = [padded(padding, inputs, base, 7, norm, bias, nn.ReLU())]
        for dim in (base, 2 * base):
            model += [ConvModule(nn.Conv2d(dim, 2 * dim, 3, 2, 1, bias=bias), norm, nn.ReLU())]
        model += [ResidualBlock(4 * base, norm, dropout, padding) for _ in range(num_blocks)]
        for dim in (4 * base, 2 * base):
            model += [ConvModule(nn.ConvTranspose2d(dim, dim // 2, 3, 2, 1, 1, bias=bias), norm, nn.ReLU())]
        model += [padded(padding, base, outputs, 7, None, True, nn.Tanh())]
        self.model = nn.Sequential(*model)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class UnetLevel(nn.Module):
    def __init__(
        self, outer: int, inner: int, norm: str, inputs: int | None = None, sub: nn.Module | None = None, dropout: bool = False
    ) -> None:
        super().__init__()
        self.outermost, bias = inputs is not None, norm == "IN"
        down = nn.Conv2d(outer if inputs is None else inputs, inner, 4, 2, 1, bias=bias)
        up = nn.ConvTranspose2d(2 * inner if sub else inner, outer, 4, 2, 1, bias=bias or self.outermost)
        lower = ConvModule(
            down, norm if sub and not self.outermost else None, None if self.outermost else nn.LeakyReLU(0.2), True
        )
        upper = ConvModule(up, None if self.outermost else norm, nn.ReLU(), True)
        end: list[nn.Module] = [nn.Tanh()] if self.outermost else [nn.Dropout(0.5)] if dropout else []
        self.model = nn.Sequential(lower, *([sub] if sub else []), upper, *end)

    def forward(self, x: Tensor) -> Tensor:
        y = self.model(x)
        return y if self.outermost else torch.cat([x, y], 1)


class UnetGenerator(nn.Module):
    def __init__(self, inputs: int = 3, outputs: int = 3, num_down: int = 8, base: int = 64, norm: str = "BN") -> None:
        super().__init__()
        level = UnetLevel(8 * base, 8 * base, norm)
        for _ in range(num_down - 5):
            level = UnetLevel(8 * base, 8 * base, norm, sub=level, dropout=True)
        for factor in (4, 2, 1):
            level = UnetLevel(factor * base, 2 * factor * base, norm, sub=level)
        self.model = UnetLevel(outputs, base, norm, inputs=inputs, sub=level)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class PatchDiscriminator(nn.Module):
    def __init__(self, inputs: int = 3, base: int = 64, num_conv: int = 3, norm: str = "IN") -> None:
        super().__init__()
        dims = [base * min(2**n, 8) for n in range(num_conv + 1)]
        model: list[nn.Module] = [ConvModule(nn.Conv2d(inputs, base, 4, 2, 1), None, nn.LeakyReLU(0.2))]
        for n in range(1, num_conv + 1):
            conv = nn.Conv2d(dims[n - 1], dims[n], 4, 2 if n < num_conv else 1, 1, bias=norm == "IN")
            model += [ConvModule(conv, norm, nn.LeakyReLU(0.2))]
        self.model = nn.Sequential(*model, nn.Conv2d(dims[-1], 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)
