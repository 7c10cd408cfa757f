"""Shapes in signatures are checked in every test, and every test computes on one core, so that its numbers repeat."""

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

try:
    from beartype import beartype
    from jaxtyping import install_import_hook
except ImportError as error:  # on a bare machine with a GPU: the tests run all the same
    UNCHECKED = f"shapes in signatures are not checked: {error}"
else:
    UNCHECKED = ""

    def shapes_only(function: Callable) -> Callable:
        """Check the arguments that have a shape; names and numbers that a user may get wrong stay for the code to report."""
        function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if "jaxtyping." in repr(hint)}
        return beartype(function)

    install_import_hook("diptych", f"{__name__}.shapes_only")  # before anything imports diptych

    if find_spec("triton"):  # whose compiler reads the source of a kernel: the hook may not wrap it
        path = Path(__file__).parents[1] / "src/diptych/nets/kernels.py"
        spec = spec_from_file_location("diptych.nets.kernels", path)
        assert spec and spec.loader
        sys.modules[spec.name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[spec.name])

os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start
torch.set_num_threads(1)

REHEARSAL = os.environ.get("DIPTYCH_GPU_TESTS") == "cpu"
"""Run the tests of tests/gpu on the CPU, to see that the tests themselves are sound; CUDA's own parts are left out."""


def pytest_report_header() -> list[str]:
    """Say what is not checked on this machine."""
    return [UNCHECKED] if UNCHECKED else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need a GPU where there is none; the summary counts them and gives the reason."""
    absent = not torch.cuda.is_available() and not REHEARSAL
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.filterwarnings("default"))  # a driver's warnings are shown, and are no failure of ours
            if absent:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch finds none here (`make gpu`)"))
