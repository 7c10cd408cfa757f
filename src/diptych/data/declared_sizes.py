"""How many bytes a film's container declares, which shows that a file is cut off even where all frames in it decode."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof")  # that an MP4 or QuickTime file may begin with


def declared_size(path: Path) -> int | None:
    """The bytes that a file declares to have at least: Matroska and WebM (RFC 9559), RIFF (AVI), and boxes (ISO 14496-12).

    None for other files, and for those that were written as a stream, whose length is unknown. Raises OSError.
    """
    with open(path, "rb") as file:
        head = file.read(12)
        file.seek(0)
        if head[:4] == EBML:
            return _matroska(file)
        if head[:4] in (b"RIFF", b"RIFX"):
            return _riff(file)
        return _boxes(file) if head[4:8] in BOXES else None


def _matroska(file: BinaryIO) -> int | None:
    """The end of the first segment, which is the element that holds everything but the header."""
    file.seek(len(EBML))
    length = _vint(file)
    if length is None:
        return None
    file.seek(length, os.SEEK_CUR)
    if file.read(4) != SEGMENT:
        return None
    length = _vint(file)
    return None if length is None else file.tell() + length


def _vint(file: BinaryIO) -> int | None:
    """A number whose leading zeros say how many bytes follow. None where all of its bits are ones: an unknown length."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    value = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + rest, "big")
    return None if len(rest) < more or value == (1 << 7 * (more + 1)) - 1 else value


def _riff(file: BinaryIO) -> int | None:
    """The end of the last chunk; long films have several."""
    end, size = 0, os.fstat(file.fileno()).st_size
    while end + 8 <= size:
        file.seek(end)
        kind, length = file.read(4), file.read(4)
        length_of = int.from_bytes(length, "big" if kind == b"RIFX" else "little")
        if kind not in (b"RIFF", b"RIFX") or not length_of:
            break
        end += 8 + length_of
    return end or None


def _boxes(file: BinaryIO) -> int | None:
    """The end of the last box. One of size 0 reaches to the end of the file, whatever that is."""
    return max((end for _, end in _kinds(file)), default=None)


def lacks_index(path: Path) -> bool:
    """Whether an MP4 or QuickTime file has no index of its pictures (moov), as one that was cut off before it was written.

    Raises OSError.
    """
    with open(path, "rb") as file:
        if file.read(12)[4:8] not in BOXES:
            return False
        return not any(kind == b"moov" for kind, _ in _kinds(file))


def _kinds(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The kind of each box, and where it ends, as far as there are boxes; the last one may end behind the file."""
    end, size = 0, os.fstat(file.fileno()).st_size
    while end + 8 <= size:
        file.seek(end)
        length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        if not kind.isalnum():  # what stands behind the film is none of its boxes
            break
        shortest = 16 if length == 1 else 8
        length = int.from_bytes(file.read(8), "big") if length == 1 else length
        if length < shortest:
            break
        end += length
        yield kind, end
