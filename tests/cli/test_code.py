"""A run folder, a snapshot and a recipe file are data: code that they name runs only where the command line names it too."""

import json
import shutil
import sys
from dataclasses import replace

import pytest

from diptych.snapshot import Snapshot
from tests.cli.pictures import diptych

EVIL = """\
from pathlib import Path
Path({canary!r}).touch()
"""


@pytest.fixture
def stranger(pix2pix_run, tmp_path, monkeypatch):
    """A run folder whose recipe and snapshots name evil:Config, beside an evil.py in the working folder; and its canary."""
    run, canary = tmp_path / "run", tmp_path / "canary"
    shutil.copytree(pix2pix_run, run)
    recipe = json.loads((run / "recipe.json").read_text())
    recipe["method"]["name"] = "evil:Config"
    (run / "recipe.json").write_text(json.dumps(recipe))
    snapshot = Snapshot.load(run / "snapshot.safetensors")
    replace(snapshot, about=snapshot.about | {"recipe": recipe}).save(run / "snapshot.safetensors")
    (tmp_path / "evil.py").write_text(EVIL.format(canary=str(canary)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield run, canary
    assert "evil" not in sys.modules


def commands(run, original):
    images = json.loads((run / "recipe.json").read_text())["data"]["source"]
    return {
        "evaluate": (["evaluate", run, *images, "--allow-seen", "--metrics", "psnr", "--device", "cpu", "--no-cache"], 0),
        "evaluate a snapshot": (
            [
                "evaluate",
                run / "snapshot.safetensors",
                *images,
                "--metrics",
                "l1",
                "--allow-seen",
                "--device",
                "cpu",
                "--out",
                run / "e",
            ],
            0,
        ),
        "compare": (
            [
                "compare",
                run,
                original,
                "--data",
                *images,
                "--allow-seen",
                "--metrics",
                "l1",
                "--device",
                "cpu",
                "--out",
                run / "c",
            ],
            0,
        ),
        "runs": (["runs", run.parent], 0),
        "go on": (["train", "--from", run, "--more-epochs", "1", "--out", run / "more"], 2),
        "doctor": (["doctor", run], 0),
        "report": (["report", run], 0),
        "translate": (["translate", run / "snapshot.safetensors", f"{images[0]}/A", "--out", run / "o", "--device", "cpu"], 0),
        "export": (["export", run / "snapshot.safetensors", "--to", "torchscript"], 0),
        "bench": (["bench", run / "recipe.json", "cyclegan", "--on", *images, "--epochs", "1", "--out", run / "b"], 2),
        "plan": (["plan", run / "recipe.json"], 2),
        "ablate": (["ablate", run / "recipe.json", "--dry-run"], 2),
        "train": (["train", run / "recipe.json", "--out", run], 2),
    }


NAMES = (
    "evaluate",
    "evaluate a snapshot",
    "compare",
    "runs",
    "go on",
    "doctor",
    "report",
    "translate",
    "export",
    "bench",
    "plan",
    "ablate",
    "train",
)


@pytest.mark.parametrize("name", NAMES)
def test_no_command_runs_code_that_only_a_file_names(name, stranger, pix2pix_run, capsys):
    run, canary = stranger
    words, expected = commands(run, pix2pix_run)[name]
    code = diptych(*words)
    error = capsys.readouterr().err
    assert not canary.exists()
    assert code == expected, error
    if expected == 2:
        assert (
            "the recipe names code, evil:Config, which only `diptych train ... --method evil:Config` runs; first look at it"
            in error
        )


def test_code_runs_where_the_command_line_names_it(stranger, capsys):
    """So that the test above can fail: this evil.py is imported, and has no Config."""
    run, canary = stranger
    assert diptych("train", run / "recipe.json", "--method", "evil:Config", "--out", run) == 2
    assert canary.exists() and "has no attribute 'Config'" in capsys.readouterr().err
    del sys.modules["evil"]


def test_another_name_than_the_files_allows_nothing(stranger, capsys):
    run, canary = stranger
    assert diptych("train", run / "recipe.json", "--method", "good:Config", "--out", run) == 2
    assert not canary.exists() and "the recipe names code, evil:Config" in capsys.readouterr().err
