"""Validation images are never trained on, and are the same at every start."""

from pathlib import Path

import numpy as np
import pytest

from diptych.data.datasets import DataConfig, known_pairs
from diptych.data.folders import Ref, Split
from diptych.data.holdout import MAX_HELD_OUT, MIN_HELD_OUT
from diptych.data.holdout import hold_out as hold_out_by
from diptych.errors import ConfigError


def hold_out(split: Split, share: float, seed: int, pairs: float = 0.0) -> tuple[Split, Split | None]:
    return hold_out_by(split, DataConfig(holdout=share, pairs=pairs), seed)


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
    small = split_of(1000, 20 * MIN_HELD_OUT - 11)
    assert hold_out(small, 0.05, seed=0) == (small, None)
    assert hold_out(split_of(500, 500), 0.0, seed=0)[1] is None


def test_no_more_than_a_hundred_a_side_are_set_aside():
    _, val = hold_out(split_of(9000, 9000), 0.5, seed=0)
    assert val is not None and len(val.a) == len(val.b) == MAX_HELD_OUT


@pytest.mark.parametrize("paired", [True, False])
def test_images_that_belong_to_no_other_are_drawn_as_ever(paired):
    whole = split_of(300, 300 if paired else 200, paired)
    random = np.random.default_rng((7, 2))
    first, second = random.permutation(300)[:30], random.permutation(len(whole.b))[:20]
    _, val = hold_out(whole, 0.1, seed=7)
    assert val is not None
    assert set(val.a) == {whole.a[i] for i in first} and set(val.b) == {whole.b[i] for i in (first if paired else second)}


@pytest.mark.parametrize("paired", [True, False])
def test_both_halves_of_a_file_are_on_one_side_of_the_cut(paired):
    files = [Path(f"{i}.png") for i in range(200)]
    whole = Split(tuple(Ref(path, "left") for path in files), tuple(Ref(path, "right") for path in files), paired)
    train, val = hold_out(whole, 0.1, seed=0)
    assert val is not None and len(val.a) == len(val.b) == 20
    trained, validating = ({ref.path for ref in (*part.a, *part.b)} for part in (train, val))
    assert not trained & validating and len(validating) == 20


@pytest.mark.parametrize("paired", [True, False])
def test_equal_files_are_on_one_side_of_the_cut(paired, tmp_path):
    def side(name: str, copies: int) -> tuple[Ref, ...]:
        """100 files, each of a third of its contents on one side and on the other."""
        (tmp_path / name).mkdir()
        refs = tuple(Ref(tmp_path / name / f"{i}.png") for i in range(100))
        for i, ref in enumerate(refs):
            ref.path.write_bytes(b"%d" % (i // copies + (1000 if name == "b" and i > 50 else 0)))
        return refs

    whole = Split(side("a", 3), side("b", 3), paired)
    for seed in range(20):
        train, val = hold_out(whole, 0.2, seed)
        assert val is not None and min(len(val.a), len(val.b)) >= 12
        trained, validating = ({ref.path.read_bytes() for ref in (*part.a, *part.b)} for part in (train, val))
        assert not trained & validating


@pytest.mark.parametrize("known", [1, 5, 160])
def test_known_pairs_are_not_torn_apart_and_one_at_least_is_trained_on(known):
    a = tuple(Ref(Path(f"A/{i}.png")) for i in range(160))
    b = tuple(Ref(Path(f"B/{i if i < known else 1000 + i}.png")) for i in range(160))
    whole, validated = Split(a, b, False), 0
    for seed in range(200):
        train, val = hold_out(whole, 0.1, seed, pairs=0.25)
        assert val is not None and len(val.a) == len(val.b) == 16
        left = len(known_pairs(train))
        names_b = {ref.name for ref in val.b}
        held = sum(ref.name in names_b for ref in val.a)
        assert left + held == known and left >= 1
        validated += held
    assert known == 1 or validated > 20  # so that pairs are held out, too


def test_groups_larger_than_the_share_stay_in_training(tmp_path):
    for i in range(100):
        (tmp_path / f"{i}.png").write_bytes(b"alike" if i < 60 else b"%d" % i)
    refs = tuple(Ref(tmp_path / f"{i}.png") for i in range(100))
    _, val = hold_out(Split(refs, split_of(100, 100).b, False), 0.2, 0)
    assert val is not None and len(val.a) == 20 and all(int(ref.name) >= 60 for ref in val.a)
    few = Split(refs[:60], split_of(60, 60).b, False)
    assert hold_out(few, 0.2, 0) == (few, None)


def test_pairs_that_nobody_knows_are_refused_before_any_is_held_out():
    with pytest.raises(ConfigError, match="data\\.pairs asks for pairs"):
        hold_out(split_of(300, 300), 0.1, 0, pairs=0.1)


def test_frames_are_held_out_in_blocks_of_consecutive_ones():
    """400 frames of one film and ten films of 12 frames: 26 are to be set aside, so that a film of 12 goes whole."""
    numbered = [Ref(Path(f"long/{i:04d}.png")) for i in range(400)]
    numbered += [Ref(Path(f"film{film}/{i:04d}.png")) for film in range(10) for i in range(12)]
    whole = Split(tuple(numbered), split_of(1, 200).b, False)
    for seed in range(5):
        train, val = hold_out_by(whole, DataConfig(holdout=0.05), seed, blocks=True)
        assert val is not None and MIN_HELD_OUT <= len(val.a) <= 26 and len(train.a) + len(val.a) == 520
        held = {ref.path for ref in val.a}
        neighbours = sum((path.parent / f"{int(path.stem) + step:04d}.png") not in held for path in held for step in (-1, 1))
        assert neighbours <= 2 * len({(path.parent, int(path.stem) // 26) for path in held})
        for film in {path.parent for path in held} - {Path("long")}:
            assert len([path for path in held if path.parent == film]) == 12
