"""What may lie on the disk after a power loss at any instant of a save, by replaying its calls to the system.

After ALICE (Pillai et al. 2014): until a file is flushed, its data may be there, be cut, be zeros or be missing; until a folder
is flushed, each change of a name in it may have happened or not.
"""

import builtins
import io
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import torch

from diptych.errors import SnapshotError
from diptych.run import Run
from diptych.trees import read_tree, write_tree


@dataclass
class Disk:
    """Names of a folder and the contents they lead to, as they surely are, and what may have happened since."""

    names: dict[str, int] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    pending_names: list[tuple[str, str, int]] = field(default_factory=list)
    pending_data: dict[int, bytes] = field(default_factory=dict)


def recorded(save, folder):
    """The calls to the system that a save makes in a folder, in their order."""
    calls, real = [], (builtins.open, os.fsync, os.replace, os.unlink)

    def name(path):
        return os.path.basename(os.fspath(path))

    class Written(io.FileIO):
        def write(self, data):
            calls.append(("write", name(self.name), bytes(data)))
            return super().write(data)

    def opened(path, mode="r", *args, **kwargs):
        if mode != "wb":
            return real[0](path, mode, *args, **kwargs)
        calls.append(("create", name(path), b""))
        return Written(path, "w")

    def fsync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        calls.append(("sync folder", "", b"") if os.path.isdir(path) else ("sync", name(path), b""))
        real[1](descriptor)

    def replace(source, target):
        calls.append(("rename", f"{name(source)}/{name(target)}", b""))
        real[2](source, target)

    def unlink(path, **kwargs):
        calls.append(("unlink", name(path), b""))
        real[3](path, **kwargs)

    @contextmanager
    def patched():
        builtins.open, os.fsync, os.replace, os.unlink = opened, fsync, replace, unlink
        try:
            yield
        finally:
            builtins.open, os.fsync, os.replace, os.unlink = real

    with patched():
        save(folder)
    return calls


def after_loss(calls, before, chance):
    """The files of a folder after a power loss at a random instant, where ``before`` is what was there."""
    names = {name: index for index, name in enumerate(before)}
    contents = dict(enumerate(before.values()))
    sure_names, sure_data, changes = dict(names), dict(contents), []
    for kind, name, data in calls[: chance.randrange(len(calls) + 1)]:
        if kind == "create":
            names[name] = max(contents, default=-1) + 1
            contents[names[name]] = b""
            changes.append((name, names[name]))
        elif kind == "write":
            contents[names[name]] += data
        elif kind == "sync":
            sure_data[names[name]] = contents[names[name]]
        elif kind == "rename":
            source, target = name.split("/")
            names[target] = names.pop(source)
            changes += [(target, names[target]), (source, None)]
        elif kind == "unlink":
            del names[name]
            changes.append((name, None))
        elif kind == "sync folder":
            sure_names, changes = dict(names), []
    for name, index in changes:
        if chance.random() < 0.5:
            sure_names[name] = index
    files = {}
    for name, index in sure_names.items():
        if index is None:
            continue
        whole = contents[index]
        if sure_data.get(index) != whole:
            cut = chance.randrange(len(whole) + 1)
            whole = chance.choice([whole, whole[:cut], b"\0" * len(whole), whole[:cut] + b"\0" * (len(whole) - cut), b""])
        files[name] = whole
    return files


def state(step):
    return {"weights": torch.full((500,), float(step))}


def save_state(folder):
    Run(folder).save_state(3, state(3))


def save_naively(folder):
    """What must not be done, so that the replay is known to find it."""
    data = (folder / "prepared").read_bytes()
    with open(folder / "state-000000002.safetensors", "wb") as file:
        file.write(data[:1000])
        file.write(data[1000:])


def outcome(chance: Random, folder: Path, save) -> str | None:
    disk, after = folder / "disk", folder / "after"
    disk.mkdir()
    after.mkdir()
    for step in (1, 2):
        Run(disk).save_state(step, state(step))
    write_tree(disk / "prepared", {"kind": "state", "format": 1, "step": 2} | state(3))
    before = {path.name: path.read_bytes() for path in disk.iterdir()}
    for name, data in after_loss(recorded(save, disk), before, chance).items():
        (after / name).write_bytes(data)
    newest = max((path.name for path in after.glob("state-*")), default="none")
    try:
        if not torch.equal(read_tree(after / newest)["weights"], state(int(newest[6:15]))["weights"]):
            return f"{newest} holds other weights"
    except SnapshotError as error:
        return f"the newest state was lost: {error}"
    return None if newest >= "state-000000002" else f"only {newest} was left"


def lost(chance: Random, folder: Path) -> str | None:
    return outcome(chance, folder, save_state)
