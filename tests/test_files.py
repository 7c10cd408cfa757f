"""Files are whole, or as they were: under damage, a full disk, and a kill at every step of a save."""

import errno
import hashlib
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from diptych.errors import SnapshotError, StorageError, WeightsError
from diptych.files import read_header, read_state_dict, read_tree, sha256_of, write_atomic, write_tree
from diptych.nets import UNet
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from tests.training.forks import SAVES, save_when_told, start

TREE = {
    "kind": "state",
    "format": 1,
    "step": 7,
    "nested": [{"weights": torch.randn(5, 3), "half": torch.randn(4).bfloat16()}, [torch.arange(6), None, "text", 1.5, True]],
    "scalar": torch.tensor(3.5, dtype=torch.float64),
    "empty": torch.zeros(0, 3, 2, 2),
    "bytes": torch.arange(256, dtype=torch.uint8),
    "transposed": torch.randn(3, 4).t(),
    "channels_last": torch.randn(1, 3, 4, 4).to(memory_format=torch.channels_last),
}


def written(path, tree=TREE):
    write_tree(path, tree)
    return path


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other and type(one) is type(other)


def snapshot(path, seed=0):
    torch.manual_seed(seed)
    Snapshot({"a2b": UNet(3, 3, width=2, num_downs=3)}, Domain(), Domain(), about={"recipe": {"train": {"seed": seed}}}).save(
        path
    )
    return path


# --- what goes in comes out ---


def test_a_tree_comes_back_as_it_was(tmp_path):
    assert same(read_tree(written(tmp_path / "x.safetensors")), TREE)


def test_shared_memory_and_device_views_are_kept_as_values(tmp_path):
    base = torch.arange(12.0)
    tree = {"whole": base, "part": base[3:6], "again": base, "parameter": torch.nn.Parameter(base[:2])}
    back = read_tree(written(tmp_path / "x.safetensors", tree))
    assert {name: tensor.tolist() for name, tensor in back.items()} == {name: tensor.tolist() for name, tensor in tree.items()}


def test_the_hash_depends_on_content_alone(tmp_path):
    digests = {write_tree(tmp_path / f"{k}.safetensors", TREE) for k in range(5)}
    assert len(digests) == 1 and len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    changed = TREE | {"step": 8}
    assert write_tree(tmp_path / "y.safetensors", changed) not in digests


def test_the_header_is_read_without_the_tensors(tmp_path):
    assert read_header(written(tmp_path / "x.safetensors"))["step"] == 7


# --- damage is seen ---

SEED = 20261122


def flipped(data, place):
    return data[: place // 8] + bytes([data[place // 8] ^ 1 << place % 8]) + data[place // 8 + 1 :]


@pytest.mark.parametrize("kind", ["state", "snapshot"])
def test_every_flipped_bit_and_every_truncation_is_found(kind, tmp_path):
    path = tmp_path / f"{kind}.safetensors"
    load, whole = (read_tree, written(path)) if kind == "state" else (Snapshot.load, snapshot(path))
    load(whole)
    data = whole.read_bytes()
    chance = random.Random(SEED)
    header = int.from_bytes(data[:8], "little") + 8
    places = [chance.randrange(8 * len(data)) for _ in range(150)] + [chance.randrange(8 * header) for _ in range(150)]
    damages = [flipped(data, place) for place in places] + [data[: chance.randrange(len(data))] for _ in range(100)]
    found = []
    for damaged in damages:
        path.write_bytes(damaged)
        with pytest.raises(SnapshotError, match=re.escape(str(path))) as caught:
            load(path)
        found.append(str(caught.value))
    print(f"seed {SEED}: {len(found)} of {len(damages)} found, the file has {len(data)} bytes")
    assert not any("\n" in message for message in found)
    with_hashes = [m for m in found if re.search(r"expected SHA-256 \w{64}, found \w{64}; use another copy", m)]
    assert len(with_hashes) >= 75  # at the least all that hit a tensor


def test_tensors_that_changed_places_are_found(tmp_path):
    tree = {name: torch.randn(4, 4) for name in "abcdef"}
    path = written(tmp_path / "x.safetensors", tree)
    with safetensors.safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in tree}
    for one, other in [("a", "b"), ("c", "f"), ("a", "e")]:
        safetensors.torch.save_file(tensors | {one: tensors[other], other: tensors[one]}, path, metadata)
        with pytest.raises(SnapshotError, match="damaged: expected SHA-256"):
            read_tree(path)
    safetensors.torch.save_file(tensors, path, metadata)
    read_tree(path)


