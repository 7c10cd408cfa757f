"""Validation images are never trained on, and are the same at every start."""

from pathlib import Path

import pytest

from diptych.data.folders import Ref, Split
from diptych.data.holdout import LEAST, MOST, hold_out


def split_of(a: int, b: int, paired: bool = False) -> Split:
    return Split(tuple(Ref(Path(f"a{i}")) for i in range(a)), tuple(Ref(Path(f"b{i}")) for i in range(b)), paired)


@pytest.mark.parametrize("paired", [True, False])
def test_every_image_is_on_exactly_one_side_of_the_cut(paired):
    whole = split_of(200, 200 if paired else 300, paired)
    train, val = hold_out(whole, 0.1, seed=1)
    assert val is not None and val.paired is train.paired is paired
    assert (len(val.a), len(val.b)) == (20, 20 if paired else 30)
    for side in ("a", "b"):
        assert not set(getattr(train, side)) & set(getattr(val, side))
        assert set(getattr(train, side)) | set(getattr(val, side)) == set(getattr(whole, side))


def test_pairs_stay_pairs():
    for part in hold_out(split_of(100, 100, paired=True), 0.2, seed=3):
        assert part is not None
        assert [ref.name[1:] for ref in part.a] == [ref.name[1:] for ref in part.b]


def test_the_cut_is_the_same_for_a_seed_and_another_for_another():
    whole = split_of(300, 300)
    assert hold_out(whole, 0.1, seed=5) == hold_out(whole, 0.1, seed=5)
    assert hold_out(whole, 0.1, seed=5) != hold_out(whole, 0.1, seed=6)


def test_too_few_images_are_all_trained_on():
    small = split_of(1000, 20 * LEAST - 11)
    assert hold_out(small, 0.05, seed=0) == (small, None)
    assert hold_out(split_of(500, 500), 0.0, seed=0)[1] is None


def test_no_more_than_a_hundred_a_side_are_set_aside():
    _, val = hold_out(split_of(9000, 9000), 0.5, seed=0)
    assert val is not None and len(val.a) == len(val.b) == MOST
