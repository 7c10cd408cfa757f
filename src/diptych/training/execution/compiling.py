"""Whether networks are compiled, so that kernels are generated for them: fewer and larger, after a wait."""

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
    """Whether to generate kernels for the networks with torch.compile; a choice to do so is logged.

    ``auto`` does not, as measured (docs/performance.md): diptych's own kernels make a step on CUDA faster than generated ones do,
    without the wait of a minute; on a CPU a step gains at most a tenth after minutes. Networks whose activations are recomputed
    (``checkpoint``) cannot be compiled. Raises ConfigError when both are asked for, or on a CPU without a C++ compiler.
    """
    if choice != "on":
        return False
    if checkpoint:
        raise ConfigError("--compile on cannot be combined with train.checkpoint; choose one of them")
    if device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
        raise ConfigError("--compile on needs a C++ compiler for a CPU and found none; install g++, or leave it off")
    log.info("compiling the networks: the first step takes one to several minutes; --compile off begins at once")
    return True
