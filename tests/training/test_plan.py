"""What a training would need: the forecast's lines, the measured steps, the advice, and what follows when memory runs out."""

import logging
import math
import re
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch

from diptych.data.census import Census
from diptych.data.folders import Split
from diptych.errors import ConfigError, OutOfMemory, out_of_memory
from diptych.methods import METHODS, Batch
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.training.distributed import World
from diptych.training.execution.out_of_memory import explain_out_of_memory, step_within_memory
from diptych.training.planning import plan as planning
from diptych.training.planning.footprint import Bench, Footprint
from diptych.training.planning.forecast import Forecast
from diptych.training.planning.plan import MARGIN, Plan, measure_sizes, memory_savings
from diptych.training.preparation import build_method, check_start
from diptych.training.step import train_step
from diptych.training.trainee import Trainee
from tests.contract.small import small

CPU = torch.device("cpu")
TINY = {"generator": "unet_3", "ngf": 4, "ndf": 4, "num_layers": 2, "norm": "instance"}
RECIPE = Recipe.create("pix2pix", {"method": TINY, "data": {"crop_size": 32}, "train": {"batch_size": 4, "precision": "fp32"}})
MB = 10**6


def footprint(batch, crop, *, fixed=500 * MB, per_pixel=1000, pool_images=0, multiple=8):
    """Of a machine that needs ``per_pixel`` bytes and a microsecond for each pixel."""
    pixels, pools = batch * (math.ceil(crop / multiple) * multiple) ** 2, pool_images * 12 * crop**2
    peak = fixed + per_pixel * pixels + pools
    return Footprint(crop, batch, peak, max(peak, 900 * MB), fixed + pools, pools, 0.1 + 1e-6 * pixels, multiple, {"G_ab": 1})


class PretendBench:
    """Answers with footprints of a formula, and None above ``memory``."""

    def __init__(self, recipe, memory=math.inf, **formula):
        self.recipe, self.memory, self.formula, self.asked = recipe, memory, formula, []

    def measure(self, seconds, **changes):
        recipe = self.recipe.replace(**changes)
        self.asked.append((recipe.train.batch_size, recipe.data.crop_size))
        saved = recipe.train.accumulate * (2 if recipe.train.checkpoint else 1)
        per_pixel = self.formula.get("per_pixel", 1000) / saved
        found = footprint(*self.asked[-1], **(self.formula | {"per_pixel": per_pixel}))
        return found if found.peak <= self.memory else None


@pytest.fixture
def forecast():
    return Forecast((footprint(1, 256, pool_images=50), footprint(8, 256, pool_images=50)))


@pytest.mark.parametrize(("batch", "crop"), [(1, 256), (2, 256), (8, 256), (64, 256), (3, 512), (16, 128)])
def test_what_is_linear_in_images_and_area_is_forecast_exactly(forecast, batch, crop):
    truth = footprint(batch, crop, pool_images=50)
    assert forecast.peak(batch, crop) == pytest.approx(max(truth.peak, 900 * MB), rel=0.05)
    assert forecast.seconds(batch, crop) == pytest.approx(truth.seconds)


def test_above_what_saving_takes_the_forecast_is_that_of_steps(forecast):
    assert forecast.peak(64, 256) == footprint(64, 256, pool_images=50).peak


def test_a_crop_counts_as_networks_pad_it(forecast):
    assert forecast.seconds(1, 250) == forecast.seconds(1, 256) < forecast.seconds(1, 257)


def test_the_largest_sizes_are_the_last_that_fit(forecast):
    room = 5000 * MB
    batch, crop = forecast.largest_batch(256, room), forecast.largest_crop(4, room)
    assert forecast.peak(batch, 256) <= room < forecast.peak(batch + 1, 256)
    assert crop % 8 == 0 and forecast.peak(4, crop) <= room < forecast.peak(4, crop + 8)
    assert forecast.largest_batch(256, 100 * MB) == forecast.largest_crop(4, 100 * MB) == 0


