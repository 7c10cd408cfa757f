"""A closed pipe or a full disk behind the output: never a traceback, and never a training that is killed unsaved."""

import errno
import io
import os
import subprocess
import sys

import pytest

from diptych.cli.console import console
from tests.cli.pictures import CYCLEGAN, diptych, folder

COMMAND = [sys.executable, "-c", "import sys; from diptych.cli import main; sys.exit(main())"]
full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux alone has /dev/full")


class Lost(io.StringIO):
    """A stream that takes some characters and then refuses, as a full disk or a closed pipe does."""

    def __init__(self, code, room=0):
        super().__init__()
        self.code, self.room = code, room

    def write(self, text):
        self.room -= len(text)
        if self.room < 0:
            raise OSError(self.code, os.strerror(self.code))
        return super().write(text)


@pytest.mark.parametrize("room", [0, 120])
@pytest.mark.parametrize("code", [errno.EPIPE, errno.ENOSPC])
def test_a_training_whose_log_is_lost_goes_on_to_its_end(code, room, tmp_path, monkeypatch):
    a, b = folder(tmp_path / "a", 3), folder(tmp_path / "b", 3, seed=9)
    (a / "broken.txt").write_text("")
    monkeypatch.setattr(sys, "stderr", Lost(code, room))
    words = ["train", "cyclegan", a, b, *CYCLEGAN, "--log-every", 1, "--no-test", "--out", tmp_path / "run"]
    assert diptych(*words) == 0
    assert sys.stderr.room < 0, "the log was never longer than there was room"
    assert (tmp_path / "run" / "state-000000003.safetensors").exists() and (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(("code", "expected"), [(errno.EPIPE, 141), (errno.ENOSPC, 5)])
def test_a_training_that_cannot_print_its_results_is_saved_first(code, expected, tmp_path, monkeypatch, capsys):
    a, b = folder(tmp_path / "a"), folder(tmp_path / "b", seed=9)
    words = ["train", "cyclegan", a, b, *CYCLEGAN, "--no-test", "--out", tmp_path / "run"]
    with monkeypatch.context() as lost:
        lost.setattr(sys, "stdout", Lost(code))
        try:
            found = diptych(*words)
        except SystemExit as leaving:
            found = leaving.code
    with console.capture():  # empties what the console could not print, which the next test would see
        pass
    assert found == expected
    said = "error: standard output: cannot be written (No space left on device)" in capsys.readouterr().err
    assert said == (code == errno.ENOSPC)
    assert (tmp_path / "run" / "snapshot.safetensors").exists() and (tmp_path / "run" / "report.html").exists()


@full
@pytest.mark.parametrize("words", [["--help"], [], ["train", "--help"], ["--version"]], ids=" ".join)
def test_help_into_a_full_disk_is_one_line(words):
    with open("/dev/full", "w") as disk:
        done = subprocess.run([*COMMAND, *words], stdout=disk, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 5 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: standard output: cannot be written (No space left on device)")


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"]], ids=" ".join)
def test_help_into_a_closed_pipe_is_silent(words):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*COMMAND, *words], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@full
def test_an_error_that_cannot_be_said_keeps_its_exit_code():
    with open("/dev/full", "w") as disk:
        assert subprocess.run([*COMMAND, "trian"], stdout=disk, stderr=disk).returncode == 2


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_the_shell_closed_are_no_bug(closed):
    command = f'exec "$@" {closed}'
    done = subprocess.run(["sh", "-c", command, "sh", *COMMAND, "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
