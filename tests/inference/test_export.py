"""What is exported computes what the network computes, at any size and for every generator, or is not written."""

import copy
import hashlib
import io
import itertools
import json
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from diptych.errors import ConfigError, MissingExtraError, SnapshotError, StorageError
from diptych.files import sha256_of
from diptych.inference import export as module
from diptych.inference.export import example, export
from diptych.inference.graph import FLOATS, INPUT, onnx_graph, with_floats
from diptych.inference.scripted import FACTS, torchscript
from diptych.inference.translator import Translator
from diptych.nets import (
    ActivatedUNet,
    BridgeChain,
    GlobalGenerator,
    LocalEnhancer,
    ResNet,
    UNet,
    VitModnet,
    generator,
    initialise,
)
from diptych.nets.bridge import BridgeSampler
from diptych.nets.colorizer import Colorizer
from diptych.nets.latent import LatentUNet
from diptych.nets.modes import applied
from diptych.nets.time_unet import TimeUNet
from diptych.pixels import TORCH_DTYPES, Domain
from diptych.snapshot import Snapshot

NETS = list(
    itertools.product(
        ("resnet_1", "unet_5", "encoder_decoder_3"),
        ("batch", "instance", "instance_affine", "none"),
        ("transposed", "resize", "pixelshuffle", "blur"),
    )
)
DOMAINS = {
    "RGB": (Domain(), Domain()),
    "16 bit to float": (Domain(1, "uint16", 10, 4000), Domain(2, "float32", -3, 5)),
    "float to 16 bit": (Domain(2, "float32", -3, 5), Domain(1, "uint16", 10, 4000)),
    "colours to numbers": (Domain(classes=((0, 0, 0), (255, 0, 9))), Domain(dtype="uint16", classes=((0,), (7,), (300,)))),
}
SIZES = [(2, 3), (31, 33), (64, 96), (65, 67)]  # less than the padding multiple, odd, and a multiple of 32


def net_of(name="resnet_1", norm="instance", upsample="transposed", a=None, b=None):
    torch.manual_seed(0)
    channels = (a or Domain()).channels, (b or Domain()).channels
    more = {"downsample": "blur"} if upsample == "blur" and name.startswith("resnet") else {}
    net = initialise(generator(name, *channels, width=4, norm=norm, upsample=upsample, **more), "normal", 0.1).eval()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return net


def saved(tmp_path, mode="eval", **how):
    path = tmp_path / "x.safetensors"
    Snapshot({"a2b": net_of(**how)}, how.get("a") or Domain(), how.get("b") or Domain(), mode=mode).save(path)
    return path


