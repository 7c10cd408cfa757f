"""Judges: one protocol for callables, ONNX files and transformers models, each against its own library, and target rate."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diptych.errors import ConfigError, DataError, MissingExtraError, WeightsError
from diptych.metrics.estimate import Estimate
from diptych.metrics.judges import Judge, load_classifier, load_segmenter, target_rate

NAMES = ("road", "sky", "tabby, tabby cat")


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 3, 24, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def darkness(images):
    """A classifier: class 0 is dark, 1 is bright."""
    mean = images.float().mean(dim=(1, 2, 3))
    return torch.stack([128.0 - mean, mean - 128.0], dim=1)


def coarse_colours(images):
    """A segmenter: logits of the strongest channel, on a grid of 8 pixels."""
    return F.avg_pool2d(images.float(), 8)


class Named:
    """A judge that says who it is."""

    name, sha256, classes = "mine", "ab" * 32, NAMES

    def __call__(self, images):
        return np.zeros(len(images), np.int32)


MODULE = """
def dark(images):
    return images.float().mean((1, 2, 3)).lt(128).long()

class Made:
    name = "made"
    def __call__(self, images):
        return dark(images)

number = 3
"""


# The protocol


def test_a_classifier_answers_with_numbers_or_with_classes(images):
    images[1] = 250
    judge = load_classifier(darkness)
    assert judge(images).tolist() == darkness(images).argmax(1).tolist()
    assert load_classifier(lambda images: darkness(images).argmax(1).to(torch.uint8))(images).tolist() == judge(images).tolist()
    assert judge(images).dtype == torch.int64 and not judge(images).is_inference()


def test_a_judge_keeps_nothing_for_gradients(images):
    seen = []
    load_classifier(lambda images: seen.append(torch.is_grad_enabled()) or darkness(images))(images)
    assert seen == [False]


def test_a_segmenters_numbers_are_resized_before_the_greatest_counts(images):
    expected = F.interpolate(coarse_colours(images), size=(24, 40), mode="bilinear", align_corners=False).argmax(1)
    judge = load_segmenter(coarse_colours)
    assert torch.equal(judge(images), expected)
    assert torch.equal(load_segmenter(lambda images: expected.numpy())(images), expected)
    assert not torch.equal(expected, F.interpolate(coarse_colours(images).argmax(1)[None].float(), size=(24, 40))[0].long())


def test_a_judge_says_who_it_is():
    judge = load_classifier(Named())
    assert (judge.name, judge.sha256, judge.classes, judge.num_classes) == ("mine", "ab" * 32, NAMES, 3)
    judge = load_classifier(darkness)
    assert (judge.name, judge.sha256, judge.classes, judge.num_classes) == ("darkness", "unknown", (), None)


@pytest.mark.parametrize(
    ("load", "answer", "found", "expected"),
    [
        (load_classifier, torch.zeros(3, 2, 4, 4), r"float32 \(3, 2, 4, 4\)", r"float \(3, classes\) or int \(3,\); is it a cl"),
        (load_classifier, torch.zeros(2, 5), r"float32 \(2, 5\)", "float"),
        (load_classifier, torch.zeros(3, 1), r"float32 \(3, 1\)", "float"),
        (load_classifier, torch.zeros(3), r"float32 \(3,\)", "float"),
        (load_classifier, torch.zeros(3) > 0, r"bool \(3,\)", "float"),
        (load_segmenter, torch.zeros(3, 5), r"float32 \(3, 5\)", r"float \(3, classes, h, w\) or int \(3, 24, 40\); is it a seg"),
        (load_segmenter, torch.zeros(3, 24, 41).long(), r"int64 \(3, 24, 41\)", "float"),
        (load_segmenter, torch.zeros(3, 24, 40), r"float32 \(3, 24, 40\)", "float"),
    ],
)
def test_an_answer_of_another_shape_is_an_error(images, load, answer, found, expected):
    with pytest.raises(DataError, match=rf"answers with {found}, expected {expected}"):
        load(lambda images: answer)(images)


def test_numbers_that_are_not_finite_are_an_error(images):
    def broken(images):
        return torch.full((len(images), 2), math.nan)

    with pytest.raises(DataError, match=r"broken: answers with numbers that are not finite; check its weights"):
        load_classifier(broken)(images)


# Specs


def test_a_callable_is_found_by_module_and_name(images, tmp_path, monkeypatch):
    source = tmp_path / "judges_of_mine.py"
    source.write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    judge = load_classifier("python:judges_of_mine:dark")
    assert judge(images).tolist() == darkness(images).argmin(1).tolist()
    assert judge.name == "judges_of_mine:dark"
    assert judge.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    made = load_classifier("python:judges_of_mine:Made")
    assert made.name == "made" and made(images).tolist() == judge(images).tolist()
    with pytest.raises(ConfigError, match=r"^python:judges_of_mine:number: is a int, expected a callable"):
        load_classifier("python:judges_of_mine:number")


@pytest.mark.parametrize("spec", ["python:nowhere:f", "python:json:nothing", "python:json"])
def test_a_callable_that_is_not_there_is_an_error(spec):
    with pytest.raises(ConfigError, match=rf"^{spec}: .*; give it as python:module:callable, importable from here$"):
        load_segmenter(spec)


@pytest.mark.parametrize("spec", ["", "model.pth", "transformers:", "python:", "keras:x"])
def test_another_spec_is_an_error(spec):
    with pytest.raises(
        ConfigError, match=rf"^'{spec}' names no segmenter; expected PATH\.onnx, transformers:FOLDER_OR_NAME or py"
    ):
        load_segmenter(spec)


@pytest.mark.parametrize(
    ("spec", "package", "name"), [("x.onnx", "onnxruntime", "onnx"), ("transformers:x", "transformers", "transformers")]
)
def test_a_missing_extra_says_what_to_install(spec, package, name, monkeypatch):
    def refuse(module, *rest):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(
        MissingExtraError, match=rf"^{spec}: needs {package}, which is not installed; pip install 'diptych\[{name}\]'"
    ):
        load_classifier(spec)


def test_heavy_libraries_are_imported_only_when_used():
    code = "import sys, diptych.metrics.judges; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"transformers", "onnx", "onnxruntime", "onnxscript"} & set(loaded)


# Classes by name


@pytest.mark.parametrize("wanted", [2, "2", "tabby, tabby cat", "Tabby", " tabby_cat "])
def test_a_class_is_chosen_by_number_or_name(wanted):
    assert load_classifier(Named()).index(wanted) == 2


def test_an_exact_name_goes_before_a_like_one():
    judge = Judge("j", "unknown", ("Sky", "sky", "sky, blue"), 3, lambda images: images)
    assert judge.index("sky") == 1
    with pytest.raises(ConfigError, match=r"^j has 2 classes called 'SKY'; give one of the numbers \[0, 1\]$"):
        judge.index("SKY")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("taby", r"^mine has no class 'taby'; did you mean tabby, tabby cat \(2\)\?$"),
        ("raod", r"^mine has no class 'raod'; did you mean road \(0\)\?$"),
        ("zzzz", r"^mine has no class 'zzzz'; known: road \(0\), sky \(1\), tabby, tabby cat \(2\)$"),
        ("3", r"^mine has no class 3; its classes are 0 to 2$"),
        (-1, r"^mine has no class -1; its classes are 0 to 2$"),
    ],
)
def test_a_class_that_is_not_there_is_an_error(wanted, message):
    with pytest.raises(ConfigError, match=message):
        load_classifier(Named()).index(wanted)


def test_a_judge_without_names_takes_numbers_only():
    judge = load_classifier(darkness)
    assert judge.index("17") == 17
    with pytest.raises(ConfigError, match=r"^darkness does not name its classes, found 'dark'; give the number of the class$"):
        judge.index("dark")
    with pytest.raises(ConfigError, match=r"^darkness has no class -1; its classes are from 0 on$"):
        judge.index(-1)


# ONNX


class Tiny(nn.Module):
    """One convolution: (n, 3, h, w) to (n, k, h / 4, w / 4), or to (n, k)."""

    def __init__(self, pooled):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.pooled = nn.Conv2d(3, 3, 4, stride=4), pooled

    def forward(self, x):
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        return self.conv(x).mean(dim=(2, 3)) if self.pooled else self.conv(x)


@pytest.fixture
def export(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs the onnx extra")
    pytest.importorskip("onnxscript", reason="needs the onnx extra")
    pytest.importorskip("onnxruntime", reason="needs the onnx extra")

    def write(net, example, dynamic=(0, 2, 3), **metadata):
        path = tmp_path / "tiny.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own
            dims = {axis: f"4*h{axis}" if axis > 1 else "n" for axis in dynamic}
            shapes = ({axis: 4 * torch.export.Dim(f"h{axis}") if axis > 1 else torch.export.Dim("n") for axis in dims},)
            torch.onnx.export(
                net.eval(), (example,), path, dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False
            )
        model = onnx.load(path)
        onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
        onnx.save(model, path)
        return path

    return write


def example(dtype=torch.float32, batch=2, height=16, width=20):
    return torch.zeros(batch, 3, height, width, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_an_onnx_segmenter_sees_what_its_network_sees(images, export, dtype):
    path, net = export(Tiny(pooled=False), example(dtype)), Tiny(pooled=False)
    judge = load_segmenter(str(path))
    logits = net(images.float() / 255)
    expected = F.interpolate(logits, size=(24, 40), mode="bilinear", align_corners=False).argmax(1)
    assert (judge(images) == expected).double().mean() > 0.999
    assert judge.num_classes == 3 and judge.name == "tiny.onnx" and judge.classes == ()
    assert judge.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_mean_std_size_and_classes_stand_in_the_files_metadata(images, export):
    path = export(Tiny(pooled=False), example(), mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4], size=[16, 20], classes=NAMES)
    judge = load_segmenter(str(path))
    seen = F.interpolate(images, size=(16, 20), mode="bilinear", antialias=True).float() / 255
    pixels = (seen - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
    expected = F.interpolate(Tiny(pooled=False)(pixels), size=(24, 40), mode="bilinear", align_corners=False).argmax(1)
    assert (judge(images) == expected).double().mean() > 0.999
    assert judge.classes == NAMES and judge.index("sky") == 1


def test_a_network_of_fixed_size_and_batch_gets_them(images, export):
    judge = load_classifier(str(export(Tiny(pooled=True), example(batch=2, height=8, width=12), dynamic=())))
    seen = F.interpolate(images, size=(8, 12), mode="bilinear", antialias=True).float() / 255
    assert judge(images).tolist() == Tiny(pooled=True)(seen).argmax(1).tolist()  # three images in batches of two


def test_external_data_count_in_the_hash(export):
    path = export(Tiny(pooled=True), example())
    beside = path.with_name("tiny.onnx.data")
    beside.write_bytes(b"weights")
    lines = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in (path, beside))
    assert load_classifier(str(path)).sha256 == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"mean": [1, 2]}, r"its metadata say mean=\[1, 2\]; expected a JSON list of three numbers$"),
        ({"std": [1, 0, 1]}, r"std=\[1, 0, 1\]; expected a JSON list of three numbers, none of them 0"),
        ({"size": [0, 4]}, r"size=\[0, 4\]; expected a number of pixels or \[h, w\]"),
        ({"classes": "a b"}, r'classes="a b"; expected a JSON list of names'),
    ],
)
def test_metadata_that_make_no_sense_are_an_error(export, metadata, message):
    path = export(Tiny(pooled=True), example(), **metadata)
    with pytest.raises(WeightsError, match=message):
        load_classifier(str(path))


def test_onnx_files_that_cannot_judge_are_errors(images, export, tmp_path):
    with pytest.raises(WeightsError, match=r"none\.onnx: no such file; give the path of an \.onnx file"):
        load_classifier(str(tmp_path / "none.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"hello")
    with pytest.raises(
        WeightsError, match=r"bad\.onnx: is no ONNX network that can be run \(.*Protobuf parsing failed\); export it"
    ):
        load_classifier(str(tmp_path / "bad.onnx"))
    with pytest.raises(WeightsError, match=r"its metadata give mean or std, but it takes uint8; a uint8 network scales inside"):
        load_classifier(str(export(Tiny(pooled=True), example(torch.uint8), mean=[0, 0, 0])))
    net = nn.Sequential(nn.Conv2d(1, 2, 4), nn.Flatten())
    with pytest.raises(
        WeightsError, match=r"takes input tensor\(float\) \[2, 1, 4, 4\]; expected one input \(n, 3, h, w\) of uint8"
    ):
        load_classifier(str(export(net, torch.zeros(2, 1, 4, 4), dynamic=())))
    judge = load_segmenter(str(export(Tiny(pooled=False), example())))
    with pytest.raises(
        DataError, match=r"^tiny\.onnx: cannot look at images of 2 x 2 \(.*\); write the size it takes into its meta"
    ):
        judge(images[:, :, :2, :2])


# transformers


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    pytest.importorskip("transformers", reason="needs the transformers extra")
    from transformers import SegformerConfig, SegformerForImageClassification, SegformerForSemanticSegmentation
    from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

    config = SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[3, 3],
        strides=[2, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate(NAMES)),
        label2id={name: index for index, name in enumerate(NAMES)},
    )
    found = {}
    for task, kind in (("segmenter", SegformerForSemanticSegmentation), ("classifier", SegformerForImageClassification)):
        torch.manual_seed(0)
        found[task] = tmp_path_factory.mktemp(task)
        kind(config).save_pretrained(found[task])
        SegformerImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(found[task])
    return found


def logits_of(folder, kind, images):
    """What the library itself says of images that were prepared without its processor."""
    import transformers

    pixels = F.interpolate(images, size=(32, 32), mode="bilinear", antialias=True).float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    net = getattr(transformers, kind).from_pretrained(folder, local_files_only=True).eval()
    with torch.no_grad():
        return net((pixels - mean[:, None, None]) / std[:, None, None]).logits


def test_a_transformers_segmenter_sees_what_its_model_sees(images, folders, capfd):
    judge = load_segmenter(f"transformers:{folders['segmenter']}")
    assert capfd.readouterr() == ("", "")
    logits = logits_of(folders["segmenter"], "SegformerForSemanticSegmentation", images)
    expected = F.interpolate(logits, size=(24, 40), mode="bilinear", align_corners=False).argmax(1)
    assert (judge(images) == expected).double().mean() > 0.98  # Pillow and torch round resized pixels differently
    assert judge.classes == NAMES and judge.num_classes == 3 and judge.name == str(folders["segmenter"])
    weights = folders["segmenter"] / "model.safetensors"
    assert judge.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_a_transformers_classifier_sees_what_its_model_sees(images, folders):
    judge = load_classifier(f"transformers:{folders['classifier']}")
    expected = logits_of(folders["classifier"], "SegformerForImageClassification", images)
    assert judge(images).tolist() == expected.argmax(1).tolist()
    assert judge.index("tabby") == 2


def test_a_segmenter_sees_the_whole_picture_where_its_processor_would_crop(images, folders, tmp_path):
    for file in folders["segmenter"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    cropping = {"image_processor_type": "BeitImageProcessorPil", "do_center_crop": True, "crop_size": {"height": 8, "width": 8}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings | cropping))
    whole = load_segmenter(f"transformers:{folders['segmenter']}")(images)
    assert torch.equal(load_segmenter(f"transformers:{tmp_path}")(images), whole)


def test_weights_without_the_head_of_the_task_are_an_error(folders):
    with pytest.raises(
        WeightsError, match=r"has no trained weights for classifier\.bias, .*; give a model that was trained as a cl"
    ):
        load_classifier(f"transformers:{folders['segmenter']}")


@pytest.mark.parametrize("missing", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_a_folder_without_one_of_its_files_is_an_error(folders, tmp_path, missing):
    for file in folders["segmenter"].iterdir():
        if file.name != missing:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(WeightsError) as error:
        load_segmenter(f"transformers:{tmp_path}")
    assert str(error.value).startswith(f"transformers:{tmp_path}: is no segmenter that can be loaded (")
    assert "; give a folder with config.json, preprocessor_config.json and model.safetensors, or" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_damaged_file_and_a_missing_folder_are_errors(folders, tmp_path):
    for file in folders["segmenter"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"hello")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(WeightsError, match="is no segmenter that can be loaded"):
            load_segmenter(f"transformers:{folder}")


def test_a_name_is_looked_up_in_the_librarys_cache(images, folders, tmp_path, monkeypatch):
    """The Hub's answers are laid out in its cache as it would do, and nothing is fetched."""
    from huggingface_hub import constants

    home = tmp_path / "models--someone--tiny"
    snapshot = home / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True), (home / "refs").mkdir()
    (home / "refs" / "main").write_text("c" * 40)
    for file in folders["classifier"].iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    judge, local = load_classifier("transformers:someone/tiny"), load_classifier(f"transformers:{folders['classifier']}")
    assert judge.name == "someone/tiny" and judge.sha256 == local.sha256
    assert judge(images).tolist() == local(images).tolist()


# Target rate


def test_target_rate_is_the_share_with_wilsons_interval():
    found = target_rate(np.array([985] * 9 + [3]), 985)
    assert found == Estimate(
        0.9, pytest.approx(0.5958, abs=1e-4), pytest.approx(0.9821, abs=1e-4), 10
    )  # R: prop.test(9, 10, correct = FALSE)
    assert target_rate(torch.tensor([1, 1, 0, 0]), 1).value == 0.5


def test_the_interval_solves_wilsons_equation():
    found, z = target_rate((np.arange(70) < 58).astype(int), 1), 1.959963984540054
    for bound in (found.low, found.high):
        assert abs(found.value - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / 70))


@pytest.mark.parametrize("n", [1, 5, 1000])
def test_certainty_is_never_claimed(n):
    none, every = target_rate(np.zeros(n, int), 1), target_rate(np.ones(n, int), 1)
    assert (none.value, none.low, every.value, every.high) == (0.0, 0.0, 1.0, 1.0)
    assert none.high > 0 and every.low < 1 and none.high == pytest.approx(1 - every.low)


def test_a_rate_of_no_images_is_an_error():
    with pytest.raises(DataError, match="no images to take a rate of; give at least one"):
        target_rate(np.zeros(0, int), 1)
