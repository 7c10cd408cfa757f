"""Snapshots on the Hugging Face hub: ``hf:USER/NAME`` is one, by the package huggingface_hub (extra ``hub``).

A repository of the hub holds ``snapshot.safetensors`` and the model card as README.md. $HF_ENDPOINT names another server,
$HF_TOKEN who writes, and $HF_HUB_CACHE the folder for files that were fetched.
"""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from diptych.downloads import unreachable
from diptych.errors import ConfigError, WeightsError
from diptych.extras import extra
from diptych.messages import show

log = logging.getLogger(__name__)

HF = "hf:"
FILE = "snapshot.safetensors"
CARD = "README.md"
REPOSITORY = re.compile(r"(?P<name>[\w-][\w.-]*/[\w.-]*[\w-])(@(?P<revision>[\w./-]+))?", re.ASCII)


def repository(word: str) -> tuple[str, str | None]:
    """The repository USER/NAME and the revision of ``hf:USER/NAME@REVISION``; hf: and the revision may be left out.

    Raises ConfigError for words that are no such name.
    """
    found = REPOSITORY.fullmatch(word.removeprefix(HF))
    if not found or ".." in found["name"]:
        raise ConfigError(f"{show(word)}: expected USER/NAME of the hub, as in hf:user/horse2zebra, perhaps with @REVISION")
    return found["name"], found["revision"]


def pull(word: str) -> Path:
    """The snapshot of a repository in the hub's cache, fetched where it is not there; its card lies beside it, if there is one.

    Where the hub cannot be reached, the one that was fetched before is used, and a warning says so. Raises WeightsError where it
    cannot be had, and MissingExtraError without the package.
    """
    name, revision = repository(word)
    hub = _package(f"{HF}{name}")
    api = hub.HfApi()
    cut_off = "" if hub.constants.HF_HUB_OFFLINE else unreachable(api.endpoint)
    try:
        path = Path(api.hf_hub_download(name, FILE, revision=revision, local_files_only=bool(cut_off)))
    except Exception as error:  # of the network, the server and the disk: the package raises many kinds
        raise WeightsError(
            f"{HF}{name}: {FILE} cannot be fetched ({cut_off or _reason(error)}); check network, name, and $HF_TOKEN"
        ) from error
    if cut_off:
        log.warning("%s%s: the hub cannot be reached (%s); what was fetched before is used", HF, name, cut_off)
    with suppress(Exception):  # a card is welcome, and nothing fails without one
        api.hf_hub_download(name, CARD, revision=revision, local_files_only=bool(cut_off))
    return path


def push(snapshot: Path, card: str, word: str, *, private: bool = False, message: str = "Add a snapshot of diptych") -> str:
    """Upload a snapshot and its card to a repository, which is made where there is none, and return its address.

    Raises ConfigError where the hub refuses, and MissingExtraError without the package.
    """
    name, revision = repository(word)
    if revision:
        raise ConfigError(f"{show(word)}: a snapshot is pushed to the main branch; leave @{revision} out")
    hub = _package(f"{HF}{name}")
    api = hub.HfApi()
    if cut_off := unreachable(api.endpoint):
        raise ConfigError(f"{HF}{name}: the hub cannot be reached ({cut_off}); check the network, and run the same command again")
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        files = ((FILE, snapshot), (CARD, card.encode()))
        operations = [hub.CommitOperationAdd(path_in_repo=path, path_or_fileobj=content) for path, content in files]
        api.create_commit(name, operations, commit_message=message)
    except Exception as error:  # of the network, the server and the disk: the package raises many kinds
        raise ConfigError(f"{HF}{name}: cannot be written ({_reason(error)}); check network, name, and $HF_TOKEN") from error
    return str(address)


def _package(what: str) -> Any:
    return extra("huggingface_hub", "hub", what)


def _reason(error: Exception) -> str:
    said = error.__cause__ or error
    return " ".join(str(said).split())[:200] or type(said).__name__
