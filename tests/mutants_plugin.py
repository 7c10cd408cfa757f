"""A plugin of pytest for `make mutants`: a small change of the code costs little more than the fastest test that notices it.

mutmut forks a process for each change from one that has collected the tests, and lets it run them all until one fails.
"""

import gc
import json
from pathlib import Path

import torch._dynamo  # noqa: F401 - an optimizer's first step imports it, which would take each process seconds

TIMES = Path("mutmut-stats.json")
"""Where mutmut notes how long each test took, in the folder in which it runs them."""


def pytest_collection_modifyitems(items):
    """Order tests by the time they took; those that have not been timed yet keep their order and come first."""
    seconds = json.loads(TIMES.read_text())["duration_by_test"] if TIMES.exists() else {}
    items.sort(key=lambda item: seconds.get(item.nodeid, 0.0))


def pytest_collection_finish():
    """Leave all that is loaded by now out of garbage collections, which would copy it into the memory of each process."""
    gc.collect()
    gc.freeze()