def load_program(data):
    """What users load, without torch's warning that TorchScript is no longer developed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(io.BytesIO(data), map_location="cpu")


def expected(net, a, b, pixels):
    with applied(net, "eval") as translate:
        floats = translate(a.encode(pixels))
        return floats.numpy(), b.decode(floats).numpy()


@pytest.mark.parametrize(("name", "norm", "upsample"), NETS)
def test_the_graph_is_the_network_at_any_size(name, norm, upsample):
    net = net_of(name, norm, upsample)
    model = onnx_graph(net, Domain(), Domain())
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(with_floats(model).SerializeToString())
    for size in SIZES:
        pixels = example(Domain(), 2, *size)
        floats, rounded = expected(net, Domain(), Domain(), pixels)
        out, before = session.run(None, {INPUT: pixels.numpy()})
        assert np.abs(before - floats).max() <= 1e-4
        assert out.dtype == np.uint8 and np.abs(out.astype(int) - rounded).max() <= 1


IMPORTED = {
    "replicated": lambda: ResNet(3, 3, width=4, num_blocks=1, padding="replicate", edge_padding="replicate"),
    "zeros": lambda: ResNet(
        3, 3, width=4, num_blocks=1, padding="zero", edge_padding="zero", upsample="resize", resize_padding="zero"
    ),
    "no biases": lambda: ResNet(3, 3, width=4, num_blocks=1, bias=False),
    "activated skips": lambda: ActivatedUNet(3, 3, width=4, num_downs=4),
    "activated skips, transposed head": lambda: ActivatedUNet(3, 3, width=4, num_downs=4, bias=True, resize_head=False),
}


@pytest.mark.parametrize("case", IMPORTED)
def test_the_graph_of_a_network_as_other_tools_have_it_is_the_network(case):
    torch.manual_seed(0)
    net = initialise(IMPORTED[case](), "normal", 0.1).eval()
    model = onnx_graph(net, Domain(), Domain())
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(with_floats(model).SerializeToString())
    for size in SIZES:
        pixels = example(Domain(), 1, *size)
        floats, _ = expected(net, Domain(), Domain(), pixels)
        assert np.abs(session.run(None, {INPUT: pixels.numpy()})[1] - floats).max() <= 1e-4


@pytest.mark.parametrize("domains", DOMAINS)
@pytest.mark.parametrize("to", ["onnx", "torchscript"])
def test_normalising_and_rounding_are_inside(domains, to):
    a, b = DOMAINS[domains]
    net, pixels = net_of(a=a, b=b), example(a, 2, 65, 67)
    if to == "onnx":
        out = onnxruntime.InferenceSession(onnx_graph(net, a, b).SerializeToString()).run(None, {INPUT: pixels.numpy()})[0]
    else:
        out = load_program(torchscript(net, a, b, {})[0])(pixels).numpy()
    _, rounded = expected(net, a, b, pixels)
    assert out.dtype == rounded.dtype and out.shape == rounded.shape
    assert np.abs(out.astype(float) - rounded).max() <= (1e-3 if b.dtype == "float32" else 1)


@pytest.mark.parametrize(("name", "norm", "upsample"), NETS[::5])
def test_the_program_is_the_network_at_any_size(name, norm, upsample):
    net = net_of(name, norm, upsample)
    program = load_program(torchscript(net, Domain(), Domain(), {})[0])
    for size in SIZES:
        pixels = example(Domain(), 2, *size)
        floats, rounded = expected(net, Domain(), Domain(), pixels)
        assert np.abs(program.floats(pixels).numpy() - floats).max() <= 1e-4
        assert np.abs(program(pixels).numpy().astype(int) - rounded).max() <= 1


def bound_to_a_device(graph):
    """Constants of a program that keep it on one device: named devices, and tensors that do not mix with another device's."""
    for node in graph.nodes():
        for output in node.outputs() if node.kind() == "prim::Constant" else ():
            kind = output.type().kind()
            if kind == "DeviceObjType" or (kind == "TensorType" and node.t("value").ndim > 0):
                yield str(node).strip()
        for block in node.blocks():
            yield from bound_to_a_device(block)


@pytest.mark.parametrize("name", ["resnet_1", "unet_5"])
def test_a_program_computes_on_the_device_that_it_is_moved_to(name):
    _, program = torchscript(net_of(name), Domain(), Domain(), {})
    for method in (program.forward, program.floats):
        assert list(bound_to_a_device(method.inlined_graph)) == []
    out = program.to("meta")(torch.zeros((2, 3, 33, 70), dtype=torch.uint8, device="meta"))
    assert out.device.type == "meta" and out.shape == (2, 3, 33, 70)


def test_the_program_of_a_wide_network_has_no_kernel_chosen_by_size():
    """nets.convolutions computes small maps of many weights another way, which a trace would fix for every size."""
    torch.manual_seed(0)
    net = initialise(generator("unet_5", 3, 3, width=32, norm="instance"), "normal", 0.1).eval()
    program = load_program(torchscript(net, Domain(), Domain(), {})[0])
    pixels = example(Domain(), 1, 300, 200)
    assert np.abs(program.floats(pixels).numpy() - expected(net, Domain(), Domain(), pixels)[0]).max() <= 1e-4


@pytest.mark.filterwarnings("ignore:`torch.jit.load`")
@pytest.mark.parametrize("to", ["onnx", "torchscript"])
def test_a_file_says_what_it_is_and_agrees_with_the_translator(to, tmp_path):
    path = saved(tmp_path)
    done = export(path, tmp_path / "net", to)
    data = (tmp_path / "net").read_bytes()
    assert done.sha256 == hashlib.sha256(data).hexdigest() and done.difference <= 1e-4 and not done.paper
    pixels = example(Domain(), 1, 65, 67)
    if to == "onnx":
        session = onnxruntime.InferenceSession(data)
        facts, out = session.get_modelmeta().custom_metadata_map, session.run(None, {INPUT: pixels.numpy()})[0]
        assert [entry.name for entry in session.get_outputs()] == ["translated_pixels"]
        assert export(path, tmp_path / "again", to).sha256 == done.sha256
    else:
        extra = {FACTS: ""}
        out = torch.jit.load(io.BytesIO(data), _extra_files=extra)(pixels).numpy()
        facts = json.loads(extra[FACTS])
    assert facts["direction"] == "a2b" and facts["source"] == facts["target"] == "3 x uint8" and facts["mode"] == "eval"
    assert facts["snapshot_sha256"] == sha256_of(path) and facts["diptych"]
    assert np.abs(out.astype(int) - Translator.load(path, device="cpu").tensors(pixels).numpy()).max() <= 1


