"""What makes translation fast on a GPU changes no result: recorded graphs, searched kernels, threads, overlapping groups."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.data.formats import read_pixels
from diptych.inference.batch import plan, translate_files
from diptych.inference.cuda import WARM_UPS
from diptych.inference.translator import Translator
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from tests.gpu.test_applied import images, levels_apart, snapshot_of

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_replayed_graph_translates_what_it_is_given(device, precision):
    how = {"device": str(device), "precision": precision}
    plain, replayed = (Translator(snapshot_of("resnet_1"), **how, replay=replay) for replay in (False, True))
    batches = [images(3).roll(k, 3) for k in range(WARM_UPS + 4)]
    outs = [replayed.tensors(batch) for batch in batches]
    for batch, out in zip(batches, outs, strict=True):
        mean, most = levels_apart(out, plain.tensors(batch))
        assert mean < 0.1 and most <= 3
    assert levels_apart(outs[-1], outs[-2])[0] > 1  # of other images, so a replay that computes nothing is seen
    assert replayed.device.type != "cuda" or len(replayed._run.replays.recorded) == 1
    assert levels_apart(replayed.tensors(batches[-1]), outs[-1]) == (0.0, 0)


@pytest.mark.parametrize("replay", [False, True])
def test_threads_share_a_translator_on_the_device(device, replay):
    translate = Translator(snapshot_of("resnet_1"), device=str(device), precision="bf16", replay=replay)
    given = [images(2, 64, side) for side in (64, 96, 64)]
    expected = [translate.tensors(batch) for batch in given]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(translate.tensors, given * 8))
    for out, like in zip(found, expected * 8, strict=True):  # each thread chooses kernels anew, which round bf16 in their own way
        assert levels_apart(out, like)[0] < 2
    assert levels_apart(expected[0].flip(0), expected[0])[0] > 10  # what one gets where images are mixed up


def test_a_folder_goes_through_in_groups_in_its_order(device, tmp_path):
    (tmp_path / "in").mkdir()
    for i, image in enumerate(images(10, 40, 48)):
        Image.fromarray(np.asarray(image.permute(1, 2, 0))).save(tmp_path / "in" / f"{i:02}.png")
    translate = Translator(snapshot_of("resnet_1"), device=str(device))
    jobs = plan([tmp_path / "in"], tmp_path / "out", translate)
    outcomes = translate_files(jobs, translate, batch=3)
    assert [outcome.job for outcome in outcomes] == jobs and not any(outcome.problem for outcome in outcomes)
    for job in jobs:
        expected = translate.pixels(read_pixels(job.source)).astype(int)
        assert np.abs(read_pixels(job.target) - expected).max() <= 1


def test_fp32_is_exact_where_torch_would_round_to_tf32(device):
    torch.backends.cudnn.allow_tf32 = True
    given, unit = images(), Domain(3, "float32", -1, 1)
    wide = snapshot_of("resnet_1", width=64)  # cuDNN may have no TF32 for a few channels
    snapshots = [Snapshot(copy.deepcopy(wide.generators), Domain(), unit) for _ in range(2)]
    expected = Translator(snapshots[0], device="cpu").tensors(given)
    found = Translator(snapshots[1], device=str(device)).tensors(given)
    assert float((found - expected).abs().max()) < 1e-4
    if device.type == "cuda":
        with torch.no_grad():
            rounded = snapshots[0].generators["a2b"].to(device)(Domain().encode(given.to(device))).cpu()
        assert float((rounded - expected).abs().max()) > 1e-4


def test_translating_leaves_the_settings_of_torch_alone(device):
    def settings():
        cudnn = torch.backends.cudnn
        return cudnn.allow_tf32, cudnn.benchmark, torch.backends.cuda.matmul.fp32_precision

    before = settings()
    for precision in ("fp32", "bf16"):
        translate = Translator(snapshot_of("resnet_1"), device=str(device), precision=precision)
        for _ in range(3):
            translate.tensors(images())
    assert settings() == before
