"""Decode every image once and keep its pixels in RAM, in a file or on the device.

Native pixels are kept after the resizing, which is the same every time, and before crop and mirroring, which are not.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import get_args

import torch

from diptych.choices import Cache
from diptych.data.archives import changed_at
from diptych.data.datasets import Crops
from diptych.data.slots import Mapped, Resident, Slots
from diptych.errors import ConfigError, DataError, StorageError
from diptych.files import refuse_links_out
from diptych.memory import available_memory, in_words

log = logging.getLogger(__name__)
CACHES: tuple[Cache, ...] = get_args(Cache)
MAX_MEMORY_SHARE = 0.5  # of the available memory for images: the rest is for training and for other programs
AUTO_DEVICE_SHARE = 0.1  # of a GPU's free memory: auto keeps images there that take no more
FILE_FORMAT = 1  # a file on disk of another format is not used
Place = tuple[Cache, str]
"""The place where images are kept, and the path of the file that they are mapped from."""


@contextmanager
def kept(
    crops: Crops,
    cache: Cache,
    folder: Path,
    device: torch.device,
    *,
    once: Callable[[Callable[[], Place]], Place] = lambda make: make(),
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[Crops]:
    """Give the same samples, with every image decoded once inside of the ``with`` block.

    ``disk`` keeps a file in ``folder``/cache, which outlives an interrupted training and goes when one ends well. Processes of
    one machine share what is kept: ``once`` gives all of them what one of them made. ``on_progress`` gets (done, total) where
    all images are read before the first sample, for a device.

    Raises ConfigError when images do not fit where they were asked to be, or ``folder``/cache leads elsewhere through a link, and
    StorageError when the disk refuses.
    """
    refuse_links_out([folder / "cache"], folder)
    if cache not in CACHES:
        raise ConfigError(f"cache {cache!r}: no such choice; choose {', '.join(CACHES)}")
    slots = Slots.of(crops.census, crops.config)
    with ExitStack() as stack:

        def make() -> Place:
            chosen = choose_place(cache, slots, folder / "cache", device)
            if slots and chosen == "ram":
                return chosen, stack.enter_context(shared_memory(Mapped.size_for(slots)))
            if slots and chosen == "disk":
                return chosen, reserved(folder / "cache", key_of(crops, slots), Mapped.size_for(slots))
            return chosen, ""

        chosen, path = once(make)
        if slots and path:
            crops = crops.over(Mapped(crops.source, slots, path))
        elif slots and chosen == "device":
            crops = crops.over(Resident(crops.source, slots, device, on_progress))
        yield crops
    for file in (folder / "cache").glob("*.pixels"):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # it does not exist, or holds other files
        (folder / "cache").rmdir()


def choose_place(cache: Cache, slots: Slots | None, folder: Path, device: torch.device) -> Cache:
    """Choose where images are kept, never ``auto``, and log it in one line. Raises ConfigError when they do not fit as asked."""
    if cache == "off":
        return "off"
    if slots is None:
        why = "this run's census holds no sizes of images"
        if cache == "auto":
            log.info("images are read from their files each time: %s", why)
            return "off"
        raise ConfigError(f"cache {cache}: {why}; start anew with another --out, or choose --cache off")
    need = in_words(slots.nbytes)
    if cache == "disk":
        log.info("images are kept in %s once decoded: %s", folder, need)
        return "disk"
    parts = {
        "auto": {"device": AUTO_DEVICE_SHARE, "ram": MAX_MEMORY_SHARE} if device.type == "cuda" else {"ram": MAX_MEMORY_SHARE}
    }.get(cache, {cache: MAX_MEMORY_SHARE})
    for place, part in parts.items():
        free = available_memory(device if place == "device" else torch.device("cpu"))
        name = f"on {device}" if place == "device" else "in RAM"
        if slots.nbytes <= part * free:
            log.info("images are kept %s once decoded: %s of %s free", name, need, in_words(free))
            return "device" if place == "device" else "ram"
    alternative = f"--cache disk keeps them decoded in {folder} ({need})"
    misfit = f"images do not fit {name} ({need}, at most half of {in_words(free)} free)"
    if cache == "auto":
        log.info("%s; read from their files each time; %s", misfit, alternative)
        return "off"
    raise ConfigError(f"cache {cache}: {misfit}; {alternative}, --cache off reads them each time")


@contextmanager
def shared_memory(nbytes: int) -> Iterator[str]:
    """Make a file of zeros in RAM that other processes can map; it is gone when this process is, however it ends.

    Linux counts it as the process's memory, and /dev/shm, which is tiny in containers, has no part in it. Elsewhere it is a
    temporary file, which a killed process leaves behind.
    """
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("diptych")
        try:
            os.truncate(file, nbytes)
            yield f"/proc/{os.getpid()}/fd/{file}"
        finally:
            os.close(file)
        return
    file, path = tempfile.mkstemp(".pixels", "diptych-")
    try:
        os.truncate(file, nbytes)
        os.close(file)
        yield path
    finally:
        with suppress(OSError):  # Windows removes no file that is mapped
            os.unlink(path)


def key_of(crops: Crops, slots: Slots) -> str:
    """Name the decoded pixels of these files at this size; the name changes with any file or setting."""
    census, config = crops.census, crops.config
    files = [(str(ref.path), ref.half, ref.frame, *_stamp(ref.path)) for ref in (*census.split.a, *census.split.b)]
    settings = FILE_FORMAT, config.resize, config.load_size, config.crop_size, census.a, census.b, slots.shapes
    digest = hashlib.sha256(repr((settings, files)).encode("utf-8", "backslashreplace")).hexdigest()
    return f"{re.sub(r'[^a-zA-Z0-9]', '_', socket.gethostname())}-{digest[:16]}"  # no two machines map one file


def _stamp(path: Path) -> tuple[int, int]:
    try:
        return changed_at(path)
    except (OSError, DataError):  # the error is raised when a sample needs the image
        return 0, 0


def reserved(folder: Path, key: str, nbytes: int) -> str:
    """Find the file of this key that a stopped run left, or make one that takes all its space on the disk at once.

    Files that this machine left for other keys are removed. Raises StorageError when the disk refuses.
    """
    path = folder / f"{key}.pixels"
    try:
        folder.mkdir(exist_ok=True)
        for other in folder.glob(f"{key.rpartition('-')[0]}-*.pixels"):
            if other != path or other.stat().st_size != nbytes:
                other.unlink()
        if not path.exists():
            _take_space(path, nbytes)
    except OSError as error:
        with suppress(OSError):  # the first error is the one to tell
            path.unlink(missing_ok=True)
            folder.rmdir()
        free = in_words(shutil.disk_usage(folder.parent).free)
        raise StorageError(
            f"{path}: decoded images cannot be kept ({error.strerror}); they need {in_words(nbytes)}, {free} free; "
            "make room, or choose --cache off"
        ) from error
    return str(path)


def _take_space(path: Path, nbytes: int) -> None:
    """Take all space now: a disk that fills up later would end the process by SIGBUS, with no message."""
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, nbytes)
        else:
            file.truncate(nbytes)
