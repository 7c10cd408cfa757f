"""Weights of other tools are read without wrappers; what is refused of them stands in test_foreign.py."""

import pytest
import safetensors.torch
import torch

from diptych.errors import WeightsError
from diptych.state_dicts import read_state_dict
from tests.test_trees import same


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ""])
def test_tensors_of_other_tools_are_read_without_wrappers(suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    state = {"a.weight": torch.randn(2, 3), "a.count": torch.tensor(7)}
    if suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{key}": tensor for key, tensor in state.items()}, "epoch": 3}, path)
    assert same(read_state_dict(path), state)
    assert same(read_state_dict(str(path)), state)
    assert all(tensor.device.type == "cpu" and not tensor.requires_grad for tensor in read_state_dict(path).values())


def test_parameters_become_plain_tensors(tmp_path):
    torch.save({"a": torch.nn.Parameter(torch.ones(2))}, tmp_path / "x.pth")
    assert not read_state_dict(tmp_path / "x.pth")["a"].requires_grad


def test_a_file_without_weights_is_refused_in_one_line(tmp_path):
    torch.save([1, 2], tmp_path / "x.pth")
    with pytest.raises(
        WeightsError,
        match=r"^\S+x\.pth: holds a list instead of a state_dict; save net\.state_dict\(\) in the tool that made it$",
    ):
        read_state_dict(tmp_path / "x.pth")
