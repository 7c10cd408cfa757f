"""Label maps become one channel a class, are never mixed, and come back as the files that they were."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diptych
from diptych.data import labels
from diptych.data.augment import resize
from diptych.data.census import Census, take_census
from diptych.data.checkup import check
from diptych.data.datasets import Crops, DataConfig, read_as
from diptych.data.folders import find_data
from diptych.data.formats import read_pixels
from diptych.data.labels import fit_labels, label_domains, label_remarks, suffix_for, write_as
from diptych.errors import ConfigError, DataError
from diptych.inference.batch import plan, translate_files
from diptych.inference.translator import Translator
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.scoring.evaluate import evaluate

COLOURS = np.array([(0, 0, 170), (255, 85, 0), (0, 255, 255), (170, 255, 80)], np.uint8)
TABLE = np.zeros((256, 3), np.uint8)
TABLE[[2, 5, 9, 11]] = COLOURS


def blocks(seed: int, numbers=(2, 5, 9, 11), size: int = 48, cell: int = 12) -> np.ndarray:
    """A map of square blocks, each of a random class; every class is in each map."""
    random = np.random.default_rng(seed)
    cells = random.choice(numbers, (size // cell, size // cell))
    cells.flat[: len(numbers)] = numbers
    return np.kron(cells, np.ones((cell, cell))).astype(np.uint8)


def saved(path: Path, index: np.ndarray, how: str) -> None:
    """Write a map of the numbers 2, 5, 9, 11 as gray indices, as a palette image, or as colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "index":
        Image.fromarray(index).save(path)
    elif how == "palette":
        image = Image.fromarray(index, "P")
        image.putpalette(TABLE.tobytes())
        image.save(path)
    else:
        Image.fromarray(TABLE[index]).save(path, quality=75)


def pairs(root: Path, how: str, count: int = 6, suffix: str = ".png", split: str = "train") -> Path:
    """Photos whose brightness shows the class, and their label maps."""
    for i in range(count):
        index = blocks(i)
        noise = np.random.default_rng(100 + i).integers(-8, 9, (*index.shape, 3))
        saved(root / f"{split}B" / f"{i}{suffix}", index, how)
        (root / f"{split}A").mkdir(exist_ok=True)
        Image.fromarray((index[..., None] * 20 + 20 + noise).astype(np.uint8)).save(root / f"{split}A" / f"{i}.png")
    return root


def census_of(root: Path, classes: int | str = "auto") -> Census:
    split = find_data([root], paired=True).train
    return take_census(split, labels=label_domains(split, "b", classes))


def test_a_class_is_one_in_its_channel_and_decodes_to_its_value():
    domain = Domain(classes=((0,), (7,), (11,)))
    pixels = torch.tensor([[[[0, 7, 11]]]], dtype=torch.uint8)
    x = domain.encode(pixels)
    assert x.tolist() == [[[[1.0, -1.0, -1.0]], [[-1.0, 1.0, -1.0]], [[-1.0, -1.0, 1.0]]]]
    assert torch.equal(domain.decode(x * 0.1), pixels) and (domain.channels, domain.bands, domain.kind) == (3, 1, "labels")
    # The colours of PASCAL VOC: 7 is 128,128,128 and 11 is 192,128,0.
    assert domain.shown(x)[0, :, 0].T.tolist() == [[0, 0, 0], [128, 128, 128], [192, 128, 0]]


def test_colours_are_classes_of_three_bands():
    domain = Domain(classes=tuple(map(tuple, COLOURS.tolist())))
    pixels = torch.from_numpy(COLOURS.T[None, :, None].copy())
    x = domain.encode(pixels)
    assert torch.equal(x[0, :, 0], torch.eye(4) * 2 - 1) and torch.equal(domain.decode(x), pixels)
    assert torch.equal(domain.shown(x), pixels)


@pytest.mark.parametrize("classes", [((1,),), ((1,), (1,)), ((1,), (300,)), ((1,), (2, 3))])
def test_classes_that_cannot_be_are_refused(classes):
    with pytest.raises(ConfigError, match="classes"):
        Domain(classes=classes)


@pytest.mark.parametrize("how", ["index", "palette", "colour"])
def test_classes_are_found_in_the_files(how, tmp_path):
    domain = census_of(pairs(tmp_path, how)).b
    if how == "index":
        assert domain == Domain(classes=((2,), (5,), (9,), (11,)))
    else:
        assert sorted(domain.classes) == sorted(map(tuple, COLOURS.tolist()))
        assert domain.indices == ((2, 5, 9, 11) if how == "palette" else ())
        assert how == "colour" or domain.classes == tuple(map(tuple, COLOURS.tolist()))


