"""Each kind of file that people bring, made by its own library: its pixels, its metadata and what is said of it."""

from __future__ import annotations

import io
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from diptych.data import formats, pillow_images, usage
from diptych.data.carrying import carried
from diptych.data.census import take_census
from diptych.data.folders import find_data
from diptych.data.formats import read_picture, read_pixels, write_pixels
from diptych.data.labels import suffix_for
from diptych.data.listing import find_images
from diptych.data.pillow_images import from_pillow
from diptych.data.stacks import count_frames, read_frames, write_frames
from diptych.data.usage import levels_of
from diptych.errors import DataError
from diptych.pixels import Domain, Reading
from tests.data.tiff_bytes import tiff_bytes

RANDOM = np.random.default_rng(5)
RGB = RANDOM.integers(0, 256, (12, 18, 3), dtype=np.uint8)
GRAY16 = RANDOM.integers(0, 4096, (12, 18), dtype=np.uint16)
SRGB = Reading(icc="srgb")
NODATA = 42113


def nodata_tag(text: str) -> tuple:
    return (NODATA, 2, len(text) + 1, text, True)


# TIFF that used to end in a traceback, or was called damaged


def test_a_palette_with_transparency_is_read_as_colours_over_white(tmp_path: Path) -> None:
    colormap = RANDOM.integers(0, 65536, (3, 256))
    index, alpha = RGB[..., 0], RGB[..., 1:2]
    data = tiff_bytes(
        np.dstack([index, alpha]).tobytes(),
        18,
        12,
        bits=(8, 8),
        photometric=3,
        colormap=colormap.ravel().tolist(),
        extrasamples=[2],
    )
    (tmp_path / "x.tif").write_bytes(data)
    color = (colormap.T[index] >> 8).astype(float)
    expected = np.floor(color * (alpha / 255) + 255 * (1 - alpha / 255) + 0.5)
    picture = read_picture(tmp_path / "x.tif")
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.metadata.notes == ("transparency composited over white",)
    kept = read_pixels(tmp_path / "x.tif", Reading(alpha="keep"))
    np.testing.assert_array_equal(kept, np.concatenate([color, alpha], 2))


def test_a_palette_of_one_bit_is_read(tmp_path: Path) -> None:
    index = RGB[..., 0] > 128
    data = tiff_bytes(
        np.packbits(index, axis=1).tobytes(), 18, 12, bits=(1,), photometric=3, colormap=[256, 65535, 512, 0, 768, 1024]
    )
    (tmp_path / "x.tif").write_bytes(data)
    np.testing.assert_array_equal(read_pixels(tmp_path / "x.tif"), np.array([[1, 2, 3], [255, 0, 4]])[index.astype(int)])


