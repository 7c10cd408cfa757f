"""`diptych train` from folders of images to a run folder, in one process with tiny networks."""

import json
import signal

import yaml

from diptych.recipe import Recipe
from diptych.snapshot import Snapshot
from diptych.training import loop
from tests.cli.pictures import CYCLEGAN, PIX2PIX, SHORT, SMALL, digest, diptych, folder, picture, size_of
from tests.training.stopping import ask_to_stop

FILES = {"recipe.json", "census.json", "stats.jsonl", "snapshot.safetensors", "report.html"}


def names(run):
    return {path.name for path in run.iterdir()}


def test_pix2pix_trains_on_two_folders_paired_by_stem(pix2pix_run):
    assert names(pix2pix_run) >= FILES | {"preview-000000001.png", "preview-000000002.png", "state-000000002.safetensors"}
    (line,) = [json.loads(line) for line in (pix2pix_run / "stats.jsonl").read_text().splitlines()]
    assert line["step"] == line["images"] == 2 and line["epoch"] == 1
    assert line["losses"].keys() == {"D/real", "D/fake", "G/l1", "G/gan"}
    snapshot = Snapshot.load(pix2pix_run / "snapshot.safetensors")
    assert list(snapshot.generators) == ["a2b"] and snapshot.mode == "paper" and snapshot.size == 32


def test_cyclegan_trains_both_ways_and_shows_the_test_images(cyclegan_run):
    assert names(cyclegan_run) >= FILES | {"test-a2b.png", "test-b2a.png"}
    assert list(Snapshot.load(cyclegan_run / "snapshot.safetensors").generators) == ["a2b", "b2a"]


def test_pairs_with_a_test_split_are_scored(tmp_path, capsys):
    for i, name in enumerate(("trainA", "trainB", "testA", "testB")):
        folder(tmp_path / "data" / name, seed=10 * i)
    command = ("train", "pix2pix", tmp_path / "data", "--out", tmp_path / "run", *PIX2PIX)
    assert diptych(*command, "--no-test") == 0
    assert "report.html" in names(tmp_path / "run") and not names(tmp_path / "run") & {"evaluation.json", "test-a2b.png"}
    assert diptych(*command) == 0
    results = json.loads((tmp_path / "run" / "evaluation.json").read_text())["results"]
    assert {(r["metric"], r["of"], r["estimate"]["n"]) for r in results} >= {("psnr", "model", 2), ("ssim", "mean", 2)}
    out = capsys.readouterr().out
    assert "a2b model" in out and f"{tmp_path}/run/report.html" in out


def test_side_by_side_images_train_from_right_to_left(tmp_path):
    folder(tmp_path / "data", width=64)
    direction = ["--data.direction", "b2a"]
    assert diptych("train", "pix2pix", tmp_path / "data", "--out", tmp_path / "run", *PIX2PIX, *direction) == 0
    sides = json.loads((tmp_path / "run" / "census.json").read_text())["sides"]
    assert [half for _, half, *_ in sides[0]] == ["right", "right"]  # a of the run is the right half


def test_two_folders_of_any_names_train_unpaired(tmp_path):
    a, b = folder(tmp_path / "horses", 3, height=40, width=50), folder(tmp_path / "zebras \U0001f993", 2, seed=5)
    assert diptych("train", "cyclegan", a, b, "--out", tmp_path / "run", *CYCLEGAN) == 0
    assert json.loads((tmp_path / "run" / "stats.jsonl").read_text())["images"] == 3  # an epoch visits the larger side once


def test_a_finished_run_is_not_trained_again(pix2pix_run, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in pix2pix_run.glob("*") if path.name not in ("report.html", ".lock")}
    data = json.loads((pix2pix_run / "recipe.json").read_text())["data"]["source"]
    assert diptych("train", "pix2pix", *data, "--out", pix2pix_run, *PIX2PIX) == 0
    assert "finished already, at 2 images" in capsys.readouterr().err
    after = {path.name: path.stat().st_mtime_ns for path in pix2pix_run.glob("*") if path.name not in ("report.html", ".lock")}
    assert {name for name in after if after[name] != before.get(name)} <= {"stats.jsonl"}
    assert len((pix2pix_run / "stats.jsonl").read_text().splitlines()) == 1


def test_a_changed_recipe_is_refused_by_its_first_difference(pix2pix_run, capsys):
    data = json.loads((pix2pix_run / "recipe.json").read_text())["data"]["source"]
    assert diptych("train", "pix2pix", *data, "--out", pix2pix_run, *PIX2PIX, "--train.lr", "0.001") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and "holds a run of another recipe (train.lr: 0.0002 -> 0.001)" in error


