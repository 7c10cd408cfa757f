"""Sums of losses on the device: what is added, what is read, and that a sum stays where a recorded step adds to it."""

import pytest
import torch

from diptych.training.distributed import World
from diptych.training.records.averages import LossAverages, exact_dtype


def added(stats, *losses):
    for loss in losses:
        stats.add("G", {"l1": torch.tensor(loss), "gan": torch.tensor(10 * loss)})
        stats.add("D", {"real": torch.tensor(100 * loss)})
        stats.steps += 1


def test_the_means_of_each_term_since_it_was_last_read():
    stats = LossAverages()
    assert stats.steps == 0 and stats.read(World()) == {}
    added(stats, 1.0, 4.0, 7.0)
    assert stats.read(World()) == {"G/l1": 4.0, "G/gan": 40.0, "D/real": 400.0}
    assert stats.steps == 0 and stats.read(World()) == {}
    added(stats, 3.0)
    assert stats.read(World()) == {"G/l1": 3.0, "G/gan": 30.0, "D/real": 300.0}


def test_a_sum_keeps_its_address_when_it_starts_again():
    stats = LossAverages()
    added(stats, 1.0)
    places = {name: value.data_ptr() for name, value in stats.sums.items()}
    stats.clear()
    assert stats.steps == 0 and [value.item() for value in stats.sums.values()] == [0.0, 0.0, 0.0]
    added(stats, 5.0)
    assert {name: value.data_ptr() for name, value in stats.sums.items()} == places
    assert [value.item() for value in stats.sums.values()] == [5.0, 50.0, 500.0]


def test_many_small_losses_are_summed_exactly_and_without_gradient():
    stats = LossAverages()
    weight = torch.tensor(1.0, requires_grad=True)
    for term in (2.0**24, *[1.0] * 8):  # in float32 nothing would come of adding 1 to 2^24
        stats.add("G", {"l1": weight * term})
        stats.steps += 1
    assert not stats.sums["G/l1"].requires_grad
    assert stats.read(World()) == {"G/l1": (2**24 + 8) / 9}


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.float64), ("cuda", torch.float64), ("mps", torch.float32)])
def test_a_device_sums_in_the_most_exact_type_that_it_has(device, dtype):
    assert exact_dtype(torch.device(device)) == dtype
