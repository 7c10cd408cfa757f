"""Translation, scores, the doctor's looks and exported files on the device, against the CPU."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.data.datasets import DataConfig
from diptych.data.folders import find_data
from diptych.evaluation.evaluate import score_translators
from diptych.evaluation.instruments import Instruments
from diptych.inference.export import export
from diptych.inference.scripted import torchscript
from diptych.inference.translator import Translator
from diptych.nets import generator, initialise
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from diptych.training.health.doctor import measure
from tests.cli.pictures import PIX2PIX, diptych, folder
from tests.gpu.tiny import STILL, batch_of, pictures, recipe_of, trainee_of

pytestmark = pytest.mark.gpu
NETS = {"resnet_1": {"norm": "instance"}, "unet_6": {"norm": "batch"}}


def net_of(name, width=8):
    torch.manual_seed(0)
    net = initialise(generator(name, 3, 3, width=width, **NETS[name]), "normal", 0.1).eval()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return net


def snapshot_of(name, mode="eval", width=8):
    return Snapshot({"a2b": net_of(name, width)}, Domain(), Domain(), mode=mode)


def images(n=2, height=65, width=70):
    random = np.random.default_rng(0)
    return torch.from_numpy(random.integers(0, 256, (n, 3, height, width), np.uint8))


def levels_apart(one, other):
    """The mean and the greatest difference of two batches of uint8, in levels."""
    assert one.shape == other.shape and one.dtype == other.dtype == torch.uint8
    off = (one.cpu().int() - other.cpu().int()).abs().float()
    return float(off.mean()), int(off.max())


@pytest.mark.parametrize("name", NETS)
def test_the_device_translates_as_the_cpu_does(name, device):
    expected = Translator(snapshot_of(name), device="cpu").tensors(images())
    translate = Translator(snapshot_of(name), device=str(device))
    out = translate.tensors(images())
    assert out.device.type == "cpu" and translate.device == device
    mean, most = levels_apart(out, expected)
    assert most <= 1 and mean < 0.01
    assert levels_apart(translate.tensors(images().to(device)), out) == (0.0, 0)
    half = Translator(snapshot_of(name), device=str(device), precision="bf16").tensors(images())
    mean, most = levels_apart(half, expected)
    assert most > 0 and mean < 3


def test_paper_mode_draws_from_its_seed_and_leaves_the_random_state_alone(device):
    def translator(seed):
        return Translator(snapshot_of("unet_6", "paper"), device=str(device), seed=seed)

    one, again, other = translator(1), translator(1), translator(2)
    torch.manual_seed(4)
    before = torch.rand(3, device=device)
    torch.manual_seed(4)
    outputs = [translate.tensors(images(height=64, width=64)) for translate in (one, again, other)]
    assert torch.equal(torch.rand(3, device=device), before)
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])


def test_scores_are_the_same_on_the_device(device, tmp_path):
    pairs = pictures(tmp_path, 8)
    split = find_data([pairs], paired=True).train
    scores = []
    for where in ("cpu", str(device)):
        translate = Translator(snapshot_of("resnet_1"), device=where).tensors
        tools = Instruments(features="random-vgg", fetch=False, device=where)
        metrics = ["psnr", "ssim", "l1", "kid"]
        config = DataConfig(load_size=72, crop_size=72)
        found = score_translators(
            {"a2b": translate}, split, Domain(), Domain(), config, metrics=metrics, tools=tools, batch_size=4
        )
        scores.append({metric: found.value(metric) for metric in metrics})
    on_cpu, on_device = scores
    assert on_cpu["psnr"].value > 0 and set(on_cpu) == set(on_device)
    for metric, value in on_cpu.items():
        assert on_device[metric].n == value.n and on_device[metric].value == pytest.approx(value.value, rel=2e-3, abs=1e-4), (
            metric
        )


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan"])
def test_the_doctor_sees_the_same_and_leaves_everything_as_it_was(method, device):
    found = []
    for where in (torch.device("cpu"), device):
        trainee = trainee_of(method, where, norm="instance", **STILL)
        recipe = recipe_of(method, norm="instance", **STILL)
        sample, held_out = (batch_of(seed, where, 4) for seed in (1, 2))
        torch.manual_seed(3)
        looked = measure(trainee.method, recipe, sample, held_out)
        drawn = torch.rand(3, device=where)
        torch.manual_seed(3)
        assert torch.equal(drawn, torch.rand(3, device=where))
        found.append(looked)
    on_cpu, on_device = found
    assert on_cpu.keys() == on_device.keys() and len(on_cpu) > 10
    for name, value in on_cpu.items():
        assert on_device[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name


@pytest.mark.filterwarnings("ignore:`torch.jit.load`")
@pytest.mark.parametrize("moved", [True, False], ids=["moved", "loaded there"])
@pytest.mark.parametrize("name", NETS)
def test_a_torchscript_program_runs_on_the_device(name, moved, device):
    data, _ = torchscript(net_of(name), Domain(), Domain(), {})
    expected = Translator(snapshot_of(name), device="cpu").tensors(images())
    if moved:
        program = torch.jit.load(io.BytesIO(data), map_location="cpu").to(device)
    else:
        program = torch.jit.load(io.BytesIO(data), map_location=device)
    out = program(images().to(device))
    assert out.device.type == device.type
    mean, most = levels_apart(out, expected)
    assert most <= 1 and mean < 0.01


@pytest.mark.filterwarnings("ignore:`torch.jit.load`")
def test_exported_onnx_agrees_with_the_translator_on_the_device(device, tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    snapshot_of("resnet_1").save(tmp_path / "x.safetensors")
    done = export(tmp_path / "x.safetensors", tmp_path / "x.onnx", "onnx")
    session = onnxruntime.InferenceSession(done.path.read_bytes(), providers=["CPUExecutionProvider"])
    out = torch.from_numpy(session.run(None, {"pixels": images().numpy()})[0])
    mean, most = levels_apart(out, Translator.load(tmp_path / "x.safetensors", device=str(device)).tensors(images()))
    assert most <= 1 and mean < 0.01


def test_the_commands_take_a_device_by_its_number(device, tmp_path):
    def out_of(where):
        return tmp_path / f"out-{str(where).replace(':', '-')}"

    pairs = pictures(tmp_path / "pairs", 4)
    words = PIX2PIX[: PIX2PIX.index("--device")] + PIX2PIX[PIX2PIX.index("--device") + 2 :]
    assert diptych("train", "pix2pix", pairs, "--out", tmp_path / "run", *words, "--device", device) == 0
    snapshot = tmp_path / "run" / "snapshot.safetensors"
    lines = [json.loads(line) for line in (tmp_path / "run" / "stats.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 4 and all(np.isfinite(value) for value in lines[-1]["losses"].values())
    inputs = folder(tmp_path / "in", 3, seed=7, height=72, width=76)
    for where in (str(device), "cpu"):
        how = ["--backend", "torch", "--precision", "fp32", "--mode", "eval"]
        assert diptych("translate", snapshot, inputs, "--out", out_of(where), "--device", where, *how) == 0
    for name in ("0.png", "1.png", "2.png"):
        ours, theirs = (np.asarray(Image.open(out_of(where) / name)).astype(int) for where in (device, "cpu"))
        assert ours.shape == (72, 76, 3) and np.abs(ours - theirs).max() <= 1