@pytest.mark.parametrize("classes", ["auto", 4])
def test_the_classes_of_a_jpeg_of_colours_are_told_or_given_and_it_loses_its_noise(classes, tmp_path, caplog):
    caplog.set_level("INFO")
    split = find_data([pairs(tmp_path, "colour", suffix=".jpg")], paired=True).train
    domain = label_domains(split, "b", classes)[1]
    assert ("trainB: 4 classes were told from label maps that are blurred" in caplog.text) == (classes == "auto")
    apart = [np.abs(np.array(domain.classes) - colour).max(1).min() for colour in COLOURS.astype(int)]
    assert max(apart) <= 6 and domain.channels == 4
    right = blocks(0)
    found = read_as(split.b[0], domain)
    order = [np.abs(np.array(domain.classes) - colour).max(1).argmin() for colour in COLOURS.astype(int)]
    wrong = (found != np.array(domain.classes)[order][np.searchsorted((2, 5, 9, 11), right)]).any(2).mean()
    assert wrong < 0.05


def test_jpegs_that_show_no_classes_need_their_number(tmp_path):
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        for side in ("trainA", "trainB"):
            (tmp_path / side).mkdir(exist_ok=True)
            Image.fromarray(noise).resize((96, 96), Image.Resampling.BICUBIC).save(tmp_path / side / f"{i}.jpg")
    with pytest.raises(DataError, match=r"trainB: holds .* colours, which are too many, .*data.classes 12"):
        label_domains(find_data([tmp_path], paired=True).train, "b")


@pytest.mark.parametrize(("classes", "expected"), [(12, 12), ("2,5,9,11", 4), ("auto", 4)])
def test_classes_may_be_given_as_a_number_or_values(classes, expected, tmp_path):
    assert census_of(pairs(tmp_path, "index"), classes).b.channels == expected


def test_numbers_of_classes_are_indices_of_palette_images(tmp_path):
    root = pairs(tmp_path, "palette")
    census = census_of(root, "11,2,5,9")
    assert census.b.indices == (11, 2, 5, 9) and not census.skipped
    assert census.b.classes == tuple(tuple(TABLE[number].tolist()) for number in (11, 2, 5, 9))
    write_as(tmp_path / "y.png", TABLE[blocks(0)], census.b)
    with Image.open(tmp_path / "y.png") as image:
        assert image.mode == "P" and np.array_equal(np.asarray(image), blocks(0))
    for classes, fault in (
        ("2,5,9", "11, which are not in data.classes; add them"),
        ("2,5,9,11,12", "12, which no palette image"),
    ):
        with pytest.raises(DataError, match=fault):
            census_of(root, classes)
    saved(root / "trainB" / "0.png", blocks(0), "colour")
    with pytest.raises(DataError, match="holds colours, and the classes are numbers"):
        fit_labels(read_pixels(root / "trainB" / "0.png"), Domain(classes=((2,), (5,), (9,), (11,))))


def test_a_palette_file_gives_the_classes(tmp_path):
    (tmp_path / "names.txt").write_text("0 0 170 wall\n255 85 0 door\n0 255 255 pane\n170 255 80 sill\n")
    domain = census_of(pairs(tmp_path / "data", "colour"), str(tmp_path / "names.txt")).b
    assert domain.classes == tuple(map(tuple, COLOURS.tolist()))


def test_a_number_that_is_no_class_leaves_its_image_out_and_is_named(tmp_path):
    pairs(tmp_path, "index", count=30)
    index = blocks(3)
    index[0, 0] = 77
    saved(tmp_path / "trainB" / "3.png", index, "index")
    census = census_of(tmp_path, "2,5,9,11")
    assert [skipped.path.name for skipped in census.skipped] == ["3.png"]
    assert "holds the values 77, which are no classes; the classes are 2, 5, 9, 11" in census.skipped[0].reason


def test_photographs_are_no_label_maps(tmp_path):
    split = find_data([pairs(tmp_path, "index")], paired=True).train
    with pytest.raises(DataError, match="trainA: "):
        label_domains(split, "a")
    with pytest.raises(DataError, match="far from the colours of all 4 classes"):
        fit_labels(np.full((4, 4, 3), 128, np.uint8), Domain(classes=((0, 0, 0), (255, 255, 255), (0, 0, 255), (255, 0, 0))))


def test_labels_are_resized_by_nearest_and_never_mixed():
    index = np.random.default_rng(0).integers(0, 200, (48, 48, 1), np.uint8)
    assert np.array_equal(resize(index, 96, 144, nearest=True), index.repeat(2, 0).repeat(3, 1))
    assert np.array_equal(resize(index, 16, 24, nearest=True), index[1::3, 1::2])  # the middle of three, the later of two
    assert set(resize(index, 31, 77, nearest=True).flat) <= set(index.flat)


