"""Validation scores held-out images as training goes on, keeps the best snapshot, and survives any interruption."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from diptych.data.datasets import read_as
from diptych.errors import DataError, Interrupted
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.snapshot import Snapshot
from diptych.training.job import evenly_spaced
from diptych.training.loop import train
from diptych.training.records.best import BestScore, Validation
from diptych.trees import read_header, read_tree
from tests.contract.test_methods import assert_equal_trees
from tests.training.stopping import ask_to_stop

SIZE = 16
METHOD = {"generator": "unet_3", "ngf": 4, "ndf": 4, "num_layers": 1, "lambda_gan": 0.0, "dropout": True}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root, noise = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for side in ("trainA", "trainB", "valA", "valB", "testA", "testB"):
        (root / side).mkdir()
        for k in range(12 if side.startswith("train") else 3):
            Image.fromarray(noise.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)).save(root / side / f"{k}.png")
    return root


def recipe_of(images, **data):
    data = {"source": [str(images)], "load_size": SIZE, "crop_size": SIZE} | data
    return Recipe.create(
        "pix2pix", {"method": METHOD, "data": data, "train": {"epochs": 1, "decay_epochs": 1, "precision": "fp32"}}
    )


def scripted(values, calls=None):
    """A validation whose scores are given beforehand, by the images seen."""

    def score(snapshot, census, poll):
        poll()
        if calls is not None:
            calls.append((snapshot.about["images"], [ref.path.parent.name for ref in census.val.a]))
        return {"lpips": values[snapshot.about["images"]]}

    return Validation(score, "lpips", higher_is_better=False)


def run_of(images, out, validation, **options):
    train(
        recipe_of(images),
        out,
        device="cpu",
        workers=0,
        log_every=5,
        num_previews=0,
        validation=validation,
        num_validations=4,
        **options,
    )
    return [json.loads(line) for line in (out / "stats.jsonl").read_text().splitlines()]


VALUES = {6: 0.5, 12: 0.2, 18: 0.3, 24: 0.2}


def test_the_best_snapshot_is_the_one_of_the_best_score_and_says_by_which_rule(images, tmp_path):
    calls = []
    lines = run_of(images, tmp_path / "run", scripted(VALUES, calls))
    assert {line["step"]: line["validation"]["lpips"] for line in lines if "validation" in line} == VALUES
    assert [line["step"] for line in lines] == [5, 6, 10, 12, 15, 18, 20, 24] and all(line["losses"] for line in lines)
    assert calls == [(step, ["valA"] * 3) for step in VALUES]
    best, last = (read_header(getattr(Run(tmp_path / "run"), name))["about"] for name in ("best", "snapshot"))
    assert (best["images"], best["selection"]) == (12, "lowest lpips on the validation split, 0.2")
    assert (last["images"], last["selection"]) == (24, "the last of the training")


def test_validation_changes_nothing_of_the_training(images, tmp_path):
    class Nosy:
        def __call__(self, snapshot, census, poll):
            import torch

            torch.rand(7)
            from diptych.inference.translator import Translator

            Translator(snapshot, device="cpu").tensors(torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8))
            return {"lpips": 1.0}

    run_of(images, tmp_path / "with", Validation(Nosy(), "lpips", higher_is_better=False))
    run_of(images, tmp_path / "without", None)
    assert_equal_trees(*(read_tree(Run(tmp_path / name).states()[0])["method"] for name in ("with", "without")))


def test_a_run_that_is_stopped_while_it_validates_ends_as_if_it_never_was(images, tmp_path):
    stopped = []

    def score(snapshot, census, poll):
        if snapshot.about["images"] == 12 and not stopped:
            stopped.append(True)
            ask_to_stop()
        poll()
        return {"lpips": VALUES[snapshot.about["images"]]}

    with pytest.raises(Interrupted, match="stopped at step 12 of 24 and saved"):
        run_of(images, tmp_path / "run", Validation(score, "lpips", higher_is_better=False))
    lines = run_of(images, tmp_path / "run", Validation(score, "lpips", higher_is_better=False))
    whole = run_of(images, tmp_path / "whole", scripted(VALUES))
    for line in (*lines, *whole):
        del line["images_s"]
    assert lines == whole
    runs = Run(tmp_path / "run"), Run(tmp_path / "whole")
    assert_equal_trees(*(read_tree(run.states()[0]) for run in runs))
    assert runs[0].best.read_bytes() == runs[1].best.read_bytes()


def test_the_best_is_remembered_over_a_resume(images, tmp_path):
    values, stopped = {6: 0.1, 12: 0.2, 18: 0.3, 24: 0.2}, []

    def score(snapshot, census, poll):
        if snapshot.about["images"] == 18 and not stopped:
            stopped.append(True)
            ask_to_stop()
        return {"lpips": values[snapshot.about["images"]]}

    with pytest.raises(Interrupted):
        run_of(images, tmp_path / "run", Validation(score, "lpips", higher_is_better=False))
    run_of(images, tmp_path / "run", scripted(values))
    assert Snapshot.load(Run(tmp_path / "run").best).about["images"] == 6


def test_no_score_that_is_not_finite_is_ever_the_best():
    selection = BestScore(scripted({}), [{"validation": {"lpips": float("nan")}}, {"losses": {}}])
    assert not selection.improves({"lpips": float("inf")}) and not selection.improves({"psnr": 1.0})
    assert selection.improves({"lpips": 3.0}) and not selection.improves({"lpips": 3.0}) and selection.improves({"lpips": 2.0})
    higher = BestScore(Validation(lambda *_: {}, "psnr", higher_is_better=True), [{"validation": {"psnr": 20.0}}])
    assert not higher.improves({"psnr": 19.0}) and higher.improves({"psnr": 21.0})


def test_an_image_that_validates_and_tests_is_refused(images, tmp_path):
    root = tmp_path / "linked"
    root.mkdir()
    for name in ("trainA", "trainB", "testA", "testB"):
        (root / name).symlink_to(images / name)
    for side in "AB":
        (root / f"val{side}").symlink_to(images / f"test{side}")
    with pytest.raises(DataError, match="is in the validation and in the test split, but a snapshot must not be selected on"):
        train(recipe_of(root), tmp_path / "run", device="cpu", num_previews=0)


def test_without_a_val_folder_a_share_of_training_is_held_out_and_never_trained_on(images, tmp_path):
    root = tmp_path / "small"
    root.mkdir()
    for side in "AB":
        (root / f"train{side}").mkdir()
        for k in range(20):
            (root / f"train{side}" / f"{k}.png").symlink_to(images / f"train{side}" / f"{k % 12}.png")
    train(recipe_of(root, holdout=0.4), tmp_path / "run", device="cpu", workers=0, num_previews=0)
    census = Run(tmp_path / "run").census()
    names = [{ref.name for ref in split.a} for split in (census.split, census.val)]
    assert [len(found) for found in names] == [12, 8] and not names[0] & names[1]


@pytest.mark.parametrize(("holdout", "said"), [(0.5, True), (0.0, False)])
def test_too_few_images_to_hold_out_are_said_unless_none_are_asked_for(holdout, said, images, tmp_path, caplog):
    caplog.set_level("INFO")
    sources = [str(images / "trainA"), str(images / "trainB")]  # 12 a side, half of which are 6
    train(recipe_of(images, source=sources, holdout=holdout), tmp_path / "run", device="cpu", workers=0, num_previews=0)
    line = (
        f"no images are held out for validation: data.holdout {holdout:g} of 12 (A) and 12 (B) images gives fewer than 8 a side"
    )
    assert (line in caplog.text) == said


def test_steps_are_spread_evenly_and_end_with_the_last():
    assert evenly_spaced(4, 100) == {25, 50, 75, 100} and evenly_spaced(0, 100) == set() and evenly_spaced(20, 3) == {1, 2, 3}


def counting(losing):
    """A validation whose score is the number of pairs that it could read; ``losing`` are files to remove first, by step."""

    def score(snapshot, census, poll):
        for path in losing.pop(snapshot.about["images"], ()):
            path.unlink()
        for ref, domain in [(ref, census.a) for ref in census.val.a] + [(ref, census.b) for ref in census.val.b]:
            read_as(ref, domain)
        return {"lpips": float(len(census.val.a))}

    return Validation(score, "lpips", higher_is_better=False)


def test_validation_images_that_go_bad_are_left_out_and_said_and_the_training_goes_on(images, tmp_path, caplog):
    shutil.copytree(images, tmp_path / "data")
    lost = {12: [tmp_path / "data" / "valB" / "1.png"], 18: [tmp_path / "data" / "valA" / f"{k}.png" for k in (0, 2)]}
    lines = run_of(tmp_path / "data", tmp_path / "run", counting(dict(lost)))
    assert [line["validation"]["lpips"] for line in lines if "validation" in line] == [3, 2]
    said = [message for message in caplog.messages if "from now on" in message or "no validation images" in message]
    assert said[0].startswith(f"left out of validation from now on: {lost[12][0]}: does not exist") and len(said) == 4
    assert said[3] == "no validation images are left; the training goes on without validation"
    assert lines[-1]["images"] == 24


def test_an_error_that_is_not_of_an_image_is_raised(images, tmp_path):
    def score(snapshot, census, poll):
        raise DataError("no scores today")

    with pytest.raises(DataError, match="no scores today"):
        run_of(images, tmp_path / "run", Validation(score, "lpips", higher_is_better=False))


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_val_images_are_of_the_kind_of_the_training_images_or_refused_before_it_begins(direction, images, tmp_path):
    for side in ("trainA", "trainB", "valA", "valB"):
        shutil.copytree(images / side, tmp_path / "data" / side)
    deep = np.zeros((SIZE, SIZE), np.uint16)
    for k in range(3):
        Image.fromarray(deep).save(tmp_path / "data" / "valA" / f"{k}.png")
    with pytest.raises(
        DataError,
        match=r"val[AB]: 3 of 3 pairs cannot be used, so none is left: .*valA/0.png: is 1 x uint16 among images of 3 x uint8",
    ):
        train(recipe_of(tmp_path / "data", direction=direction), tmp_path / "run", device="cpu")
