"""A run goes on where its images lie elsewhere, and what changed about them is named."""

import json
import re
import shutil

import numpy as np
import pytest

from diptych.data.formats import write_pixels
from diptych.errors import DataError, Interrupted, StorageError
from diptych.recipe import Recipe
from diptych.run import Run, read_census
from diptych.training import loop
from tests.cli.pictures import digest, folder, picture
from tests.training.stopping import ask_to_stop

SMALL = {"generator": "resnet_1", "ngf": 4, "lambda_gan": 0.0}


def recipe(a, b, method="cyclegan", **data):
    data = {"source": [str(a), str(b)], "load_size": 16, "crop_size": 16} | data
    train = {"epochs": 2, "decay_epochs": 0, "precision": "fp32"}
    return Recipe.create(method, {"method": SMALL, "data": data, "train": train})


def images(root, count=12):
    for side, seed in (("a", 0), ("b", 100)):
        folder(root / side, count, seed=seed, height=16, width=16)
        picture(root / side / "deep" / "x.png", seed + 70, 16, 16)
    return root / "a", root / "b"


def run(recipe, out, stop_at=None, monkeypatch=None, **options):
    """Train, or stop by a signal at a step and save."""
    if stop_at is None:
        return loop.train(recipe, out, device="cpu", workers=0, cache="off", num_previews=0, **options)
    step, seen = loop.train_step, []

    def stopping(trainee, batch):
        step(trainee, batch)
        seen.append(trainee.images)
        if len(seen) == stop_at:
            ask_to_stop()

    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_step", stopping)
        with pytest.raises(Interrupted):
            run(recipe, out, **options)


def test_a_run_goes_on_bit_equal_where_its_data_were_moved(tmp_path, monkeypatch):
    a, b = images(tmp_path / "here")
    run(recipe(a, b), tmp_path / "whole")
    run(recipe(a, b), tmp_path / "cut", stop_at=7, monkeypatch=monkeypatch)
    there = tmp_path / "there"
    shutil.move(tmp_path / "here", there)
    run(recipe(there / "a", there / "b"), tmp_path / "cut")
    states = [Run(tmp_path / name).states()[0] for name in ("whole", "cut")]
    assert digest(states[0]) == digest(states[1])
    census = read_census(tmp_path / "cut")
    assert all(ref.path.is_relative_to(there) and ref.path.exists() for ref in (*census.split.a, *census.split.b))
    assert json.loads((tmp_path / "cut" / "recipe.json").read_text())["data"]["source"] == [str(there / "a"), str(there / "b")]


def test_the_same_folders_as_another_layout_are_the_same_images(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    a, b = images(tmp_path / "here", 10)
    run(recipe(a, b), tmp_path / "run", stop_at=3, monkeypatch=monkeypatch)
    (tmp_path / "here" / "a").rename(tmp_path / "here" / "trainA"), (tmp_path / "here" / "b").rename(tmp_path / "here" / "trainB")
    moved = recipe(a, b).replace(**{"data.source": (str(tmp_path / "here"),)})
    run(moved, tmp_path / "run")
    assert "the images lie elsewhere now" in caplog.text and "changed since" not in caplog.text


def changed(a, kind):
    if kind == "gone":
        (a / "3.png").unlink()
    elif kind == "changed":
        write_pixels(a / "3.png", np.full((16, 17, 3), 7, np.uint8))
    else:
        picture(a / "new one.png", 5, 16, 16)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gone", "(1 gone: train/a/3.png); images that are gone are passed over"),
        ("changed", "(1 changed: train/a/3.png); images that are gone are passed over"),
        ("new", "(1 new: train/a/new one.png); this run does not train on new images"),
    ],
)
def test_a_little_that_changed_is_named_and_the_run_goes_on(kind, said, tmp_path, monkeypatch, caplog):
    a, b = images(tmp_path)
    run(recipe(a, b), tmp_path / "run", stop_at=2, monkeypatch=monkeypatch)
    changed(a, kind)
    run(recipe(a, b), tmp_path / "run")
    assert said in caplog.text and caplog.text.count("the data changed since this run began") == 1


