"""A translator gives back what it was given: the same kind of image, the same size, in the target's channels and pixel type."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.data.formats import read_pixels
from diptych.errors import ConfigError, DataError
from diptych.inference.translator import Translator
from diptych.nets import generator, initialise
from diptych.pixels import Domain
from diptych.snapshot import Snapshot


def translator(a=None, b=None, name="resnet_1", size=0, options=None, **how):
    a, b = a or Domain(), b or Domain()
    torch.manual_seed(0)
    net = initialise(generator(name, a.channels, b.channels, width=4, **(options or {})), "normal", 0.2)
    return Translator(Snapshot({"a2b": net.eval()}, a, b, size), device="cpu", **how)


def pixels(height=33, width=45, channels=3, dtype="uint8"):
    random = np.random.default_rng(3)
    top = {"uint8": 256, "uint16": 65536, "float32": 1}[dtype]
    return (random.random((height, width, channels)) * top).astype(dtype)


DOMAINS = {
    "RGB": (Domain(), Domain()),
    "gray to RGB": (Domain(1), Domain(3)),
    "RGB to 16-bit gray": (Domain(3), Domain(1, "uint16", 100, 4000)),
    "5 bands of float32": (Domain(5, "float32", -2, 3), Domain(5, "float32", 0, 9)),
    "16-bit gray": (Domain(1, "uint16"), Domain(1, "uint16")),
}


@pytest.mark.parametrize("name", DOMAINS)
def test_arrays_and_tensors_come_back_in_the_targets_kind(name):
    a, b = DOMAINS[name]
    translate = translator(a, b)
    given = pixels(33, 45, a.channels, a.dtype)
    out = translate(given)
    assert isinstance(out, np.ndarray) and out.shape == (33, 45, b.channels) and out.dtype == b.dtype
    assert out.min() >= b.low and out.max() <= b.high and out.std() > 0

    tensor = torch.from_numpy(given).permute(2, 0, 1)
    one, several = translate(tensor), translate(torch.stack([tensor, tensor.flip(1)]))
    assert one.shape == (b.channels, 33, 45) and several.shape == (2, b.channels, 33, 45)
    assert np.array_equal(one.permute(1, 2, 0).numpy(), out)
    assert torch.allclose(several[0].double(), one.double(), rtol=1e-3, atol=1)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (32, 32), (31, 64), (100, 40)])
@pytest.mark.parametrize("name", ["resnet_1", "unet_5"])
def test_any_size_comes_back_at_its_size(name, size):
    if name == "unet_5":
        translate = translator(name=name, options={"norm": "instance"})
    else:
        translate = translator(name=name)
    assert translate(pixels(*size)).shape == (*size, 3)


def test_pil_images_come_back_as_pil_images():
    out = translator()(Image.fromarray(pixels()))
    assert isinstance(out, Image.Image) and out.mode == "RGB" and out.size == (45, 33)
    assert np.array_equal(np.asarray(out), translator()(pixels()))


def test_a_flat_array_stays_flat():
    gray = pixels(channels=1)[..., 0]
    out = translator(Domain(1), Domain(1))(gray)
    assert out.shape == gray.shape
    assert np.array_equal(out, translator(Domain(1), Domain(1))(gray[..., None])[..., 0])
    assert translator(Domain(1), Domain(3))(gray).shape == (33, 45, 3)


def odd_pictures():
    base = Image.fromarray(pixels(20, 24))
    random = np.random.default_rng(1)
    alpha = Image.fromarray(random.integers(0, 256, (20, 24)).astype(np.uint8))
    with_alpha = base.copy()
    with_alpha.putalpha(alpha)
    yield "RGBA", with_alpha, "png"
    yield "LA", Image.merge("LA", (base.convert("L"), alpha)), "png"
    yield "P", base.convert("P"), "png"
    yield "1", base.convert("1"), "png"
    yield "CMYK", base.convert("CMYK"), "tiff"
    yield "L", base.convert("L"), "png"


@pytest.mark.parametrize(("mode", "image", "suffix"), list(odd_pictures()))
def test_pil_images_of_any_mode_enter_as_their_files_do(mode, image, suffix, tmp_path):
    image.save(tmp_path / f"x.{suffix}")
    translate = translator()
    assert image.mode == mode
    assert np.array_equal(np.asarray(translate(image)), translate.pixels(read_pixels(tmp_path / f"x.{suffix}")))


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_deep_pil_images_enter_whole(mode):
    deep = Image.fromarray(pixels(dtype="uint16", channels=1)[..., 0])
    translate = translator(Domain(1, "uint16"), Domain(1))
    given = deep if mode == "I;16" else Image.fromarray(np.asarray(deep).astype(np.int32))
    assert given.mode == mode
    assert np.array_equal(np.asarray(translate(given)), translate.pixels(np.asarray(deep)[..., None])[..., 0])


def test_results_may_be_changed_in_place():
    out = translator()(torch.from_numpy(pixels()).permute(2, 0, 1))
    out.add_(1)
    assert not out.is_inference()


def test_bf16_is_near_fp32():
    exact, fast = (translator(precision=precision)(pixels()).astype(int) for precision in ("fp32", "bf16"))
    assert 0 < np.abs(exact - fast).mean() < 3


def test_paper_mode_is_fixed_by_its_seed_and_eval_mode_draws_nothing():
    def translated(mode, seed):
        how = {"name": "unet_6", "options": {"norm": "batch", "dropout": True}}  # unet_5 has no level with dropout
        return translator(**how, mode=mode, seed=seed)(pixels(64, 64))

    assert np.array_equal(translated("paper", 1), translated("paper", 1))
    assert not np.array_equal(translated("paper", 1), translated("paper", 2))
    assert np.array_equal(translated("eval", 1), translated("eval", 2))


def test_translating_changes_neither_the_network_nor_the_random_state():
    translate = translator(name="unet_6", options={"norm": "batch", "dropout": True}, mode="paper")
    before = {key: value.clone() for key, value in translate.net.state_dict().items()}
    state = torch.get_rng_state()
    first = translate(pixels(32, 32))
    assert all(torch.equal(value, before[key]) for key, value in translate.net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(translate(pixels(32, 32)), first)


def test_at_trained_works_at_that_size_and_comes_back():
    translate = translator(size=32)
    given = pixels(64, 96)
    assert translate.pixels(given, at="trained").shape == given.shape
    assert not np.array_equal(translate.pixels(given, at="trained"), translate.pixels(given))
    small = pixels(32, 48)
    assert np.array_equal(translate.pixels(small, at="trained"), translate.pixels(small))
    unknown = translator(size=0)
    assert np.array_equal(unknown.pixels(given, at="trained"), unknown.pixels(given))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (pixels(channels=4), DataError, "is 4 x uint8, but the model takes images of 3 x uint8"),
        (pixels(dtype="float32"), DataError, "is 3 x float32, but the model takes images of 3 x uint8"),
        (torch.zeros(3, 8, 8), ConfigError, "takes images of 3 x uint8, found 3 x float32; convert them first"),
        (torch.zeros(1, 8, 8, dtype=torch.uint8), ConfigError, "takes images of 3 x uint8, found 1 x uint8"),
        (
            torch.zeros(8, 8, dtype=torch.uint8),
            ConfigError,
            r"\(c, h, w\) or \(n, c, h, w\) tensors, .* found the shape \(8, 8\)",
        ),
        (np.zeros((1, 2, 3, 4), np.uint8), DataError, "is 4 x uint8, but the model takes images of 3 x uint8"),
        (np.zeros((1, 1, 2, 3, 4), np.uint8), ConfigError, r"or \(n, h, w, c\) arrays, .* found the shape \(1, 1, 2, 3, 4\)"),
        ("photo.jpg", ConfigError, "takes PIL images, .* found str"),
    ],
)
def test_what_is_no_image_of_the_source_domain_is_refused(image, error, message):
    with pytest.raises(error, match=message):
        translator()(image)


def test_a_pil_image_that_pil_cannot_hold_afterwards_is_refused():
    with pytest.raises(DataError, match="PIL cannot hold 5 x float32 pixels; pass a NumPy array instead"):
        translator(Domain(), Domain(5, "float32"))(Image.fromarray(pixels()))


def test_an_unknown_device_and_direction_are_refused():
    with pytest.raises(ConfigError, match="device must be auto, cpu, cuda, cuda:N or mps, found 'abacus'"):
        Translator(Snapshot({"a2b": generator("resnet_1", 3, 3, width=4)}, Domain(), Domain()), device="abacus")
    with pytest.raises(ConfigError, match="this snapshot translates a2b, not b2a"):
        Translator(Snapshot({"a2b": generator("resnet_1", 3, 3, width=4)}, Domain(), Domain()), "b2a")


@pytest.mark.parametrize("mode", ["eval", "paper"])
def test_threads_may_share_a_translator(mode):
    translate = translator(name="unet_6", options={"norm": "batch", "dropout": True}, mode=mode, seed=2)
    given = [pixels(64, 64), pixels(32, 40), pixels(64, 96)]
    expected = [translate(image) for image in given]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(translate, given * 8))
    assert all(np.array_equal(*pair) for pair in zip(found, expected * 8, strict=True))


def test_compiling_is_of_the_translators_own_modules(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **how: compiled.append((module, how)))
    plain, other = translator(), translator(compiled=True)
    assert compiled == [(other._run.net, {"dynamic": False})] and other.net is not other._run.net
    assert np.array_equal(plain(pixels()), other(pixels()))


def test_lists_and_batches_give_what_single_images_give():
    translate = translator()
    first, second = pixels(), pixels()[::-1].copy()
    expected = [translate(first), translate(second)]
    batch = translate(np.stack([first, second]))
    assert batch.shape == (2, 33, 45, 3) and np.abs(batch.astype(int) - np.stack(expected)).max() <= 1
    mixed = translate([first, Image.fromarray(second), torch.from_numpy(first).permute(2, 0, 1)])
    assert [type(image) for image in mixed] == [np.ndarray, Image.Image, torch.Tensor]
    assert np.array_equal(mixed[0], expected[0]) and np.array_equal(np.asarray(mixed[1]), expected[1])
    assert np.array_equal(mixed[2].permute(1, 2, 0).numpy(), expected[0]) and translate([]) == []


@pytest.mark.parametrize("empty", [np.zeros((0, 5, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8), torch.zeros(3, 5, 0)])
def test_images_without_pixels_are_refused(empty):
    with pytest.raises(DataError, match=r"the shape \([\d, ]+\) holds no pixels; pass images of at least 1 x 1 pixel"):
        translator()(empty)


def test_a_sheet_shows_inputs_beside_their_translations_in_notebooks_and_files(tmp_path):
    translate = translator()
    given = [pixels(), pixels()[::-1].copy()]
    sheet = translate.sheet([given[0], Image.fromarray(given[1])])
    sheet.save(tmp_path / "sheet.png")
    assert sheet._repr_png_() == (tmp_path / "sheet.png").read_bytes()
    shown = read_pixels(tmp_path / "sheet.png")
    columns = [shown[18:51, 4:49], shown[18:51, 53:98]]  # below the titles, with gaps of 4
    assert np.array_equal(columns[0], given[0]) and np.array_equal(columns[1], translate(given[0]))
    with pytest.raises(DataError, match="a sheet needs at least one image"):
        translate.sheet([])
