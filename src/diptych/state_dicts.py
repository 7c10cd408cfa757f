"""Reading the ``.pth`` and ``.safetensors`` weights of other tools without running code that a file contains."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from diptych.errors import WeightsError
from diptych.file_kinds import HEAD, kind_of
from diptych.files import open_regular

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64)  # number types of weights that are accepted


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the named tensors of one network from another tool's file, on the CPU.

    Prefixes such as ``module.`` (DataParallel) and a dict around the only state_dict are removed. Raises WeightsError, in one
    line that begins with the path, when the file does not hold the tensors of exactly one network.
    """
    content = _content(Path(path))
    if not _is_state(content):
        nested = {key: value for key, value in content.items() if _is_state(value)}
        if len(nested) != 1:
            found = f"the networks {first_keys(nested)}" if nested else f"{first_keys(content)} and no network"
            found = found if content else "nothing"
            raise WeightsError(f"{path}: holds {found}; save the state_dict of one network in a file of its own")
        (content,) = nested.values()
    return _plain(content.items(), path)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read all named tensors of another tool's file, of however many networks, on the CPU.

    Names of dicts that hold the tensors of a network become prefixes; optimizers and all that is no tensor are left out, and so
    are ``module.`` and ``_orig_mod.``. Raises WeightsError, in one line that begins with the path, when there is no tensor.
    """
    content = _content(Path(path))
    state = _plain(_tensors_in(content), path)
    if not state:
        found = f"{first_keys(content)} and no network" if content else "nothing"
        raise WeightsError(f"{path}: holds {found}; save net.state_dict() in the tool that made it")
    return state


def _content(path: Path) -> Mapping[Any, Any]:
    content = _open_foreign(path)
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path}: holds a {type(content).__name__} instead of a state_dict; save net.state_dict() in the tool that made it"
        )
    return content


def _tensors_in(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        if isinstance(value, Tensor) and isinstance(key, str):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping) and "param_groups" not in value and key != "_metadata":
            yield from _tensors_in(value, f"{prefix}{key}.")


def _plain(tensors: Iterable[tuple[str, Any]], path: str | Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for key, tensor in tensors:
        if key == "_metadata":
            continue
        name = re.sub(r"(?:^|(?<=\.))((module|_orig_mod)\.)+", "", key)  # DataParallel, torch.compile
        if flaw := "occurs twice" if name in state else _flaw(tensor):
            raise WeightsError(f"{path}: {name[:80]!r} {flaw}; get an undamaged file from its author")
        state[name] = tensor.detach()
    return state


def _open_foreign(path: Path) -> Any:
    """What a file holds. This is the only place that calls torch.load, with ``weights_only=True``, which never runs its code."""
    try:
        with open_regular(path) as file:
            head = file.read(HEAD)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if kind := kind_of(path, head):
        raise WeightsError(f"{path}: {kind}")
    if path.suffix != ".safetensors" and (flaw := _packed(path)):
        raise WeightsError(f"{path}: {flaw}")
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, "pt") as file:
                if "diptych" in (file.metadata() or {}):
                    raise WeightsError("was written by diptych itself and needs no import; use it directly")
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings(action="ignore"):  # about pickle protocols; errors are raised all the same
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a malformed file can raise any exception
        if isinstance(error, WeightsError):
            reason = str(error)
        elif named := re.search(r"GLOBAL ([\w.]{1,80})", str(error)):
            reason = f"holds Python objects ({named[1]}), which are never run; save net.state_dict() in the tool that made it"
        elif "TorchScript" in str(error):
            reason = "is a TorchScript program, which is never run; save net.state_dict() in the tool that made it"
        else:
            reason = "is damaged, or holds no PyTorch weights; download or copy it again, or give a .pth or .safetensors file"
        raise WeightsError(f"{path}: {reason}") from None


def _packed(path: Path) -> str | None:
    """Why a file of torch.save, which is a zip archive of plain members, is none of torch's own; None where nothing is wrong.

    A member that says to be larger than the file, or that is compressed, would take memory out of proportion to the file.
    """
    if not zipfile.is_zipfile(path):
        return None  # the older format, whose tensors cannot be larger than the file
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return "is damaged; download or copy it again"
    if any(member.filename.endswith("/constants.pkl") for member in members):
        return "is a TorchScript program, which is never run; save net.state_dict() in the tool that made it"
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        return "is a compressed archive, which torch.save does not write; unpack it, or save net.state_dict() again"
    size, declared = path.stat().st_size, sum(member.file_size for member in members)
    if declared > size:
        return f"says that it holds {declared:,} bytes but has {size:,}; download or copy it again"
    return None


def _is_state(value: Any) -> bool:
    items = {key: item for key, item in value.items() if key != "_metadata"} if isinstance(value, Mapping) else {}
    return bool(items) and all(isinstance(key, str) and isinstance(item, Tensor) for key, item in items.items())


def _flaw(tensor: Tensor) -> str | None:
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in DTYPES:
        return f"is not a plain tensor of numbers ({tensor.layout}, {tensor.dtype})"
    if tensor.numel() == 0 or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        return f"has the impossible shape {'x'.join(map(str, tensor.shape))}"
    return None if bool(torch.isfinite(tensor).all()) else "is not finite (NaN or infinity)"


def first_keys(keys: Iterable[Any]) -> str:
    """The first three names of a state_dict, as messages show them."""
    names = [f"{str(key)[:80]!r}" for key in keys]
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
