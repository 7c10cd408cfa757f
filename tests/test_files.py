"""Files are whole, or as they were: under damage, a full disk, and a kill at every step of a save."""

import errno
import hashlib
import itertools
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
import torch

from diptych.errors import ConfigError, SnapshotError, StorageError
from diptych.files import make_folder, name_below, sha256_of, write_atomic
from diptych.run import Run
from diptych.trees import read_tree, write_tree
from tests.disks import small_disk
from tests.test_trees import TREE, written
from tests.training.forks import SAVES, save_when_told, start

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


def test_a_missing_folder_is_made_and_a_file_in_its_place_is_a_storage_error(tmp_path):
    write_atomic(tmp_path / "missing" / "below" / "x", b"1")
    assert (tmp_path / "missing" / "below" / "x").read_bytes() == b"1"
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
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "256k") as disk:
        yield disk


def test_a_really_full_disk_leaves_the_old_file_and_no_other(disk):
    path = written(disk / "x.safetensors", {"x": torch.zeros(10_000)})
    refused = []
    for count in range(11_000, 90_000, 4_000):  # 43 to 350 KB into 256 KB that hold 40 KB already
        before = path.read_bytes()
        try:
            write_tree(path, {"x": torch.ones(count)})
        except StorageError as error:
            refused.append(str(error))
        assert path.read_bytes() == before if len(refused) else read_tree(path)["x"].numel() == count
        assert os.listdir(disk) == [path.name]
    assert 5 < len(refused) < 20
    for message in refused:
        assert re.search(r"\(No space left on device\); needs [\d,]+ bytes, [\d,]+ free$", message)


# --- links, modes, and what is no regular file ---


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("number", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode(number, tmp_path):
    path = tmp_path / "x"
    write_atomic(path, b"old")
    path.chmod(number)
    write_atomic(path, b"new")
    assert mode(path) == number and path.read_bytes() == b"new"


def test_a_secret_file_is_never_readable_on_the_way(tmp_path, monkeypatch):
    path, seen = tmp_path / "x", []
    write_atomic(path, b"old")
    path.chmod(0o600)
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (seen.append(stat.S_IMODE(os.fstat(file).st_mode)), real(file)))
    write_atomic(path, b"new")
    assert seen[0] == 0o600


def test_a_new_file_has_the_mode_that_the_system_gives(tmp_path):
    (tmp_path / "plain").write_bytes(b"1")
    write_atomic(tmp_path / "x", b"1")
    assert mode(tmp_path / "x") == mode(tmp_path / "plain")


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "x", tmp_path / "link"
    link.symlink_to("there/x")
    for data in (b"first", b"second"):  # a broken link at first
        write_atomic(link, data)
        assert link.is_symlink() and target.read_bytes() == data
    assert os.listdir(tmp_path / "there") == ["x"] and set(os.listdir(tmp_path)) == {"there", "link"}


@pytest.mark.parametrize("name", ["report.html", "stats.jsonl"])
def test_a_link_out_of_its_folder_is_refused_and_what_it_names_is_kept(name, tmp_path):
    """As a stranger's run folder may hold it: nobody named the file that would be changed."""
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to("../mine")
    message = f"{name}: .*is a link to .*mine, outside of its folder; name that file, or remove the link"
    if name == "report.html":
        with pytest.raises(StorageError, match=message):
            write_atomic(tmp_path / "run" / name, b"x")
    else:
        with pytest.raises(StorageError, match=message):
            Run(tmp_path / "run").add_stats({"step": 1})
    assert (tmp_path / "mine").read_text() == "kept" and len(os.listdir(tmp_path)) == 2


def test_a_link_that_leads_to_itself_is_a_storage_error(tmp_path):
    (tmp_path / "link").symlink_to("link")
    with pytest.raises(StorageError, match="link: cannot be written"):
        write_atomic(tmp_path / "link", b"1")


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomic(tmp_path / "pipe", b"data")
    assert os.read(reader, 10) == b"data" and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    os.close(reader)
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.fixture
def device(tmp_path):
    """Makes a device of one's own like /dev/null (3) or /dev/full (7), as a broken write would replace the machine's."""

    def make(minor):
        try:
            os.mknod(tmp_path / "device", stat.S_IFCHR | 0o666, os.makedev(1, minor))
            open(tmp_path / "device", "wb").close()
        except OSError:
            pytest.skip("this machine or user may make no devices")
        return tmp_path / "device"

    return make


def test_a_device_is_written_to_and_not_replaced(device, tmp_path):
    path = device(3)
    write_atomic(path, b"data")
    assert stat.S_ISCHR(path.stat().st_mode) and os.listdir(tmp_path) == ["device"]


def test_a_device_that_refuses_is_a_storage_error(device):
    with pytest.raises(StorageError, match=r"device: cannot be written \(No space left on device\)"):
        write_atomic(device(7), b"1")


def test_a_pipe_has_no_hash(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is a pipe, socket or device, not a file"):  # without waiting for a writer
        sha256_of(tmp_path / "pipe")


@pytest.mark.parametrize("name", [".", "", "/", ".."])
def test_a_folder_is_no_file_to_write(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"cannot be written \(Is a directory\); choose another place"):
        write_atomic(Path(name), b"1")
    assert os.listdir(tmp_path) == []


def test_a_zero_byte_in_a_name_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r"x.x00y': cannot be written \(embedded null byte\)"):
        write_atomic(tmp_path / "x\0y", b"1")


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_only_a_folder_that_cannot_be_synced_at_all_is_passed_over(code, tmp_path, monkeypatch):
    real = os.fsync

    def fsync(file):
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(code, os.strerror(code))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    if code == errno.EIO:
        with pytest.raises(StorageError, match="cannot be written"):
            write_atomic(tmp_path / "x", b"1")
    else:
        write_atomic(tmp_path / "x", b"1")
        assert (tmp_path / "x").read_bytes() == b"1"


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


# --- the hash of a file ---


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


def test_a_folder_of_results_is_made_unless_a_file_has_its_name(tmp_path):
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file: is a file, and results go into a folder; choose another --out"):
        make_folder(tmp_path / "file")
    with pytest.raises(StorageError, match="cannot be made"):
        make_folder(tmp_path / "file" / "below")


@pytest.mark.parametrize("folder", [".", "a", "a/b", "/", "/a", "x.zip"])
def test_a_name_below_a_folder_is_the_relative_path(folder):
    path = Path(folder) / "sub" / "é 1.png"
    assert name_below(path, Path(folder)) == path.relative_to(folder).as_posix() == "sub/é 1.png"
    with pytest.raises(ValueError, match="is not in the subpath of"):
        name_below(Path("ab/c.png"), Path("ab/c"))