@pytest.mark.parametrize("compression", [34676, 34677])
def test_a_compression_that_no_library_reads_is_not_called_damage(compression: int, tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(tiff_bytes(bytes(432), 18, 12, bits=(16,), photometric=1, compression=compression))
    with pytest.raises(DataError, match=rf"is TIFF of a kind that is not supported \(compression {compression}\); convert it"):
        read_pixels(tmp_path / "x.tif")


def test_twelve_and_sixteen_bit_jpeg_are_read_and_bmp_of_odd_bit_fields_is_not_called_damaged(tmp_path: Path) -> None:
    data = imagecodecs.jpeg8_encode(GRAY16, bitspersample=12, level=100)
    (tmp_path / "12.jpg").write_bytes(data)
    assert np.abs(read_pixels(tmp_path / "12.jpg")[..., 0].astype(int) - GRAY16).max() <= 8
    (tmp_path / "16.jpg").write_bytes(imagecodecs.ljpeg_encode(GRAY16 * np.uint16(16), bitspersample=16))
    np.testing.assert_array_equal(read_pixels(tmp_path / "16.jpg")[..., 0], GRAY16 * np.uint16(16))
    header = struct.pack("<IiiHHIIiiII3I", 40, 4, 3, 1, 16, 3, 0, 0, 0, 0, 0, 0xF00, 0xF0, 0xF)
    (tmp_path / "x.bmp").write_bytes(b"BM" + struct.pack("<IHHI", 90, 0, 0, 66) + header + bytes(24))
    with pytest.raises(DataError, match="is BMP of a kind that is not supported"):
        read_pixels(tmp_path / "x.bmp")


# pixels without data


@pytest.mark.parametrize("text", ["-3.4028234663852886e+38", "-9999", "nan"])
def test_the_nodata_of_a_float_geotiff_is_nan(text: str, tmp_path: Path) -> None:
    heights = RANDOM.random((12, 18)).astype(np.float32)
    heights[3:7, 2:9] = float(text)
    tifffile.imwrite(tmp_path / "dem.tif", heights, extratags=[nodata_tag(text)])
    picture = read_picture(tmp_path / "dem.tif")
    missing = np.zeros((12, 18), bool)
    missing[3:7, 2:9] = True
    np.testing.assert_array_equal(np.isnan(picture.pixels[..., 0]), missing)
    np.testing.assert_array_equal(picture.pixels[~missing], heights[~missing][:, None])


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of rasterio
def test_the_nodata_and_the_mask_of_an_integer_geotiff_are_nan_and_its_type_is_known(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    pixels = RANDOM.integers(1, 5000, (3, 12, 18)).astype(np.uint16)
    pixels[:, 2:5, 3:9] = 0
    how = {"driver": "GTiff", "count": 3, "height": 12, "width": 18, "dtype": "uint16", "crs": "EPSG:32633"}
    transform = rasterio.transform.from_origin(5e5, 5e6, 10, 10)
    with rasterio.open(tmp_path / "a.tif", "w", transform=transform, nodata=0, **how) as file:
        file.write(pixels)
    mask = np.full((12, 18), 255, np.uint8)
    mask[8:, 12:] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "b.tif", "w", transform=transform, **how) as file:
        file.write(pixels + 1)
        file.write_mask(mask)
    a, b = read_picture(tmp_path / "a.tif"), read_picture(tmp_path / "b.tif")
    assert (a.metadata.stored, a.metadata.nodata, b.metadata.stored, b.metadata.nodata) == ("uint16", 0.0, "uint16", None)
    np.testing.assert_array_equal(np.isnan(a.pixels), pixels.transpose(1, 2, 0) == 0)
    np.testing.assert_array_equal(np.isnan(b.pixels[..., 0]), mask == 0)
    np.testing.assert_array_equal(b.pixels[mask > 0], (pixels + 1).transpose(1, 2, 0)[mask > 0])


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of rasterio
def test_a_geotiff_comes_back_with_transform_crs_and_nodata(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    bands = RANDOM.random((5, 12, 18)).astype(np.float32)
    how = {"driver": "GTiff", "count": 5, "height": 12, "width": 18, "dtype": "float32", "crs": "EPSG:2154", "nodata": -32768.0}
    with rasterio.open(tmp_path / "in.tif", "w", transform=rasterio.transform.from_origin(6e5, 6.6e6, 0.5, 0.25), **how) as file:
        file.write(bands)
        file.update_tags(1, sensor="thermal")
    picture = read_picture(tmp_path / "in.tif")
    assert picture.pixels.shape == (12, 18, 5)
    write_pixels(tmp_path / "out.tif", picture.pixels, picture.metadata)
    with rasterio.open(tmp_path / "in.tif") as source, rasterio.open(tmp_path / "out.tif") as result:
        assert (result.transform, result.crs, result.nodata) == (source.transform, source.crs, source.nodata)
        assert result.tags(1) == source.tags(1) and source.tags(1)["sensor"] == "thermal"
        np.testing.assert_array_equal(result.read(), bands)


# colours


@lru_cache
def adobe_rgb() -> bytes:
    """A matrix profile of the primaries and the gamma of Adobe RGB (1998)."""
    return imagecodecs.cms_profile(
        "rgb", whitepoint=[0.3127, 0.329, 1.0], primaries=[0.64, 0.33, 1, 0.21, 0.71, 1, 0.15, 0.06, 1], gamma=2.19921875
    )


def to_srgb_by_formula(pixels: np.ndarray, full: float) -> np.ndarray:
    """Adobe RGB to sRGB by the matrices of both standards (D65), worked out without a colour engine."""
    adobe = np.array([[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]])
    srgb = np.array([[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]])
    linear = np.clip((pixels / full) ** 2.19921875 @ adobe.T @ srgb.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * full


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535)])
def test_colours_become_srgb_by_their_profile(dtype: type, full: int, tmp_path: Path) -> None:
    pixels = RANDOM.integers(full // 5, full * 4 // 5, (12, 18, 3)).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb", iccprofile=adobe_rgb())
    picture = read_picture(tmp_path / "x.tif", SRGB)
    expected = to_srgb_by_formula(pixels, full)
    inside = (expected > full / 10) & (expected < full * 9 / 10)
    assert np.abs(picture.pixels - expected)[inside].max() <= full * 0.02
    assert np.abs(pixels - expected)[inside].mean() > full * 0.02  # so that the conversion shows
    assert picture.metadata.notes[0].startswith("colours converted from") and picture.metadata.icc == b""
    kept = read_picture(tmp_path / "x.tif", Reading(icc="keep"))
    np.testing.assert_array_equal(kept.pixels, pixels)
    assert kept.metadata.icc == adobe_rgb() and kept.metadata.notes == ()
    ignored = read_picture(tmp_path / "x.tif")
    np.testing.assert_array_equal(ignored.pixels, pixels)
    assert [note.endswith("was ignored, as data.icc ignore says") for note in ignored.metadata.notes] == [True]
    assert ignored.metadata.icc == b""


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_profile_is_kept_in_every_format_that_holds_one(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / f"in{suffix}", icc_profile=adobe_rgb())
    picture = read_picture(tmp_path / f"in{suffix}", Reading(icc="keep"))
    write_pixels(tmp_path / f"out{suffix}", picture.pixels, picture.metadata)
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.info["icc_profile"] == adobe_rgb()


def test_srgb_under_any_name_changes_nothing_and_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in (("srgb", srgb), ("broken", b"no profile at all")):
        Image.fromarray(RGB).save(tmp_path / f"{name}.png", icc_profile=profile)
    Image.fromarray(RGB[..., 0]).save(tmp_path / "gray.png", icc_profile=srgb)
    found = {name: read_picture(tmp_path / f"{name}.png", SRGB) for name in ("srgb", "broken", "gray")}
    np.testing.assert_array_equal(found["srgb"].pixels, RGB)
    np.testing.assert_array_equal(found["broken"].pixels, RGB)
    assert found["srgb"].metadata.notes == () == read_picture(tmp_path / "srgb.png").metadata.notes
    assert found["broken"].metadata.notes == ("its ICC profile is damaged and was ignored",)
    assert "is not for 1 x uint8 pixels and was ignored" in found["gray"].metadata.notes[0]


def test_a_profile_that_cannot_be_used_is_never_carried_to_results(tmp_path: Path) -> None:
    for name, pixels, profile in (("broken", RGB, bytes(range(140))), ("gray", RGB[..., 0], adobe_rgb())):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png", icc_profile=profile)
        kept = read_picture(tmp_path / f"{name}.png", Reading(icc="keep")).metadata
        assert kept.icc == b"" and kept.notes == read_picture(tmp_path / f"{name}.png", SRGB).metadata.notes != ()
    floats = RGB.astype(np.float32)
    tifffile.imwrite(tmp_path / "x.tif", floats, photometric="rgb", iccprofile=adobe_rgb())
    found = read_picture(tmp_path / "x.tif", Reading(icc="keep")).metadata
    assert (found.icc, found.notes) == (adobe_rgb(), ())  # floats cannot be converted, and need not be


def test_gray_and_cmyk_profiles_are_used(tmp_path: Path) -> None:
    gray = imagecodecs.cms_profile("gray", whitepoint=[0.3127, 0.329, 1.0], gamma=1.8)
    ramp = np.arange(0, 256, 5, dtype=np.uint8)[None].repeat(4, 0)
    Image.fromarray(ramp).save(tmp_path / "x.png", icc_profile=gray)
    linear = (ramp / 255) ** 1.8
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    found = read_pixels(tmp_path / "x.png", SRGB)
    assert (
        found.shape == (4, 52, 1) and np.abs(found[..., 0] - expected)[:, 6:].max() <= 1.5
    )  # lcms interpolates what is nearly black


def test_cmyk_and_lab_are_said_and_carry_no_profile_of_cmyk_to_rgb(tmp_path: Path) -> None:
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "x.jpg", quality=100, icc_profile=b"a profile of CMYK")
    picture = read_picture(tmp_path / "x.jpg", Reading(icc="keep"))
    assert picture.metadata.notes == ("CMYK converted to RGB without a profile, so that colours are approximate",)
    assert picture.metadata.icc == b"" and np.abs(picture.pixels.astype(int) - RGB).max() <= 12
    tifffile.imwrite(tmp_path / "x.tif", np.dstack([RGB[..., 0], np.zeros((12, 18, 2), np.uint8)]), photometric="cielab")
    assert read_picture(tmp_path / "x.tif").metadata.notes == ("LAB converted to sRGB",)


