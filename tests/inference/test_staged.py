"""A translation by stages is the translation of the whole image, for every network, mode and size, and goes on after a stop."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from diptych.data.formats import read_pixels
from diptych.errors import ConfigError, StorageError
from diptych.inference import batch, large, staged, staging
from diptych.inference.dropout import PositionDropout
from diptych.inference.maps import FeatureMap, Moments
from diptych.inference.recording import record
from diptych.inference.staged import StagedRun
from diptych.inference.staging import Staging, windows
from diptych.inference.translator import Translator
from diptych.nets import generator, initialise
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

FLOATS = Domain(3, "float32", -1, 1)


def translator(name, mode="eval", how=None, domain=FLOATS, **options):
    torch.manual_seed(0)
    net = initialise(generator(name, domain.channels, domain.channels, width=8, **options), "normal", 0.1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics of a training, for mode eval
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
    return Translator(Snapshot({"a2b": net.eval()}, domain, domain, mode=mode), device="cpu", seed=5, **(how or {}))


def picture(height, width, channels=3):
    return np.random.default_rng(1).uniform(-1, 1, (height, width, channels)).astype(np.float32)


@pytest.fixture
def small_windows(monkeypatch):
    """Windows of at most 12 x 12, and no full-size maps on the disk, so that small images go the way of the largest."""
    monkeypatch.setattr(staging, "SIDES", (12,))
    monkeypatch.setattr(staged, "FULL_SIZE_SCRATCH", 0)
    monkeypatch.setattr(large, "IN_MEMORY", 0)


NETWORKS = {
    "resnet, instance": ("resnet_2", "eval", {}),
    "resnet, affine instance": ("resnet_1", "eval", {"norm": "instance_affine"}),
    "resnet, batch": ("resnet_2", "eval", {"norm": "batch", "upsample": "resize"}),
    "resnet, batch as paper": ("resnet_2", "paper", {"norm": "batch", "dropout": True}),
    "resnet, replicated": ("resnet_2", "eval", {"padding": "replicate", "edge_padding": "zero"}),
    "resnet, zeros": ("resnet_2", "eval", {"padding": "zero", "upsample": "resize", "resize_padding": "zero"}),
    "resnet, no norm": ("resnet_1", "eval", {"norm": "none", "upsample": "pixelshuffle"}),
    "resnet, anti-aliased": ("resnet_1", "eval", {"downsample": "blur", "upsample": "blur"}),
    "unet, instance": ("unet_4", "eval", {"norm": "instance", "upsample": "pixelshuffle"}),
    "unet, batch": ("unet_5", "eval", {"norm": "batch"}),
    "unet, batch as paper": ("unet_6", "paper", {"norm": "batch", "dropout": True}),
    "no skips": ("encoder_decoder_4", "eval", {"norm": "instance", "upsample": "resize"}),
}


@pytest.mark.parametrize("size", [(32, 32), (33, 45), (7, 5)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_stages_give_what_the_whole_image_gives(name, size, small_windows):
    net, mode, options = NETWORKS[name]
    translate, image = translator(net, mode, {"dropout": "position"}, **options), picture(*size)
    whole = translate(image)
    assert whole.std() > 0.01 or name == "no skips"  # whose innermost map has one pixel, which its norm makes 0
    assert np.abs(translate.by_stages(image) - whole).max() < 2e-5


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 40)], ids=str)
def test_images_of_a_few_pixels_come_out_the_same(size, small_windows):
    translate, image = translator("unet_5", norm="batch"), picture(*size)
    assert np.abs(translate.by_stages(image) - translate(image)).max() < 1e-5


def test_other_domains_and_bf16_go_through_windows_too(small_windows):
    deep = translator("resnet_1", domain=Domain(2, "uint16", 10, 4000))
    image = np.random.default_rng(2).integers(10, 4000, (50, 39, 2), dtype=np.uint16)
    assert np.abs(deep.by_stages(image).astype(int) - deep(image)).max() <= 1
    fast = translator("resnet_1", how={"precision": "bf16"})
    assert np.abs(fast.by_stages(picture(50, 39)) - fast(picture(50, 39))).mean() < 0.01


def test_tiles_do_not_give_that(small_windows):
    translate, image = translator("resnet_2"), picture(64, 64)
    image[:32] *= 0.1  # the halves have other statistics than the whole
    tiles = np.concatenate([translate(image[:32]), translate(image[32:])])
    assert np.abs(tiles - translate(image)).max() > 0.1


def test_nearly_flat_maps_far_from_zero_keep_their_statistics():
    values = 1000 + 0.01 * torch.randn(1, 3, 40, 50, dtype=torch.float64)
    moments = Moments(3)
    for window in windows((40, 50), 16):
        (top, bottom), (left, right) = window
        moments.add(values[..., top:bottom, left:right])
    variance, mean = torch.var_mean(values, (0, 2, 3), correction=0)
    assert torch.allclose(moments.mean, mean, rtol=1e-14) and torch.allclose(moments.variance, variance, rtol=1e-9)
    assert torch.equal(Moments.restored(moments.state()).variance, moments.variance)


def test_dropout_by_position_is_the_same_in_windows_and_drops_its_share():
    layer, x = PositionDropout(0.3, seed=9, layer=2), torch.ones(2, 16, 60, 50)
    whole = layer(x)
    assert torch.equal(layer.at(x[..., 20:40, 13:50], 20, 13), whole[..., 20:40, 13:50])
    assert torch.equal(whole[0], whole[1])
    kept = (whole > 0).float()
    assert abs(kept.mean() - 0.7) < 0.01 and torch.allclose(whole[whole > 0], torch.tensor(1 / 0.7))
    shares = [kept.mean((0, 2, 3)), kept.mean((0, 1, 3)), kept.mean((0, 1, 2))]
    assert all((share - 0.7).abs().max() < 0.07 for share in shares)
    shifted = [kept[..., 1:] * kept[..., :-1], kept[..., 1:, :] * kept[..., :-1, :], kept[:, 1:] * kept[:, :-1]]
    assert all(abs(both.mean() - 0.49) < 0.02 for both in shifted)  # neighbours are independent
    for other in (PositionDropout(0.3, 10, 2), PositionDropout(0.3, 9 + 2**40, 2), PositionDropout(0.3, 9, 3)):
        assert 0.5 < ((other(x) > 0) == (whole > 0)).float().mean() < 0.66  # 0.58 of independent choices agree


def test_dropout_that_is_drawn_for_the_whole_image_is_refused():
    translate = translator("unet_6", "paper", norm="batch", dropout=True)
    with pytest.raises(ConfigError, match="drawn for whole images, not for windows; add --dropout position, or --mode eval"):
        translate.by_stages(picture(20, 20))


def test_a_layer_without_a_form_for_windows_is_refused_and_named():
    net = generator("resnet_1", 3, 3, width=4)
    net.stem.append(nn.MaxPool2d(2))
    with pytest.raises(ConfigError, match=r"the layer MaxPool2d.* has no form for windows; translate images whole"):
        record(net, 3, 32, 32)

    class Doubled(nn.Module):
        def forward(self, x):
            return x * 2

    with pytest.raises(ConfigError, match="has no form for windows"):
        record(nn.Sequential(Doubled()), 3, 8, 8)


def test_what_is_recorded_has_the_shapes_that_the_network_makes():
    net, shapes = generator("unet_4", 3, 3, width=4, norm="instance", upsample="resize").eval(), []
    for module in net.modules():
        if not any(True for _ in module.children()):
            module.register_forward_hook(lambda module, inputs, out: shapes.append(out.shape))
    net(torch.zeros(1, 3, 37, 50))
    made = list(shapes)
    recorded = [node.shape for node in record(net, 3, 37, 50)]
    assert all(shape in recorded for shape in made) and recorded[-1] == (1, 3, 37, 50)
    assert len(recorded) == len(made) + 1 + 1 + 3 + 3  # the image, padding, three skips; float32, tanh and crop


def test_full_size_maps_are_computed_again_and_not_kept():
    nodes = record(generator("resnet_3", 3, 3, width=4), 3, 64, 64)
    plan = Staging(nodes)
    assert all(nodes[place].size != (64, 64) for place in plan.kept)
    assert len(plan.kept) == 2 + 3 * 3 + 1  # two strided convolutions, two convolutions and a sum for each block, one transposed
    assert sum(stage.measured and not stage.kept for stage in plan.stages) == 2  # the first layer and the last but one
    quarter = 16 * 16 * 16 * 4
    assert plan.scratch == 3 * quarter  # x, f(x) and their sum


def test_full_size_maps_are_kept_too_where_the_disk_given_has_room_for_them():
    nodes = record(generator("resnet_3", 3, 3, width=4), 3, 64, 64)
    most = (64 * 64 * 4 + 32 * 32 * 8) * 4  # bytes: the first layer and what is made of it, and the same at the end
    plan = Staging(nodes, disk=most)
    assert sum(nodes[place].size == (64, 64) for place in plan.kept) == 2 and plan.scratch == most
    assert Staging(nodes, disk=most - 1).kept == Staging(nodes).kept


def test_windows_cover_a_map_once():
    seen = np.zeros((37, 50), int)
    for (top, bottom), (left, right) in windows((37, 50), 12):
        seen[top:bottom, left:right] += 1
        assert bottom - top <= 12 and right - left <= 12
    assert (seen == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_map_in_a_file_gives_back_what_a_map_in_memory_does(dtype, tmp_path):
    shape, values = torch.Size((1, 5, 21, 30)), torch.randn(1, 5, 21, 30).to(dtype)
    for feature_map in (FeatureMap(shape, dtype), FeatureMap(shape, dtype, tmp_path / "map")):
        for (top, bottom), (left, right) in windows((21, 30), 8):
            feature_map.write(((top, bottom), (left, right)), values[..., top:bottom, left:right])
        assert torch.equal(feature_map.read(((3, 20), (7, 29))), values[..., 3:20, 7:29])
        assert torch.equal(feature_map.read(((0, 21), (0, 30))), values)
        feature_map.drop()
    assert not (tmp_path / "map").exists()


def stopped(translate, image, scratch, at):
    """Translate until a share of the work is done, and return the shares seen."""
    shares = []

    def watch(share):
        shares.append(share)
        if share > at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate.by_stages(image, scratch=scratch, watch=watch)
    return shares


@pytest.mark.parametrize("at", [0.05, 0.7, 0.97])
def test_an_interrupted_image_goes_on_to_the_same_bits(at, small_windows, monkeypatch, tmp_path):
    monkeypatch.setattr(staged, "SAVE_EVERY", 0.0)
    image, scratch = picture(37, 30), tmp_path / "scratch"
    expected = translator("resnet_2").by_stages(image)
    before = stopped(translator("resnet_2"), image, scratch, at)
    after = []
    out = translator("resnet_2").by_stages(image, scratch=scratch, watch=after.append)
    assert np.array_equal(out, expected) and not scratch.exists()
    whole = []
    translator("resnet_2").by_stages(image, watch=whole.append)
    again = len(before) + len(after) - len(whole)
    assert again <= (1 if at < 0.9 else 12)  # the window after the last save, or all of the last stage
    assert after == sorted(after) and after[-1] == pytest.approx(1)


@pytest.mark.parametrize("full", [0, 10**9])
def test_an_image_goes_on_from_a_state_that_is_some_stages_old(full, small_windows, monkeypatch, tmp_path):
    monkeypatch.setattr(staged, "FULL_SIZE_SCRATCH", full)
    image, scratch, asked = picture(37, 30), tmp_path / "scratch", itertools.count(1)
    expected = translator("resnet_2").by_stages(image)
    monkeypatch.setattr(staged.StagedRun, "_is_time", lambda self: next(asked) == 20)  # saved once, in the middle
    before = stopped(translator("resnet_2"), image, scratch, 0.8)
    after = []
    out = translator("resnet_2").by_stages(image, scratch=scratch, watch=after.append)
    assert np.array_equal(out, expected) and not scratch.exists()
    assert 0.05 < after[0] < 0.75 < before[-1]


@pytest.mark.parametrize("change", ["image", "weights", "file", "state"])
def test_what_belongs_to_something_else_or_is_damaged_is_not_taken_up(change, small_windows, monkeypatch, tmp_path):
    monkeypatch.setattr(staged, "SAVE_EVERY", 0.0)
    translate, image, scratch = translator("resnet_2"), picture(37, 30), tmp_path / "scratch"
    stopped(translate, image, scratch, 0.5)
    if change == "image":
        image[36, 29, 2] += 0.5
    elif change == "weights":
        translate.net.head[1].bias.data += 0.1
    elif change == "file":
        for path in scratch.glob("map-*.bin"):
            path.unlink()
    else:
        (scratch / "state.safetensors").write_bytes(b"damaged")
    seen = []
    out = translate.by_stages(image, scratch=scratch, watch=seen.append)
    assert seen[0] < 0.1 and np.abs(out - translate(image)).max() < 2e-5


def test_too_little_disk_and_too_little_memory_are_said_before_anything_is_computed(monkeypatch, tmp_path):
    image = picture(64, 64)
    usage = staged.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(staged.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(StorageError, match=r"scratch: feature maps need 269 MB of disk, found 1\.00 kB free; free some space"):
        translator("resnet_2").by_stages(image, scratch=tmp_path / "scratch")
    assert not (tmp_path / "scratch").exists()
    with pytest.raises(
        ConfigError, match=r"need .*B of memory besides the .*B that .* itself holds; give --memory \d+MB or more"
    ):
        translator("resnet_2", how={"memory": 1000}).by_stages(image)


def test_a_translator_takes_the_whole_image_where_it_fits_and_stages_where_not(monkeypatch, small_windows):
    chosen = []
    by_stages = Translator.by_stages
    monkeypatch.setattr(Translator, "by_stages", lambda self, image, **how: chosen.append(image.shape) or by_stages(self, image))
    image = picture(96, 80)
    expected = translator("resnet_1")(image)
    large, small = (translator("resnet_1", how={"memory": 10**12}), translator("resnet_1", how={"memory": 10**12}))
    assert np.array_equal(large(image), expected) and not chosen
    monkeypatch.setattr(small, "_whole_bytes", lambda height, width: 10**12)
    assert np.abs(small(image) - expected).max() < 2e-5 and chosen == [(96, 80, 3)]
    assert translator("resnet_1")._whole_bytes(960, 800) > 50 * translator("resnet_1")._whole_bytes(96, 80) - 100 * 10**8


def test_a_result_that_could_not_be_written_is_made_again_by_the_last_stage_alone(small_windows, monkeypatch, tmp_path):
    translate = translator("resnet_1", how={"memory": 10**12}, domain=Domain())
    monkeypatch.setattr(translate, "fits", lambda *size: False)
    monkeypatch.setattr(staged, "SAVE_EVERY", 0.0)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(tmp_path / "x.png")
    (job,), write = batch.plan([tmp_path / "x.png"], tmp_path / "out", translate), batch.write_as

    def full(path, pixels, domain, metadata):
        raise StorageError("the disk is full")

    monkeypatch.setattr(batch, "write_as", full)
    with pytest.raises(StorageError, match="the disk is full"):
        batch.translate_files([job], translate)
    assert batch.scratch_folder(job.target).is_dir()
    monkeypatch.setattr(batch, "write_as", write)
    shares = []
    (outcome,) = batch.translate_files([job], translate, watch_stages=lambda job, share: shares.append(share))
    assert outcome.by_stages and outcome.problem is None and shares[0] > 0.5 and len(shares) <= 12
    expected = translator("resnet_1", domain=Domain())(read_pixels(job.source))
    assert np.abs(read_pixels(job.target).astype(int) - expected).max() <= 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.png"]


def test_images_mapped_from_files_go_through(small_windows, tmp_path):
    translate, image = translator("resnet_1"), picture(40, 50)
    np.save(tmp_path / "in.npy", image)
    source = np.load(tmp_path / "in.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.float32, (40, 50, 3))
    translate.by_stages(source, out, scratch=tmp_path / "scratch")
    out.flush()
    assert np.abs(np.load(tmp_path / "out.npy") - translate(image)).max() < 2e-5


def test_maps_that_lie_in_memory_take_their_part_from_the_windows(monkeypatch):
    """Half of what is left is for windows; maps and windows together take no more than that and half of the maps."""
    made, image, given, left = translator("resnet_1", how={"memory": 10**12}), picture(64, 64), [], 10**8

    def run(self, out, scratch, watch):
        given.append((scratch, self.memory, self.staging.scratch))

    monkeypatch.setattr(made, "left", lambda: left)
    monkeypatch.setattr(StagedRun, "__call__", run)
    made.by_stages(image)
    ((scratch, memory, maps),) = given
    assert scratch is None and 0 < maps < left // 2 and memory == left // 2 - maps // 2
