"""Every backend gives what torch gives in fp32, and the choice between them is made of measured differences."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.errors import ConfigError, MissingExtraError
from diptych.inference import choice as module
from diptych.inference import translator
from diptych.inference.backends import installed, openvino_run
from diptych.inference.batch import plan
from diptych.inference.choice import BATCH_VALUES, ChosenTranslator, candidates, choose_translator, difference
from diptych.inference.export import example
from diptych.inference.translator import Translator
from diptych.nets import generator, initialise
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

needs_openvino = pytest.mark.skipif(not installed("openvino"), reason="openvino is an optional package")
GRAPHS = ["onnx", pytest.param("openvino", marks=needs_openvino)]
NUMBERS = Domain(dtype="uint16", classes=((0,), (7,), (300,), (65535,)))
COLOURS = Domain(classes=((0, 0, 0), (255, 0, 0), (250, 10, 90)))
DOMAINS = [(Domain(), Domain()), (Domain(1, "uint16", 10, 4000), Domain(2, "float32", -3, 5))]
DOMAINS += [(NUMBERS, Domain()), (Domain(), COLOURS), (COLOURS, NUMBERS)]


def snapshot(name="resnet_1", a=None, b=None, mode="eval", **options):
    a, b = a or Domain(), b or Domain()
    torch.manual_seed(0)
    net = initialise(generator(name, a.channels, b.channels, width=8, **options), "normal", 0.1)
    return Snapshot({"a2b": net.eval()}, a, b, mode=mode)


def maker(made=None, **how):
    made = made or snapshot(**how)
    return lambda backend, precision: Translator(made, device="cpu", backend=backend, precision=precision)


@pytest.mark.parametrize("backend", GRAPHS)
@pytest.mark.parametrize(("a", "b"), DOMAINS)
def test_a_backend_gives_what_torch_gives(backend, a, b):
    make = maker(a=a, b=b)
    exact, fast = make("torch", "fp32"), make(backend, "fp32")
    for size in [(5, 7), (64, 64), (65, 67)]:
        pixels = example(a, 2, *size)
        expected, found = exact.tensors(pixels), fast.tensors(pixels)
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert difference(found, expected, b) < 0.01


@pytest.mark.parametrize("backend", GRAPHS)
def test_results_of_one_call_outlive_the_next_and_may_be_changed(backend):
    translate = maker()(backend, "fp32")
    first = translate.tensors(example(Domain(), 1, 32, 32))
    kept = first.clone()
    translate.tensors(example(Domain(), 1, 32, 32).flip(3))
    assert torch.equal(first, kept)
    first.add_(1)


@pytest.mark.parametrize("backend", GRAPHS)
def test_threads_may_share_a_backend(backend):
    translate = maker()(backend, "fp32")
    given = [example(Domain(), 1, 32, side) for side in (32, 48, 64)] * 8
    expected = [translate.tensors(image) for image in given[:3]] * 8
    with ThreadPoolExecutor(4) as pool:
        assert all(map(torch.equal, pool.map(translate.tensors, given), expected))


@pytest.mark.parametrize("way", [("torch", "bf16"), pytest.param(("openvino", "bf16"), marks=needs_openvino)])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_bf16_is_near_fp32_whatever_the_batch(way, norm):
    make = maker(norm=norm)
    pixels = example(Domain(), 3, 64, 64)
    exact, fast = make("torch", "fp32").tensors(pixels), make(*way)
    together, apart = fast.tensors(pixels), torch.cat([fast.tensors(image[None]) for image in pixels])
    assert difference(together, exact, Domain()) < 2 and difference(apart, exact, Domain()) < 2


def test_bf16_leaves_the_network_of_the_snapshot_as_it_is():
    made = snapshot()
    before = [weight.clone() for weight in made.generators["a2b"].parameters()]
    maker(made)("torch", "bf16").tensors(example(Domain(), 1, 32, 32))
    assert all(map(torch.equal, before, made.generators["a2b"].parameters()))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"backend": "onnx", "precision": "bf16"}, "backend onnx computes in fp32, found precision bf16; choose --backend torch"),
        ({"backend": "onnx", "mode": "paper"}, "backend onnx has no mode paper .* choose --backend torch or --mode eval"),
        ({"backend": "openvino", "mode": "paper"}, "backend openvino has no mode paper"),
    ],
)
def test_what_a_backend_cannot_do_is_refused(how, message):
    with pytest.raises(ConfigError, match=message):
        Translator(snapshot("unet_5", norm="batch"), **how)


def test_a_graph_on_another_device_than_the_cpu_is_refused(monkeypatch):
    monkeypatch.setattr(translator, "pick_device", torch.device)  # which refuses meta itself, the only other device everywhere
    with pytest.raises(ConfigError, match="backend onnx computes on the cpu, found device 'meta'; choose --backend torch"):
        Translator(snapshot("unet_5", norm="batch"), backend="onnx", device="meta")


@pytest.mark.parametrize(("backend", "package"), [("onnx", "onnxruntime"), ("onnx", "onnx"), ("openvino", "openvino")])
def test_a_missing_package_says_what_to_install(backend, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"backend {backend}: needs {package}, .* pip install 'diptych\[{backend}\]'"):
        maker()(backend, "fp32")


@needs_openvino
def test_openvino_is_imported_without_what_reports_to_its_makers():
    openvino_run(generator("resnet_1", 3, 3, width=4).eval(), Domain(), Domain(), "fp32")
    assert "openvino" in sys.modules and sys.modules["openvino_telemetry"] is None
    assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]


@pytest.fixture
def jobs(tmp_path):
    (tmp_path / "in").mkdir()
    for i, image in enumerate(example(Domain(), 6, 32, 40)):
        Image.fromarray(np.asarray(image.permute(1, 2, 0))).save(tmp_path / "in" / f"{i}.png")
    (tmp_path / "in" / "00 broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return plan([tmp_path / "in"], tmp_path / "out", maker()("torch", "fp32"))


@pytest.fixture
def eager(monkeypatch):
    """Probe even the smallest job, on hardware that computes in bf16 and has every backend."""
    monkeypatch.setattr(module, "SMALL_JOB", 1)
    monkeypatch.setattr(module, "SHORT_JOB", 0.0)
    monkeypatch.setattr(module, "pick_precision", lambda wanted, device: "bf16")
    monkeypatch.setattr(module, "installed", lambda backend: backend != "openvino")


def test_a_small_job_takes_torch_in_fp32_without_a_probe(jobs):
    chosen = choose_translator(maker(), jobs)
    assert str(chosen) == "torch fp32, batch 1" and chosen.error is None


def test_the_fastest_within_the_stated_error_is_taken(jobs, eager):
    chosen = choose_translator(maker(), jobs, max_error=3.0)
    assert (chosen.translator.backend, chosen.translator.precision) == ("torch", "bf16") and 0 < chosen.error < 3
    said = f"torch bf16, batch {chosen.batch}; mean difference to torch fp32 {chosen.error:.2f}/255 on the first 2 images"
    assert str(chosen) == said


def test_fp32_is_taken_where_bf16_differs_more(jobs, eager):
    chosen = choose_translator(maker(), jobs, max_error=0.001)
    assert chosen.translator.precision == "fp32" and chosen.error <= 0.001


def test_the_fastest_one_is_the_one_with_the_least_time(jobs, eager, monkeypatch):
    times = {("onnx", 1): 3.0, ("onnx", 4): 1.0, ("torch", 1): 2.0, ("torch", 4): 4.0}

    def timed(translator, images, batch):
        return translator.tensors(torch.stack(list(images))), times[translator.backend, batch] * len(images)

    monkeypatch.setattr(module, "_timed", timed)
    chosen = choose_translator(maker(), jobs, precision="fp32")
    assert (chosen.translator.backend, chosen.batch) == ("onnx", 4)
    times["torch", 1] = 0.5
    chosen = choose_translator(maker(), jobs, precision="fp32")
    assert (chosen.translator.backend, chosen.batch) == ("torch", 1)


def test_what_is_told_is_taken(jobs, eager):
    make = maker()
    told = choose_translator(make, jobs, backend="torch", precision="bf16", batch=3, max_error=0.0)
    assert str(told) == "torch bf16, batch 3"
    assert choose_translator(make, jobs, backend="onnx").translator.backend == "onnx"
    assert choose_translator(make, jobs, batch=2, max_error=9.0).batch == 2


def inverting(make, *wrong):
    """A maker of whose translators some give 255 - x in place of x, at once."""

    def made(backend, precision):
        translator = make(backend, precision)
        if (backend, precision) in wrong:
            run = translator._run
            translator._run = lambda pixels: 255 - run(pixels)
        return translator

    return made


def test_a_backend_that_computes_something_else_is_never_taken(jobs, eager, monkeypatch):
    monkeypatch.setattr(module, "_timed", lambda translator, images, batch: (translator.tensors(torch.stack(images)), 1.0))
    chosen = choose_translator(inverting(maker(), ("onnx", "fp32"), ("torch", "bf16")), jobs)
    assert (chosen.translator.backend, chosen.translator.precision, chosen.error) == ("torch", "fp32", 0.0)


def test_where_nothing_told_is_exact_enough_the_most_exact_is_taken_and_that_is_said(jobs, eager):
    chosen = choose_translator(inverting(maker(), ("onnx", "fp32")), jobs, backend="onnx", max_error=0.5)
    assert chosen.translator.backend == "onnx" and chosen.error > 10
    assert str(chosen).endswith(f"{chosen.error:.2f}/255 on the first 2 images, above --max-error 0.5")


@pytest.mark.parametrize("wrong", [float("nan"), -1.0])
def test_an_error_that_cannot_be_met_is_refused(jobs, wrong):
    with pytest.raises(ConfigError, match=r"--max-error must be at least 0, found (nan|-1); the default is 1"):
        choose_translator(maker(), jobs, max_error=wrong)


def test_values_in_a_batch_are_bounded_unless_the_batch_is_told(jobs, eager):
    assert choose_translator(maker(), jobs).batch_values == BATCH_VALUES
    assert choose_translator(maker(), jobs, batch=2).batch_values is None


def test_a_way_without_enough_memory_is_not_taken(jobs, eager, monkeypatch):
    """Nor is a batch: here only torch in fp32 can hold an image, and nothing can hold four."""

    def made(backend, precision):
        translator = maker()(backend, precision)
        run, most = translator._run, 1 if (backend, precision) == ("torch", "fp32") else 0

        def limited(pixels):
            if len(pixels) > most:
                raise RuntimeError("CUDA out of memory")
            return run(pixels)

        translator._run = limited
        return translator

    chosen = choose_translator(made, jobs)
    assert str(chosen) == "torch fp32, batch 1"  # no difference is said of what the others are compared with


def test_batches_are_tried_as_far_as_there_are_images_and_as_they_are_small(jobs, eager, monkeypatch):
    tried = []

    def timed(translator, images, batch):
        tried.append(batch)
        return translator.tensors(torch.stack(list(images))), 1.0

    monkeypatch.setattr(module, "_timed", timed)
    for sizes, values, expected in (((1, 4, 16), 2**22, {1, 4}), ((1, 4), 3 * 3 * 32 * 40, {1})):
        monkeypatch.setattr(module, "BATCHES", {"cpu": sizes})
        monkeypatch.setattr(module, "BATCH_VALUES", values)
        tried.clear()
        choose_translator(maker(), jobs, precision="fp32")
        assert set(tried) == expected


def test_paper_mode_stays_on_torch_one_image_at_a_time(jobs, eager):
    make = maker(snapshot("unet_5", norm="batch", mode="paper"))
    tiers = candidates(make("torch", "fp32"), "auto", "auto")
    assert tiers == [[("torch", "bf16")], [("torch", "fp32")]]
    assert choose_translator(make, jobs).batch == 1


def test_without_bf16_hardware_and_packages_there_is_only_torch_in_fp32(monkeypatch):
    monkeypatch.setattr(module, "pick_precision", lambda wanted, device: "fp32")
    monkeypatch.setattr(module, "installed", lambda backend: False)
    assert candidates(maker()("torch", "fp32"), "auto", "auto") == [[("torch", "fp32")]]


def test_differences_are_in_255ths_of_the_range():
    a = torch.tensor([[[[0.0, 1.0]]]])
    assert difference(a, a + 0.5, Domain(1, "float32", 0, 5)) == pytest.approx(25.5)
    assert difference(a, a, Domain(1, "float32", 0, 5)) == 0


def test_a_choice_without_a_probe_states_no_difference():
    reference = ChosenTranslator(maker()("torch", "fp32"), error=0.0, judged=2)
    chosen = ChosenTranslator(maker()("torch", "bf16"))
    assert "difference" not in str(chosen) + str(reference)
    assert str(replace(chosen, error=0.25, judged=1)).endswith("; mean difference to torch fp32 0.25/255 on 1 image")
