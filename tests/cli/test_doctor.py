"""`diptych doctor` reads what a run wrote, and says what is wrong in words and in its exit code."""

import json
import shutil

import pytest

from diptych.recipe import Recipe
from tests.cli.pictures import diptych


def line(step, **health):
    numbers = {"a2b/spread": 0.8, "a2b/detail": 0.9} | {f"a2b/{name}": value for name, value in health.items()}
    return {"step": step, "images": step, "epoch": 2, "losses": {"G/l1": 9.0}, "health": numbers}


@pytest.fixture
def run(tmp_path):
    def written(*lines, tail=""):
        folder = tmp_path / "run"
        folder.mkdir()
        (folder / "recipe.json").write_text(json.dumps(Recipe.create("pix2pix").to_dict()))
        (folder / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)
        return folder

    return written


def test_a_healthy_run_exits_with_0(run, capsys):
    assert diptych("doctor", run(line(100), line(2000))) == 0
    assert capsys.readouterr().out == "healthy: nothing wrong at the last of 2 looks, step 2,000\n"


def test_an_unhealthy_run_exits_with_3_and_every_verdict(run, tmp_path, capsys):
    folder = run(line(100, spread=0.01, dead=1.0), line(200, spread=0.02, dead=1.0))
    assert diptych("doctor", folder, "--json", tmp_path / "health.json") == 3
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("a2b: one output for all inputs: spread 0.02 is below 0.05 since step 100 (")
    assert second.endswith("start again with --method.norm instance (now batch) and a lower --train.lr (now 0.0002)")
    written = json.loads((tmp_path / "health.json").read_text())
    assert (written["looks"], written["enough"]) == (2, True)
    found = written["verdicts"][0]
    assert (found["problem"], found["where"], found["number"], found["since_step"]) == (
        "one output for all inputs",
        "a2b",
        0.02,
        100,
    )


def test_a_young_run_is_said_to_be_too_young(run, tmp_path, capsys):
    assert diptych("doctor", run(line(60)), "--json", tmp_path / "health.json") == 0
    assert "too young to judge: 1 of the 2 looks that it takes" in capsys.readouterr().out
    assert json.loads((tmp_path / "health.json").read_text()) == {"looks": 1, "enough": False, "verdicts": []}


def test_a_loss_that_is_not_finite_is_said_even_of_a_young_run(run, tmp_path, capsys):
    bad = {"step": 3, "images": 3, "epoch": 1, "losses": {"G/l1": float("nan")}}
    assert diptych("doctor", run(bad), "--json", tmp_path / "health.json") == 3
    out = capsys.readouterr().out
    assert "G/l1: not finite" in out and "too young to judge" in out
    (found,) = json.loads((tmp_path / "health.json").read_text(), parse_constant=pytest.fail)["verdicts"]
    assert found["number"] is None and found["threshold"] is None


def test_a_line_that_is_being_written_is_no_harm(run, capsys):
    assert diptych("doctor", run(line(100), line(200), tail='{"step": 300, "lo')) == 0
    assert "healthy" in capsys.readouterr().out


def test_a_run_that_was_just_trained_can_be_judged(pix2pix_run, capsys):
    assert diptych("doctor", pix2pix_run) == 0
    assert "too young to judge" in capsys.readouterr().out


def test_statistics_that_end_before_the_training_are_said(pix2pix_run, tmp_path, capsys):
    cut = shutil.copytree(pix2pix_run, tmp_path / "cut")
    (cut / "stats.jsonl").write_text("")
    assert diptych("doctor", cut) == 0
    assert "note: stats.jsonl ends after 0 images, and the snapshot saw " in capsys.readouterr().out
    assert diptych("doctor", pix2pix_run) == 0 and "ends after" not in capsys.readouterr().out


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert diptych("doctor", tmp_path) == 2
    assert f"{tmp_path}: holds no statistics of a training; give a run folder" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ['{"step": 1}\n', "[]}\n", '"x}\n'])
def test_damaged_statistics_are_refused_in_one_line(run, damage, capsys):
    assert diptych("doctor", run(line(100), tail=damage)) == 2
    assert "stats.jsonl: damaged (" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "count"), [("garbage\nmore\n", "2 of 2"), ("\0\0\0", "1 of 1"), ("[" * 100_000 + "\n", "1 of 1")]
)
def test_statistics_of_garbage_alone_are_counted(run, text, count, capsys):
    assert diptych("doctor", run(tail=text)) == 2
    assert f"stats.jsonl: damaged ({count} lines cannot be read); " in capsys.readouterr().err


@pytest.mark.parametrize("command", ["doctor", "report"])
@pytest.mark.parametrize("content", ["{}", "7", "null", "[" * 100_000, '{"method": {"name": 3}}'])
def test_a_recipe_that_says_nothing_is_refused_by_its_name(run, command, content, capsys):
    folder = run(line(100), line(200))
    (folder / "recipe.json").write_text(content)
    assert diptych(command, folder) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"{folder / 'recipe.json'}: " in said
