"""Palettes: the nearest colour by brute force, colours found in noisy label maps, files in every form, and bad ones."""

from __future__ import annotations

import io
import json
import time

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.errors import ConfigError, DataError, StorageError
from diptych.palette import Palette

TWELVE = np.array(
    [
        *[(0, 0, 223), (0, 48, 255), (0, 128, 255), (0, 207, 255), (32, 255, 223), (112, 255, 143)],
        *[(191, 255, 64), (255, 239, 0), (255, 159, 0), (255, 80, 0), (255, 0, 0), (175, 0, 0)],
    ]
)  # the classes of CMP Facades


def noisy_maps(num_maps, colours, rarest=1.0, quality=60):
    """Label maps of rectangles that went through JPEG; the last class is drawn this much more seldom than the others."""
    random, maps = np.random.default_rng(0), []
    share = np.array([1.0] * (len(colours) - 1) + [rarest])
    for _ in range(num_maps):
        image = np.full((96, 96, 3), colours[0], np.uint8)
        for index in random.choice(len(colours), 40, p=share / share.sum()):
            y, x = random.integers(0, 90, 2)
            image[y : y + random.integers(4, 30), x : x + random.integers(4, 30)] = colours[index]
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        maps.append(torch.from_numpy(np.array(Image.open(file))).movedim(-1, 0))
    return maps


def worst_distance(palette, colours):
    """How far the worst found of these colours is from its nearest in the palette."""
    return np.linalg.norm(palette.colours[:, None].astype(float) - colours, axis=2).min(axis=0).max()


@pytest.mark.parametrize("quality", [40, 75, 95])
def test_the_number_of_classes_is_told_from_noisy_maps_and_not_from_tints(quality):
    assert Palette.count_classes(noisy_maps(20, TWELVE, quality=quality)) == 12
    assert Palette.count_classes(noisy_maps(20, TWELVE[:5], quality=quality)) == 5
    assert Palette.count_classes([torch.zeros(3, 32, 32, dtype=torch.uint8)]) is None  # one class teaches nothing
    ramp = torch.arange(256, dtype=torch.uint8)
    assert Palette.count_classes([torch.stack(torch.broadcast_tensors(ramp[None], ramp[:, None], ramp[None]))]) is None


def test_labels_are_the_nearest_colours():
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, 3, 20, 30), dtype=np.uint8)
    palette = Palette(TWELVE)
    expected = np.linalg.norm(images[:, None].astype(float) - TWELVE[None, :, :, None, None], axis=2).argmin(axis=1)
    assert palette.labels(torch.from_numpy(images)).numpy().tolist() == expected.tolist()


def test_labels_are_exact_with_as_many_colours_as_there_can_be():
    random = np.random.default_rng(0)
    colours = random.permutation(np.stack(np.meshgrid(*[[0, 50, 101, 152, 203, 254, 255]] * 3), axis=-1).reshape(-1, 3))[:256]
    images = torch.from_numpy(random.integers(0, 256, (1, 3, 9, 9), dtype=np.uint8))
    expected = np.linalg.norm(images.numpy()[:, None].astype(float) - colours[None, :, :, None, None], axis=2).argmin(axis=1)
    assert Palette(colours).labels(images).numpy().tolist() == expected.tolist()


def test_the_first_of_equally_near_colours_wins():
    image = torch.full((1, 3, 1, 1), 10, dtype=torch.uint8)
    assert Palette([(0, 10, 10), (20, 10, 10)]).labels(image).item() == 0
    assert Palette([(20, 10, 10), (0, 10, 10)]).labels(image).item() == 0


def test_painted_classes_are_read_back():
    classes = torch.randint(0, 12, (2, 8, 9), generator=torch.Generator().manual_seed(0))
    painted = Palette(TWELVE).paint(classes)
    assert painted.shape == (2, 3, 8, 9) and painted.dtype == torch.uint8
    assert torch.equal(Palette(TWELVE).labels(painted), classes)
    assert painted[1, :, 3, 4].tolist() == TWELVE[classes[1, 3, 4]].tolist()


