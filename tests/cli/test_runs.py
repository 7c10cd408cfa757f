"""`diptych runs`, the model card, the live report, weights and discriminators on the command line, and diptych.train."""

import json

import pytest

import diptych as package
from diptych.cli.live import REFRESH, LivePage
from diptych.errors import ConfigError
from diptych.pages.card import NAME, write_card
from diptych.pages.report import write_report
from diptych.recipe import Recipe
from diptych.snapshot import Snapshot
from diptych.training.progress import Progress
from diptych.trees import read_tree
from tests.cli.pictures import CYCLEGAN, PIX2PIX, digest, diptych, folder

SIZES = {"data.load_size": 34, "data.crop_size": 32, "data.holdout": 0.0, "train.epochs": 1, "train.decay_epochs": 0}
SIZES |= {"method.ngf": 4, "method.ndf": 4, "method.num_layers": 1, "method.generator": "resnet_1", "train.precision": "fp32"}


def test_runs_are_listed_in_a_line_each_and_as_json(cyclegan_run, tmp_path, capsys):
    assert diptych("runs", cyclegan_run.parent, "--json", tmp_path / "runs.json") == 0
    assert capsys.readouterr().out == f"{cyclegan_run}  cyclegan  finished, 2 steps  no best snapshot\n"
    (entry,) = json.loads((tmp_path / "runs.json").read_text())
    assert entry["state"] == "finished" and entry["folder"] == str(cyclegan_run)
    assert diptych("runs", tmp_path) == 2 and "holds no runs" in capsys.readouterr().err


def test_the_card_tells_data_training_scores_and_hashes(cyclegan_run):
    text = (cyclegan_run / NAME).read_text()
    digests = digest(cyclegan_run / "snapshot.safetensors")
    for part in (
        "license: unknown",
        "# cyclegan on data",
        "from A to B and from B to A",
        "2 + 2 images to train on; none are held out",
    ):
        assert part in text, part
    assert f"- `snapshot.safetensors`, SHA-256 {digests}: the last of the training" in text
    score = json.loads((cyclegan_run / "evaluation.json").read_text())["results"][0]
    assert "| ↓ KID (" in text and f"`{score['protocol']}`"[:20] in text


def test_each_packed_network_has_the_card_and_the_scores_of_its_own_direction(cyclegan_run, tmp_path):
    words = ["--name", "x", "--back", "y", "--licence", "MIT", "--shows", "x to y", "--out", tmp_path / "zoo"]
    path, before = cyclegan_run / NAME, (cyclegan_run / NAME).read_text()
    path.write_text(before.replace("## Scores", "Trained in a hurry.\n\n## Scores"))
    assert diptych("zoo", "pack", cyclegan_run, *words) == 0
    path.write_text(before)
    results = json.loads((cyclegan_run / "evaluation.json").read_text())["results"]
    index = json.loads((tmp_path / "zoo" / "zoo.json").read_text())
    for name, way in (("x", "a2b"), ("y", "b2a")):
        text, file = (tmp_path / "zoo" / f"{name}.md").read_text(), tmp_path / "zoo" / f"{name}.safetensors"
        assert text.count("| Translator |") == 1
        (kid,) = [r["estimate"]["value"] for r in results if (r["metric"], r["direction"], r["of"]) == ("kid", way, "model")]
        (shown,) = [float(value.split()[0]) for title, value in index[name]["scores"].items() if "KID" in title]
        assert shown == pytest.approx(kid, abs=1e-3)
        assert f"- `{name}.safetensors`, SHA-256 {digest(file)}: the last of the training" in text
        assert text.endswith(
            f"## Remarks\n\nFrom the card of the run{', whose A is B here' * (name == 'y')}:\n\nTrained in a hurry.\n"
        )
        assert "snapshot" not in text and "recipe.json" not in text and text.count("# cyclegan") == 0


def test_a_card_that_a_person_changed_is_kept(cyclegan_run, caplog):
    caplog.set_level("INFO")
    path = cyclegan_run / NAME
    before = path.read_text()
    path.write_text(before.replace("license: unknown", "license: mit"))
    assert write_card(cyclegan_run) is None and "license: mit" in path.read_text()
    assert "was changed by hand and is kept" in caplog.text
    path.write_text(before)
    assert write_card(cyclegan_run) == path and path.read_text() == before


