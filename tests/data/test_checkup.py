"""Every fault is made on purpose and must be named; clean data must give no finding."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.data import equal_files
from diptych.data.checkup import Checkup, check, quick_check
from diptych.data.findings import RULES, Case, Finding
from diptych.data.folders import Ref, Split, find_data
from diptych.data.formats import read_pixels
from diptych.data.inspection import Place
from diptych.errors import DataError
from tests.data.scenes import pairs, save, scene, sets


def rules(found: Checkup) -> list[str]:
    return [finding.rule for finding in found.findings]


def only(found: Checkup) -> Finding:
    """The one finding."""
    assert len(found.findings) == 1, [str(finding) for finding in found.findings]
    return found.findings[0]


def names(finding: Finding) -> list[list[str]]:
    return [[f"{place.split}{place.side}/{place.ref.path.stem}" for place in case.places] for case in finding.cases]


def test_the_embedded_pairs_give_no_finding() -> None:
    found = check(["relief"])
    assert (found.findings, found.verdict, found.images, found.listing.paired) == ((), 0, 644, True)
    assert found.shift and found.shift.clear and str(found.shift) == "not shifted"


@pytest.mark.parametrize("make", [pairs, sets])
def test_clean_data_gives_no_finding(make, tmp_path: Path) -> None:
    make(tmp_path)
    make(tmp_path, 4, "test", 900)
    found = check([tmp_path])
    assert (found.findings, found.verdict, found.listing.paired) == ((), 0, make is pairs)
    assert [row.split for row in found.rows] == ["train", "train", "test", "test"]
    assert vars(found.rows[0]) | {"images": 0} == {
        "split": "train", "side": "A", "images": 0, "kinds": "3 x uint8 (RGB)", "sizes": "96 x 96", "files": ".png"
    }  # fmt: skip


def test_the_result_does_not_depend_on_threads(tmp_path: Path) -> None:
    pairs(tmp_path, 18)
    one, many = check([tmp_path], threads=1), check([tmp_path], threads=5)
    assert one.to_dict() == many.to_dict()


def test_progress_reaches_its_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    check([sets(tmp_path)], on_progress=lambda *at: seen.append(at))
    assert seen == [(i + 1, 16) for i in range(16)]


def test_unreadable_images_are_named_with_their_reason(tmp_path: Path) -> None:
    pairs(tmp_path, 30)
    (tmp_path / "trainA" / "007.png").write_bytes(b"<html>")
    found = check([tmp_path])
    assert names(only(found)) == [["trainA/007"]] and found.verdict == 1
    assert only(found).rule == "unreadable" and only(found).cases[0].note.startswith("is a web page or XML")


def test_too_many_unusable_images_are_refused_as_a_training_would(tmp_path: Path) -> None:
    pairs(tmp_path, 30)
    for name in ("007", "008"):
        (tmp_path / "trainA" / f"{name}.png").write_bytes(b"")
    found = check([tmp_path])
    assert rules(found) == ["too many", "unreadable"] and found.verdict == 2
    assert found.findings[0].detail == "train: 2 of 30 pairs"


def test_a_side_of_which_nothing_can_be_read_is_reported_and_the_other_still_checked(tmp_path: Path) -> None:
    sets(tmp_path)
    for path in (tmp_path / "trainB").iterdir():
        path.write_bytes(b"")
    shutil.copy(tmp_path / "trainA" / "a001.png", tmp_path / "trainA" / "again.png")
    found = check([tmp_path])
    assert rules(found) == ["too many", "unreadable", "duplicate"] and "none of 8 images can be used" in found.findings[0].detail


def test_images_of_another_kind_are_named(tmp_path: Path) -> None:
    pairs(tmp_path, 30)
    save(tmp_path / "trainA" / "004.png", np.arange(96 * 96, dtype=np.uint16).reshape(96, 96))
    found = check([tmp_path])
    assert only(found).rule == "kind" and names(only(found)) == [["trainA/004"]]
    assert only(found).cases[0].note == "is 1 x uint16 among images of 3 x uint8"
    assert found.rows[0].kinds == "29 of 3 x uint8 (RGB), 1 of 1 x uint16 (I;16)"


def test_test_images_are_held_to_the_kind_of_training_images(tmp_path: Path) -> None:
    pairs(tmp_path, 20)
    pairs(tmp_path, 20, "test", 900)
    for path in (tmp_path / "testA").iterdir():
        save(path, read_pixels(path).astype(np.uint16)[..., 0] * 257)
    assert rules(check([tmp_path])) == ["too many", "kind"]


def test_pairs_of_two_sizes_and_of_exchanged_width_and_height_are_told_apart(tmp_path: Path) -> None:
    for i in range(50):
        picture, labels = (image[:72] for image in scene(i))
        save(tmp_path / "A" / f"{i}.png", picture)
        save(tmp_path / "B" / f"{i}.png", np.rot90(labels) if i == 3 else labels[:60] if i == 5 else labels)
    found = check([tmp_path])
    assert rules(found) == ["pair size", "turned"]
    assert names(found.findings[0]) == [["trainA/5", "trainB/5"]] and names(found.findings[1]) == [["trainA/3", "trainB/3"]]
    assert found.findings[0].cases[0].note == "is 96 x 60, its partner " + str(tmp_path / "A" / "5.png") + " is 96 x 72"
    assert found.findings[1].cases[0].note == "turn B by 90 degrees to the right"


def test_square_pairs_that_are_turned_are_named_with_the_way_back(tmp_path: Path) -> None:
    pairs(tmp_path)
    for name, turns in (("002", 1), ("011", 2)):
        path = tmp_path / "trainB" / f"{name}.png"
        save(path, np.rot90(read_pixels(path), turns))
    finding = only(check([tmp_path]))
    assert finding.rule == "turned" and [case.note for case in finding.cases] == [
        "turn B by 90 degrees to the right",
        "turn B by 180 degrees",
    ]


def test_an_exif_orientation_that_one_side_lost_is_found(tmp_path: Path) -> None:
    pairs(tmp_path)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(read_pixels(tmp_path / "trainB" / "004.png")).save(tmp_path / "trainB" / "004.png", exif=exif)
    assert names(only(check([tmp_path]))) == [["trainA/004", "trainB/004"]]


def test_orphans_and_twins_are_named_and_the_rest_is_checked_all_the_same(tmp_path: Path) -> None:
    pairs(tmp_path, 30)
    (tmp_path / "trainB" / "003.png").unlink()
    (tmp_path / "trainA" / "009.png").rename(tmp_path / "trainA" / "nine.png")
    save(tmp_path / "trainA" / "012.jpg", scene(77)[0])
    save(tmp_path / "trainA" / "020.png", np.full((96, 96, 3), 7, np.uint8))
    found = check([tmp_path])
    assert rules(found) == ["orphan", "twin", "flat"] and found.verdict == 2
    assert sorted(names(found.findings[0])) == [["trainA/003"], ["trainA/nine"], ["trainB/009"]]
    assert names(found.findings[1]) == [["trainA/012", "trainA/012"]] and names(found.findings[2]) == [["trainA/020"]]


def test_test_images_of_one_side_are_compared_too(tmp_path: Path) -> None:
    sets(tmp_path)
    save(tmp_path / "testA" / "x.png", read_pixels(tmp_path / "trainA" / "a000.png"))
    found = check([tmp_path])
    assert rules(found) == ["leakage"] and names(found.findings[0]) == [["trainA/a000", "testA/x"]]


def test_a_layout_that_training_refuses_is_reported_with_all_that_is_in_it(tmp_path: Path) -> None:
    sets(tmp_path)
    save(tmp_path / "valA" / "x.png", read_pixels(tmp_path / "trainA" / "a000.png"))
    found = check([tmp_path])
    assert rules(found) == ["layout", "leakage"] and found.verdict == 2
    assert "the other side, valB, is missing" in found.findings[0].detail
    assert names(found.findings[1]) == [["trainA/a000", "valA/x"]]


def test_folders_of_any_names_are_looked_through(tmp_path: Path) -> None:
    for i, folder in enumerate(("cats", "dogs", "mice")):
        save(tmp_path / folder / "x.png", scene(i)[0])
    shutil.copy(tmp_path / "cats" / "x.png", tmp_path / "dogs" / "y.png")
    found = check([tmp_path])
    assert rules(found) == ["layout", "duplicate"] and found.rows[0].split == ""


def test_no_folder_and_no_image_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        check([tmp_path / "missing"])
    with pytest.raises(DataError, match="holds no files"):
        check([tmp_path])


COPIES = {  # how the copy is written, and whether its pixels are equal
    "the same file": ({}, True),
    "equal pixels": ({"compress_level": 1}, True),
    "alike": ({"quality": 70}, False),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("to", ["trainA", "testA", "trainB"])
def test_copies_within_and_across_splits_and_sides_are_named(how: str, to: str, tmp_path: Path) -> None:
    sets(tmp_path)
    sets(tmp_path, 4, "test", 900)
    source, (options, equal) = tmp_path / "trainA" / "a002.png", COPIES[how]
    copy = tmp_path / to / ("copy.png" if equal else "copy.jpg")
    save(copy, read_pixels(source), **options) if options else shutil.copy(source, copy)
    found = check([tmp_path])
    rule = {"trainA": "duplicate", "testA": "leakage", "trainB": "both sides"}[to]
    assert only(found).rule == ("" if equal else "near ") + rule and found.verdict == 1
    assert names(only(found)) == [["trainA/a002", f"{to}/copy"]] and how in only(found).cases[0].note
    quick = quick_check({"train": find_data([tmp_path], paired=False).train, "val": None, "test": found.listing.splits["test"]})
    assert [finding.rule for finding in quick] == ([rule] if how == "the same file" else [])
    assert [names(finding) for finding in quick] == [names(only(found))] * len(quick)


def test_a_pair_that_is_in_two_splits_is_one_case_and_a_single_side_is_said(tmp_path: Path) -> None:
    pairs(tmp_path)
    pairs(tmp_path, 4, "test", 900)
    for side in "AB":
        shutil.copy(tmp_path / f"train{side}" / "005.png", tmp_path / f"test{side}" / "001.png")
    shutil.copy(tmp_path / "trainA" / "006.png", tmp_path / "testA" / "002.png")
    finding = check([tmp_path]).findings[0]
    assert finding.rule == "leakage" and [case.note for case in finding.cases] == [
        "both A and B, the same file",
        "only A, the same file",
    ]
    assert names(finding)[0] == ["trainA/005", "trainB/005", "testA/001", "testB/001"]


def test_a_near_copy_of_a_pair_is_one_case(tmp_path: Path) -> None:
    pairs(tmp_path)
    pairs(tmp_path, 4, "test", 900)
    for side in "AB":
        pixels = read_pixels(tmp_path / f"train{side}" / "005.png")
        save(tmp_path / f"test{side}" / "copy.png", np.asarray(Image.fromarray(pixels[2:-2, 2:-2]).resize((120, 120))))
    finding = only(check([tmp_path]))
    assert finding.rule == "near leakage" and finding.cases[0].note.startswith("both A and B, ")
    assert names(finding) == [["trainA/005", "trainB/005", "testA/copy", "testB/copy"]]


def test_a_pair_of_equal_images_is_named(tmp_path: Path) -> None:
    pairs(tmp_path)
    shutil.copy(tmp_path / "trainA" / "005.png", tmp_path / "trainB" / "005.png")
    found = {finding.rule: finding for finding in check([tmp_path]).findings}
    assert names(found["both sides"]) == [["trainA/005", "trainB/005"]]


def test_flat_images_are_named_once_and_are_no_duplicates(tmp_path: Path) -> None:
    sets(tmp_path)
    for name in ("black", "night"):
        save(tmp_path / "trainA" / f"{name}.png", np.zeros((96, 96, 3), np.uint8))
    assert only(check([tmp_path])).rule == "flat" and names(only(check([tmp_path]))) == [["trainA/black"], ["trainA/night"]]


@pytest.mark.parametrize("side_by_side", [False, True])
def test_exchanged_pairs_are_named(side_by_side: bool, tmp_path: Path) -> None:
    for i in range(24):
        picture, labels = scene(i) if i not in (4, 17) else scene(i)[::-1]
        if side_by_side:
            save(tmp_path / f"{i:02}.png", np.hstack([picture, labels]))
        else:
            save(tmp_path / "A" / f"{i:02}.png", picture)
            save(tmp_path / "B" / f"{i:02}.png", labels)
    finding = only(check([tmp_path]))
    assert finding.rule == "exchanged" and names(finding) == [["trainA/04", "trainB/04"], ["trainA/17", "trainB/17"]]


def test_a_split_that_is_the_other_way_round_is_named(tmp_path: Path) -> None:
    for i in range(24):
        save(tmp_path / "train" / f"{i}.png", np.hstack(scene(i)))
        if i < 5:
            save(tmp_path / "test" / f"{i}.png", np.hstack(scene(100 + i)[::-1]))
    finding = only(check([tmp_path]))
    assert (
        finding.rule == "exchanged" and {case.places[0].split for case in finding.cases} == {"test"} and len(finding.cases) == 5
    )


def moved(pixels: np.ndarray, dx: int, dy: int) -> np.ndarray:
    return np.roll(pixels, (dy, dx), (0, 1))


def test_a_data_set_that_is_shifted_as_a_whole_is_measured(tmp_path: Path) -> None:
    pairs(tmp_path, 12)
    for path in (tmp_path / "trainB").iterdir():
        save(path, moved(read_pixels(path), 5, -3))
    found = check([tmp_path])
    assert only(found).rule == "misaligned" and only(found).detail == "B lies 5 px to the right and 3 px up of A"
    assert found.alignment == "the pairs as a whole are shifted: B lies 5 px to the right and 3 px up"


def test_single_pairs_that_are_shifted_are_named_with_their_shift(tmp_path: Path) -> None:
    pairs(tmp_path, 20)
    path = tmp_path / "trainB" / "013.png"
    save(path, moved(read_pixels(path), -8, 0))
    finding = only(check([tmp_path]))
    assert finding.rule == "shifted" and names(finding) == [["trainA/013", "trainB/013"]]
    assert finding.cases[0].note == "B lies 8 px to the left"
    assert finding.to_dict()["cases"][0].items() >= {"dx": -8.0, "dy": 0.0}.items()


def test_unrelated_pairs_cannot_be_told_to_be_aligned(tmp_path: Path) -> None:
    for i in range(12):
        save(tmp_path / "A" / f"{i}.png", scene(i)[0])
        save(tmp_path / "B" / f"{i}.png", scene(300 + i)[0])
    found = check([tmp_path])
    assert found.findings == () and found.alignment.startswith("whether the pairs lie on one another cannot be told")


def test_pairs_are_guessed_from_names_and_the_guess_can_be_overruled(tmp_path: Path) -> None:
    pairs(tmp_path, 10)
    guessed = check([tmp_path])
    assert (guessed.pairing, guessed.listing.paired) == ("pairs, as 10 of 10 names are the same on both sides", True)
    assert check([tmp_path], paired=False).pairing == "no pairs, as told"
    sets(tmp_path / "other")
    told = check([tmp_path / "other"], paired=True)
    assert rules(told) == ["layout"] and "no image has a partner" in told.findings[0].detail and told.verdict == 2
    assert check([tmp_path / "trainA", tmp_path / "trainB"]).listing.paired


def test_names_in_folders_of_splits_are_paired(tmp_path: Path) -> None:
    for i in range(4):
        picture, labels = scene(i)
        for folder in ("train/A/deep", "A/train/deep"):
            save(tmp_path / folder[0] / folder / f"{i}.png", picture)
            save(tmp_path / folder[0] / folder.replace("A", "B") / f"{i}.jpg", labels)
    for root in ("t", "A"):
        found = check([tmp_path / root])
        assert found.pairing == "pairs, as 4 of 4 names are the same on both sides" and found.findings == ()
    assert check([tmp_path / "A" / "A", tmp_path / "A" / "B"]).listing.paired


def test_everything_is_in_the_dictionary(tmp_path: Path) -> None:
    sets(tmp_path)
    shutil.copy(tmp_path / "trainA" / "a002.png", tmp_path / "trainB" / "again.png")
    written = check([tmp_path]).to_dict()
    assert (written["exit_code"], written["verdict"], written["images"]) == (1, "usable, with findings", 17)
    (finding,) = written["findings"]
    assert (finding["rule"], finding["count"], finding["blocks"]) == ("both sides", 1, False)
    assert finding["cases"][0]["images"][1] == {
        "split": "train", "side": "B", "path": str(tmp_path / "trainB" / "again.png"), "half": "whole"
    }  # fmt: skip


def test_a_finding_is_one_line_that_names_the_first_images_and_the_next_step() -> None:
    places = [Place("train", "A", Ref(Path(f"x/{i}\n.png"))) for i in range(5)]
    text = str(Finding("unreadable", tuple(Case((place,), "is empty") for place in places)))
    assert (
        text.startswith("5 images that cannot be read: train A: 0\\n.png (is empty), train A: 1") and "and 2 more; repair" in text
    )
    assert "\n" not in text and "1 image of one" in str(Finding("flat", (Case((places[0],)),)))
    assert all(rule.title and rule.advice for rule in RULES.values())


def test_the_quick_check_opens_only_files_of_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(50):
        (tmp_path / f"{i}.png").write_bytes(bytes(100 + i))
    (tmp_path / "50.png").write_bytes(bytes(103))
    refs = tuple(Ref(tmp_path / f"{i}.png") for i in range(51))
    opened: list[str] = []
    read = equal_files.open_regular
    monkeypatch.setattr(equal_files, "open_regular", lambda path: (opened.append(Path(path).name), read(path))[1])
    split = Split(refs[:50], refs[50:], paired=False)
    (finding,) = quick_check({"train": split})
    assert names(finding) == [["trainA/3", "trainB/50"]] and set(opened) == {"3.png", "50.png"}


def test_the_quick_check_passes_over_files_that_went_away(tmp_path: Path) -> None:
    sets(tmp_path)
    split = find_data([tmp_path], paired=False).train
    os.unlink(split.a[0].path)
    assert quick_check({"train": split, "val": None}) == []


@pytest.mark.parametrize("paired", [False, True])
def test_near_copies_are_one_group_however_many_of_them_there_are(paired: bool, tmp_path: Path) -> None:
    for film in range(2):
        picture, labels = scene(film, 120)
        for frame in range(5):  # each is cropped by a little more
            for side, image in (("A", picture), ("B", labels)):
                save(tmp_path / f"train{side}" / f"{film}{frame}.png", image[frame : 120 - frame, frame : 120 - frame])
        if not paired:
            shutil.rmtree(tmp_path / "trainB")
            save(tmp_path / "trainB" / "other.png", scene(9)[0])
    (found,) = [finding for finding in check([tmp_path], paired=paired).findings if finding.rule == "near duplicate"]
    groups = [sorted({place.ref.path.stem for place in case.places}) for case in found.cases]
    assert groups == [[f"{film}{frame}" for frame in range(5)] for film in range(2)] and "2 groups" in found.title
