"""Layouts as people have them are found; every mistake is one line that says where, what and what next; odd names work."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.data.checkup import check
from diptych.data.folders import Layout, LayoutName, Ref, Split, find_data, find_images
from diptych.data.formats import write_pixels
from diptych.errors import DataError
from tests.data.bad_images import PNG, RGB


def touch(root: Path, *names: str) -> Path:
    """Small images under root; a name that ends in / is an empty folder."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PNG)
    return root


def stems(split: Split | None) -> tuple[list[str], list[str]]:
    assert split is not None
    return [ref.name for ref in split.a], [ref.name for ref in split.b]


LAYOUTS: dict[str, tuple[str, ...]] = {
    "trainA trainB": ("trainA/1.png", "trainB/1.png", "testA/2.png", "testB/2.png"),
    "other spelling": ("Train_A/1.png", "train-b/1.png", "TESTA/2.png", "test B/2.png"),
    "A B": ("A/train/1.png", "B/train/1.png", "A/test/2.png", "B/test/2.png"),
    "split first": ("train/A/1.png", "train/B/1.png", "test/a/2.png", "test/b/2.png"),
    "side by side": ("train/1.png", "test/2.png"),
}


def told(names: tuple[str, ...]) -> LayoutName:
    """What the images of touch, which are not wide, need to be taken for two side by side."""
    return "side_by_side" if names == LAYOUTS["side by side"] else "auto"


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS)
def test_each_layout_is_found(names: tuple[str, ...], paired: bool, tmp_path: Path) -> None:
    layout = find_data([touch(tmp_path, *names)], paired=paired, layout=told(names))
    assert stems(layout.train) == (["1"], ["1"])
    assert stems(layout.test) == (["2"], ["2"])
    assert layout.val is None
    assert layout.train.paired is paired
    assert str(tmp_path) in layout.description
    assert ("train on 1 pairs" if paired else "train on 1 + 1 images") in layout.description


UNUSED: dict[str, tuple[tuple[str, ...], list[str], str]] = {
    "another layout": (("A/1.png", "B/1.png", "test/A/1.png", "test/A/2.png"), [""], "{}/test (2 images)"),
    "other folders": (("trainA/1.png", "trainB/1.png", "masks/x/1.png", "x.png"), [""], "{}/masks (1 image), {}/x.png (1 image)"),
    "in a side": (("p/train/1.png", "q/train/1.png", "q/more/a/1.png", "q/2.png"), ["p", "q"], "{}/q/2.png (1 image), {}/q/more"),
    "in a split": (("train/A/1.png", "train/B/1.png", "train/C/1.png"), [""], "{}/train/C (1 image)"),
    "many": (
        ("A/1.png", "B/1.png", *(f"{i}/1.png" for i in "cdefg")),
        [""],
        "{}/c (1 image), {}/d (1 image), {}/e (1 image) and 2 more",
    ),
}


@pytest.mark.parametrize("case", UNUSED)
def test_what_a_layout_does_not_use_is_named(case: str, tmp_path: Path) -> None:
    names, sources, expected = UNUSED[case]
    touch(tmp_path, *names)
    roots = [tmp_path / source for source in sources]
    layout = find_data(roots, paired=True)
    assert layout.leftovers.startswith(expected.replace("{}", str(tmp_path)))
    assert layout.description.endswith(f"; not used: {layout.leftovers}")
    (finding,) = [finding for finding in check(roots, paired=True).findings if finding.rule == "unused"]
    assert finding.detail.startswith(expected.replace("{}", str(tmp_path))) and not finding.blocks


@pytest.mark.parametrize("names", LAYOUTS.values(), ids=LAYOUTS)
def test_of_a_layout_nothing_is_unused(names: tuple[str, ...], tmp_path: Path) -> None:
    assert find_data([touch(tmp_path, *names, "notes.txt")], paired=False, layout=told(names)).leftovers == ""


