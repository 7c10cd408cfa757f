"""Batches are the samples in their order: from any position, shared out over ranks, by any number of worker processes."""

import multiprocessing
import threading
import time
import tracemalloc

import pytest
import torch

from diptych.data.cache import kept
from diptych.data.datasets import Crops, DataConfig
from diptych.data.stream import batches
from diptych.errors import DataError
from tests.data.pictures import two_sides

CONFIG = DataConfig(load_size=36, crop_size=32)


@pytest.fixture
def crops(tmp_path):
    return Crops(two_sides(tmp_path / "data", paired=False, counts=(7, 5)), CONFIG, 3)


@pytest.mark.parametrize("cache", ["off", "device"])
def test_batches_hold_the_samples_in_their_order_and_a_last_incomplete_one_is_dropped(cache, crops, tmp_path):
    with kept(crops, cache, tmp_path, torch.device("cpu")) as source:
        found = list(batches(source, 5, 30, 4))
    assert len(found) == 6
    for number, batch in enumerate(found):
        samples = [crops[k] for k in range(5 + 4 * number, 9 + 4 * number)]
        assert torch.equal(batch.a, torch.stack([sample.a for sample in samples]))
        assert torch.equal(batch.b, torch.stack([sample.b for sample in samples]))
        assert batch.files == tuple(sample.files for sample in samples) and batch.a.is_contiguous()


def test_ranks_take_their_shares_of_the_same_batches(crops):
    whole = list(batches(crops, 0, 12, 4))
    shares = zip(*(batches(crops, 0, 12, 4, rank=rank, world=2) for rank in (0, 1)), strict=True)
    for batch, (first, second) in zip(whole, shares, strict=True):
        assert torch.equal(batch.a, torch.cat([first.a, second.a])) and batch.files == first.files + second.files


@pytest.mark.parametrize("workers", [0, 2])
def test_no_random_state_is_drawn_from_and_a_batch_is_nobodys_else(workers, crops, tmp_path):
    with kept(crops, "ram", tmp_path, torch.device("cpu")) as cached:
        before = torch.get_rng_state()
        first = list(batches(cached, 0, 8, 1, workers=workers))
        expected = [batch.a.clone() for batch in first]
        for batch in first:
            batch.a.zero_()
            batch.b.zero_()
        again = list(batches(cached, 0, 8, 1, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(batch.a, a) for batch, a in zip(again, expected, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_loader_is_raised_where_its_batch_is_due(workers, crops):
    for ref in crops.census.split.a:
        ref.path.unlink()
    with pytest.raises(DataError, match=r"^10 images in a row could not be read") as error:
        next(batches(crops, 0, 8, 2, workers=workers))
    assert type(error.value) is DataError and str(error.value).isprintable()  # one line


@pytest.mark.parametrize("workers", [0, 1])
def test_a_training_of_any_length_takes_no_memory_for_its_batches(workers, crops):
    tracemalloc.start()
    found = batches(crops, 0, 40_000_000, 1, workers=workers)
    next(found)
    grown = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert grown < 10e6  # a list of them takes 4.7 GB


def test_closing_ends_all_processes_and_threads(crops):
    """Those that still run when Python ends can crash it, after all was saved."""
    before = set(threading.enumerate())
    found = batches(crops, 0, 40_000, 1, workers=2)
    next(found)
    assert len(multiprocessing.active_children()) >= 2 and set(threading.enumerate()) - before
    found.close()
    over = time.monotonic() + 10
    while left := set(threading.enumerate()) - before:  # those that feed queues end a moment after them
        assert time.monotonic() < over, left
        time.sleep(0.01)
    assert not multiprocessing.active_children()
