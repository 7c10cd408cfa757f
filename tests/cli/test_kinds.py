"""Images that are not 8-bit RGB, from training to translated files: nothing is reduced to 8 bits or three channels on the way."""

import json

import numpy as np
import pytest

from diptych.data.formats import read_pixels, write_pixels
from diptych.snapshot import Snapshot
from tests.cli.pictures import CYCLEGAN, PIX2PIX, diptych, pixels

KINDS = {  # channels, dtype, suffix; then the same of the other side
    "16-bit gray PNG": ((1, "uint16", ".png"), (1, "uint16", ".png")),
    "float32 TIFF": ((1, "float32", ".tiff"), (1, "float32", ".tif")),
    "5-channel TIFF and npy": ((5, "uint16", ".tif"), (5, "float32", ".npy")),
    "photo to 16-bit depth": ((3, "uint8", ".jpg"), (1, "uint16", ".png")),
    "4 bands to RGB": ((4, "uint8", ".tif"), (3, "uint8", ".png")),
}


def images(folder, kind, seed, count=2):
    channels, dtype, suffix = kind
    folder.mkdir(parents=True)
    for i in range(count):
        write_pixels(folder / f"{i}{suffix}", pixels(seed + i, 36, 40, channels, dtype))
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_image_trains_and_translates_to_the_target_kind(name, tmp_path):
    kind_a, kind_b = KINDS[name]
    a, b = images(tmp_path / "a", kind_a, 0), images(tmp_path / "b", kind_b, 20)
    assert diptych("train", "pix2pix", a, b, "--out", tmp_path / "run", *PIX2PIX) == 0
    snapshot = Snapshot.load(tmp_path / "run" / "snapshot.safetensors")
    assert [(domain.channels, domain.dtype) for domain in (snapshot.a, snapshot.b)] == [kind_a[:2], kind_b[:2]]

    new = images(tmp_path / "new", kind_a, 7, count=1)
    assert diptych("translate", tmp_path / "run" / "snapshot.safetensors", new, "--out", tmp_path / "out") == 0
    (result,) = (tmp_path / "out").glob("[!.]*")
    translated = read_pixels(result)
    assert translated.shape == (36, 40, kind_b[0]) and translated.dtype == kind_b[1]
    assert translated.min() >= snapshot.b.low and translated.max() <= snapshot.b.high
    assert translated.std() > 0


def test_the_range_of_deep_images_is_measured_and_kept(tmp_path):
    a = images(tmp_path / "a", (1, "uint16", ".png"), 0)
    assert (
        diptych("train", "cyclegan", a, images(tmp_path / "b", (1, "uint16", ".png"), 9), "--out", tmp_path / "run", *CYCLEGAN)
        == 0
    )
    highest = max(int(read_pixels(path).max()) for path in a.iterdir())
    domain = Snapshot.load(tmp_path / "run" / "snapshot.safetensors").a
    assert domain.high == highest < 65535
    low, high = json.loads((tmp_path / "run" / "census.json").read_text())["domains"][0][2:]
    assert (low, high) == (domain.low, domain.high)


@pytest.mark.parametrize(
    ("kind", "suffix", "written"),
    [
        ((1, "uint16", ".png"), ".jpg", ".png"),
        ((5, "uint16", ".tif"), ".png", ".tiff"),
        ((1, "float32", ".tif"), ".webp", ".tiff"),
    ],
)
def test_a_result_that_its_file_type_cannot_hold_gets_one_that_can(tmp_path, kind, suffix, written):
    a, b = images(tmp_path / "a", (3, "uint8", ".png"), 0), images(tmp_path / "b", kind, 20)
    assert diptych("train", "pix2pix", a, b, "--out", tmp_path / "run", *PIX2PIX, "--previews", 0) == 0
    new = images(tmp_path / "new", (3, "uint8", suffix), 5, count=1)
    assert diptych("translate", tmp_path / "run" / "snapshot.safetensors", new, "--out", tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == [f"0{written}"]
    assert np.dtype(kind[1]) == read_pixels(tmp_path / "out" / f"0{written}").dtype