def test_two_folders_and_their_splits_are_found(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.png", "y/1.jpg", "p/train/1.png", "q/train/1.png", "p/valid/2.png", "q/val/2.png")
    assert find_data([tmp_path / "x", str(tmp_path / "y")], paired=True).train == Split(
        (Ref(tmp_path / "x/1.png"),), (Ref(tmp_path / "y/1.jpg"),), paired=True
    )
    layout = find_data([tmp_path / "p", tmp_path / "q"], paired=True)
    assert (stems(layout.train), stems(layout.val), layout.test) == ((["1"], ["1"]), (["2"], ["2"]), None)


def test_halves_of_a_side_by_side_image_have_equal_size_and_the_middle_of_the_published_code(tmp_path: Path) -> None:
    pixels = RGB[:, :15]
    write_pixels(tmp_path / "1.png", pixels)
    split = find_data([tmp_path], paired=True, layout="side_by_side").train
    assert (split.a[0].half, split.b[0].half) == ("left", "right")
    assert np.array_equal(split.a[0].read(), pixels[:, :7])
    assert np.array_equal(split.b[0].read(), pixels[:, 7:14])
    assert np.array_equal(Ref(tmp_path / "1.png").read(), pixels)
    write_pixels(tmp_path / "1.png", pixels[:, :1])
    with pytest.raises(DataError, match=r"1\.png: is one pixel wide, expected A and B side by side; remove it"):
        split.a[0].read()


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize(("wide", "found"), [(18, True), (17, False)])
def test_one_folder_is_side_by_side_images_only_where_nine_of_ten_are_wide(
    wide: int, found: bool, paired: bool, tmp_path: Path
) -> None:
    for i in range(20):  # 1.9 times as wide as high, and just less
        write_pixels(tmp_path / f"{i:02}.png", np.zeros((10, 19 if i < wide else 18, 3), np.uint8))
    if found:
        assert len(find_data([tmp_path], paired=paired).train.a) == 20
        return
    message = (
        f"{tmp_path}: is a single folder of images that are not A|B side by side: 17.png is 18 x 10, and 17 of 20 looked at are "
        "at least 1.9 times as wide as high; give two folders, A and B, or --data.layout side_by_side if each image holds both"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        find_data([tmp_path], paired=paired)
    assert check([tmp_path]).verdict == 2 and check([tmp_path], layout="side_by_side").verdict < 2
    assert len(find_data([tmp_path], paired=paired, layout="side_by_side").train.a) == 20


def test_images_that_cannot_be_read_do_not_speak_against_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"")  # the census will say so
    assert len(find_data([tmp_path], paired=True).train.a) == 1


def test_side_by_side_as_told_overrules_folders_that_look_like_another_layout(tmp_path: Path) -> None:
    touch(tmp_path, "A/1.png", "B/1.png", "2.png")
    assert stems(find_data([tmp_path], paired=True, layout="side_by_side").train)[0] == ["2", "1", "1"]


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("side", "AB")
def test_test_images_of_one_side_are_no_obstacle(side: str, paired: bool, tmp_path: Path) -> None:
    layout = find_data([touch(tmp_path, "trainA/1.png", "trainB/1.png", f"test{side}/2.png")], paired=paired)
    assert layout.test is None and layout.leftovers == ""
    assert stems(layout.alone) == ((["2"], []) if side == "A" else ([], ["2"]))


def test_pairs_are_matched_by_name_and_not_by_position(tmp_path: Path) -> None:
    touch(tmp_path, "A/x.png", "A/x.a.png", "A/sub/1.png", "B/x.PNG", "B/x.a.PNG", "B/sub/1.webp")
    assert [path.name for path in find_images(tmp_path / "A")][1:] == ["x.a.png", "x.png"]
    assert [path.name for path in find_images(tmp_path / "B")][1:] == ["x.PNG", "x.a.PNG"]
    split = find_data([tmp_path], paired=True).train
    assert stems(split) == (["1", "x.a", "x"], ["1", "x.a", "x"])
    assert split.b[0].path == tmp_path / "B/sub/1.webp"


def test_composed_and_decomposed_accents_are_one_name(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != decomposed
    touch(tmp_path, f"A/{composed}.png", f"B/{decomposed}.png")
    assert len(find_data([tmp_path], paired=True).train.a) == 1


ODD = [
    "a b.png",
    "画像 é.png",
    "🦓🐎.png",
    "line\nbreak.png",
    "bytes\udcff\udcfe.png",
    "-rf.png",
    "x" * 251 + ".png",
    "a.b.c.png",
    "%s{}.PNG",
]


@pytest.mark.parametrize("paired", [True, False])
def test_legal_odd_names_work(paired: bool, tmp_path: Path) -> None:
    touch(tmp_path, *(f"odd \n\udcff🦓/{side}/{name}" for side in ("A", "B") for name in ODD))
    layout = find_data([tmp_path / "odd \n\udcff🦓"], paired=paired)
    assert {ref.path.name for ref in layout.train.a} == set(ODD)
    assert all(np.array_equal(ref.read(), RGB) for ref in (*layout.train.a, *layout.train.b))
    assert layout.description.isprintable()


def test_hidden_and_foreign_files_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "._1.png", ".hidden/2.png", "__MACOSX/3.png", "Thumbs.db", ".DS_Store", "notes.txt", "2.JPG")
    assert [path.name for path in find_images(tmp_path)] == ["1.png", "2.JPG"]


def test_the_order_of_images_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "b/1.png", "a/2.png", "é.png", "z.png", "a.png", "B.png")
    expected = ["B.png", "a.png", "a/2.png", "b/1.png", "z.png", "é.png"]
    scandir = os.scandir
    for order in (False, True):
        monkeypatch.setattr(os, "scandir", lambda path, order=order: sorted(scandir(path), key=lambda e: e.name, reverse=order))
        assert [str(path.relative_to(tmp_path)) for path in find_images(tmp_path)] == expected


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "real/1.png", "data/2.png")
    (tmp_path / "data/link").symlink_to(tmp_path / "real")
    (tmp_path / "data/circle").symlink_to(tmp_path / "data")
    (tmp_path / "real/up").symlink_to(tmp_path)
    found = [str(path.relative_to(tmp_path / "data")) for path in find_images(tmp_path / "data")]
    assert "2.png" in found and "link/1.png" in found
    assert not [path for path in found if "circle" in path]


