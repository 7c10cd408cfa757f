"""`diptych plan`: real measurements of tiny networks, printed and written."""

import json

from tests.cli.pictures import SMALL, diptych, folder

LENGTH = ["--train.epochs", 1, "--train.decay_epochs", 0, "--train.precision", "fp32", "--device", "cpu"]
TINY = [*LENGTH, *SMALL, "--method.generator", "unet_5"]


def test_a_plan_is_printed_and_written_and_trains_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "data", 4, width=64)
    of_train = ["--out", "runs/x", "--validations", 0, "--no-test"]
    assert diptych("plan", "pix2pix", "data", *TINY, "--train.batch_size", 2, *of_train, "--json", "plan.json") == 0
    out, err = capsys.readouterr()
    assert "note: a plan takes no account of --out, --validations, --no-test\n" in err
    assert "it fits" in out and "parameters: G_ab " in out and "2 steps: 1 epoch of 4 images" in out
    found = json.loads((tmp_path / "plan.json").read_text())
    assert [size["batch"] for size in found["measured"]] == [1, 2, 8]
    assert 1e8 < found["peak"] < found["available"] and found["steps"] == 2 and found["fits"]
    assert {path.name for path in tmp_path.iterdir()} == {"data", "plan.json"}


def test_a_training_that_would_not_fit_exits_with_3_and_says_what_would(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("diptych.training.planning.plan.memory_for_training", lambda device: 10**8)
    folder(tmp_path / "data", 4, width=64)
    assert diptych("plan", "pix2pix", tmp_path / "data", *TINY) == 3
    assert "it does not fit; try " in capsys.readouterr().out


def test_wrong_settings_and_methods_that_cannot_be_built_are_one_line(tmp_path, capsys):
    folder(tmp_path / "data", 4, width=64)
    assert diptych("plan", "pix2pix", tmp_path / "data", "--train.batchsize", 2) == 2
    assert diptych("plan", "pix2pix", tmp_path / "data", "--method.generator", "transformer", "--device", "cpu") == 2
    assert diptych("plan", "pix2pix", tmp_path / "data", "--weights", tmp_path / "none.safetensors") == 2
    assert diptych("plan", "--no-test") == 2
    unknown, unbuilt, weights, recipe = capsys.readouterr().err.splitlines()
    assert "none.safetensors: no such file" in weights  # --weights matters: it is part of the recipe
    assert recipe == "error: the following arguments are required: RECIPE; see `diptych plan --help`"
    assert "did you mean train.batch_size?" in unknown and "generator must be resnet_N" in unbuilt
