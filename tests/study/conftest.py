"""Small studies, one that is served over HTTP on this machine, and a private server of PostgreSQL where it is installed."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import uvicorn
from PIL import Image

from diptych.study.app import create_app
from diptych.study.folder import Secrets, Study
from diptych.study.make import new_study
from diptych.study.protocol import Protocol
from diptych.study.simulate import Browser
from diptych.study.store import Store


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Twelve pictures of 16x16 pixels from a camera and from two methods."""
    rng, made = np.random.default_rng(0), {}
    for source in ("real", "one", "two"):
        made[source] = tmp_path_factory.mktemp(source)
        for number in range(12):
            pixels = rng.integers(0, 2 + 20 * number, (16, 16, 3), np.uint8)  # some compress well, some do not
            Image.fromarray(pixels).save(made[source] / f"p{number:02}.png")
    return made


Make = Callable[..., tuple[Study, str]]


@pytest.fixture
def make(folders: dict[str, Path], tmp_path: Path) -> Make:
    """A function that makes a study with these rules and options."""

    def build(protocol: Protocol | None = None, **options: object) -> tuple[Study, str]:
        models = {name: folders[name] for name in ("one", "two")}
        rules = protocol or Protocol(practice=2, trials=4, show_ms=1)
        real = None if rules.kind == "compare" else folders["real"]
        folder = options.pop("folder", tmp_path / "study")
        study, token, _ = new_study(folder, real, models, rules, **options)  # type: ignore[arg-type]
        return study, token

    return build


@dataclass
class PostgresServer:
    """A server of PostgreSQL that only this machine reaches, through a socket in its folder."""

    folder: Path
    programs: Path

    @property
    def url(self) -> str:
        """Where the server is, as --database takes it."""
        return f"postgresql:///postgres?host={self.folder}&user=postgres"

    def run(self, program: str, *words: str) -> None:
        """Run one of its programs as an unprivileged user, which the server insists on."""
        user = {"user": "nobody"} if os.getuid() == 0 else {}
        told = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = [self.programs / program, "-D", self.folder / "data", *words]
        subprocess.run(command, check=True, cwd=self.folder, timeout=60, **told, **user)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self.run("pg_ctl", "-w", "-o", f"-c listen_addresses='' -c unix_socket_directories='{self.folder}'", "start")

    def crash(self) -> None:
        """End it as a power failure would: nothing is written any more."""
        self.run("pg_ctl", "-m", "immediate", "stop")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A private server of PostgreSQL; tests with it are skipped where the server or psycopg is not installed."""
    pytest.importorskip("psycopg")
    found = [*Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), shutil.which("pg_ctl")]
    if not found[0]:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="study-postgres-"))
    if os.getuid() == 0:
        shutil.chown(folder, "nobody")
    server = PostgresServer(folder, Path(found[0]).parent)
    server.run("initdb", "-A", "trust", "-U", "postgres", "--no-sync")
    server.start()
    yield server
    server.crash()
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str | None:
    """Each database in turn: None for SQLite, else the URL of PostgreSQL."""
    return None if request.param == "sqlite" else request.getfixturevalue("postgres").url


@dataclass
class Trouble:
    """A folder to put a study into, and how its disk stops taking anything, and takes it again."""

    folder: Path
    begin: Callable[[], None]
    end: Callable[[], None]


@pytest.fixture(params=["full", "read-only"])
def trouble(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trouble]:
    """A disk that is really full, and a database that really cannot be written, where this user may have them."""
    if request.param == "full":
        yield from small_disk(tmp_path / "disk")
    else:
        yield from sealed(tmp_path / "disk")


def small_disk(folder: Path) -> Iterator[Trouble]:
    """A file system of one megabyte, and a file that takes all that is free."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")

    def fill() -> None:
        with suppress(OSError), open(folder / "filler", "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    yield Trouble(folder, fill, (folder / "filler").unlink)
    subprocess.run(["umount", "--lazy", folder], check=True)


def sealed(folder: Path) -> Iterator[Trouble]:
    """Files that nobody can write, not even who opened them before."""
    folder.mkdir()

    def seal(sign: str) -> None:
        files = sorted((folder / "study").glob("answers.sqlite*")) or [folder / "probe"]
        subprocess.run(["chattr", f"{sign}i", *files], check=True, capture_output=True)

    with open(folder / "probe", "wb", buffering=0) as probe:
        try:
            seal("+")
            probe.write(b"x")
        except OSError:
            pass
        except subprocess.CalledProcessError:
            pytest.skip("this user, or this file system, cannot make files unchangeable")
        else:
            pytest.skip("this file system lets files be written that were made unchangeable")
        finally:
            subprocess.run(["chattr", "-i", folder / "probe"], capture_output=True)
    yield Trouble(folder, lambda: seal("+"), lambda: seal("-"))
    seal("-")


@dataclass
class Served:
    """A study at an address, with its parts at hand."""

    url: str
    study: Study
    store: Store
    keys: Secrets
    token: str

    def joined(self, **more: object) -> tuple[Browser, dict]:
        """A browser whose participant has just joined, and the state it was given."""
        browser = Browser(self.url)
        status, state = browser.call("/api/join", {"language": "en", "consent": self.study.consent_version("en"), **more})
        assert status == 200, state
        return browser, state


def request(served: Served, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request with exactly these headers; a None header is left out."""
    address = urlsplit(served.url).netloc
    connection = http.client.HTTPConnection(address, timeout=10)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    given = {"Origin": served.url, "Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    connection.request(method, path, data, {k: v for k, v in given.items() if v is not None})
    response = connection.getresponse()
    result = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    connection.close()
    return result


def answer_to(state: dict, answer: str = "left", **changed: object) -> dict:
    """A good answer to the trial of a state, with some of it changed, after the time for which its pictures are shown."""
    time.sleep(0.001 * (1 + state["trial"]["pictures"]))
    good = {
        "trial": state["trial"]["number"],
        "answer": answer,
        "key": "0123456789abcdef",
        "shown_ms": [1.0] * state["trial"]["pictures"],
        "frame_ms": 16.7,
        "response_ms": 400.0,
        "interrupted": False,
    }
    return good | changed


@pytest.fixture
def serve() -> Iterator[Callable[[Study, str], Served]]:
    """A function that serves a study on a free port until the test ends."""
    running: list[tuple[uvicorn.Server, threading.Thread, Store]] = []

    def start(study: Study, token: str) -> Served:
        store, keys = Store(study.folder), Secrets.load(study.folder)
        origins: set[str] = set()
        app = create_app(study, store, keys, origins=frozenset())
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        running.append((server, thread, store))
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        origins.add(f"http://127.0.0.1:{port}")
        app.origins, app.hosts = frozenset(origins), {f"127.0.0.1:{port}"}
        return Served(f"http://127.0.0.1:{port}", study, store, keys, token)

    yield start
    for server, thread, store in running:
        server.should_exit = True
        thread.join(10)
        store.close()


@pytest.fixture
def served(make: Make, serve: Callable[[Study, str], Served]) -> Served:
    """The usual small study, served."""
    return serve(*make())
