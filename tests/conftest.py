"""Shapes in signatures are checked in every test, and each xdist worker keeps to one core."""

import os

from jaxtyping import install_import_hook

install_import_hook("diptych", "beartype.beartype")  # before anything imports diptych

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start

    import torch

    torch.set_num_threads(1)
