"""What `--memory` has to hold besides the network's own work: the process itself, and images while they are read and written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from diptych.data.formats import declared_pixels
from diptych.errors import ConfigError
from diptych.inference.maps import Source
from diptych.inference.staged import StagedRun, staging_of
from diptych.inference.translator import Translator
from diptych.memory import RESERVE, default_memory, enough, in_words, resident_memory
from diptych.pixels import Domain

STARTING = 4 * 10**7  # bytes that torch and oneDNN take when they first compute
SMALL_FILE = 2**16  # bytes; an image in a smaller file is taken for a small one, without a look at its header
COPIES = 3  # of the pixels of an image, while it is read or written: the decoder's, the array, and what the network takes


def refuse_too_little(translator: Translator, memory: int) -> None:
    """Raise ConfigError, with the smallest figure that is enough, for a --memory in which not even the smallest image fits.

    The translator was made with what `RESERVE` leaves of it.
    """
    left, needed = translator.left(), least(translator)
    if left < needed:
        held = memory - RESERVE - left
        raise ConfigError(
            f"--memory {in_words(memory)}: is too little, as the process itself holds {in_words(held)}, and the smallest image "
            f"takes {in_words(needed)}, and {in_words(RESERVE)} are a reserve; give --memory {enough(held + needed)} or more"
        )


def least(translator: Translator) -> int:
    """The bytes that translating an image takes besides what the process holds, however small the image is."""
    try:
        return STARTING + 2 * staging_of(translator._torch(), 64, 64).least
    except ConfigError:  # a network without a form for windows translates images whole
        return STARTING


def stages_fit(translator: Translator, source: Source) -> bool:
    """Whether the memory is enough to translate an image by stages, and the network can be applied so."""
    try:
        StagedRun(translator._torch(), source, translator.left() // 2)
    except ConfigError:
        return False
    return True


def host_left(translator: Translator) -> int:
    """The bytes of main memory that images may still take beside the network, wherever that computes."""
    if translator.device.type == "cpu":
        return translator.left()
    return max(0, default_memory(torch.device("cpu")) - resident_memory())


def reading_bytes(path: Path, domain: Domain) -> int:
    """About the bytes that reading an image takes until the network has it, by its header; 0 for small files."""
    try:
        size = os.stat(path).st_size
    except OSError:  # such as an image in an archive
        return 0
    if size < SMALL_FILE:
        return 0
    pixels = declared_pixels(path)
    return COPIES * (size if pixels is None else pixels * max(3, domain.bands) * np.dtype(domain.dtype).itemsize)
