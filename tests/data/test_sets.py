"""Sets that are no plain folders: lists, archives, helper folders, class folders, and earlier results among the images."""

import io
import shutil
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diptych
from diptych.data.archives import members
from diptych.data.census import Census, take_census
from diptych.data.checkup import check, quick_check
from diptych.data.datasets import Crops, DataConfig
from diptych.data.folders import Split, find_data
from diptych.data.formats import read_pixels, write_pixels
from diptych.data.labels import label_domains
from diptych.data.leftovers import RECORD
from diptych.data.stream import batches
from diptych.errors import DataError
from diptych.inference import manifest
from diptych.recipe import Recipe
from tests.data.pictures import noise, two_sides
from tests.data.test_folders import stems, touch


def packed(root: Path, to: Path, top: str = "") -> Path:
    """An archive of a folder, by its suffix; ``top`` is a folder around everything in it."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    names = [f"{top}{path.relative_to(root).as_posix()}" for path in files]
    if to.suffix == ".zip":
        with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, name in zip(files, names, strict=True):
                archive.write(path, name)
    else:
        with tarfile.open(to, "w") as archive:
            for path, name in zip(files, names, strict=True):
                archive.add(path, f"./{name}")
    return to


@pytest.mark.parametrize(("name", "top"), [("set.zip", ""), ("set.zip", "data/"), ("set.tar", "data/"), ("SET.ZIP", "")])
def test_an_archive_is_read_in_place_like_the_folder_that_it_was_made_of(name, top, tmp_path):
    folder = two_sides(tmp_path / "set", counts=(5, 5))
    (tmp_path / "renamed").mkdir()
    archive = packed(tmp_path / "set", tmp_path / name.lower(), top).rename(tmp_path / "renamed" / name)
    shutil.rmtree(tmp_path / "set")
    census = take_census(find_data([archive], paired=True).train)
    assert [ref.key for ref in census.split.a] == [ref.key for ref in folder.split.a] and census.sizes.keys() == set(
        (*census.split.a, *census.split.b)
    )
    for i, ref in enumerate(census.split.b):
        assert np.array_equal(ref.read(), noise((40 + 3 * i, 44 + 5 * (i % 3), 3), "uint8", 1000 + i))
    assert Census.from_json(census.to_json()) == census
    crops = Crops(census, DataConfig(resize="none", crop_size=32), 0)
    alone, by_workers = (list(batches(crops, 0, 8, 2, workers=workers)) for workers in (0, 2))
    assert all(torch.equal(x.a, y.a) and torch.equal(x.b, y.b) for x, y in zip(alone, by_workers, strict=True))
    assert not list((tmp_path / "renamed").glob("*/"))


def test_two_archives_and_folders_inside_one_are_sides(tmp_path):
    touch(tmp_path, "s/x/1.png", "s/y/1.png", "t/1.png")
    packed(tmp_path / "s", tmp_path / "s.zip")
    packed(tmp_path / "t", tmp_path / "t.tar")
    for sources in (["s.zip/x", "s.zip/y"], ["s.zip/x", "t.tar"], ["s/x", "t.tar"]):
        split = find_data([tmp_path / source for source in sources], paired=True).train
        assert stems(split) == (["1"], ["1"]) and all(read_pixels(ref.path).ndim == 3 for ref in (*split.a, *split.b))
    with pytest.raises(DataError, match=r"s.zip/z: no such folder"):
        find_data([tmp_path / "s.zip/z", tmp_path / "t"], paired=True)


def test_equal_files_are_found_across_an_archive_and_a_folder(tmp_path):
    for i in range(3):
        touch(tmp_path, f"a/{i}.npy")
        write_pixels(tmp_path / "a" / f"{i}.npy", noise((20, 20, 3), "uint8", i))
        write_pixels(tmp_path / f"{i}.npy", noise((20, 20, 3), "uint8", 9 + i))
    touch(tmp_path, "b/")
    shutil.copy(tmp_path / "a/1.npy", tmp_path / "b/x.npy")
    packed(tmp_path / "a", tmp_path / "a.zip")
    split = find_data([tmp_path / "a.zip", tmp_path / "b"], paired=False).train
    (found,) = quick_check({"train": split})
    assert found.rule == "both sides" and {place.ref.path.name for place in found.cases[0].places} == {"1.npy", "x.npy"}


def test_archives_that_cannot_be_read_say_so(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"bad.zip: cannot be read as an archive"):
        find_data([tmp_path / "bad.zip"], paired=False)
    (tmp_path / "set.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"set.tar.gz: is compressed as a whole, .*unpack it, or pack a .zip"):
        find_data([tmp_path / "set.tar.gz"], paired=False)
    touch(tmp_path, "s/A/1.png", "s/B/1.png")
    split = find_data([packed(tmp_path / "s", tmp_path / "s.zip")], paired=True).train
    (tmp_path / "s" / "A" / "1.png").unlink()
    packed(tmp_path / "s", tmp_path / "s.zip")
    with pytest.raises(DataError, match=r"s.zip/A/1.png: is not in the archive"):
        split.a[0].read()


def test_files_of_an_archive_that_are_left_out_are_counted(tmp_path, caplog):
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("in/a.png", "in/b.png", "in/b.png", "in/../../c.png"):
            archive.writestr(name, picture.getvalue())
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind in (("in/a.png", tarfile.REGTYPE), ("in/d.png", tarfile.SYMTYPE), ("../e.png", tarfile.REGTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, "a.png" * (kind == tarfile.SYMTYPE), 0
            archive.addfile(member)
    assert set(members(tmp_path / "x.zip")) == {"in/a.png", "in/b.png"}
    assert set(members(tmp_path / "x.tar")) == {"in/a.png"}
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "left out are 1 of its files, which lead out of it (..)",
        "left out are 1 of its files, which have the name of a later one",
        "left out are 1 of its files, which lead out of it (..)",
        "left out are 1 of its files, which are links or devices, or have no proper name",
    ]


def test_a_palette_in_an_archive_keeps_its_indices(tmp_path):
    touch(tmp_path, "s/A/1.png", "s/B/")
    image = Image.fromarray(np.kron([[3, 8]], np.ones((4, 4))).astype(np.uint8), "P")
    image.putpalette([value for i in range(256) for value in (i, 255 - i, 0)])
    image.save(tmp_path / "s/B/1.png")
    split = find_data([packed(tmp_path / "s", tmp_path / "s.zip")], paired=True).train
    assert label_domains(split, "b")[1].indices == (3, 8)


LISTS = {
    "pairs.csv": "a,b\nx/1.png,y/p.png\nx/2.png,y/q.png\nx/3.png,y/p.png\n",
    "pairs.tsv": "x/1.png\ty/p.png\nx/2.png\ty/q.png\nx/3.png\ty/p.png\n",
    "pairs.txt": "# by hand\nx/1.png y/p.png\nx/2.png  y/q.png\n\nx/3.png y/p.png\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_two_columns_names_pairs(name, tmp_path):
    touch(tmp_path, "x/1.png", "x/2.png", "x/3.png", "y/p.png", "y/q.png")
    (tmp_path / name).write_text(LISTS[name])
    layout = find_data([tmp_path / name], paired=True)
    assert stems(layout.train) == (["1", "2", "3"], ["p", "q", "p"]) and layout.train.paired
    assert not find_data([tmp_path / name], paired=False).train.paired
    checkup = check([tmp_path / name])
    assert checkup.listing.paired and checkup.images == 6


def test_a_column_says_the_split_and_lists_of_one_column_are_sides(tmp_path):
    touch(tmp_path, "x/1.png", "x/2.png", "z/1.png", "z/2.png", "z/my cat.png")
    (tmp_path / "a.csv").write_text("image,split\nx/1.png,train\nx/2.png,TEST\n")
    (tmp_path / "b.txt").write_text("z/my cat.png\nz/1.png\n")
    with pytest.raises(DataError, match=r"a.csv: names test images, and .*b.txt names none; add them"):
        find_data([tmp_path / "a.csv", tmp_path / "b.txt"], paired=False)
    (tmp_path / "b.csv").write_text("z/my cat.png,train\nz/1.png,train\nz/2.png,test\n")
    layout = find_data([tmp_path / "a.csv", tmp_path / "b.csv"], paired=False)
    assert stems(layout.train) == (["1"], ["my cat", "1"]) and stems(layout.test) == (["2"], ["2"])
    (tmp_path / "a.txt").write_text("x/1.png\n")
    assert stems(find_data([tmp_path / "a.txt", tmp_path / "z"], paired=False).train) == (["1"], ["1", "2", "my cat"])


BAD_LISTS = {
    "x/1.png,x/none.png\n": "row 1: x/none.png is not there; paths are relative to",
    "x/1.png,x/1.png\nx/1.png\n": "row 2: has 1 paths, and the rows above have 2",
    "x/1.png\n": "has 1 path a row; pass a second list or folder for the other side",
    "a,b\n": "names no images; expected one path a row",
    "x/1.png,\n": "row 1: '' names no image; expected one path a row",
    "x/1.png\n,train\n": "row 2: '' names no image; expected one path a row",
    "x/1.png\n.\n": "row 2: '.' names no image; expected one path a row",
    "x/1.png,x/1.png,test\n": "names only test images, none for training",
}


@pytest.mark.parametrize("text", BAD_LISTS)
def test_a_list_that_is_wrong_is_one_line_that_names_the_row(text, tmp_path):
    touch(tmp_path, "x/1.png")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        find_data([tmp_path / "list.csv"], paired=True)
    assert f"{tmp_path}/list.csv" in str(caught.value) and BAD_LISTS[text] in str(caught.value)


def test_a_training_takes_a_list_and_goes_on_from_it(tmp_path):
    two_sides(tmp_path / "set", counts=(4, 4))
    rows = [f"set/trainA/{i:02d}.npy,set/trainB/{i:02d}.npy" for i in range(4)]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    small = {"generator": "unet_2", "ngf": 4, "lambda_gan": 0.0, "norm": "instance"}
    data = {"source": [str(tmp_path / "pairs.csv")], "resize": "none", "crop_size": 16, "holdout": 0.0}
    recipe = Recipe.create("pix2pix", {"method": small, "data": data, "train": {"epochs": 1, "decay_epochs": 0}})
    path = diptych.train(recipe, tmp_path / "run", device="cpu", workers=0)
    assert diptych.train(recipe, tmp_path / "run", device="cpu", workers=0) == path


def test_helper_folders_are_named_and_not_mixed_in(tmp_path):
    touch(tmp_path, "p/imgs/1.png", "p/bbox/1.png", "p/masks/1.png", "q/1.png")
    layout = find_data([tmp_path / "p", tmp_path / "q"], paired=True)
    assert [ref.path for ref in layout.train.a] == [tmp_path / "p/imgs/1.png"]
    assert f"{tmp_path}/p/bbox (1 image), {tmp_path}/p/masks (1 image)" in layout.description
    touch(tmp_path, *(f"hd/{split}_{kind}/1.png" for split in ("train", "test") for kind in ("label", "inst", "img")))
    layout = find_data([tmp_path / "hd"], paired=True)
    assert [ref.path.parent.name for ref in (*layout.train.a, *layout.train.b)] == ["train_label", "train_img"]
    assert [ref.path.parent.name for ref in (*layout.test.a, *layout.test.b)] == ["test_label", "test_img"]
    assert "train_inst (1 image)" in layout.leftovers


def test_class_folders_of_a_side_belong_to_it_and_two_classes_are_two_sides(tmp_path):
    touch(tmp_path, "p/cat/1.png", "p/dog/1.png", "q/1.png")
    assert len(find_data([tmp_path / "p", tmp_path / "q"], paired=False).train.a) == 2
    names = [f"s/{split}/{kind}/{i}.png" for split in ("train", "test") for kind in ("zebra", "horse") for i in (1, 2)]
    layout = find_data([touch(tmp_path, *names) / "s"], paired=False)
    assert {ref.path.parent.name for ref in layout.train.a} == {"horse"} and len(layout.test.b) == 2
    assert "horse (A) and zebra (B) in train" in layout.description
    for i in range(2):  # images of two halves, sorted into folders, stay what they are
        touch(tmp_path, f"wide/train/{i}/")
        write_pixels(tmp_path / "wide/train" / f"{i}/x.png", noise((20, 40, 3), "uint8", i))
    assert find_data([tmp_path / "wide"], paired=False).train.a[0].half == "left"


def test_earlier_translations_are_named_and_are_no_test_images(tmp_path):
    touch(tmp_path, "trainA/1.png", "trainB/1.png", "testA/1.png", "testA/2.png", "testB/1.png", "testB/2.png")
    touch(tmp_path, "testA/out/1.png", "testA/out/2.png", "testB/run/test-a2b.png")
    (tmp_path / "testB/run/recipe.json").write_text("{}")
    layout = find_data([tmp_path], paired=True)
    assert stems(layout.test) == (["1", "2"], ["1", "2"])
    assert f"not used: {tmp_path}/testA/out (2 images), {tmp_path}/testB/run (1 image)" in layout.description


def test_what_a_record_of_translations_names_is_no_test_image(tmp_path):
    touch(
        tmp_path,
        "trainA/1.png",
        "trainB/1.png",
        "testA/1.png",
        "testB/1.png",
        "testA/x/new.png",
        "testA/x/own.png",
        "testB/x/own.png",
    )
    (tmp_path / "testA/x" / RECORD).write_text('{"output": "new.png"}\n{"outp\n')
    layout = find_data([tmp_path], paired=True)
    assert [ref.key for ref in layout.test.a] == ["1", "x/own"] and f"not used: {tmp_path}/testA/x/new.png" in layout.description
    assert RECORD == manifest.NAME


def test_folders_of_other_names_inside_a_side_stay_in_it(tmp_path):
    touch(tmp_path, "A/1.png", "A/more/2.png", "B/1.png", "B/more/2.png")
    layout = find_data([tmp_path], paired=True)
    assert isinstance(layout.train, Split) and len(layout.train.a) == 2 and not layout.leftovers
