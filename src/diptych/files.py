"""Files that are whole or not there: atomic writes, and tensors with a JSON header under one SHA-256. Nothing here is pickled.

A crash at any instant leaves the old file or the new one; a flipped bit is found before a tensor is used. Weights of other tools
are read by `read_state_dict`, which never runs what they hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from diptych.errors import SnapshotError, StorageError, WeightsError

DIGEST_LENGTH = 64  # hexadecimal digits of a SHA-256
SETTLED = 2_000_000_000  # nanoseconds: a file as young as this could change again without its time changing
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64)  # that other tools' weights come in
Tree = Any
"""Nested dicts and lists of tensors and plain JSON values."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that it is either wholly there or as it was: temporary file, fsync, rename, fsync of the folder.

    Raises StorageError with the bytes needed and free, leaving no temporary file, when the disk refuses.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")  # short, as the name itself may have 255 bytes
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}); needs {len(data):,} bytes, {_free(path.parent)} free"
        ) from error


def sync(path: Path) -> None:
    """Wait until a file that was appended to has reached the disk; one that is not there needs no waiting.

    Raises StorageError when the disk refuses.
    """
    try:
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); free some space and run the same command") from error


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _free(folder: Path) -> str:
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return "unknown"
    return f"{status.f_bavail * status.f_frsize:,}"


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, computed once as long as size and time of the file stay. Raises OSError when unreadable."""
    status = path.stat()
    if time.time_ns() - status.st_mtime_ns < SETTLED:
        return _hash(path)
    return _remembered_hash(os.path.realpath(path), status.st_size, status.st_mtime_ns, status.st_ino)


def _hash(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=1024)
def _remembered_hash(path: str, *identity: int) -> str:
    return _hash(path)


def write_tree(path: Path, tree: Tree) -> str:
    """Write nested dicts and lists of tensors and JSON values as one safetensors file; returns its SHA-256."""
    tensors: dict[str, Tensor] = {}
    header = json.dumps(_take_tensors(tree, "", tensors), sort_keys=True)
    digest = _digest(header, tensors)
    # One entry, digest first: safetensors writes several in random order, and equal content should be equal bytes.
    write_atomic(path, safetensors.torch.save(tensors, {"diptych": digest + header}))
    return digest


def read_header(path: Path) -> Tree:
    """The JSON part of a file of write_tree, unverified and without its tensors: for a quick look."""
    return _open(path)[0]


def read_tree(path: Path) -> Tree:
    """Read a file of write_tree, tensors on the CPU.

    Raises SnapshotError when the file is missing, not one of ours, or its SHA-256 is not the one written with it.
    """
    skeleton, tensors, written = _open(path, with_tensors=True)
    expected, header = written[:DIGEST_LENGTH], written[DIGEST_LENGTH:]
    found = _digest(header, tensors)
    if found != expected:
        raise SnapshotError(f"{path}: damaged: expected SHA-256 {expected}, found {found}; use another copy or an older file")
    return _put_tensors(skeleton, tensors)


def _open(path: Path, with_tensors: bool = False) -> tuple[Tree, dict[str, Tensor], str]:
    """The JSON part, the tensors if wanted, and digest and JSON as they were written."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get("diptych")
            if written is None:
                raise SnapshotError(f"{path}: not written by diptych; other tools' weights go through `diptych import`")
            tensors = {key: file.get_tensor(key) for key in file.keys()} if with_tensors else {}  # noqa: SIM118
        return json.loads(written[DIGEST_LENGTH:]), tensors, written
    except FileNotFoundError as error:
        raise SnapshotError(f"{path}: no such file; give a snapshot such as runs/x/snapshot.safetensors") from error
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise SnapshotError(
            f"{path}: damaged or not a safetensors file: {' '.join(str(error).split())}; use another copy"
        ) from error