def test_one_footprint_alone_is_told_apart_into_what_grows_and_what_does_not():
    alone = Forecast((footprint(1, 256),))
    truth = footprint(32, 256)
    assert truth.peak <= alone.peak(32, 256) <= 1.2 * truth.peak  # what saving took beyond the steps is never taken for less
    assert alone.seconds(2, 256) == 2 * alone.seconds(1, 256) > footprint(2, 256).seconds


def test_one_image_then_the_recipes_batch_then_more_are_measured():
    bench = PretendBench(RECIPE.replace(**{"train.batch_size": 8, "data.crop_size": 256}))
    measure_sizes(bench, 10**12, lambda: None)
    assert bench.asked == [(1, 256), (8, 256), (32, 256)]


def test_what_is_slow_or_may_not_fit_is_measured_in_parts():
    slow = PretendBench(RECIPE.replace(**{"train.batch_size": 512, "data.crop_size": 256}))
    measure_sizes(slow, 10**12, lambda: None)
    assert slow.asked == [(1, 256), (32, 256)]  # 512 >> 4: within ten seconds
    large = PretendBench(RECIPE.replace(**{"train.batch_size": 512, "data.crop_size": 64}))
    measure_sizes(large, 1500 * MB, lambda: None)
    assert large.asked == [(1, 64), (64, 64)]


def test_where_one_image_does_not_fit_smaller_ones_are_tried_until_none_is_left():
    bench = PretendBench(RECIPE.replace(**{"data.crop_size": 512, "data.load_size": 512}), memory=560 * MB)
    assert measure_sizes(bench, 560 * MB, lambda: None).footprints[0].crop == 181
    bench.memory = 1
    with pytest.raises(OutOfMemory, match=r"one image at crop 128 needs more than the 560 MB of memory available; end other"):
        measure_sizes(bench, 560 * MB, lambda: None)


def test_parts_of_a_batch_and_recomputed_activations_are_advised_where_they_fit():
    recipe = RECIPE.replace(**{"train.batch_size": 16, "data.crop_size": 256, "data.load_size": 286})
    bench, forecast = PretendBench(recipe), Forecast((footprint(1, 256), footprint(4, 256)))
    half = forecast.peak(16, 256) - 500 * MB
    assert memory_savings(bench, forecast, 500 * MB + half * 0.55, lambda: None) == [
        "--train.accumulate 4",
        "--train.checkpoint true",
    ]
    assert memory_savings(bench, forecast, 500 * MB + half * 0.31, lambda: None) == ["--train.accumulate 8"]
    assert memory_savings(bench, forecast, 500 * MB, lambda: None) == []


def planned(available, ways=()):
    recipe = RECIPE.replace(**{"train.batch_size": 8, "data.crop_size": 256, "train.epochs": 10, "train.decay_epochs": 0})
    forecast = Forecast((footprint(1, 256), footprint(8, 256)))
    return Plan(recipe, "cpu", "some", 1000, available, 0.01, forecast, 0, ways)


def test_the_words_of_a_plan_that_fits():
    text = "\n".join(planned(10**10).lines())
    assert "memory: needs 1.02 GB, 10.0 GB available; it fits" in text
    assert "time: about 14.7 minutes (1,250 steps: 10 epochs of 1,000 images)" in text  # 0.1 + 0.524 + 8 x 0.01 s a step


def test_a_plan_of_seconds_and_of_one_epoch_reads_well():
    once = {"train.epochs": 1, "train.decay_epochs": 0}
    plan = planned(10**10)
    short = replace(plan, recipe=plan.recipe.replace(**once), images=80)
    assert "time: about 7 seconds (10 steps: 1 epoch of 80 images)" in short.lines()[-1]  # a step takes 0.704 s, as above


def test_the_words_of_a_plan_that_does_not_fit_say_what_would():
    plan = planned(1100 * MB, ("--train.accumulate 2",))
    assert not plan.fits
    ways = f"--train.accumulate 2, or --train.batch_size {plan.largest_batch}, or --data.crop_size {plan.largest_crop}"
    assert f"it does not fit; try {ways}" in "\n".join(plan.lines())
    assert 0 < plan.largest_batch < 8 and 0 < plan.largest_crop < 256
    assert "try smaller networks" in "\n".join(planned(10 * MB).lines())


