"""`diptych study` from two folders to a table, and its errors."""

import csv
import json
import re
import stat

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.cli import main
from diptych.inference.translator import Translator
from diptych.study.store import Store


@pytest.fixture
def new(folders, tmp_path, capsys):
    """A function that makes a study with more options, and returns its folder and what was printed."""

    def build(*options: str):
        folder = tmp_path / "s"
        words = ["study", "new", str(folder), "--real", str(folders["real"]), "--model", f"one={folders['one']}"]
        words += ["--model", f"two={folders['two']}", "--practice", "1", "--trials", "4", "--show-ms", "1", *options]
        assert main(words) == 0
        return folder, capsys.readouterr()

    return build


def test_from_two_folders_to_a_table(new, serve, capsys, tmp_path):
    from diptych.study.folder import Study

    folder, printed = new("--protocol", "single", "--title", "Which?")
    assert (
        "pictures: 12 of real, 12 of one, 12 of two, 16x16" in printed.out
        and "owner's token (kept nowhere else): " in printed.out
    )
    served = serve(Study.load(folder), "")
    served.joined()  # somebody who does not finish
    words = [
        "study",
        "simulate",
        str(folder),
        "--url",
        served.url,
        "--participants",
        "4",
        "--fooled",
        "one=1",
        "--fooled",
        "two=0",
    ]
    assert main(words) == 0
    files = {name: tmp_path / f"r.{name}" for name in ("html", "json", "csv")}
    words = ["study", "results", str(folder), "--simulated", "--out", str(files["html"]), "--json", str(files["json"])]
    assert main([*words, "--csv", str(files["csv"])]) == 0
    assert main([*words, "--csv", str(files["csv"])]) == 0  # its own files are replaced
    out = capsys.readouterr().out
    assert (
        re.search(r"one +100\.0 % +0\.0 % +100\.0 to 100\.0 % .* 2 +4", out)
        and re.search(r"two +0\.0 %", out)
        and "one - two: 100.0 %" in out
    )
    value = json.loads(files["json"].read_text())
    assert [m["fooled"]["value"] for m in value["methods"]] == [1, 0] and value["left_out"] == {"not simulated": 1}
    assert (
        len(list(csv.DictReader(files["csv"].read_text().splitlines()))) == 20
        and stat.S_IMODE(files["csv"].stat().st_mode) == 0o600
    )
    assert "Which?" in files["html"].read_text() and "simulated" in files["html"].read_text()
    assert main(["study", "results", str(folder)]) == 2
    assert "no answers to count (1 not finished, 4 simulated)" in capsys.readouterr().err
    store = Store(folder)
    first, *others = store.participants()
    assert main(["study", "erase", str(folder), first.id.upper()]) == 0
    assert [p.id for p in store.participants()] == [p.id for p in others]
    assert main(["study", "backup", str(folder), str(tmp_path / "copy.sqlite")]) == 0
    capsys.readouterr()
    assert main(["study", "backup", str(folder), str(tmp_path / "copy.sqlite")]) == 5
    assert capsys.readouterr().err.endswith("copy.sqlite: is there already; choose a name that is free\n")
    assert main(["study", "backup", str(folder), str(tmp_path / "gone" / "copy.sqlite")]) == 5
    said = capsys.readouterr().err
    assert "gone/copy.sqlite: cannot be written (No such file or directory); choose another place" in said and ".tmp" not in said
    store.close()


