"""Budgets become whole epochs, and methods that cannot be compared are refused."""

import pytest

from diptych.bench.entries import Cost, as_long_as, entries_of, groups_of, within
from diptych.errors import ConfigError
from diptych.recipe import Recipe


def recipe(method="cyclegan", epochs=100, decay=100, **data):
    values = {"data": {"source": ["x"], **data}, "train": {"epochs": epochs, "decay_epochs": decay}}
    return Recipe.create(method, values)


def lengths(recipes):
    return {name: (one.train.epochs, one.train.decay_epochs) for name, one in recipes.items()}


def test_each_method_gets_the_epochs_that_fit_into_the_hours_with_its_own_share_of_a_falling_rate():
    recipes = {"slow": recipe(), "fast": recipe(epochs=150, decay=50), "plain": recipe(decay=0), "falling": recipe(epochs=0)}
    costs = {name: Cost(seconds, 0, 100) for name, seconds in (("slow", 3.6), ("fast", 1.8), ("plain", 3.6), ("falling", 3.6))}
    # An hour is 3600 s: 1000 slow steps, which are 10 epochs, and 2000 fast ones.
    assert lengths(within(recipes, costs, 1.0)) == {"slow": (5, 5), "fast": (15, 5), "plain": (10, 0), "falling": (0, 10)}


def test_each_method_gets_as_many_epochs():
    recipes, costs = {"a": recipe(), "b": recipe(epochs=150, decay=50)}, dict.fromkeys("ab", Cost(1.0, 0, 7))
    assert lengths(as_long_as(recipes, costs, 9)) == {"a": (5, 4), "b": (7, 2)}


def test_a_budget_below_an_epoch_says_what_an_epoch_takes():
    with pytest.raises(ConfigError, match=r"an epoch of a takes 5 minutes, and the budget is 3 minutes; raise --hours"):
        within({"a": recipe()}, {"a": Cost(3.0, 0, 100)}, 0.05)


def test_a_single_epoch_goes_to_the_longer_part():
    recipes, costs = {"a": recipe(), "b": recipe(epochs=50, decay=150)}, dict.fromkeys("ab", Cost(1.0, 0, 7))
    assert lengths(as_long_as(recipes, costs, 1)) == {"a": (1, 0), "b": (0, 1)}


def test_every_seed_is_trained_once_for_every_method_and_methods_are_systems(tmp_path):
    entries = entries_of({"a": recipe(), "b": recipe()}, 2, tmp_path)
    assert [entry.name for entry in entries] == ["a, seed 0", "b, seed 0", "a, seed 1", "b, seed 1"]
    assert [entry.recipe.train.seed for entry in entries] == [0, 0, 1, 1]
    assert groups_of(entries) == [[f"{tmp_path}/{name}/seed-{seed}" for seed in (0, 1)] for name in "ab"]


def test_methods_on_images_of_other_sizes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"a has data.crop_size 128 and b has 64; give one for all, as --data.crop_size"):
        entries_of({"a": recipe(crop_size=128), "b": recipe(crop_size=64)}, 1, tmp_path)
