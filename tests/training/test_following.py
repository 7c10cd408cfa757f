"""A training compares frames with their real neighbours where its data has them, and says what it does."""

import json
import logging

import numpy as np
import pytest

from diptych.data.formats import write_pixels
from diptych.errors import ConfigError
from diptych.losses import NextFrames
from diptych.methods import Batch
from diptych.recipe import Recipe
from diptych.training import loop
from tests.contract.small import small
from tests.data.test_neighbours import pan, texture


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for number, frame in enumerate(pan(1, 6)):
        (root / "trainA").mkdir(exist_ok=True), (root / "trainB").mkdir(exist_ok=True)
        write_pixels(root / "trainA" / f"{number}.png", frame)
        write_pixels(root / "trainB" / f"{number}.png", texture(50 + number))
    return root


def train(folder, out, monkeypatch, *terms, **settings):
    """The batches of a training of six steps, and its lines of statistics."""
    seen, take_step = [], loop.train_step
    monkeypatch.setattr(loop, "train_step", lambda trainee, batch: (seen.append(batch), take_step(trainee, batch)))
    data = {"source": [str(folder)], "resize": "none", "crop_size": 32, "holdout": 0.0}
    recipe = {"method": small("cyclegan"), "data": data, "train": {"epochs": 1, "decay_epochs": 0} | settings}
    recipe["extra"] = [{"loss": "temporal", "between": [side], "weight": 5, **options} for side, options in terms]
    loop.train(Recipe.create("cyclegan", recipe), out, device="cpu", workers=0, num_previews=0, log_every=1)
    return seen, [json.loads(line) for line in (out / "stats.jsonl").read_text().splitlines()]


def test_numbered_frames_are_compared_with_their_next_ones_and_photos_are_not(folder, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    seen, lines = train(folder, tmp_path / "run", monkeypatch, ("real_a", {}), ("real_b", {}), batch_size=2, accumulate=2)
    assert "motion of real_a is real: 5 of 6 images are compared with their next frame, and 0 are parted" in caplog.text
    assert "motion of real_b is synthetic: 0 of 6 images have a next frame that shows the same, and 5 one by their" in caplog.text
    assert all(isinstance(batch.next_a, NextFrames) and batch.next_b is None for batch in seen) and len(seen) == 3
    assert seen[0].next_a.images.abs().max() <= 1 and seen[0].next_a.likeness.max() > 0.5
    assert all(np.isfinite(value) and value >= 0 for line in lines for value in line["losses"].values())
    assert any("temporal_real_a" in name for name in lines[0]["losses"])


def test_motion_can_be_chosen(folder, tmp_path, monkeypatch, caplog):
    seen, _ = train(folder, tmp_path / "run", monkeypatch, ("real_a", {"motion": "synthetic"}))
    assert isinstance(seen[0], Batch) and seen[0].next_a is None
    with pytest.raises(ConfigError, match=r"motion neighbours of real_b needs frames of films.* 0 of 6 images have"):
        train(folder, tmp_path / "other", monkeypatch, ("real_b", {"motion": "neighbours"}))
    with pytest.raises(ConfigError, match=r"motion must be .*found 'films'"):
        Recipe.create("cyclegan", {"extra": [{"loss": "temporal", "between": ["real_a"], "motion": "films"}]})