def test_runs_and_snapshots_translate_the_inputs_on_the_spot(folders, tmp_path, capsys):
    from diptych.nets import generator, initialise
    from diptych.pixels import Domain
    from diptych.snapshot import Snapshot
    from diptych.study.folder import Study

    torch.manual_seed(0)
    nets = {way: initialise(generator("resnet_1", 3, 3, width=4)).eval() for way in ("a2b", "b2a")}
    run = tmp_path / "run"
    run.mkdir()
    Snapshot(nets, Domain(), Domain()).save(run / "snapshot.safetensors")
    folder = tmp_path / "s"
    words = ["study", "new", str(folder), "--real", str(folders["real"]), "--model", f"one={folders['one']}", "--trials", "4"]
    words += ["--practice", "0", "--model", f"net={run}", "--direction", "b2a", "--device", "cpu"]
    assert main(words) == 2
    assert "--model net=" in (said := capsys.readouterr().err) and "give the folder of them as --inputs DIR" in said
    assert main([*words, "--inputs", str(folders["two"])]) == 0
    study = Study.load(folder)
    translate = Translator(Snapshot.load(run / "snapshot.safetensors"), "b2a", device="cpu")
    for name, id in study.named("net").items():
        expected = translate(np.asarray(Image.open(folders["two"] / f"{name}.png")))
        assert np.array_equal(np.asarray(Image.open(study.file(id))), expected)
    assert len(study.named("net")) == 12 and not list(tmp_path.glob("**/*.tmp"))
    assert main([*words[:2], str(tmp_path / "t"), *words[3:], "--model", f"no={tmp_path / 'gone'}"]) != 0


def test_an_input_that_cannot_be_translated_stops_the_study(folders, tmp_path):
    from diptych.errors import DataError
    from diptych.nets import generator
    from diptych.pixels import Domain
    from diptych.snapshot import Snapshot
    from diptych.study.sources import translated

    Snapshot({"a2b": generator("resnet_1", 3, 3, width=4)}, Domain(), Domain()).save(tmp_path / "net.safetensors")
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "torn.png").write_bytes((folders["one"] / "p11.png").read_bytes()[:90])
    with pytest.raises(DataError, match=r"net\.safetensors: cannot translate .*torn\.png"):
        translated(tmp_path / "net.safetensors", tmp_path / "inputs", tmp_path / "out", device="cpu")


def test_comparisons_are_ranked_in_the_table(folders, serve, tmp_path, capsys):
    from diptych.study.folder import Study

    folder, models = tmp_path / "s", [f"{name}={folders[name]}" for name in ("one", "two")]
    words = ["--model", models[0], "--model", models[1], "--trials", "12", "--practice", "1", "--show-ms", "1"]
    assert main(["study", "new", str(folder), "--protocol", "compare", *words]) == 0
    assert "pictures: 12 of one, 12 of two" in capsys.readouterr().out
    served = serve(Study.load(folder), "")
    served.joined()
    jsoned = ["--json", str(tmp_path / "r.json")]
    strengths = ["--fooled", "one=1", "--fooled", "two=9", "--url", served.url, "--participants", "4"]
    assert main(["study", "simulate", str(folder), *strengths]) == 0
    assert main(["study", "results", str(folder), "--simulated", "--out", str(tmp_path / "r.html"), *jsoned]) == 0
    value = json.loads((tmp_path / "r.json").read_text())
    wins = {m["method"]: m["preferred"]["value"] for m in value["methods"]}
    assert wins["one"] + wins["two"] == 1 and wins["two"] > 0.5 and value["left_out"] == {"not simulated": 1}
    assert [m["strength"]["value"] for m in value["methods"]] == pytest.approx([wins["two"], wins["one"]], abs=1e-6)
    printed = capsys.readouterr().out
    head, first, second = (next(line for line in printed.splitlines() if word in line) for word in ("preferred", "two ", "one "))
    assert "strength" in head and printed.index(first) < printed.index(second)
    assert (
        "Bradley and Terry" in (tmp_path / "r.html").read_text() and "Most often preferred" in (tmp_path / "r.html").read_text()
    )
    assert main(["study", "simulate", str(folder), "--fooled", "one=1", "--fooled", "two=0"]) == 2
    assert "--fooled two: needs its strength in comparisons, greater than 0, found 0" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--out", "--json", "--csv"])
