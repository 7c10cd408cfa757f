"""Films as training data: frames by number, in any order, are those that decoding from the beginning gives."""

import json
import logging

import numpy as np
import pytest

from diptych.data import film_frames
from diptych.data.census import take_census
from diptych.data.checkup import check
from diptych.data.datasets import Crops, DataConfig
from diptych.data.films import read_frames, survey
from diptych.data.findings import Case
from diptych.data.folders import find_data, find_images
from diptych.data.formats import read_pixels, write_pixels
from diptych.data.inspection import Place
from diptych.data.neighbours import series
from diptych.data.passed_over import passed_over
from diptych.data.stream import batches
from diptych.errors import DataError, Interrupted
from diptych.recipe import Recipe
from diptych.training import loop
from tests.contract.small import small
from tests.data.films import film, moving
from tests.training.stopping import ask_to_stop

OPTIONS = {"crf": "10", "g": "12", "bf": "3", "x264-params": "open-gop=1:scenecut=0"}  # B-frames, and keyframes amid their groups


def short(path, count=40, seed=0, **how):
    return film(path, moving(count, 48, 64, seed), options=how.pop("options", OPTIONS), **how)


def test_frames_in_any_order_are_those_of_decoding_from_the_beginning(tmp_path):
    path = short(tmp_path / "a.mp4", stamps=[700 * i + (i % 3) * 50 for i in range(40)])
    expected = [frame.pixels for frame in read_frames(survey(path))]
    paths = find_images(path, films=True)
    assert [each.name for each in paths] == [f"f{number:06d}" for number in range(40)]
    order = [*range(40), *np.random.default_rng(0).permutation(40)]
    assert all(np.array_equal(read_pixels(paths[number]), expected[number]) for number in order)


def test_frames_in_their_order_are_decoded_once(tmp_path, monkeypatch):
    path, count = short(tmp_path / "a.mp4"), []
    decode = film_frames.decoded
    monkeypatch.setattr(film_frames, "decoded", lambda *where: (count.append(1) or frame for frame in decode(*where)))
    for each in find_images(path, films=True):
        read_pixels(each)
    assert len(count) == 40
    read_pixels(path / "f000002")
    assert 40 < len(count) <= 40 + 12  # from the keyframe before it


def test_a_turned_film_has_upright_frames(tmp_path):
    path = short(tmp_path / "a.mp4", 3, turned=90)
    assert [read_pixels(each).shape for each in find_images(path, films=True)] == [(64, 48, 3)] * 3


def test_films_are_data_by_themselves_or_in_folders_without_images(tmp_path):
    a, b = short(tmp_path / "a.mp4", 5), short(tmp_path / "B" / "b1.mkv", 4)
    short(tmp_path / "B" / "b2.avi", 3)
    layout = find_data([a, tmp_path / "B"], paired=False)
    assert (len(layout.train.a), len(layout.train.b)) == (5, 7) and not layout.unused
    assert layout.films == {a, b, tmp_path / "B" / "b2.avi"} and passed_over([a, tmp_path / "B"], layout.films) == ""
    assert list(map(len, series(layout.train.b))) == [4, 3]
    write_pixels(tmp_path / "B" / "1.png", moving(1)[0])
    assert len(find_data([a, tmp_path / "B"], paired=False).train.b) == 1  # as before films were data
    left_out = passed_over([a, tmp_path / "B"], {a})
    said = f"films beside images are left out; to train with a film, give the film itself: {tmp_path}/B/b1.mkv"
    assert f"1 x .mkv ({said})" in left_out and "b2.avi" in left_out
    (tmp_path / "B" / "c.MP4").touch()
    named = passed_over([tmp_path / "B"], use="translating")
    assert all(f"name them: {tmp_path}/B/*{suffix})" in named for suffix in (".mkv", ".avi", ".MP4"))


def test_frames_of_films_are_pairs_only_where_that_is_said(tmp_path):
    a, b = short(tmp_path / "a.mp4", 6), short(tmp_path / "b.mp4", 6, seed=1)
    found = check([a, b])
    assert "no pairs, as frames of films have numbers for names" in f"{found.pairing}" and not found.listing.paired
    assert check([a, b], paired=True).listing.paired
    split = found.listing.splits["train"]
    places = [Place("train", side, ref) for side, refs in zip("AB", (split.a, split.b), strict=True) for ref in refs]
    assert str(Case(tuple(places[:2]))) == "train A: a.mp4/f000000 and train A: a.mp4/f000001"
    said = "train A: a.mp4/f000000 and 5 more, train B: b.mp4/f000000 and 5 more (95% alike)"
    assert str(Case(tuple(places), "95% alike")) == said


def test_frames_are_counted_and_cut_like_images_and_are_the_same_from_worker_processes(tmp_path):
    a, b = short(tmp_path / "a.mp4", 9), short(tmp_path / "b.mp4", 7, seed=1)
    checked = check([a, b], paired=False)
    assert checked.images == 16 and not any(finding.rule == "not images" and finding.detail for finding in checked.findings)
    census = take_census(find_data([a, b], paired=False).train)
    assert (len(census.split.a), len(census.split.b)) == (9, 7) and set(census.sizes.values()) == {(48, 64)}
    crops = Crops(census, DataConfig(resize="none", crop_size=32), 1)
    for one, other in zip(batches(crops, 4, 12, 2), batches(crops, 4, 12, 2, workers=2), strict=True):
        assert np.array_equal(one.a, other.a) and np.array_equal(one.b, other.b) and one.files == other.files


def test_what_is_no_film_is_refused_in_a_line(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    with pytest.raises(DataError, match=r"bad\.mp4: is no film that can be read"):
        find_data([tmp_path / "bad.mp4", short(tmp_path / "b.mp4", 3)], paired=False)
    with pytest.raises(DataError, match="has 3 frames, and none with the number 7"):
        read_pixels(tmp_path / "b.mp4" / "f000007")


def test_a_training_on_films_compares_next_frames_and_goes_on_to_the_bit(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    sources = [str(short(tmp_path / name, 6, seed)) for seed, name in enumerate(("a.mp4", "b.mp4"))]
    data = {"source": sources, "resize": "none", "crop_size": 32, "holdout": 0.0}
    extra = [{"loss": "temporal", "between": ["real_a"], "motion": "neighbours"}]

    def train(out, epochs):
        recipe = {"method": small("cyclegan"), "data": data, "train": {"epochs": epochs, "decay_epochs": 0}, "extra": extra}
        loop.train(Recipe.create("cyclegan", recipe), out, device="cpu", workers=0, num_previews=0, log_every=1)
        lines = (out / "stats.jsonl").read_text().splitlines()
        return [json.loads(line)["losses"] for line in lines]

    whole = train(tmp_path / "whole", 1)
    assert "motion of real_a is real: 5 of 6 images" in caplog.text
    take_step, steps = loop.train_step, []

    def stopped(trainee, batch):
        steps.append(take_step(trainee, batch))
        if len(steps) == 3:
            ask_to_stop()

    monkeypatch.setattr(loop, "train_step", stopped)
    with pytest.raises(Interrupted):
        train(tmp_path / "parts", 1)
    monkeypatch.setattr(loop, "train_step", take_step)
    assert len(steps) == 3 and train(tmp_path / "parts", 1) == whole