def test_a_margin_stays_free():
    assert planned(round(planned(1).peak / (1 - MARGIN)) + 1).fits and not planned(planned(1).peak).fits


def test_worker_processes_read_beside_the_steps():
    alone = planned(10**10)
    assert replace(alone, workers=4).seconds == pytest.approx(alone.seconds - 8 * 0.01)
    assert replace(alone, workers=4, reading=1.0).seconds == pytest.approx(8 / 4)  # reading is what takes longest


def test_real_steps_are_measured_in_processes_of_their_own():
    with Bench(RECIPE, (Domain(1, "uint16"), Domain()), CPU) as bench:
        one, four = bench.measure(0.0, **{"train.batch_size": 1}), bench.measure(0.0)
        large = bench.measure(0.0, **{"data.crop_size": 256, "train.batch_size": 8})
        again = bench.measure(0.0, **{"train.batch_size": 1})
        with pytest.raises(ConfigError, match="generator must be resnet_N"):
            bench.measure(0.0, **{"method.generator": "transformer"})
    assert (one.batch, four.batch, four.crop, four.multiple) == (1, 4, 32, 8) and four.parameters.keys() == {"G_ab", "D_b"}
    assert 100 * MB < one.fixed <= one.peak <= one.saving and one.seconds > 0
    assert large.peak > four.peak + 20 * MB
    assert again.peak == pytest.approx(one.peak, rel=0.05)  # nothing of the large one is left


def test_steps_of_every_method_are_measured():
    """UNSB keeps a flag among its tensors, which the measurement touches to take their memory."""
    with Bench(RECIPE, (Domain(), Domain()), CPU) as bench:
        for method in METHODS:
            train = {"batch_size": 1, "precision": "fp32"}
            bench.recipe = Recipe.create(method, {"method": small(method), "data": {"crop_size": 32}, "train": train})
            bench.task["domains"] = [asdict(Domain(1) if method == "colorization" else Domain()), asdict(Domain())]
            assert bench.measure(0.0).seconds > 0, method


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_a_size_beyond_a_limit_of_memory_is_none_and_the_bench_goes_on():
    code = """
import resource, sys, torch
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.training.planning.footprint import Bench
recipe = Recipe.create("pix2pix", {"method": %r, "data": {"crop_size": 64, "load_size": 4096}, "train": {"precision": "fp32"}})
torch.set_num_threads(1)
resource.setrlimit(resource.RLIMIT_AS, (3 << 30,) * 2)
with Bench(recipe, (Domain(), Domain()), torch.device("cpu")) as bench:
    found = [bench.measure(0.0, **{"data.crop_size": 4096, "train.batch_size": 8}), bench.measure(0.0)]
sys.stdout.write(f"{found[0]} {found[1].crop}")
"""
    done = subprocess.run([sys.executable, "-c", code % TINY], capture_output=True, text=True)
    assert done.stdout == "None 64", done.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"
        ),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("could not create a memory object"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=lambda error: str(error)[:30] or "MemoryError",
)
def test_running_out_of_memory_is_recognised_however_it_is_said(error):
    assert out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("out of memory"), KeyError("bad_alloc")], ids=str)
def test_other_errors_are_not_taken_for_it(error):
    assert not out_of_memory(error)


@pytest.fixture
def trainee():
    return Trainee(build_method(RECIPE, Census(Split((), (), True), Domain(), Domain()), World()), RECIPE, CPU, World())


def batch_of(size=4):
    torch.manual_seed(1)
    return Batch(torch.rand(size, 3, 32, 32) * 2 - 1, torch.rand(size, 3, 32, 32) * 2 - 1)


def fails_until(parts, trainee):
    """train_step, which needs too much memory as long as a batch goes in fewer parts; in its second phase."""

    def step(batch):
        if trainee.parts < parts:
            next(trainee.method.losses(batch))[1]["real"].backward()
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB free")
        train_step(trainee, batch)

    return step


