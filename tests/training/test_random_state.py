"""Random state is saved, restored and preserved for the process and for its device."""

import pytest
import torch

from diptych.training.random_state import preserved_random_state, random_state, set_random_state

CPU = torch.device("cpu")


@pytest.fixture
def mps(monkeypatch):
    """The random state of a pretended Apple GPU, which is one number."""
    generator = {"state": torch.tensor([7])}
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: generator["state"].clone())
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: generator.update(state=state))
    return generator


def test_numbers_drawn_again_after_the_state_is_restored_are_the_same():
    state = random_state(CPU)
    first = torch.rand(5)
    set_random_state(state, CPU)
    assert torch.equal(torch.rand(5), first) and state.keys() == {"rng"}


def test_the_state_of_an_apple_gpu_is_saved_restored_and_preserved(mps):
    device = torch.device("mps")
    state = random_state(device)
    assert state.keys() == {"rng", "mps_rng"}
    before = torch.get_rng_state()
    with preserved_random_state(device):
        torch.rand(3)
        mps["state"] = torch.tensor([8])
    assert int(mps["state"]) == 7 and torch.equal(torch.get_rng_state(), before)
    mps["state"] = torch.tensor([9])
    set_random_state(state, device)
    assert int(mps["state"]) == 7


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_the_state_of_another_kind_of_device_restores_that_of_the_process(kind, mps):
    saved = {"rng": torch.get_rng_state(), "cuda_rng": torch.tensor([1])}
    first = torch.rand(5)
    set_random_state(saved, torch.device(kind))
    assert torch.equal(torch.rand(5), first) and int(mps["state"]) == 7


def test_the_state_is_preserved_when_the_work_fails():
    def fail():
        torch.rand(3)
        raise ValueError("no")

    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="no"), preserved_random_state(CPU):
        fail()
    assert torch.equal(torch.get_rng_state(), before)