def test_the_report_is_written_every_few_minutes_and_asks_browsers_to_load_it_again(cyclegan_run, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("diptych.cli.live.time.monotonic", lambda: now[0])
    page, step = LivePage(60.0, written=100.0), Progress("training", 1, 10)
    assert [page.due(step), page.due(Progress("decoding images", 1, 10))] == [False, False]
    now[0] = 160.0
    assert page.due(step) and not page.due(Progress("decoding images", 1, 10)) and not LivePage(0.0, written=0.0).due(step)
    page.write(cyclegan_run)
    html = (cyclegan_run / "report.html").read_text()
    assert f'<meta http-equiv="refresh" content="{REFRESH}">' in html and not page.due(step)
    write_report(cyclegan_run)
    assert 'http-equiv="refresh"' not in (cyclegan_run / "report.html").read_text()


def test_discriminators_are_exported_and_another_training_begins_with_them(cyclegan_run, tmp_path, capsys):
    out = tmp_path / "all.safetensors"
    assert diptych("export", cyclegan_run, "--discriminators", "--out", out) == 0
    assert capsys.readouterr().out.startswith(f"{out}  a2b, b2a, D_a, D_b\n")
    (state,) = cyclegan_run.glob("state-*.safetensors")
    method = read_tree(state)["method"]
    judge = Snapshot.load(out).discriminators["D_b"].state_dict()
    assert all(value.equal(method[f"D_b.{name}"]) for name, value in judge.items())

    data = cyclegan_run.parent / "data"
    words = ["train", "cyclegan", data, "--out", tmp_path / "run", *CYCLEGAN, "--weights", out, "--train.lr", 0, "--previews", 0]
    assert diptych(*words, "--no-test") == 0
    (after,) = (tmp_path / "run").glob("state-*.safetensors")
    again = read_tree(after)["method"]
    assert all(again[name].equal(value) for name, value in method.items())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["RUN/snapshot.safetensors", "--discriminators"],
            "is a file; discriminators lie in the training state, so give the run",
        ),
        ([".", "--discriminators"], "holds no run; discriminators are exported from the folder of a training"),
        (
            ["RUN", "--discriminators", "--out", "mine.safetensors"],
            "mine.safetensors: is there already and was not made by this command",
        ),
        (["RUN"], "one of the arguments --to --discriminators is required"),
    ],
)
def test_what_has_no_discriminators_is_named(words, message, cyclegan_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.safetensors").write_text("mine")
    assert diptych("export", *(word.replace("RUN", str(cyclegan_run)) for word in words)) == 2
    assert message in capsys.readouterr().err and (tmp_path / "mine.safetensors").read_text() == "mine"


def test_the_parts_to_freeze_and_the_weights_stand_in_the_recipe(pix2pix_run, tmp_path, capsys):
    data = json.loads((pix2pix_run / "recipe.json").read_text())["data"]["source"]
    words = ["train", "pix2pix", *data, "--out", tmp_path / "run", *PIX2PIX, "--previews", 0, "--weights-a2b", pix2pix_run]
    assert diptych(*words, "--freeze", "G_ab.downs", "--freeze", "G_ab.head") == 0
    start = Recipe.load(tmp_path / "run" / "recipe.json").start
    assert (
        start.freeze == ("G_ab.downs", "G_ab.head")
        and start.weights_a2b == str(pix2pix_run)
        and len(start.weights_a2b_sha256) == 64
    )
    assert f"weights of {pix2pix_run} (SHA-256 {start.weights_a2b_sha256[:12]}): G_ab takes" in capsys.readouterr().err


def test_training_in_plain_words_is_the_training_of_the_recipe(tmp_path):
    a, b = folder(tmp_path / "a"), folder(tmp_path / "b", seed=9)
    options = {"device": "cpu", "num_previews": 0}
    in_words = package.train("cyclegan", tmp_path / "words", data=[a, b], settings=SIZES, **options)
    recipe = Recipe.create(
        "cyclegan", {"data": {"source": [str(a), str(b)]}}, [f"--{key}={value}" for key, value in SIZES.items()]
    )
    assert digest(in_words) == digest(package.train(recipe, tmp_path / "recipe", **options))
    small = package.train(
        "horse2zebra", tmp_path / "small", data=[a, b], preset="laptop", settings=SIZES, weights=in_words, **options
    )
    assert Recipe.load(tmp_path / "small" / "recipe.json").start.weights == str(in_words)
    assert Snapshot.load(small).about["recipe"]["start"]["weights"] == in_words.name  # what is published holds no paths


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cyclegan", "x"), "cyclegan: no data given; name one or two folders with data=, or relief"),
        (("cyclegam", "x"), "no method is called 'cyclegam'"),
        (("cyclegan", "x", {"data": "relief", "settings": {"train.epoch": 3}}), "no setting is called train.epoch"),
        (("cyclegan", "x", {"data": "relief", "preset": "laptp"}), "preset must be one of paper, laptop, found 'laptp'"),
        ((Recipe.create("cyclegan"), "x", {"data": "relief"}), "data: the recipe says everything itself; change it"),
    ],
    ids=str,
)
def test_wrong_words_are_refused_as_on_the_command_line(words, message):
    recipe, out, *more = words
    with pytest.raises(ConfigError, match=message):
        package.train(recipe, out, **(more[0] if more else {}))


@pytest.mark.parametrize(
    "words",
    [
        ["doctor", "RUN", "--json"],
        ["plan", "pix2pix", "relief", "--json"],
        ["runs", "RUN", "--json"],
        ["export", "RUN", "--to", "torchscript", "--out"],
    ],
    ids=lambda words: words[0],
)
def test_a_file_that_a_command_did_not_make_is_not_replaced(words, cyclegan_run, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.write_text('{"my": "notes"}')
    assert diptych(*(word.replace("RUN", str(cyclegan_run)) for word in words), mine) == 2
    assert f"{mine}: is there already and was not made by this command" in capsys.readouterr().err
    assert mine.read_text() == '{"my": "notes"}'
    if words[0] in ("doctor", "runs", "export"):
        for _ in range(2):  # its own file is replaced
            assert diptych(*(word.replace("RUN", str(cyclegan_run)) for word in words), tmp_path / "own") in (0, 3)


def test_a_training_replaces_no_file_of_a_folder_that_is_no_run(tmp_path, capsys):
    a, b = folder(tmp_path / "a"), folder(tmp_path / "b", seed=9)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "report.html").write_text("my report")
    assert diptych("train", "cyclegan", a, b, "--out", tmp_path / "mine", *CYCLEGAN) == 2
    assert "mine: holds report.html, which no run made there and a training would replace" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["report.html"]
