"""The Inception-v3 that FID is defined with: Google's graph of 2015-12-05, with its own ways of pooling and resizing.

Published numbers are of this network and no other. It differs from torchvision's Inception-v3 in its average pooling
(the border does not count), in the last block (max instead of average pooling) and in its 1008 logits; the names of its
tensors are torchvision's, so that ``pt_inception-2015-12-05-6726825d.pth`` of pytorch-fid and torch-fidelity fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from diptych.errors import WeightsError

SIZE = 299  # pixels a side of the network's input
NUM_FEATURES = 2048
NUM_CLASSES = 1008
Pool = Callable[[Tensor], Tensor]


class Inception(nn.Module):
    """8-bit RGB images of any size to the 2048 features of the last average pooling ("pool_3"), all at least 0.

    Begins in evaluation mode and without gradients; ``load_inception`` gives it its weights. ``fc`` is part of the
    published file and of no metric here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b = Mixed5(192, 32)
        self.Mixed_5c = Mixed5(256, 64)
        self.Mixed_5d = Mixed5(288, 64)
        self.Mixed_6a = Shrink6(288)
        self.Mixed_6b = Mixed6(128)
        self.Mixed_6c = Mixed6(160)
        self.Mixed_6d = Mixed6(160)
        self.Mixed_6e = Mixed6(192)
        self.Mixed_7a = Shrink7(768)
        self.Mixed_7b = Mixed7(1280, average_pool)
        self.Mixed_7c = Mixed7(2048, max_pool)  # max pooling: a slip of 2015 that every published FID carries
        self.fc = nn.Linear(NUM_FEATURES, NUM_CLASSES)
        self.requires_grad_(False).eval()

    def forward(self, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2048"]:
        x = resize_tensorflow(images.to(self.fc.weight.dtype), SIZE)
        x = (x - 128.0) / 128.0  # as the graph scales: [-1, 0.992]
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean(dim=(2, 3))


def load_inception(state: Mapping[str, Tensor], where: object) -> Inception:
    """The network with the tensors of the published file, on the CPU; ``where`` names the file in errors.

    Draws no random numbers. Raises WeightsError naming the first tensor that is missing, of another shape, or of another
    network.
    """
    advice = "use pt_inception-2015-12-05-6726825d.pth of pytorch-fid, the network that FID is published with"
    with torch.device("meta"):
        net = Inception()
    wanted, taken = net.state_dict(), {}
    for key, like in wanted.items():
        if key.endswith("num_batches_tracked"):  # absent in some copies of the file, and not read in evaluation
            taken[key] = torch.tensor(0)
        elif key not in state:
            raise WeightsError(f"{where}: not FID's Inception: {key} is missing; {advice}")
        elif state[key].shape != like.shape:
            shapes = f"{tuple(like.shape)}, found {tuple(state[key].shape)}"
            raise WeightsError(f"{where}: not FID's Inception: {key} needs shape {shapes}; {advice}")
        else:
            taken[key] = state[key].to(like.dtype)
    if strange := [key for key in state if key not in wanted]:
        raise WeightsError(f"{where}: not FID's Inception: {strange[0]} is of another network; {advice}")
    net.load_state_dict(taken, assign=True)
    return net.eval().requires_grad_(False)


def resize_tensorflow(x: Float[Tensor, "n c h w"], size: int) -> Float[Tensor, "n c p p"]:
    """Bilinear resize as in TensorFlow 1: pixel i of the output lies at i * (old size / new size), the last is repeated.

    No half-pixel centres and no antialiasing: large images are sampled, not averaged. PyTorch has no such mode, and any
    other resize moves FID. Computed in single precision positions, as TensorFlow did.
    """

    def neighbours(length: int) -> tuple[Tensor, Tensor, Tensor]:
        scale = torch.tensor(length / size, dtype=torch.float32, device=x.device)
        position = torch.arange(size, dtype=torch.float32, device=x.device) * scale
        low = position.long()
        return low, (low + 1).clamp(max=length - 1), (position - low).to(x.dtype)

    left, right, across = neighbours(x.shape[3])
    top, bottom, down = neighbours(x.shape[2])
    x = x[..., left] + (x[..., right] - x[..., left]) * across
    return x[..., top, :] + (x[..., bottom, :] - x[..., top, :]) * down[:, None]


def average_pool(x: Tensor) -> Tensor:
    """Means of 3x3 neighbours, at the border of those that exist, as TensorFlow averages."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def max_pool(x: Tensor) -> Tensor:
    """The largest of 3x3 neighbours."""
    return F.max_pool2d(x, 3, stride=1, padding=1)


class Convolution(nn.Module):
    """Convolution, batch normalisation and ReLU."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def row(in_channels: int, out_channels: int) -> Convolution:
    """A convolution of 1x7."""
    return Convolution(in_channels, out_channels, (1, 7), padding=(0, 3))


def column(in_channels: int, out_channels: int) -> Convolution:
    """A convolution of 7x1."""
    return Convolution(in_channels, out_channels, (7, 1), padding=(3, 0))


class Mixed5(nn.Module):
    """Blocks 5b to 5d, at 35x35: 224 channels and those of the pooled branch."""

    def __init__(self, in_channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(in_channels, 64, 1)
        self.branch5x5_1 = Convolution(in_channels, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(in_channels, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(in_channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), wide, double, self.branch_pool(average_pool(x))], dim=1)


class Shrink6(nn.Module):
    """Block 6a, from 35x35 to 17x17."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(in_channels, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(in_channels, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, stride=2)], dim=1)


class Mixed6(nn.Module):
    """Blocks 6b to 6e, at 17x17: 768 channels, through ``width`` channels inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(768, 192, 1)
        self.branch7x7_1 = Convolution(768, width, 1)
        self.branch7x7_2 = row(width, width)
        self.branch7x7_3 = column(width, 192)
        self.branch7x7dbl_1 = Convolution(768, width, 1)
        self.branch7x7dbl_2 = column(width, width)
        self.branch7x7dbl_3 = row(width, width)
        self.branch7x7dbl_4 = column(width, width)
        self.branch7x7dbl_5 = row(width, 192)
        self.branch_pool = Convolution(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(average_pool(x))], dim=1)


class Shrink7(nn.Module):
    """Block 7a, from 17x17 to 8x8."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(in_channels, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(in_channels, 192, 1)
        self.branch7x7x3_2 = row(192, 192)
        self.branch7x7x3_3 = column(192, 192)
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_2(self.branch3x3_1(x))
        wide = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([single, wide, F.max_pool2d(x, 3, stride=2)], dim=1)


class Mixed7(nn.Module):
    """Blocks 7b and 7c, at 8x8: 2048 channels; they pool in different ways."""

    def __init__(self, in_channels: int, pool: Pool) -> None:
        super().__init__()
        self.pool = pool
        self.branch1x1 = Convolution(in_channels, 320, 1)
        self.branch3x3_1 = Convolution(in_channels, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Convolution(in_channels, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Convolution(in_channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        parts = [
            self.branch1x1(x),
            self.branch3x3_2a(single),
            self.branch3x3_2b(single),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(self.pool(x)),
        ]
        return torch.cat(parts, dim=1)
