"""experiments/queue/run.py works through a list of commands, each at the commit at which it began."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "experiments" / "queue" / "run.py"


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """The script, its repository (two commits of one file) in tmp_path, with this environment for every entry."""
    spec = importlib.util.spec_from_file_location("queue_run", RUN)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "queue_run", module)
    spec.loader.exec_module(module)
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet")
    commit(repository, "first")
    monkeypatch.setattr(module, "ROOT", repository)
    monkeypatch.setattr(module, "environment", lambda tree, home: Path(sys.executable).parent)
    monkeypatch.setattr(module.signal, "signal", lambda signum, handler: None)
    return module


def git(repository: Path, *words: str) -> None:
    subprocess.run(["git", "-C", repository, "-c", "user.name=x", "-c", "user.email=x@x", *words], check=True)


def commit(repository: Path, text: str) -> None:
    (repository / "code.txt").write_text(text)
    git(repository, "add", "code.txt")
    git(repository, "commit", "--quiet", "-m", text)


def work(module, tmp_path, monkeypatch, text: str, *more: str) -> None:
    (tmp_path / "queue.toml").write_text(text)
    words = ["--queue", tmp_path / "queue.toml", "--home", tmp_path / "home", "--data", tmp_path / "data", *more]
    monkeypatch.setattr(sys, "argv", ["run.py", *map(str, words)])
    module.main()


def test_entries_run_in_order_once_each_and_are_listed_as_done(queue, tmp_path, monkeypatch, capsys):
    listed = "".join(f"[[entry]]\nname = '{name}'\ncommand = 'sh -c \"echo {name} >> {tmp_path}/order\"'\n" for name in "ba")
    work(queue, tmp_path, monkeypatch, listed)
    work(queue, tmp_path, monkeypatch, listed)
    assert (tmp_path / "order").read_text().split() == ["b", "a"]
    capsys.readouterr()
    work(queue, tmp_path, monkeypatch, listed, "--list")
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [["b", "done"], ["a", "done"]]


def test_an_entry_that_was_stopped_goes_on_with_the_code_with_which_it_began(queue, tmp_path, monkeypatch):
    command = "sh -c 'cat code.txt; echo {data} {run}; test -e {run} || (mkdir {run} && exit 3)'"
    listed = f"[[entry]]\nname = \"x\"\ncommand = '''{command}'''\n"
    with pytest.raises(SystemExit, match="x stopped with exit status 3"):
        work(queue, tmp_path, monkeypatch, listed)
    commit(queue.ROOT, "second")
    work(queue, tmp_path, monkeypatch, listed)
    log = (tmp_path / "home" / "x" / "log.txt").read_text()
    assert log.count("first") == 2 and "second" not in log
    assert f"{tmp_path}/data {tmp_path}/home/x/run" in log


def test_two_entries_of_one_name_are_refused(queue, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="names must be different"):
        work(queue, tmp_path, monkeypatch, '[[entry]]\nname="x"\ncommand="true"\n' * 2)
