"""Whether networks are compiled, so that kernels are generated for them: fewer and larger, after a wait."""

from __future__ import annotations

import logging
import os
import shutil
from typing import Literal

import torch

from diptych.errors import ConfigError

log = logging.getLogger(__name__)
Compile = Literal["auto", "on", "off"]
LONG = 5000  # steps on a GPU after which compiling, a minute or two, has been earned back
COMPILERS = ("c++", "g++", "clang++")


def pays(choice: Compile, device: torch.device, steps: int, *, checkpoint: bool = False) -> bool:
    """Whether to compile for a training of so many steps; a choice to compile is logged.

    ``auto`` compiles for long trainings on CUDA. Not on a CPU: there it takes minutes and makes a step at most a tenth faster
    (benchmarks/step.py --compile). Networks whose activations are recomputed (``checkpoint``) are not compiled, since compilers
    do not see through the recomputation. Raises ConfigError when compiling is asked for together with it, or on a CPU without a
    C++ compiler.
    """
    if choice == "on" and checkpoint:
        raise ConfigError("--compile on cannot be combined with train.checkpoint; choose one of them")
    wanted = choice == "on" or (choice == "auto" and device.type == "cuda" and steps >= LONG and not checkpoint)
    if wanted and device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
        raise ConfigError("--compile on needs a C++ compiler for a CPU and found none; install g++, or leave it off")
    if wanted:
        log.info("compiling the networks: the first step takes one to several minutes; --compile off begins at once")
    return wanted