def pairs(number: int) -> list[str]:
    return [f"trainA/{i}.png" for i in range(number)] + [f"trainB/{i}.png" for i in range(number)]


# What is there, what is asked for relative to it, and the line that comes back, in which {} is the folder.
MISTAKES: dict[str, tuple[list[str], list[str], str]] = {
    "missing": ([], ["none"], "{}/none: no such folder, and no embedded data of this name (relief); check the path"),
    "near": (["maps/1.png"], ["map"], "no such folder, and no embedded data of this name (relief); did you mean {}/maps?"),
    "near catalogue": ([], ["releif"], "did you mean relief?"),
    "a file": (["x.png"], ["x.png"], "{}/x.png: is an image, expected a folder of images; pass the folder that it is in"),
    "empty": ([], [""], "{}: holds no files; expected .jpg, .png"),
    "no images": (["a.txt", "b.txt", "c.mat"], [""], "{}: no images found, but 2 x .txt, 1 x .mat; expected"),
    "hidden only": (["._1.png"], [""], "{}: holds no files"),
    "only A": (["trainA/1.png", "testA/1.png"], [""], "{}/trainA: the other side, trainB, is missing; add it"),
    "only B": (["trainB/1.png"], [""], "{}/trainB: the other side, trainA, is missing; add it"),
    "only A as A": (["A/1.png"], [""], "{}/A: the other side, B, is missing; add it"),
    "typo of B": (["trainA/1.png", "trianB/1.png"], [""], "{}/trainA: the other side, trainB, is missing; rename trianB?"),
    "typo of both": (["trianA/1.png", "trianB/1.png"], [""], "found the folders trianA, trianB; rename trianA to trainA?"),
    "val of A only": ([*pairs(1), "valA/1.png"], [""], "{}/valA: the other side, valB, is missing; add it"),
    "an address": ([], ["https://x.org/photos"], "an address, expected a folder of images; download them, and pass their folder"),
    "nobody's home": ([], ["~nobody-of-this-name/x"], "names the home of a user who is not known here; write the path in full"),
    "a list": (["x.lst"], ["x.lst"], "{}/x.lst: is a list, expected a folder of images; write its images into a list of .csv"),
    "an archive": (["x.tar.gz"], ["x.tar.gz"], "{}/x.tar.gz: is compressed as a whole, and cannot be read in place; unpack it"),
    "another file": (["x.mat"], ["x.mat"], "{}/x.mat: is a file, expected a folder of images; pass the folder that it is in"),
    "no train": (["testA/1.png", "testB/1.png"], [""], "{}: only test found, no trainA and trainB; add them"),
    "no train, side by side": (["test/1.png"], [""], "{}: no folder train, found test; rename the one to train on"),
    "split on one side": (["A/train/1.png", "B/1.png"], [""], "{}/A/train: the other side, {}/B/train, is missing; add it"),
    "two spellings": ([*pairs(1), "train_a/1.png"], [""], "{}: trainA and train_a mean the same; remove one"),
    "two words": ([*pairs(1), "valA/1.png", "validA/1.png"], [""], "{}: valA and validA mean the same; remove one"),
    "nested": (["maps/trainA/1.png", "maps/trainB/1.png"], [""], "found the folders maps; did you mean {}/maps?"),
    "two names": (["horse/1.png", "zebra/1.png"], [""], "to translate between these two, pass both: {}/horse {}/zebra"),
    "many names": (
        ["cat/1.png", "cow/1.png", "dog/1.png", "elk/1.png"],
        [""],
        "found the folders cat, cow, dog and 1 more; rename them",
    ),
    "one side empty": (["trainA/1.png", "trainB/"], [""], "{}/trainB: holds no files"),
    "unequal": ([*pairs(3), "trainA/x.png"], [""], "4 and 3 images, 1 without a partner of the same name: x.png; add"),
    "orphans": (
        [*pairs(2), "trainA/x.png", "trainB/y.png"],
        [""],
        "3 and 3 images, 2 without a partner of the same name: x.png, y.png;",
    ),
    "many orphans": ([*pairs(2), *(f"trainA/x{i}.png" for i in range(9))], [""], "x0.png, x1.png, x2.png and 6 more; add"),
    "no name matches": (
        ["A/1_A.png", "B/1_B.png"],
        [""],
        "whose names all differ, such as 1_A and 1_B; give the two of a pair one name",
    ),
    "twins": ([*pairs(1), "trainA/0.jpg"], [""], "{}/trainA: 2 images of one name, 0.jpg, 0.png; remove or rename all but one"),
    "the same folder": (["x/1.png"], ["x", "x/../x"], "{}/x: A and B are the same folder; pass two folders"),
    "A in B": (
        ["x/1.png", "x/y/1.png"],
        ["x/y", "x"],
        "{}/x/y: lies inside {}/x, so its images are in both; pass separate folders",
    ),
    "three folders": (["x/1.png"], ["x", "x", "x"], "3 sources given; pass one folder that holds both domains, or two"),
    "no folder": ([], [], "0 sources given"),
    "long name": ([], ["x" * 300], "cannot be used as a folder"),
    "long path": ([], ["/".join(["x" * 200] * 25)], "cannot be used as a folder"),
    "zero byte": ([], ["x\0y"], "x\\x00y: "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_one_line_that_names_the_folder_and_the_fix(mistake: str, tmp_path: Path) -> None:
    names, sources, expected = MISTAKES[mistake]
    touch(tmp_path, *names)
    with pytest.raises(DataError) as caught:
        find_data([source if re.match("~|https:", source) else f"{tmp_path}/{source}" for source in sources], paired=True)
    message = str(caught.value)
    assert expected.replace("{}", str(tmp_path)) in message
    assert message.isprintable() and len(message) < 600
    assert "; " in message


def test_a_link_to_nowhere_and_two_links_to_one_folder_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "real/1.png")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "alias").symlink_to("real")
    with pytest.raises(DataError, match="broken: is a broken symbolic link; restore its target"):
        find_data([tmp_path / "broken"], paired=True)
    with pytest.raises(DataError, match="A and B are the same folder"):
        find_data([tmp_path / "real", tmp_path / "alias"], paired=True)


