"""A small study and its server as a process, for the experiments beside this file."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

from diptych.study.folder import Study
from diptych.study.make import new_study
from diptych.study.protocol import Protocol
from diptych.study.simulate import Browser

SERVE = "import sys; from diptych.cli import main; sys.exit(main())"


def study_in(folder: Path, protocol: Protocol, number: int = 60, side: int = 16) -> Study:
    """A study of noise by a camera and by two methods; what pictures show does not matter to simulated people."""
    rng = np.random.default_rng(0)
    for source in ("real", "one", "two"):
        (folder / source).mkdir()
        for name in range(number):
            Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(folder / source / f"{name}.png")
    return new_study(folder / "s", folder / "real", {m: folder / m for m in ("one", "two")}, protocol)[0]


def started(study: Study, port: int) -> subprocess.Popen[bytes]:
    """A server that answers."""
    server = subprocess.Popen([sys.executable, "-c", SERVE, "study", "serve", str(study.folder), "--port", str(port)], stderr=-3)
    while server.poll() is None:
        with suppress(OSError, http.client.HTTPException):
            if Browser(f"http://127.0.0.1:{port}").once("/api/state")[0] == 200:
                return server
        time.sleep(0.02)
    raise SystemExit(f"the server ended: is port {port} free?")


@contextmanager
def serving(study: Study, port: int) -> Iterator[str]:
    """The address of a server that runs until the block ends."""
    server = started(study, port)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)
