"""Names of results, files of several images, and what is carried from an input to its result."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from diptych.data.formats import read_pixels, write_pixels
from diptych.data.untrusted import untrusted_files
from diptych.errors import ConfigError, DataError
from diptych.inference.batch import plan, translate_files
from diptych.inference.frames import is_stack, translate_stacks
from diptych.inference.jobs import frames_named
from diptych.inference.manifest import Manifest, left_to_do
from diptych.inference.names import notes_of
from diptych.inference.translator import Translator
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from tests.data.test_kinds_of_files import adobe_rgb

RANDOM = np.random.default_rng(2)
RGB = RANDOM.integers(0, 256, (16, 20, 3), dtype=np.uint8)


class Negative(torch.nn.Module):
    """The negative of an image, as a network: what comes out can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(-1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def negative(a: Domain | None = None, b: Domain | None = None) -> Translator:
    return Translator(Snapshot({"a2b": Negative()}, a or Domain(), b or a or Domain()), device="cpu")


def test_all_clashes_are_named_at_once_and_full_names_have_none(tmp_path: Path) -> None:
    for name in ("a.gif", "a.png", "b.gif", "b.png", "c.png"):
        Image.fromarray(RGB).save(tmp_path / name)
    with pytest.raises(DataError, match=r"2 results .*a\.gif and .*a\.png -> .*; .*b\.gif and .*use --names full"):
        plan([tmp_path], tmp_path / "out", negative())
    jobs = plan([tmp_path], tmp_path / "out", negative(), "full")
    assert [job.target.name for job in jobs] == ["a.gif.png", "a.png", "b.gif.png", "b.png", "c.png"]


def test_names_that_differ_in_case_are_one_file_elsewhere(tmp_path: Path) -> None:
    for name in ("a.png", "A.png"):
        Image.fromarray(RGB).save(tmp_path / name)
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system does not tell upper from lower case")
    with pytest.raises(DataError, match=r"upper and lower case are one on macOS and Windows.*rename them"):
        plan([tmp_path], tmp_path / "out", negative(), "full")


def test_all_frames_come_back_in_one_file_and_the_first_alone_is_said(tmp_path: Path) -> None:
    frames = np.stack([np.roll(RGB, k, 0) for k in range(4)])
    tifffile.imwrite(tmp_path / "x.tif", frames, photometric="rgb")
    translate = negative()
    (first,) = translate_files(plan([tmp_path / "x.tif"], tmp_path / "first", translate), translate)
    assert notes_of([first], "first") == [
        "1 of 1: only the first of several frames or pages translated; --frames all translates all"
    ]
    np.testing.assert_array_equal(read_pixels(first.job.target), 255 - RGB)
    (job,) = plan([tmp_path / "x.tif"], tmp_path / "all", translate, frames="all")
    assert is_stack(job, "all") and not is_stack(job, "first")
    (outcome,) = translate_stacks([job], translate)
    assert outcome.problem is None
    np.testing.assert_array_equal(tifffile.imread(job.target), 255 - frames)


def test_a_result_named_as_an_animation_takes_all_frames(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(RGB, k, 0)) for k in range(3)]
    for name in ("x.gif", "x.apng", "x.webp"):
        frames[0].save(tmp_path / name, "PNG" if name == "x.apng" else None, save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "still.gif")
    frames[0].save(tmp_path / "still.webp")
    target = Domain()
    assert [frames_named([tmp_path / name], tmp_path / f"out{Path(name).suffix}", target, "first") for name in NAMED] == FOUND
    assert frames_named([tmp_path / "x.gif"], tmp_path / "out", target, "first") == "first"  # a folder takes stills
    assert frames_named([tmp_path / "x.gif"] * 2, tmp_path / "out.gif", target, "first") == "first"  # which is refused later


NAMED, FOUND = ("x.gif", "x.apng", "x.webp", "still.gif", "still.webp"), ["all", "all", "all", "first", "first"]