def test_what_differs_from_the_network_is_not_written(tmp_path, monkeypatch):
    path, out = saved(tmp_path), tmp_path / "net.onnx"
    right = module._onnx

    def slightly_wrong(*args):
        data, run = right(*args)
        return data, lambda pixels: run(pixels) + 2e-4

    monkeypatch.setattr(module, "_onnx", slightly_wrong)
    with pytest.raises(SnapshotError, match=r"exported to onnx it differs by .* at 65 x 67 pixels, more than .*; nothing was"):
        export(path, out, "onnx")
    assert not out.exists()


@pytest.mark.parametrize(("error", "fits"), [(0.0, True), (1e-3, False)])
def test_a_network_that_amplifies_rounding_is_held_to_its_own_accuracy(error, fits, tmp_path, monkeypatch):
    torch.manual_seed(3)
    net = UNet(3, 3, width=4, num_downs=4).eval()
    for parameter in net.parameters():
        parameter.data *= 3
    floats = Domain(dtype="float32", low=-1.0, high=1.0)
    Snapshot({"a2b": net}, floats, floats).save(tmp_path / "s.safetensors")
    exact = copy.deepcopy(net).double().requires_grad_(False)
    monkeypatch.setattr(module, "_onnx", lambda *_: (b"", lambda x: exact(x.double()) + error))
    x = module.example(floats, 1, 65, 67)
    assert 1e-4 < (net(x).detach() - exact(x.double())).abs().max() < 5e-4  # beyond the tolerance, without any fault of an export
    if fits:
        assert export(tmp_path / "s.safetensors", tmp_path / "s.onnx", "onnx").difference > 1e-4
    else:
        with pytest.raises(SnapshotError, match=r"exported to onnx it differs by 0\.001"):
            export(tmp_path / "s.safetensors", tmp_path / "s.onnx", "onnx")


def test_a_place_that_cannot_be_written_is_named_and_left_as_it_was(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="cannot be written"):
        export(saved(tmp_path), tmp_path / "file" / "net.onnx", "onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "x.safetensors"]
    assert (tmp_path / "file").read_text() == "no folder"


def test_the_folder_of_an_export_is_made(tmp_path):
    export(saved(tmp_path), tmp_path / "new" / "net.onnx", "onnx")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["net.onnx"]


def test_paper_mode_is_said_where_it_matters(tmp_path):
    assert export(saved(tmp_path, "paper", name="unet_5", norm="batch"), tmp_path / "net", "torchscript").paper
    assert not export(saved(tmp_path, "paper"), tmp_path / "net", "torchscript").paper


def test_onnx_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"export to onnx: needs onnxruntime, .* pip install 'diptych\[onnx\]'"):
        export(saved(tmp_path), tmp_path / "net.onnx", "onnx")


def test_a_layer_without_an_onnx_form_is_named():
    net = net_of()
    net.stem.append(nn.Softplus())
    with pytest.raises(ConfigError, match=r"Softplus has no ONNX form here, known are Sequential, .* --backend torch"):
        onnx_graph(net, Domain(), Domain())


def test_examples_fill_the_range_of_their_domain():
    for a, b in DOMAINS.values():
        for domain in (a, b):
            pixels = example(domain, 1, 20, 20)
            assert pixels.dtype == TORCH_DTYPES[domain.dtype] and FLOATS
            assert domain.low <= pixels.double().min() < pixels.double().max() <= domain.high


@pytest.mark.parametrize("to", ["onnx", "torchscript"])
def test_a_network_of_label_maps_is_compared_on_maps_that_hold_all_classes(to, tmp_path):
    classes = tuple((number,) for number in range(5))
    labels = Domain(len(classes), classes=classes)
    assert set(example(labels, 1, 65, 67).flatten().tolist()) == set(range(5))
    colours = Domain(2, classes=((0, 0, 0), (255, 0, 9)))
    assert set(map(tuple, example(colours, 1, 20, 20)[0].flatten(1).T.tolist())) == set(colours.classes)
    torch.manual_seed(0)
    net = initialise(GlobalGenerator(5, 3, width=4, num_downs=4, num_blocks=1, norm="instance"), "normal", 0.02)
    Snapshot({"a2b": net}, labels, Domain()).save(tmp_path / "x.safetensors")
    assert export(tmp_path / "x.safetensors", tmp_path / f"x.{to}", to).difference <= 1e-4


