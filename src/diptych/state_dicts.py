"""Reading the ``.pth`` and ``.safetensors`` weights of other tools without running code that a file contains."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from diptych.errors import WeightsError

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64)  # number types of weights that are accepted


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the named tensors of one network from another tool's file, on the CPU.

    Prefixes such as ``module.`` (DataParallel) and a dict around the only state_dict are removed. This is the only place that
    calls torch.load, with ``weights_only=True``, which never runs code that a file contains. Raises WeightsError, in one line
    that begins with the path, when the file does not hold the tensors of exactly one network.
    """
    content = _open_foreign(Path(path))
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path}: holds a {type(content).__name__} instead of a state_dict; save net.state_dict() in the tool that made it"
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
        if flaw := "occurs twice" if name in state else _flaw(tensor):
            raise WeightsError(f"{path}: {name[:80]!r} {flaw}; get an undamaged file from its author")
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
            reason = f"is damaged or not a PyTorch file ({type(error).__name__}); download or copy it again"
        raise WeightsError(f"{path}: {reason}") from None


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
