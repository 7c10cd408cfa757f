"""The device of these tests, and numbers on it that repeat."""

from collections.abc import Iterator

import pytest
import torch

from tests.conftest import REHEARSAL


@pytest.fixture
def device() -> torch.device:
    """The first GPU."""
    return torch.device("cpu") if REHEARSAL else torch.device("cuda:0")


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    """Convolutions by deterministic algorithms, chosen without timing them, in full float32; put back afterwards."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = True, False, False
    yield
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = before
