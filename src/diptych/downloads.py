"""Published files, fetched over connections that nobody can change, in parts that are kept, and verified by SHA-256.

This is the only file of the package that opens connections to other machines.
"""

from __future__ import annotations

import http.client
import ipaddress
import logging
import os
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from diptych.errors import ConfigError, DiptychError, StorageError, WeightsError
from diptych.files import sha256_of

log = logging.getLogger(__name__)

Watch = Callable[[int, int], None]
"""Told the bytes that are here and the bytes in all (0 if unknown), many times while a file is fetched."""

TIMEOUT = 30.0  # seconds of silence after which a connection counts as cut
PAUSE = 0.5  # seconds before a cut connection is opened again
QUIET = 2.0  # seconds without an answer after which the wait is said
PATIENCE = 8.0  # seconds in which a server must take a connection
BLOCK = 1 << 16


@dataclass(frozen=True)
class Download:
    """A published file: what it is called in messages, its address, and what it must be.

    ``sha256`` is '' where none was published, and ``size`` (bytes) is 0 where it is unknown. ``error`` is the kind of error for a
    file that cannot be had, and ``elsewhere`` what helps where the disk is full.
    """

    label: str
    url: str
    sha256: str = ""
    size: int = 0
    error: type[DiptychError] = WeightsError
    elsewhere: str = "name a folder on another disk"


def mirrored(url: str, filename: str, variable: str) -> str:
    """The address of a file: the published one, or its name below the mirror that an environment variable names.

    A mirror is https, a folder as file:///..., or http on this very machine; anything else raises ConfigError.
    """
    mirror = os.environ.get(variable)
    if not mirror:
        return url
    if not allowed(mirror):
        schemes = "https://..., file:///... or http://localhost..."
        raise ConfigError(f"{variable}: a mirror is {schemes}, found {mirror!r}; change or unset it")
    return f"{mirror.rstrip('/')}/{filename}"


def user_cache(tool: str) -> str:
    """The folder of a tool in the platform's folder for caches: $XDG_CACHE_HOME or ~/.cache, and %LOCALAPPDATA% on Windows."""
    folder = os.environ.get("XDG_CACHE_HOME")
    if not folder and os.name == "nt" and tool == "diptych":  # torch.hub uses ~/.cache on Windows too
        folder = os.environ.get("LOCALAPPDATA")
    return os.path.join(folder or os.path.expanduser("~/.cache"), tool)


def allowed(url: str) -> bool:
    """Tell whether nobody on the way can listen or change anything: https, files, and http to this very machine."""
    try:
        parts = urlsplit(url)
    except ValueError:  # half an address in brackets
        return False
    if parts.scheme == "http":
        return _is_here(parts.hostname or "")
    return (parts.scheme == "https" and bool(parts.hostname)) or (parts.scheme == "file" and parts.netloc in ("", "localhost"))


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def unreachable(url: str) -> str:
    """Say in words why no connection to the server of an address, or to its proxy, can be opened now; '' where one can.

    An unknown name or a refused connection takes a moment, silence PATIENCE seconds. Libraries retry for half a minute or more
    before they say as much, so ask this before them.
    """
    parts, proxies = urlsplit(url), urllib.request.getproxies()
    host = parts.hostname or ""
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not host:
        return ""
    if proxy and not _is_here(host) and not urllib.request.proxy_bypass(host):
        parts = urlsplit(proxy if "://" in proxy else f"//{proxy}")
    try:
        place = parts.hostname or host, parts.port or {"http": 80, "socks5": 1080, "socks5h": 1080}.get(parts.scheme, 443)
    except ValueError:  # a port that is none: the library says so
        return ""
    reasons = ["no answer"]

    def connect() -> None:
        try:
            socket.create_connection(place, timeout=PATIENCE).close()
            reasons.append("")
        except OSError as error:
            reasons.append(_reason(error))

    # In a thread, since looking up a name has no limit of time of its own.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(QUIET)
    if attempt.is_alive():
        log.info("waiting for %s to answer, at most %g seconds", place[0], PATIENCE)
    attempt.join(PATIENCE - QUIET)
    return reasons[-1] and f"{place[0]}: {reasons[-1]}"


class _Cut(Exception):
    """The other side refused, fell silent or hung up; what came before is kept."""


