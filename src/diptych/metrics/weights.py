"""Published weight files that metrics need: found on this machine or fetched once, and always verified by SHA-256.

`find_weights` looks at the file that is given, in the cache folder ($DIPTYCH_WEIGHTS, else the platform's), in torch.hub's cache,
and then at the published address. This is the only file of the package that opens connections.
"""

from __future__ import annotations

import http.client
import ipaddress
import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from diptych.errors import ConfigError, StorageError, WeightsError
from diptych.files import sha256_of

log = logging.getLogger(__name__)

Watch = Callable[[int, int], None]
"""Told the bytes that are here and the bytes in all, many times while a file is fetched."""

TIMEOUT = 30.0  # seconds of silence after which a connection counts as cut
PAUSE = 0.5  # seconds before a cut connection is opened again
BLOCK = 1 << 16


@dataclass(frozen=True)
class WeightFile:
    """A published file: where it is, what it must be, and under which licence. ``size`` is in bytes.

    ``also`` are other names under which torch.hub's cache may hold the same bytes.
    """

    name: str
    filename: str
    url: str
    sha256: str
    size: int
    licence: str
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} weights ({self.filename}, {self.size / 2**20:.0f} MiB)"


WEIGHTS: dict[str, WeightFile] = {
    file.name: file
    for file in (
        WeightFile(
            "inception",  # TensorFlow's network of 2015-12-05, which FID is defined with, converted to PyTorch
            "pt_inception-2015-12-05-6726825d.pth",
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
            "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            95_628_359,
            "Apache-2.0",
            also=("weights-inception-2015-12-05-6726825d.pth",),
        ),
        WeightFile(
            "alexnet",  # torchvision, trained on ImageNet
            "alexnet-owt-7be5be79.pth",
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            244_408_911,
            "BSD-3-Clause",
        ),
        WeightFile(
            "vgg16",  # torchvision, trained on ImageNet
            "vgg16-397923af.pth",
            "https://download.pytorch.org/models/vgg16-397923af.pth",
            "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            553_433_881,
            "BSD-3-Clause",
        ),
    )
}


def find_weights(
    name: str, given: str | Path | None = None, *, fetch: bool = True, watch: Watch = lambda done, total: None
) -> Path:
    """Find a weight file of `WEIGHTS` whose SHA-256 is the published one.

    A file that is ``given`` is the only one looked at. One of other bytes, such as weights that you converted, is given with its
    own hash as ``FILE#sha256=...``: nothing unstated is used, and the hash belongs beside every number made with it.

    Raises WeightsError, with the address and where to put the file, when it cannot be had; ConfigError when $DIPTYCH_WEIGHTS_URL
    is nothing to fetch from; StorageError when the disk refuses.
    """
    file = WEIGHTS[name]
    if given is not None:
        return _given(file, str(given))
    if found := cached(name):
        return found
    target, url = cache_folder() / file.filename, address(file)
    if not fetch:
        raise WeightsError(f"{file}: not on this machine; fetch {url} and put it at {target}")
    _fetch(file, url, target, watch)
    return target


def cached(name: str) -> Path | None:
    """Find the verified file in the cache folder or in torch.hub's, without the network. A file of other bytes is logged."""
    file = WEIGHTS[name]
    hub = Path(os.environ.get("TORCH_HOME") or _user_cache("torch"), "hub", "checkpoints")
    for path in (cache_folder() / file.filename, *(hub / filename for filename in (file.filename, *file.also))):
        with suppress(OSError):  # an unreadable file is as good as none
            found = sha256_of(path)
            if found == file.sha256:
                return path
            log.warning("%s: expected SHA-256 %s, found %s; it is left aside", path, file.sha256, found)
    return None


def cache_folder() -> Path:
    """Return $DIPTYCH_WEIGHTS, else ``diptych/weights`` in the platform's folder for caches."""
    return Path(os.environ.get("DIPTYCH_WEIGHTS") or Path(_user_cache("diptych"), "weights"))


def address(file: WeightFile) -> str:
    """Return the address that a file is fetched from: the published address, or its name below $DIPTYCH_WEIGHTS_URL, a mirror.

    A mirror is https, a folder as file:///..., or http on this very machine; anything else raises ConfigError.
    """
    mirror = os.environ.get("DIPTYCH_WEIGHTS_URL")
    if not mirror:
        return file.url
    if not _allowed(mirror):
        allowed = "https://..., file:///... or http://localhost..."
        raise ConfigError(f"DIPTYCH_WEIGHTS_URL: a mirror is {allowed}, found {mirror!r}; change or unset it")
    return f"{mirror.rstrip('/')}/{file.filename}"