def test_results_replace_only_files_of_their_own(new, option, tmp_path, capsys):
    folder, _ = new()
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    assert main(["study", "results", str(folder), option, str(mine)]) == 2
    assert "mine.html: is there already and was not made by this command" in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_results_that_cannot_be_given_write_nothing(new, tmp_path, capsys):
    folder, _ = new()
    csv_file, both = str(tmp_path / "a.csv"), str(tmp_path / "both")
    for words, message in {
        ("--simulated", "--csv", csv_file): "no answers to count (nobody took part); wait for participants to finish",
        ("--width", "3", "--csv", csv_file): "--width must be between 0 and 1, found 3.0",
        ("--json", both, "--csv", both): "both: is the file of --json too; give each its own",
    }.items():
        assert main(["study", "results", str(folder), *words]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "a.csv").exists() and not (tmp_path / "both").exists()


def test_codes_are_for_studies_by_invitation(new, capsys):
    from diptych.study.folder import Secrets
    from diptych.study.tokens import check_code

    folder, _ = new("--invited-only")
    assert main(["study", "codes", str(folder), "--number", "3"]) == 0
    codes = capsys.readouterr().out.split()
    assert len(set(codes)) == 3 and all(check_code(Secrets.load(folder).key, code)[1] == "" for code in codes)


def test_a_new_token_replaces_the_former_one(new, capsys):
    from diptych.study.folder import Secrets, hash_of

    folder, printed = new()
    before = Secrets.load(folder)
    assert hash_of(printed.out.split("else): ")[1].split()[0]) == before.owner
    assert main(["study", "token", str(folder)]) == 0
    after = Secrets.load(folder)
    assert (
        hash_of(capsys.readouterr().out.split("else): ")[1].split(";")[0]) == after.owner != before.owner
        and after.key == before.key
    )
    assert stat.S_IMODE((folder / "secrets.json").stat().st_mode) == 0o600


def test_plan_prints_numbers(capsys):
    assert main(["study", "plan", "--share", "0.25", "--width", "0.03", "--other", "0.3"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "82 participants for 25 % +- 3 % with 40 trials each",
        "122 participants for each method, to tell 25 % from 30 % with probability 0.8",
    ]
    assert main(["study", "plan", "--share", ".2", "--other", ".2000001"]) == 0
    assert "28,883,878,614,110 participants for each method, to tell 20 % from 20.00001 % with" in capsys.readouterr().out


@pytest.mark.parametrize("words", [("--other", ".25"), ("--other", "2"), ("--other", ".3", "--power", "1"), ("--spread", "5")])
def test_a_plan_that_makes_no_sense_prints_nothing_before_its_error(words, capsys):
    assert main(["study", "plan", "--share", ".25", *words]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["results", "nowhere"], "nowhere: holds no study; make one with diptych study new nowhere"),
        (["new", "x", "--real", "r", "--model", "m"], "must be NAME=PATH, found 'm'"),
        (["new", "x", "--real", "r", "--model", "m=a", "--model", "m=b"], "--model: a name is given twice"),
        (
            ["new", "x", "--real", "r", "--model", "m=a", "--size", "7x9"],
            "must be WIDTHxHEIGHT, each from 8 to 4096, found '7x9'",
        ),
        (["new", "x", "--real", "r", "--model", "m=a", "--consent", "en=gone.txt"], "--consent: cannot be read"),
        (["simulate", "x", "--fooled", "m"], "must be NAME=SHARE, such as cut=0.3, found 'm'"),
        (["plan", "--share", "2"], "--share must be between 0 and 1, as people are to differ, found 2"),
        (["plan", "--share", "0"], "--share must be between 0 and 1"),
        (["plan", "--share", ".3", "--other", "1"], "--other must be between 0 and 1"),
        (["plan", "--share", ".3", "--power", ".5"], "--power: is that of telling two methods apart; give"),
        (["codes", "x", "--days", "36501"], "must be at most 36,500 days"),
    ],
)
def test_mistakes_are_said_in_one_line(words, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["study", *words]) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize("missing", ["typo", "typo.safetensors"])
def test_a_model_that_is_not_there_is_named(folders, missing, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "new", "s", "--real", str(folders["real"]), "--model", f"one={missing}"]) == 2
    assert f"--model one={missing}: no such folder, run or snapshot; check the path" in capsys.readouterr().err


