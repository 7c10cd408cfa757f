"""Images that were seen in training are found by their pixels, on either side and in any format, and left out or marked."""

import pytest
from PIL import Image

from diptych.data.formats import write_pixels
from diptych.data.splits import Ref, Split
from diptych.errors import DataError
from diptych.evaluation.evaluate import score_translators
from diptych.evaluation.instruments import Instruments
from tests.data.scenes import scene
from tests.evaluation.images import CONFIG, RGB, Features, negative, noise, pairs, sets


def judged(split, metric="l1", **options):
    tools = Instruments(features=Features(), resamples=40)
    return score_translators({"a2b": negative}, split, RGB, RGB, CONFIG, metrics=[metric], tools=tools, **options)


def resaved(refs, folder, suffix=".bmp"):
    """The same pixels in another format and under other names."""
    folder.mkdir(parents=True)
    for ref in refs:
        write_pixels(folder / f"again{ref.name}{suffix}", ref.read())
    return tuple(Ref(folder / f"again{ref.name}{suffix}") for ref in refs)


def test_a_test_pair_that_was_trained_on_is_left_out_said_and_counted(tmp_path, caplog):
    split = pairs(tmp_path, 5)
    train = Split(resaved(split.a[1:2], tmp_path / "A"), resaved(split.b[1:2], tmp_path / "B"), True)
    found = judged(split, train=train)
    alone = judged(Split(*(tuple(ref for ref in side if ref.name != "1") for side in (split.a, split.b)), True))
    assert found.value("l1") == alone.value("l1") and found.value("l1").n == 4
    assert found.protocols[found.results[0].protocol]["seen"] == {"left_out": 1, "scored": 0}
    assert found.about["seen"] == [f"{tmp_path}/b/1.png: equals {tmp_path}/B/again1.bmp, which was trained on"]
    assert "seen before: 1 of the images to score, left out; --allow-seen scores them; the first is" in caplog.text
    assert [row["name"] for row in found.images["a2b"]] == ["0", "2", "3", "4"]


def test_training_images_of_the_other_orientation_are_found_too(tmp_path):
    split = pairs(tmp_path, 5)
    train = Split(resaved(split.b[:2], tmp_path / "A"), resaved(split.a[:2], tmp_path / "B"), True)
    assert judged(split, train=train).value("l1").n == 3


def test_seen_images_that_are_allowed_mark_every_number(tmp_path):
    split = pairs(tmp_path, 5)
    found = judged(split, train=Split(split.a[:2], split.b[:2], True), allow_seen=True)
    assert found.value("l1").n == 5 and {result.note for result in found.results} == {"2 seen before"}
    assert found.protocols[found.results[0].protocol]["seen"] == {"left_out": 0, "scored": 2}


def test_a_pair_of_which_one_side_was_seen_is_scored(tmp_path):
    split, other = pairs(tmp_path, 5), noise(tmp_path / "other", 5, seed=7)
    found = judged(split, train=Split(split.a, other, True))  # as with blank label maps of different photos
    assert found.value("l1").n == 5 and found.about["seen"] == []


def test_of_two_sets_only_the_images_that_were_seen_are_left_out(tmp_path):
    split = sets(tmp_path, 6)
    found = judged(split, "kid", train=Split(noise(tmp_path / "a2", 3, seed=8), resaved(split.b[2:4], tmp_path / "B"), False))
    protocol = found.protocols[found.results[0].protocol]
    assert (protocol["inputs"][0], protocol["targets"][0]) == (6, 4) and found.value("kid").n == 4


def test_images_that_chose_the_snapshot_are_left_out_too(tmp_path):
    split = pairs(tmp_path)
    found = judged(split, selected_on=Split(split.a[:1], split.b[:1], True))
    assert found.value("l1").n == 3 and "which was used to choose this snapshot" in found.about["seen"][0]


def test_where_everything_was_seen_nothing_is_scored(tmp_path):
    split = pairs(tmp_path)
    with pytest.raises(DataError, match=r"0.png: equals .*0.png, which was trained on, and so were all pairs to score; give uns"):
        judged(split, train=split)


def test_nothing_is_said_where_no_training_images_are_known(tmp_path):
    found = judged(pairs(tmp_path))
    assert found.protocols[found.results[0].protocol]["seen"] is None


def test_training_images_that_moved_away_are_counted_in_the_log(tmp_path, caplog):
    gone = Split((Ref(tmp_path / "gone.png"),), (Ref(tmp_path / "gone too.png"),), False)
    assert judged(pairs(tmp_path), train=gone).value("l1").n == 4
    assert "2 of 2 images that were trained on can no longer be read, and were not compared" in caplog.text


def test_a_near_copy_of_a_training_image_is_found_and_other_scenes_are_not(tmp_path):
    for folder in ("test", "train"):
        (tmp_path / folder).mkdir()
    for i in range(4):
        Image.fromarray(scene(i)[0]).save(tmp_path / "test" / f"{i}.png")
        Image.fromarray(scene(10 + i)[0]).save(tmp_path / "train" / f"{i}.png")
    with Image.open(tmp_path / "test" / "2.png") as image:  # encoded again, and smaller
        image.resize((image.width * 3 // 4, image.height * 3 // 4)).save(tmp_path / "train" / "copy.jpg", quality=85)
    test = tuple(Ref(tmp_path / "test" / f"{i}.png") for i in range(4))
    train = tuple(Ref(path) for path in sorted((tmp_path / "train").iterdir()))
    split = Split(test, noise(tmp_path / "b", 4), False)
    found = judged(split, "kid", train=Split(train, noise(tmp_path / "b2", 2, seed=5), False))
    assert found.about["seen"] == [f"{tmp_path}/test/2.png: is a near copy of {tmp_path}/train/copy.jpg, which was trained on"]
