"""Networks by name: packed in 16 bits, found in a folder or fetched, verified, and used as a snapshot is."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diptych import Translator
from diptych.cli import main
from diptych.data.formats import read_pixels
from diptych.errors import ConfigError, SnapshotError, WeightsError
from diptych.nets import PatchGAN, ResNet
from diptych.pixels import Domain
from diptych.scoring.systems import find_systems, score_systems
from diptych.scoring.task import Request
from diptych.scoring.tools import snapshot_of
from diptych.snapshot import Snapshot
from diptych.zoo import CHECKOUT, models, resolve


def network(seed: int, inputs: int = 3, outputs: int = 3) -> ResNet:
    torch.manual_seed(seed)
    return ResNet(inputs, outputs, width=4, num_blocks=1).eval()


@pytest.fixture
def run(tmp_path):
    """A run folder with a snapshot of both directions: gray to RGB, and back."""
    snapshot = Snapshot({"a2b": network(0, 1, 3), "b2a": network(1, 3, 1)}, Domain(1), Domain(3), 16)
    snapshot.save(tmp_path / "run" / "snapshot.safetensors")
    text = "Made for a test: diptych translate snapshot.safetensors.\n\n## Licence\n\nNot chosen yet.\n"
    card = f"---\nlicense: x\n---\n\n# gray\n\n{text}"
    (tmp_path / "run" / "MODEL_CARD.md").write_text(card)
    return tmp_path / "run"


@pytest.fixture
def zoo(run, tmp_path, monkeypatch):
    """That snapshot in a zoo that $DIPTYCH_ZOO names."""
    words = ["--name", "gray2rgb", "--back", "rgb2gray", "--licence", "CC0-1.0", "--shows", "gray to colours"]
    assert main(["zoo", "pack", str(run), "--out", str(tmp_path / "zoo"), *words]) == 0
    monkeypatch.setenv("DIPTYCH_ZOO", str(tmp_path / "zoo"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "zoo"


def test_both_directions_are_packed_in_16_bits_and_each_translates_a_to_b(run, zoo, capsys):
    gray = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    whole = Snapshot.load(run)
    for name, way, image in (("gray2rgb", "a2b", gray), ("rgb2gray", "b2a", np.stack([gray] * 3, -1))):
        expected, found = Translator(whole, way)(image), Translator.load(name)(image)
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert (zoo / f"{name}.safetensors").stat().st_size < 0.65 * sum(
            4 * p.numel() for p in whole.generators[way].parameters()
        ) + 8000
    half = whole.generators["a2b"].state_dict()["head.1.weight"].half()
    assert torch.equal(Snapshot.load("gray2rgb").generators["a2b"].state_dict()["head.1.weight"], half.float())


def test_the_index_and_the_card_say_what_it_is(zoo, capsys):
    assert main(["zoo"]) == 0
    printed = capsys.readouterr().out.splitlines()
    (row,) = [line.split() for line in printed if "gray2rgb" in line]
    size = (zoo / "gray2rgb.safetensors").stat().st_size
    assert row == ["gray", "to", "colours", "gray2rgb", f"{size / 1e6:.1f}", "CC0-1.0"]
    card = (zoo / "gray2rgb.md").read_text()
    assert (
        card.startswith("# gray2rgb\n\ngray to colours\n\nLicence: CC0-1.0\n")
        and "Made for a test: diptych translate gray2rgb." in card
        and "Not chosen" not in card
    )


def test_the_list_is_a_table_of_100_columns_in_which_every_name_and_score_stands_whole(monkeypatch, capsys):
    monkeypatch.delenv("DIPTYCH_ZOO", raising=False)
    assert main(["zoo"]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    assert printed.split()[:3] == ["What", "it", "does"]
    right = " ".join(line[column_of(printed, "Licence") :].strip() for line in printed.splitlines())
    for model in models().values():
        assert f" {model.name} " in printed and model.licence in right
        assert all(f"{name} {value}" in right for name, value in model.scores.items())


def column_of(printed, word):
    """The column at which a word of the table's head begins."""
    return next(line for line in printed.splitlines() if word in line).index(word)


def test_each_card_that_ships_describes_the_one_file_beside_it(monkeypatch):
    monkeypatch.delenv("DIPTYCH_ZOO", raising=False)
    for name, model in models().items():
        text = (CHECKOUT / f"{name}.md").read_text()
        assert f"- `{model.file}`, SHA-256 {model.sha256}" in text and f"\ndiptych translate {name} " in text
        for other in ("snapshot", "recipe.json", "from B to A", "b to a", "a to b"):
            assert other not in text, (name, other)
        for title, score in model.scores.items():
            assert f" {title} | {score.replace(' (', ' ').removesuffix(')')} |" in text, (name, title)