def test_pages_become_an_animation_of_ten_frames_a_second(tmp_path: Path) -> None:
    pages = np.stack([np.roll(RGB, k, 0) for k in range(3)])
    tifffile.imwrite(tmp_path / "x.tif", pages, photometric="rgb")
    translate, out = negative(), tmp_path / "y.webp"
    assert frames_named([tmp_path / "x.tif"], out, Domain(), "first") == "all"
    assert frames_named([tmp_path / "x.tif"], tmp_path / "y.png", Domain(), "first") == "first"
    (outcome,) = translate_stacks(plan([tmp_path / "x.tif"], out, translate, frames="all"), translate)
    assert outcome.problem is None
    with Image.open(out) as made:
        for k in range(3):
            made.seek(k)
            np.testing.assert_array_equal(np.asarray(made.convert("RGB")), 255 - pages[k])
            assert made.info["duration"] == 100
    with untrusted_files():  # whose frames are not counted, as nothing but the first is ever opened
        assert frames_named([tmp_path / "x.tif"], out, Domain(), "first") == "first"


def test_a_volume_is_translated_as_a_whole(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    values = RANDOM.integers(0, 1000, (8, 9, 3)).astype(np.int16)
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "in" / "ct.nii.gz")
    translate = negative(Domain(1, "int16", 0, 1000))
    (job,) = plan([tmp_path / "in"], tmp_path / "out", translate)
    assert job.target == tmp_path / "out" / "ct.nii.gz" and is_stack(job, "first")
    (outcome,) = translate_stacks([job], translate)
    assert outcome.problem is None and notes_of([outcome], "first") == []  # no slice was left out
    result = nibabel.load(job.target)
    np.testing.assert_array_equal(np.asanyarray(result.dataobj), 1000 - values)
    np.testing.assert_array_equal(result.affine, np.diag([1.0, 2.0, 3.0, 1.0]))


def test_pixels_without_data_and_the_place_on_the_earth_come_back(tmp_path: Path) -> None:
    heights = RANDOM.random((16, 20)).astype(np.float32) * 10
    heights[2:5, 3:9] = -9999
    scale = (33550, 12, 3, (10.0, 10.0, 0.0), True)
    tifffile.imwrite(tmp_path / "dem.tif", heights, extratags=[(42113, 2, 6, "-9999", True), scale])
    translate = negative(Domain(1, "float32", 0, 10, masked=True))
    (outcome,) = translate_files(plan([tmp_path / "dem.tif"], tmp_path / "out", translate), translate)
    assert outcome.problem is None
    with tifffile.TiffFile(outcome.job.target) as file:
        page = file.pages.first
        assert page.tags.valueof(33550) == (10.0, 10.0, 0.0) and page.tags.valueof(42113) == "-9999"
        expected = np.where(heights == -9999, -9999, 10 - heights)
        np.testing.assert_allclose(page.asarray(), expected, atol=1e-5)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("icc", ["srgb", "keep", "ignore"])
def test_a_path_and_its_pil_image_give_equal_upright_results(suffix: str, icc: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(RGB).save(tmp_path / f"x{suffix}", exif=exif.tobytes(), icc_profile=adobe_rgb())
    translate = negative(Domain(icc=icc))
    expected = 255 - read_pixels(tmp_path / f"x{suffix}", translate.source.reading)
    with Image.open(tmp_path / f"x{suffix}") as image:
        found = translate(image)
    assert found.size == (16, 20)
    np.testing.assert_array_equal(np.asarray(found), expected)


@pytest.mark.parametrize(("mode", "domain"), [("I;16", Domain(1, "uint16")), ("F", Domain(1, "float32", 0, 9))])
def test_deep_images_come_back_in_the_modes_that_hold_them(mode: str, domain: Domain) -> None:
    pixels = (RANDOM.random((16, 20)) * 9).astype(domain.dtype)
    found = negative(domain)(Image.fromarray(pixels))
    assert found.mode == mode
    np.testing.assert_allclose(np.asarray(found), domain.high - pixels, atol=1e-4)


def test_transparency_comes_back_where_it_is_kept() -> None:
    rgba = np.dstack([RGB, RANDOM.integers(0, 256, (16, 20, 1), dtype=np.uint8)])
    translate = negative(Domain(4, alpha="keep"))
    found = translate(Image.fromarray(rgba))
    assert found.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(found), 255 - rgba)
    np.testing.assert_array_equal(np.asarray(translate(Image.fromarray(RGB)))[..., 3], 0)  # the negative of opaque


