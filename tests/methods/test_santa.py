"""What is special about SANTA; its step beside the authors' order of operations is compared by benchmarks/step.py."""

import pytest
import torch

from diptych.errors import ConfigError
from diptych.methods.santa import SANTAConfig, decoder_taps, path_length


def test_the_path_is_measured_at_the_published_maps():
    assert decoder_taps(9) == ("block_5", "block_8", "up_1", "up_2", "head")  # blocks 1 and 4 of the five that decode
    assert decoder_taps(6) == ("block_4", "block_5", "up_1", "up_2", "head")
    assert decoder_taps(1) == ("block_1", "up_1", "up_2", "head")


def test_the_length_of_a_path_by_hand():
    later, earlier = torch.full((2, 1, 2, 2), 3.0), torch.full((2, 1, 2, 2), 2.0)
    maps = [torch.cat([later, earlier]), torch.cat([earlier, earlier])]
    apart = torch.tensor([0.2, 0.05])  # the second is clipped to 0.1: slopes of 5 and 10, and 0 for the other map
    assert path_length(maps, apart).item() == pytest.approx((5.0**2 + 10.0**2) / 2 / 2, rel=1e-6)


def test_what_cannot_be_trained_is_refused():
    with pytest.raises(ConfigError, match="lambda_gan and lambda_identity are both 0, so nothing is learnt of the target"):
        SANTAConfig(lambda_gan=0.0, lambda_identity=0.0)
