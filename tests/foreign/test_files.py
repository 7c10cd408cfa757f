"""Files that hold no weights are named for what they are in one line, and nothing in them is run."""

import io
import os
import pickle
import re
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from diptych.errors import WeightsError
from diptych.state_dicts import read_state_dict
from tests.foreign.test_strangers import resnet_state


class Touch:
    """Unpickling it would create the canary."""

    def __init__(self, canary: Path, how: str = "system") -> None:
        self.canary, self.how = canary, how

    def __reduce__(self):
        match self.how:
            case "system":
                return os.system, (f"touch '{self.canary}'",)
            case "eval":
                return eval, (f"open({str(self.canary)!r}, 'w').close()",)
        return Path.touch, (self.canary,)


def raw(content):
    return lambda path, canary: path.write_bytes(content)


def torch_saved(build, **options):
    return lambda path, canary: torch.save(build(), path, **options)


def cut_short(path, canary, keep=0.5, **options):
    torch.save(resnet_state(), path, **options)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


def flipped(path, canary):
    torch.save(resnet_state(), path)
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)  # inside of the pickled names
    path.write_bytes(content)


def torchscript(path, canary):
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.trace(nn.Conv2d(1, 1, 1), torch.rand(1, 1, 2, 2)), path)


def optimizer_state():
    moments = {"step": torch.tensor(3.0), "exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}
    return {"state": {0: moments, 1: moments}, "param_groups": [{"lr": 2e-4, "betas": (0.5, 0.999), "params": [0, 1]}]}


def numpy_file(path, canary):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def zip_of_text(path, canary):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "no weights here")


def in_zip(path, canary):
    """A malicious data.pkl in a well-formed torch archive."""
    torch.save({"a": torch.ones(1)}, path)
    with zipfile.ZipFile(path) as file:
        records = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in records.items():
            file.writestr(name, pickle.dumps(Touch(canary), 2) if name.endswith("data.pkl") else content)


def nan_state():
    return resnet_state(**{"model.4.bias": torch.tensor([0.0, float("nan"), 0.0, 0.0])})


def pickled(content):
    file = io.BytesIO()
    pickle.dump(content, file)
    return file.getvalue()


