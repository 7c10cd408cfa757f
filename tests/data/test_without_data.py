"""Pixels without data: out of the range, out of the losses, and back in the output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from diptych.data.carrying import carried
from diptych.data.census import Census, take_census
from diptych.data.datasets import Crops, DataConfig, read_picture_as
from diptych.data.kinds import fit
from diptych.data.metadata import Metadata
from diptych.data.splits import Ref, Split
from diptych.data.stream import collate
from diptych.errors import DataError
from diptych.pixels import Domain

RANDOM = np.random.default_rng(3)


def tiles(folder: Path, count: int, dtype: type, nodata: float, *, tagged: int | None = None) -> tuple[Ref, ...]:
    """Tiles of 20 x 24 whose upper left corner has no data; only the first ``tagged`` say so and have such a corner."""
    folder.mkdir()
    for i in range(count):
        pixels = (RANDOM.random((20, 24)) * 90 + 10).astype(dtype)
        tag = []
        if tagged is None or i < tagged:
            pixels[:5, : 6 + i] = nodata
            text = f"{nodata!r}" if dtype == np.float32 else str(int(nodata))
            tag = [(42113, 2, len(text) + 1, text, True)]
        tifffile.imwrite(folder / f"{i}.tif", pixels, extratags=tag)
    return tuple(Ref(folder / f"{i}.tif") for i in range(count))


def census(tmp_path: Path, dtype: type = np.float32, nodata: float = -3.4028234663852886e38, tagged: int | None = None) -> Census:
    a = tiles(tmp_path / "a", 3, dtype, nodata, tagged=tagged)
    b = tiles(tmp_path / "b", 3, dtype, nodata, tagged=tagged)
    return take_census(Split(a, b, True))


def test_the_range_is_that_of_the_pixels_with_data(tmp_path: Path) -> None:
    found = census(tmp_path)
    assert found.a.masked and found.a.dtype == "float32" and found.a.stored == ""
    assert 10 <= found.a.low < 11 and 99 < found.a.high <= 100
    assert any("of the pixels have no data" in remark for remark in found.remarks())
    assert Census.from_json(found.to_json()) == found and Census.from_json(found.to_json()).a.nodata == found.a.nodata


def test_one_tagged_tile_makes_integers_a_masked_domain_and_the_others_are_taken_as_they_are(tmp_path: Path) -> None:
    found = census(tmp_path, np.uint16, 0, tagged=1)
    assert (found.a.dtype, found.a.stored, found.a.masked, found.a.nodata) == ("float32", "uint16", True, 0.0)
    assert not found.skipped and 10 <= found.a.low < 11
    plain = tifffile.imread(tmp_path / "a" / "2.tif")
    np.testing.assert_array_equal(read_picture_as(found.split.a[2], found.a)[1][..., 0], plain)
    assert str(found.a).startswith("1 x uint16") and str(found.a).endswith("with pixels without data")


def test_a_sample_marks_pixels_without_data_and_a_resized_one_marks_what_they_touch(tmp_path: Path) -> None:
    found = census(tmp_path)
    config = DataConfig(resize="none", crop_size=20, flip=False, holdout=0)
    batch = collate([Crops(found, config, 0)[k] for k in range(3)])
    share = float(batch.a.isnan().float().mean())
    assert 0.02 < share < 0.3
    larger = collate([Crops(found, DataConfig(resize="square", load_size=40, crop_size=40, holdout=0), 0)[k] for k in range(3)])
    missing = larger.a.isnan()
    assert missing.any() and not missing.all() and float(larger.a[~missing].min()) >= found.a.low


def test_encode_gives_finite_numbers_and_valid_tells_them_apart() -> None:
    domain = Domain(2, "float32", 0.0, 10.0, masked=True)
    pixels = torch.tensor([[[[5.0, torch.nan]], [[10.0, 0.0]]]])
    assert domain.encode(pixels).tolist() == [[[[0.0, -1.0]], [[1.0, -1.0]]]]
    assert domain.valid(pixels).tolist() == [[[[True, False]]]]
    assert Domain(2, "float32", 0.0, 10.0).valid(pixels) is None


@pytest.mark.parametrize(
    ("target", "given", "expected", "tag"),
    [
        (Domain(1, "float32", 0, 9, masked=True), -9999.0, [-9999, 7], -9999.0),
        (Domain(1, "float32", 0, 9, masked=True), None, [np.nan, 7], None),
        (Domain(1, "float32", 0, 9, masked=True, stored="uint16", nodata=0.0), 0.0, [0, 7], 0.0),
        (Domain(1, "float32", 0, 9, masked=True, stored="uint8", nodata=255.0), -9999.0, [255, 7], 255.0),
        (Domain(1, "uint8"), -3.4e38, [0, 7], None),
        (Domain(1, "uint8"), 7.0, [7, 8], 7.0),  # a pixel that has data and the value that means none is moved
    ],
)
def test_pixels_without_data_are_put_back_with_the_value_that_the_type_holds(
    target: Domain, given: float | None, expected: list[float], tag: float | None
) -> None:
    values = np.array([[[np.nan], [7]]], np.float32) if target.dtype == "float32" else np.array([[[3], [7]]], np.uint8)
    out, metadata = carried(values, Metadata(nodata=given), target, np.array([[True, False]]))
    assert out.dtype == (target.stored or target.dtype)
    np.testing.assert_array_equal(out.ravel(), expected)
    assert metadata.nodata == tag or (tag is None and np.isnan(metadata.nodata or np.nan))


def test_files_with_nodata_are_read_for_a_model_that_knows_none() -> None:
    pixels = np.array([[[np.nan], [7]]], np.float32)
    assert fit(pixels, Domain(1, "uint16", 5, 100), "uint16").ravel().tolist() == [5, 7]
    with pytest.raises(DataError, match="is 1 x float32, but the model takes images of 1 x uint16"):
        fit(pixels, Domain(1, "uint16", 5, 100))
