"""`diptych study` from two folders to a table, and its errors."""

import csv
import json
import re
import stat

import pytest

from diptych.cli import main
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
    out = capsys.readouterr().out
    assert (
        re.search(r"one +100\.0 % +0\.0 % +100\.0 to 100\.0 % .* 2 +4", out)
        and re.search(r"two +0\.0 %", out)
        and "one - two: 100.0 %" in out
    )
    assert [m["fooled"]["value"] for m in json.loads(files["json"].read_text())["methods"]] == [1, 0]
    assert (
        len(list(csv.DictReader(files["csv"].read_text().splitlines()))) == 20
        and stat.S_IMODE(files["csv"].stat().st_mode) == 0o600
    )
    assert "Which?" in files["html"].read_text() and "simulated" in files["html"].read_text()
    assert main(["study", "results", str(folder)]) == 2
    assert "no answers to count (4 simulated)" in capsys.readouterr().err
    store = Store(folder)
    first, *others = store.participants()
    assert main(["study", "erase", str(folder), first.id.upper()]) == 0
    assert [p.id for p in store.participants()] == [p.id for p in others]
    assert main(["study", "backup", str(folder), str(tmp_path / "copy.sqlite")]) == 0
    assert main(["study", "backup", str(folder), str(tmp_path / "copy.sqlite")]) == 5
    store.close()


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
        (["plan", "--share", "2"], "a share must be from 0 to 1, found 2.0"),
    ],
)
def test_mistakes_are_said_in_one_line(words, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["study", *words]) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("error: ") and err.count("\n") == 1


def test_an_open_study_has_no_codes_and_shares_must_be_known(new, capsys):
    folder, _ = new()
    assert main(["study", "codes", str(folder)]) == 2
    assert "is open to everybody; make it with --invited-only to use codes" in capsys.readouterr().err
    assert main(["study", "simulate", str(folder), "--fooled", "one=0.5"]) == 2
    assert "--fooled two: needs a share from 0 to 1" in capsys.readouterr().err