def test_ignored_colours_are_no_class():
    palette = Palette([(0, 0, 255), (255, 0, 0)], ignored=[(9, 9, 9)])
    classes = torch.tensor([[[0, 1, -1, 255]]])
    painted = palette.paint(classes)
    assert painted[0, :, 0, 2].tolist() == painted[0, :, 0, 3].tolist() == [9, 9, 9]
    assert palette.labels(painted).tolist() == [[[0, 1, -1, -1]]]
    assert palette.num_classes == 2
    assert Palette(TWELVE).paint(classes)[0, :, 0, 2].tolist() == [0, 0, 0]


def test_an_image_of_256_pixels_and_12_classes_takes_milliseconds():
    images = torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8)
    palette, seconds = Palette(TWELVE), []
    for _ in range(20):
        start = time.perf_counter()
        palette.labels(images)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.02  # 0.0013 on a busy core


def test_the_colours_of_noisy_label_maps_are_found():
    palette = Palette.from_images(noisy_maps(20, TWELVE), 12)
    assert worst_distance(palette, TWELVE) < 8
    assert palette.num_classes == 12


def test_a_rare_class_is_found_beside_frequent_ones():
    maps = noisy_maps(40, TWELVE, rarest=0.05)
    assert 0 < torch.stack(maps).sub(torch.tensor(TWELVE[-1])[None, :, None, None]).abs().sum(1).lt(40).double().mean() < 0.005
    assert worst_distance(Palette.from_images(maps, 12), TWELVE) < 12


def test_the_most_frequent_colour_comes_first_and_order_of_images_does_not_matter():
    maps = noisy_maps(8, TWELVE)
    palette = Palette.from_images(maps, 12)
    assert np.abs(palette.colours[0].astype(int) - TWELVE[0]).max() < 8
    assert palette.colours.tolist() == Palette.from_images(maps[::-1], 12).colours.tolist()
    assert palette.colours.tolist() == Palette.from_images(torch.stack(maps), 12).colours.tolist()


def test_continuous_tints_are_cut_into_bands():
    ramp = torch.arange(256).to(torch.uint8).expand(3, 256, 256)
    found = Palette.from_images([ramp], 4).colours[:, 0]
    assert sorted(found.tolist()) == pytest.approx([32, 96, 160, 224], abs=16)  # k-means stops at a near optimum


def test_too_few_colours_are_an_error():
    maps = noisy_maps(2, TWELVE[:1])
    with pytest.raises(
        DataError, match=r"^2 classes asked for, but the label maps hold 1 flat colours that differ; ask for fewer"
    ):
        Palette.from_images(maps, 2)
    with pytest.raises(DataError, match="hold 0 flat colours"):
        Palette.from_images([], 2)
    with pytest.raises(ConfigError, match=r"^a palette has from 2 to 256 classes, found 1$"):
        Palette.from_images(maps, 1)


@pytest.mark.parametrize("suffix", [".txt", ".json"])
@pytest.mark.parametrize("names", [(), tuple(f"class {index} ä" for index in range(12))])
@pytest.mark.parametrize("ignored", [[], [(1, 2, 3), (4, 5, 6)]])
def test_a_saved_palette_comes_back(tmp_path, suffix, names, ignored):
    path = tmp_path / f"palette{suffix}"
    palette = Palette(TWELVE, names, ignored)
    palette.save(path)
    found = Palette.load(path)
    assert found.colours.tolist() == TWELVE.tolist() and found.names == names
    assert found.ignored.tolist() == [list(colour) for colour in ignored]


@pytest.mark.parametrize("suffix", [".txt", ".json"])
def test_a_name_comes_back_from_a_file_or_is_refused(tmp_path, suffix):
    for name in ("Stra\u00dfe 3", "\u9053\u3000\u8def", "# 1", "7", "ignored"):
        Palette(TWELVE[:2], ("sky", name)).save(tmp_path / f"p{suffix}")
        assert Palette.load(tmp_path / f"p{suffix}").names == ("sky", name)
    for name in ("", " road", "road\t", "a\rb", "a\x85b", "a\u2028b", "\x1f", "\x1b[31m", "\ud800", "ignore", "x" * 99 + "\n"):
        with pytest.raises(ConfigError, match=r"^a class cannot have the name '.*; give a name in one line") as refused:
            Palette(TWELVE[:2], ("sky", name))
        assert str(refused.value).isprintable()
    (tmp_path / "p.json").write_text('[[0, 0, 255, "sky"], [0, 255, 0, "a\\nb"]]')
    with pytest.raises(DataError, match=r"p\.json: a class cannot have the name 'a\\nb'; give a name in one line"):
        Palette.load(tmp_path / "p.json")


