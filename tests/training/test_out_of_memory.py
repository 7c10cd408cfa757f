"""A training that runs out of memory says sizes and what to change, keeps its last state, and goes on from there."""

import json
import subprocess
import sys

import pytest
import torch

from diptych.cli import plan
from diptych.run import Run
from diptych.training import loop
from tests.cli.pictures import CYCLEGAN, PIX2PIX, diptych, folder

LIMITED = """
import resource, sys
from diptych.cli import main
import diptych.training.loop, diptych.cli.finish, diptych.scoring.validation  # what is imported needs no room later
import torch; torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
now = int(next(line for line in open("/proc/self/status") if line.startswith("VmSize")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (now + int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""


def runs_out_at(step, monkeypatch, error):
    """From the given step on, a whole batch of two needs too much memory."""
    taken, whole = [], loop.train_step

    def train_step(trainee, batch):
        if len(taken) >= step - 1 and trainee.parts == 1:
            raise error
        whole(trainee, batch)
        taken.append(trainee.parts)

    monkeypatch.setattr(loop, "train_step", train_step)
    return taken


class Tight:
    """A plan of a machine for single images of 32 pixels."""

    def advice(self):
        return "--train.batch_size 1, or --data.crop_size 32"


ERRORS = [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), RuntimeError("could not create a primitive")]


@pytest.mark.parametrize("method", [["pix2pix", *PIX2PIX], ["cyclegan", *CYCLEGAN]], ids=["pix2pix", "cyclegan"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_out_of_memory_keeps_the_last_state_and_the_same_command_goes_on(method, error, tmp_path, monkeypatch, capsys):
    a, b = folder(tmp_path / "a", 4), folder(tmp_path / "b", 4, seed=9)
    words = ["train", *method[:1], a, b, *method[1:], "--out", tmp_path / "run", "--train.batch_size", 2, "--save-every", 0]
    with monkeypatch.context() as patch:
        patch.setattr(plan, "planned", lambda recipe, device: Tight())
        runs_out_at(2, patch, error)
        assert diptych(*words) == 3
    said = capsys.readouterr().err
    assert "error: image 2: out of memory at crop 32, batch 2, after a peak of " in said
    assert "; the state before it is kept; try --auto-batch, or " in said and "`diptych plan` tells what fits" in said
    assert "; measured now: it fits with --train.batch_size 1, or --data.crop_size 32\n" in said
    assert [path.stem for path in Run(tmp_path / "run").states()] == ["state-000000001"]
    assert diptych(*words, "--train.accumulate", 2, "--train.checkpoint", "true") == 0


def test_with_auto_batch_the_training_goes_on_in_parts(tmp_path, monkeypatch, capsys):
    a, b = folder(tmp_path / "a", 4), folder(tmp_path / "b", 4, seed=9)
    taken = runs_out_at(2, monkeypatch, ERRORS[0])
    words = ["train", "cyclegan", a, b, *CYCLEGAN, "--out", tmp_path / "run", "--train.batch_size", 2, "--auto-batch"]
    assert diptych(*words) == 0
    assert taken == [1, 2]
    assert "image 2: out of memory (CUDA out of memory.); batches are now computed in 2 parts" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "stats.jsonl").read_text().splitlines()[-1])["images"] == 4


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_real_limit_of_memory_is_reported_in_one_line(tmp_path):
    a, b = folder(tmp_path / "a", 2, height=512, width=512), folder(tmp_path / "b", 2, seed=9, height=512, width=512)
    sizes = ["--data.resize", "none", "--data.crop_size", 512, "--method.generator", "resnet_9", "--train.precision", "fp32"]
    words = ["train", "cyclegan", a, b, "--out", tmp_path / "run", *sizes, "--train.batch_size", 2, "--cache", "off"]
    command = [sys.executable, "-c", LIMITED, 2**30, *words, "--validations", 0]
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=200)
    assert ended.returncode == 3, ended.stderr
    assert "out of memory at crop 512, batch 2, after a peak of " in ended.stderr and "Traceback" not in ended.stderr
