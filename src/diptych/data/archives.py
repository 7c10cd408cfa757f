"""Files inside .zip and .tar archives, read in place: ``data.zip/trainA/1.png`` is a path like any other.

Nothing is ever unpacked. An archive is indexed once in each process, and again when it has changed.
"""

from __future__ import annotations

import logging
import os
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from diptych.data.film_names import film_of
from diptych.data.hub import split_hub
from diptych.data.volumes import volume_of
from diptych.errors import DataError
from diptych.messages import show

log = logging.getLogger(__name__)
SUFFIXES = (".zip", ".tar")
PACKED = (".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")
MAX_BYTES = 2**31
Place = tuple[int, int]
"""Where a file begins in its archive, and how many bytes it has."""


def split_archive(path: Path) -> tuple[Path, str] | None:
    """The archive that a path leads into, and the place in it with ``/``, empty for the archive itself; None for other paths."""
    parts = path.parts
    for number, part in enumerate(parts, 1):
        if part.lower().endswith(SUFFIXES):
            archive = Path(*parts[:number])
            if archive.is_file():
                return archive, "/".join(parts[number:])
    return None


def members(archive: Path) -> Mapping[str, Place]:
    """The files of an archive by their paths in it: where each begins and how many bytes it has.

    Raises DataError, which begins with the path, for an archive that cannot be read.
    """
    try:
        status = archive.stat()
        return _index(archive, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise DataError(f"{show(archive)}: cannot be read as an archive ({error}); copy or download it again") from error


@lru_cache(maxsize=16)
def _index(archive: Path, size: int, changed: int) -> Mapping[str, Place]:
    if archive.suffix.lower() == ".tar":
        with tarfile.open(archive, "r:") as file:  # no compression: any member can be read on its own
            every = [member for member in file if not member.isdir()]
        files = [member for member in every if member.isfile() and "\0" not in member.name]
        return _by_name(archive, ((m.name, (m.offset_data, m.size)) for m in files), len(every) - len(files))
    with zipfile.ZipFile(archive) as file:
        infos = [info for info in file.infolist() if not info.is_dir()]
    return _by_name(archive, ((info.filename, (info.header_offset, info.file_size)) for info in infos))


def _by_name(archive: Path, found: Iterable[tuple[str, Place]], no_files: int = 0) -> dict[str, Place]:
    """The files of an archive by their plain names; a warning counts what is left out, ``no_files`` included."""
    index: dict[str, Place] = {}
    outside = doubles = 0
    for name, place in found:
        plain = _plain(name)
        if ".." in plain.split("/"):
            outside += 1
        else:
            doubles += plain in index
            index[plain] = place
    reasons = ("lead out of it (..)", "have the name of a later one", "are links or devices, or have no proper name")
    for count, why in zip((outside, doubles, no_files), reasons, strict=True):
        if count:
            log.warning("%s: left out are %s of its files, which %s", show(archive), f"{count:,}", why)
    return index


def _plain(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def read_member(archive: Path, name: str) -> bytes:
    """The bytes of a file in an archive. Raises DataError, without the path, when it cannot be read."""
    try:
        offset, size = members(archive)[name]
    except KeyError:
        raise DataError("is not in the archive; check the path, or whether the archive was changed meanwhile") from None
    if size > MAX_BYTES:
        raise DataError(f"has {size:,} bytes, more than {MAX_BYTES:,}; cut it into tiles")
    try:
        if archive.suffix.lower() == ".tar":
            with open(archive, "rb") as file:
                file.seek(offset)
                return file.read(size)
        status = archive.stat()
        opened, names = _zip(archive, status.st_size, status.st_mtime_ns, os.getpid())
        if opened.getinfo(names[name]).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError("is packed by another method than deflate, which no limit of memory holds for; pack it again")
        return opened.read(names[name])
    except (OSError, RuntimeError, zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
        raise DataError(f"cannot be read from its archive ({error}); pack it again without a password") from error


@lru_cache(maxsize=16)
def _zip(archive: Path, size: int, changed: int, process: int) -> tuple[zipfile.ZipFile, dict[str, str]]:
    """An open archive: its threads may read at the same time, but processes that share a file's position may not."""
    opened = zipfile.ZipFile(archive)
    return opened, {_plain(info.filename): info.filename for info in opened.infolist()}


def is_folder(path: Path) -> bool:
    """Whether a path is a folder, an archive, or a folder in an archive."""
    found = split_archive(path)
    if found is None:
        return path.is_dir()
    archive, inside = found
    return not inside or any(name.startswith(f"{inside}/") for name in members(archive))


def entries(folder: Path) -> list[tuple[Path, bool]]:
    """What lies directly in a folder or archive, and whether it is a folder. Raises OSError, and DataError for archives."""
    found = split_archive(folder)
    if found is None:
        return [(Path(entry.path), _is_dir(entry)) for entry in list(os.scandir(folder))]
    archive, inside = found
    start = f"{inside}/" if inside else ""
    below = dict.fromkeys(name.removeprefix(start).partition("/")[:2] for name in members(archive) if name.startswith(start))
    return [(folder / name, bool(slash)) for name, slash in below]


def _is_dir(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; a link that leads round in circles is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def changed_at(path: Path) -> tuple[int, int]:
    """The size in bytes of a file, in an archive or not, and when it or its archive was changed last, in ns. Raises OSError.

    Of a slice, they are those of its volume, and of a frame those of its film.
    """
    if split_hub(path):  # its rows never change, and have no size that can be known without reading
        return 0, 0
    found = split_archive(path)
    if found is None:
        status = (volume_of(path) or film_of(path) or path).stat()
        return status.st_size, status.st_mtime_ns
    archive, inside = found
    changed = archive.stat().st_mtime_ns
    if inside not in members(archive):
        raise FileNotFoundError(2, "No such file in the archive", str(path))
    return members(archive)[inside][1], changed


def exists(path: Path) -> bool:
    """Whether there is a file or a folder of this path, in an archive or not."""
    return is_there(path) or is_folder(path)


def is_there(path: Path) -> bool:
    """Whether there is a file of this path, in an archive or not."""
    try:
        return changed_at(path)[0] >= 0
    except (OSError, DataError):
        return False
