"""An evaluation that several processes share gives the report of one process, to the bit, or says what is wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from diptych.data.datasets import DataConfig
from diptych.data.folders import Ref, Split
from diptych.data.formats import write_pixels
from diptych.errors import ConfigError, DataError
from diptych.evaluation import shards as module
from diptych.evaluation.evaluate import carry_out, subjects_of
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.plan import plan_evaluation
from diptych.evaluation.results import METRICS
from diptych.evaluation.seen import SeenBefore
from diptych.evaluation.shards import measure_shard, merge_shards, pieces_of
from diptych.evaluation.subject import Subject
from diptych.metrics.judges import Judge
from diptych.metrics.probe import SIDES
from diptych.metrics.style import StyleDistance
from diptych.palette import Palette
from tests.evaluation.images import CONFIG, RGB, Features, negative, noise, pairs, sets

COLOURS = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)
SIZE = 32  # pixels, enough for every metric but MS-SSIM


class Net(nn.Module):
    """Two taps of fixed filters, in place of VGG16."""

    def forward(self, x):
        torch.manual_seed(0)
        first = nn.functional.conv2d(x, torch.randn(4, 3, 3, 3)).relu()
        return [first, nn.functional.avg_pool2d(first, 2)]


class Distance:
    """A distance of features of a network, in place of LPIPS and of structure."""

    sha256 = "1" * 64

    def __call__(self, x, y):
        return sum((one - other).square().mean(dim=(1, 2, 3)) for one, other in zip(Net()(x), Net()(y), strict=True))


def bright(images):
    """Logits of dark and bright pixels."""
    level = images.float().mean(dim=1)
    return torch.stack([255 - level, level], 1)


def brightest(images):
    """The class of dark and bright images."""
    return bright(images).mean(dim=(2, 3)).argmax(1)


def labels_and_photos(folder, count):
    """Label maps of two colours, and photos in which the second class is bright."""
    random = np.random.default_rng(0)
    for i in range(count):
        classes = random.integers(0, 2, (SIZE, SIZE))
        classes[: 2 * i] = 0
        for side, pixels in (("a", COLOURS[classes]), ("b", classes[..., None] * 120 + random.integers(0, 130, (SIZE, SIZE, 3)))):
            (folder / side).mkdir(parents=True, exist_ok=True)
            write_pixels(folder / side / f"{i}.png", pixels.astype(np.uint8))
    return Split(*(tuple(Ref(folder / side / f"{i}.png") for i in range(count)) for side in ("a", "b")), True)


def planned(split, metrics=None, *, train=None, config=CONFIG, batch_size=4, translate=negative, back=negative, **tools):
    """The plan of both directions."""
    tools = Instruments(**({"features": Features(), "resamples": 50, "allow_small": True} | tools))
    tools._found.update(alexnet=True, vgg16=True)
    tools._nets.update(lpips_alex=Distance(), lpips_vgg=Distance(), structure=Distance(), style=StyleDistance(Net(), "2" * 64))
    subjects = subjects_of({"a2b": translate, "b2a": back}, split, RGB, RGB, config, train)
    seen = [SeenBefore(train, "trained on")]
    return plan_evaluation(subjects, metrics, tools, seen, "test", False, False, None, batch_size, {"title": "x"}, tuple(METRICS))


def text(evaluation):
    return json.dumps(evaluation.to_json())


def every_metric_of_pairs(folder):
    split = labels_and_photos(folder / "test", 11)
    train = Split(noise(folder / "ta", 7, seed=5, size=SIZE), noise(folder / "tb", 9, seed=6, size=SIZE), False)
    options = {"labels": "a", "palette": Palette(COLOURS.astype(int)), "segmenter": bright, "config": square(SIZE)}
    return lambda: planned(split, train=train, translate=lambda x: 200 - x // 2, **options)


def every_metric_of_sets(folder):
    photos = [noise(folder / side, count, seed=count, size=SIZE) for side, count in (("a", 10), ("b", 13))]
    for side, refs in enumerate(photos):  # dark and bright ones
        for ref in refs:
            write_pixels(ref.path, 128 * side + ref.read() // 2)
    judge, split = Judge("brightest", "3" * 64, SIDES, 2, brightest), Split(*photos, False)

    def some(x):  # of the outputs are bright
        return x + 120 * (x[:, :, :1, :1] % 2)

    return lambda: planned(split, classifier=judge, config=square(SIZE), translate=some, back=lambda x: x // 2)


def square(size):
    return DataConfig(resize="square", crop_size=size, load_size=size)


def images_of_two_sizes(folder):
    """Neighbours of one size go through the network together; one image is too small for SSIM, far into the second share."""
    a = [*noise(folder / "a", 11, size=16), *noise(folder / "b", 4, seed=1, size=24), *noise(folder / "c", 1, seed=2, size=10)]
    a += noise(folder / "d", 5, seed=3, size=12)
    b = tuple(Ref(folder / f"{i}.png") for i in range(len(a)))
    for ref, target in zip(a, b, strict=True):
        write_pixels(target.path, 255 - ref.read() // 2)
    outputs = Subject("a2b", RGB, RGB, tuple(a), b, True, None, negative)
    tools = Instruments(features=Features(), resamples=40)
    return lambda: plan_evaluation([outputs], None, tools, (), "test", False, False, None, 4, {}, tuple(METRICS))


@pytest.mark.parametrize("scene", [every_metric_of_pairs, every_metric_of_sets, images_of_two_sizes])
def test_the_report_of_shares_is_that_of_one_process(tmp_path, monkeypatch, scene):
    monkeypatch.setattr(module, "PIECE", 4)
    plan = scene(tmp_path)
    whole = carry_out(plan())
    for number in (3, 1, 2):
        measure_shard(plan(), tmp_path / "out", (number, 3))
    merged = merge_shards(plan(), tmp_path / "out")
    assert text(merged) == text(whole)
    assert [example.images for example in merged.examples] == [example.images for example in whole.examples]
    for direction, scores in whole.sets.items():
        for name, score in scores.items():
            same = merged.sets[direction][name]
            assert all(np.array_equal(value, vars(same)[key]) for key, value in vars(score).items())
    expected = {
        every_metric_of_pairs: set(METRICS) - {"ms_ssim", "target_rate"},
        every_metric_of_sets: {"style", "structure", "fid", "kid", "mind", "precision", "recall", "cycle", "target_rate"}
        | {"lab_l", "lab_a", "lab_b"},
        images_of_two_sizes: {"psnr", "l1", "kid", "mind", "precision", "recall", "lab_l", "lab_a", "lab_b"},
    }
    assert {result.metric for result in whole.results} == expected[scene]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_more_shares_than_images_are_one_report(tmp_path, batch_size):
    split, done = pairs(tmp_path, 3), []
    plan = lambda: planned(split, ["psnr", "kid"], batch_size=batch_size)  # noqa: E731
    for number in range(1, 6):
        done.append(sum(measure_shard(plan(), tmp_path / "out", (number, 5))))
    assert sum(done) == 6 and done.count(0) == (2 if batch_size == 1 else 4)  # of two directions
    assert text(merge_shards(plan(), tmp_path / "out")) == text(carry_out(plan()))


def test_all_shares_together_are_all_images_once(tmp_path):
    plan = planned(sets(tmp_path, 10), ["kid"], batch_size=4)
    for count in (1, 2, 3, 7):
        pieces = [piece for number in range(1, count + 1) for piece in pieces_of(plan, (number, count), tmp_path)]
        for part in (0, 1):
            for which in ("real", "outputs"):
                images = [i for p in pieces if (p.part, p.which) == (part, which) for i in p.images]
                assert images == list(range(10))
        assert all(piece.images.start % 4 == 0 for piece in pieces)


def test_an_interrupted_share_measures_only_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 4)
    split, translated = sets(tmp_path, 12), []

    def translate(x):
        translated.append(len(x))
        return negative(x)

    def stop(done, total):
        if done >= 32:  # of the 12 real images and 12 outputs of each direction
            raise KeyboardInterrupt

    plan = lambda **options: planned(split, ["style", "kid"], translate=translate, back=translate, **options)  # noqa: E731
    with pytest.raises(KeyboardInterrupt):
        measure_shard(plan(), tmp_path / "out", (1, 1), stop)
    assert sum(translated) == 12
    (tmp_path / "out" / "1-of-1" / f".0001.safetensors.{'0' * 16}.tmp").write_bytes(b"cut")
    assert measure_shard(plan(), tmp_path / "out", (1, 1)) == (20, 28)
    assert sum(translated) == 24
    assert measure_shard(plan(), tmp_path / "out", (1, 1)) == (0, 48)
    assert text(merge_shards(plan(), tmp_path / "out")) == text(carry_out(plan()))


def refused(kind, work, *arguments):
    with pytest.raises(kind) as caught:
        work(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_shares_that_do_not_make_one_evaluation_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 4)
    split, out = pairs(tmp_path, 16), tmp_path / "out"
    plan = planned(split, ["psnr"])
    assert "out: holds no shares of this evaluation; measure them first" in refused(DataError, merge_shards, plan, out)
    measure_shard(plan, out, (2, 4))
    measure_shard(plan, out, (3, 4))
    (out / "3-of-4" / "0001.safetensors").unlink()
    assert refused(DataError, merge_shards, plan, out).endswith(
        "out: shares are missing: 1/4, 4/4; not finished: 3/4; give the command with --shard 1/4 and so on first"
    )
    measure_shard(plan, out, (1, 3))
    assert "out: holds shares of 3 and of 4; remove the folders" in refused(ConfigError, merge_shards, plan, out)
    shutil.rmtree(out / "1-of-3")
    for number in (1, 3, 4):
        measure_shard(plan, out, (number, 4))
    foreign = planned(split, ["psnr", "l1"])
    for work in ((merge_shards, foreign, out), (measure_shard, foreign, out, (1, 4))):
        assert "1-of-4: was measured with other metrics, options or versions" in refused(ConfigError, *work)
    elsewhere = planned(split, ["psnr"], batch_size=2)
    found = refused(ConfigError, measure_shard, elsewhere, out, (2, 4))
    assert "2-of-4: was measured on cpu in batches of 4, not on cpu in batches of 2; measure all shares on one" in found
    assert text(merge_shards(elsewhere, out)) == text(carry_out(planned(split, ["psnr"])))  # who merges may have another device
    snapshot = replace(plan, about={**plan.about, "snapshot": {"sha256": "0" * 64}})
    assert "1-of-4: was measured with another snapshot; remove" in refused(ConfigError, merge_shards, snapshot, out)
    write_pixels(split.b[9].path, 255 - split.b[9].read())
    changed = planned(split, ["psnr"])
    assert "1-of-4: was measured with other images, or images that have" in refused(ConfigError, merge_shards, changed, out)


def test_outputs_of_another_tool_that_changed_in_between_are_noticed(tmp_path):
    split, outputs = pairs(tmp_path, 4), noise(tmp_path / "outputs", 4, seed=9)

    def plan():
        subject = Subject("a2b", RGB, RGB, (), split.b, True, outputs=outputs)
        return plan_evaluation([subject], ["l1"], None, (), "given", False, False, None, 1, {}, tuple(METRICS))

    measure_shard(plan(), tmp_path / "out", (1, 2))
    write_pixels(outputs[3].path, outputs[3].read() // 2)
    found = refused(ConfigError, measure_shard, plan(), tmp_path / "out", (1, 2))
    assert "1-of-2: was measured with other images" in found


@pytest.mark.parametrize("cut", [40, -9])
def test_a_damaged_file_is_named_with_its_share(tmp_path, cut):
    plan, out = planned(pairs(tmp_path, 4), ["l1"], batch_size=2), tmp_path / "out"
    for number in (1, 2):
        measure_shard(plan, out, (number, 2))
    file = out / "2-of-2" / "0000.safetensors"
    content = bytearray(file.read_bytes())
    content[cut] ^= 1
    file.write_bytes(content)
    where, rule = refused(DataError, merge_shards, plan, out).split(": ", 1)
    assert where.endswith("2-of-2/0000.safetensors")
    assert rule == "is damaged or not of a share; remove it, and give the command with --shard 2/2 again"
