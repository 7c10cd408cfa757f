"""What the images of a side leave unused, and values that mean no data, are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diptych.data.census import take_census
from diptych.data.checkup import check
from diptych.data.formats import write_pixels
from diptych.data.kinds import look_over
from diptych.data.labels import label_domains
from diptych.data.passed_over import passed_over
from diptych.data.ranges import lonely_value
from diptych.data.splits import Ref, Split
from diptych.data.usage import constant_channels, levels_of, unused
from diptych.errors import DataError

RANDOM = np.random.default_rng(4)
ROUGH = RANDOM.integers(0, 256, (20, 24, 3), dtype=np.uint8)
GRAY = ROUGH[..., :1]
NO_BLUE = ROUGH * np.array([1, 1, 0], np.uint8)


@pytest.mark.parametrize(
    ("pixels", "rules"),
    [
        (ROUGH, []),
        (GRAY % 12, ["few values"]),
        (GRAY // 2, ["unused range"]),
        ((GRAY > 99) * np.uint8(255), []),  # a drawing in black and white
        (GRAY.repeat(3, 2), ["gray as RGB"]),
        (NO_BLUE, ["empty channel"]),
        (np.where(GRAY > 200, np.float32(-3.4e38), GRAY.astype(np.float32)), ["lonely value"]),
        (GRAY.astype(np.float32), []),
    ],
)
def test_each_rule_finds_its_images_and_no_others(pixels: np.ndarray, rules: list[str]) -> None:
    assert [rule for rule, _ in unused("A", [look_over(pixels), look_over(pixels[::-1])])] == rules


def test_levels_and_constant_channels_are_those_of_numpy() -> None:
    assert levels_of(ROUGH) == sum(1 << int(level) for level in np.unique(ROUGH))
    found = constant_channels(np.dstack([ROUGH[..., 0], np.full((20, 24), 7)]))
    assert found == (None, 7)
    assert lonely_value(np.array([0, 900, 901, 905])) == 0 and lonely_value(np.array([0, 900, 901, 2000])) is None
    assert lonely_value(np.array([5, 5])) is None


def test_they_are_findings_of_check_and_lines_of_a_training(tmp_path: Path) -> None:
    for side, pixels in (("A", ROUGH), ("B", NO_BLUE)):
        (tmp_path / f"train{side}").mkdir()
        for i in range(3):
            write_pixels(tmp_path / f"train{side}" / f"{i}.png", np.roll(pixels, i, 0))
    (tmp_path / "trainA" / "raw.nef").write_bytes(b"?")
    (tmp_path / "trainA" / "movie.mp4").write_bytes(b"?")
    (tmp_path / "trainA" / "notes.txt").write_text("text is no image")
    found = {finding.rule: str(finding) for finding in check([tmp_path]).findings}
    assert "channel 3 of B is 0 everywhere" in found["empty channel"]
    assert (
        "1 x .nef (a camera's raw file)" in found["not images"]
        and "1 x .mp4 (films beside images are left out" in found["not images"]
    )
    assert "txt" not in passed_over([tmp_path])
    a, b = (tuple(Ref(tmp_path / f"train{side}" / f"{i}.png") for i in range(3)) for side in "AB")
    assert any("channel 3 of B is 0 everywhere" in line for line in take_census(Split(a, b, True)).remarks())


def test_an_exception_that_nobody_expected_skips_the_file_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(30):
        write_pixels(tmp_path / f"{i}.png", np.roll(ROUGH.ravel(), i).reshape(ROUGH.shape))
    refs = tuple(Ref(tmp_path / f"{i}.png") for i in range(30))
    from diptych.data import kinds

    whole = kinds.look_over

    def breaks(pixels: np.ndarray, metadata: object) -> kinds.Look:
        if (pixels == ROUGH).all():
            raise ValueError("too many values to unpack")
        return whole(pixels, metadata)

    monkeypatch.setattr(kinds, "look_over", breaks)
    census = take_census(Split(refs, refs, False))
    (skipped,) = {str(item) for item in census.skipped}
    assert (
        "0.png: made diptych fail (ValueError: too many values to unpack), which is a bug of diptych; please report it" in skipped
    )
    with pytest.raises(DataError, match="strict allows none"):
        take_census(Split(refs, refs, False), strict=True)


@pytest.mark.parametrize(("side", "told"), [("", True), ("b", False)])
def test_a_side_that_is_given_as_labels_is_not_advised_to_be(side: str, told: bool, tmp_path: Path) -> None:
    for i in range(3):
        write_pixels(tmp_path / f"{i}.png", np.roll(GRAY % 12, i, 0))
    refs = tuple(Ref(tmp_path / f"{i}.png") for i in range(3))
    split = Split(refs, refs, True)
    labels = label_domains(split, side, "12") if side else (None, None)
    lines = [line for line in take_census(split, labels=labels).remarks() if "label indices" in line]
    assert any("B holds 12 values" in line for line in lines) == told and any("A holds 12 values" in line for line in lines)