def test_values_of_64_bits_are_said_to_be_rounded_only_where_they_are(tmp_path: Path) -> None:
    for name, values in (("exact", np.array([[0.5, 2.0]])), ("rounded", np.array([[0.1, np.nan]]))):
        np.save(tmp_path / f"{name}.npy", values)
    assert read_picture(tmp_path / "exact.npy").metadata.notes == ()
    assert read_picture(tmp_path / "rounded.npy").metadata.notes == ("float64 values rounded to float32",)


# transparency


def test_transparency_is_said_or_kept_and_written_back(tmp_path: Path) -> None:
    rgba = np.dstack([RGB, RANDOM.integers(0, 256, (12, 18, 1), dtype=np.uint8)])
    keep = Reading(alpha="keep")
    for suffix in (".png", ".webp", ".tif"):
        write_pixels(tmp_path / f"x{suffix}", rgba, alpha=True)
        np.testing.assert_array_equal(read_pixels(tmp_path / f"x{suffix}", keep), rgba)
        assert "transparency composited over white" in read_picture(tmp_path / f"x{suffix}").metadata.notes
        Image.fromarray(RGB).save(tmp_path / f"opaque{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
        np.testing.assert_array_equal(read_pixels(tmp_path / f"opaque{suffix}", keep), np.dstack([RGB, np.full((12, 18), 255)]))
    with pytest.raises(DataError, match=r"x\.jpg: cannot hold 4 x uint8; name it \.png"):
        write_pixels(tmp_path / "x.jpg", rgba, alpha=True)
    deep = np.dstack([GRAY16, GRAY16, GRAY16, GRAY16[::-1]]) * np.uint16(16)
    write_pixels(tmp_path / "deep.png", deep, alpha=True)
    np.testing.assert_array_equal(read_pixels(tmp_path / "deep.png", keep), deep)


# EXIF and resolution


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_and_resolution_are_carried_upright_and_without_thumbnail(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274], exif[271], exif[33432] = 6, "Camera", "Somebody"
    exif.get_ifd(0x8769)[0x829A] = 0.02  # exposure time
    exif.get_ifd(0x8825)[1] = "N"
    Image.fromarray(RGB).save(tmp_path / f"in{suffix}", exif=exif.tobytes(), dpi=(300, 300))
    picture = read_picture(tmp_path / f"in{suffix}")
    assert picture.pixels.shape == (18, 12, 3)
    write_pixels(tmp_path / f"out{suffix}", picture.pixels, picture.metadata)
    with Image.open(tmp_path / f"out{suffix}") as image:
        found = image.getexif()
        assert (found.get(274, 1), found[271], found[33432]) == (1, "Camera", "Somebody")
        if suffix != ".tif":
            assert float(found.get_ifd(0x8769)[0x829A]) == 0.02 and found.get_ifd(0x8825)[1] == "N"
        if suffix != ".webp":
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


# codecs beyond the common ones


def test_avif_heic_jpeg_xl_jpeg_2000_and_hdr_are_read(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "x.avif", quality=100, subsampling="4:4:4")
    assert np.abs(read_pixels(tmp_path / "x.avif").astype(int) - RGB).max() <= 4
    (tmp_path / "x.jxl").write_bytes(imagecodecs.jpegxl_encode(RGB, lossless=True))
    np.testing.assert_array_equal(read_pixels(tmp_path / "x.jxl"), RGB)
    (tmp_path / "x.jp2").write_bytes(imagecodecs.jpeg2k_encode(RGB, level=0, reversible=True))
    np.testing.assert_array_equal(read_pixels(tmp_path / "x.jp2"), RGB)
    (tmp_path / "16.jp2").write_bytes(imagecodecs.jpeg2k_encode(GRAY16, level=0, reversible=True))
    np.testing.assert_array_equal(read_pixels(tmp_path / "16.jp2")[..., 0], GRAY16)
    light = RANDOM.random((12, 18, 3)).astype(np.float32) * 50
    (tmp_path / "x.hdr").write_bytes(imagecodecs.rgbe_encode(light, header=True))
    assert np.abs(read_pixels(tmp_path / "x.hdr") - light).max() <= 50 / 128
    Image.fromarray(RGB[..., 0] > 99).save(tmp_path / "x.pbm")
    np.testing.assert_array_equal(read_pixels(tmp_path / "x.pbm")[..., 0], (RGB[..., 0] > 99) * 255)
    assert len(find_images(tmp_path)) == 6


def test_more_than_8_bits_of_avif_and_heic_are_said_to_be_reduced(tmp_path: Path) -> None:
    deep = np.dstack([GRAY16, GRAY16, GRAY16])
    for bits in (8, 10, 12):
        pixels = (deep >> 4).astype(np.uint8) if bits == 8 else deep >> (12 - bits)
        (tmp_path / f"{bits}.avif").write_bytes(imagecodecs.avif_encode(pixels, bitspersample=bits, level=95))
        picture = read_picture(tmp_path / f"{bits}.avif")
        assert picture.pixels.dtype == np.uint8
        assert picture.metadata.notes == ((f"{bits} bits reduced to 8",) if bits > 8 else ())
    heif = pytest.importorskip("pillow_heif")
    heif.encode("RGB;16", (18, 12), (deep << 4).tobytes(), tmp_path / "x.heic", quality=90)
    assert read_picture(tmp_path / "x.heic").metadata.notes == ("10 bits reduced to 8",)


def test_heic_is_read_upright(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.fromarray(RGB)).save(tmp_path / "x.heic", quality=-1, chroma=444)
    assert np.abs(read_pixels(tmp_path / "x.heic").astype(int) - RGB).max() <= 6


def test_exr_is_read_and_written(tmp_path: Path) -> None:
    exr = pytest.importorskip("OpenEXR")
    light = RANDOM.random((12, 18, 3)).astype(np.float32) * 50
    with exr.File({"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}, {"RGB": light}) as file:
        file.write(str(tmp_path / "x.exr"))
    np.testing.assert_array_equal(read_pixels(tmp_path / "x.exr"), light)
    with exr.File({"type": exr.scanlineimage}, {"RGBA": np.dstack([light, light[..., :1]]), "Z": light[..., 0].copy()}) as file:
        file.write(str(tmp_path / "more.exr"))
    picture = read_picture(tmp_path / "more.exr")
    np.testing.assert_array_equal(picture.pixels, light)
    assert picture.metadata.notes == ("channels A, Z beside RGB left out",)
    write_pixels(tmp_path / "y.exr", light)
    with exr.File(str(tmp_path / "y.exr")) as file:
        np.testing.assert_array_equal(file.channels()["RGB"].pixels, light)


# medical


def test_a_nifti_volume_is_a_folder_of_slices_and_comes_back_with_its_affine_and_header(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    values = RANDOM.integers(-1000, 2000, (9, 7, 5)).astype(np.int16)
    affine = np.diag([2.0, 2.5, 3.0, 1.0])
    affine[:3, 3] = -90, -126, -72
    image = nibabel.Nifti1Image(values, affine)
    image.header["descrip"] = b"a phantom"
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "ct.nii.gz")
    slices = find_images(tmp_path)
    assert [path.name for path in slices] == [f"z{k:04d}" for k in range(5)]
    for k, path in enumerate(slices):
        np.testing.assert_array_equal(read_pixels(path)[..., 0], np.rot90(values[:, :, k]))
    frames = [picture.pixels for picture in read_frames(tmp_path / "ct.nii.gz", Reading())]
    write_frames(
        tmp_path / "out.nii.gz", [frame + 1 for frame in frames], tmp_path / "ct.nii.gz", read_picture(slices[0]).metadata
    )
    result = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(result.dataobj), values + 1)
    np.testing.assert_array_equal(result.affine, affine)
    assert result.header["descrip"] == b"a phantom" and result.header.get_xyzt_units() == ("mm", "sec")
    with pytest.raises(DataError, match="is a volume; translate it as a whole"):
        read_pixels(tmp_path / "ct.nii.gz")


@pytest.mark.parametrize(("axis", "count"), [("x", 6), ("y", 7), ("z", 4)])
def test_slices_are_taken_along_the_axis_that_is_asked_for_and_put_back(axis: str, count: int, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    values = RANDOM.integers(0, 2000, (6, 7, 4, 2)).astype(np.int16)
    for side in "AB":
        (tmp_path / side).mkdir()
        nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2.5, 3.0, 1.0])), tmp_path / side / "head.nii")
    train = find_data([tmp_path], paired=True, axis=axis).train
    assert [ref.key for ref in train.a] == [f"head.nii/{axis}{k:04d}" for k in range(count)] == [ref.key for ref in train.b]
    np.testing.assert_array_equal(train.b[3].read(), np.rot90(values.take(3, "xyz".index(axis))))
    assert f"train on {count} pairs" in find_data([tmp_path], paired=True, axis=axis).description
    unpaired = find_data([tmp_path], paired=False, axis=axis).train
    assert [ref.path for ref in unpaired.a] == [ref.path for ref in train.a]
    domain = take_census(train, reading=Reading(axis=axis)).a
    frames = list(read_frames(tmp_path / "A" / "head.nii", domain.reading))
    assert len(frames) == count
    pixels = [frame.pixels + 1 for frame in frames]
    write_frames(tmp_path / "out.nii", pixels, tmp_path / "A" / "head.nii", frames[0].metadata, axis=domain.axis)
    np.testing.assert_array_equal(np.asanyarray(nibabel.load(tmp_path / "out.nii").dataobj), values + 1)


