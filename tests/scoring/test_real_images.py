"""The images that a recipe is scored on: never those it trained on, in its direction, and without what cannot be read."""

import logging

import pytest

from diptych.data.datasets import DataConfig
from diptych.errors import DataError
from diptych.recipe import Recipe
from diptych.scoring.real_images import find_real_images, readable
from tests.cli.pictures import folder


def recipe(source, method="pix2pix", **data):
    return Recipe.create(method, {"data": {"source": [str(source)]} | data})


@pytest.fixture
def images(tmp_path):
    for i, name in enumerate(("trainA", "trainB", "valA", "valB", "testA", "testB")):
        folder(tmp_path / "data" / name, 1 + i // 2, seed=10 * i)
    return tmp_path / "data"


def folders(found):
    return found.split.a[0].path.parent.name, found.split.b[0].path.parent.name


def test_the_split_is_the_one_that_is_asked_for(images):
    assert folders(find_real_images(recipe(images))) == ("testA", "testB")
    assert folders(find_real_images(recipe(images), "val")) == ("valA", "valB")
    assert "test: 3 pairs" in find_real_images(recipe(images)).description


def test_a_recipe_from_b_to_a_has_its_sides_exchanged(images):
    assert folders(find_real_images(recipe(images, direction="b2a"))) == ("testB", "testA")
    split = find_real_images(recipe(images)).split
    assert DataConfig(direction="a2b").oriented(split) is split
    assert DataConfig(direction="b2a").oriented(split) == split.swapped() != split


def test_pairs_are_those_of_the_method_unless_it_is_said(images):
    assert find_real_images(recipe(images)).split.paired and not find_real_images(recipe(images, "cyclegan")).split.paired
    assert find_real_images(recipe(images, "cyclegan"), paired=True).split.paired
    assert not find_real_images(recipe(images), paired=False).split.paired


def test_folders_without_such_a_split_have_none(tmp_path):
    for side in ("A", "B"):
        folder(tmp_path / side)
    assert find_real_images(recipe(tmp_path)) is None


def test_other_data_is_taken_whole_unless_its_folder_is_called_train(images, tmp_path):
    for side in ("A", "B"):
        folder(tmp_path / "more" / side, 2)
    assert len(find_real_images(recipe(images), data=[tmp_path / "more"]).split.a) == 2
    with pytest.raises(DataError, match=r"trainB: lies in a folder of training images, and has no test images; give unseen ones"):
        find_real_images(recipe(images), data=[images / "trainA", images / "trainB"])


def test_what_cannot_be_read_is_said_and_left_out(tmp_path, caplog):
    for side in ("testA", "testB", "trainA", "trainB"):
        folder(tmp_path / side, 30)
    (tmp_path / "testA" / "7.png").write_bytes(b"no")
    with caplog.at_level(logging.WARNING, "diptych"):
        census = readable(find_real_images(recipe(tmp_path)).split)
    assert len(census.split.a) == 29 and "7" not in [ref.name for ref in census.split.a]
    assert caplog.messages and caplog.messages[0].startswith("not scored: ") and "testA/7.png" in caplog.messages[0]
