"""Pairs that are shifted against one another are cut to what both images show."""

import numpy as np
import pytest
import torch

from diptych.data.alignment import registered
from diptych.data.census import Census, take_census
from diptych.data.datasets import DataConfig
from diptych.data.folders import find_data
from diptych.errors import ConfigError
from diptych.losses.pixels import PixelLoss, nearest_shift
from tests.data.scenes import save, scene

SHIFTS = [(0, 0), (5, -4), (-6, 3), (0, 7), (12, 0)]  # of B to the right and down


def shifted(root, shifts):
    for i, (dx, dy) in enumerate(shifts):
        picture, labels = scene(i, 160)
        save(root / "trainA" / f"{i}.png", picture[16:144, 16:144])
        save(root / "trainB" / f"{i}.png", labels[16 - dy : 144 - dy, 16 - dx : 144 - dx])
    return take_census(find_data([root], paired=True).train)


def test_each_pair_is_cut_to_what_both_of_its_images_show(tmp_path):
    census, moved = registered(shifted(tmp_path, SHIFTS), 8)
    assert moved == 3  # one is not shifted, and one is by more
    for i, (dx, dy) in enumerate(SHIFTS):
        a, b = census.split.a[i], census.split.b[i]
        picture, labels = scene(i, 160)
        if max(abs(dx), abs(dy)) in (0, 12):
            assert a.frame is b.frame is None
            continue
        top, left, high, wide = 16 + max(0, -dy), 16 + max(0, -dx), 128 - abs(dy), 128 - abs(dx)
        assert np.array_equal(a.read(), picture[top : top + high, left : left + wide])
        assert np.array_equal(b.read(), labels[top : top + high, left : left + wide])
        assert census.sizes[a] == census.sizes[b] == (high, wide)
    assert Census.from_json(census.to_json()) == census


def test_nothing_is_moved_unless_asked(tmp_path):
    census = shifted(tmp_path, SHIFTS[:2])
    assert registered(census, 0) == (census, 0)
    with pytest.raises(ConfigError, match=r"set it to crop or pad"):
        DataConfig(max_shift=4, fit="resize")
    with pytest.raises(ConfigError, match=r"data.max_shift must be at least 0, found -1"):
        DataConfig(max_shift=-1)


def test_a_loss_may_look_for_the_target_nearby():
    x = torch.rand(2, 3, 20, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = torch.stack([x[0].roll((2, -1), (1, 2)), x[1].roll((-3, 3), (1, 2))])
    assert PixelLoss()(x, y) > 0.5 and PixelLoss(max_shift=3)(x, y) == 0.0
    assert PixelLoss(max_shift=2)(x[1:], y[1:]) > 0.3
    middle, moved = nearest_shift(x, y, 3)
    assert torch.equal(middle, x[:, :, 3:-3, 3:-3]) and torch.equal(moved, middle)
    assert PixelLoss(max_shift=3).exact == PixelLoss()
    x.requires_grad_()
    PixelLoss(max_shift=3)(x, -y).backward()
    assert x.grad[:, :, 3:-3, 3:-3].abs().min() > 0 and x.grad[:, :, :3].abs().max() == 0
    with pytest.raises(ConfigError, match=r"max_shift 10 leaves nothing of crops of 20 x 24 pixels"):
        PixelLoss(max_shift=10)(x, y)
