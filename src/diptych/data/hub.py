"""Data sets of Hugging Face: ``hf:NAME`` takes the image columns of one, by the package datasets (extra ``hf``).

NAME is a data set of the hub or of the local cache, or a folder that ``save_to_disk`` wrote or that holds parquet files. Rows are
read by their number from memory-mapped files, so that images can be drawn in any order, and a training goes on exactly. An image
is the path ``hf:NAME/split/column/number``.
"""

from __future__ import annotations

import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from diptych.downloads import unreachable
from diptych.errors import DataError
from diptych.extras import extra

log = logging.getLogger(__name__)

HF = "hf:"


def split_hub(path: Path) -> tuple[str, str, str, int] | None:
    """The data set, split, column and row that a path means; None for other paths."""
    text = str(path)
    if not text.startswith(HF) or len(path.parts) < 4:
        return None
    name, split, column, number = text.removeprefix(HF).rsplit("/", 3)
    return (name, split, column, int(number)) if number.isdecimal() and len(number) < 19 else None


def read_row(name: str, split: str, column: str, row: int) -> bytes:
    """The bytes of an image. Raises DataError, without the path, when they are not there."""
    try:
        found = tables_of(name)[split].data.column(column)[row].as_py()
    except (IndexError, KeyError) as error:
        raise DataError("is not in its data set any more; start anew with another --out") from error
    if found is None:
        raise DataError("is empty: the row has no image; remove it")
    if found["bytes"] is not None:
        return bytes(found["bytes"])
    try:
        return Path(found["path"]).read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror}); its data set names the file {found['path']}") from error


def tables_of(name: str) -> dict[str, Any]:
    """The splits of a data set as the package loads them; their ``data`` holds images as the bytes that they are stored as.

    Raises DataError where it cannot be loaded, MissingExtraError without the package datasets.
    """
    return _tables(name, os.getpid())


@lru_cache(maxsize=8)
def _tables(name: str, process: int) -> dict[str, Any]:
    datasets = extra("datasets", "hf", f"{HF}{name}")
    offline, cut_off = datasets.config.HF_HUB_OFFLINE, ""
    try:
        path = Path(name).expanduser()
        load = datasets.load_from_disk if _saved(path) else datasets.load_dataset
        cut_off = "" if path.is_dir() or offline else unreachable(datasets.config.HF_ENDPOINT)
        datasets.config.HF_HUB_OFFLINE = offline or bool(cut_off)  # or the package would retry for half a minute
        loaded = load(str(path) if path.is_dir() else name)
    except Exception as error:  # of the network, of the hub, of files: the package raises many kinds
        reason, advice = (cut_off, "the network, and its name") if cut_off else (" ".join(str(error).split())[:200], "its name")
        raise DataError(f"{HF}{name}: cannot be loaded ({reason}); check {advice}") from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    if cut_off:
        log.warning("%s%s: the hub cannot be reached (%s); what was fetched before is used", HF, name, cut_off)
    splits = loaded if isinstance(loaded, dict) else {"train": loaded}
    return {str(split): table for split, table in splits.items()}


def _saved(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()
