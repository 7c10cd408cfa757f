"""Beside every distance of sets stands that of real images, and outputs that copy training images are noticed."""

import numpy as np
import pytest
import torch

from diptych.data.folders import Split
from diptych.data.formats import write_pixels
from diptych.errors import DataError
from diptych.evaluation.evaluate import score_translators
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.set_meters import floor_sets, memorised
from diptych.metrics.distribution import kid
from diptych.metrics.judges import load_classifier
from diptych.metrics.manifold import nearest_distances
from tests.evaluation.images import CONFIG, RGB, Features, negative, noise, sets


def bright(folder, count, seed, low=0, high=256):
    """Noise within a range, all different."""
    random = np.random.default_rng(seed)
    refs = noise(folder, count, seed)
    for ref in refs:
        write_pixels(ref.path, random.integers(low, high, (16, 16, 3)).astype(np.uint8))
    return refs


def judged(split, translate, metrics, train=None, **tools):
    tools = Instruments(**({"features": Features(), "resamples": 50} | tools))
    return score_translators({"a2b": translate}, split, RGB, RGB, CONFIG, metrics=metrics, tools=tools, train=train)


def features(refs):
    return Features()(torch.from_numpy(np.stack([ref.read() for ref in refs])).permute(0, 3, 1, 2)).double().numpy()


def test_the_floor_is_that_of_as_many_training_images(tmp_path):
    split = sets(tmp_path, 6)
    train = Split(noise(tmp_path / "ta", 9, seed=7), noise(tmp_path / "tb", 11, seed=8), False)
    found = judged(split, negative, ["kid", "mind", "lab_l"], train)
    chosen = [train.b[i] for i in np.linspace(0, 10, 6).round().astype(int)]
    assert found.value("kid", of="truth").value == pytest.approx(kid(features(chosen), features(split.b)), abs=1e-7)
    rows = {r.metric: r for r in found.results if r.of == "truth"}
    assert rows.keys() == {"kid", "mind", "lab_l"} and all(row.note.startswith("6 training images") for row in rows.values())
    other = Split(train.a, train.b[:6], False)
    again = judged(split, negative, ["kid"], other)
    ids = [{r.of: r.protocol for r in one.results if r.metric == "kid"} for one in (found, again)]
    assert ids[0]["model"] == ids[1]["model"] and ids[0]["truth"] != ids[1]["truth"]


def test_without_training_images_the_floor_is_of_two_halves(tmp_path):
    (row,) = (r for r in judged(sets(tmp_path, 8), negative, ["kid"]).results if r.of == "truth")
    assert row.note.startswith("halves of 8 real images") and row.estimate.n == 4
    one, other, _ = floor_sets(np.arange(9), None, 5, 0)
    assert sorted([*one, *other]) == list(range(9)) and len(one) == 4


def test_outputs_that_copy_training_images_are_said_to_be_near_them(tmp_path):
    split = Split(bright(tmp_path / "a", 8, 1), bright(tmp_path / "b", 8, 2), False)
    train = Split(bright(tmp_path / "ta", 8, 3), bright(tmp_path / "tb", 8, 4), False)
    learnt = iter(train.b)
    copies = judged(split, lambda x: torch.from_numpy(next(learnt).read()).permute(2, 0, 1)[None], ["nearest"], train)
    (row,) = (r for r in copies.results if r.of == "model")
    assert row.estimate.value == pytest.approx(0, abs=1e-6)
    assert "nearer to training images than real ones are" in row.note and row.note.endswith("memorised?")
    expected = nearest_distances(features(split.b), features(train.b)).mean()
    assert copies.value("nearest", of="truth").value == pytest.approx(expected)
    (fresh,) = (r for r in judged(split, negative, ["nearest"], train).results if r.of == "model")
    assert fresh.note == ""
    with pytest.raises(DataError, match="nearest: needs the training images, which are not known or not there"):
        judged(split, negative, ["nearest"])


def test_nearer_by_chance_is_not_said():
    random = np.random.default_rng(0)
    said = [memorised(*random.normal(size=(2, 10))) for _ in range(400)]
    assert np.mean([bool(text) for text in said]) == pytest.approx(0.025, abs=0.02)


def test_a_judge_that_cannot_tell_the_real_sets_apart_is_refused(tmp_path):
    split = Split(bright(tmp_path / "a", 10, 1, 0, 120), bright(tmp_path / "b", 10, 2, 130, 256), False)

    def judge(threshold):
        return load_classifier(lambda images: (images.float().mean(dim=(1, 2, 3)) > threshold).long())

    rates = judged(split, negative, ["target_rate"], classifier=judge(125), target=1)
    assert [rates.value("target_rate", of=of).value for of in ("model", "copy", "truth")] == [1, 0, 1]
    with pytest.raises(DataError, match=r"finds class 1 in 100% of the real images and in 100% .* in 50% of cases"):
        judged(split, negative, ["target_rate"], classifier=judge(1), target=1)
