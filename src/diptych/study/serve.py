"""Serve a study: one process, on this machine alone unless an address is given."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from diptych.errors import ConfigError
from diptych.extras import extra
from diptych.study.folder import Secrets, Study, serving
from diptych.study.store import Store

LOCAL = ("127.0.0.1", "localhost", "::1")
EXTRA = ("study", "the server of a study")


def origins_of(host: str, port: int, public_url: str | None) -> frozenset[str]:
    """The addresses under which browsers may use a study. Raises ConfigError for an open address without a public URL."""
    if public_url is None:
        if host not in LOCAL:
            raise ConfigError(
                f"--host {host}: others can reach this address; give --public-url https://... as participants will see it"
            )
        return frozenset(f"http://{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))
    parts = urlsplit(public_url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigError(f"--public-url must be like https://study.example.org, without a path, found {public_url!r}")
    return frozenset({f"{parts.scheme}://{parts.netloc}"})


def refuse_port(port: int) -> None:
    """Raise ConfigError for a number that is no port of TCP."""
    if not 0 < port < 65_536:
        raise ConfigError(f"--port must be from 1 to 65535, found {port}")


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections at an address of this machine. Raises ConfigError when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        number = error.errno or 0
        why = os.strerror(number) if number > 0 else error.strerror  # unknown names have negative numbers
        raise ConfigError(f"--host {host} --port {port}: cannot be listened at ({why}); choose another --port") from error


def serve(folder: Path, *, host: str, port: int, public_url: str | None, started: Callable[[str], None]) -> None:
    """Serve a study until a signal stops it; ``started`` is called with its address before.

    Raises MissingExtraError without Starlette and uvicorn, LockedError while another process serves the study, and ConfigError
    when the address is taken.
    """
    refuse_port(port)
    study, origins = Study.load(folder), origins_of(host, port, public_url)
    study.check_pictures()
    extra("starlette", *EXTRA)
    uvicorn = extra("uvicorn", *EXTRA)
    from diptych.study.app import create_app

    with serving(folder), listening(host, port) as taken:
        store = Store(folder)
        try:
            app = create_app(study, store, Secrets.load(folder), origins=origins)
            config = uvicorn.Config(
                app,
                access_log=False,  # addresses of participants are written down nowhere
                log_level="warning",
                server_header=False,
                proxy_headers=False,  # nothing here asks who a proxy speaks for
                timeout_keep_alive=5,
                timeout_graceful_shutdown=10,
                limit_concurrency=500,
                h11_max_incomplete_event_size=16_384,
            )
            started(public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}")
            with suppress(KeyboardInterrupt):  # Ctrl-C, after it has stopped
                uvicorn.Server(config).run(sockets=[taken])
        finally:
            store.close()