def test_each_direction_says_what_it_does_itself(run, tmp_path, capsys):
    words = ["--name", "x", "--licence", "other: none", "--shows", "gray to colours", "--out"]
    assert main(["zoo", "pack", str(run), *words, str(tmp_path / "one")]) == 0
    assert [model.shows for model in models(tmp_path / "one" / "zoo.json").values()] == [
        "gray to colours",
        "gray to colours, backwards",
    ]
    assert main(["zoo", "pack", str(run), *words, str(tmp_path / "two"), "--shows-back", "colours to gray"]) == 0
    assert [model.shows for model in models(tmp_path / "two" / "zoo.json").values()] == ["gray to colours", "colours to gray"]
    assert "\n\ncolours to gray\n\n" in (tmp_path / "two" / "x-b2a.md").read_text()


def test_the_command_line_takes_a_name_and_a_path_of_that_name_wins(zoo, tmp_path, monkeypatch, capsys):
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "x.png")
    assert main(["translate", "gray2rgb", str(tmp_path / "x.png"), "--out", str(tmp_path / "out")]) == 0
    assert read_pixels(tmp_path / "out" / "x.png").shape == (16, 16, 3)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gray2rgb").mkdir()
    capsys.readouterr()
    assert main(["translate", "gray2rgb", str(tmp_path / "x.png"), "--out", str(tmp_path / "out2")]) == 2
    said = capsys.readouterr().err
    assert (
        said.count("gray2rgb: the file or folder of this name is taken, not the network of the zoo, which is zoo:gray2rgb") == 1
    )
    assert "is a folder without a snapshot.safetensors" in said and said.endswith("; zoo:gray2rgb is the network of the zoo\n")
    assert main(["translate", "zoo:gray2rgb", str(tmp_path / "x.png"), "--out", str(tmp_path / "out2")]) == 0
    (tmp_path / "rgb2gray").write_text("no network")
    capsys.readouterr()
    assert main(["translate", "rgb2gray", str(tmp_path / "x.png"), "--out", str(tmp_path / "out3")]) == 6
    said = capsys.readouterr().err
    assert said.count("is taken") == 1 and said.endswith("; zoo:rgb2gray is the network of the zoo\n")


def test_names_are_scored_and_compared_as_files_are(zoo, tmp_path, capsys):
    random = np.random.default_rng(0)
    for side, shape in (("trainA", (16, 16)), ("trainB", (16, 16, 3)), ("testA", (16, 16)), ("testB", (16, 16, 3))):
        (tmp_path / "data" / side).mkdir(parents=True)
        for number in range(3):
            pixels = random.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / side / f"{number}.png")
    words = ["--metrics", "l1", "--resamples", "40", "--device", "cpu"]
    scores = []
    for subject in ("gray2rgb", str(zoo / "gray2rgb.safetensors")):
        assert main(["evaluate", subject, str(tmp_path / "data"), *words, "--out", str(tmp_path / f"out{len(scores)}")]) == 0
        scores.append(json.loads((tmp_path / f"out{len(scores)}" / "evaluation.json").read_text())["results"])
    assert scores[0] == scores[1] and scores[0]
    assert main(["evaluate", "gray2rbg", str(tmp_path / "data"), *words]) == 2
    assert "gray2rbg: no such file, and no network of the zoo is called so; did you mean gray2rgb?" in capsys.readouterr().err
    groups = find_systems(["gray2rgb", str(zoo / "gray2rgb.safetensors")])
    request = Request("", (tmp_path / "data",), direction="a2b")
    systems = score_systems(groups, request, metrics=["l1"], words={"resamples": 40, "fetch": False})
    assert systems[0].evaluations[0].results == systems[1].evaluations[0].results


def test_a_name_may_find_classes(zoo, run):
    assert snapshot_of("rgb2gray") == zoo / "rgb2gray.safetensors" and snapshot_of(run) == run / "snapshot.safetensors"
    assert snapshot_of("transformers:rgb2gray") is None and snapshot_of("net.onnx") is None


