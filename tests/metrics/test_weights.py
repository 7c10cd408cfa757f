"""Weight files are verified, fetched once and resumed; each way that this can fail is one line that says what to do."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.server
import os
import posixpath
import re
import socket
import threading
import time
import types
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from diptych import downloads
from diptych.errors import ConfigError, StorageError, WeightsError
from diptych.metrics.weights import WEIGHTS, WeightFile, address, cache_folder, cached, find_weights

CONTENT = hashlib.shake_256(b"weights").digest(400_000)
OTHER = CONTENT[:-1] + b"\0"
TINY = WeightFile(
    "tiny",
    "tiny-1234.pth",
    "https://localhost/unused",
    hashlib.sha256(CONTENT).hexdigest(),
    len(CONTENT),
    "none",
    ("also-tiny.pth",),
)


class Server(http.server.ThreadingHTTPServer):
    """A server on this machine that serves ``content``, misbehaves as ``plan`` says, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content = CONTENT
        self.plan: list[str] = []  # one word for each request; "whole" when there is none
        self.asked: list[str | None] = []  # the Range of each request
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        pass  # a client that hung up


class Answer(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        how = self.server.plan.pop(0) if self.server.plan else "whole"
        content, start = self.server.content, 0
        if how.isdecimal():
            self.send_error(int(how))
            return
        if how.startswith("to "):
            self.send_response(302)
            self.send_header("Location", how[3:])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if asked and "no range" not in how:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
            start += 1000 * (how == "another part")
            self.send_response(206)
            total = "*" if how == "unknown total" else len(content)
            if how != "unsaid part":
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{total}")
        else:
            self.send_response(200)
        body = content[start:]
        if how not in ("no length", "too long"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if how.startswith("cut"):
            body = body[: len(body) // 3]
        if how == "slow":
            time.sleep(0.5)
        if how in ("silent", "mute"):
            self.wfile.write(body[: 1000 * (how == "silent")])
            self.wfile.flush()
            time.sleep(1.0)
            return
        self.wfile.write(body + CONTENT * (how == "too long"))


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def sandbox(tmp_path, monkeypatch):
    """Nothing of this machine's caches and proxies, and one small file in the table."""
    monkeypatch.setitem(WEIGHTS, "tiny", TINY)
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("DIPTYCH_WEIGHTS_URL", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens: whoever uses it fails
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


@pytest.fixture
def mirror(server, monkeypatch) -> Server:
    monkeypatch.setenv("DIPTYCH_WEIGHTS_URL", server.url)
    return server


def target() -> Path:
    return cache_folder() / TINY.filename


def part() -> Path:
    return cache_folder() / f"{TINY.filename}.part"


def refusal(call=None, kind=WeightsError) -> str:
    with pytest.raises(kind) as caught:
        find_weights("tiny") if call is None else call()
    assert type(caught.value) is kind
    assert str(caught.value).isprintable()  # and so one line
    return str(caught.value)


def in_cache() -> list[str]:
    return sorted(path.name for path in cache_folder().iterdir() if not path.name.endswith(".lock"))


# --- the table ---


@pytest.mark.parametrize("name", ["inception", "alexnet", "vgg16"])
def test_the_table_holds_published_files(name):
    file = WEIGHTS[name]
    assert file.name == name
    assert file.url.startswith("https://") and file.url.endswith(f"/{file.filename}")
    assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
    assert re.search(r"-([0-9a-f]{8})\.pth$", file.filename)[1] == file.sha256[:8]  # as torch.hub names its files
    assert file.size > 90e6 and file.licence


# --- fetching ---


def test_a_file_is_fetched_once_and_progress_is_told(mirror):
    told = []
    path = find_weights("tiny", watch=lambda done, total: told.append((done, total)))
    assert path == target() and path.read_bytes() == CONTENT
    assert told[0] == (0, TINY.size) and told[-1] == (TINY.size, TINY.size) and len(told) > 3
    assert told == sorted(told)
    assert find_weights("tiny") == path
    assert mirror.asked == [None]
    assert in_cache() == [TINY.filename]


def test_a_cut_connection_is_resumed_where_it_was_cut(mirror):
    mirror.plan = ["cut", "cut", "whole"]
    told = []
    assert find_weights("tiny", watch=lambda done, total: told.append(done)).read_bytes() == CONTENT
    first = len(CONTENT) // 3
    second = first + (len(CONTENT) - first) // 3
    assert mirror.asked == [None, f"bytes={first}-", f"bytes={second}-"]
    assert told == sorted(told) and first in told and second in told


def test_what_came_before_is_kept_for_the_next_time(mirror):
    mirror.plan = ["cut", "503"]
    kept = len(CONTENT) // 3
    message = refusal()
    assert (
        f"(HTTP 503 Service Unavailable); {kept:,} of 400,000 bytes are kept: run again to go on, or put the file at" in message
    )
    assert in_cache() == [part().name] and part().read_bytes() == CONTENT[:kept]
    assert find_weights("tiny").read_bytes() == CONTENT
    assert mirror.asked[-1] == f"bytes={kept}-"


@pytest.mark.parametrize("how", ["no range", "no length", "unknown total"])
def test_servers_that_know_less_serve_as_well(how, mirror):
    mirror.plan = ["cut", how]
    assert find_weights("tiny").read_bytes() == CONTENT
    assert in_cache() == [TINY.filename]


def test_a_server_that_starts_again_each_time_ends_in_an_error(mirror):
    mirror.plan = 9 * ["cut, no range"]
    assert "(the connection was closed early); 133,333 of 400,000 bytes are kept" in refusal()
    assert len(mirror.asked) == 2


def test_a_part_that_is_complete_needs_no_request(mirror):
    cache_folder().mkdir()
    part().write_bytes(CONTENT)
    assert find_weights("tiny").read_bytes() == CONTENT
    assert mirror.asked == []


def test_a_part_that_is_too_long_is_begun_again(mirror):
    cache_folder().mkdir()
    part().write_bytes(CONTENT + b"more")
    assert find_weights("tiny").read_bytes() == CONTENT


def test_another_process_that_brings_the_file_is_waited_for(mirror):
    mirror.plan = ["slow"]
    found = []
    threads = [threading.Thread(target=lambda: found.append(find_weights("tiny"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == 3 * [target()]
    assert mirror.asked == [None]


# --- what comes is not the file ---


def test_other_bytes_are_removed_and_named_by_their_hash(mirror):
    mirror.content = OTHER
    found = hashlib.sha256(OTHER).hexdigest()
    message = refusal()
    assert f"expected SHA-256 {TINY.sha256}, found {found} at {mirror.url}/{TINY.filename}; it is removed: run again" in message
    assert message.endswith(f"or put the published file at {target()}")
    assert in_cache() == []
    mirror.content = CONTENT
    assert find_weights("tiny").read_bytes() == CONTENT


def test_a_part_of_another_file_is_never_used(mirror):
    cache_folder().mkdir()
    part().write_bytes(b"x" * 1000)
    assert "expected SHA-256" in refusal()
    assert in_cache() == []
    assert find_weights("tiny").read_bytes() == CONTENT


@pytest.mark.parametrize("kept", [0, 500, 5000])
def test_a_file_of_another_size_is_refused_before_it_comes(kept, mirror):
    mirror.content = b"<html>please log in</html>" * 100
    cache_folder().mkdir()
    part().write_bytes(CONTENT[:kept])
    message = refusal()
    assert f"cannot be fetched from {mirror.url}/{TINY.filename} (it has 2,600 bytes there and 400,000 when published)" in message
    mirror.content = CONTENT
    assert find_weights("tiny").read_bytes() == CONTENT


def test_another_part_than_asked_for_is_not_glued(mirror):
    mirror.plan = ["cut", "another part"]
    kept = len(CONTENT) // 3
    assert f"it sent what follows byte {kept + 1000:,} when asked for what follows byte {kept:,}" in refusal()
    mirror.plan = ["cut", "unsaid part"]
    assert "the server did not say which part it sent" in refusal()
    assert find_weights("tiny").read_bytes() == CONTENT


def test_more_than_the_published_bytes_are_not_taken(mirror):
    mirror.plan = ["too long"]
    assert "(it has more than the 400,000 bytes published)" in refusal()
    assert part().stat().st_size == 0


# --- no network ---


def test_without_a_network_one_line_says_what_to_put_where(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("DIPTYCH_WEIGHTS_URL", f"http://127.0.0.1:{port}/mirror/")
    url = f"http://127.0.0.1:{port}/mirror/tiny-1234.pth"
    assert refusal() == (
        f"tiny weights (tiny-1234.pth, 0 MiB): cannot be fetched from {url} (127.0.0.1: Connection refused); "
        f"put the file at {target()}"
    )
    assert WeightsError.exit_code == 6
    assert refusal(lambda: find_weights("tiny", fetch=False)) == (
        f"tiny weights (tiny-1234.pth, 0 MiB): not on this machine; fetch {url} and put it at {target()}"
    )


def test_what_cannot_be_reached_is_known_in_a_moment(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False), monkeypatch.delenv(name.lower(), raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert downloads.unreachable(there) == ""
        monkeypatch.setenv("HTTPS_PROXY", there)
        assert downloads.unreachable("https://nowhere.invalid") == ""  # the proxy would ask for it
    assert downloads.unreachable("https://nowhere.invalid") == "127.0.0.1: Connection refused"
    monkeypatch.setenv("NO_PROXY", "nowhere.invalid")
    assert downloads.unreachable("https://nowhere.invalid").startswith("nowhere.invalid: ")
    assert downloads.unreachable(there) == "127.0.0.1: Connection refused"
    answered = threading.Event()
    monkeypatch.setattr(downloads.socket, "create_connection", lambda place, timeout: answered.wait() and server)
    monkeypatch.setattr(downloads, "PATIENCE", 0.05)
    assert downloads.unreachable("http://127.0.0.1") == "127.0.0.1: no answer"  # such as a name that is looked up for ever
    answered.set()


def test_put_there_by_hand_it_is_found():
    target().parent.mkdir()
    target().write_bytes(CONTENT)
    assert find_weights("tiny", fetch=False) == target()


def test_a_missing_file_is_an_http_404(mirror):
    mirror.plan = ["404"]
    assert "(HTTP 404 Not Found); put the file at" in refusal()
    assert mirror.asked == [None]


def test_silence_counts_as_cut(mirror, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    mirror.plan = ["silent", "404"]
    assert "HTTP 404 Not Found); 1,000 of 400,000 bytes are kept" in refusal()
    mirror.plan = ["mute"]
    assert "(timed out)" in refusal()
    mirror.plan = ["silent", "silent"]
    assert find_weights("tiny").read_bytes() == CONTENT


def test_something_that_speaks_no_http_is_an_error(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("DIPTYCH_WEIGHTS_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")

        def babble() -> None:
            with contextlib.suppress(OSError):  # the listener is shut down in the end
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(1000)
                        connection.sendall(b"220 mail.example.org ESMTP\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        assert re.search(r"cannot be fetched from \S+ \(.+\); put the file at", refusal())
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


# --- addresses ---


def test_redirections_are_followed_only_to_safe_places(mirror, server):
    mirror.plan = [f"to {server.url}/elsewhere"]
    assert find_weights("tiny").read_bytes() == CONTENT
    target().unlink()
    mirror.plan = ["to http://example.org/tiny.pth"]
    assert "(it redirects to 'http://example.org/tiny.pth', which is not https)" in refusal()
    mirror.plan = ["to ftp://example.org/tiny.pth"]
    assert "which is not https" in refusal()
    mirror.plan = [f"to file://{__file__}"]
    assert "cannot be fetched" in refusal()
    assert in_cache() == [part().name] and part().stat().st_size == 0


def test_a_server_elsewhere_cannot_send_us_to_one_on_this_machine():
    request = urllib.request.Request("https://example.org/tiny.pth")
    with pytest.raises(downloads._Cut, match="it redirects to 'http://localhost/admin', which is not https"):
        downloads._Redirect().redirect_request(request, None, 302, "Found", {}, "http://localhost/admin")
    redirect = downloads._Redirect().redirect_request(request, None, 302, "Found", {}, "https://objects.example.org/x")
    assert redirect.full_url == "https://objects.example.org/x"


def test_a_folder_serves_as_a_mirror(tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("DIPTYCH_WEIGHTS_URL", (tmp_path / "mirror").as_uri())
    assert re.search(r"cannot be fetched from file:///\S+ \(No such file or directory\); put the file at", refusal())
    (tmp_path / "mirror" / TINY.filename).write_bytes(CONTENT)
    cache_folder().mkdir(exist_ok=True)
    part().write_bytes(CONTENT[:1000])
    assert find_weights("tiny").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "mirror",
    [
        "http://example.org",
        "http://10.0.0.1/x",
        "ftp://localhost",
        "/srv/weights",
        "https://",
        "file://server/share",
        "https://[::1",
    ],
)
def test_a_mirror_that_others_could_change_is_refused(mirror, monkeypatch):
    monkeypatch.setenv("DIPTYCH_WEIGHTS_URL", mirror)
    assert refusal(kind=ConfigError) == (
        f"DIPTYCH_WEIGHTS_URL: a mirror is https://..., file:///... or http://localhost..., found {mirror!r}; change or unset it"
    )


def test_the_published_address_is_used_unless_there_is_a_mirror(monkeypatch):
    assert address(WEIGHTS["vgg16"]) == "https://download.pytorch.org/models/vgg16-397923af.pth"
    for mirror in ("https://example.org/w", "https://example.org/w/", "http://[::1]:80/w", "http://localhost/w", "file:///w"):
        monkeypatch.setenv("DIPTYCH_WEIGHTS_URL", mirror)
        assert address(WEIGHTS["vgg16"]) == f"{mirror.rstrip('/')}/vgg16-397923af.pth"


# --- files that are there ---


def test_a_given_file_is_the_only_one_looked_at(tmp_path, mirror):
    path = tmp_path / "mine.pth"
    path.write_bytes(CONTENT)
    assert find_weights("tiny", path) == find_weights("tiny", str(path)) == path
    path.write_bytes(OTHER)
    found = hashlib.sha256(OTHER).hexdigest()
    expected = f"{path}: expected SHA-256 {TINY.sha256} of the published tiny-1234.pth, found {found}; "
    assert refusal(lambda: find_weights("tiny", path)) == f"{expected}get it again, or give {path}#sha256={found}"
    assert mirror.asked == [] and not cache_folder().exists()


def test_other_bytes_are_taken_where_their_hash_is_stated(tmp_path):
    path = tmp_path / "converted#1.pth"
    path.write_bytes(OTHER)
    found = hashlib.sha256(OTHER).hexdigest()
    assert find_weights("tiny", f"{path}#sha256={found}") == path
    assert find_weights("tiny", f"{path}#sha256={found.upper()}") == path
    wrong = "0" * 64
    message = refusal(lambda: find_weights("tiny", f"{path}#sha256={wrong}"))
    assert message == f"{path}: expected SHA-256 {wrong}, as stated, found {found}; get it again, or give {path}#sha256={found}"
    message = refusal(lambda: find_weights("tiny", f"{path}#sha256=1234"))
    assert message.endswith("#sha256=1234: a SHA-256 has 64 hexadecimal digits, found 4 characters; state all of it")


def test_a_given_path_without_a_file_is_refused(tmp_path):
    for path, reason in ((tmp_path / "x.pth", "No such file or directory"), (tmp_path, "is a folder, not a file")):
        assert refusal(lambda path=path: find_weights("tiny", path)) == f"{path}: cannot be read ({reason}); check the path"


@pytest.mark.parametrize("name", ["tiny-1234.pth", "also-tiny.pth"])
def test_the_cache_of_torch_hub_is_used(name, tmp_path, mirror):
    path = tmp_path / "torch" / "hub" / "checkpoints" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert find_weights("tiny") == cached("tiny") == path
    assert mirror.asked == []


def test_other_bytes_in_a_cache_are_named_and_fetched_anew(tmp_path, mirror, caplog):
    assert cached("tiny") is None
    for path in (target(), tmp_path / "torch" / "hub" / "checkpoints" / TINY.filename):
        path.parent.mkdir(parents=True)
        path.write_bytes(OTHER)
    assert cached("tiny") is None
    found = hashlib.sha256(OTHER).hexdigest()
    assert f"{target()}: expected SHA-256 {TINY.sha256}, found {found}; it is left aside" in caplog.text
    assert len(caplog.records) == 2
    assert find_weights("tiny") == target()
    assert target().read_bytes() == CONTENT
    assert path.read_bytes() == OTHER  # not ours to repair


def test_where_the_cache_is(monkeypatch):
    assert str(cache_folder()) == os.environ["DIPTYCH_WEIGHTS"]
    monkeypatch.delenv("DIPTYCH_WEIGHTS")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/x")
    assert str(cache_folder()) == "/var/x/diptych/weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(cache_folder()) == "/home/somebody/.cache/diptych/weights"
    windows = types.SimpleNamespace(name="nt", path=posixpath, environ={"LOCALAPPDATA": "/AppData/Local"})
    monkeypatch.setattr(downloads, "os", windows)
    assert str(cache_folder()) == "/AppData/Local/diptych/weights"


def test_torch_hubs_cache_is_where_torch_says(tmp_path, monkeypatch):
    import torch.hub

    for home in (tmp_path / "torch", None):
        if home is None:
            monkeypatch.delenv("TORCH_HOME")
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        path = Path(torch.hub.get_dir()) / "checkpoints" / TINY.filename
        path.parent.mkdir(parents=True)
        path.write_bytes(CONTENT)
        assert cached("tiny") == path
        path.unlink()


# --- a disk that refuses ---


def test_a_disk_that_refuses_is_a_storage_error(mirror, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert refusal(kind=StorageError) == (
            f"{target()}: cannot be written (No space left on device); needs 400,000 bytes: free some, "
            "or set DIPTYCH_WEIGHTS to a folder on another disk"
        )
    assert find_weights("tiny").read_bytes() == CONTENT


def test_a_cache_that_is_no_folder_is_a_storage_error(mirror, tmp_path):
    (tmp_path / "cache").write_bytes(b"")
    assert "cannot be written" in refusal(kind=StorageError)


def test_stopping_keeps_what_came(mirror):
    def stop(done: int, total: int) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        find_weights("tiny", watch=stop)
    assert in_cache() == [part().name] and 100_000 < part().stat().st_size < 400_000
    assert find_weights("tiny").read_bytes() == CONTENT
    assert mirror.asked[-1] == f"bytes={mirror.asked[-1].removeprefix('bytes=').rstrip('-')}-" != "bytes=0-"
