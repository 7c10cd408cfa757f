"""Folders of photos become folders of pairs, whatever the photos are called, and however often the command is repeated."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from diptych.cli import main
from diptych.cli.prepare import KINDS
from diptych.data.folders import find_data
from diptych.data.formats import read_pixels
from diptych.errors import ConfigError
from diptych.prepare.conversions import CONVERSIONS
from diptych.prepare.pairs import Preparation, in_test, prepare
from diptych.reading import Reading
from tests.data.test_kinds_of_files import adobe_rgb


@pytest.fixture
def photos(tmp_path):
    """Twelve JPEG photos, three of them in a folder inside."""
    folder = tmp_path / "photos"
    (folder / "inside").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(12):
        path = folder / ("inside" if i < 3 else "") / f"photo {i}.jpg"
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return folder


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_pairs_have_the_names_of_the_photos_and_are_found_by_training(photos, tmp_path):
    out = tmp_path / "pairs"
    assert main(["prepare", "gray", str(photos), "--out", str(out), "--test", "0.4"]) == 0
    found = find_data([out], paired=True)
    assert len(found.train.a) + len(found.test.a) == 12
    assert {ref.path.name for split in (found.train, found.test) for ref in split.b} == {
        path.name for path in photos.rglob("*.jpg")
    }
    for split in (found.train, found.test):
        for made, photo in zip(split.a, split.b, strict=True):
            original = photos / photo.path.relative_to(out / photo.path.relative_to(out).parts[0])
            assert photo.path.read_bytes() == original.read_bytes()
            luma = read_pixels(original) @ [0.299, 0.587, 0.114]
            assert np.abs(read_pixels(made.path)[..., 0] - luma).max() <= 0.51


def test_a_photo_stays_in_its_split_when_others_come(photos, tmp_path):
    prepare(photos, tmp_path / "few", Preparation("gray", test=0.4))
    for i in range(20, 30):
        Image.new("RGB", (20, 20), (i, 0, 0)).save(photos / f"photo {i}.png")
    prepare(photos, tmp_path / "more", Preparation("gray", test=0.4))
    assert set(tree(tmp_path / "few")) <= set(tree(tmp_path / "more"))


def test_shares_of_test_pairs_are_about_those_wanted():
    for share in (0.0, 0.1, 0.5):
        assert np.mean([in_test(str(i), share) for i in range(4000)]) == pytest.approx(share, abs=0.02)


def test_the_same_command_again_makes_only_what_is_missing(photos, tmp_path, capsys):
    out = tmp_path / "pairs"
    command = ["prepare", "mask", str(photos), "--out", str(out)]
    assert main(command) == 0
    made = {name: (out / name).read_bytes() for name in tree(out)}
    lost = [name for name in made if "photo 5" in name]
    for name in lost:
        (out / name).unlink()
    assert main(command) == 0
    assert f"12 pairs for inpainting in {out}: 11 to train on, 1 to test, 11 there already" in capsys.readouterr().out
    assert {name: (out / name).read_bytes() for name in tree(out)} == made and len(lost) == 2


def test_what_a_killed_call_left_half_written_is_removed_by_the_next(photos, tmp_path):
    out = tmp_path / "pairs"
    torn = f"{'0123456789abcdef'}.tmp"
    out.mkdir()
    (out / f".prepare.json.{torn}").write_bytes(b"{")  # killed before anything was there
    prepare(photos, out, Preparation("gray", test=0.4))
    for place in ("trainA/inside/.3.png", "testB/.4.jpg", ".prepare.png"):
        (out / f"{place}.{torn}").parent.mkdir(parents=True, exist_ok=True)
        (out / f"{place}.{torn}").write_bytes(b"half")
    (out / "trainA" / ".mine").write_bytes(b"kept")
    prepare(photos, out, Preparation("gray", test=0.4))
    assert not list(out.rglob("*.tmp")) and (out / "trainA" / ".mine").exists()


def test_photos_that_cannot_be_used_are_named_and_counted(photos, tmp_path, capsys):
    (photos / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    np.save(photos / "five.npy", np.zeros((20, 20, 5), np.uint8))
    np.save(photos / "signed.npy", np.zeros((20, 20, 3), np.int16))
    Image.new("RGB", (3, 20)).save(photos / "thin.png")
    Image.new("I;16", (20, 20), 4000).save(photos / "deep.png")
    assert main(["prepare", "mosaic", str(photos), "--out", str(tmp_path / "pairs")]) == 1
    printed = capsys.readouterr()
    assert "13 pairs for removal of mosaics" in printed.out and "4 skipped" in printed.out
    assert "12 photos are of 3 x uint8, and 1 of 1 x uint16 (such as deep); a training takes pairs of one kind" in printed.err
    for line in (
        "torn.png",
        "five.npy: mosaic takes gray or RGB of uint8 or uint16, found 5 x uint8",
        "signed.npy: mosaic takes gray or RGB of uint8 or uint16, found 3 x int16; convert it",
        "thin.png: has less than 8 pixels",
    ):
        assert line in printed.err
    (deep,) = (tmp_path / "pairs").rglob("*A/deep.png")
    assert read_pixels(deep).dtype == np.uint16 and (read_pixels(deep) == 4000).all()


def test_too_few_photos_for_a_test_pair_are_said_and_no_test_that_was_wanted_is_not(photos, tmp_path, capsys):
    assert main(["prepare", "blur", str(photos), "--out", str(tmp_path / "few"), "--test", "0.0001"]) == 0
    assert "none of these became a test pair" in capsys.readouterr().err
    assert main(["prepare", "blur", str(photos), "--out", str(tmp_path / "none"), "--test", "0"]) == 0
    assert "test pair" not in capsys.readouterr().err


def test_a_folder_that_was_made_otherwise_is_left_alone(photos, tmp_path):
    out = tmp_path / "pairs"
    prepare(photos, out, Preparation("blur"))
    before = tree(out)
    prepare(photos, out, Preparation("blur", 3))  # the default strength
    with pytest.raises(ConfigError, match=r"was prepared with another strength, 3(\.0)? and not 5"):
        prepare(photos, out, Preparation("blur", 5))
    with pytest.raises(ConfigError, match="was prepared with another kind"):
        prepare(photos, out, Preparation("gray"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="is not empty and was not made by `diptych prepare`"):
        prepare(photos, tmp_path / "mine", Preparation("gray"))
    with pytest.raises(ConfigError, match="lies inside the data folder"):
        prepare(photos, photos / "pairs", Preparation("gray"))
    assert tree(out) == before and tree(tmp_path / "mine") == ["letter.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lowres", "--strength", "0.5"], "strength must be from 1.5 to 64"),
        (["lowres", "--strength", "nan"], "strength must be from 1.5 to 64"),
        (["gray", "--strength", "2"], "strength must be left out"),
        (["gray", "--weights", __file__], "takes no weights"),
        (["edges", "--soft"], "soft edges are those of HED"),
        (["edges", "--weights", "nowhere.h5"], "--weights nowhere.h5: no such file"),
        (["edges", "--weights", __file__, "--strength", "0.1"], "HED has none"),
        (["edges", "--weights", __file__], "holds no weights of HED in"),
        (["gray", "--test", "1"], "share of test pairs must be at least 0 and below 1"),
        (["grey"], "did you mean gray"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_written(words, message, photos, tmp_path, capsys):
    code = main(["prepare", words[0], str(photos), "--out", str(tmp_path / "pairs"), *words[1:]])
    assert code == (6 if "HED in" in message else 2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "pairs").exists()


def test_the_note_says_how_the_pairs_were_made(photos, tmp_path):
    prepare(photos, tmp_path / "pairs", Preparation("lowres", 2, 0.25))
    note = json.loads((tmp_path / "pairs" / "prepare.json").read_text())
    assert note == {"kind": "lowres", "strength": 2, "test": 0.25, "weights": "", "soft": False}
    assert read_pixels(tmp_path / "pairs" / "prepare.png").shape[1] > 60


def test_the_command_offers_every_conversion():
    assert list(KINDS) == list(CONVERSIONS)


@pytest.mark.parametrize("kind", ["blur", "gray"])
def test_both_sides_of_a_photo_with_a_profile_have_the_same_colours_in_training(tmp_path, kind):
    (tmp_path / "photos").mkdir()
    photo = Image.new("RGB", (20, 30), (60, 200, 90))
    photo.save(tmp_path / "photos" / "green.png", icc_profile=adobe_rgb())
    prepare(tmp_path / "photos", tmp_path / "out", Preparation(kind, test=0))
    made, copy = (read_pixels(tmp_path / "out" / side / "green.png", Reading(icc="srgb")) for side in ("trainA", "trainB"))
    own, srgb = ImageCms.ImageCmsProfile(BytesIO(adobe_rgb())), ImageCms.createProfile("sRGB")
    wanted = np.asarray(ImageCms.profileToProfile(photo, own, srgb)).astype(float)
    assert np.abs(wanted - np.asarray(photo)).max() > 20  # the profile matters
    assert np.abs(copy - wanted).max() <= 1
    expected = wanted if kind == "blur" else (wanted @ [0.299, 0.587, 0.114])[..., None]
    assert np.abs(made - expected).max() <= 1.6