def test_a_file_of_other_bytes_is_refused(zoo):
    content = (zoo / "gray2rgb.safetensors").read_bytes()
    (zoo / "gray2rgb.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WeightsError, match="expected SHA-256"):
        Translator.load("gray2rgb")


def test_a_network_is_fetched_once_and_then_works_without_the_zoo_being_there(zoo, monkeypatch, tmp_path):
    monkeypatch.setenv("DIPTYCH_ZOO", zoo.as_uri())
    fetched = resolve("gray2rgb")
    assert fetched.is_relative_to(tmp_path / "cache" / "diptych" / "zoo") and fetched.name == "gray2rgb.safetensors"
    (zoo / "gray2rgb.safetensors").unlink()
    assert resolve("gray2rgb") == fetched and list(Snapshot.load("gray2rgb").generators) == ["a2b"]
    (zoo / "rgb2gray.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"rgb2gray of the zoo: cannot be fetched from file:///.*put the file at"):
        resolve("rgb2gray")


def test_the_index_that_was_fetched_before_serves_while_the_zoo_cannot_be_reached(zoo, monkeypatch, caplog):
    monkeypatch.setenv("DIPTYCH_ZOO", zoo.as_uri())
    fetched, index = resolve("gray2rgb"), (zoo / "zoo.json").read_text()
    (zoo / "zoo.json").unlink()
    assert resolve("gray2rgb") == fetched
    assert "the index of the zoo: cannot be fetched" in caplog.text and "fetched before is used" in caplog.text
    (zoo / "zoo.json").write_text(index.replace("gray2rgb", "renamed"))
    assert set(models()) == {"renamed", "rgb2gray"}  # a new index takes the place of the old one


def test_a_zoo_that_cannot_be_reached_hides_no_file(zoo, monkeypatch, tmp_path):
    monkeypatch.setenv("DIPTYCH_ZOO", (zoo / "nowhere").as_uri())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert str(resolve("mine")) == "mine"


def test_an_index_that_cannot_be_reached_is_one_line(zoo, monkeypatch):
    monkeypatch.setenv("DIPTYCH_ZOO", (zoo / "nowhere").as_uri())
    with pytest.raises(WeightsError, match=r"the index of the zoo: cannot be fetched from file:///") as error:
        models()
    advised = Path(re.search(r"put the file at (\S+)$", str(error.value))[1])
    advised.write_bytes((zoo / "zoo.json").read_bytes())
    assert set(models()) == {"gray2rgb", "rgb2gray"}


def test_other_words_stay_what_they_are(zoo):
    assert str(resolve("nobody")) == "nobody" and str(resolve("x/gray2rgb")) == "x/gray2rgb"
    with pytest.raises(SnapshotError):
        Translator.load("nobody")


def test_an_unknown_name_is_told_which_zoo_has_it_not(zoo, monkeypatch):
    stands = re.escape(f"the zoo at {zoo} (DIPTYCH_ZOO, in place of the built-in one) has no such network")
    with pytest.raises(SnapshotError, match=f"nobody: no such file or run; .*; {stands}$"):
        Translator.load("nobody")
    with pytest.raises(SnapshotError, match=f"; {stands}; unset DIPTYCH_ZOO for the one that is built in$"):
        Translator.load("elevation2relief")
    with pytest.raises(ConfigError, match=f"zoo:nobody: {stands}; `diptych zoo` lists"):
        Translator.load("zoo:nobody")
    with pytest.raises(ConfigError, match=r"zoo:gray2rbg: .*; did you mean zoo:gray2rgb\?"):
        Translator.load("zoo:gray2rbg")
    assert resolve("zoo:gray2rgb") == zoo / "gray2rgb.safetensors"


def test_addresses_and_empty_words_are_refused_in_plain_words():
    for address in ("https://example.org/x.safetensors", "http://x", "file:///tmp/x.safetensors"):
        for given in (address, Path(address)):
            with pytest.raises(ConfigError, match=f"^{address}: addresses are not loaded; download the file and give its path"):
                Translator.load(given)
    with pytest.raises(ConfigError, match="no snapshot is named, found ''"):
        Translator.load("")


def test_the_network_of_the_other_direction_is_named(zoo):
    with pytest.raises(ConfigError, match=r"translates a2b, not b2a; rgb2gray of the zoo translates the other way$"):
        Translator.load("gray2rgb", "b2a")
    (zoo / "alone.safetensors").write_bytes((zoo / "gray2rgb.safetensors").read_bytes())
    with pytest.raises(ConfigError, match=r"translates a2b, not b2a; choose one of these directions$"):
        Translator.load(zoo / "alone.safetensors", "b2a")


def test_discriminators_are_files_of_their_own(tmp_path, run, monkeypatch):
    torch.manual_seed(3)
    judge = PatchGAN(3, width=4, num_layers=1)
    judged = Snapshot.load(run)
    judged = Snapshot(judged.generators, judged.a, judged.b, discriminators={"D_b": judge})
    monkeypatch.setattr("diptych.scoring.packing.with_discriminators", lambda source: judged)
    words = ["--name", "x", "--licence", "other: none", "--shows", "a test", "--discriminators", "--out", str(tmp_path / "zoo")]
    assert main(["zoo", "pack", str(run), *words]) == 0
    found = Snapshot.load(tmp_path / "zoo" / "x-D_b.safetensors")
    assert not found.generators and list(found.discriminators) == ["D_b"]
    assert {name: model.generator for name, model in models(tmp_path / "zoo" / "zoo.json").items()} == {
        "x": True,
        "x-b2a": True,
        "x-D_b": False,
    }
    monkeypatch.setenv("DIPTYCH_ZOO", str(tmp_path / "zoo"))
    for direction, generator in (("a2b", "x"), ("b2a", "x-b2a")):
        with pytest.raises(
            ConfigError, match=f"holds only discriminators, which translate nothing; take {generator} of the zoo$"
        ):
            Translator.load("x-D_b", direction)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--name", "Gray"], "--name 'Gray': must be of lower-case letters"),
        (["--name", "a/b"], "--name 'a/b': must be"),
        (["--name", "a", "--back", "../b"], "--back '../b': must be"),
        (["--name", "gray2rgb"], "gray2rgb.safetensors: is there already"),
        (["--name", "notes"], "notes.md: is there already"),
    ],
)
def test_bad_names_are_refused(words, message, zoo, run, capsys):
    (zoo / "notes.md").write_text("the user's own")
    assert main(["zoo", "pack", str(run), "--out", str(zoo), "--shows", "x", "--licence", "MIT", *words]) == 2
    assert message in capsys.readouterr().err and (zoo / "notes.md").read_text() == "the user's own"


