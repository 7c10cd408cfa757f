"""Copies are found though they were resized, encoded again or slightly cropped, and other images are not taken for copies."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.data import likeness as module
from diptych.data.folders import find_data
from diptych.data.likeness import Likeness, aligned_likeness, eight_bits, likeness, near_copies, perceptual_hash, shrunk
from diptych.data.registration import TURNS, cross_power, edges, find_shift, find_turn
from tests.data.scenes import scene

RELIEF = find_data(["relief"], paired=True).train


def of(pixels: np.ndarray) -> Likeness:
    return likeness(pixels, shrunk(eight_bits(pixels), 64, 64))


def encoded(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=50)
    return Image.open(file)


COPIES = {
    "encoded": encoded,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "twice the size": lambda image: image.resize((image.width * 2, image.height * 2), Image.Resampling.LANCZOS),
    "stretched": lambda image: image.resize((image.width, image.height * 3 // 4), Image.Resampling.BICUBIC),
    "cropped": lambda image: image.crop((3, 3, image.width - 3, image.height - 3)),
    "cropped at one side": lambda image: image.crop((0, 0, image.width - 4, image.height - 3)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_near_copy_is_found_among_other_images(kind: str) -> None:
    images = [ref.read() for ref in RELIEF.a[:24]]
    copies = [np.asarray(COPIES[kind](Image.fromarray(image))) for image in images[:12]]
    found = near_copies([of(image) for image in [*images, *copies]])
    good = [(i, j) for i, j, alike, detail in found if alike >= 0.93 and detail >= 0.95]
    assert all(j == i + 24 for i, j in good), "an image was taken for a copy of another"
    assert len(good) >= 11


def test_no_two_of_the_embedded_images_are_taken_for_copies() -> None:
    for side in (RELIEF.a, RELIEF.b):
        assert near_copies([of(ref.read()) for ref in side]) == []


def drawings(number: int, flips: int) -> list[Likeness]:
    """Images whose hashes differ in at most 2 * flips + 1 bits: lines on white."""
    gray = np.zeros((64, 64), np.uint8)
    gray[::4] = 255
    hashes = np.full(number, 0x123456789ABCDEF0, np.uint64)
    for bits in np.random.default_rng(0).integers(0, 64, (flips, number)):
        hashes ^= np.uint64(1) << bits.astype(np.uint64)
    hashes[::2] ^= np.uint64(1)  # so that odd distances occur
    return [Likeness(b"%d" % i, int(one), (0.9, 0.9, 0.9), gray) for i, one in enumerate(hashes)]


@pytest.mark.parametrize(("looks", "compared"), [(20, 2**21), (3, 1000), (3, 1), (200, 5000)])
def test_the_nearest_pairs_are_looked_at_of_equally_near_ones_the_first(looks, compared, monkeypatch) -> None:
    monkeypatch.setattr(module, "SECOND_LOOKS", looks)
    monkeypatch.setattr(module, "COMPARED_AT_ONCE", compared)
    images = drawings(120, 10)
    apart = [(bin(images[i].hash ^ images[j].hash).count("1"), i, j) for i in range(120) for j in range(i + 1, 120)]
    expected = [[i, j] for distance, i, j in sorted(apart) if distance <= 16][: looks * 120]
    assert module._candidates(images, np.full(120, 0.2)).tolist() == expected and len(expected) > 300


def test_images_that_are_all_alike_take_no_memory_in_proportion_to_their_pairs() -> None:
    images = drawings(6000, 6)
    tracemalloc.start()
    found = module._candidates(images, np.full(6000, 0.2))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 120_000 and most < 150e6  # 18 million pairs of 16 bytes, several times over, before


def test_the_digest_tells_pixels_shape_and_type_apart() -> None:
    flat = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    others = [flat.copy(), flat.reshape(4, 2, 3), flat.astype(np.uint16), flat[:, ::-1]]
    assert [of(other).digest == of(flat).digest for other in others] == [True, False, False, False]


def test_the_hash_is_of_64_bits_of_which_half_are_set() -> None:
    number = perceptual_hash(of(scene(1)[0]).gray)
    assert 0 <= number < 2**64 and number.bit_count() in (31, 32)


def test_an_image_is_wholly_like_itself_and_plain_ones_are_not_compared() -> None:
    x = torch.from_numpy(of(scene(3)[0]).gray)[None] / 255
    alike, detail = aligned_likeness(x, x)
    assert alike.item() == pytest.approx(1, abs=1e-4) and detail.item() == pytest.approx(1, abs=1e-4)
    plain = of(np.full((40, 40, 1), 90, np.uint8))
    assert near_copies([plain, plain]) == [] and near_copies([]) == []


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_other_types_are_looked_at_by_their_own_range(dtype: str) -> None:
    ramp = np.linspace(100, 4000, 64).reshape(8, 8, 1).astype(dtype)
    seen = eight_bits(ramp)
    assert seen.dtype == np.uint8 and (seen.min(), seen.max()) == (0, 255)
    assert eight_bits(ramp.repeat(5, axis=2)).shape == (8, 8, 1)


def windows(dx: int, dy: int, size: int = 100) -> list[tuple[np.ndarray, np.ndarray]]:
    """Windows of embedded pairs, of which B's content lies dx to the right of and dy below A's."""
    found = []
    for a, b in list(zip(RELIEF.a, RELIEF.b, strict=True))[::6]:
        x, y = 22, 22
        found.append((a.read()[y : y + size, x : x + size], b.read()[y - dy : y - dy + size, x - dx : x - dx + size]))
    return found


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (0, -2), (3, -4), (-7, 5), (12, -12), (-20, 0), (20, 20)])
def test_shifts_of_up_to_20_pixels_are_recovered_within_one_across_modalities(shift: tuple[int, int]) -> None:
    powers = [cross_power(edges(a), edges(b)) for a, b in windows(*shift)]
    whole = find_shift(torch.stack(powers).mean(0), 1.0, (100, 100))
    assert whole.clear and abs(whole.dx - shift[0]) <= 1 and abs(whole.dy - shift[1]) <= 1
    single = [found for power in powers if (found := find_shift(power, 1.0, (100, 100))).clear]
    assert len(single) >= (10 if max(map(abs, shift)) < 10 else 1), "hardly any pair is clear alone"
    assert all(abs(found.dx - shift[0]) <= 1 and abs(found.dy - shift[1]) <= 1 for found in single)


def test_the_shift_of_large_images_is_in_their_own_pixels() -> None:
    a = np.asarray(Image.fromarray(scene(5)[0]).resize((600, 600)))
    b = np.roll(a, (-14, 35), (0, 1))
    found = find_shift(cross_power(edges(a), edges(b)), 256 / 600, (256, 256))
    assert found.clear and abs(found.dx - 35) <= 3 and abs(found.dy + 14) <= 3
    assert str(found) in ("35 px to the right and 14 px up", "35 px to the right and 15 px up")


def test_images_without_anything_in_common_have_no_clear_shift_and_no_turn() -> None:
    a, b = edges(scene(1)[0]), edges(scene(2)[1])
    assert not find_shift(cross_power(a, b), 1.0, (96, 96)).clear and find_turn(a, b) == ""
    flat = np.zeros((96, 96), np.float32)
    assert not find_shift(cross_power(flat, flat), 1.0, (96, 96)).clear and find_turn(flat, flat) == ""


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_image_is_told_with_what_turns_it_back(turn: str) -> None:
    undone = {"turn B by 90 degrees to the left": "turn B by 90 degrees to the right"}
    undone |= {back: there for there, back in undone.items()}
    found = []
    for a, b in list(zip(RELIEF.a, RELIEF.b, strict=True))[::10]:
        turned = np.ascontiguousarray(TURNS[turn](b.read()))
        found.append(find_turn(edges(a.read()), edges(turned)))
    assert set(found) <= {"", undone.get(turn, turn)} and found.count("") <= len(found) // 2


def test_no_embedded_pair_is_taken_for_a_turned_one() -> None:
    assert {find_turn(edges(a.read()), edges(b.read())) for a, b in zip(RELIEF.a, RELIEF.b, strict=True)} == {""}