def _digest(header: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _take_tensors(tree: Tree, name: str, tensors: dict[str, Tensor]) -> Tree:
    """The tree with {"$tensor": name} in place of every tensor, which go into tensors."""
    if isinstance(tree, Tensor):
        tensor = tree.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        shared = any(storage == other.untyped_storage().data_ptr() for other in tensors.values())
        tensors[name] = tensor.clone() if shared else tensor  # the format has no aliases
        return {"$tensor": name}
    if isinstance(tree, dict):
        return {str(key): _take_tensors(value, f"{name}.{key}" if name else str(key), tensors) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_take_tensors(value, f"{name}.{index}", tensors) for index, value in enumerate(tree)]
    return tree


def _put_tensors(tree: Tree, tensors: dict[str, Tensor]) -> Tree:
    if isinstance(tree, dict):
        if tree.keys() == {"$tensor"}:
            return tensors[tree["$tensor"]]
        return {key: _put_tensors(value, tensors) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_put_tensors(value, tensors) for value in tree]
    return tree


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of another tool's ``.pth`` or ``.safetensors`` file by their names, on the CPU, without wrappers and prefixes.

    This is the only place that calls torch.load; ``weights_only`` never runs code that a file contains.
    Raises WeightsError, in one line that begins with the path, when the file holds anything but the tensors of one network.
    """
    content = _open_foreign(Path(path))
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path}: holds a {type(content).__name__}, no state_dict; save net.state_dict() in the tool that made it"
        )
    if not _is_state(content):
        nested = {key: value for key, value in content.items() if _is_state(value)}
        if len(nested) != 1:
            found = f"the networks {first_keys(nested)}" if nested else f"{first_keys(content)} and no network"
            found = found if content else "nothing"
            raise WeightsError(f"{path}: holds {found}; save the state_dict of one network in a file of its own")
        (content,) = nested.values()
    state: dict[str, Tensor] = {}
    for key, tensor in content.items():
        if key == "_metadata":
            continue
        name = re.sub(r"(?:^|(?<=\.))((module|_orig_mod)\.)+", "", key)  # DataParallel, torch.compile
        if flaw := "is there twice" if name in state else _flaw(tensor):
            raise WeightsError(f"{path}: {name[:80]!r} {flaw}; get a whole file from its author")
        state[name] = tensor.detach()
    return state


def _open_foreign(path: Path) -> Any:
    try:
        path.open("rb").close()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, "pt") as file:
                if "diptych" in (file.metadata() or {}):
                    raise WeightsError("is a file of diptych itself; use it directly, it needs no import")
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings(action="ignore"):  # on odd pickle protocols; what matters is raised
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a malformed file can raise anything; every kind ends in one line
        if isinstance(error, WeightsError):
            reason = str(error)
        elif named := re.search(r"GLOBAL ([\w.]{1,80})", str(error)):
            reason = f"holds Python objects ({named[1]}), which are never run; save net.state_dict() in the tool that made it"
        elif "TorchScript" in str(error):
            reason = "is a TorchScript program, which is never run; save net.state_dict() in the tool that made it"
        else:
            reason = f"is damaged or no PyTorch file ({type(error).__name__}); download or copy it again"
        raise WeightsError(f"{path}: {reason}") from None


def _is_state(value: Any) -> bool:
    items = {key: item for key, item in value.items() if key != "_metadata"} if isinstance(value, Mapping) else {}
    return bool(items) and all(isinstance(key, str) and isinstance(item, Tensor) for key, item in items.items())


def _flaw(tensor: Tensor) -> str | None:
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in DTYPES:
        return f"is no plain tensor of numbers ({tensor.layout}, {tensor.dtype})"
    if tensor.numel() == 0 or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        return f"has the impossible shape {'x'.join(map(str, tensor.shape))}"
    return None if bool(torch.isfinite(tensor).all()) else "is not finite (NaN or infinity)"


def first_keys(keys: Iterable[Any]) -> str:
    """The first three names of a state_dict as messages show them."""
    names = [f"{str(key)[:80]!r}" for key in keys]
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