def test_a_dry_run_prints_yaml_of_the_same_recipe_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    deep = tmp_path / ("a long name " * 8).strip() / "photos: 100 % [new] :smile: \U0001f993"
    folder(deep / "A"), folder(deep / "B")
    assert diptych("train", "pix2pix", deep, *PIX2PIX, "--dry-run") == 0
    text = capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    assert "# parameters: G_ab " in text and "# time: about " in text and "# data: " in text
    (tmp_path / "recipe.yaml").write_text(text)
    recipe = Recipe.load(tmp_path / "recipe.yaml")
    assert recipe.data.source == (str(deep),) and recipe.method.ngf == 4
    assert yaml.safe_load(text) == recipe.to_dict()


def test_a_recipe_file_trains_and_the_command_line_overrides_it(tmp_path):
    folder(tmp_path / "data", width=64)
    settings = [str(word) for word in [*SMALL, "--method.generator", "unet_5"]]
    recipe = Recipe.create("pix2pix", {"data": {"source": [str(tmp_path / "data")]}, "train": {"seed": 3, "lr": 1e-3}}, settings)
    (tmp_path / "mine.yaml").write_text(recipe.to_yaml())
    assert diptych("train", tmp_path / "mine.yaml", "--out", tmp_path / "run", *SHORT, "--train.seed", 7) == 0
    written = Recipe.load(tmp_path / "run" / "recipe.json")
    assert (written.train.seed, written.train.lr, written.train.epochs) == (7, 1e-3, 1)
    assert written.method == recipe.method and written.data == recipe.data


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path, monkeypatch, capsys):
    a, b = folder(tmp_path / "a", 4), folder(tmp_path / "b", 4, seed=9)
    words = ["train", "cyclegan", a, b, *CYCLEGAN, "--log-every", 1]
    assert diptych(*words, "--out", tmp_path / "whole") == 0

    step = loop.train_step
    steps = []

    def interrupted_step(trainee, batch):
        step(trainee, batch)
        steps.append(trainee.images)
        if len(steps) == 2:
            ask_to_stop()

    monkeypatch.setattr(loop, "train_step", interrupted_step)
    assert diptych(*words, "--out", tmp_path / "cut") == 128 + signal.SIGTERM
    assert "stopped at step 2 of 4 and saved; run the same command to go on" in capsys.readouterr().err.splitlines()
    assert diptych(*words, "--out", tmp_path / "cut") == 0
    assert steps == [0, 1, 2, 3]
    whole, cut = (digest(tmp_path / name / "snapshot.safetensors") for name in ("whole", "cut"))
    assert whole == cut
    losses = [
        [json.loads(line)["losses"] for line in (tmp_path / name / "stats.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 4


def test_an_unreadable_image_among_many_is_skipped_and_strict_refuses_it(tmp_path, capsys):
    a, b = folder(tmp_path / "a", 25), folder(tmp_path / "b", 2)
    (a / "3.png").write_bytes(b"<html>not found</html>")
    words = ["train", "cyclegan", a, b, *CYCLEGAN, "--previews", 0]
    assert diptych(*words, "--out", tmp_path / "strict", "--strict") == 2
    assert "1 of 25 images cannot be used, and strict allows none" in capsys.readouterr().err
    assert diptych(*words, "--out", tmp_path / "run", "--data.crop_size", 16, "--data.load_size", 16) == 0
    assert f"warning: skipped: {a}/3.png: is a web page or XML" in capsys.readouterr().err


def test_different_channels_train_both_ways_without_the_identity_loss(tmp_path, capsys):
    a, b = folder(tmp_path / "gray", channels=1), folder(tmp_path / "colour")
    assert diptych("train", "cyclegan", a, b, "--out", tmp_path / "run", *CYCLEGAN) == 0
    assert "warning: identity loss is off: domain a has 1 channels and b has 3" in capsys.readouterr().err
    assert not any("idt" in name for name in json.loads((tmp_path / "run" / "stats.jsonl").read_text())["losses"])
    gray = picture(tmp_path / "x.png", 3, 40, 24, channels=1)
    assert diptych("translate", tmp_path / "run" / "snapshot.safetensors", gray, "--out", tmp_path / "out") == 0
    assert size_of(tmp_path / "out" / "x.png") == ("RGB", 40, 24)
    words = [
        tmp_path / "run" / "snapshot.safetensors",
        tmp_path / "out" / "x.png",
        "--out",
        tmp_path / "back",
        "--direction",
        "b2a",
    ]
    assert diptych("translate", *words) == 0
    assert size_of(tmp_path / "back" / "x.png") == ("L", 40, 24)


def test_a_run_without_data_says_what_to_name(capsys):
    assert diptych("train", "pix2pix") == 2
    assert capsys.readouterr().err == ("error: pix2pix: no data given; name one or two folders, or relief, the embedded data\n")


def test_worker_processes_see_the_same_images(tmp_path):
    a, b = folder(tmp_path / "a"), folder(tmp_path / "b", seed=9)
    for name, options in (("none", []), ("some", ["--workers", 1])):
        assert diptych("train", "cyclegan", a, b, "--out", tmp_path / name, *CYCLEGAN, *options, "--previews", 0) == 0
    assert digest(tmp_path / "none" / "snapshot.safetensors") == digest(tmp_path / "some" / "snapshot.safetensors")