def test_a_name_for_a_way_back_that_there_is_not_is_refused(run, tmp_path, capsys):
    snapshot = Snapshot.load(run)
    replace(snapshot, generators={"a2b": snapshot.generators["a2b"]}).save(tmp_path / "one.safetensors")
    words = [
        "zoo",
        "pack",
        str(tmp_path / "one.safetensors"),
        "--name",
        "x",
        "--shows",
        "y",
        "--licence",
        "other: z",
        "--out",
        str(tmp_path / "z"),
    ]
    assert main([*words, "--back", "rev"]) == 2
    assert "one.safetensors: translates from A to B alone; leave --back and --shows-back out" in capsys.readouterr().err
    assert not (tmp_path / "z").exists() and main(words) == 0


def test_weights_that_16_bits_cannot_hold_are_refused(run, tmp_path, capsys):
    large = Snapshot.load(run)
    with torch.no_grad():
        large.generators["a2b"].head[1].weight[0, 0, 0, 0] = 70000.0
    large.save(run / "snapshot.safetensors")
    words = ["--name", "x", "--licence", "other: none", "--shows", "a test", "--out", str(tmp_path / "zoo")]
    assert main(["zoo", "pack", str(run), *words]) == 6
    assert "x: a2b has a weight of 70000, which 16 bits cannot hold" in capsys.readouterr().err


def test_an_index_that_is_none_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_ZOO", str(tmp_path))
    with pytest.raises(WeightsError, match=r"zoo.json: cannot be read \(No such file"):
        models()
    for text in ("[]", "{", json.dumps({"x": {"file": "y"}})):
        (tmp_path / "zoo.json").write_text(text)
        with pytest.raises(WeightsError, match=r"zoo.json: is not the index of a zoo"):
            models()


def test_every_file_of_diptychs_own_zoo_is_what_the_index_says():
    from diptych.files import sha256_of
    from diptych.zoo import CHECKOUT, OWN

    rows = models(OWN)
    assert json.loads((CHECKOUT / "zoo.json").read_text()) == json.loads(OWN.read_text())
    for model in rows.values():
        path = CHECKOUT / model.file
        assert path.stat().st_size == model.size <= 6 * 2**20 and sha256_of(path) == model.sha256
    assert sum(model.size for model in rows.values()) <= 16 * 2**20


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"step": 1e400}', "about: field required"),
        ("9" * 6000, "4300 digits"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"about": {}, "protocols": {}, "results": [{"direction": "a2b", "metric": "none"}]}', "KeyError"),
    ],
)
def test_an_evaluation_that_is_damaged_is_refused_in_one_line(run, tmp_path, content, reason, capsys):
    (run / "evaluation.json").write_text(content)
    words = ["--name", "x", "--licence", "other: none", "--shows", "a test", "--out", str(tmp_path / "zoo")]
    assert main(["zoo", "pack", str(run), *words]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"{run / 'evaluation.json'}: is damaged (" in said and reason in said and "`diptych evaluate` writes it anew" in said
    assert not (tmp_path / "zoo").exists()
