"""What a decoder may do that hostile bytes have taken over: test_untrusted.py lets a child run it, and the bytes say what."""

import ctypes
import os
import socket
import time
from pathlib import Path

import numpy as np

from diptych.data.metadata import Metadata, Picture
from diptych.errors import DataError
from diptych.reading import Reading

KEPT = []


def tried(call) -> str:
    try:
        call()
    except OSError as error:
        return error.strerror
    return "worked"


def take_over(data: bytes, reading: Reading, frame: int = 0) -> Picture:
    act = data.decode()
    if act == "crash":
        ctypes.string_at(0)
    elif act == "abort":
        os.abort()
    elif act == "hang":
        time.sleep(600)
    elif act == "spin":
        while True:
            pass
    elif act == "leave":
        os._exit(0)
    elif act == "lie":
        return Picture(np.zeros((2, 3, 3), np.uint8), Metadata(frames=-5))
    elif act == "lie about the type":
        return Picture(np.zeros((2, 3, 3), np.complex64))
    elif act == "babble":
        raise DataError("\x1b[31m" + "x" * 9000 + "\nerror: a second line")
    elif act == "eat":
        KEPT.append(np.ones(10**9, np.uint8))
    elif act == "look around":
        here = Path(__file__)
        found = (
            f"read: {tried(lambda: here.read_bytes())}, write: {tried(lambda: Path('taken').write_bytes(b''))}, "
            f"connect: {tried(lambda: socket.socket())}, "
            f"TOKEN: {os.environ.get('HF_TOKEN')}"
        )
        raise DataError(found)
    metadata = Metadata(exif=b"private", icc=b"colours", frames=3, notes=("seen",), header=b"a patient", stored="uint8")
    return Picture(np.arange(18, dtype=np.uint16).reshape(2, 3, 3), metadata)
