"""A flat image gives the picture that exact arithmetic gives, whatever computes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diptych.inference.flat import first_norm
from diptych.inference.translator import Translator
from diptych.nets import generator, initialise
from diptych.pixels import Domain
from diptych.snapshot import Snapshot


def snapshot(name: str) -> Snapshot:
    torch.manual_seed(3)
    return Snapshot({"a2b": initialise(generator(name, 3, 3, width=8)).eval()}, Domain(), Domain())


@pytest.mark.parametrize("backend", ["torch", "onnx", "openvino"])
def test_a_flat_image_through_a_residual_generator_is_that_of_its_biases_alone(backend: str) -> None:
    if backend != "torch":
        pytest.importorskip({"onnx": "onnxruntime", "openvino": "openvino"}[backend])
    found = snapshot("resnet_3")
    head = found.generators["a2b"].head[1]
    with torch.no_grad():
        head.bias.copy_(torch.tensor([-0.5, 0.1, 0.9]))
    expected = np.round((np.tanh([-0.5, 0.1, 0.9]) + 1) * 127.5)  # every feature before the head is 0 where all biases are
    translate = Translator(found, device="cpu", backend=backend)
    image = np.empty((21, 30, 3), np.uint8)
    image[:] = 10, 200, 77
    assert np.abs(translate(image) - expected).max() <= 1
    image[3, 4] = 0
    assert translate(image).std() > 5  # what is not flat is not touched


def test_flat_and_other_images_of_one_batch_are_told_apart() -> None:
    translate = Translator(snapshot("resnet_1"), device="cpu")
    rough = torch.randint(0, 256, (1, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    flat = torch.full_like(rough, 90)
    both = translate(torch.cat([rough, flat]))
    assert torch.equal(both[0], translate(rough)[0]) and float(both[1].float().std(dim=(1, 2)).max()) == 0


def test_only_residual_generators_with_instance_norm_are_changed() -> None:
    assert first_norm(generator("resnet_1", 3, 3, width=4)) is not None
    assert first_norm(generator("resnet_1", 3, 3, width=4, norm="batch")) is None
    assert first_norm(generator("unet_3", 3, 3, width=4)) is None