def test_an_axis_without_volumes_or_with_unlike_ones_is_refused(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    for side, length in (("A", 6), ("B", 5)):
        (tmp_path / side).mkdir()
        volume = np.zeros((length, 7, 4), np.int16)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / side / "head.nii")
    with pytest.raises(DataError, match=r"head\.nii: have 6 and 5 slices along x, expected equally many; resample one"):
        find_data([tmp_path], paired=True, axis="x")
    for side in "AB":
        (tmp_path / side / "head.nii").unlink()
        Image.fromarray(RGB).save(tmp_path / side / "1.png")
    with pytest.raises(DataError, match=r"data\.axis y is for volumes \(\.nii, \.nii\.gz\), and there are none"):
        find_data([tmp_path], paired=True, axis="y")


def test_scaled_values_of_a_volume_are_those_that_its_header_means_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    image.header.set_slope_inter(0.5, -10)
    nibabel.save(image, tmp_path / "x.nii")
    stored = nibabel.load(tmp_path / "x.nii")
    expected = np.asarray(stored.dataobj)
    assert stored.dataobj.slope == 0.5
    np.testing.assert_allclose(read_pixels(tmp_path / "x.nii" / "y0002")[..., 0], np.rot90(expected[:, 2, :]))
    (tmp_path / "cut.nii").write_bytes((tmp_path / "x.nii").read_bytes()[:400])
    with pytest.raises(DataError, match="is a damaged or incomplete NIfTI volume"):
        read_pixels(tmp_path / "cut.nii" / "z0000")


