"""One rule says which images belong together, for training on pairs, for pairs known among unpaired images, and for the check."""

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from diptych.data.census import Census, take_census
from diptych.data.datasets import known_pairs
from diptych.data.folders import find_data
from diptych.data.inspection import list_data
from diptych.errors import ConfigError, DataError
from tests.data.bad_images import PNG

CAFE_C, CAFE_D = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def touch(root: Path, names: list[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    return root


# Trees of files, whether they are given as one folder or as two, and the pairs in them.
TREES: dict[str, tuple[list[str], list[str], list[tuple[str, str]]]] = {
    "suffixes": (["A/1.png", "B/1.jpg"], [""], [("A/1.png", "B/1.jpg")]),
    "accents": ([f"A/{CAFE_C}.png", f"B/{CAFE_D}.png"], [""], [(f"A/{CAFE_C}.png", f"B/{CAFE_D}.png")]),
    "folders inside": (
        [f"{s}/{i}/0.png" for s in "AB" for i in "xy"],
        [""],
        [(f"A/{i}/0.png", f"B/{i}/0.png") for i in "xy"],
    ),
    "letters": ([f"{s}/{i}/0.png" for s in "AB" for i in "abc"], [""], [(f"A/{i}/0.png", f"B/{i}/0.png") for i in "abc"]),
    "letters in two folders": (
        [f"{s}/{i}/0.png" for s in "pq" for i in "abc"],
        ["p", "q"],
        [(f"p/{i}/0.png", f"q/{i}/0.png") for i in "abc"],
    ),
    "letters in splits": (
        [f"train{s}/{i}/0.png" for s in "AB" for i in ("a", "train")],
        [""],
        [(f"trainA/{i}/0.png", f"trainB/{i}/0.png") for i in ("a", "train")],
    ),
    "splits inside": (["p/train/a/0.png", "q/train/a/0.png"], ["p", "q"], [("p/train/a/0.png", "q/train/a/0.png")]),
}


@pytest.mark.parametrize("tree", TREES)
def test_training_check_and_known_pairs_agree_on_what_is_a_pair(tree, tmp_path):
    names, sources, expected = TREES[tree]
    touch(tmp_path, names)
    roots = [tmp_path / source for source in sources]
    split = find_data(roots, paired=True).train
    listing = list_data(roots)
    loose = find_data(roots, paired=False).train
    found = {
        "training": list(zip(split.a, split.b, strict=True)),
        "check": list(zip(listing.splits["train"].a, listing.splits["train"].b, strict=True)),
        "known": [(loose.a[i], loose.b[j]) for i, j in known_pairs(loose)],
    }
    assert not (listing.orphans or listing.twins or listing.problem) and listing.paired
    for rule, pairs in found.items():
        assert [tuple(str(ref.path.relative_to(tmp_path)) for ref in pair) for pair in pairs] == expected, rule


def test_images_of_one_stem_in_unlike_folders_are_no_pair(tmp_path):
    touch(tmp_path, ["A/x/0.png", "A/z.png", "B/y/0.png", "B/z.png"])
    split = find_data([tmp_path], paired=False).train
    assert [(split.a[i].path.name, split.b[j].path.name) for i, j in known_pairs(split)] == [("z.png", "z.png")]
    with pytest.raises(DataError, match=r"2 without a partner of the same name: 0\.png, 0\.png"):
        find_data([tmp_path], paired=True)
    assert [place.ref.path.parent.name for place in list_data([tmp_path], True).orphans] == ["x", "y"]


def test_a_census_keeps_what_pairs_are_known_by_and_an_older_one_has_the_stems(tmp_path):
    touch(tmp_path, ["A/x/0.png", "A/z.png", "B/y/0.png", "B/z.png"])
    census = take_census(find_data([tmp_path], paired=False).train)
    text = census.to_json()
    assert len(known_pairs(Census.from_json(text).split)) == 1
    older = json.loads(text)
    older["sides"] = [[ref[:2] for ref in side] for side in older["sides"]]
    assert len(known_pairs(Census.from_json(json.dumps(older)).split)) == 2


def test_a_name_that_two_images_of_a_side_have_does_not_say_which_is_meant(tmp_path):
    touch(tmp_path, ["A/0.png", "A/0.jpg", "B/0.png", "B/1.png"])
    split = find_data([tmp_path], paired=False).train
    with pytest.raises(DataError, match=r"A/0\.jpg and .*A/0\.png: have one name on one side, so data\.pairs cannot tell which"):
        known_pairs(split)
    with pytest.raises(ConfigError, match=r"of 2 \+ 1 images none has a name of the other side"):
        known_pairs(replace(split, b=split.b[1:]))


def test_sides_of_unknown_layouts_are_those_of_the_outermost_folders(tmp_path):
    touch(tmp_path, ["data/trainA/b/0.png", "data/trainB/a/0.png", "more/x.png"])
    splits = list_data([tmp_path]).splits
    assert [[ref.path.parent.name for ref in side] for side in (splits["train"].a, splits["train"].b)] == [["b"], ["a"]]
    assert [ref.path.name for ref in splits[""].a] == ["x.png"]