def test_a_json_object_names_its_colours(tmp_path):
    path = tmp_path / "palette.json"
    path.write_text(json.dumps({"sky": [0, 0, 255], "ignore": [0, 0, 0], "wall": [255, 0, 0]}))
    palette = Palette.load(path)
    assert palette.names == ("sky", "wall") and palette.ignored.tolist() == [[0, 0, 0]]


def test_comments_and_empty_lines_of_a_text_are_skipped(tmp_path):
    path = tmp_path / "palette.TXT"
    path.write_text("# r g b name\n\n0 0 255  sky\n255 0 0\tthe wall\n")
    assert Palette.load(path).names == ("sky", "the wall")


def test_a_png_gives_its_palette_or_its_colours(tmp_path):
    path = tmp_path / "palette.png"
    Image.fromarray(np.repeat(TWELVE.astype(np.uint8)[None], 3, axis=0)).save(path)
    assert Palette.load(path).colours.tolist() == TWELVE.tolist()

    labels = Image.fromarray(np.array([[11, 0], [0, 3]], np.uint8), "P")
    labels.putpalette(TWELVE.astype(np.uint8).tobytes() + bytes(TWELVE[0].tolist()) * 4)
    labels.save(path)
    assert Palette.load(path).colours.tolist() == TWELVE.tolist()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", b"", 'is no palette; give a .txt of lines "r g b name", a .json list'),
        ("p.txt", b"0 0 255\n0 0\n", 'line 2 is \'0 0\', expected "r g b" or "r g b name"'),
        ("p.txt", b"0 0 255\n0 0 256\n", "a colour is three whole numbers from 0 to 255, found [0, 0, 256]"),
        ("p.txt", b"0 0 255\n0 0 255\n", "the colour [0, 0, 255] is there twice; each class has a colour of its own"),
        ("p.txt", b"0 0 255 a\n1 0 255 a\n", "the name a is there twice"),
        ("p.txt", b"0 0 255 a\n1 0 255\n", "a palette names all of its classes or none, found 1 for 2 colours"),
        ("p.txt", b"", "a palette has from 2 to 256 classes, found 0 and 0 ignored"),
        ("p.txt", b"\xff\xff", "is not UTF-8 text (invalid start byte at byte 0)"),
        ("p.txt", b"#" * 2**21, "has 2,097,152 bytes, more than 1,048,576"),
        ("p.json", b"{", "is not JSON (Expecting property name"),
        ("p.json", b"[" * 100_000, "is not JSON ("),
        ("p.json", b"3", "holds 3, where a list is expected"),
        ("p.json", b"[1, 2]", "holds 1, where a list is expected"),
        ("p.json", b"[[0, 0, 1.5], [1, 1, 1]]", "a colour is three whole numbers from 0 to 255, found [0, 0, 1.5]"),
        ("p.json", b'[[0, 0, 1, "a", 2], [1, 1, 1, "b"]]', "found [0, 0, 1, 2]"),
        ("p.png", b"GIF89a", "is not a PNG that can be read (cannot identify"),
    ],
)
def test_a_bad_file_is_one_line_that_says_what_is_wrong(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        Palette.load(path)
    assert str(error.value).startswith(f"{path}: {message}") or message in str(error.value)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_photo_is_no_palette(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (2000, 1000)).save(path)
    with pytest.raises(DataError, match="has 2000 x 1000 pixels; a picture of a palette has at most 1,048,576"):
        Palette.load(path)


def test_a_missing_file_and_a_place_that_cannot_be_written_are_errors(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: cannot be read \(No such file or directory\); give a \.txt"):
        Palette.load(tmp_path / "none.txt")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        Palette(TWELVE).save(tmp_path / "file" / "p.txt")
    with pytest.raises(ConfigError, match=r"p\.png: a palette is saved as \.txt or \.json"):
        Palette(TWELVE).save(tmp_path / "p.png")


@pytest.mark.parametrize("colours", [[(0, 0), (1, 1)], [(0, 0, -1), (1, 1, 1)], [(0, 0, "a"), (1, 1, 1)], [3, 4]])
def test_what_is_no_colour_is_refused(colours):
    with pytest.raises(ConfigError, match=r"^a colour is three whole numbers from 0 to 255, found "):
        Palette(colours)
