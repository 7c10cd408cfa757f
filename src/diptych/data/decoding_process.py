"""The process behind `untrusted_files`: for each file it forks a child that decodes it under limits, and another that watches.

It runs without torch, reads no hostile byte itself, and ends when its parent does.
"""

from __future__ import annotations

import base64
import ctypes
import encodings
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from io import BufferedReader
from typing import Any

import imagecodecs
import numpy as np

from diptych.data.decoders import decode
from diptych.data.metadata import Picture
from diptych.data.pillow_images import TooLargeError
from diptych.errors import DataError
from diptych.messages import printable
from diptych.reading import Reading

Decode = Callable[[bytes, Reading, int], Picture]
KEPT = ("nodata", "stored", "frames", "notes")  # of the metadata; the rest is a stranger's bytes that a writer would parse
LINE = 1000  # characters of a message at most
NAMESPACES = 0x10000000 | 0x08000000 | 0x20000000 | 0x40000000  # CLONE_NEWUSER, NEWIPC, NEWPID and NEWNET of sched.h
PLUGINS = ("Avif", "Bmp", "Gif", "Jpeg2K", "Jpeg", "Mpo", "Png", "Ppm", "Tiff", "WebP")
LAZY = ("PIL.ImageCms", "PIL.ImagePalette", "pydicom.pixels", "OpenEXR", "pillow_heif")


def serve(control: socket.socket, read: Decode = decode) -> None:
    """Fork once for every request, whose two descriptors are its connection and the pipe for the fate of its child."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who watch
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    gc.freeze()
    while True:
        limits, descriptors, _, _ = socket.recv_fds(control, 200, 2)
        if not limits:
            return
        if os.fork() == 0:
            control.close()
            try:
                _watch(descriptors[0], descriptors[1], read, **json.loads(limits))
            finally:
                os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(connection: int, fate: int, read: Decode, seconds: float, memory: int) -> None:
    """Let a child decode; kill it when its time is over, and say how it ended: nothing, ``time``, or the number of a signal."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _leave_namespaces()
    child = os.fork()
    if child == 0:
        os.close(fate)
        try:
            _decode(connection, read, seconds, memory)
        finally:
            os._exit(0)
    os.close(connection)
    ended = select.select([os.pidfd_open(child)], [], [], seconds + 1)[0]
    if not ended:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    signum = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    over = not ended or signum in (signal.SIGXCPU, signal.SIGKILL)  # the latter by the limit of CPU time
    os.write(fate, b"time" if over else str(signum).encode() if signum else b"")


def _leave_namespaces() -> None:
    """Give the next child no network and no sight of other processes, where the system lets one do so."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).unshare(NAMESPACES)


def _decode(connection: int, read: Decode, seconds: float, memory: int) -> None:
    """Decode the file that comes over the connection, and send back a header of JSON and the pixels."""
    _limit(seconds, memory)
    with socket.socket(fileno=connection) as here:
        file: BufferedReader = here.makefile("rb")
        asked = json.loads(file.readline())
        data = file.read(asked["bytes"])
        pixels = b""
        try:
            picture = read(data, Reading(**asked["reading"]), asked["frame"])
            answer, pixels = _described(picture), np.ascontiguousarray(picture.pixels).tobytes()
        except DataError as error:
            answer = {"error": printable(str(error))[:LINE], "too_large": isinstance(error, TooLargeError)}
        here.sendall(json.dumps(answer).encode() + b"\n")
        here.sendall(pixels)


def _described(picture: Picture) -> dict[str, Any]:
    metadata = asdict(picture.metadata)
    notes = [printable(note)[:LINE] for note in picture.metadata.notes]
    kept = {name: metadata[name] for name in KEPT} | {"notes": notes}
    icc = base64.b64encode(picture.metadata.icc).decode()
    return {"shape": picture.pixels.shape, "dtype": str(picture.pixels.dtype), "metadata": kept, "icc": icc}


def _limit(seconds: float, memory: int) -> None:
    """Bound what this process may take from now on; it can open and write no file, and make no socket."""
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, taken + memory),
        (resource.RLIMIT_CPU, int(seconds) + 2),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def _import_all() -> None:
    """Import now what decoders import when they are first used, since a child can open no file."""
    codecs = (f"encodings.{found.name}" for found in pkgutil.iter_modules(encodings.__path__))
    for name in (*(f"PIL.{plugin}ImagePlugin" for plugin in PLUGINS), *LAZY, *codecs):
        with suppress(ImportError):
            importlib.import_module(name)
    for name in dir(imagecodecs):
        with suppress(ImportError, AttributeError):
            getattr(imagecodecs, name)


def main(descriptor: int, name: str = "") -> None:
    """Serve requests from a socket; ``name`` is another function to decode by, ``module:function``, for tests."""
    _import_all()
    module, _, function = name.partition(":")
    serve(socket.socket(fileno=descriptor), getattr(importlib.import_module(module), function) if name else decode)