@pytest.mark.parametrize("change", [lambda t: t.view(torch.int32), lambda t: t.reshape(2, 8), lambda t: t.double()])
def test_a_tensor_of_another_type_or_shape_is_found(change, tmp_path):
    path = written(tmp_path / "x.safetensors", {"a": torch.randn(4, 4)})
    with safetensors.safe_open(path, "pt") as file:
        metadata, tensor = file.metadata(), file.get_tensor("a")
    safetensors.torch.save_file({"a": change(tensor).contiguous()}, path, metadata)
    with pytest.raises(SnapshotError, match="damaged: expected SHA-256"):
        read_tree(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; give a snapshot"),
        (b"", "damaged or not a safetensors file"),
        (b"<!DOCTYPE html><html>not found</html>", "damaged or not a safetensors file"),
        (
            safetensors.torch.save({"x": torch.zeros(1)}),
            "not written by diptych; other tools' weights go through `diptych import`",
        ),
        (safetensors.torch.save({"x": torch.zeros(1)}, {"diptych": "0" * 64 + "{"}), "damaged or not a safetensors file"),
    ],
)
def test_other_files_are_refused_in_one_line(content, message, tmp_path):
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SnapshotError, match=message) as caught:
        read_tree(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_is_no_snapshot(tmp_path):
    with pytest.raises(SnapshotError, match=re.escape(str(tmp_path))):
        read_tree(tmp_path)


# --- a disk that refuses ---

FAILING = ["open", "write", "fsync", "replace"]


def refuse(monkeypatch, step, code):
    """Let one step of a save fail as a full disk does; write leaves half of the bytes."""

    def fail(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    class HalfFull:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            fail()

    import builtins

    real = builtins.open
    if step == "open":
        monkeypatch.setattr(builtins, "open", lambda path, mode="r", **k: fail() if "w" in mode else real(path, mode, **k))
    elif step == "write":
        half_full = lambda path, mode="r", **k: HalfFull(real(path, mode, **k)) if "w" in mode else real(path, mode, **k)  # noqa: E731
        monkeypatch.setattr(builtins, "open", half_full)
    else:
        monkeypatch.setattr(os, step, fail)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("step", FAILING)
def test_a_disk_that_refuses_leaves_the_old_file_and_no_other(step, code, tmp_path, monkeypatch):
    path = written(tmp_path / "x.safetensors")
    before = path.read_bytes()
    with monkeypatch.context() as patched:
        refuse(patched, step, code)
        with pytest.raises(StorageError) as caught:
            write_tree(path, TREE | {"step": 8})
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == before
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be written ({os.strerror(code)}); needs ") and message.endswith(" free")
    needs, free = (int(number.replace(",", "")) for number in re.findall(r"[\d,]{2,}", message.split("needs", 1)[1]))
    assert needs > 1000 and free > 0
    assert caught.value.exit_code == 5


def test_a_folder_that_is_not_there_or_is_a_file_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        write_atomic(tmp_path / "missing" / "x", b"1")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="Not a directory"):
        write_atomic(tmp_path / "file" / "x", b"1")


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_atomic(path, b"old")

    def interrupt(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_atomic(path, b"new")
    assert os.listdir(tmp_path) == ["x"]
    assert path.read_bytes() == b"old"


def test_the_longest_names_can_be_written(tmp_path):
    path = tmp_path / ("x" * 255)
    write_atomic(path, b"1")
    assert path.read_bytes() == b"1"


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this machine allows no mount")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_really_full_disk_leaves_the_old_file_and_no_other(small_disk):
    path = written(small_disk / "x.safetensors", {"x": torch.zeros(10_000)})
    refused = []
    for count in range(11_000, 90_000, 4_000):  # 43 to 350 KB into 256 KB that hold 40 KB already
        before = path.read_bytes()
        try:
            write_tree(path, {"x": torch.ones(count)})
        except StorageError as error:
            refused.append(str(error))
        assert path.read_bytes() == before if len(refused) else read_tree(path)["x"].numel() == count
        assert os.listdir(small_disk) == [path.name]
    assert 5 < len(refused) < 20
    for message in refused:
        assert re.search(r"\(No space left on device\); needs [\d,]+ bytes, [\d,]+ free$", message)


# --- killed at every step of a save ---


def versions(folder, how):
    """Which version can be read back from what a kill left, "none" when neither can."""
    if how == "run":
        states = sorted(folder.glob("state-*.safetensors"))
        try:
            return "new" if read_tree(states[-1])["step"] == 3 else "old"
        except (SnapshotError, IndexError):
            return "none"
    try:
        return {0: "old", 1: "new"}[read_tree(folder / "snapshot.safetensors")["version"]]
    except SnapshotError:
        return "none"


def saving(folder, how, tell, *, die_at=None):
    """A process that has everything ready and saves version 1 over version 0 when told to."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    SAVES["run" if how == "run" else "atomic"](folder, 0)
    if how == "naive":
        write_tree(folder / "prepared", {"version": 1, "weights": torch.ones(40_000)})
    return start(save_when_told, str(folder), how, str(tell), die_at)


@pytest.mark.parametrize("how", ["atomic", "run", "naive"])
def test_a_save_that_dies_at_any_step_leaves_the_old_or_the_new_version(how, tmp_path):
    """Steps are the calls that a save makes; os._exit stands in for the kill. The naive save must be caught."""
    tell, found = tmp_path / "go", []
    tell.touch()
    for step in range(1, 40):
        process = saving(tmp_path / "run", how, tell, die_at=step)
        process.join(60)
        found.append(versions(tmp_path / "run", how))
        if process.exitcode == 0:
            break
        assert process.exitcode == 99
    print(f"{how}: died at {len(found) - 1} steps: {found}")
    assert process.exitcode == 0 and found[-1] == "new" and len(found) > (3 if how == "naive" else 6)
    assert ("none" in found) == (how == "naive")
    assert "old" in found


SYSCALLS = "openat,write,writev,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,close,mmap"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
@pytest.mark.parametrize("how", ["atomic", "run", "naive"])
def test_a_save_killed_at_any_system_call_leaves_the_old_or_the_new_version(how, tmp_path):
    kills, found = 0, []
    for syscall in ("openat", "write", "fsync", "rename", "unlink", "close"):
        for k in range(1, 60):
            tell = tmp_path / f"go-{syscall}-{k}"
            process = saving(tmp_path / "run", how, tell)
            inject = f"inject={syscall}:signal=KILL:when={k}"
            command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={SYSCALLS}", "-e", inject, "-p", str(process.pid)]
            tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
            deadline = time.monotonic() + 20
            while re.search(r"TracerPid:\s+0\b", Path(f"/proc/{process.pid}/status").read_text()):
                if tracer.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    pytest.skip(f"strace cannot attach here: {tracer.stderr.read().decode()}")
                time.sleep(0.002)
            tell.touch()
            process.join(60)
            tracer.wait(10)
            tracer.stderr.close()
            found.append(versions(tmp_path / "run", how))
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            kills += 1
    print(f"{how}: {kills} kills, one at each system call: {found}")
    assert kills >= (4 if how == "naive" else 8)
    assert ("none" in found) == (how == "naive")
    assert {"old", "new"} <= set(found)


# --- the hash of a file, and weights that other tools wrote (what is refused of them: tests/test_foreign.py) ---


def test_the_hash_of_a_file_is_that_of_its_bytes_whenever_they_change(tmp_path):
    path, times = tmp_path / "x", itertools.count()
    for content in (b"", b"one", b"two", os.urandom(3_000_000)):
        path.write_bytes(content)
        os.utime(path, ns=(0, next(times)))
        assert sha256_of(path) == sha256_of(path) == hashlib.sha256(content).hexdigest()
    other = tmp_path / "y"
    write_atomic(other, b"three")
    os.replace(other, path)
    assert sha256_of(path) == hashlib.sha256(b"three").hexdigest()
    with pytest.raises(FileNotFoundError):
        sha256_of(tmp_path / "missing")


def test_a_young_file_that_changes_within_one_tick_of_the_clock_is_seen(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    now = path.stat().st_mtime_ns
    for content in (b"one", b"two"):
        path.write_bytes(content)
        os.utime(path, ns=(now, now))
        assert sha256_of(path) == hashlib.sha256(content).hexdigest()


def test_a_hash_is_computed_once(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    os.utime(path, ns=(0, 0))
    sha256_of(path)
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert sha256_of(path) == hashlib.sha256(b"one").hexdigest()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ""])
def test_tensors_of_other_tools_are_read_without_wrappers(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    state = {"a.weight": torch.randn(2, 3), "a.count": torch.tensor(7)}
    if suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}, "epoch": 3}, path)
    assert same(read_state_dict(path), state)
    assert same(read_state_dict(str(path)), state)
    assert all(tensor.device.type == "cpu" and not tensor.requires_grad for tensor in read_state_dict(path).values())


def test_parameters_become_plain_tensors(tmp_path):
    torch.save({"a": torch.nn.Parameter(torch.ones(2))}, tmp_path / "x.pth")
    assert not read_state_dict(tmp_path / "x.pth")["a"].requires_grad


def test_a_file_without_weights_is_refused_in_one_line(tmp_path):
    torch.save([1, 2], tmp_path / "x.pth")
    with pytest.raises(
        WeightsError, match=r"^\S+x\.pth: holds a list, no state_dict; save net\.state_dict\(\) in the tool that made it$"
    ):
        read_state_dict(tmp_path / "x.pth")
