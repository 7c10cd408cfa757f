"""Embedded data is small, says where it comes from, and is what it claims: aligned pairs that do not leak from train to test."""

from __future__ import annotations

import re

import numpy as np
import pytest

from diptych.data.catalogue import EMBEDDED, embedded
from diptych.data.census import take_census
from diptych.data.folders import Layout, find_data
from diptych.errors import DataError
from diptych.pixels import Domain


@pytest.fixture(scope="module")
def relief() -> Layout:
    return find_data(["relief"], paired=True)


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_data_is_small_and_says_where_it_comes_from(name: str) -> None:
    files = [path for path in embedded(name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 4_000_000
    assert "public domain" in (embedded(name) / "NOTICE.md").read_text()


def test_an_unknown_name_is_refused_with_the_near_one() -> None:
    with pytest.raises(DataError, match=r"^'releif': no embedded data of this name, there is relief; did you mean relief\?$"):
        embedded("releif")
    with pytest.raises(DataError, match=r"; pass one of these names, or a folder$"):
        embedded("xyz")


def test_every_tile_of_relief_is_sound(relief: Layout) -> None:
    assert relief.test is not None
    for split, number, size in ((relief.train, 249, 144), (relief.val, 15, 128), (relief.test, 58, 128)):
        census = take_census(split, strict=True)
        assert (len(census.split.a), census.a, census.b, census.flat) == (number, Domain(), Domain(), ())
        assert {ref.read().shape for ref in split.a[::20]} == {(size, size, 3)}


def test_tiles_to_test_on_lie_in_the_americas_and_no_other_tile_does(relief: Layout) -> None:
    def degrees(stem: str) -> int:
        found = re.fullmatch(r"r\d{3}_c(\d{3})", stem)
        assert found is not None
        return int(found[1]) - 180

    assert relief.test is not None
    assert all(-170 <= degrees(ref.name) <= -30 - 128 / 15 for ref in relief.test.a)
    for ref in relief.train.a:  # two degrees apart, the last across the date line
        west = degrees(ref.name) if degrees(ref.name) >= -30 else degrees(ref.name) + 360
        assert west >= -28 and west + 144 / 15 <= 190 - 2 + 1, ref.name  # names are whole degrees, rounded down


def test_no_tile_to_train_on_reaches_into_the_ones_to_validate_on(relief: Layout) -> None:
    def corner(stem: str) -> tuple[int, int]:
        found = re.fullmatch(r"r(\d{3})_c(\d{3})", stem)
        assert found is not None
        return int(found[1]), int(found[2])

    assert relief.val is not None
    for val in relief.val.a:
        for train in relief.train.a:
            (top, left), (other_top, other_left) = corner(val.name), corner(train.name)
            apart = abs(top - other_top) >= 128 / 15 or abs(left - other_left) >= 128 / 15
            assert apart, f"{train.name} overlaps {val.name}"


def test_the_two_drawings_of_relief_are_aligned_to_the_pixel(relief: Layout) -> None:
    score = np.zeros((7, 7))
    for a, b in list(zip(relief.train.a, relief.train.b, strict=True))[::4]:
        edges_a, edges_b = (coast(ref.read()) for ref in (a, b))
        for dy, dx in np.ndindex(score.shape):
            score[dy, dx] += (edges_a * np.roll(edges_b, (dy - 3, dx - 3), (0, 1)))[4:-4, 4:-4].sum()
    assert np.unravel_index(score.argmax(), score.shape) == (3, 3)


def coast(pixels: np.ndarray) -> np.ndarray:
    """Where land meets water: both drawings paint water bluer than it is red."""
    blue = np.clip(pixels[..., 2].astype(float) - pixels[..., 0], -60, 60)
    return np.hypot(*np.gradient(blue))
