"""`diptych study serve` as a process of its own: addresses, the lock, and kills while people take part."""

from __future__ import annotations

import http.client
import json
import random
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from diptych.errors import ConfigError, DataError, LockedError, MissingExtraError
from diptych.study import serve as serving
from diptych.study.folder import Secrets
from diptych.study.folder import serving as lock
from diptych.study.protocol import Protocol
from diptych.study.serve import origins_of
from diptych.study.simulate import Browser, take_part
from diptych.study.store import Store

KILLS, LONGEST = 3, 40  # seconds that anything may take, on a machine that is busy


def test_browsers_may_use_the_addresses_of_this_machine_or_the_public_one():
    assert origins_of("127.0.0.1", 8000, None) == {"http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000"}
    assert origins_of("0.0.0.0", 8000, "https://study.example.org/") == {"https://study.example.org"}
    assert origins_of("127.0.0.1", 8000, "http://lab:8080") == {"http://lab:8080"}


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::"])
def test_an_address_that_others_reach_needs_a_public_url(host):
    with pytest.raises(ConfigError, match=rf"--host {host}: others can reach this address; give --public-url"):
        origins_of(host, 8000, None)


@pytest.mark.parametrize("url", ["study.example.org", "ftp://x", "https://x/path", "https://x?token=1", "https://"])
def test_a_public_url_has_no_path(url):
    with pytest.raises(ConfigError, match=r"--public-url must be like https://study\.example\.org"):
        origins_of("127.0.0.1", 8000, url)


def test_a_study_without_a_picture_is_not_served(make):
    study, _ = make()
    study.file(next(iter(study.pictures))).unlink()
    with pytest.raises(DataError, match=r"\.png: 1 of 36 pictures are not there; restore the folder from a backup"):
        serving.serve(study.folder, host="127.0.0.1", port=8000, public_url=None, started=lambda url: None)


def test_one_process_serves_a_study(make):
    study, _ = make()
    with (
        lock(study.folder),
        pytest.raises(LockedError, match="another process serves this study; stop it first"),
        lock(study.folder),
    ):
        pass
    with lock(study.folder):
        pass


def test_without_its_packages_serving_says_what_to_install(make, monkeypatch):
    study, _ = make()
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(MissingExtraError, match=r"the server of a study: needs starlette.*pip install 'diptych\[study\]'"):
        serving.serve(study.folder, host="127.0.0.1", port=1, public_url=None, started=lambda url: None)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_or_cannot_be_is_said_before_the_address(make, host):
    study, _ = make()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as other:
        port, told = other.getsockname()[1], []
        with pytest.raises(ConfigError, match=rf"--host {host} --port {port}: cannot be listened at \(Address already in use\)"):
            serving.serve(study.folder, host=host, port=port, public_url="http://lab", started=told.append)
    for port in (0, 65_536):
        with pytest.raises(ConfigError, match=f"--port must be from 1 to 65535, found {port}"):
            serving.serve(study.folder, host=host, port=port, public_url="http://lab", started=told.append)
    assert told == []
    with lock(study.folder):  # which the refused server has given back
        pass


def free_port() -> int:
    """A port below those that the system gives to outgoing connections.

    While a server is away, its participants connect again and again. At a port of that range one of these connections can be
    given the very port that it asks for: it then talks to itself, and the server cannot have the port back.
    """
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def started(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A server process that answers. Fails at once, with what it said, when it ends instead."""
    code = "import sys; from diptych.cli import main; sys.exit(main())"
    words = ["study", "serve", str(folder), "--port", str(port)]
    server = subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE)
    deadline = time.monotonic() + LONGEST
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(OSError, http.client.HTTPException):
            if Browser(f"http://127.0.0.1:{port}").once("/api/state")[0] == 200:
                return server
        time.sleep(0.05)
    server.kill()
    raise AssertionError(f"the server did not start: {server.communicate()[1].decode()}")


def owners(port: int, token: str, path: str) -> bytes:
    """A page of the owner's, in a session that the token began."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST)) as connection:
        headers = {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{port}"}
        connection.request("POST", "/owner/login", json.dumps({"token": token}), headers)
        response = connection.getresponse()
        response.read()
        connection.request("GET", path, headers={"Cookie": response.headers["Set-Cookie"].partition(";")[0]})
        response = connection.getresponse()
        return response.read() + str(response.headers).encode()


def shown_by_system(pid: int) -> bytes:
    """What a list of processes shows of one, where the system has /proc."""
    files = [Path(f"/proc/{pid}/{name}") for name in ("cmdline", "environ")]
    return b"".join(file.read_bytes() for file in files if file.exists())


@pytest.mark.slow
def test_killed_servers_lose_and_double_no_answer(make):
    study, token = make(Protocol(practice=0, trials=20, show_ms=1))
    store, keys, rng, port = Store(study.folder), Secrets.load(study.folder), random.Random(3), free_port()

    def person(seed: int) -> str:
        browser = Browser(f"http://127.0.0.1:{port}", patience=LONGEST)
        return take_part(study, keys, store, browser, {"one": 0.5, "two": 0.5}, 0.0, random.Random(seed))

    servers = []
    with ThreadPoolExecutor(4) as pool:
        people = [pool.submit(person, seed) for seed in range(4)]
        try:
            for _ in range(KILLS):
                servers.append(started(study.folder, port))
                time.sleep(rng.uniform(0.05, 0.3))
                servers[-1].kill()
                servers[-1].communicate()
            servers.append(started(study.folder, port))
            done = [each.result(LONGEST) for each in people]
            shown = shown_by_system(servers[-1].pid)
            pages = [owners(port, token, path) for path in ("/owner", "/owner/answers.csv", "/owner/results.json")]
        finally:  # whatever happened, nobody waits for a server that is not there
            if servers:
                servers[-1].terminate()
                said = servers[-1].communicate(timeout=LONGEST)[1]
    for place in (shown, said, *pages):  # what others can see: lists of processes, the log, pages and exports
        assert token.encode() not in place and keys.key.hex().encode() not in place
    assert b"participants: " in said and b"participant," in pages[1]
    kept = {person.id: person for person in store.participants()}
    assert len(set(done)) == 4 and all([a.trial for a in kept[id].answers] == list(range(20)) for id in done)
    assert store.database._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    store.close()