def test_with_auto_the_same_batch_goes_on_in_more_parts(trainee, caplog):
    with caplog.at_level(logging.WARNING, "diptych"):
        step_within_memory(fails_until(4, trainee), batch_of(), trainee, auto=True)
    assert trainee.parts == 4 and trainee.stats.steps == 1
    assert [record.getMessage().split(";")[1] for record in caplog.records] == [
        " batches are now computed in 2 parts",
        " batches are now computed in 4 parts",
    ]


def test_nothing_of_the_attempt_that_failed_is_left(trainee):
    other = Trainee(build_method(RECIPE, Census(Split((), (), True), Domain(), Domain()), World()), RECIPE, CPU, World())
    other.parts = 2
    for each in (trainee, other):
        each.method.G_ab.eval()  # without dropout, whose chances would be others the second time
    train_step(other, batch_of())
    step_within_memory(fails_until(2, trainee), batch_of(), trainee, auto=True)
    assert trainee.parts == 2
    for one, two in zip(other.method.parameters(), trainee.method.parameters(), strict=True):
        assert torch.equal(one, two)
    assert trainee.stats.read(World()) == other.stats.read(World())


def test_without_auto_the_error_says_sizes_and_what_to_change(trainee):
    with pytest.raises(OutOfMemory) as caught:
        step_within_memory(fails_until(2, trainee), batch_of(), trainee)
    text = str(caught.value)
    assert text.startswith("image 0: out of memory at crop 32, batch 4, after a peak of ") and "\n" not in text
    assert "(CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB free); the state before it is kept" in text
    assert "try --auto-batch, or --train.checkpoint true, or a smaller --train.batch_size, or a smaller --data.crop_size" in text
    assert trainee.parts == 1 and caught.value.__context__ is None  # nothing holds the step's tensors
    assert all(p.grad is None for p in trainee.method.parameters())


def test_when_each_image_goes_alone_there_are_no_more_parts(trainee):
    with pytest.raises(OutOfMemory, match=r"batch 4 in 4 parts, after .*; try --train.checkpoint true, or a smaller"):
        step_within_memory(fails_until(8, trainee), batch_of(), trainee, auto=True)


def test_running_out_of_memory_beside_the_steps_is_one_line_too():
    text = r"at crop 32, batch 4, outside of the steps, after a peak of .* [GM]B \(DefaultCPUAllocator: can't .*\); states saved"
    with pytest.raises(OutOfMemory, match=text) as caught, explain_out_of_memory(RECIPE, CPU):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory")
    assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match="shape mismatch"), explain_out_of_memory(RECIPE, CPU):
        raise RuntimeError("shape mismatch")
    with pytest.raises(ConfigError, match="bad_alloc"), explain_out_of_memory(RECIPE, CPU):
        raise ConfigError("bad_alloc")  # ours already


def test_another_error_passes(trainee):
    def step(batch):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        step_within_memory(step, batch_of(), trainee, auto=True)


def test_a_plan_of_embedded_data_is_made_of_all_that(monkeypatch):
    monkeypatch.setattr(planning, "Bench", lambda recipe, domains, device: _Opened(PretendBench(recipe)))
    watched = []
    recipe = Recipe.create("pix2pix", {"data": {"source": ["relief"]}, "train": {"epochs": 1, "decay_epochs": 0}})
    found = planning.plan_training(recipe, CPU, lambda: watched.append(1))
    assert found.images == found.steps == 249 and 0 < found.reading < 10 and len(watched) == 3
    assert found.to_dict()["measured"][0]["batch"] == 1 and found.to_dict()["peak"] == found.peak


class _Opened:
    def __init__(self, bench):
        self.bench = bench

    def __enter__(self):
        return self.bench

    def __exit__(self, *exception):
        pass


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"freeze": ["G_ab.nowhere"]}, "start.freeze: no part of the networks is called 'G_ab.nowhere'"),
        ({"weights": "nowhere.safetensors"}, "start.weights nowhere.safetensors: cannot be read"),
    ],
)
def test_a_plan_refuses_a_start_that_the_training_would_refuse(start, message):
    census = Census(Split((), (), True), Domain(), Domain())
    recipe = Recipe.create("pix2pix", {"method": TINY, "data": {"crop_size": 32}, "start": start})
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_start(recipe, census)
    check_start(RECIPE, census)
