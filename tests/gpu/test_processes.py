"""Two processes are one training, with NCCL on two GPUs and with gloo on CPUs beside a GPU; and a GPU other than the first."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from diptych.methods import METHODS
from tests.conftest import REHEARSAL
from tests.gpu.tiny import assert_losses_agree, differing, pictures, recorded_step, train_for, trainee_of, weights_of

pytestmark = pytest.mark.gpu
MAIN = [sys.executable, "-c", "from diptych.cli import main; raise SystemExit(main())"]
GPUS = torch.cuda.device_count()
needs_two = pytest.mark.skipif(GPUS < 2, reason=f"needs two GPUs for NCCL, and torch finds {GPUS}")
SETTINGS = ["--train.epochs", "2", "--train.decay_epochs", "0", "--train.batch_size", "2", "--train.precision", "fp32"]
SETTINGS += ["--data.load_size", "36", "--data.crop_size", "32", "--method.ngf", "4", "--method.ndf", "4"]
SETTINGS += ["--method.generator", "unet_5", "--method.norm", "instance", "--method.dropout", "false"]
SETTINGS += ["--method.num_layers", "1", "--previews", "0", "--log-every", "1"]


def run_all(commands):
    """Run commands beside one another; each is words and variables of its environment. Returns what they said."""
    started = [
        subprocess.Popen(words, env=os.environ | more, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for words, more in commands
    ]
    try:
        said = [process.communicate(timeout=150)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * len(started), "\n".join(said)
    return said


@pytest.mark.parametrize("where", [pytest.param("cuda", marks=needs_two), "cpu"])
def test_two_processes_train_as_one_with_the_joined_batch(where, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    pairs = pictures(tmp_path / "pairs", 4)

    def command(out):
        return [*MAIN, "train", "pix2pix", str(pairs), "--out", str(tmp_path / out), "--device", where, *SETTINGS]

    both = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [(command("two"), both | {"RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    run_all([(command("one"), {}), *ranks])
    losses = {}
    for out in ("one", "two"):
        lines = [json.loads(line) for line in (tmp_path / out / "stats.jsonl").read_text().splitlines()]
        losses[out] = [line["losses"] for line in lines]
    assert len(losses["one"]) == 4
    assert_losses_agree(losses["one"], losses["two"], 1e-2)


@pytest.mark.skipif(GPUS < 2, reason=f"needs two GPUs, and torch finds {GPUS}")
@pytest.mark.parametrize("method", METHODS)
def test_a_replay_trains_on_a_gpu_that_is_not_the_first(method):
    trainee = trainee_of(method, torch.device("cuda:1"), {"ema": 0.9})
    step = recorded_step(trainee)
    train_for(trainee, step, range(5))
    before = weights_of(trainee)
    train_for(trainee, step, range(5, 6))
    assert step.replay is not None and differing(before, weights_of(trainee))


@pytest.mark.skipif(REHEARSAL, reason="asks for a GPU that is not there")
def test_a_gpu_that_is_not_there_is_refused_by_its_number(tmp_path):
    words = [*MAIN, "train", "pix2pix", "relief", "--out", str(tmp_path / "run"), "--device", f"cuda:{GPUS}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and f"'cuda:{GPUS}' cannot be used" in done.stderr and "Traceback" not in done.stderr