def test_a_link_to_itself_costs_a_folder_no_other_image(tmp_path: Path) -> None:
    touch(tmp_path, "real/1.png", "real/2.png")
    (tmp_path / "real" / "self.png").symlink_to("self.png")
    assert [path.name for path in find_images(tmp_path / "real")] == ["1.png", "2.png", "self.png"]


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", denied)
    with pytest.raises(DataError, match=r"cannot be listed \(Permission denied\); make it readable"):
        find_images(touch(tmp_path, "1.png"))


@pytest.mark.parametrize("find", [lambda p: find_data([p], paired=False), find_images])
def test_unpaired_sides_need_no_common_names_or_counts(find: Callable[[Path], Layout | list[Path]], tmp_path: Path) -> None:
    found = find(touch(tmp_path, "A/x.png", "B/y.png", "B/z.png"))
    assert stems(found.train) == (["x"], ["y", "z"]) if isinstance(found, Layout) else len(found) == 3


def test_embedded_data_is_found_by_name_unless_a_folder_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(touch(tmp_path, "elsewhere/1.png"))
    layout = find_data(["relief"], paired=True)
    assert layout.test is not None and (len(layout.train.a), len(layout.test.a)) == (249, 58)
    touch(tmp_path, "relief/A/1.png", "relief/B/1.png")
    assert len(find_data(["relief"], paired=True).train.a) == 1


def test_the_contact_sheet_of_prepared_pairs_is_no_image_that_is_left_out(tmp_path):
    for name in ("trainA/0.png", "trainB/0.png", "prepare.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert f"not used: {tmp_path}/prepare.png" in find_data([tmp_path], paired=True).description
    (tmp_path / "prepare.json").write_text("{}")
    assert not find_data([tmp_path], paired=True).unused
