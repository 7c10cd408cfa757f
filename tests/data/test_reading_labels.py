"""Label maps are read by rules of their own, whatever those of the pictures beside them are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from diptych.data.carrying import carried
from diptych.data.census import Census, take_census
from diptych.data.datasets import Crops, DataConfig
from diptych.data.labels import label_domains
from diptych.data.metadata import NODATA_TAG, Metadata
from diptych.data.splits import Ref, Split
from diptych.pixels import Domain, Reading

KINDS = np.repeat(np.repeat(np.array([[0, 1], [2, 255]], np.uint8), 16, 0), 16, 1)  # 255 would be nodata in a picture


def pairs(folder: Path) -> Split:
    """Four label maps with a nodata tag beside pictures with a profile that is not sRGB."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    rng = np.random.default_rng(0)
    refs: tuple[list[Ref], list[Ref]] = ([], [])
    for i in range(4):
        label, picture = folder / "a" / f"{i}.tif", folder / "b" / f"{i}.png"
        for path in (label, picture):
            path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(label, KINDS, extratags=[(NODATA_TAG, 2, 4, "255", True)], metadata=None)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(picture, icc_profile=profile)
        for side, path in zip(refs, (label, picture), strict=True):
            side.append(Ref(path))
    return Split(tuple(refs[0]), tuple(refs[1]), True)


@pytest.mark.parametrize("reading", [Reading("srgb"), Reading("ignore"), Reading("keep", "keep")])
def test_each_side_is_read_by_its_own_rules(tmp_path: Path, reading: Reading) -> None:
    split = pairs(tmp_path)
    labels = label_domains(split, "a")
    assert labels[0] == Domain(classes=((0,), (1,), (2,), (255,)))
    census = take_census(split, labels=labels, reading=reading)
    assert census.a.reading == Reading(masks=False) and census.b.reading == reading
    assert not census.a.masked and not census.skipped and len(census.split.a) == 4
    again = take_census(split, like=Census.from_json(census.to_json()))
    assert (again.a, again.b.reading, again.skipped) == (census.a, reading, ())
    config = DataConfig(resize="none", crop_size=32, flip=False, icc=reading.icc, alpha=reading.alpha)
    assert np.array_equal(Crops(census, config, 0)[0].a[0], KINDS)


def test_progress_counts_both_sides_where_they_are_read_apart(tmp_path: Path) -> None:
    split, seen = pairs(tmp_path), list[tuple[int, int]]()
    take_census(
        split,
        labels=label_domains(split, "a"),
        reading=Reading("srgb"),
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 8) for done in range(1, 9)]


@pytest.mark.parametrize(("nodata", "written", "tag"), [(9.0, 9, 9.0), (2.0, 1, None), (300.0, 1, None), (None, 1, None)])
def test_labels_get_the_nodata_value_of_the_input_where_it_is_no_class(
    nodata: float | None, written: int, tag: float | None
) -> None:
    target = Domain(classes=((0,), (1,), (2,)))
    made, without = np.ones((4, 4, 1), np.uint8), np.zeros((4, 4), bool)
    without[1, 2] = True
    out, metadata = carried(made, Metadata(nodata=nodata), target, without)
    assert out[1, 2, 0] == written and (out[~without] == 1).all() and metadata.nodata == tag
