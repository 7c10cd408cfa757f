"""Image files of strangers: inside `untrusted_files` each one is decoded in a process of its own, under limits.

A decoder that is attacked, crashes or never ends takes that process with it, and the file is refused in one line like any other.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, final

import numpy as np
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError

from diptych.data import decoders
from diptych.data.metadata import Metadata, Picture
from diptych.data.pillow_images import TooLargeError, check_size
from diptych.errors import ConfigError, DataError
from diptych.messages import printable
from diptych.reading import PixelType, Reading

ALLOWED = "is not opened among strangers' files, as it cannot be decoded in a process of its own; leave out --untrusted for it"
HEADER = 2**26  # bytes of a child's answer before its pixels
SOURCES = Path(__file__).parents[2]
ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")  # what a decoder may know; tokens are none of its business


@dataclass(frozen=True)
class Limits:
    """What decoding one file may take: bytes of memory, its pixels included, and seconds."""

    memory: int = 2**31
    seconds: float = 30.0


class _Kept(BaseModel):
    """What a child says of a picture's metadata; see Metadata."""

    model_config = ConfigDict(extra="forbid")

    nodata: float | None
    stored: str = Field(max_length=10)
    frames: int = Field(ge=1, lt=2**31)
    notes: tuple[str, ...] = Field(max_length=20)


class _Answer(BaseModel):
    """What a child says of a picture before it sends its pixels."""

    model_config = ConfigDict(extra="forbid")

    shape: tuple[int, int, int]
    dtype: PixelType
    metadata: _Kept
    icc: Base64Bytes


class _Refusal(BaseModel):
    """What a child says of a file that it cannot decode."""

    error: str = Field(max_length=2000)
    too_large: bool


@final
class _Decoders:
    """The process that forks children; it is started with the first file and ends when this object is closed."""

    def __init__(self, limits: Limits, decode: str) -> None:
        self.limits, self.name = limits, decode
        self._starting = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End the process."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.wait()

    def _connected(self) -> socket.socket:
        with self._starting:
            if self._control is None:
                self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                begin = f"from diptych.data.decoding_process import main; main({theirs.fileno()}, {self.name!r})"
                words = [sys.executable, "-P", "-c", begin]
                path = os.pathsep.join([str(SOURCES), *filter(None, [os.environ.get("PYTHONPATH")])])
                kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
                env = kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
                self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()], env=env, stderr=subprocess.DEVNULL)
                theirs.close()
            return self._control

    def decode(self, data: bytes, reading: Reading, frame: int) -> Picture:
        """Let a new child decode a file. Several threads may do so at a time."""
        here, there = socket.socketpair()
        fate, said = os.pipe()
        with here, open(fate, "rb") as file:
            try:
                socket.send_fds(self._connected(), [json.dumps(asdict(self.limits)).encode()], [there.fileno(), said])
            except OSError as error:
                raise DataError("could not be decoded, as the process for strangers' files ended; run it again") from error
            finally:
                there.close()
                os.close(said)
            picture: Picture | None = None
            asked = {"reading": asdict(reading), "frame": frame, "bytes": len(data)}
            try:
                here.sendall(json.dumps(asked).encode() + b"\n")
                here.sendall(data)
                with here.makefile("rb") as answers:
                    picture = self._received(answers)
            except (OSError, ValueError):  # the child died, or did not keep to what was agreed
                picture = None
            how = file.read(20).decode("ascii", "replace")
        if picture is None:
            raise DataError(self._ended(how))
        return picture

    def _received(self, answers: BinaryIO) -> Picture:
        """Read what a child sends. Raises ValueError where it is not what a child should send."""
        line = answers.readline(HEADER)
        try:
            answer = _Answer.model_validate_json(line)
        except ValidationError:
            refusal = _Refusal.model_validate_json(line)
            raise (TooLargeError if refusal.too_large else DataError)(printable(refusal.error)) from None
        height, width, channels = answer.shape
        check_size(height, width)
        dtype, size = np.dtype(answer.dtype), height * width * channels * np.dtype(answer.dtype).itemsize
        if not 0 < size <= self.limits.memory:
            raise ValueError(f"{size} bytes")
        pixels = bytearray(size)
        if answers.readinto(pixels) != size:  # type: ignore[attr-defined]
            raise ValueError("fewer bytes")
        metadata = Metadata(icc=answer.icc, **answer.metadata.model_dump())
        return Picture(np.frombuffer(pixels, dtype).reshape(answer.shape), metadata)

    def _ended(self, how: str) -> str:
        from diptych.memory import in_words  # which imports torch, that wrong words of a command are refused without

        limit = self.limits
        if how == "time":
            return f"was not decoded within {limit.seconds:g} s, as files that attack a decoder are; remove it"
        if how.isdigit() and int(how) in signal.valid_signals():
            name = signal.Signals(int(how)).name
            return f"made its decoder crash ({name}), as damaged and hostile files do; remove it"
        return f"could not be decoded in {in_words(limit.memory)} of memory; remove it, or make it smaller"


_decoders: _Decoders | None = None


@contextmanager
def untrusted_files(limits: Limits = Limits(), *, decode: str = "") -> Iterator[None]:
    """Inside the block, decode every image file that this process reads in a child of its own, which can be killed.

    A child has no network and sees no other process where the system allows that (user namespaces of Linux). In any case it can
    open no file and make no socket, and ends beyond ``limits``. Pictures come back without EXIF, place on earth, resolution and
    DICOM header; their ICC profile is kept. What cannot be decoded so, which are films, volumes, slides, Zarr, large images
    read in windows and all frames of an animation, raises DataError. Archives are read by Python's own readers.
    ``decode`` names another function to decode by, ``module:function``, which the child imports.
    Raises ConfigError on systems other than Linux.
    """
    global _decoders
    if not sys.platform.startswith("linux"):
        raise ConfigError("--untrusted: needs the limits that Linux gives processes; translate strangers' files in a container")
    before, _decoders = _decoders, _Decoders(limits, decode)
    try:
        yield
    finally:
        _decoders.close()
        _decoders = before


def among_strangers() -> bool:
    """Whether this is inside `untrusted_files`."""
    return _decoders is not None


def refuse_untrusted() -> None:
    """Raise DataError inside `untrusted_files`, where a file would be opened in this process."""
    if among_strangers():
        raise DataError(ALLOWED)


def decode(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    """Decode a whole file as `decoders.decode` does, inside `untrusted_files` in a child of its own."""
    if _decoders is None:
        return decoders.decode(data, reading, frame)
    return _decoders.decode(data, reading, frame)
