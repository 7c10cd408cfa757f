"""Shapes in signatures are checked in every test, and every test computes on one core, so that its numbers repeat."""

import os
from collections.abc import Callable

import torch
from beartype import beartype
from jaxtyping import install_import_hook


def shapes_only(function: Callable) -> Callable:
    """Check the arguments that have a shape; names and numbers that a user may get wrong stay for the code to report."""
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if "jaxtyping." in repr(hint)}
    return beartype(function)


install_import_hook("diptych", f"{__name__}.shapes_only")  # before anything imports diptych

os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start
torch.set_num_threads(1)
