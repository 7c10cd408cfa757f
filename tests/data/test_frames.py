"""Pairs of unequal sizes brought to one, and crops that are not square."""

import numpy as np
import pytest
import torch

import diptych
from diptych.data.augment import resize, resized
from diptych.data.cache import kept
from diptych.data.census import Census, take_census
from diptych.data.datasets import Crops, DataConfig, view
from diptych.data.folders import find_data
from diptych.data.formats import write_pixels
from diptych.data.frames import Frame, common_frames
from diptych.data.labels import label_domains
from diptych.errors import ConfigError, DataError
from diptych.recipe import Recipe
from diptych.snapshot import Snapshot

SIZES = ((40, 60), (44, 50))


def unequal(root, count=3):
    """Pairs of 40 x 60 and 44 x 50 pixels, whose values are their places."""
    for side, (height, width) in zip("AB", SIZES, strict=True):
        (root / f"train{side}").mkdir(parents=True)
        for i in range(count):
            y, x = np.mgrid[:height, :width]
            write_pixels(root / f"train{side}" / f"{i}.png", np.stack([y, x, y * 0 + i], 2).astype(np.uint8))
    return find_data([root], paired=True).train


def test_unequal_pairs_are_refused_unless_told_how_to_fit_them(tmp_path):
    split = unequal(tmp_path)
    with pytest.raises(DataError, match=r"is 50 x 44, its partner .* is 60 x 40; bring both to one size, or set data.fit"):
        take_census(split)
    assert len(take_census(split, fitting="crop").split.a) == 3


@pytest.mark.parametrize(
    ("how", "size", "first_a", "first_b"),
    [
        ("crop", (40, 50), (0, 5), (2, 0)),  # 60 - 50 columns, half on each side; 44 - 40 rows
        ("pad", (44, 60), (0, 0), (0, 0)),
        ("resize", (40, 60), (0, 0), None),
    ],
)
def test_both_images_of_a_pair_come_to_one_size(how, size, first_a, first_b, tmp_path):
    census = take_census(unequal(tmp_path), fitting=how)
    a, b = (refs[0].read() for refs in (census.split.a, census.split.b))
    assert a.shape[:2] == b.shape[:2] == size == census.sizes[census.split.a[0]] == census.sizes[census.split.b[0]]
    assert tuple(a[0, 0, :2]) == first_a
    if first_b:
        assert tuple(b[0, 0, :2]) == first_b
    if how == "pad":  # two rows of edge above and below A, five columns of edge on either side of B
        assert a[:, 0, 0].tolist() == [0, 0, *range(40), 39, 39] and b[0, :, 1].tolist() == [0] * 5 + [*range(50)] + [49] * 5
    if how == "resize":
        whole = np.stack([*np.mgrid[:44, :50], np.zeros((44, 50))], 2).astype(np.uint8)
        assert np.array_equal(b, resize(whole, 40, 60))
    assert Census.from_json(census.to_json()) == census


def test_labels_are_fitted_without_mixing_classes(tmp_path):
    split = unequal(tmp_path)
    for ref in split.b:
        write_pixels(ref.path, np.kron(np.eye(2, dtype=np.uint8) * 7, np.ones((22, 25), np.uint8))[..., None])
    census = take_census(split, labels=label_domains(split, "b"), fitting="resize")
    assert census.split.b[0].frame == Frame("nearest", 40, 60) and set(np.unique(census.split.b[0].read())) == {0, 7}


def test_equal_sizes_and_turned_pairs_have_no_frame():
    assert common_frames((4, 5), (4, 5), "crop") == common_frames((4, 5), (9, 9), "none") == (None, None)


@pytest.mark.parametrize("how", ["square", "aspect", "none"])
def test_crops_may_be_rectangles_wherever_images_are_kept(how, tmp_path):
    census = take_census(unequal(tmp_path), fitting="crop")
    config = DataConfig(resize=how, load_size=(24, 64), crop_size=(20, 48))
    crops = Crops(census, config, 0)
    with kept(crops, "ram", tmp_path, torch.device("cpu"), once=lambda make: make()) as cached:
        for k in range(6):
            (a, b, *_), again = crops[k], cached[k]
            assert a.shape == b.shape == (3, 20, 48) and torch.equal(a, again.a) and torch.equal(b, again.b)
            if how == "none":  # both show one place: B's rows begin 2 lower, A's columns 5 further right
                assert torch.equal(a[0] + 2, b[0]) and torch.equal(a[1], b[1] + 5)
    assert (
        view(census.split.a[0], census.a, config).shape
        == {"square": (3, 20, 48), "aspect": (3, 38, 48), "none": (3, 20, 48)}[how]
    )


def test_images_cover_a_rectangle_and_squares_are_as_before():
    assert resized(100, 50, "aspect", (40, 80), (40, 80)) == (160, 80)
    assert resized(100, 50, "none", 0, (40, 80)) == (160, 80)
    assert resized(100, 70, "square", (40, 80), 1) == (40, 80)
    assert resized(100, 70, "aspect", 35, 35) == (50, 35) and resized(100, 70, "none", 35, 90) == (129, 90)


def test_sizes_of_one_side_are_squares_and_a_crop_must_fit():
    assert DataConfig(load_size=(286, 286), crop_size=(256, 256)) == DataConfig()
    assert DataConfig(crop_size=(64, 256)).crop_side == 128
    assert Recipe.create("pix2pix", {}, ["--data.crop_size", "[128, 256]"]).data.crop_size == (128, 256)
    with pytest.raises(ConfigError, match=r"load_size must be at least data.crop_size \(\(128, 512\)\), found 286"):
        DataConfig(crop_size=(128, 512))
    with pytest.raises(ConfigError, match="crop_size must be at least 1, found"):
        DataConfig(crop_size=(0, 12))


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan"])
def test_a_training_on_rectangles_keeps_their_size(method, tmp_path):
    unequal(tmp_path / "data", 2)
    small = {"generator": "unet_2", "ngf": 4, "ndf": 4, "num_layers": 1, "norm": "instance"}
    data = {"source": [str(tmp_path / "data")], "load_size": [24, 40], "crop_size": [16, 32], "fit": "pad", "holdout": 0.0}
    recipe = Recipe.create(
        method, {"method": small, "data": data, "train": {"epochs": 1, "decay_epochs": 0, "precision": "fp32"}}
    )
    path = diptych.train(recipe, tmp_path / "run", device="cpu", workers=0)
    assert Snapshot.load(path).size == (16, 32)
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    translate = diptych.Translator.load(path, device="cpu")
    assert translate.prepare(np.zeros((32, 100, 3), np.uint8), "trained").shape == (3, 16, 50)
