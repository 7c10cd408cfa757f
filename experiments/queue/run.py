"""Work through a list of long trainings, one after another, in the background of everything else.

    python experiments/queue/run.py --data DIR   # start, or go on; Ctrl-C saves and stops
    python experiments/queue/run.py --list       # what is done, what is under way, what waits

Entries stand in queue.toml. Each runs from the commit at which it first began, in a worktree of its own with an environment made
from the constraints of that commit, so that later changes of the code do not touch it. Commands run at the lowest priority on one
core, and must go on where they were stopped when they are run again, as `diptych train` does. Everything is written below
runs/queue, which git ignores.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import signal
import subprocess
import sys
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Entry:
    """One long command: ``{data}`` and ``{run}`` in it stand for the folder of data and the entry's own run folder."""

    name: str
    command: str
    home: Path

    @property
    def tree(self) -> Path:
        return self.home / "tree"

    @property
    def done(self) -> bool:
        return (self.home / "done").exists()

    def state(self) -> str:
        if self.done:
            return f"done {(self.home / 'done').read_text().strip()}"
        return f"begun at commit {(self.home / 'commit').read_text()[:9]}" if (self.home / "commit").exists() else "waits"


def entries(listed: Path, home: Path) -> list[Entry]:
    """All entries in the order of the file; raises SystemExit for a name that is there twice or not a plain word."""
    found = [Entry(row["name"], row["command"], home / row["name"]) for row in tomllib.loads(listed.read_text())["entry"]]
    names = [entry.name for entry in found]
    for name in names:
        if names.count(name) > 1 or not name.replace("-", "").isalnum():
            sys.exit(f"error: {listed}: names must be different and of letters, digits and dashes; found {name!r}")
    return found


def check_out(entry: Entry, repository: Path) -> None:
    """Make the entry's worktree at the commit at which it first began, which is today's if it has not begun."""
    entry.home.mkdir(parents=True, exist_ok=True)
    note = entry.home / "commit"
    if not note.exists():
        note.write_text(subprocess.check_output(["git", "-C", str(repository), "rev-parse", "HEAD"], text=True).strip())
    if not (entry.tree / ".git").exists():
        subprocess.run(["git", "-C", repository, "worktree", "prune"], check=True)
        subprocess.run(
            ["git", "-C", repository, "worktree", "add", "--quiet", "--detach", entry.tree, note.read_text()], check=True
        )


def environment(tree: Path, home: Path) -> Path:
    """The bin folder of an environment with the worktree's constraints; worktrees with equal constraints share one."""
    pinned = (tree / "pyproject.toml").read_bytes() + (tree / "constraints.txt").read_bytes()
    folder = home / f"environment-{hashlib.sha256(pinned).hexdigest()[:12]}"
    if not (folder / "done").exists():
        print(f"installing {folder}, which takes a minute or two", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [folder / "bin" / "pip", "install", "--quiet", "--constraint", tree / "constraints.txt"]
        subprocess.run([*install, f"{tree}[music,edges]"], check=True)
        (folder / "done").touch()
    return folder / "bin"


def run(entry: Entry, programs: Path, data: Path, nice: int = 19) -> int:
    """Run the entry's command at a low priority and append what it prints to the entry's log; return its exit status.

    A Ctrl-C is passed on once, and the command then has all the time it needs to save.
    """
    words = [word.format(data=data, run=entry.home / "run") for word in shlex.split(entry.command)]
    variables = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(entry.tree / "src"),  # comes before the diptych with which the environment was installed
        "OMP_NUM_THREADS": "1",
    }
    with (entry.home / "log.txt").open("a") as log:
        print(f"\n{datetime.now():%Y-%m-%d %H:%M} {entry.command}", file=log, flush=True)
        child = subprocess.Popen(
            ["nice", "-n", str(nice), *words],
            cwd=entry.tree,
            env=os.environ | variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        with suppress(OSError):  # where Linux shares the cores among sessions first, niceness counts only within one
            Path(f"/proc/{child.pid}/autogroup").write_text(str(nice))
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, lambda *_: os.killpg(child.pid, signal.SIGINT))
        return child.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the state of each entry, and run nothing")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="work on these entries alone")
    parser.add_argument("--queue", type=Path, default=Path(__file__).with_name("queue.toml"), help="the list of entries")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="the folder of data, {data} in commands")
    parser.add_argument("--home", type=Path, default=ROOT / "runs" / "queue", help="where everything is written")
    parser.add_argument(
        "--nice", type=int, default=19, help="the priority, from 19, which takes idle cores only, to 0 (default: 19)"
    )
    options = parser.parse_args()
    listed = entries(options.queue, options.home.absolute())
    if unknown := set(options.only or ()) - {entry.name for entry in listed}:
        sys.exit(f"error: {options.queue}: has no entry {', '.join(sorted(unknown))}; --list shows all")
    for entry in listed if options.only is None else [entry for entry in listed if entry.name in options.only]:
        if options.list:
            print(f"{entry.name:40} {entry.state()}")
        elif not entry.done:
            check_out(entry, ROOT)
            print(f"{entry.name}: see {entry.home / 'log.txt'}", flush=True)
            status = run(entry, environment(entry.tree, entry.home.parent), options.data.absolute(), options.nice)
            if status:
                sys.exit(f"{entry.name} stopped with exit status {status}; the same command goes on from its last save")
            (entry.home / "done").write_text(f"{datetime.now():%Y-%m-%d %H:%M}\n")


if __name__ == "__main__":
    main()