def download(file: Download, target: Path, watch: Watch = lambda done, total: None) -> str:
    """Bring a file to ``target`` and return its SHA-256: into a .part beside it that a later call goes on with, then renamed.

    Nothing is fetched where ``target`` already is the published file. Raises file.error when it cannot be had or is another
    one, and StorageError when the disk refuses.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target.with_name(f".{target.name}.lock"), "wb") as lock:
            _wait_for(lock)
            with suppress(FileNotFoundError):
                if (found := sha256_of(target)) == file.sha256:  # another process has just brought it
                    return found
            with open(part, "ab") as output:
                _fill(file, output, target, watch)
                output.flush()
                os.fsync(output.fileno())
            found = sha256_of(part)
            if file.sha256 and found != file.sha256:
                part.unlink()
                raise file.error(
                    f"{file.label}: expected SHA-256 {file.sha256}, found {found} at {file.url}; it is removed: run again, "
                    f"or put the published file at {target}"
                )
            os.replace(part, target)
            return found
    except OSError as error:
        needs = (
            f"needs {file.size:,} bytes: free some, or {file.elsewhere}" if file.size else f"free some space, or {file.elsewhere}"
        )
        raise StorageError(f"{target}: cannot be written ({error.strerror}); {needs}") from error


def _fill(file: Download, output: BinaryIO, target: Path, watch: Watch) -> None:
    """Append until the whole file is there, with a new connection after each that brought something and was cut."""
    size, before = file.size, output.seek(0, os.SEEK_END)
    if size and before > size:
        before = output.truncate(0)
    while not size or before < size:
        try:
            size = _append(file, output, before, size, watch)
            reason = "the connection was closed early"
        except _Cut as cut:
            reason = str(cut)
        here = output.seek(0, os.SEEK_END)
        if size and here == size:
            return
        if here <= before:
            kept = f"{here:,} of {size:,} bytes are kept: run again to go on, or " if here else ""
            raise file.error(f"{file.label}: cannot be fetched from {file.url} ({reason}); {kept}put the file at {target}")
        before = here
        time.sleep(PAUSE)


def _append(file: Download, output: BinaryIO, done: int, size: int, watch: Watch) -> int:
    """One request for all that comes after the first ``done`` bytes; returns the size of the whole file.

    Where no size is known, the server's word counts, and without one the file ends where the answer ends. Raises _Cut when
    something else comes.
    """
    if silent := unreachable(file.url):
        raise _Cut(silent)
    headers = {"User-Agent": "diptych", "Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with _open(file.url, headers) as answer:
        start, total = _extent(answer)
        if start != done:
            output.truncate(0)  # the server knows no Range and sends everything, or sent another part than was asked for
        if size and total not in (None, size):
            raise _Cut(f"it has {total:,} bytes there and {size:,} when published")
        if start not in (0, done):
            raise _Cut(f"it sent what follows byte {start:,} when asked for what follows byte {done:,}")
        size = size or total or 0
        watch(start, size)
        while block := _read(answer):
            if size and start + len(block) > size:
                output.truncate(0)
                raise _Cut(f"it has more than the {size:,} bytes published")
            output.write(block)
            start += len(block)
            watch(start, size)
    return size or start


def _open(url: str, headers: dict[str, str]) -> Any:
    local = not urlsplit(url).hostname or _is_here(urlsplit(url).hostname or "")
    opener = urllib.request.build_opener(_Redirect(), *([urllib.request.ProxyHandler({})] if local else []))
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)  # noqa: S310, of mirrored()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and "Range" in headers:  # it is shorter there than what is here: let it say how long
            return _open(url, {name: value for name, value in headers.items() if name != "Range"})
        raise _Cut(f"HTTP {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Cut(_reason(error)) from None


def _read(answer: Any) -> bytes:
    try:
        return answer.read1(BLOCK)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Cut(_reason(error)) from None


def _extent(answer: Any) -> tuple[int, int | None]:
    """The place in the file where an answer begins, and the size of the whole file where it is said."""
    if answer.status == 206:
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if said is None:
            raise _Cut("the server did not say which part it sent")
        return int(said[1]), None if said[2] == "*" else int(said[2])
    length = answer.headers.get("Content-Length") or ""
    return 0, int(length) if length.isdecimal() else None


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    words = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    return " ".join(words.split())[:200] or type(inner).__name__


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to where a first request could have gone."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        local = _is_here(urlsplit(req.full_url).hostname or "")
        if not (newurl.startswith("https://") or (local and allowed(newurl))):
            raise _Cut(f"it redirects to {newurl[:200]!r}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _wait_for(lock: BinaryIO) -> None:
    """Wait until no other process fetches the same file. On Windows two may: then one of them finds a wrong hash and says so."""
    if os.name == "nt":
        return
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("another process is fetching this file already: waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:  # a file system without locks: as on Windows
        return