def dicom(path: Path, stored: np.ndarray, **tags: object) -> None:
    pydicom = pytest.importorskip("pydicom")
    found = pydicom.Dataset()
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = pydicom.uid.CTImageStorage
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = "1.2.3"
    found.PatientID, found.ImagePositionPatient = "phantom", [1.0, 2.0, 3.0]
    found.Rows, found.Columns, found.SamplesPerPixel = *stored.shape[-2:], 1
    found.PhotometricInterpretation, found.BitsAllocated = "MONOCHROME2", 16
    found.BitsStored, found.HighBit, found.PixelRepresentation = 12, 11, int(stored.dtype.kind == "i")
    for name, value in tags.items():
        setattr(found, name, value)
    found.PixelData = stored.tobytes()
    found["PixelData"].VR = "OW"
    found.save_as(path, enforce_file_format=True)


def test_dicom_is_read_in_its_units_and_comes_back_with_its_header(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    dicom(tmp_path / "x.dcm", GRAY16, RescaleSlope=1, RescaleIntercept=-1024)
    picture = read_picture(tmp_path / "x.dcm")
    assert picture.pixels.dtype == np.int16
    np.testing.assert_array_equal(picture.pixels[..., 0], GRAY16.astype(int) - 1024)
    write_frames(tmp_path / "y.dcm", [picture.pixels + np.int16(5)], tmp_path / "x.dcm", picture.metadata)
    result = pydicom.dcmread(tmp_path / "y.dcm")
    assert (result.PatientID, list(result.ImagePositionPatient)) == ("phantom", [1.0, 2.0, 3.0])
    assert result.SOPInstanceUID != "1.2.3" and result.ImageType[0] == "DERIVED"
    np.testing.assert_array_equal(read_pixels(tmp_path / "y.dcm")[..., 0], GRAY16.astype(int) - 1019)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "float32"])
