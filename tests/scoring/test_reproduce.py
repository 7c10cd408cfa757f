"""Published translators are fetched, imported and scored, against the published network applied by hand."""

import hashlib
import io
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import diptych
from diptych.cli import main
from diptych.cli.reproduce import TASKS
from diptych.data.published import PUBLISHED
from diptych.errors import WeightsError
from diptych.scoring.reproduce import REPRODUCTIONS, Reproduction, Weights, fetched
from tests.evaluation.images import Features
from tests.reference import junyanz


@pytest.fixture
def theirs():
    torch.manual_seed(0)
    return junyanz.ResnetGenerator(ngf=2, n_blocks=1).eval()


@pytest.fixture
def mirror(tmp_path, monkeypatch, theirs):
    """A machine that has nothing, and a mirror with small weights of two makers and a small data set."""
    served = tmp_path / "mirror"
    served.mkdir()
    torch.save(theirs.state_dict(), served / "one.pth")
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(served / "horse2zebra.zip", "w") as packed:
        for split, count in (("train", 1), ("test", 5)):
            for side in "AB":
                for i in range(count):
                    file = io.BytesIO()
                    colours = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
                    Image.fromarray(colours).resize((32, 32), Image.Resampling.BICUBIC).save(file, "PNG")
                    packed.writestr(f"horse2zebra/{split}{side}/{i}.png", file.getvalue())
    data = (served / "horse2zebra.zip").read_bytes()
    known = replace(PUBLISHED["horse2zebra"], size=len(data), sha256=hashlib.sha256(data).hexdigest())
    monkeypatch.setitem(PUBLISHED, "horse2zebra", known)
    weights = (
        Weights("authors", "the authors", True, 62.1, "https://example.org/one.pth"),
        Weights("authors-id0", "the authors", False, 77.2),
        Weights("openmmlab", "OpenMMLab", True, 63.8, "https://example.org/two.pth", "12345678"),
    )
    monkeypatch.setitem(REPRODUCTIONS, "horse2zebra", Reproduction("horse2zebra", weights))
    for name, value in (
        ("DIPTYCH_WEIGHTS_URL", served.as_uri()),
        ("DIPTYCH_DATA_URL", served.as_uri()),
        ("DIPTYCH_DATA", str(tmp_path / "data")),
        ("XDG_CACHE_HOME", str(tmp_path / "cache")),
    ):
        monkeypatch.setenv(name, value)
    return served


def test_every_task_of_the_command_names_published_data_and_weights():
    assert tuple(REPRODUCTIONS) == TASKS
    for task in REPRODUCTIONS.values():
        assert task.data in PUBLISHED
        names = [weights.name for weights in task.weights]
        assert len(set(names)) == len(names) and names[:2] == ["authors", "authors-id0"]
        for weights in task.weights:
            assert not weights.sha256 or weights.address.endswith(f"-{weights.sha256}.pth")
    assert [(w.identity, w.fid) for w in REPRODUCTIONS["horse2zebra"].weights[:2]] == [(True, 62.111), (False, 77.202)]


def test_the_numbers_are_those_of_the_published_network_and_what_is_lacking_is_said(
    mirror, theirs, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr("diptych.scoring.tools.feature_network", lambda features, device: Features())
    assert main(["reproduce", "horse2zebra", "--yes", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    (line,) = [line for line in said.out.splitlines() if "published FID" in line]
    assert line.startswith("the authors, with identity loss: published FID 62.1, here FID ")
    assert hashlib.sha256((mirror / "one.pth").read_bytes()).hexdigest() in said.out
    assert (
        "not scored: the authors, without identity loss (published FID 77.2): authors-id0: the authors did not publish"
        in said.err
    )
    assert "not scored: OpenMMLab, with identity loss (published FID 63.8): horse2zebra, OpenMMLab: cannot be fetched" in said.err

    def by_hand(pixels):
        with torch.no_grad():
            return ((theirs(pixels / 127.5 - 1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    options = {"metrics": ["fid", "kid", "mind"], "size": 256, "allow_small": True, "allow_seen": True, "cache": False}
    found = diptych.evaluate({"a2b": by_hand}, "horse2zebra", features=Features(), paired=False, **options)
    for metric in options["metrics"]:
        printed = float(re.search(rf"{metric.upper()} ([\d.]+) \[", line.partition("here")[2])[1])
        assert printed == pytest.approx(found.value(metric).value, rel=0.01)  # 32-bit sums differ in their order


def test_a_file_of_your_own_takes_the_place_of_one_that_nobody_published(mirror, theirs, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("diptych.scoring.tools.feature_network", lambda features, device: Features())
    torch.save(theirs.state_dict(), tmp_path / "mine.pth")
    words = ["reproduce", "horse2zebra", "--yes", "--only", "authors-id0", "--device", "cpu", "--features", "random-vgg"]
    assert main([*words, "--weights", f"authors-id0={tmp_path / 'mine.pth'}"]) == 0
    said = capsys.readouterr()
    assert "the authors, without identity loss: published FID 77.2, here FID" in said.out and said.out.count("published FID") == 1
    assert "note: FID by random-vgg does not compare with the published one" in said.err


def test_a_file_of_other_bytes_than_its_name_says_is_refused(mirror):
    (mirror / "two.pth").write_bytes(b"something else")
    weights = REPRODUCTIONS["horse2zebra"].weights[2]
    with pytest.raises(WeightsError, match=r"two\.pth: its SHA-256 must begin with 12345678, found .*; remove it and try again"):
        fetched("horse2zebra", weights, True, lambda done, total: None)


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["--no-fetch"], "horse2zebra: is a published data set that is not on this machine", 2),
        ([], "horse2zebra: this published data set (horses <-> zebras) is not on this machine; its terms", 2),
        (["--yes", "--only", "ours"], "horse2zebra: no weights are called 'ours'; there are authors, authors-id0, openmmlab", 2),
        (["--yes", "--only", "authors-id0"], "horse2zebra: none of its weights could be scored; the lines above say why", 6),
        (["--weights", "x"], "--weights x: must be NAME=FILE", 2),
        (["--weights", "authors=nothing.pth"], "--weights authors=nothing.pth: no such file", 2),
    ],
)
def test_what_cannot_be_done_is_said(words, message, code, mirror, capsys):
    assert main(["reproduce", "horse2zebra", *words]) == code
    assert message in capsys.readouterr().err


def test_without_a_task_the_tasks_are_listed(capsys):
    assert main(["reproduce"]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()] == [*TASKS, "next:"]
    assert "horse2zebra     on horse2zebra; published FID: authors 62.1, authors-id0 77.2, openmmlab 63.8" in listed
    assert main(["reproduce", "--only", "authors"]) == 2
    assert "TASK is missing: give one of horse2zebra, zebra2horse" in capsys.readouterr().err
