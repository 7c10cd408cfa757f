"""Originals beside or among results, and links that lead to themselves: nothing is replaced, and one line says why."""

import os
import signal

import pytest
from PIL import Image

from diptych.training.signals import catch_interrupts
from tests.cli.pictures import PIX2PIX, diptych, folder, picture


def originals(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("more", [[], ["--overwrite"]], ids=["", "overwrite"])
@pytest.mark.parametrize(
    ("given", "out"),
    [
        ("in/sub", "in"),
        ("in/z.gif", "in"),
        ("in", "in/sub"),
        ("in/sub/z.png", "in/z.png"),
        ("in", "in/sub/.."),
        ("in/sub", "link"),
        ("in", "in/"),
    ],
)
def test_a_translation_never_replaces_an_original(given, out, more, pix2pix_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "in" / "z.png"), picture(tmp_path / "in" / "sub" / "z.png", 1)
    Image.open(tmp_path / "in" / "z.png").save(tmp_path / "in" / "z.gif")
    (tmp_path / "link").symlink_to("in")
    before = originals(tmp_path)
    found = diptych("translate", pix2pix_run, given, "--out", out, "--device", "cpu", *more)
    after = originals(tmp_path)
    assert {name: after[name] for name in before} == before
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert found == 2 and len(said) == 1 and set(after) == set(before)


@pytest.mark.parametrize("command", ["image", "folder", "recipe", "snapshot", "data", "list"])
def test_a_link_to_itself_is_one_line(command, pix2pix_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = {"image": "self.png", "recipe": "self.yaml", "snapshot": "self.safetensors", "list": "self.csv"}.get(command, "self")
    os.symlink(name, name)
    if command in ("image", "folder"):
        words = ["translate", pix2pix_run, name, "--out", "out"]
    elif command == "snapshot":
        words = ["translate", name, picture(tmp_path / "x.png"), "--out", "out"]
    elif command == "recipe":
        words = ["train", name, folder(tmp_path / "pairs", width=64), "--out", "out", "--device", "cpu"]
    else:
        words = ["train", "pix2pix", name, *PIX2PIX, "--out", "out"]
    found = diptych(*words)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert found in (1, 2, 5, 6) and name in line


@pytest.mark.parametrize("ignored", [False, True], ids=["terminal", "nohup"])
def test_a_closed_terminal_asks_to_stop_unless_that_is_ignored(ignored):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with catch_interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupts.signum == (0 if ignored else signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == (signal.SIG_IGN if ignored else signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, before)