def test_a_single_dicom_file_is_written_with_its_header_and_its_padding(dtype: str, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    stored = GRAY16.astype(np.int16)
    stored[:3] = -2000
    dicom(tmp_path / "x.dcm", stored, PixelPaddingValue=-2000, RescaleSlope=1, RescaleIntercept=-1024)
    picture = read_picture(tmp_path / "x.dcm")
    target = Domain(1, "float32", 0, 4096, masked=True, stored="" if dtype == "float32" else dtype, nodata=9.0)
    missing = stored == -2000
    values = np.where(missing, np.float32("nan"), GRAY16.astype(np.float32) + 10)[..., None]
    out, metadata = carried(values, picture.metadata, target, missing)
    assert suffix_for(".dcm", target) == ".dcm"
    write_pixels(tmp_path / "y.dcm", out, metadata)
    assert pydicom.dcmread(tmp_path / "y.dcm").PatientID == "phantom"
    found = read_picture(tmp_path / "y.dcm").pixels[..., 0]
    np.testing.assert_array_equal(np.isnan(found), missing)
    np.testing.assert_allclose(found[~missing], values[~missing][:, 0], atol=4096 / 65534 if dtype == "float32" else 0)
    with pytest.raises(DataError, match=r"z\.dcm: cannot be written as DICOM, as its input is none"):
        write_pixels(tmp_path / "z.dcm", out)


def test_dicom_padding_is_no_data_and_monochrome1_is_inverted(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    stored = GRAY16.astype(np.int16)
    stored[:3] = -2000
    dicom(tmp_path / "padded.dcm", stored, PixelPaddingValue=-2000)
    found = read_picture(tmp_path / "padded.dcm")
    np.testing.assert_array_equal(np.isnan(found.pixels[..., 0]), stored == -2000)
    assert found.metadata.stored == "int16"
    dicom(tmp_path / "negative.dcm", GRAY16, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_pixels(tmp_path / "negative.dcm")[..., 0], 4095 - GRAY16.astype(int))


@pytest.mark.parametrize("padding", [{}, {"PixelPaddingValue": -2000}])
def test_monochrome1_with_a_rescale_keeps_its_units_and_its_result_gives_them_back(padding: dict, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    stored = np.linspace(430, 2000, GRAY16.size).astype(np.int16).reshape(GRAY16.shape)
    stored[1, :4] = -2000 if padding else 430
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "PresentationLUTShape": "INVERSE"}
    dicom(tmp_path / "x.dcm", stored, PhotometricInterpretation="MONOCHROME1", **tags, **padding)
    picture = read_picture(tmp_path / "x.dcm")
    assert (np.nanmin(picture.pixels), np.nanmax(picture.pixels)) == (-594, 976)
    assert "MONOCHROME1 kept in the units of its rescale" in picture.metadata.notes[0]
    write_pixels(tmp_path / "y.dcm", picture.pixels, picture.metadata)
    result = pydicom.dcmread(tmp_path / "y.dcm")
    assert (result.PhotometricInterpretation, result.PresentationLUTShape) == ("MONOCHROME2", "IDENTITY")
    again = read_picture(tmp_path / "y.dcm")
    np.testing.assert_allclose(again.pixels, picture.pixels, atol=1570 / 65534)
    assert again.metadata.notes == ()


def test_signed_monochrome1_is_inverted_within_its_bits(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    stored = GRAY16.astype(np.int16) // 2
    dicom(tmp_path / "x.dcm", stored, PhotometricInterpretation="MONOCHROME1", RescaleSlope=1, RescaleIntercept=0)
    np.testing.assert_array_equal(read_pixels(tmp_path / "x.dcm")[..., 0], -1 - stored)  # of 12 bits: -2048 becomes 2047


# several images in one file


def test_frames_and_pages_are_counted_read_and_written_as_one_file(tmp_path: Path) -> None:
    frames = [np.roll(RGB, k, 1) for k in range(3)]
    images = [Image.fromarray(frame) for frame in frames]
    for suffix, how in {".webp": {"lossless": True}, ".png": {}}.items():
        images[0].save(tmp_path / f"in{suffix}", save_all=True, append_images=images[1:], duration=[40, 80, 120], loop=2, **how)
    tifffile.imwrite(tmp_path / "in.tif", np.stack(frames), photometric="rgb")
    for suffix in (".webp", ".png", ".tif"):
        path = tmp_path / f"in{suffix}"
        assert count_frames(path) == 3 == read_picture(path).metadata.frames
        found = [picture.pixels for picture in read_frames(path, Reading())]
        np.testing.assert_array_equal(np.stack(found), np.stack(frames))
        write_frames(tmp_path / f"out{suffix}", [255 - frame for frame in found], path, read_picture(path).metadata)
        again = [picture.pixels for picture in read_frames(tmp_path / f"out{suffix}", Reading())]
        np.testing.assert_array_equal(np.stack(again), 255 - np.stack(frames))
    with Image.open(tmp_path / "out.webp") as image:
        assert image.n_frames == 3 and image.info["loop"] == 2
        image.seek(2)
        image.load()
        assert image.info["duration"] == 120


def test_a_gif_of_gray_frames_comes_back_as_a_gif(tmp_path: Path) -> None:
    frames = [np.full((12, 18), 60 * k + 20, np.uint8) for k in range(3)]
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(tmp_path / "in.gif", save_all=True, append_images=images[1:], duration=70, loop=0)
    found = [picture.pixels for picture in read_frames(tmp_path / "in.gif", Reading())]
    assert [int(frame[0, 0, 0]) for frame in found] == [20, 80, 140]
    write_frames(tmp_path / "out.gif", found, tmp_path / "in.gif", read_picture(tmp_path / "in.gif").metadata)
    again = [picture.pixels for picture in read_frames(tmp_path / "out.gif", Reading())]
    assert [int(frame[0, 0, 0]) for frame in again] == [20, 80, 140]


# what is no image, by name


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'<VRTDataset rasterXSize="5">', "is a VRT, which only points to other rasters; run: gdal_translate"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "is a MATLAB file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), r"is an HDF5 file \(\.h5"),
        (b"CDF\x01" + bytes(50), "is a NetCDF file"),
        (b"FUJIFILMCCD-RAW 0201FF", "is a camera's raw file"),
        (b"SIMPLE  =                    T", "is a FITS file"),
        (b"<svg></svg>", "is an SVG drawing, not pixels"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(DataError, match=words):
        read_pixels(tmp_path / "x.png")


def test_arrays_of_every_kind_are_native_or_named(tmp_path: Path) -> None:
    for name, array, dtype in (
        ("int16", np.arange(-9, 9, dtype=np.int16).reshape(3, 6), np.int16),
        ("big-endian", np.arange(18, dtype=">u2").reshape(3, 6), np.uint16),
        ("int64", np.arange(-9, 9).reshape(3, 6) * 1000, np.int16),
        ("int32", np.arange(-9, 9, dtype=np.int32).reshape(3, 6) * 100_000, np.float32),
    ):
        np.save(tmp_path / f"{name}.npy", array)
        found = read_pixels(tmp_path / f"{name}.npy")
        assert found.dtype == dtype and found.dtype.isnative
        np.testing.assert_array_equal(found[..., 0], array)
    file = io.BytesIO()
    np.save(file, np.zeros((0, 5), np.uint8))
    (tmp_path / "none.npy").write_bytes(file.getvalue())
    with pytest.raises(DataError, match=r"has no pixels \(5 x 0\)"):
        read_pixels(tmp_path / "none.npy")


# large images


def test_a_large_image_is_copied_by_strips_to_the_same_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK"):
        image = Image.fromarray(RGB).convert(mode) if mode != "RGBA" else Image.fromarray(np.dstack([RGB, RGB[..., :1]]))
        image.save(tmp_path / f"{mode}.tif")
    paths = sorted(tmp_path.iterdir())
    expected = [read_pixels(path) for path in paths] + [read_pixels(path, Reading(alpha="keep")) for path in paths]
    levels = [levels_of(pixels) for pixels in expected]
    monkeypatch.setattr(pillow_images, "STRIP", 18 * 5)  # 5 of 12 rows at a time, and at last 2
    monkeypatch.setattr(usage, "STRIP", 18 * 5)
    images = [from_pillow(Image.open(path), reading).pixels for reading in (Reading(), Reading(alpha="keep")) for path in paths]
    for found, pixels in zip(images, expected, strict=True):
        np.testing.assert_array_equal(found, pixels[..., : found.shape[2]])
    assert [levels_of(pixels) for pixels in expected] == levels and levels[0] == 1 | 1 << 255


def test_large_images_are_read_one_at_a_time_and_others_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LARGE", 100)
    Image.fromarray(RGB).save(tmp_path / "large.png")
    Image.fromarray(RGB[:4, :4]).save(tmp_path / "small.png")
    np.save(tmp_path / "large.npy", RGB)  # which has no header that Pillow knows
    inside, most = 0, dict.fromkeys(("large.png", "small.png", "large.npy"), 0)

    def work(name: str) -> None:
        nonlocal inside
        with formats.one_large_at_a_time(tmp_path / name):
            inside += 1
            time.sleep(0.05)
            most[name] = max(most[name], inside)
            inside -= 1

    for name in most:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(work, [name] * 3))
    assert most["large.png"] == most["large.npy"] == 1 and most["small.png"] > 1
