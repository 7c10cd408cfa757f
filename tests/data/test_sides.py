"""Exchanged pairs are found where the sides are of two kinds, and right pairs are never called exchanged."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from diptych.data.likeness import shrunk
from diptych.data.sides import LEAST_PAIRS, exchanged, side_traits
from tests.data.scenes import scene

Sides = tuple[np.ndarray, np.ndarray]


def traits(images: list[Sides]) -> Sides:
    a, b = (np.array([side_traits(shrunk(pair[side], 64, 64)) for pair in images]) for side in (0, 1))
    return a, b


def exposed(image: np.ndarray, gamma: float) -> np.ndarray:
    return (255 * (image / 255.0) ** gamma).astype(np.uint8)


def photos(number: int) -> list[np.ndarray]:
    """Scenes of unlike brightness and colourfulness, as photographs are."""
    random = np.random.default_rng(5)
    found = []
    for seed in range(number):
        gray = scene(seed)[0].mean(2, keepdims=True)
        image = gray + (scene(seed)[0] - gray) * random.uniform(0.1, 1.0)
        found.append(exposed(image.clip(0, 255), random.uniform(0.8, 1.25)))
    return found


def mixed_exposure(image: np.ndarray, random: np.random.Generator) -> Sides:
    return exposed(image, random.choice([0.4, 2.2])), image


def mostly_dark(image: np.ndarray, random: np.random.Generator) -> Sides:
    return exposed(image, 2.2 if random.random() < 0.75 else 0.4), image


def colourisation(image: np.ndarray, random: np.random.Generator) -> Sides:
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB")), image


@pytest.mark.parametrize("wrong", [(), (3,), (0, 7, 8, 9, 20, 39)])
def test_pairs_the_other_way_round_are_named(wrong: tuple[int, ...]) -> None:
    a, b = traits([scene(seed) for seed in range(40)])
    a[list(wrong)], b[list(wrong)] = b[list(wrong)], a[list(wrong)]
    assert tuple(np.flatnonzero(exchanged(a, b))) == wrong


@pytest.mark.parametrize("wrong", [0, 1, 15])
def test_gray_images_and_their_colours_are_told_apart_however_faint_the_colours(wrong: int) -> None:
    random = np.random.default_rng(0)
    a, b = traits([colourisation(image, random) for image in photos(75)])
    turned = random.choice(75, wrong, replace=False)
    a[turned], b[turned] = b[turned], a[turned]
    found = set(np.flatnonzero(exchanged(a, b)))
    assert found <= set(turned) and len(found) >= 0.9 * wrong


@pytest.mark.parametrize("make", [mixed_exposure, mostly_dark])
@pytest.mark.parametrize("number", [LEAST_PAIRS, 40, 80])
def test_right_pairs_of_mixed_exposure_are_not_called_exchanged(make: Callable[..., Sides], number: int) -> None:
    images = photos(number)
    for seed in range(5):
        random = np.random.default_rng(seed)
        assert not exchanged(*traits([make(image, random) for image in images])).any()


def test_sides_of_one_kind_are_never_called_exchanged() -> None:
    for count in (2, LEAST_PAIRS, 40, 60):
        pairs = [(scene(seed)[0], scene(100 + seed)[0]) for seed in range(count)]
        assert not exchanged(*traits(pairs)).any()


def test_of_too_few_pairs_nothing_is_said() -> None:
    a, b = traits([scene(seed) for seed in range(LEAST_PAIRS)])
    a[3], b[3] = b[3].copy(), a[3].copy()
    assert exchanged(a, b)[3] and not exchanged(a[1:], b[1:]).any()
