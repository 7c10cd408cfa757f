"""The census decides what each side is, leaves out what cannot be used and says why, and knows when to stop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.data import kinds as module
from diptych.data.census import Census, Skipped, still_usable, take_census
from diptych.data.folders import Ref, Split
from diptych.data.kinds import fit
from diptych.errors import ConfigError, DataError
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


def test_8_bits_among_12_are_brought_to_the_same_scale(tmp_path: Path) -> None:
    twelve_bits = np.array([[40, 4095], [1000, 2000]], np.uint16)[..., None]
    eight_bits = np.array([[0, 255], [51, 102]], np.uint8)[..., None]
    found = take_census(unpaired(tmp_path, [twelve_bits, eight_bits, twelve_bits]))
    assert found.a == Domain(1, "uint16", 40, 4095)
    fitted = fit(eight_bits, found.a)
    assert fitted.tolist() == [[[40], [4095]], [[851], [1662]]]  # 40 + 4055 * (0, 1, 1/5, 2/5)
    seen = found.a.encode(torch.from_numpy(fitted.transpose(2, 0, 1))[None])
    assert np.allclose(seen[0, 0], [[-1, 1], [-0.6, -0.2]], atol=1 / 4055)  # as if all were 8 bits


def hot(value: int) -> np.ndarray:
    pixels = np.linspace(0, 1000, 2000).astype(np.uint16).reshape(40, 50, 1)
    pixels[7, 9] = value
    return pixels


def test_an_image_that_stretches_the_range_is_named_and_robust_leaves_its_values_out(tmp_path: Path) -> None:
    images = [hot(0)] * 8 + [hot(65535)] + [np.full((40, 50, 1), 60000, np.uint16)]
    split = unpaired(tmp_path, images)
    full, robust = (take_census(split, value_range=how) for how in ("full", "robust"))
    assert full.a == Domain(1, "uint16", 0, 65535)
    assert full.outliers == robust.outliers == (split.a[8].path, split.a[9].path)
    *_, remark = full.remarks()
    assert remark.startswith(f"{split.a[8].path}, {split.a[9].path}: values far beyond those of the other images")
    # Of 2,000 values 2 at each end are left out: of ... 998, 999, 1000 that leaves 998; of ... 999, 1000, 65535 it leaves 999.
    assert robust.a == Domain(1, "uint16", 0, 999)
    seen = robust.a.encode(torch.from_numpy(images[8].transpose(2, 0, 1))[None])
    assert seen.max() == 1 and seen.median() == pytest.approx(0, abs=0.01)


def test_a_range_can_be_given_and_what_lies_beyond_is_named(tmp_path: Path) -> None:
    split = unpaired(tmp_path, [hot(0), hot(4000)], some(3))
    given = take_census(split, value_range=(0.0, 2000.0))
    assert (given.a, given.b, given.outliers) == (Domain(1, "uint16", 0, 2000), Domain(3), (split.a[1].path,))
    with pytest.raises(
        ConfigError, match=r"data\.range -5,90, for the images of .*A: domain: uint16 holds values from 0 to 65535"
    ):
        take_census(split, value_range=(-5.0, 90.0))
    with pytest.raises(ConfigError, match=r"data\.range: both sides hold 8 bits"):
        take_census(replace(split, a=split.b), value_range=(0.0, 90.0))


def test_images_of_unlike_exposures_are_no_outliers_and_robust_keeps_their_range(tmp_path: Path) -> None:
    images = [(hot(0) * factor).astype(np.float32) for factor in (1, 1, 1.5, 2, 2.5, 3)]
    found = take_census(unpaired(tmp_path, images), value_range="robust")
    assert found.outliers == () and found.a.high == 3 * 998


def test_an_image_that_is_nearly_all_empty_keeps_its_few_values(tmp_path: Path) -> None:
    stars = np.zeros((100, 100, 1), np.float32)
    stars[50, 50] = 7
    assert take_census(unpaired(tmp_path, [stars] * 3), value_range="robust").a == Domain(1, "float32", 0, 7)


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
    assert smaller.reason.endswith("is 8 x 6; bring both to one size, or set data.fit") and smaller.reason.startswith(
        "is 8 x 5, its partner"
    )


def test_the_sides_of_a_pair_may_be_of_different_kinds(tmp_path: Path) -> None:
    found = take_census(paired(tmp_path, some(2), some(2, channels=1)))
    assert (found.a, found.b, len(found.split.a)) == (Domain(3), Domain(1), 2)


def test_both_halves_of_a_side_by_side_file_come_from_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [*some(30), b""]
    paths = [ref.path for ref in side(tmp_path / "AB", files)]
    split = Split(tuple(Ref(path, "left") for path in paths), tuple(Ref(path, "right") for path in paths), paired=True)
    read, reads = module.read_picture, []
    monkeypatch.setattr(module, "read_picture", lambda path, reading: (reads.append(path), read(path, reading))[1])
    found = take_census(split)
    assert sorted(reads) == paths
    assert len(found.split.a) == 30 and [item.path for item in found.skipped] == [paths[30]]


FULL16 = RGB16.copy()
FULL16[0, 0], FULL16[0, 1] = 0, 65535

MINORITIES: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]] = {
    # one of the majority, another image, and what it becomes, or None where something would be lost
    "gray in rgb": (RGB, RGB[..., :1], RGB[..., :1].repeat(3, axis=2)),
    "rgb without colour in gray": (RGB[..., :1], RGB[..., :1].repeat(3, axis=2), RGB[..., :1]),
    "rgb in gray": (RGB[..., :1], RGB, None),
    "8 bits in 16": (FULL16, RGB, RGB.astype(np.uint16) * 257),
    "8-bit gray in 16-bit rgb": (FULL16, RGB[..., :1], RGB[..., :1].repeat(3, axis=2).astype(np.uint16) * 257),
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
        with pytest.raises(DataError, match=f"is {minor.shape[2]} x {minor.dtype}, but the model takes"):
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


def test_a_census_like_another_judges_by_the_others_domains(tmp_path: Path) -> None:
    trained = take_census(unpaired(tmp_path, [hot(0)] * 2))
    (tmp_path / "val").mkdir()
    val = unpaired(tmp_path / "val", [*([hot(0) // 2] * 40), *some(1, 1, "float32"), *some(1, 1)])
    found = take_census(val, like=trained)
    assert (found.a, found.b) == (trained.a, trained.b) and [item.path for item in found.skipped] == [val.a[40].path]
    val.a[3].path.unlink()
    left, lost = still_usable(found.split, trained)
    assert [item.path for item in lost] == [val.a[3].path] and len(left.a) == 40 and left.b == val.b


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
    found = replace(found, outliers=found.flat)
    text = found.to_json()
    assert found.skipped and found.flat and found.outliers
    assert Census.from_json(text) == found and text.isascii() and "\n" not in text
    assert found.sizes.keys() == {*found.split.a, *found.split.b} and Census.from_json(text).sizes == found.sizes
    older = {key: value for key, value in json.loads(text).items() if key not in ("sizes", "outliers")}
    assert Census.from_json(json.dumps(older)) == replace(found, outliers=()) and not Census.from_json(json.dumps(older)).sizes
    for damaged in (text[:-9], "[]", "{}", text.replace("float32", "float99")):
        with pytest.raises(DataError, match=r"^damaged .*; remove it and run the same command again$"):
            Census.from_json(damaged)


def test_the_result_does_not_depend_on_threads_and_progress_reaches_the_end(tmp_path: Path) -> None:
    split = unpaired(tmp_path, [*some(40), b""], some(9, channels=1))
    progress: list[tuple[int, int]] = []
    one = take_census(split, threads=1, on_progress=lambda *done: progress.append(done))
    assert progress == [(done, 50) for done in range(1, 51)]
    assert one == take_census(split, threads=4)
