"""Sample k of the training sequence: fixed by the seed and k, the same wherever the pixels come from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.data import datasets
from diptych.data.augment import resize_for
from diptych.data.census import Census, take_census
from diptych.data.datasets import Crops, DataConfig, Files
from diptych.data.folders import Ref, Split
from diptych.data.ranges import parse_range
from diptych.data.stream import collate
from diptych.errors import ConfigError, DataError
from diptych.pixels import Domain, Reading
from tests.data.pictures import side_by_side, two_sides

KINDS = (3, "uint16"), (1, "float32")
CONFIGS = [DataConfig(resize=how, load_size=36, crop_size=32) for how in ("square", "aspect", "none")]


def as_published(census, config, seed, k):
    """Sample k in the order of its definition: each image read alone, cropped and mirrored as an array (h, w, c)."""
    split, length = census.split, max(len(census.split.a), len(census.split.b))
    epoch, place = divmod(k, length)
    indices = []
    for side, stream in ((split.a, 0), (split.b, 3)):
        fill = length % len(side)  # images that are drawn once more; they take turns
        turns = np.random.default_rng((seed, stream, 0, 1)).permutation(len(side)).tolist() * 2000
        draws = [*range(len(side))] * (length // len(side)) + turns[epoch * fill : (epoch + 1) * fill]
        indices.append(draws[np.random.default_rng((seed, stream, epoch)).permutation(length)[place]])
    ref_a, ref_b = split.a[indices[0]], split.b[indices[0 if split.paired else 1]]
    random = np.random.default_rng((seed, 1, k, 0))
    draw_a = random.random(3)
    draw_b = draw_a if split.paired else random.random(3)
    found = []
    for ref, (x, y, side) in ((ref_a, draw_a), (ref_b, draw_b)):
        pixels = resize_for(ref.read(), config.resize, config.load_size, at_least=config.crop_size)
        top, left = (int(place * (extent - 31)) for place, extent in zip((y, x), pixels.shape, strict=False))
        pixels = pixels[top : top + 32, left : left + 32]
        pixels = pixels[:, ::-1] if config.flip and side < 0.5 else pixels
        found.append(torch.from_numpy(pixels.transpose(2, 0, 1).copy()))
    return (*found, (ref_a.name, ref_b.name))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.resize)
@pytest.mark.parametrize(("paired", "counts"), [(True, (7, 7)), (False, (7, 4)), (False, (3, 8))])
def test_sample_k_is_the_one_that_its_definition_says(paired, counts, config, tmp_path):
    census = two_sides(tmp_path, paired=paired, counts=counts, kinds=KINDS)
    crops, mirrored = Crops(census, config, 5), 0
    for k in (*range(20), 1000):
        a, b, files = as_published(census, config, 5, k)
        sample = crops[k]
        assert torch.equal(sample.a, a) and torch.equal(sample.b, b) and sample.files == files and not sample.problems
        mirrored += crops.draw(k)[0].mirrored
    assert 3 < mirrored < 18  # so that both ways were seen


@pytest.mark.parametrize("counts", [(10, 23), (23, 10), (12, 12), (1, 5), (7, 8)])
def test_every_image_is_drawn_equally_often_in_every_epoch_and_over_all(counts):
    split = Split(*(tuple(Ref(Path(f"{side}{i}")) for i in range(n)) for side, n in zip("ab", counts, strict=True)), False)
    crops = Crops(Census(split, Domain(), Domain()), CONFIGS[0], 4)
    length = max(counts)
    total = [np.zeros(n, int) for n in counts]
    partners = set()
    for epoch in range(9):
        drawn = [crops.draw(k) for k in range(epoch * length, (epoch + 1) * length)]
        for side, n in enumerate(counts):
            often = np.bincount([draw[side].image for draw in drawn], minlength=n)
            assert often.min() == length // n and often.max() == -(-length // n)
            total[side] += often
            assert np.ptp(total[side]) <= 1  # those drawn once more are others in the next epoch
        partners |= {(a.image, b.image) for a, b in drawn}
    assert len(partners) > 0.4 * min(9 * length, counts[0] * counts[1])  # the sides do not go together


def test_a_sample_does_not_depend_on_which_were_drawn_before(tmp_path):
    census = two_sides(tmp_path, paired=False, counts=(7, 4))
    there, back = Crops(census, CONFIGS[0], 5), Crops(census, CONFIGS[0], 5)
    forwards = [there.draw(k) for k in range(40)]
    assert [back.draw(k) for k in reversed(range(40))] == forwards[::-1]


def test_a_share_of_unpaired_samples_are_known_pairs_cropped_alike(tmp_path):
    census = two_sides(tmp_path, paired=False, counts=(7, 4), kinds=KINDS)
    names_b = {ref.name for ref in census.split.b}
    alike = {ref.name for ref in census.split.a if ref.name in names_b}
    assert alike
    crops = Crops(census, replace(CONFIGS[0], pairs=0.25), 5)
    samples = [crops[k] for k in range(200)]
    known = [sample for sample in samples if sample.known]
    assert 30 < len(known) < 70 and {sample.files[0] for sample in known} == alike
    assert all(sample.files[0] == sample.files[1] for sample in known)
    drawn = [crops.draw(k) for k in range(200)]
    assert [sample.known for sample in samples] == [a[1:4] == b[1:4] for a, b in drawn]
    assert collate(samples[:9]).known.tolist() == [float(sample.known) for sample in samples[:9]]
    assert collate([Crops(census, CONFIGS[0], 5)[k] for k in range(3)]).known is None


def test_pairs_that_nobody_knows_are_refused(tmp_path):
    census = two_sides(tmp_path, paired=False, counts=(7, 4), kinds=KINDS)
    strangers = replace(census, split=Split(census.split.a[:2], census.split.b[2:], False))
    with pytest.raises(ConfigError, match=r"of 2 \+ 2 images none has a name of the other side"):
        Crops(strangers, replace(CONFIGS[0], pairs=0.1), 0)
    with pytest.raises(ConfigError, match=r"data\.pairs is a share"):
        DataConfig(pairs=1.5)


@pytest.mark.parametrize("text", ["", "most", "1", "1,2,3", "5,5", "9,1", "nan,1", "0,inf", "a,b"])
def test_a_range_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match=r"data\.range must be full, robust, or LOW,HIGH with LOW below HIGH such as 0,4095"):
        DataConfig(range=text)


def test_ranges_are_words_or_two_numbers():
    assert [parse_range(DataConfig(range=text).range) for text in ("full", "robust", "-20,80.5")] == [
        "full",
        "robust",
        (-20, 80.5),
    ]


def test_halves_of_one_file_are_those_read_alone_and_the_file_is_decoded_once(tmp_path, monkeypatch):
    census = side_by_side(tmp_path)
    config, read, reading = CONFIGS[0], [], datasets.read_pixels
    monkeypatch.setattr(datasets, "read_pixels", lambda path, rules: read.append(path) or reading(path, rules))
    crops = Crops(census, config, 0)
    for k in range(6):
        a, b, _ = as_published(census, config, 0, k)
        sample = crops[k]
        assert torch.equal(sample.a, a) and torch.equal(sample.b, b)
    assert len(read) == 6


def test_an_unreadable_image_gives_way_to_the_next_in_the_order_and_ten_in_a_row_are_an_error(tmp_path):
    census = two_sides(tmp_path, counts=(12, 12))
    crops = Crops(census, CONFIGS[0], 0)
    lost = census.split.a[crops.draw(3)[0].image].path
    lost.unlink()
    sample = crops[3]
    assert sample.files[0] == census.split.a[crops.draw(3, 1)[0].image].name
    assert sample.problems == (f"{lost}: does not exist; check the path, or whether it was removed meanwhile",)
    for ref in census.split.b:
        ref.path.unlink()
    with pytest.raises(DataError, match=r"^10 images in a row could not be read since training began; the last: .*/\d\d"):
        crops[0]


def test_an_image_that_changed_its_kind_names_the_file(tmp_path):
    census = two_sides(tmp_path)
    path = census.split.a[0].path
    np.save(path, np.zeros((40, 44, 5), np.float32))
    with pytest.raises(DataError) as error:
        Files(census, CONFIGS[0]).image(0, 0, {})
    assert str(error.value).startswith(f"{path}: is 5 x float32, but the model takes images of 3 x uint8")


CHANGED = {"resize": "none", "crop_size": (20, 28), "turns": True, "angle": 30.0, "zoom": 1.5}


@pytest.mark.parametrize("paired", [True, False])
def test_pairs_stay_pairs_whatever_chance_does_to_them(paired, tmp_path):
    census = two_sides(tmp_path, paired=paired, counts=(5, 5))
    alike = replace(census, split=Split(census.split.a, census.split.a, paired))  # the same image on both sides
    crops, plain = Crops(alike, DataConfig(**CHANGED), 3), Crops(alike, DataConfig(resize="none", crop_size=(20, 28)), 3)
    same = [torch.equal(crops[k].a, crops[k].b) for k in range(8)]
    assert all(same) if paired else not any(same)
    assert not any(torch.equal(crops[k].a, plain[k].a) for k in range(8))
    assert [crops.draw(k)[0]._replace(change=None) for k in range(8)] == [plain.draw(k)[0] for k in range(8)]
    assert {crops.draw(k)[0].change.turns for k in range(40)} == {0, 1, 2, 3}
    angles, zooms = zip(*(crops.draw(k)[0].change[1:3] for k in range(200)), strict=True)
    assert 25 < max(angles) <= 30 and -30 <= min(angles) < -25 and 1.4 < max(zooms) <= 1.5 and 1 / 1.5 <= min(zooms) < 0.72


def test_colours_of_one_side_change_alone_and_sample_k_is_always_the_same(tmp_path):
    census = two_sides(tmp_path)
    jittered, plain = (Crops(census, DataConfig(resize="none", crop_size=24, jitter_a=j), 0) for j in (0.5, 0.0))
    for k in range(4):
        assert torch.equal(jittered[k].b, plain[k].b) and not torch.equal(jittered[k].a, plain[k].a)
        assert torch.equal(jittered[k].a, jittered[k].a)
    config = DataConfig(**CHANGED, jitter_a=0.2)
    assert config.changes and not config.unaugmented().changes and not config.unaugmented().flip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"angle": 181.0}, r"data.angle is in degrees, from 0 to 180, found 181"),
        ({"zoom": 0.5}, r"data.zoom must be between 1 and 4, found 0.5"),
        ({"jitter_b": 1.5}, r"data.jitter_b must be between 0 and 1, found 1.5"),
        ({"jitter_b": 0.5, "labels": "b"}, r"data.jitter_b changes colours, which are the classes of labels; set it to 0"),
    ],
)
def test_settings_of_chance_follow_their_rules(settings, message):
    with pytest.raises(ConfigError, match=message):
        DataConfig(**settings)


def test_jitter_changes_colours_and_not_the_transparency_beside_them(tmp_path):
    refs = []
    for i in range(2):
        path = tmp_path / f"{i}.png"
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (16, 16, 4), dtype=np.uint8)).save(path)
        refs.append(Ref(path))
    census = take_census(Split(tuple(refs), tuple(refs), False), reading=Reading(alpha="keep"))
    how = {"resize": "none", "crop_size": 16, "flip": False, "alpha": "keep"}
    plain, jittered = (Crops(census, DataConfig(**how, jitter_a=jitter), 0)[0] for jitter in (0.0, 0.8))
    assert (
        plain.files == jittered.files and torch.equal(plain.a[3], jittered.a[3]) and not torch.equal(plain.a[:3], jittered.a[:3])
    )