def test_other_data_are_refused_and_change_nothing(tmp_path, monkeypatch):
    a, b = images(tmp_path / "one")
    run(recipe(a, b), tmp_path / "run", stop_at=2, monkeypatch=monkeypatch)
    c = folder(tmp_path / "other", 12, seed=500, height=16, width=16)  # the same names, other images
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.json")}
    message = (
        r"run: was trained on other images \(1 gone: train/a/deep/x.png; \d+ changed: train/a/\d+.png, .*\), and at most 5 %"
    )
    with pytest.raises(DataError, match=message):
        run(recipe(c, b), tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").glob("*.json")} == before


def test_a_sample_of_hashes_finds_files_of_equal_size_that_differ(tmp_path, monkeypatch):
    a, b = images(tmp_path)
    for path in a.rglob("*.png"):
        path.with_suffix(".bmp").write_bytes(b"BM" + bytes(10)), path.with_suffix(".bmp").unlink()
        write_pixels(path.with_suffix(".npy"), np.full((16, 16, 3), 5, np.uint8)), path.unlink()
    run(recipe(a, b), tmp_path / "run", stop_at=2, monkeypatch=monkeypatch)
    for path in a.rglob("*.npy"):
        write_pixels(path, np.full((16, 16, 3), 6, np.uint8))
    with pytest.raises(DataError, match=r"was trained on other images \(\d+ changed: train/a/"):
        run(recipe(a, b), tmp_path / "run")


def test_a_run_of_an_earlier_version_is_compared_by_names(tmp_path, monkeypatch, caplog):
    a, b = images(tmp_path / "here")
    run(recipe(a, b), tmp_path / "run", stop_at=2, monkeypatch=monkeypatch)
    (tmp_path / "run" / "files.json").unlink()
    shutil.move(tmp_path / "here", tmp_path / "there")
    (tmp_path / "there" / "a" / "5.png").unlink()
    run(recipe(tmp_path / "there" / "a", tmp_path / "there" / "b"), tmp_path / "run")
    assert "the data changed since this run began (1 gone: train/a/5.png)" in caplog.text


def test_strict_holds_for_a_run_that_goes_on_and_for_a_finished_one(tmp_path):
    a, b = images(tmp_path, 25)
    (a / "3.png").write_bytes(b"<html>not found</html>")
    run(recipe(a, b), tmp_path / "run")
    with pytest.raises(DataError, match=r"run: 1 images were left out, and strict allows none: \S+3\.png: is a web page"):
        run(recipe(a, b), tmp_path / "run", strict=True)


def test_a_file_that_goes_missing_is_named_once_and_too_many_end_the_training(tmp_path, monkeypatch, caplog):
    a, b = images(tmp_path)
    r = recipe(a, b, holdout=0.0).replace(**{"train.epochs": 6})
    step, taken = loop.train_step, []

    def losing(trainee, batch):
        step(trainee, batch)
        taken.append(trainee.images)
        if len(taken) == 1:
            (a / "3.png").unlink()
        if len(taken) == 2 * 13:
            for i in range(1, 5):
                (b / f"{i}.png").unlink()

    monkeypatch.setattr(loop, "train_step", losing)
    with pytest.raises(DataError, match=r"\d of 26 files can no longer be read, more than 5%; the last: .*is saved"):
        run(r, tmp_path / "run", log_every=10)
    assert len(re.findall(r"skipped from now on: \S+/a/3\.png: does not exist", caplog.text)) == 1
    assert Run(tmp_path / "run").states()


def test_a_run_folder_that_was_removed_is_not_made_again(tmp_path, monkeypatch):
    a, b = images(tmp_path, 5)
    step = loop.train_step

    def removing(trainee, batch):
        step(trainee, batch)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)

    monkeypatch.setattr(loop, "train_step", removing)
    with pytest.raises(StorageError, match="run: was removed or moved while the training wrote it; the training ends"):
        run(recipe(a, b), tmp_path / "run", save_every=0.0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", ["renamed", "one of a pair removed", "all removed"])
def test_a_pair_that_changes_during_a_training_is_skipped_by_name_and_what_changed_is_said_by_the_next(
    damage, tmp_path, monkeypatch, caplog
):
    a, b = images(tmp_path)
    step = loop.train_step

    def damaging(trainee, batch):
        step(trainee, batch)
        if trainee.images == 3 and damage == "renamed":
            (a / "5.png").rename(a / "new.png")
        elif trainee.images == 3 and damage == "one of a pair removed":
            (b / "5.png").unlink()
        elif trainee.images == 3:
            shutil.rmtree(a)

    small = {"generator": "unet_4", "ngf": 4, "ndf": 4, "num_layers": 1}
    data = {"source": [str(a), str(b)], "load_size": 16, "crop_size": 16, "holdout": 0.0}
    given = {"method": small, "data": data, "train": {"epochs": 3, "decay_epochs": 0, "precision": "fp32"}}
    given = Recipe.create("pix2pix", given)
    with monkeypatch.context() as patched:
        patched.setattr(loop, "train_step", damaging)
        if damage == "all removed":
            with pytest.raises(DataError, match=r"^10 images in a row .*; the training is saved: restore them, and run the same"):
                run(given, tmp_path / "run")
        else:
            run(given, tmp_path / "run")
    gone = a if damage == "renamed" else b
    if damage == "all removed":
        assert len(Run(tmp_path / "run").states()) == 1  # what was read ahead is still trained on
    else:
        said = [line for line in caplog.messages if line.startswith("skipped from now on: ")]
        assert said == [f"skipped from now on: {gone}/5.png: does not exist; check the path, or whether it was removed meanwhile"]
        assert len(json.loads((tmp_path / "run" / "stats.jsonl").read_text().splitlines()[-1])["losses"]) > 1
    changed = {
        "renamed": rf"; since this run began {a}/5.png went, and came {a}/new.png; restore the files as they were to go on",
        "one of a pair removed": rf"; since this run began {b}/5.png went; restore the files as they were to go on with it$",
        "all removed": rf"; since this run began {a}/0.png, {a}/1.png, {a}/10.png and 10 more went; restore the files",
    }
    with pytest.raises(DataError, match=changed[damage]):
        run(given, tmp_path / "run")