@pytest.mark.parametrize("how", ["square", "aspect", "none"])
def test_crops_of_labels_hold_classes_alone(how, tmp_path):
    census = census_of(pairs(tmp_path, "palette"))
    crops = Crops(census, DataConfig(resize=how, load_size=37, crop_size=32, labels="b"), 0)
    for k in range(8):
        values = {tuple(colour) for colour in crops[k].b.flatten(1).T.tolist()}
        assert values <= set(census.b.classes) and crops[k].b.shape == (3, 32, 32)


def test_a_census_of_labels_survives_its_file(tmp_path):
    census = census_of(pairs(tmp_path, "palette"))
    assert Census.from_json(census.to_json()) == census


def test_a_palette_file_is_written_with_its_indices(tmp_path):
    census = census_of(pairs(tmp_path, "palette"))
    ref = census.split.b[0]
    write_as(tmp_path / "out.png", read_as(ref, census.b), census.b)
    with Image.open(tmp_path / "out.png") as out, Image.open(ref.path) as given:
        assert out.mode == "P" and np.array_equal(np.asarray(out), np.asarray(given))
        assert np.array_equal(np.asarray(out.convert("RGB")), np.asarray(given.convert("RGB")))
    assert suffix_for(".jpg", census.b) == suffix_for(".jpg", Domain(classes=((0,), (1,)))) == ".png"
    assert suffix_for(".tif", Domain(classes=((0,), (1,)))) == ".tif"


@pytest.mark.parametrize("how", ["index", "palette"])
def test_photos_become_labels_and_labels_photos(how, tmp_path):
    root = pairs(tmp_path / "data", how)
    method = {"generator": "resnet_1", "ngf": 8, "ndf": 8, "lambda_gan": 0.0, "lambda_identity": 0.5}
    data = {"source": [str(root)], "resize": "none", "crop_size": 24, "labels": "b", "pairs": 1.0, "flip": False, "holdout": 0.0}
    settings = {"method": method, "data": data, "train": {"epochs": 10, "decay_epochs": 0, "lr": 0.003, "precision": "fp32"}}
    torch.manual_seed(0)
    path = diptych.train(Recipe.create("cyclegan", settings), tmp_path / "run", device="cpu", workers=0)
    there, back = (Translator.load(path, direction, device="cpu") for direction in ("a2b", "b2a"))
    outcomes = translate_files(plan([root / "trainA"], tmp_path / "out", there), there)
    assert not any(outcome.problem for outcome in outcomes)
    shares = []
    for i in range(6):
        with Image.open(tmp_path / "out" / f"{i}.png") as image:
            assert image.mode == ("P" if how == "palette" else "L")
            shares.append((np.asarray(image) == blocks(i)).mean())
    assert np.mean(shares) > 0.5  # chance is a quarter
    photo = back(Image.open(root / "trainB" / "0.png"))
    assert photo.mode == "RGB" and photo.size == (48, 48)
    pairs(tmp_path / "fresh", how, split="test")
    pairs(tmp_path / "fresh", how, count=1)
    how = {"metrics": ["fcn_pixel"], "direction": "a2b", "paired": True, "allow_seen": True, "device": "cpu"}
    assert evaluate(path, tmp_path / "fresh", **how).value("fcn_pixel").value > 0.5  # with no --labels and no --palette


def test_checks_name_indices_that_would_be_trained_as_near_black_pictures(tmp_path):
    pairs(tmp_path, "index")
    (found,) = [finding for finding in check([tmp_path]).findings if finding.rule == "labels"]
    assert "B holds whole numbers from 2 to 11, as label maps do; set data.labels b" in str(found)
    split = find_data([tmp_path], paired=True).train
    assert len(list(label_remarks([("a", split.a), ("b", split.b)]))) == 1


def test_settings_of_labels_follow_their_rules():
    with pytest.raises(ConfigError, match=r"data.classes 12 has no meaning without labels"):
        DataConfig(classes=12)
    with pytest.raises(ConfigError, match="from 2 to 256, found 1"):
        DataConfig(labels="b", classes=1)
    with pytest.raises(ConfigError, match="must be auto, a number of classes"):
        DataConfig(labels="b", classes="many")
    assert Recipe.create("pix2pix", {}, ["--data.labels", "b", "--data.classes", "12"]).data.classes == 12


@pytest.mark.parametrize("how", ["index", "palette", "colour"])
def test_a_large_map_is_counted_by_strips_to_the_same(how, tmp_path, monkeypatch):
    split = find_data([pairs(tmp_path, how, 2)], paired=True).train
    expected = labels._tally(split.b, 1), labels._tally(split.a, 1)
    monkeypatch.setattr(labels, "STRIP", 48 * 7)  # 7 of 48 rows at a time
    assert (labels._tally(split.b, 1), labels._tally(split.a, 1)) == expected
    assert expected[0].neighbours == 2 * 48 * 47 and expected[0].equal == 2 * 48 * 47 - int(
        sum((blocks(i)[:, 1:] != blocks(i)[:, :-1]).sum() for i in range(2))
    )
