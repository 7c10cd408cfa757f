"""Which frame follows which, and what a sample carries of the next one."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.data.census import take_census
from diptych.data.datasets import Crops, DataConfig
from diptych.data.folders import Ref, find_data
from diptych.data.formats import read_pixels, write_pixels
from diptych.data.neighbours import NONE, neighbour, next_frames, series
from diptych.data.stream import batches
from diptych.pixels import Domain

cv2 = pytest.importorskip("cv2", reason="needs the video extra")
SIZE = 64
CONFIG = DataConfig(resize="none", crop_size=48)


def texture(seed: int, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """A smooth random picture, (h, w, 3) of uint8."""
    noise = np.random.default_rng(seed).standard_normal((height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3, borderType=cv2.BORDER_REFLECT)
    return np.clip(128 + 55 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def pan(seed: int, count: int, step: int = 2) -> list[np.ndarray]:
    """A camera that moves to the right: a thing at column x is at x - step in the next frame."""
    whole = texture(seed, SIZE, SIZE + step * count)
    return [whole[:, step * i : step * i + SIZE] for i in range(count)]


def frames_census(root: Path):
    """trainA: two shots of five frames, a gap in the numbers, one more frame; trainB: three pictures."""
    for number, frame in zip([*range(10), 12], [*pan(1, 5), *pan(2, 6)], strict=True):
        write_pixels(root / "trainA" / f"film-{number:03d}.png", frame)
    for number in range(3):
        write_pixels(root / "trainB" / f"b{number}.png", texture(30 + number))
    return take_census(find_data([root], paired=False).train)


@pytest.fixture(scope="module")
def census(tmp_path_factory):
    root = tmp_path_factory.mktemp("frames")
    (root / "trainA").mkdir(), (root / "trainB").mkdir()
    return frames_census(root)


def test_the_next_frame_has_the_next_number_of_the_same_series():
    names = [
        "x/f-10",
        "x/f-5",
        "x/f-0",
        "x/f-25",
        "x/f-30",
        "y/f-15",
        "x/g",
        "x/f_7_night",
        "x/f_8_night",
        "x/a1",
        "x/a01",
        "x/a2",
    ]
    runs = [[names[index] for index in run] for run in series([Ref(Path(f"{name}.png")) for name in names])]
    assert runs == [["x/f-0", "x/f-5", "x/f-10"], ["x/f-25", "x/f-30"], ["x/f_7_night", "x/f_8_night"]]


def test_cuts_and_gaps_part_frames(census):
    refs, watched = census.split.a, []
    found = next_frames(
        refs,
        lambda index: torch.from_numpy(refs[index].read().transpose(2, 0, 1).copy()),
        census.a,
        lambda *done: watched.append(done),
    )
    assert found.tolist() == [1, 2, 3, 4, NONE, 6, 7, 8, 9, NONE, NONE]
    assert watched[-1] == (10, 10)


def test_pictures_that_are_numbered_but_show_other_things_are_no_frames():
    """Their luma changes every time, which FFmpeg's scdet takes for a flicker."""
    pictures = [torch.from_numpy(texture(seed).transpose(2, 0, 1).copy()) for seed in range(6)]
    found = next_frames([Ref(Path(f"{i}.png")) for i in range(6)], lambda index: pictures[index], Domain())
    assert (found == NONE).all()


def test_the_flow_of_a_shift_is_found_and_what_comes_into_view_is_not_trusted():
    before, after = (torch.from_numpy(frame.transpose(2, 0, 1).copy()) for frame in pan(1, 2, step=4))
    image, places, likeness = neighbour(before, after, Domain())
    assert torch.equal(image, after)
    columns = (places[..., 0] + 1) * (SIZE - 1) / 2 - torch.arange(SIZE)
    rows = (places[..., 1] + 1) * (SIZE - 1) / 2 - torch.arange(SIZE)[:, None]
    inside = slice(12, SIZE - 12)
    assert (columns[inside, inside] - 4).abs().max() < 0.5 and rows[inside, inside].abs().max() < 0.5
    assert likeness[0, inside, inside].min() > 0.9
    assert not likeness[0, :, -3:].any()  # the last four columns were beyond the frame before


def test_a_domain_of_deep_gray_images_is_compared_over_its_range():
    """12 bits of 16: over the whole range of the type nothing would be seen to move."""
    shots = [torch.from_numpy((frame[..., :1].astype(np.uint16) * 16).transpose(2, 0, 1).copy()) for frame in pan(1, 2, step=4)]
    _, places, likeness = neighbour(*shots, Domain(1, "uint16", 0, 4080))
    assert abs(float(places[32, 32, 0] + 1) * (SIZE - 1) / 2 - 32 - 4) < 0.5 and likeness[0, 20:40, 20:40].min() > 0.9


def test_a_next_frame_is_cropped_and_mirrored_like_its_frame(census):
    following = np.array([1, 2, 3, 4, NONE, 6, 7, 8, 9, NONE, NONE])
    crops, seen = Crops(census, CONFIG, 3).beside((following, None)), set()
    for k in range(22):
        draw, sample = crops.draw(k)[0], crops[k]
        assert sample.next_b is None and sample.next_a is not None
        if following[draw.image] == NONE:
            assert torch.equal(sample.next_a.image, sample.a) and (sample.next_a.places > 1).all()
            continue
        left, top = (int(place * 17) for place in (draw.x, draw.y))
        expected = read_pixels(census.split.a[following[draw.image]].path)[top : top + 48, left : left + 48]
        expected = expected[:, ::-1] if draw.mirrored else expected
        assert np.array_equal(sample.next_a.image.numpy(), expected.transpose(2, 0, 1))
        shift = float(sample.next_a.places[24, 24, 0] + 1) * 47 / 2 - 24
        assert shift == pytest.approx(-2 if draw.mirrored else 2, abs=0.5)
        seen.add(draw.mirrored)
    assert seen == {True, False}
    plain = Crops(census, CONFIG, 3)[0]
    assert torch.equal(plain.a, crops[0].a) and torch.equal(plain.b, crops[0].b) and plain.next_a is None


def test_next_frames_are_the_same_from_worker_processes_and_from_any_position(census):
    following = np.array([1, 2, 3, 4, NONE, 6, 7, 8, 9, NONE, NONE])
    crops = Crops(census, CONFIG, 3).beside((following, None))
    whole = list(batches(crops, 0, 12, 2))
    resumed = list(batches(crops, 6, 12, 2, workers=2))
    assert len(resumed) == 3
    for one, other in zip(whole[3:], resumed, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(one.next_a, other.next_a, strict=True))
