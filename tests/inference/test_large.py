"""Images of more pixels than are read at once go from file to file in windows, and come out as the whole image does."""

import re
import sys
from contextlib import closing

import numpy as np
import pytest
import tifffile
from PIL import Image

from diptych.cli import main
from diptych.data import large_files, pillow_images, window_files
from diptych.data.formats import read_picture, read_pixels
from diptych.data.metadata import Metadata
from diptych.data.windows import Windows
from diptych.errors import StorageError
from diptych.inference import batch, budget, large, maps, sampled, staged, staging, window_state
from diptych.inference.batch import plan, translate_files
from diptych.inference.manifest import Manifest
from diptych.inference.translator import Translator
from diptych.pixels import Domain
from tests.inference.test_norm_statistics import snapshot

SIZE = (110, 131)


@pytest.fixture
def small(monkeypatch):
    """A house in which 10,000 pixels are many: larger files are read in windows, of which an image has several."""
    for module in (pillow_images, large_files):
        monkeypatch.setattr(module, "MAX_PIXELS", 10_000)
    monkeypatch.setattr(large_files, "LARGE_FILE", 1_000)
    monkeypatch.setattr(large, "IN_MEMORY", 0)
    monkeypatch.setattr(staging, "SIDES", (40,))
    monkeypatch.setattr(sampled, "SIDES", (64,))


def translator(domain=None, whole=False, **how):
    made = Translator(snapshot("resnet_1", domain=domain or Domain()), device="cpu", memory=10**12, **how)
    made.fits = lambda *size: whole
    return made


