"""What the loop gives to each step: the images of the sides that the recipe means, and the learning rate of its schedule."""

import numpy as np
import pytest

from diptych.data.formats import write_pixels
from diptych.errors import ConfigError
from diptych.recipe import Recipe
from diptych.training import loop

SMALL = {"generator": "unet_2", "ngf": 4, "norm": "instance", "dropout": False, "lambda_gan": 0.0}
BLACK, GRAY, WHITE = 0, 51, 255  # -1, -0.6 and 1 in a network


def steps_of(folder, monkeypatch, direction="a2b", **train):
    """Train on two pairs of black and gray inputs and white truths; the batch and the learning rate of each step."""
    for side, values in (("A", (BLACK, GRAY)), ("B", (WHITE, WHITE))):
        (folder / side).mkdir()
        for i, value in enumerate(values):
            write_pixels(folder / side / f"{i}.png", np.full((16, 16, 3), value, np.uint8))
    data = {"source": [str(folder / "A"), str(folder / "B")], "direction": direction, "resize": "none", "crop_size": 16}
    settings = {"method": SMALL, "data": data | {"holdout": 0.0}, "train": {"precision": "fp32"} | train}
    seen, take_step = [], loop.train_step

    def watched(trainee, batch):
        groups = [group for optimizer in trainee.optimizers.values() for group in optimizer.param_groups]
        (rate,) = {float(group["lr"]) for group in groups}
        seen.append((batch, rate))
        take_step(trainee, batch)

    monkeypatch.setattr(loop, "train_step", watched)
    loop.train(Recipe.create("pix2pix", settings), folder / "run", device="cpu", workers=0, cache="off", num_previews=0)
    return seen


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"epochs": 1, "decay_epochs": 1}, [0.5, 0.5, 0.25, 0.25]),  # the one epoch of decay trains at lr / 2
        ({"epochs": 0, "decay_epochs": 2}, [0.5 * 2 / 3, 0.5 * 2 / 3, 0.5 / 3, 0.5 / 3]),
        ({"epochs": 1, "decay_epochs": 1, "decay": "step"}, [0.5, 0.5, 0.5, 0.25]),  # epochs 0, 0.5, 1 and 1.5 have passed
        ({"epochs": 1, "decay_epochs": 1, "batch_size": 2}, [0.5, 0.25]),
    ],
)
def test_each_step_is_taken_at_the_learning_rate_of_its_place_in_the_schedule(schedule, expected, tmp_path, monkeypatch):
    assert [rate for _, rate in steps_of(tmp_path, monkeypatch, lr=0.5, **schedule)] == pytest.approx(expected)


@pytest.mark.parametrize("direction", ["a2b", "b2a"])
def test_a_step_sees_the_sides_as_the_direction_means_them(direction, tmp_path, monkeypatch):
    seen = [batch for batch, _ in steps_of(tmp_path, monkeypatch, direction, epochs=1, decay_epochs=0)]
    dark, white = ([batch[side].unique().tolist() for batch in seen] for side in ((0, 1) if direction == "a2b" else (1, 0)))
    assert sorted(dark) == [[-1.0], [pytest.approx(-0.6)]] and white == [[1.0], [1.0]]


def test_known_pairs_that_there_are_not_are_refused_before_any_image_is_read(tmp_path):
    for side in "AB":
        (tmp_path / side).mkdir()
        (tmp_path / side / f"{side}.png").write_bytes(b"no image")
    data = {"source": [str(tmp_path / "A"), str(tmp_path / "B")], "pairs": 0.5}
    with pytest.raises(ConfigError, match=r"data.pairs asks for pairs, but of 1 \+ 1 images none has a name of the other side"):
        loop.train(Recipe.create("cyclegan", {"data": data}), tmp_path / "run", device="cpu")
