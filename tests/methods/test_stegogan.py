"""What is special about StegoGAN; its step beside the authors' order of operations is compared by benchmarks/step.py."""

import pytest
import torch

from diptych.errors import ConfigError
from diptych.methods import Batch
from diptych.methods.stegogan import StegoGANConfig, sparsity
from diptych.nets.stego import spread
from diptych.pixels import Domain


def test_the_sparsity_of_a_mask_by_hand_counts_its_largest_channel():
    mask = torch.tensor([[0.25, 1.0, 0.0], [0.16, 0.0, 0.0]])[None, :, None]
    assert sparsity(mask).item() == pytest.approx((0.5 + 1.0 + 1e-5) / 3, rel=1e-5)


def test_each_clean_translation_may_lack_what_the_mask_of_its_own_image_says():
    torch.manual_seed(0)
    settings = {"generator": "resnet_1", "ngf": 4, "ndf": 4, "num_layers": 1, "lambda_clean": 2.0, "init_gain": 0.2}
    method, found = StegoGANConfig(**settings).build(Domain(), Domain(), 16), {}
    method.extra = lambda **images: found.update(images) or {}
    phase, terms = next(iter(method.losses(Batch(*(torch.rand(2, 3, 16, 16) * 2 - 1 for _ in "ab")))))
    expected = 0.0
    for image, clean in (("real_b", "rec_clean_b"), ("fake_b", "clean_b")):
        mask = method.G_ba.hide(found[image])[2]
        expected += ((found[clean] - found[image]).abs() * (1 - spread(mask, found[image]))).mean().item()
    assert phase == "G" and terms["clean"].item() == pytest.approx(2.0 * expected, rel=1e-5)


def test_a_mask_is_spread_over_its_image_by_its_largest_channel():
    mask = torch.zeros(1, 2, 2, 2)
    mask[0, 1, 0, 0] = 1.0
    found = spread(mask, torch.zeros(1, 3, 8, 8))
    assert found.shape == (1, 1, 8, 8) and found[0, 0, 0, 0] == 1 and found[0, 0, 7, 7] == 0
    assert found[0, 0, 0, 3].item() == pytest.approx(0.625)  # bilinear between centres: at 3.5 / 4 - 0.5 = 0.375


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ConfigError, match="what is kept apart is learnt from both cycles; set lambda_cycle_a and lambda_cycle_b"):
        StegoGANConfig(lambda_cycle_a=0.0)