def test_a_rehearsal_that_cannot_be_is_refused_before_anything_is_said(new, capsys):
    folder, _ = new()
    capsys.readouterr()
    assert main(["study", "simulate", str(folder), "--fooled", "none=0.3"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1) and "--fooled none: is no method of this study" in err


def test_an_open_study_has_no_codes_and_shares_must_be_known(new, capsys):
    folder, _ = new()
    assert main(["study", "codes", str(folder)]) == 2
    assert "is open to everybody; make it with --invited-only to use codes" in capsys.readouterr().err
    assert main(["study", "simulate", str(folder), "--fooled", "one=0.5"]) == 2
    assert "--fooled two=...: is missing; give it for every method of this study: one, two" in capsys.readouterr().err
    shares = ["--fooled", "one=0.5", "--fooled", "two=0.2"]
    for words, message in {
        ("--fooled", "nope=.5"): "--fooled nope: is no method of this study, whose methods are one, two",
        ("--fooled", "two=.3"): "--fooled: a name is given twice",
        ("--spread", "-0.1"): "--spread must be 0, or less than 0.5 for one=0.5, found -0.1",
        ("--spread", "0.4"): "--spread must be 0, or less than 0.4 for two=0.2, found 0.4",
    }.items():
        assert main(["study", "simulate", str(folder), *shares, *words]) == 2
        assert message in capsys.readouterr().err


def test_participants_are_simulated_only_in_the_study_that_is_served(new, serve, make, capsys):
    folder, _ = new()
    other = serve(*make())
    assert main(["study", "simulate", str(folder), "--fooled", "one=0", "--fooled", "two=1", "--url", other.url]) == 2
    assert f"--url {other.url}: does not serve the study of {folder}; start its server" in capsys.readouterr().err
    assert other.store.participants() == []


def test_one_file_that_cannot_be_written_does_not_cost_the_others(folders, serve, tmp_path, capsys):
    from diptych.study.folder import Study

    folder, models = tmp_path / "s", [f"{name}={folders[name]}" for name in ("one", "two")]
    words = ["--real", str(folders["real"]), "--model", models[0], "--model", models[1], "--trials", "5", "--practice", "0"]
    assert main(["study", "new", str(folder), *words, "--show-ms", "1"]) == 0
    served = serve(Study.load(folder), "")
    served.joined()  # somebody who does not finish
    words = ["--fooled", "one=1", "--fooled", "two=0", "--url", served.url, "--participants", "2"]
    assert main(["study", "simulate", str(folder), *words]) == 0
    (tmp_path / "file").write_text("")
    capsys.readouterr()
    words = ["--csv", str(tmp_path / "file" / "r.csv"), "--json", str(tmp_path / "r.json"), "--out", str(tmp_path / "r.html")]
    assert main(["study", "results", str(folder), "--simulated", *words]) == 5
    printed = capsys.readouterr()
    assert "one - two: 100.0 %" in printed.out and "r.csv: cannot be written" in printed.err
    assert "<html" in (tmp_path / "r.html").read_text()
    value = json.loads((tmp_path / "r.json").read_text())
    assert {m["method"]: (m["fooled"]["value"], m["participants"], m["trials"]) for m in value["methods"]} == {
        "one": (1, 1, 5),
        "two": (0, 1, 5),
    }
    assert value["left_out"] == {"not simulated": 1} and value["protocol"]["kind"] == "pairs"
    assert value["methods"][0]["fooled"]["low"] is None and set(value["marked"]) <= {"late", "again", "interrupted", "hasty"}
