"""Exported programs against the network they were made from."""

import copy
from pathlib import Path
from random import Random

import numpy as np
import onnx
import onnxruntime
import torch

from diptych.inference.export import export
from diptych.nets import ResNet, UNet
from diptych.pixels import Domain
from diptych.snapshot import Snapshot


def exported(chance: Random, folder: Path) -> str | None:
    torch.manual_seed(chance.randrange(10**6))
    net = (
        ResNet(3, 3, width=4, num_blocks=2) if chance.random() < 0.5 else UNet(3, 3, width=4, num_downs=chance.choice([2, 3, 4]))
    )
    for parameter in net.parameters():
        parameter.data = parameter.data * 3
    snapshot = Snapshot(
        {"a2b": net.eval()}, Domain(dtype="float32", low=-1.0, high=1.0), Domain(dtype="float32", low=-1.0, high=1.0)
    )
    snapshot.save(folder / "s.safetensors")
    export(folder / "s.safetensors", folder / "s.onnx", "onnx")
    if {path.name for path in folder.iterdir()} != {"s.safetensors", "s.onnx"}:
        return f"more than one file: {list(folder.iterdir())}"
    onnx.checker.check_model(str(folder / "s.onnx"))
    session = onnxruntime.InferenceSession(folder / "s.onnx", providers=["CPUExecutionProvider"])
    exact = copy.deepcopy(Snapshot.load(folder / "s.safetensors").generators["a2b"]).eval()
    exactly = copy.deepcopy(exact).double()
    for _ in range(3):
        height, width = chance.randrange(17, 90), chance.randrange(17, 90)
        image = np.random.default_rng(chance.randrange(10**6)).uniform(-1, 1, (1, 3, height, width)).astype(np.float32)
        (found,) = session.run(None, {session.get_inputs()[0].name: image})
        with torch.no_grad():
            expected = exactly(torch.from_numpy(image).double()).numpy()
            rounding = np.abs(exact(torch.from_numpy(image)).numpy() - expected).max()
        difference = np.abs(found - expected).max()
        if found.shape != image.shape or not difference <= 4 * rounding + 1e-5:
            return f"{height} x {width}: is {difference:.1e} from float64, PyTorch in float32 {rounding:.1e}"
    return None