def picture(dtype=np.uint8, channels=3, size=SIZE, high=256):
    values = np.random.default_rng(0).integers(0, high, (*size, channels), dtype=dtype)
    values[:, : size[1] // 2] //= 3
    return values


def translate(source, target, translator, **how):
    (outcome,) = translate_files(plan([source], target, translator), translator, **how)
    assert outcome.problem is None, outcome.problem
    return outcome


def exact(translator, pixels):
    return translator(pixels).astype(int)


def test_a_geotiff_keeps_its_place_and_its_pixels_without_data(small, tmp_path):
    pixels, domain = picture(np.int16, 1, high=4000), Domain(1, "float32", 0, 4000, masked=True, stored="int16", nodata=-9999.0)
    pixels[20:60, 30:90] = -9999
    geo = [(33550, 12, 3, (0.5, 0.5, 0.0), True), (33922, 12, 6, (0.0, 0, 0, 7.0, 51.0, 0), True), (42113, 2, 6, "-9999", True)]
    how = {"tile": (64, 48), "compression": "zlib", "extratags": geo, "metadata": None, "bigtiff": True}
    tifffile.imwrite(tmp_path / "height.tif", pixels[..., 0], **how)
    made = Translator(gray(domain), device="cpu", memory=10**12)
    made.fits = lambda *size: False
    outcome = translate(tmp_path / "height.tif", tmp_path / "out", made)
    assert outcome.by_stages
    pillow_images.MAX_PIXELS = 10**6
    found, before = read_picture(tmp_path / "out" / "height.tif"), read_picture(tmp_path / "height.tif")
    assert found.metadata.geo == before.metadata.geo and found.metadata.nodata == -9999 and found.metadata.stored == "int16"
    without = np.isnan(before.pixels[..., 0])
    assert without.sum() == 40 * 60 and np.array_equal(np.isnan(found.pixels[..., 0]), without)
    expected = Translator(gray(domain), device="cpu").pixels(before.pixels)
    assert np.nanmax(np.abs(found.pixels - np.round(expected))) <= 1
    with tifffile.TiffFile(tmp_path / "out" / "height.tif") as file:
        assert file.pages.first.is_tiled and len(file.pages) == 1


def gray(domain):
    import torch

    from diptych.nets import generator, initialise
    from diptych.snapshot import Snapshot

    torch.manual_seed(0)
    net = initialise(generator("resnet_1", 1, 1, width=8, norm="instance"), "normal", 0.1).eval()
    return Snapshot({"a2b": net}, domain, domain)


LAYOUTS = {
    "strips": {"rowsperstrip": 16, "compression": "lzw", "predictor": True},
    "tiles of separate planes": {"tile": (32, 64), "planarconfig": "separate"},
    "jpeg in ycbcr": {"tile": (64, 64), "compression": "jpeg", "photometric": "ycbcr"},
    "OME": {"tile": (64, 64), "ome": True, "metadata": {"axes": "YXS"}},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_window_of_a_tiff_is_the_window_of_the_whole_image(layout, tmp_path):
    how = {"photometric": "rgb", **LAYOUTS[layout]}
    pixels = picture()
    planar = how.get("planarconfig") == "separate"
    tifffile.imwrite(tmp_path / "a.tif", pixels.transpose(2, 0, 1) if planar else pixels, **how)
    whole = read_pixels(tmp_path / "a.tif")
    image = large_files.open_windows(tmp_path / "a.tif", Domain().reading, 10**9)
    assert image.shape == whole.shape == (*SIZE, 3)
    for rows, columns in ((slice(0, 1), slice(0, 131)), (slice(30, 101), slice(63, 66)), (slice(109, 110), slice(120, 131))):
        assert np.array_equal(image[rows, columns], whole[rows, columns])
    image.close()


def test_channels_in_pages_and_npy_are_read_in_windows(tmp_path):
    pixels = picture(np.uint16, 5, high=4000)
    tifffile.imwrite(
        tmp_path / "a.ome.tif", pixels.transpose(2, 0, 1), ome=True, metadata={"axes": "CYX"}, photometric="minisblack"
    )
    np.save(tmp_path / "a.npy", pixels)
    for name in ("a.ome.tif", "a.npy"):
        image = large_files.open_windows(tmp_path / name, Domain().reading, 10**9)
        assert np.array_equal(image[40:90, 100:131], pixels[40:90, 100:131]), name
        image.close()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_png_or_jpeg_of_many_pixels_is_decoded_where_the_memory_has_room(suffix, small, tmp_path):
    made = translator()
    Image.fromarray(picture()).save(tmp_path / f"a{suffix}")
    assert translate(tmp_path / f"a{suffix}", tmp_path / "out", made).by_stages
    pillow_images.MAX_PIXELS = 10**6
    expected = exact(translator(whole=True), read_pixels(tmp_path / f"a{suffix}"))
    off = np.abs(read_pixels(tmp_path / "out" / f"a{suffix}") - expected)
    assert off.max() <= 1 if suffix == ".png" else off.mean() < 6
    pillow_images.MAX_PIXELS = 10_000
    made.memory = 10_000
    (outcome,) = translate_files(plan([tmp_path / f"a{suffix}"], tmp_path / "b", made), made)
    assert "has 14,410 pixels, which can only be decoded as a whole and takes 115 kB" in outcome.problem
    assert re.search(r"give --memory \d+MB or more, or convert it to a tiled TIFF", outcome.problem)


def test_an_image_that_the_memory_has_no_room_to_read_is_refused_before_it_is_decoded(monkeypatch, tmp_path):
    Image.fromarray(picture()).save(tmp_path / "a.png")
    made, read = translator(), []
    monkeypatch.setattr(budget, "SMALL_FILE", 0)
    monkeypatch.setattr(batch, "read_picture_as", lambda *words: read.append(words))
    monkeypatch.setattr(made, "left", lambda: 2 * 8 * 131 * 110 - 2)  # one byte of the half that is for reading is missing
    (outcome,) = translate_files(plan([tmp_path / "a.png"], tmp_path / "b", made), made)
    assert "a.png: has 14,410 pixels, which can only be decoded as a whole and takes 115 kB, found 115 kB" in outcome.problem
    assert not read


def test_deep_zoom_has_all_levels_and_ome_tiff_and_zarr_a_pyramid(small, monkeypatch, tmp_path):
    from diptych.data import window_files

    monkeypatch.setattr(window_files, "TILE", 64)
    monkeypatch.setattr(window_files, "SMALLEST", 64)
    made, pixels = translator(whole=True), picture()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = exact(made, pixels)
    translate(tmp_path / "a.png", tmp_path / "a.dzi", made)
    folder = tmp_path / "a_files"
    assert sorted(int(level.name) for level in folder.iterdir()) == [*range(9)]  # 1, 2, 3, 5 ... 131 pixels wide
    assert read_pixels(folder / "8" / "2_1.jpg").shape == (110 - 64, 131 - 128, 3)
    tile = read_pixels(folder / "8" / "1_0.jpg").astype(int)
    assert np.abs(tile - expected[:64, 64:128]).mean() < 8
    assert 'Height="110" Width="131"' in (tmp_path / "a.dzi").read_text()
    translate(tmp_path / "a.png", tmp_path / "b.ome.tif", made)
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        levels = [level.asarray().astype(int) for level in file.series[0].levels]
        assert file.is_ome and [level.shape[:2] for level in levels] == [(110, 131), (55, 66), (28, 33)]
    assert np.array_equal(levels[0], expected)
    assert np.array_equal(levels[1][0, 0], np.floor(expected[:2, :2].mean((0, 1)) + 0.5))
    zarr = pytest.importorskip("zarr")
    translate(tmp_path / "a.png", tmp_path / "c.zarr", made)
    group = zarr.open_group(str(tmp_path / "c.zarr"), mode="r")
    assert np.array_equal(group["0"][:].transpose(1, 2, 0), expected) and group["2"].shape == (3, 28, 33)
    outcome = translate(tmp_path / "c.zarr", tmp_path / "d.tif", made)
    assert outcome.problem is None
    pillow_images.MAX_PIXELS = 10**6
    assert np.array_equal(read_pixels(tmp_path / "d.tif"), exact(made, expected.astype(np.uint8)))


@pytest.mark.parametrize("at", [0.3, 0.98])
def test_an_interrupted_file_goes_on_also_in_its_last_stage(at, small, monkeypatch, tmp_path):
    monkeypatch.setattr(staged, "SAVE_EVERY", 0.0)
    tifffile.imwrite(tmp_path / "a.tif", picture(), tile=(64, 64), photometric="rgb")
    made, shares, after = translator(), [], []

    def stop(job, share):
        shares.append(share)
        if share > at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate_files(plan([tmp_path / "a.tif"], tmp_path / "out", made), made, watch_stages=stop)
    translate(tmp_path / "a.tif", tmp_path / "out", made, watch_stages=lambda job, share: after.append(share))
    assert after[0] >= shares[-1] - 0.01
    pillow_images.MAX_PIXELS = 10**6
    expected = exact(translator(whole=True), picture())
    assert np.abs(read_pixels(tmp_path / "out" / "a.tif") - expected).max() <= 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.tif"]


def test_a_result_that_was_computed_is_only_written_again(small, monkeypatch, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture(), tile=(64, 64), photometric="rgb")
    made, shares, write = translator(), [], large.write_windows

    def full(*args, **how):
        raise StorageError("the disk is full")

    monkeypatch.setattr(large, "write_windows", full)
    jobs = plan([tmp_path / "a.tif"], tmp_path / "out", made)
    with pytest.raises(StorageError, match="the disk is full"):
        translate_files(jobs, made)
    monkeypatch.setattr(large, "write_windows", write)
    translate_files(jobs, made, manifest=Manifest(tmp_path / "out", {}), watch_stages=lambda job, share: shares.append(share))
    assert shares == [] and Manifest(tmp_path / "out", {}).obstacle(jobs[0]) == ""


def test_sampled_norms_are_near_and_need_no_scratch(small, monkeypatch, tmp_path):
    monkeypatch.setattr(sampled, "SAMPLE_SIDE", 48)
    tifffile.imwrite(tmp_path / "a.tif", picture(), tile=(64, 64), photometric="rgb")
    made = translator()
    outcome = translate(tmp_path / "a.tif", tmp_path / "out", made, norms="sampled")
    assert outcome.notes[0].startswith("translated in windows, with a mean error of at most ")
    pillow_images.MAX_PIXELS = 10**6
    found, whole = read_pixels(tmp_path / "out" / "a.tif").astype(int), exact(translator(whole=True), picture())
    tiles = np.concatenate([exact(translator(whole=True), picture()[:, part]) for part in (slice(0, 65), slice(65, 131))], 1)
    assert 0 < np.abs(found - whole).mean() < np.abs(tiles - whole).mean() / 3


def test_where_a_sample_needs_too_much_memory_and_stages_do_not_that_is_said(small, monkeypatch, tmp_path):
    monkeypatch.setattr(sampled, "SAMPLE_SIDE", 48)
    tifffile.imwrite(tmp_path / "a.tif", picture(), photometric="rgb", tile=(64, 64))
    made, left = translator(), [3 * 10**7]
    monkeypatch.setattr(made, "left", lambda: left[0])
    (outcome,) = translate_files(plan([tmp_path / "a.tif"], tmp_path / "out", made), made, norms="sampled")
    assert "; or leave out --sample-norms, as this memory is enough for the exact way" in outcome.problem
    assert translate(tmp_path / "a.tif", tmp_path / "out", made).by_stages
    left[0] = 10**5
    (outcome,) = translate_files(plan([tmp_path / "a.tif"], tmp_path / "b", made), made, norms="sampled")
    assert "give --memory" in outcome.problem and "--sample-norms" not in outcome.problem


@pytest.mark.parametrize("in_memory", [False, True])
def test_an_interrupted_sampled_file_goes_on_with_its_statistics(in_memory, small, monkeypatch, tmp_path):
    monkeypatch.setattr(sampled, "SAMPLE_SIDE", 48)
    monkeypatch.setattr(window_state, "SAVE_EVERY", 0.0)
    if in_memory:  # an image that is decoded whole, and does not fit through the network
        monkeypatch.setattr(pillow_images, "MAX_PIXELS", 10**6)
        monkeypatch.setattr(large_files, "LARGE_FILE", 10**9)
    tifffile.imwrite(tmp_path / "a.tif", picture(), photometric="rgb")
    made, shares, after, measured = translator(), [], [], []
    expected = translate(tmp_path / "a.tif", tmp_path / "expected", made, norms="sampled")
    assert expected.notes[0].startswith("translated in windows, with a mean error of at most ")

    def stop(job, share):
        shares.append(share)
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate_files(plan([tmp_path / "a.tif"], tmp_path / "out", made), made, norms="sampled", watch_stages=stop)
    monkeypatch.setattr(sampled, "measure_norms", lambda *parts: measured.append(parts))
    how = {"norms": "sampled", "watch_stages": lambda job, share: after.append(share)}
    assert translate(tmp_path / "a.tif", tmp_path / "out", made, **how).notes == expected.notes
    assert measured == [] and (len(after) == len(set(shares + after)) if in_memory else after[0] > shares[-1])
    assert (tmp_path / "out" / "a.tif").read_bytes() == (tmp_path / "expected" / "a.tif").read_bytes()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.tif"]


def test_another_image_or_network_takes_up_no_windows(small, monkeypatch, tmp_path):
    monkeypatch.setattr(sampled, "SAMPLE_SIDE", 48)
    made, out = translator(), maps.PixelFile(tmp_path / "pixels.bin", (*SIZE, 3), "uint8")
    with closing(out):
        made.by_windows(picture(), out, state=tmp_path / "state")
    for image, how in ((picture() // 2, {}), (picture(), {"norms": made.measure_norms(picture())})):
        other, again = translator(**how), maps.PixelFile(tmp_path / "pixels.bin", (*SIZE, 3), "uint8")
        with closing(again):
            other.by_windows(image, again, state=tmp_path / "state")
            assert np.array_equal(again[0 : SIZE[0], 0 : SIZE[1]], other.by_windows(image)[0])


def test_fixed_norms_translate_large_files_in_windows_to_the_same_result(small, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture(), tile=(64, 64), photometric="rgb")
    plain = translator(whole=True)
    norms = plain.measure_norms(picture())
    made = translator(norms=norms)
    assert translate(tmp_path / "a.tif", tmp_path / "out", made).notes == ("translated in windows",)
    pillow_images.MAX_PIXELS = 10**6
    assert np.abs(read_pixels(tmp_path / "out" / "a.tif") - exact(plain, picture())).max() <= 1


def test_what_cannot_be_done_in_windows_is_one_line(small, tmp_path):
    made = translator()
    tifffile.imwrite(tmp_path / "counts.tif", picture(np.uint32), tile=(64, 64), photometric="rgb")
    tifffile.imwrite(tmp_path / "a.tif", picture(), tile=(64, 64), photometric="rgb")
    (tmp_path / "torn.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:9000])
    (outcome,) = translate_files(plan([tmp_path / "counts.tif"], tmp_path / "o", made), made)
    assert "is TIFF of uint32, whose range is known only when all is read; convert it to a tiled TIFF" in outcome.problem
    (outcome,) = translate_files(plan([tmp_path / "torn.tif"], tmp_path / "o", made), made)
    assert outcome.problem.startswith(f"{tmp_path / 'torn.tif'}: is damaged or incomplete")
    (outcome,) = translate_files(plan([tmp_path / "a.tif"], tmp_path / "o", made), made, at="trained")
    assert "is too large to be resized as a whole; leave out --at trained" in outcome.problem
    deep = translator(Domain(3, "uint16", 0, 4000))
    np.save(tmp_path / "a.npy", picture(np.uint16, high=4000))
    (outcome,) = translate_files(plan([tmp_path / "a.npy"], tmp_path / "o.dzi", deep), deep)
    assert "Deep Zoom holds 8-bit gray and RGB; name it .tif or .zarr" in outcome.problem


def test_the_command_writes_a_pyramid_of_a_small_file(tmp_path, capsys):
    saved = snapshot("resnet_1", domain=Domain())
    saved.save(tmp_path / "s.safetensors")
    Image.fromarray(picture(size=(20, 30))).save(tmp_path / "a.png")
    words = ["translate", str(tmp_path / "s.safetensors"), str(tmp_path / "a.png"), "--out", str(tmp_path / "a.dzi")]
    assert main(words) == 0 and (tmp_path / "a_files" / "5" / "0_0.jpg").is_file()
    assert main(words) == 0 and "1 was there" in capsys.readouterr().out


def test_a_whole_slide_is_read_through_openslide(small, tmp_path):
    pytest.importorskip("openslide")
    tifffile.imwrite(tmp_path / "a.svs", picture(), tile=(64, 64), photometric="rgb", compression="zlib")
    assert translate(tmp_path / "a.svs", tmp_path / "out", translator(whole=True)).problem is None
    pillow_images.MAX_PIXELS = 10**6
    assert np.array_equal(read_pixels(tmp_path / "out" / "a.tif"), exact(translator(whole=True), picture()))


@pytest.mark.parametrize(("name", "package"), [("a.svs", "openslide"), ("a.zarr", "zarr")])
def test_a_missing_package_is_named(name, package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / name).mkdir()
    made = translator()
    (outcome,) = translate_files(plan([tmp_path / name], tmp_path / "out", made), made)
    assert f"needs {package}, which is not installed; pip install 'diptych[" in outcome.problem


def test_too_little_disk_is_said_before_anything_is_computed(small, monkeypatch, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", picture(), tile=(64, 64), photometric="rgb")
    usage = large.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(large.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(StorageError, match=r"the translation needs 130 kB of disk, found 1\.00 kB free; free some space"):
        translate(tmp_path / "a.tif", tmp_path / "out", translator())
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(("memory", "files"), [(10**9, False), (0, True)], ids=["small maps", "large maps"])
def test_only_feature_maps_that_are_large_lie_in_files(small, monkeypatch, tmp_path, memory, files):
    monkeypatch.setattr(large, "IN_MEMORY", memory)
    translate, maps, seen = translator(), tmp_path / "maps", []
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    out = np.empty_like(image)
    how = large.in_parts(translate, image, out, "whole", maps, lambda share: seen.append(maps.is_dir()))
    assert how == "by stages" and set(seen) == {files}
    assert np.abs(out.astype(int) - translator(whole=True)(image)).max() <= 1


def test_a_tiff_is_written_while_its_tiles_are_made(tmp_path, monkeypatch):
    """Its tiles are not collected first, which took up to 512 MB beside what the memory is planned for."""
    written = []

    class Noise(Windows):
        shape, metadata = (2048, 1024, 1), Metadata()

        def read(self, top, bottom, left, right):
            result = tmp_path / "scratch" / "result"
            written.append(result.stat().st_size if result.exists() else 0)
            return np.random.default_rng(top).integers(0, 256, (bottom - top, right - left, 1), np.uint8)

    monkeypatch.setattr(window_files, "TILE", 256)
    monkeypatch.setattr(window_files, "BUFFER", 4 * 256**2)
    window_files.write_windows(tmp_path / "x.tif", Noise(), Metadata(), tmp_path / "scratch", alpha=False, averaged=True)
    assert written[-1] > 2048 * 1024 // 2  # when the last strip of tiles is made, most others are in the file
