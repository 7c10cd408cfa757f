"""Evaluations of translators whose scores are known without running anything."""

from __future__ import annotations

import gc
import json
import math

import numpy as np
import pytest
import torch

from diptych.data.datasets import DataConfig
from diptych.data.folders import Ref, Split
from diptych.data.formats import write_pixels
from diptych.errors import ConfigError, DataError, WeightsError
from diptych.evaluation.cache import FeatureCache
from diptych.evaluation.evaluate import score_subjects, score_translators
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.meters import StyleMeter
from diptych.evaluation.results import METRICS
from diptych.evaluation.subject import Subject
from diptych.metrics.distribution import FID_ENOUGH, kid, kid_p_value
from diptych.metrics.style import StyleDistance
from diptych.palette import Palette
from diptych.pixels import Domain
from tests.evaluation.images import CONFIG, RGB, Features, negative, noise, pairs, sets


@pytest.fixture(autouse=True)
def no_weights(tmp_path_factory, monkeypatch):
    """A machine without any cached weight file."""
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path_factory.mktemp("weights")))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("hub")))


def judged(split, translators, metrics=None, **options):
    tools = options.pop("tools", {})
    tools = Instruments(**({"features": Features(), "resamples": 50} | tools))
    return score_translators(translators, split, RGB, RGB, options.pop("config", CONFIG), metrics=metrics, tools=tools, **options)


def test_a_perfect_translator_is_perfect_and_the_copy_is_not(tmp_path):
    found = judged(pairs(tmp_path), {"a2b": negative}, ["psnr", "ssim", "l1"])
    assert found.value("psnr").value == math.inf and found.value("psnr").n == 4
    assert found.value("ssim").value == pytest.approx(1) and found.value("l1").value == 0
    copy = found.value("psnr", of="copy")
    assert copy.low <= copy.value <= copy.high < 10
    assert found.value("kid") is None


def test_a_translator_that_copies_scores_as_the_copy(tmp_path):
    found = judged(pairs(tmp_path), {"a2b": lambda x: x}, ["psnr", "kid", "lab_l"])
    for metric in ("psnr", "kid", "lab_l"):
        assert found.value(metric) == found.value(metric, of="copy")


def test_the_mean_colour_comes_from_the_training_targets(tmp_path):
    write_pixels(tmp_path / "gray.png", np.full((16, 16, 3), 77, np.uint8))
    gray = (Ref(tmp_path / "gray.png"),)
    split = Split(noise(tmp_path / "a", 1), gray, True)
    here = Split((), noise(tmp_path / "c", 3, seed=5), False)
    write_pixels(tmp_path / "same_colour.png", np.full((17, 16, 3), 77, np.uint8))
    alike = Split((), (Ref(tmp_path / "same_colour.png"),), False)
    assert judged(split, {"a2b": negative}, ["psnr"], train=alike).value("psnr", of="mean").value > 100
    assert judged(split, {"a2b": negative}, ["psnr"], train=here).value("psnr", of="mean").value < 20
    assert judged(split, {"a2b": negative}, ["psnr"]).value("psnr", of="mean") is None


def test_every_number_has_n_interval_unit_and_protocol(tmp_path):
    found = judged(pairs(tmp_path, 5), {"a2b": lambda x: x})
    assert {r.metric for r in found.results} == {
        "psnr",
        "ssim",
        "l1",
        "kid",
        "mind",
        "precision",
        "recall",
        "lab_l",
        "lab_a",
        "lab_b",
    }
    for result in (result for result in found.results if result.of != "truth"):
        estimate = result.estimate
        assert estimate.n == 5 and estimate.low <= estimate.value <= estimate.high
        assert (result.unit, result.better) == (METRICS[result.metric].unit, METRICS[result.metric].better)
        protocol = found.protocols[result.protocol]
        assert protocol["metric"] == result.metric and protocol["size"] == 16 and protocol["split"] == "test"
        assert protocol["inputs"][0] == protocol["targets"][0] == 5 and protocol["versions"]["torch"] == torch.__version__


