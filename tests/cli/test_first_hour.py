"""The commands of docs/first-hour.md, one after another as a new user gives them, on tiny pictures."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from diptych.cli import estimate, main
from diptych.inference.manifest import NAME as MANIFEST
from diptych.snapshot import Snapshot
from tests.cli.pictures import folder, size_of
from tests.cli.test_help import commands

PAGE = Path(__file__).parents[2] / "docs" / "first-hour.md"
TINY = ["--data.load_size=34", "--data.crop_size=32", "--method.ngf=4", "--method.ndf=4", "--method.num_layers=1"]
TINY += ["--method.generator=resnet_1", "--train.epochs=1", "--train.decay_epochs=1", "--device=cpu"]
WORDS = [words for words in commands(PAGE.read_text(encoding="utf-8")) if len(words) > 1 or words in (["--version"], ["runs"])]
RUN = Path("runs/cyclegan-horses-zebras")


def given(words):
    """The command, with the sizes that make it tiny."""
    if words[0] in ("train", "plan"):
        return [*words, *(TINY if "--from" not in words else ["--train.decay_epochs=1", "--device=cpu"])]
    return [*words, "--device=cpu"] if words[0] in ("translate", "evaluate") else words


def test_the_page_has_fifteen_commands():
    assert len(WORDS) == 15


@pytest.mark.slow
def test_the_first_hour(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for i, side in enumerate(("horses", "zebras")):
        folder(Path(side, "train"), 4, seed=10 * i), folder(Path(side, "test"), 3, seed=50 + 10 * i)
    said = []
    for words in WORDS:
        try:
            code = main(given(words))
        except SystemExit as leaving:  # --version
            code = leaving.code
        captured = capsys.readouterr()
        said.append(captured.out + captured.err)
        assert code == 0 or (words[0] == "check" and code == 1), (shlex.join(words), captured.err)
    by_words = {shlex.join(words): text for words, text in zip(WORDS, said, strict=True)}
    trained = by_words["train cyclegan horses/ zebras/ --preset laptop"]
    assert "note: data: horses (A) and zebras (B): train on 4 + 4 images, test: 3 + 3 images" in trained
    assert f"into {RUN}" in trained and "training: 8 steps" in trained
    assert f"{RUN}  cyclegan  finished, 8 steps" in by_words["runs"]
    assert "0 translated into striped, 3 were there" in by_words[f"translate {RUN} horses/test/ --out striped/"]
    assert "goes on from runs/cyclegan-horses-zebras at 8 images" in by_words[f"train --from {RUN} --more-epochs 20"]
    again = by_words[f"train cyclegan horses/ zebras/ --preset laptop --weights {RUN} --out runs/again"]
    assert "G_ab takes 16 of its 16 tensors" in again and "D_b takes" in again
    assert {path.name for path in Path("striped").iterdir()} == {"0.png", "1.png", "2.png", MANIFEST}
    assert size_of(Path("plain.png")) == ("RGB", 32, 32)
    assert {"report.html", "MODEL_CARD.md", "evaluation.json"} <= {path.name for path in RUN.iterdir()}
    report = Path("runs/cyclegan-horses-zebras-more/report.html").read_text()
    assert "Goes on from runs/cyclegan-horses-zebras at 8 images, SHA-256 " in report
    assert list(Snapshot.load(RUN / "snapshot-discriminators.safetensors").discriminators) == ["D_a", "D_b"]


def test_the_command_again_says_that_the_run_is_finished_and_how_it_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder(Path("a")), folder(Path("b"), seed=9)
    command = ["train", "cyclegan", "a", "b", *TINY, "--previews=0"]
    assert main(command) == 0
    evaluated = Path("runs/cyclegan-a-b/report.html")
    capsys.readouterr()
    assert main(command) == 0
    err = capsys.readouterr().err
    assert "note: finished already, at 4 images; nothing is left to train; more epochs: " in err
    assert "`diptych train --from runs/cyclegan-a-b --more-epochs N`" in err and "resumed" not in err
    assert evaluated.exists() and [path.name for path in Path("runs").iterdir()] == ["cyclegan-a-b"]


@pytest.mark.parametrize(
    ("change", "folder_name"),
    [([], "cyclegan-a-b"), (["--train.lr=1e-3"], "cyclegan-a-b-2"), (["elsewhere"], "cyclegan-a-b-2"), (["c"], "cyclegan-a-c")],
)
def test_another_recipe_or_other_data_get_a_folder_of_their_own(change, folder_name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("a", "b", "c", "elsewhere/b")):
        folder(Path(name), seed=10 * i)
    sizes = [*TINY, "--previews=0", "--validations=0"]
    assert main(["train", "cyclegan", "a", "b", *sizes]) == 0
    second = {"elsewhere": "elsewhere/b"}.get(change[0], change[0]) if change and not change[0].startswith("-") else "b"
    settings = [word for word in change if word.startswith("-")]
    assert main(["train", "cyclegan", "a", second, *sizes, *settings]) == 0
    assert {path.name for path in Path("runs").iterdir()} == {"cyclegan-a-b", folder_name}


def test_a_run_in_the_folder_of_earlier_versions_is_resumed_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder(Path("a")), folder(Path("b"), seed=9)
    command = ["train", "cyclegan", "a", "b", *TINY, "--previews=0"]
    assert main([*command, "--out", "runs/cyclegan"]) == 0 and main(command) == 0
    assert [path.name for path in Path("runs").iterdir()] == ["cyclegan"]
    assert "finished already" in capsys.readouterr().err


def test_a_single_folder_of_photographs_is_refused_by_every_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder(Path("horses"), 3)
    for words in (["train", "cyclegan", "horses"], ["plan", "cyclegan", "horses"], ["ablate", "cyclegan", "horses"]):
        assert main([*words, *TINY[:-1]]) == 2
        err = capsys.readouterr().err.splitlines()[-1]
        assert err.startswith("error: horses: is a single folder of images that are not A|B side by side: 0.png is 32 x 32"), (
            words
        )
    assert main(["check", "horses"]) == 2 and "is a single folder of images" in capsys.readouterr().out
    assert main(["check", "horses", "--data.layout", "side_by_side"]) < 2
    assert main(["train", "cyclegan", "horses", *TINY, "--data.layout", "side_by_side", "--previews=0"]) == 0
    assert not Path("runs/cyclegan-horses-2").exists()


@pytest.mark.parametrize(("side", "shown"), [("A", "test-a2b.png"), ("B", "test-b2a.png")])
def test_test_images_of_one_side_are_translated(side, shown, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("trainA", "trainB", f"test{side}")):
        folder(Path("data", name), seed=10 * i)
    assert main(["train", "cyclegan", "data", *TINY, "--previews=0"]) == 0
    assert f"only side {side} has test images: {shown} shows their translations" in capsys.readouterr().err
    run = Path("runs/cyclegan-data")
    assert (run / shown).exists() and not (run / "evaluation.json").exists()


def test_diptych_is_a_module_too(capsys):
    done = subprocess.run([sys.executable, "-m", "diptych", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("diptych ")


def test_the_same_command_with_weights_finds_its_run_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder(Path("a")), folder(Path("b"), seed=9)
    first = ["train", "cyclegan", "a", "b", *TINY, "--previews=0", "--validations=0"]
    second = [*first, "--weights", "runs/cyclegan-a-b", "--train.seed=5"]
    assert main(first) == 0 and main(second) == 0
    (state,) = Path("runs/cyclegan-a-b").glob("state-*")
    state.touch()
    (Path("runs/cyclegan-a-b") / state.name.replace("4.", "5.")).write_bytes(state.read_bytes())  # as if it had gone on
    assert main(second) == 0 and "finished already" in capsys.readouterr().err
    assert {path.name for path in Path("runs").iterdir()} == {"cyclegan-a-b", "cyclegan-a-b-2"}


def test_a_long_training_on_a_cpu_says_so_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder(Path("a")), folder(Path("b"), seed=9)
    monkeypatch.setattr(estimate, "WAIT", 0.0)
    monkeypatch.setattr(estimate, "LONG", 0.0)
    assert main(["train", "cyclegan", "a", "b", *TINY, "--previews=0", "--validations=0"]) == 0
    err = capsys.readouterr().err
    assert err.count("note: at this speed the training takes about ") == 1
    assert "--preset laptop" not in err  # which would take longer than these networks