DAMAGED = "is damaged, or holds no PyTorch weights; download or copy it again, or give"
OBJECTS = "which are never run; save net.state_dict"
FILES = {
    "malicious reduce": (lambda path, canary: torch.save({"x": Touch(canary)}, path), OBJECTS),
    "malicious eval": (lambda path, canary: torch.save({**resnet_state(), "x": Touch(canary, "eval")}, path), OBJECTS),
    "malicious method": (lambda path, canary: torch.save({"x": Touch(canary, "path")}, path), OBJECTS),
    "malicious legacy": (lambda path, canary: torch.save(Touch(canary), path, _use_new_zipfile_serialization=False), OBJECTS),
    "malicious bare pickle": (lambda path, canary: path.write_bytes(pickled(Touch(canary))), f"{DAMAGED}|{OBJECTS}"),
    "malicious record": (in_zip, OBJECTS),
    "whole model": (
        torch_saved(lambda: nn.Conv2d(1, 1, 1)),
        r"holds Python objects \(torch.nn.modules.conv.Conv2d\), " + OBJECTS,
    ),
    "whole model in a dict": (torch_saved(lambda: {"model": nn.Conv2d(1, 1, 1)}), OBJECTS),
    "torchscript": (torchscript, "is a TorchScript program, which is never run; save net.state_dict"),
    "empty": (raw(b""), r"is empty \(0 bytes\); download or copy it again"),
    "text": (raw(b"hello world\n" * 20), "is a text file; give a .pth or .safetensors file"),
    "text in Greek": (raw("χαῖρε κόσμε\n".encode() * 100), "is a text file"),
    "web page": (
        raw(b"<!DOCTYPE html><html>404 not found</html>"),
        "is a web page and not the file behind it; download the file itself",
    ),
    "git lfs pointer": (
        raw(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"),
        "is a pointer of Git LFS .*; run `git lfs pull`",
    ),
    "noise": (raw(np.random.default_rng(0).bytes(5000)), DAMAGED),
    "half a zip": (cut_short, DAMAGED),
    "nearly a zip": (lambda path, canary: cut_short(path, canary, 0.999), DAMAGED),
    "half a legacy file": (lambda path, canary: cut_short(path, canary, _use_new_zipfile_serialization=False), DAMAGED),
    "flipped bytes": (flipped, DAMAGED),
    "zip of text": (zip_of_text, DAMAGED),
    "numpy": (numpy_file, "is a NumPy array .*; load it in the tool that made it"),
    "pickled numpy": (lambda path, canary: path.write_bytes(pickled({"a": np.zeros(3)})), f"{DAMAGED}|{OBJECTS}"),
    "a tensor": (torch_saved(lambda: torch.zeros(3)), "holds a Tensor instead of a state_dict; save net.state_dict"),
    "a list": (torch_saved(lambda: [1, 2]), "holds a list instead of a state_dict"),
    "nothing": (torch_saved(dict), "holds nothing; save the state_dict of one network in a file of its own"),
    "numbers": (torch_saved(lambda: {"epoch": 3, "lr": 0.1}), "holds 'epoch', 'lr' and no network; save the state_dict of one"),
    "optimizer": (torch_saved(optimizer_state), "holds 'state', 'param_groups' and no network; save"),
    "two networks": (
        torch_saved(lambda: {"G_A": resnet_state(), "G_B": resnet_state(), "epoch": 1}),
        "holds the networks 'G_A', 'G_B'; save the state_dict of one network in a file of its own",
    ),
    "number keys": (torch_saved(lambda: {0: torch.zeros(1)}), "holds '0' and no network"),
    "both prefixes": (
        torch_saved(lambda: {"a": torch.ones(1), "module.a": torch.zeros(1)}),
        "'a' occurs twice; get an undamaged file",
    ),
    "sparse": (torch_saved(lambda: {"a": torch.ones(3).to_sparse()}), r"'a' is not a plain tensor of numbers \(torch.sparse_coo"),
    "meta": (torch_saved(lambda: {"a": torch.ones(3, device="meta")}), "'a' is not a plain tensor of numbers"),
    "complex": (torch_saved(lambda: {"a": torch.ones(3, dtype=torch.complex64)}), "not a plain tensor of numbers .*complex64"),
    "no elements": (torch_saved(lambda: {"a": torch.ones(3, 0)}), "'a' has the impossible shape 3x0"),
    "a bomb": (torch_saved(lambda: {"a": torch.ones(1).expand(10**9)}), "'a' has the impossible shape 1000000000"),
    "not a number": (
        torch_saved(nan_state),
        r"'model.4.bias' is not finite \(NaN or infinity\); get an undamaged file from its author",
    ),
    "long keys": (torch_saved(lambda: {"k\n" * 5000: torch.ones(1) / 0}), r"'k\\nk.* is not finite"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_holds_no_weights_is_refused_in_one_line_and_runs_nothing(case, tmp_path):
    write, message = FILES[case]
    path, canary = tmp_path / "latest_net_G.pth", tmp_path / "canary"
    write(path, canary)
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert re.search(message, text), text
    assert "\n" not in text
    assert len(text) < len(str(path)) + 400
    assert not canary.exists()


def test_the_canary_would_have_been_touched(tmp_path):
    for how in ("system", "eval", "path"):
        pickle.loads(pickle.dumps(Touch(tmp_path / how, how)))
        assert (tmp_path / how).exists()


def test_a_path_without_a_file_is_refused_in_one_line(tmp_path):
    for path, reason in ((tmp_path / "G.pth", "No such file or directory"), (tmp_path, "is a folder, not a file")):
        with pytest.raises(WeightsError, match=rf"cannot be read \({reason}\); check the path"):
            read_state_dict(path)


def test_our_own_file_and_a_damaged_one_are_told_apart_from_foreign_safetensors(tmp_path):
    path = tmp_path / "snapshot.safetensors"
    safetensors.torch.save_file({"a": torch.ones(1)}, path, {"diptych": "{}", "sha256": "0"})
    with pytest.raises(
        WeightsError, match=r"snapshot.safetensors: was written by diptych itself and needs no import; use it directly"
    ):
        read_state_dict(path)
    shutil.copy(path, tmp_path / "snapshot.st")
    with pytest.raises(WeightsError, match=r"snapshot.st: is a safetensors file by its content; rename it so that it ends in"):
        read_state_dict(tmp_path / "snapshot.st")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(WeightsError, match=DAMAGED):
        read_state_dict(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_state_dict(tmp_path / "missing.safetensors")