def test_the_same_images_twice_give_the_same_digits_and_protocols(tmp_path):
    first, second = (judged(pairs(tmp_path / name), {"a2b": lambda x: x // 2}).to_json() for name in ("here", "there"))
    assert json.dumps(first) == json.dumps(second)


def ids(split, metric="kid", translate=negative, **options):
    """The protocols of a metric by what was measured."""
    return {r.of: r.protocol for r in judged(split, {"a2b": translate, "b2a": translate}, [metric], **options).results}


CHANGES = {
    "images": lambda split: {"split": Split(split.a[1:], split.b[1:], True)},
    "their order": lambda split: {"split": Split(split.a[::-1], split.b[::-1], True)},
    "size": lambda split: {"config": DataConfig(resize="none", crop_size=12, load_size=12)},
    "resize": lambda split: {"config": DataConfig(resize="square", crop_size=16, load_size=16)},
    "pairs": lambda split: {"split": Split(split.a, split.b, False)},
    "mode": lambda split: {"applied": {"mode": "paper"}},
    "precision": lambda split: {"applied": {"precision": "bf16"}},
    "seed": lambda split: {"tools": {"seed": 1}},
    "resamples": lambda split: {"tools": {"resamples": 60}},
    "features": lambda split: {"tools": {"features": other_features()}},
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_determines_a_number_changes_its_protocol(tmp_path, change):
    split = pairs(tmp_path)
    before, after = ids(split), ids(**({"split": split} | CHANGES[change](split)))
    assert before["model"] != after["model"]
    assert (before["copy"] == after["copy"]) == (change in ("mode", "precision"))  # the copy is not made by the translator


def test_the_versions_of_libraries_are_part_of_the_protocol(tmp_path, monkeypatch):
    before = ids(pairs(tmp_path))
    monkeypatch.setattr("diptych.evaluation.plan.versions", lambda: {"torch": "99"})
    assert ids(pairs(tmp_path))["model"] != before["model"]


@pytest.mark.parametrize("change", [{"batch_size": 3}, {"split_name": "val"}, {"allow_seen": True}, {"about": {"title": "x"}}])
def test_what_changes_no_number_changes_no_protocol(tmp_path, change):
    assert ids(pairs(tmp_path)) == ids(pairs(tmp_path), **change)


def test_the_format_of_files_changes_no_protocol(tmp_path):
    split, again = pairs(tmp_path), tmp_path / "again"
    again.mkdir()
    for ref in split.b:
        write_pixels(again / f"{ref.name}.bmp", ref.read())
    other = Split(split.a, tuple(Ref(again / f"{ref.name}.bmp") for ref in split.b), True)
    assert ids(split) == ids(other)


def test_inputs_beside_finished_outputs_change_only_what_looks_at_them(tmp_path):
    split, outputs = pairs(tmp_path), noise(tmp_path / "out", 4, seed=9)
    found = [
        score_subjects([Subject("a2b", RGB, RGB, inputs, split.b, True, outputs=outputs)], ["l1"]).results
        for inputs in ((), split.a, split.a[::-1])
    ]
    (alone,), (model, copy), (same, other) = ([r.protocol for r in results] for results in found)
    assert alone == model == same and copy != other


def test_the_mean_colour_is_part_of_its_own_protocol_only(tmp_path):
    split, one, two = pairs(tmp_path), noise(tmp_path / "t", 1, seed=5), noise(tmp_path / "u", 1, seed=6)
    first, second = (ids(split, "l1", train=Split((), targets + split.b[:0], False)) for targets in (one, two))
    assert first["mean"] != second["mean"] and first["model"] == second["model"]


def other_features():
    features = Features()
    features.sha256 = "0" * 64
    return features


@pytest.mark.parametrize("kept", [256, 19])
def test_each_image_is_translated_once_and_of_many_the_nine_that_are_shown_again(tmp_path, monkeypatch, kept):
    monkeypatch.setattr("diptych.evaluation.passes.MAX_KEPT", kept)
    split, seen = pairs(tmp_path, 20), []

    def translate(x):
        seen.append(len(x))
        return negative(x)

    found = judged(split, {"a2b": translate}, batch_size=8)
    assert seen == [8, 8, 4] + ([1] * 9 if kept < 20 else [])
    assert len({example.images["output"] for example in found.examples}) == 9


def test_finished_images_are_let_go_of(tmp_path):
    side = 19  # pixels, which no other tensor has
    real = noise(tmp_path / "real", 40, seed=1, size=side)
    subject = Subject("a2b", RGB, RGB, (), real, True, outputs=noise(tmp_path / "made", 40, size=side))
    alive = []

    def watch(done, total):
        tensors = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]
        alive.append(sum(tensor.shape[-2:] == (side, side) for tensor in tensors))

    tools = Instruments(features=Features(), resamples=50)
    score_subjects([subject], ["psnr", "kid", "lab_l"], tools, watch=watch)
    assert len(alive) == 40 and max(alive) < 30  # views of this batch, and the three that are read ahead


def test_batches_change_no_digit(tmp_path):
    split = pairs(tmp_path, 7)
    one, many = (judged(split, {"a2b": lambda x: x // 2}, batch_size=n) for n in (1, 4))
    assert [r.estimate for r in one.results] == [r.estimate for r in many.results]


def test_best_median_and_worst_are_found(tmp_path):
    split = pairs(tmp_path, 12)
    strength = {float(ref.read().mean()): i for i, ref in enumerate(split.a)}

    def translate(x):  # the further down the list, the worse
        i = min(strength, key=lambda mean: abs(mean - float(x.double().mean())))
        return (255 - x) - ((255 - x).double() * strength[i] / 24).to(torch.uint8)

    found = judged(split, {"a2b": translate}, ["psnr"])
    places = {rank: [e.index for e in found.examples if e.rank == rank] for rank in ("best", "median", "worst")}
    assert places == {"best": [0, 1, 2], "median": [4, 5, 6], "worst": [11, 10, 9]}
    assert found.examples[0].images.keys() == {"input", "output", "truth"}
    assert found.examples[0].score == found.images["a2b"][0]["psnr"]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_images_are_shown_once_each(tmp_path, count):
    found = judged(pairs(tmp_path, count), {"a2b": lambda x: x}, ["psnr"])
    shown = [e.index for e in found.examples]
    assert len(set(shown)) == len(shown) and shown


def test_four_images_have_a_median(tmp_path):
    ranks = [e.rank for e in judged(pairs(tmp_path, 4), {"a2b": lambda x: x}, ["psnr"]).examples]
    assert ranks == ["best", "median", "worst"]


def test_a_baseline_over_other_images_than_its_row_says_over_how_many(tmp_path):
    split = pairs(tmp_path, 4)
    gray = noise(tmp_path / "large", 1, seed=3, size=20)  # an input of another size than its output
    subject = Subject("a2b", RGB, RGB, (*split.a[:3], *gray), split.b, True, outputs=noise(tmp_path / "out", 4, seed=9))
    found = {result.of: result for result in score_subjects([subject], ["l1"]).results}
    assert (found["model"].note, found["model"].estimate.n) == ("", 4)
    assert (found["copy"].note, found["copy"].estimate.n) == ("3 of 4 images", 3)


def test_too_few_resamples_for_a_quantile_are_refused():
    for count in (0, -5, 39):
        with pytest.raises(ConfigError, match=f"--resamples must be at least 40, found {count}; fewer draws have no 2.5 % quant"):
            Instruments(resamples=count)


def test_style_without_pairs_is_measured_in_full_precision(tmp_path):
    allowed = []

    class Net(torch.nn.Module):
        def forward(self, x):
            allowed.append(torch.backends.cudnn.allow_tf32)
            return [x]

    meter = StyleMeter(StyleDistance(Net(), "0"), Subject("a2b", RGB, RGB, (), (), False))
    with torch.backends.cudnn.flags(allow_tf32=True):
        meter.real(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    assert allowed == [False]


def test_both_directions_and_the_cycle(tmp_path):
    found = judged(sets(tmp_path), {"a2b": negative, "b2a": negative}, ["cycle", "kid"])
    for direction in ("a2b", "b2a"):
        assert found.value("cycle", direction).value == 0
        assert found.value("kid", direction) is not None
    lossy = judged(sets(tmp_path), {"a2b": lambda x: x // 2, "b2a": lambda x: x}, ["cycle"])
    assert lossy.value("cycle").value > 0.3
    assert lossy.images["a2b"][0].keys() == {"name", "cycle"}


def kid_p(found):
    """The p-value beside the KID of the outputs."""
    return next(r.p for r in found.results if (r.metric, r.of) == ("kid", "model"))


def test_kid_of_pairs_leaves_out_what_a_pair_shares(tmp_path):
    split = pairs(tmp_path, 12)
    as_pairs = judged(split, {"a2b": lambda x: x // 2}, ["kid"])
    as_sets = judged(Split(split.a, split.b, False), {"a2b": lambda x: x // 2}, ["kid"])
    made, real = (
        Features()(torch.stack([torch.from_numpy(change(ref.read())).permute(2, 0, 1) for ref in refs])).double().numpy()
        for refs, change in ((split.a, lambda pixels: pixels // 2), (split.b, lambda pixels: pixels))
    )
    assert as_pairs.value("kid").value == pytest.approx(kid(made, real, paired=True))
    assert as_sets.value("kid").value == pytest.approx(kid(made, real))
    assert kid_p(as_pairs) == kid_p_value(made, real, paired=True, permutations=50) < 0.05


def test_kid_of_a_set_against_one_like_it_is_near_zero_and_of_another_is_not(tmp_path):
    split = Split(noise(tmp_path / "a", 30), noise(tmp_path / "b", 30, seed=1), False)
    same = judged(split, {"a2b": lambda x: x}, ["kid"]).value("kid")
    dark = judged(split, {"a2b": lambda x: x // 4}, ["kid"]).value("kid")
    assert same.low < 0 < same.high < dark.low


def test_what_cannot_be_had_is_left_out_with_the_reason(tmp_path):
    found = judged(sets(tmp_path), {"a2b": negative})
    reasons = {
        "psnr": "needs pairs; --truth",
        "lpips_alex": "needs pairs",
        "style": r"its weights \(vgg16-397923af.pth, 553 MB\) are not on this machine; name it in --metrics to fetch them",
        "fid": "4 images are fewer than 2,048.*kid is unbiased; --allow-small",
        "cycle": "needs a snapshot of both directions",
        "fcn_iou": "needs --labels and --palette",
        "target_rate": "needs --classifier and --target",
    }
    for metric, reason in reasons.items():
        with pytest.raises((DataError, WeightsError)) as refusal:
            judged(sets(tmp_path), {"a2b": negative}, [metric], tools={"fetch": False})
        assert_matches(reason, found.left_out[metric])
        if metric != "style":
            assert_matches(f"{metric}: {reason}", str(refusal.value))


def assert_matches(pattern, text):
    with pytest.raises(DataError, match=pattern):
        raise DataError(text)


def test_small_images_leave_out_what_needs_larger_ones(tmp_path):
    small = DataConfig(resize="none", crop_size=8, load_size=8)
    found = judged(pairs(tmp_path), {"a2b": negative}, config=small)
    assert found.left_out["ssim"] == "needs images of at least 11 pixels a side, these have 8"
    with pytest.raises(DataError, match="ms_ssim: needs images of at least 161 pixels a side, these have 16"):
        judged(pairs(tmp_path), {"a2b": negative}, ["ms_ssim"])


def test_fid_of_few_images_is_refused_and_then_marked(tmp_path):
    with pytest.raises(DataError, match=r"fid: 4 images are fewer than 2,048"):
        judged(pairs(tmp_path), {"a2b": lambda x: x}, ["fid"])
    found = judged(pairs(tmp_path), {"a2b": lambda x: x}, ["fid", "kid"], tools={"allow_small": True})
    assert {r.metric: r.note for r in found.results if r.of == "model"} == {
        "fid": "biased, N=4",
        "kid": f"p = {kid_p(found):.2g}",
    }


def test_fid_of_enough_images_is_given_unasked_and_unmarked(tmp_path, monkeypatch):
    monkeypatch.setattr("diptych.evaluation.offers.FID_ENOUGH", 4)
    monkeypatch.setattr("diptych.evaluation.set_meters.FID_ENOUGH", 4)
    assert FID_ENOUGH == 2048
    (fid, _) = [r for r in judged(pairs(tmp_path), {"a2b": lambda x: x}).results if r.metric == "fid"]
    assert fid.note == "" and fid.estimate.value > 0


def test_an_unknown_metric_is_named_with_the_near_one(tmp_path):
    with pytest.raises(ConfigError, match=r"no metric is called 'pnsr'; did you mean psnr\?"):
        judged(pairs(tmp_path), {"a2b": negative}, ["pnsr"])


def test_unknown_features_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"features must be inception, random-vgg .* found 'resnet'"):
        judged(pairs(tmp_path), {"a2b": negative}, ["kid"], tools={"features": "resnet"})


def test_watch_sees_all_images_and_can_stop(tmp_path):
    ticks = []
    judged(sets(tmp_path), {"a2b": negative}, ["kid"], watch=lambda done, total: ticks.append((done, total)))
    assert ticks == [(i, 8) for i in range(1, 9)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judged(sets(tmp_path), {"a2b": negative}, ["kid"], watch=stop)


def test_features_are_computed_once(tmp_path):
    features, cache = Features(), FeatureCache(tmp_path / "cache")
    tools = {"features": features, "cache": cache}
    judged(pairs(tmp_path), {"a2b": negative, "b2a": negative}, ["kid"], tools=tools)
    assert features.seen == 8  # the outputs are the truths, and the inputs of one way the truths of the other
    again = {"features": features, "cache": FeatureCache(tmp_path / "cache")}
    judged(pairs(tmp_path), {"a2b": lambda x: x // 2}, ["kid"], tools=again)
    assert features.seen == 12


def labels_and_photos(folder, count=3):
    """Label maps of two colours, and photos whose brightness is the class."""
    random = np.random.default_rng(0)
    for side in ("a", "b"):
        (folder / side).mkdir(parents=True)
    refs = {"a": [], "b": []}
    for i in range(count):
        classes = random.integers(0, 2, (16, 16))
        classes[0] = i % 2
        write_pixels(folder / "a" / f"{i}.png", np.array([[255, 0, 0], [0, 0, 255]], np.uint8)[classes])
        write_pixels(folder / "b" / f"{i}.png", np.repeat((classes * 200 + 10 + i)[..., None], 3, 2).astype(np.uint8))
        for side in refs:
            refs[side].append(Ref(folder / side / f"{i}.png"))
    return Split(tuple(refs["a"]), tuple(refs["b"]), True)


def test_fcn_score_both_ways(tmp_path):
    split = labels_and_photos(tmp_path)
    palette = Palette(np.array([[255, 0, 0], [0, 0, 255]]))

    def segmenter(images):
        return (images.float().mean(1) > 100).long()

    def to_photo(x):
        return (palette.labels(x) * 200 + 20).to(torch.uint8)[:, None].expand(-1, 3, -1, -1)

    def to_labels(x):
        return palette.paint(torch.zeros_like(segmenter(x)))

    tools = {"labels": "a", "palette": palette, "segmenter": segmenter}
    metrics = ["fcn_pixel", "fcn_class", "fcn_iou"]
    found = judged(split, {"a2b": to_photo, "b2a": to_labels}, metrics, tools=tools)
    assert [found.value(name).value for name in metrics] == [1, 1, 1]
    assert [found.value(name, of="truth").value for name in metrics] == [1, 1, 1]
    assert found.value("fcn_class", "b2a").value == 0.5 and found.value("fcn_class", "b2a", "truth") is None
    share = np.mean([palette.labels(torch.from_numpy(r.read()).permute(2, 0, 1)[None]).eq(0).float().mean() for r in split.a])
    assert found.value("fcn_pixel", "b2a").value == pytest.approx(share)
    details = found.protocols[next(r.protocol for r in found.results)]
    assert details["palette"] == [[255, 0, 0], [0, 0, 255]] and details["segmenter"]["sha256"] == "unknown"
    assert found.about["identity"] == ""  # of a function that could be any


def test_label_maps_are_resized_as_classes_and_never_mixed(tmp_path):
    red, blue, violet = [255, 0, 0], [0, 0, 255], [128, 0, 128]  # red and blue mixed would be taken for violet
    palette, random, truths = Palette(np.array([red, blue, violet])), np.random.default_rng(0), []
    (tmp_path / "labels").mkdir()
    for i in range(3):
        classes = np.kron(random.integers(0, 2, (11, 11)), np.ones((3, 3), int))
        write_pixels(tmp_path / "labels" / f"{i}.png", palette.colours[classes])
        place = np.floor((np.arange(16) + 0.5) * 33 / 16).astype(int)  # the source pixel that holds the middle of each new one
        truths.append(torch.from_numpy(palette.colours[classes[place][:, place]]).permute(2, 0, 1)[None])
    labels = tuple(Ref(tmp_path / "labels" / f"{i}.png") for i in range(3))
    square = DataConfig(resize="square", crop_size=16, load_size=16)
    split, answers = Split(noise(tmp_path / "photos", 3), labels, True), iter(truths)
    found = judged(split, {"a2b": lambda x: next(answers)}, ["fcn_iou"], config=square, tools={"labels": "b", "palette": palette})
    assert found.value("fcn_iou").value == 1


def test_colours_that_are_ignored_are_part_of_the_protocol(tmp_path):
    split, colours = labels_and_photos(tmp_path), np.array([[255, 0, 0], [0, 0, 255]])
    palettes = [Palette(colours), Palette(colours, ignored=np.array([[0, 0, 0]]))]
    tools = [{"labels": "b", "palette": palette} for palette in palettes]
    one, other = (judged(split.swapped(), {"a2b": lambda x: x}, ["fcn_pixel"], tools=each) for each in tools)
    assert one.results[0].protocol != other.results[0].protocol and one.about["identity"] != other.about["identity"]


def test_fcn_score_says_what_it_lacks(tmp_path):
    palette = Palette(np.array([[255, 0, 0], [0, 0, 255]]))
    with pytest.raises(DataError, match="fcn_iou: from labels to photos it needs --segmenter"):
        judged(labels_and_photos(tmp_path / "x"), {"a2b": negative}, ["fcn_iou"], tools={"labels": "a", "palette": palette})
    with pytest.raises(DataError, match="fcn_iou: from photos to labels it needs pairs"):
        judged(sets(tmp_path), {"a2b": negative}, ["fcn_iou"], tools={"labels": "b", "palette": palette})


def test_target_rate_of_outputs_inputs_and_real_images(tmp_path):
    for i, side in enumerate(("a", "b")):
        (tmp_path / side).mkdir()
        for j in range(4):
            write_pixels(tmp_path / side / f"{j}.png", np.full((16, 16, 3), 20 + 200 * i + j, np.uint8))
    split = Split(*(tuple(Ref(tmp_path / side / f"{j}.png") for j in range(4)) for side in ("a", "b")), False)

    def bright(images):
        level = images.float().mean(dim=(1, 2, 3))
        return torch.stack([255 - level, level], 1)  # logits of dark and bright

    tools = {"classifier": bright, "target": 1}
    found = judged(split, {"a2b": lambda x: x + 120 * (x % 2)}, ["target_rate"], tools=tools)
    assert [found.value("target_rate", of=of).value for of in ("model", "copy", "truth")] == [0.5, 0, 1]


def test_gray_and_colour_domains_are_compared_where_that_makes_sense(tmp_path):
    random = np.random.default_rng(0)
    for side in ("a", "b"):
        (tmp_path / side).mkdir()
    for i in range(3):
        write_pixels(tmp_path / "a" / f"{i}.png", random.integers(0, 256, (16, 16, 1), np.uint8))
        write_pixels(tmp_path / "b" / f"{i}.tif", random.integers(0, 4096, (16, 16, 5), np.uint16))
    split = Split(*(tuple(Ref(p) for p in sorted((tmp_path / side).iterdir())) for side in ("a", "b")), True)
    many = Domain(5, "uint16", 0, 4095)
    tools = Instruments(features=Features(), resamples=40)

    def translate(x):
        return (x.to(torch.int32) * 16).expand(-1, 5, -1, -1).to(torch.uint16)

    found = score_translators({"a2b": translate}, split, Domain(1), many, CONFIG, tools=tools)
    assert {r.metric for r in found.results} == {"psnr", "ssim", "l1"} and {r.of for r in found.results} == {"model"}
    assert "5 channels" in found.left_out["kid"] and "5 channels" in found.left_out["lab_a"]


def test_json_holds_everything_and_is_valid(tmp_path):
    found = judged(pairs(tmp_path), {"a2b": negative}, ["psnr", "ssim"], about={"title": "x"})
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["about"]["title"] == "x" and document["format"] == 1
    (psnr, *_) = document["results"]
    assert psnr["estimate"]["value"] == "inf" and float(psnr["estimate"]["value"]) == math.inf
    assert document["images"]["a2b"][0]["name"] == "0"
    assert set(document["protocols"]) == {r["protocol"] for r in document["results"]}


def test_fcn_score_at_native_size_keeps_what_resizing_loses(tmp_path):
    palette = Palette(np.array([[255, 0, 0], [0, 0, 255]]))
    columns = np.arange(32) % 2  # stripes of one pixel, of which a map of half the size keeps one colour
    for i in range(3):
        (tmp_path / "labels").mkdir(exist_ok=True)
        classes = np.tile(columns, (32, 1))
        classes[:i] = 0
        write_pixels(tmp_path / "labels" / f"{i}.png", palette.colours[classes].astype(np.uint8))
    labels = tuple(Ref(tmp_path / "labels" / f"{i}.png") for i in range(3))
    split = Split(noise(tmp_path / "photos", 3), labels, True)
    square = DataConfig(resize="square", crop_size=16, load_size=16)

    def all_blue(x):
        return palette.paint(torch.ones(len(x), 16, 16, dtype=torch.int64))

    metrics = ["fcn_pixel", "fcn_native_pixel", "fcn_native_iou"]
    found = judged(split, {"a2b": all_blue}, metrics, config=square, tools={"labels": "b", "palette": palette})
    blue = np.mean([(32 - i) * 16 for i in range(3)]) / (32 * 32)
    assert found.value("fcn_native_pixel").value == pytest.approx(blue) and found.value("fcn_pixel").value > 0.9
    assert found.value("fcn_native_iou").value == pytest.approx(blue / 2)
    with pytest.raises(DataError, match="fcn_native_iou: label maps are scored at their own size already"):
        judged(split, {"a2b": all_blue}, ["fcn_native_iou"], tools={"labels": "b", "palette": palette})


def test_each_class_has_a_row_of_its_own(tmp_path):
    split, palette = labels_and_photos(tmp_path), Palette(np.array([[255, 0, 0], [0, 0, 255], [9, 9, 9]]))

    def only_red(x):
        return palette.paint(torch.zeros(len(x), 16, 16, dtype=torch.int64))

    found = judged(split.swapped(), {"a2b": only_red}, ["fcn_iou"], tools={"labels": "b", "palette": palette})
    red, blue = found.classes["a2b"]
    assert (red["class"], red["colour"], red["accuracy"], red["images"]) == (0, [255, 0, 0], 1, 3)
    assert red["iou"] == pytest.approx(red["share"]) and red["share"] + blue["share"] == pytest.approx(1)
    assert red["iou_interval"][0] < red["iou"] < red["iou_interval"][1] and (blue["accuracy"], blue["iou"]) == (0, 0)
    assert json.loads(json.dumps(found.to_json()))["classes"]["a2b"][0]["iou"] == red["iou"]
