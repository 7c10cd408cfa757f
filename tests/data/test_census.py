"""The census decides what each side is, leaves out what cannot be used and says why, and knows when to stop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diptych.data import census as module
from diptych.data.census import Census, Skipped, fit, take_census
from diptych.data.folders import Ref, Split
from diptych.errors import DataError
from diptych.pixels import Domain
from tests.data.bad_images import RGB, RGB16, npy

RNG = np.random.default_rng(2)


def some(number: int, channels: int = 3, dtype: str = "uint8", low: int = 0, high: int = 256) -> list[np.ndarray]:
    return [RNG.integers(low, high, (6, 8, channels)).astype(dtype) for _ in range(number)]


def side(folder: Path, images: list[np.ndarray | bytes]) -> tuple[Ref, ...]:
    folder.mkdir()
    for index, image in enumerate(images):
        path = folder / f"{index:03}.npy"
        path.write_bytes(image if isinstance(image, bytes) else npy(image))
    return tuple(Ref(folder / f"{index:03}.npy") for index in range(len(images)))


def unpaired(root: Path, a: list[np.ndarray | bytes], b: list[np.ndarray | bytes] | None = None) -> Split:
    return Split(side(root / "A", a), side(root / "B", b or some(2)), paired=False)


def paired(root: Path, a: list[np.ndarray | bytes], b: list[np.ndarray | bytes]) -> Split:
    return Split(side(root / "A", a), side(root / "B", b), paired=True)


def test_sound_images_are_all_kept(tmp_path: Path) -> None:
    split = unpaired(tmp_path, some(3), some(2, channels=5))
    assert take_census(split) == Census(split, Domain(3), Domain(5))


def test_the_range_of_16_bit_and_float_images_is_measured(tmp_path: Path) -> None:
    twelve_bits = [np.full((2, 2, 1), value, np.uint16) for value in (100, 4095, 60)]
    floats = [np.full((2, 2, 1), value, np.float32) for value in (-2.5, 0.25)]
    found = take_census(unpaired(tmp_path, twelve_bits, floats))
    assert (found.a, found.b) == (Domain(1, "uint16", 60, 4095), Domain(1, "float32", -2.5, 0.25))


def test_damaged_images_are_left_out_with_their_reason(tmp_path: Path) -> None:
    split = unpaired(tmp_path, [*some(20), b""], [*some(30), b"<html>"])
    found = take_census(split)
    assert found.split == Split(split.a[:20], split.b[:30], paired=False)
    assert found.skipped[0] == Skipped(split.a[20].path, "is empty (0 bytes); copy or download it again")
    assert str(found.skipped[1]).startswith(f"{split.b[30].path}: is a web page")


def test_a_pair_goes_when_either_half_is_bad_and_only_the_bad_one_is_blamed(tmp_path: Path) -> None:
    split = paired(tmp_path, [*some(20), *some(20), b""], [b"", *some(40)])
    found = take_census(split)
    assert (found.split.a, found.split.b) == (split.a[1:40], split.b[1:40])
    assert [item.path for item in found.skipped] == [split.a[40].path, split.b[0].path]


def test_pairs_of_different_sizes_are_left_out_and_a_quarter_turn_is_named(tmp_path: Path) -> None:
    a, b = some(50), some(50)
    b[7], b[9] = np.rot90(b[7]).copy(), b[9][:5]
    turned, smaller = take_census(paired(tmp_path, a, b)).skipped
    assert "is 6 x 8, its partner" in turned.reason and "turned by 90 degrees; rotate one of them (was its EXIF" in turned.reason
    assert smaller.reason.endswith("is 8 x 6; bring both to one size") and smaller.reason.startswith("is 8 x 5, its partner")


def test_the_sides_of_a_pair_may_be_of_different_kinds(tmp_path: Path) -> None:
    found = take_census(paired(tmp_path, some(2), some(2, channels=1)))
    assert (found.a, found.b, len(found.split.a)) == (Domain(3), Domain(1), 2)


def test_both_halves_of_a_side_by_side_file_come_from_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [*some(30), b""]
    paths = [ref.path for ref in side(tmp_path / "AB", files)]
    split = Split(tuple(Ref(path, "left") for path in paths), tuple(Ref(path, "right") for path in paths), paired=True)
    read, reads = module.read_pixels, []
    monkeypatch.setattr(module, "read_pixels", lambda path: (reads.append(path), read(path))[1])
    found = take_census(split)
    assert sorted(reads) == paths
    assert len(found.split.a) == 30 and [item.path for item in found.skipped] == [paths[30]]


MINORITIES: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]] = {
    # one of the majority, another image, and what it becomes, or None where something would be lost
    "gray in rgb": (RGB, RGB[..., :1], RGB[..., :1].repeat(3, axis=2)),
    "rgb without colour in gray": (RGB[..., :1], RGB[..., :1].repeat(3, axis=2), RGB[..., :1]),
    "rgb in gray": (RGB[..., :1], RGB, None),
    "8 bits in 16": (RGB16, RGB, RGB.astype(np.uint16) * 257),
    "8-bit gray in 16-bit rgb": (RGB16, RGB[..., :1], RGB[..., :1].repeat(3, axis=2).astype(np.uint16) * 257),
    "16 bits in 8": (RGB, RGB16, None),
    "8 bits in float": (RGB.astype(np.float32), RGB, None),
    "4 bands in rgb": (RGB, np.dstack([RGB, RGB[..., :1]]), None),
    "rgb in 4 bands": (np.dstack([RGB, RGB[..., :1]]), RGB, None),
}


@pytest.mark.parametrize("kind", MINORITIES)
def test_a_minority_is_kept_only_where_nothing_is_lost(kind: str, tmp_path: Path) -> None:
    major, minor, expected = MINORITIES[kind]
    split = unpaired(tmp_path, [*([major] * 30), minor])
    found = take_census(split)
    if expected is None:
        (item,) = found.skipped
        assert f"is {minor.shape[2]} x {minor.dtype} among images of {major.shape[2]} x {major.dtype}; convert it" in item.reason
        with pytest.raises(DataError, match=f"is {minor.shape[2]} x {minor.dtype} among"):
            fit(minor, found.a)
    else:
        assert found.skipped == ()
        fitted = fit(split.a[30].read(), found.a)
        assert fitted.dtype == expected.dtype and np.array_equal(fitted, expected) and fitted.flags.c_contiguous
        assert found.a.low <= fitted.min() and fitted.max() <= found.a.high


def test_of_equally_common_kinds_the_richer_is_the_domain(tmp_path: Path) -> None:
    for folder, images in {"x": [RGB, RGB[..., :1]], "y": [RGB[..., :1], RGB]}.items():
        (tmp_path / folder).mkdir()
        found = take_census(unpaired(tmp_path / folder, images))
        assert found.a == Domain(3) and found.skipped == ()


def test_flat_images_are_kept_and_reported(tmp_path: Path) -> None:
    corner = np.zeros((20, 20, 3), np.uint8)
    corner[19, 19] = 1
    split = unpaired(tmp_path, [*some(2), np.full((9, 9, 3), (1, 2, 3), np.uint8), corner])
    found = take_census(split)
    assert found.flat == (split.a[2].path,) and len(found.split.a) == 4


def test_more_than_5_percent_bad_images_need_a_decision(tmp_path: Path) -> None:
    split = unpaired(tmp_path, [*some(38), b"", b""])
    assert len(take_census(split).skipped) == 2
    split.a[0].path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        take_census(split)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/A: 3 of 40 images cannot be used, more than 5%: {split.a[0].path}: is empty")
    assert message.count("is empty") == 3 and message.isprintable()


def test_strict_allows_no_bad_image(tmp_path: Path) -> None:
    split = unpaired(tmp_path, some(3), [*some(99), b""])
    assert take_census(split).skipped
    with pytest.raises(DataError, match=r"B: 1 of 100 images cannot be used, and strict allows none: .*/099\.npy: is empty"):
        take_census(split, strict=True)
    assert take_census(replace(split, b=split.b[:99]), strict=True).skipped == ()


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"A: none of 2 images can be used; the first: .*/000\.npy: is empty"):
        take_census(unpaired(tmp_path, [b"", b""]))
    (tmp_path / "p").mkdir()
    with pytest.raises(DataError, match=r"A: 1 of 1 pairs cannot be used, so none is left: .*bring both to one size"):
        take_census(paired(tmp_path / "p", some(1), [RGB]))
    (tmp_path / "q").mkdir()
    with pytest.raises(DataError, match=r"A: every value of every image is 0, there is nothing to learn; check"):
        take_census(unpaired(tmp_path / "q", some(2, dtype="float32", high=1)))


def test_a_file_removed_meanwhile_is_left_out(tmp_path: Path) -> None:
    split = unpaired(tmp_path, some(30))
    split.a[4].path.unlink()
    assert [str(item) for item in take_census(split).skipped] == [
        f"{split.a[4].path}: does not exist; check the path, or whether it was removed meanwhile"
    ]


def test_the_census_survives_json_whatever_the_names(tmp_path: Path) -> None:
    folder = tmp_path / "odd \n\udcff🦓"
    folder.mkdir()
    found = take_census(unpaired(folder, [*some(30, dtype="float32"), b"", np.ones((4, 4, 3), np.float32)]))
    text = found.to_json()
    assert found.skipped and found.flat
    assert Census.from_json(text) == found and text.isascii() and "\n" not in text
    assert found.sizes.keys() == {*found.split.a, *found.split.b} and Census.from_json(text).sizes == found.sizes
    older = {key: value for key, value in json.loads(text).items() if key != "sizes"}
    assert Census.from_json(json.dumps(older)) == found and not Census.from_json(json.dumps(older)).sizes
    for damaged in (text[:-9], "[]", "{}", text.replace("float32", "float99")):
        with pytest.raises(DataError, match=r"^census: damaged .*; remove it and start again$"):
            Census.from_json(damaged)


def test_the_result_does_not_depend_on_threads_and_progress_reaches_the_end(tmp_path: Path) -> None:
    split = unpaired(tmp_path, [*some(40), b""], some(9, channels=1))
    progress: list[tuple[int, int]] = []
    one = take_census(split, threads=1, on_progress=lambda *done: progress.append(done))
    assert progress == [(done, 50) for done in range(1, 51)]
    assert one == take_census(split, threads=4)
