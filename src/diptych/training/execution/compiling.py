"""Whether networks are compiled by torch.compile, which generates fewer and larger kernels after a wait."""

from __future__ import annotations

import logging
import os
import shutil

import torch

from diptych.choices import Compile
from diptych.errors import ConfigError

log = logging.getLogger(__name__)
COMPILERS = ("c++", "g++", "clang++")


def wants_compiling(choice: Compile, device: torch.device, *, checkpoint: bool = False) -> bool:
    """Whether to compile the networks with torch.compile, which is logged.

    ``auto`` means off, as measured (docs/performance.md): on CUDA, diptych's own kernels are faster than generated ones and need
    no wait; on a CPU, a step gains at most a tenth after a wait of minutes. Raises ConfigError for ``on`` together with
    ``checkpoint``, since networks that recompute their activations cannot be compiled, and on a CPU without a C++ compiler.
    """
    if choice != "on":
        return False
    if checkpoint:
        raise ConfigError("--compile on cannot be combined with train.checkpoint; choose one of them")
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
        raise ConfigError("--compile on needs a C++ compiler for a CPU and found none; install g++, or leave it off")
    log.info("compiling the networks: the first step takes one to several minutes; --compile off starts at once")
    return True
