"""Nested dicts and lists of tensors and JSON values, in one safetensors file that carries the SHA-256 of its content.

Reading verifies the hash before a tensor is used. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from diptych.errors import SnapshotError
from diptych.file_kinds import HEAD, TORCH, kind_of
from diptych.files import write_atomic
from diptych.schemas import parse_json

DIGEST_LENGTH = 64  # hexadecimal digits of a SHA-256
Tree = Any
"""Nested dicts and lists of tensors and plain JSON values."""


def write_tree(path: Path, tree: Tree) -> str:
    """Write a tree as one safetensors file, and return the SHA-256 of its content."""
    tensors: dict[str, Tensor] = {}
    header = json.dumps(_take_tensors(tree, "", tensors), sort_keys=True)
    digest = _digest(header, tensors)
    # One metadata entry, since safetensors writes several in random order and equal content should give equal bytes.
    write_atomic(path, safetensors.torch.save(tensors, {"diptych": digest + header}))
    return digest


def read_header(path: Path) -> Tree:
    """The JSON part of a file that write_tree wrote, without its tensors and without checking the hash."""
    return _open(path)[0]


def read_tree(path: Path) -> Tree:
    """Read a file that write_tree wrote, with its tensors on the CPU.

    Raises SnapshotError when the file is missing, was not written by write_tree, or does not have the SHA-256 written in it.
    """
    skeleton, tensors, written = _open(path, with_tensors=True)
    expected, header = written[:DIGEST_LENGTH], written[DIGEST_LENGTH:]
    found = _digest(header, tensors)
    if found != expected:
        raise SnapshotError(f"{path}: damaged: expected SHA-256 {expected}, found {found}; use another copy or an older file")
    try:
        return _put_tensors(skeleton, tensors)
    except (KeyError, TypeError, RecursionError):
        raise SnapshotError(f"{path}: damaged: its header does not name the tensors that it holds; use another copy") from None


def _open(path: Path, with_tensors: bool = False) -> tuple[Tree, dict[str, Tensor], str]:
    """The JSON part, the tensors if they are wanted, and the metadata entry (hash and JSON text)."""
    if path.is_dir():
        inside = path / "snapshot.safetensors"
        advice = f"give {inside}" if inside.is_file() else "give a file, such as runs/x/snapshot.safetensors"
        raise SnapshotError(f"{path}: is a folder; {advice}")
    if path.exists() and not path.is_file():  # a pipe without a writer would hold the reader for ever
        raise SnapshotError(f"{path}: is a pipe, socket or device, not a file; give a file")
    try:
        with safetensors.safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get("diptych")
            if written is None:
                raise SnapshotError(f"{path}: not written by diptych; other tools' weights go through `diptych import`")
            tensors = {key: file.get_tensor(key) for key in file.keys()} if with_tensors else {}  # noqa: SIM118
        header = parse_json(written[DIGEST_LENGTH:])
        if not isinstance(header, dict):
            raise ValueError(f"its header is a {type(header).__name__}")
        return header, tensors, written
    except FileNotFoundError as error:
        what = "give a snapshot such as runs/x/snapshot.safetensors, or a run folder"
        raise SnapshotError(f"{path}: no such file or run; {what}") from error
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        damaged = f"damaged or not a safetensors file: {' '.join(str(error).split())}; use another copy"
        raise SnapshotError(f"{path}: {_other_kind(path) or damaged}") from error


def _other_kind(path: Path) -> str | None:
    """What a file is that is no snapshot, in words, with the next step; None for what may be one, damaged."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return None
    if path.suffix != ".safetensors" and head.startswith(TORCH):
        return f"holds weights of another tool; run `diptych import {path}`, and give what it writes"
    return kind_of(path, head, "a snapshot, such as runs/x/snapshot.safetensors")


def _digest(header: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _take_tensors(tree: Tree, name: str, tensors: dict[str, Tensor]) -> Tree:
    """The tree with {"$tensor": name} in place of each tensor; the tensors themselves are added to ``tensors``."""
    if isinstance(tree, Tensor):
        tensor = tree.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        while name in tensors:  # keys may contain dots: {"a.b": x, "a": {"b": y}} holds two tensors
            name += "'"
        shared = any(storage == other.untyped_storage().data_ptr() for other in tensors.values())
        tensors[name] = tensor.clone() if shared else tensor  # the format cannot share memory between tensors
        return {"$tensor": name}
    if isinstance(tree, dict):
        assert len({str(key) for key in tree}) == len(tree) and "$tensor" not in tree, f"{name}: keys must differ as text"
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