DRAWING = {
    "bridge": lambda: BridgeSampler(kind="vp", steps=2, unet=TimeUNet(6, 3, width=8, num_levels=2, num_blocks=1).spec),
    "bicyclegan": lambda: LatentUNet(latent=3, in_channels=3, out_channels=3, width=4, num_downs=3),
    "unsb": lambda: BridgeChain(3, 3, width=4, num_blocks=1),
}


@pytest.mark.parametrize("method", DRAWING)
@pytest.mark.parametrize("to", ["onnx", "torchscript"])
def test_a_generator_that_draws_is_refused_in_one_line(method, to, tmp_path):
    Snapshot({"a2b": DRAWING[method]()}, Domain(), Domain()).save(tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match="its generator draws random numbers from a seed, and a file takes pixels alone"):
        export(tmp_path / "x.safetensors", tmp_path / "out", to)
    assert not (tmp_path / "out").exists()


def test_a_file_for_labels_names_the_value_of_each_class(tmp_path):
    a, b = DOMAINS["colours to numbers"]
    export(saved(tmp_path, a=a, b=b), tmp_path / "x.onnx", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    facts = session.get_modelmeta().custom_metadata_map
    assert (json.loads(facts["source_classes"]), json.loads(facts["classes"])) == ([[0, 0, 0], [255, 0, 9]], [[0], [7], [300]])
    colours = torch.tensor([[0, 0, 0], [200, 0, 0]], dtype=torch.uint8).T[None, :, None].expand(1, 3, 32, 2)  # the second is red
    (found,) = session.run(None, {"pixels": colours.numpy()})
    translated = Translator.load(saved(tmp_path, a=a, b=b), device="cpu")(colours)
    np.testing.assert_array_equal(found, translated.numpy())
    assert found.dtype == np.uint16 and set(np.unique(found)) <= {0, 7, 300}


PAPERS = {
    "vit_modnet": lambda: VitModnet(3, 3, width=4, num_downs=2, num_blocks=2, num_heads=2),
    "vit_modnet as released": lambda: VitModnet(3, 3, width=4, num_downs=2, num_blocks=1, num_heads=2, released=True),
    "colorizer": lambda: Colorizer(3, width=4, num_downs=3),
    "colorizer of gray images": lambda: Colorizer(1, width=4, num_downs=3),
    "pix2pixhd": lambda: GlobalGenerator(3, 3, width=4, num_downs=2, num_blocks=1),
    "pix2pixhd with enhancers": lambda: LocalEnhancer(3, 3, width=4, num_downs=1, num_blocks=1, num_enhancers=2),
}


@pytest.mark.parametrize("method", PAPERS)
@pytest.mark.parametrize("to", ["onnx", "torchscript"])
def test_networks_of_single_papers_are_exported_and_agree_at_any_size(method, to, tmp_path):
    torch.manual_seed(0)
    net = initialise(PAPERS[method](), "normal", 0.3)
    for name, parameter in net.named_parameters():
        if name.endswith((".scale", ".strength")):  # of residuals and styles, which begin at 0
            nn.init.constant_(parameter, 0.5)
    gray = Domain(1) if method.endswith("gray images") else Domain()
    Snapshot({"a2b": net}, gray, Domain()).save(tmp_path / "x.safetensors")
    assert export(tmp_path / "x.safetensors", tmp_path / "out", to).difference <= 1e-4
    data, pixels = (tmp_path / "out").read_bytes(), example(gray, 1, 33, 21)
    if to == "onnx":
        (found,) = onnxruntime.InferenceSession(data).run(None, {INPUT: pixels.numpy()})
    else:
        found = load_program(data)(pixels).numpy()
    rounded = expected(net.eval(), gray, Domain(), pixels)[1]
    assert np.abs(found.astype(int) - rounded).max() <= 1 and np.ptp(found) > 20


def test_all_grays_from_black_to_white_are_those_of_the_colorizer_in_its_graph():
    """At the ends of the range the curves of sRGB and Lab are straight, or clipped."""
    torch.manual_seed(0)
    net, gray = initialise(Colorizer(1, width=4, num_downs=3), "normal", 0.3).eval(), Domain(1)
    model, ramp = onnx_graph(net, gray, Domain()), torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    _, floats = onnxruntime.InferenceSession(with_floats(model).SerializeToString()).run(None, {INPUT: ramp.numpy()})
    assert np.abs(floats - expected(net, gray, Domain(), ramp)[0]).max() <= 1e-4
    assert floats.min() == -1.0 and floats.max() > 0.99