def _user_cache(tool: str) -> str:
    folder = os.environ.get("XDG_CACHE_HOME")
    if not folder and os.name == "nt" and tool == "diptych":  # torch.hub uses ~/.cache on Windows too
        folder = os.environ.get("LOCALAPPDATA")
    return os.path.join(folder or os.path.expanduser("~/.cache"), tool)


def _given(file: WeightFile, given: str) -> Path:
    name, mark, stated = given.partition("#sha256=")
    if mark and not re.fullmatch(r"[0-9a-fA-F]{64}", stated):
        raise WeightsError(f"{given}: a SHA-256 has 64 hexadecimal digits, found {len(stated)} characters; state all of it")
    try:
        found = sha256_of(Path(name))
    except OSError as error:
        raise WeightsError(f"{name}: cannot be read ({error.strerror}); check the path") from None
    if found != (stated.lower() or file.sha256):
        expected = f"{stated}, as stated" if mark else f"{file.sha256} of the published {file.filename}"
        raise WeightsError(f"{name}: expected SHA-256 {expected}, found {found}; get it again, or give {name}#sha256={found}")
    return Path(name)


def _allowed(url: str) -> bool:
    """Tell whether nobody on the way can listen or change anything: https, files, and http to this very machine."""
    parts = urlsplit(url)
    if parts.scheme == "http":
        return _is_here(parts.hostname or "")
    return (parts.scheme == "https" and bool(parts.hostname)) or (parts.scheme == "file" and parts.netloc in ("", "localhost"))


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Cut(Exception):
    """The other side refused, fell silent or hung up; what came before is kept."""


def _fetch(file: WeightFile, url: str, target: Path, watch: Watch) -> None:
    """Bring a file to ``target``: into a .part beside it, going on from what is there already, renamed when its hash is right."""
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target.with_name(f".{target.name}.lock"), "wb") as lock:
            _wait_for(lock)
            with suppress(FileNotFoundError):
                if sha256_of(target) == file.sha256:  # another process has just brought it
                    return
            with open(part, "ab") as output:
                _fill(file, url, output, target, watch)
                output.flush()
                os.fsync(output.fileno())
            found = sha256_of(part)
            if found != file.sha256:
                part.unlink()
                raise WeightsError(
                    f"{file}: expected SHA-256 {file.sha256}, found {found} at {url}; it is removed: run again, "
                    f"or put the published file at {target}"
                )
            os.replace(part, target)
    except OSError as error:
        raise StorageError(
            f"{target}: cannot be written ({error.strerror}); needs {file.size:,} bytes: free some, "
            "or set DIPTYCH_WEIGHTS to a folder on another disk"
        ) from error


def _fill(file: WeightFile, url: str, output: BinaryIO, target: Path, watch: Watch) -> None:
    """Append until the published size is reached, with a new connection after each that brought something and was cut."""
    if output.seek(0, os.SEEK_END) > file.size:
        output.truncate(0)
    while (before := output.seek(0, os.SEEK_END)) < file.size:
        try:
            _append(file, url, output, before, watch)
            reason = "the connection was closed early"
        except _Cut as cut:
            reason = str(cut)
        here = output.seek(0, os.SEEK_END)
        if here <= before:
            kept = f"{here:,} of {file.size:,} bytes are kept: run again to go on, or " if here else ""
            raise WeightsError(f"{file}: cannot be fetched from {url} ({reason}); {kept}put the file at {target}")
        time.sleep(PAUSE if here < file.size else 0)


def _append(file: WeightFile, url: str, output: BinaryIO, done: int, watch: Watch) -> None:
    """One request for all that comes after the first ``done`` bytes. Raises _Cut when that is not what comes."""
    headers = {"User-Agent": "diptych", "Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with _open(url, headers) as answer:
        start, total = _extent(answer)
        if start != done:
            output.truncate(0)  # the server knows no Range and sends everything, or sent another part than was asked for
        if total not in (None, file.size):
            raise _Cut(f"it has {total:,} bytes there and {file.size:,} when published")
        if start not in (0, done):
            raise _Cut(f"it sent what follows byte {start:,} when asked for what follows byte {done:,}")
        watch(start, file.size)
        while block := _read(answer):
            if start + len(block) > file.size:
                output.truncate(0)
                raise _Cut(f"it has more than the {file.size:,} bytes published")
            output.write(block)
            start += len(block)
            watch(start, file.size)


def _open(url: str, headers: dict[str, str]) -> Any:
    local = not urlsplit(url).hostname or _is_here(urlsplit(url).hostname or "")
    opener = urllib.request.build_opener(_Redirect(), *([urllib.request.ProxyHandler({})] if local else []))
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)  # noqa: S310, of address()
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
        if not (newurl.startswith("https://") or (local and _allowed(newurl))):
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
