"""A run that another version of diptych began is resumed, and says where its steps are other ones now."""

import pytest
import torch

from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.training.distributed import World
from diptych.training.trainee import Trainee
from tests.contract.small import small

WORDS = "another version of diptych began this training, in which {} computed its steps otherwise"


def trainee_of(name, **settings):
    values = {"method": small(name, **settings), "data": {"load_size": 32, "crop_size": 32}, "train": {"precision": "fp32"}}
    recipe = Recipe.create(name, values)
    torch.manual_seed(0)
    return Trainee(recipe.build(Domain(), Domain()), recipe, torch.device("cpu"), World())


@pytest.mark.parametrize(
    ("name", "settings", "changed"),
    [
        ("pix2pixhd", {}, True),  # updated D before G
        ("uvcgan2", {}, True),  # had other weights
        ("cut", {"contrast": "hdce"}, True),  # kept gamma
        ("cut", {}, False),
        ("cyclegan", {}, False),
    ],
)
def test_a_state_of_a_version_that_computed_otherwise_is_restored_with_a_warning(name, settings, changed, caplog):
    trainee = trainee_of(name, **settings)
    state = trainee.state()
    trainee.restore(state)
    assert not caplog.records
    del state["computes"]  # as before it was kept
    trainee.restore(state)
    assert [record.getMessage() for record in caplog.records if WORDS.format(name) in record.getMessage()] == (
        [caplog.records[0].getMessage()] if changed else []
    )
