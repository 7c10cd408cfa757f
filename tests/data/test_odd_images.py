"""The check of unusual images: pairs of many sizes, of a few pixels, and with values far beyond the rest."""

from pathlib import Path

import numpy as np
import pytest

from diptych.data.checkup import check
from tests.data.scenes import save, scene


@pytest.mark.parametrize("size", [(3, 300), (300, 3), (1, 300), (1, 1), (4, 4), (5, 7), (12, 400)])
@pytest.mark.parametrize("turned", [False, True])
def test_images_of_any_size_are_checked(size: tuple[int, int], turned: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for i in range(3):
        for side in "AB":
            shape = size[::-1] if turned and side == "B" else size
            save(tmp_path / side / f"{i}.png", random.integers(0, 256, (*shape, 3), np.uint8))
    expected = (["flat"] if size == (1, 1) else []) + (["too many", "turned"] if turned and size[0] != size[1] else [])
    assert sorted(finding.rule for finding in check([tmp_path]).findings) == sorted(expected)


@pytest.mark.parametrize("shift", [(0, 0), (9, -6), (20, 0)])
def test_one_shift_of_pairs_of_two_sizes_is_found_in_pixels(shift: tuple[int, int], tmp_path: Path) -> None:
    dx, dy = shift
    for i in range(16):
        size = (300, 600)[i % 2]
        a, b = scene(i, size + 80)
        save(tmp_path / "A" / f"{i}.png", a[40 : 40 + size, 40 : 40 + size])
        save(tmp_path / "B" / f"{i}.png", b[40 - dy : 40 - dy + size, 40 - dx : 40 - dx + size])
    found = check([tmp_path])
    assert found.shift and found.shift.clear and abs(found.shift.dx - dx) <= 2 and abs(found.shift.dy - dy) <= 2
    assert [finding.rule for finding in found.findings] == (["misaligned"] if any(shift) else [])


def test_images_whose_values_stretch_the_range_are_named(tmp_path: Path) -> None:
    for i in range(20):
        picture, labels = scene(i)
        deep = picture[..., 0].astype(np.uint16) * 16
        if i == 7:
            deep[3, 5] = 65535
        save(tmp_path / "A" / f"{i}.png", deep)
        save(tmp_path / "B" / f"{i}.png", labels)
    finding, lonely = check([tmp_path]).findings
    assert (finding.rule, finding.blocks, [case.places[0].ref.path.name for case in finding.cases]) == ("range", False, ["7.png"])
    assert lonely.rule == "lonely value" and lonely.detail == "65535 in 1 of 20 images of A"
    assert finding.cases[0].note.endswith(" to 65535")
