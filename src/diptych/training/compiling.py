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


def pays(choice: Compile, device: torch.device, steps: int) -> bool:
    """Whether to compile for a training of so many steps, which is then said.

    ``auto`` compiles for long trainings on CUDA. Not on a CPU: there it takes minutes and makes a step at most a tenth faster
    (benchmarks/step.py --compile). Raises ConfigError when it is asked for on a CPU without a C++ compiler.
    """
    wanted = choice == "on" or (choice == "auto" and device.type == "cuda" and steps >= LONG)
    if wanted and device.type == "cpu" and not any(map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS))):
        raise ConfigError("--compile on needs a C++ compiler for a CPU and found none; install g++, or leave it off")
    if wanted:
        log.info("compiling the networks: the first step takes one to several minutes; --compile off begins at once")
    return wanted