def test_nan_is_masked_by_a_model_that_knows_it_and_refused_by_others() -> None:
    image = np.full((8, 8, 1), 3, np.float32)
    image[2, 5] = np.nan
    found = negative(Domain(1, "float32", 0, 9, masked=True))(image)
    assert np.isnan(found[2, 5]) and np.isnan(found).sum() == 1 and abs(found[0, 0] - 6) < 1e-5
    to_integers = negative(Domain(1, "float32", 0, 9, masked=True), Domain(1, "uint8"))(image)
    assert to_integers.dtype == np.uint8 and to_integers[2, 5] == 0 and to_integers[0, 0] == 170
    plain = negative(Domain(1, "float32", 0, 9))
    with pytest.raises(DataError, match="has 1 values that are NaN, and the model was trained without such"):
        plain(image)
    with pytest.raises(DataError, match="NaN or infinite"):
        plain(torch.full((1, 4, 4), torch.inf))
    with pytest.raises(DataError, match="1 values that are infinite"):
        plain(np.where(np.isnan(image), np.inf, image))


def test_odd_arrays_and_images_are_taken_or_named(tmp_path: Path) -> None:
    translate = negative(Domain(1, "uint16"))
    big_endian = RANDOM.integers(0, 65536, (6, 7)).astype(">u2")
    np.testing.assert_array_equal(translate(big_endian), 65535 - big_endian.astype(int))
    write_pixels(tmp_path / "x.png", RGB)
    image = Image.open(tmp_path / "x.png")
    image.close()
    with pytest.raises(DataError, match="as if it were closed or truncated; open it again"):
        negative()(image)
    (tmp_path / "cut.png").write_bytes((tmp_path / "x.png").read_bytes()[:200])
    with Image.open(tmp_path / "cut.png") as cut, pytest.raises(DataError, match="closed or truncated"):
        negative()(cut)


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_images_in_an_archive_are_translated_in_place_and_a_change_of_one_is_seen(suffix: str, tmp_path: Path) -> None:
    def pack(shift: int) -> Path:
        (tmp_path / "summer" / "june").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(RGB, shift, 0)).save(tmp_path / "summer" / "june" / "1.png")
        frames = [Image.fromarray(np.full((16, 20), 60 * k + 20, np.uint8)) for k in range(3)]
        frames[0].save(tmp_path / "summer" / "2.webp", save_all=True, append_images=frames[1:], lossless=True)
        return Path(shutil.make_archive(str(tmp_path / "photos"), suffix[1:], tmp_path, "summer"))

    archive, translate, out = pack(0), negative(), tmp_path / "out"
    jobs = plan([archive], out, translate, frames="all")
    assert [job.target.relative_to(out).as_posix() for job in jobs] == ["summer/2.webp", "summer/june/1.png"]
    assert [is_stack(job, "all") for job in jobs] == [True, False]
    manifest = Manifest(out, {})
    outcomes = [
        *translate_stacks(jobs[:1], translate, manifest=manifest),
        *translate_files(jobs[1:], translate, manifest=manifest),
    ]
    assert [outcome.problem for outcome in outcomes] == [None, None]
    np.testing.assert_array_equal(read_pixels(out / "summer" / "june" / "1.png"), 255 - RGB)
    with Image.open(out / "summer" / "2.webp") as image:
        assert image.n_frames == 3
    assert [job.target.name for job in plan([archive / "summer" / "june"], out, translate)] == ["1.png"]
    assert [job.target.name for job in plan([archive / "summer" / "june" / "1.png"], out, translate)] == ["1.png"]
    assert left_to_do(jobs, Manifest(out, {}), overwrite=False, skip_existing=False) == []
    pack(1)
    with pytest.raises(ConfigError, match=r"1\.png: was made from an input that has changed since"):
        left_to_do(jobs, Manifest(out, {}), overwrite=False, skip_existing=False)
    with pytest.raises(DataError, match=r"autumn: no such file or folder; give images, folders of images, or archives of these"):
        plan([archive / "autumn"], out, translate)
