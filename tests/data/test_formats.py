"""Every file of the corpus gives its exact pixels or one line that says where, why and what to do; writing loses nothing."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.data.formats import HOLDS, SUFFIXES, output_suffix, read_pixels, write_pixels
from diptych.errors import DataError, StorageError
from diptych.messages import show
from tests.data.bad_images import CASES, EITHER, JPEG, PNG, RGB, RGB16, Near

# Pillow mentions damaged EXIF, and sizes that we refuse, in passing.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Corrupt EXIF"),
    pytest.mark.filterwarnings("ignore:Tag data larger"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


def refusal(path: str | Path) -> str:
    """The message without its path, after checking that it is one line: path, reason, next step."""
    with pytest.raises(DataError) as caught:
        read_pixels(path)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{show(path)}: ")
    reason, _, next_step = message.removeprefix(f"{show(path)}: ").partition("; ")
    assert reason and next_step
    assert len(message) < len(show(path)) + 250
    return message.removeprefix(f"{show(path)}: ")


@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_file_gives_its_verdict(name: str, tmp_path: Path) -> None:
    make, verdict = CASES[name]
    path = tmp_path / name
    path.write_bytes(make())
    if verdict is EITHER:
        try:
            pixels = read_pixels(path)
        except DataError:
            refusal(path)
            return
        assert pixels.ndim == 3
    elif isinstance(verdict, str):
        assert verdict in refusal(path)
    else:
        expected, tolerance = verdict if isinstance(verdict, Near) else (verdict, 0)
        expected = expected[..., None] if expected.ndim == 2 else expected
        pixels = read_pixels(path)
        assert (pixels.shape, pixels.dtype) == (expected.shape, expected.dtype)
        assert pixels.flags.c_contiguous and pixels.flags.writeable
        assert np.nanmax(np.abs(pixels.astype(float) - expected.astype(float))) <= tolerance
        np.testing.assert_array_equal(np.isnan(pixels), np.isnan(expected))


def test_the_corpus_is_large() -> None:
    assert len(CASES) >= 130


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "broken.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
    assert "pipe, socket or device" in refusal(tmp_path / "pipe.jpg")
    assert "is a folder" in refusal(tmp_path / "folder.jpg")
    assert "broken symbolic link" in refusal(tmp_path / "broken.jpg")
    assert "symbolic links" in refusal(tmp_path / "loop.jpg")
    assert "does not exist" in refusal(tmp_path / "none.jpg")
    assert "cannot be read" in refusal(tmp_path / "socket.jpg")
    assert "pipe, socket or device" in refusal("/dev/null")
    assert "File name too long" in refusal(tmp_path / ("x" * 300 + ".jpg"))
    assert "null" in refusal(str(tmp_path) + "/a\0b.jpg")


def test_a_refusal_does_not_show_what_is_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_bytes(b"root:x:0:0:root:/root:/bin/sh\n")
    (tmp_path / "link.png").symlink_to("passwd")
    said = refusal(tmp_path / "link.png")
    assert "is no image of a known format" in said and "root" not in said.replace(str(tmp_path), "")


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(PNG)
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser may read everything: let the system call answer as for others

        def denied(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", denied)
    assert "permission denied" in refusal(path)


def test_a_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert "more than 2,147,483,648; cut it into tiles" in refusal(path)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a b.png", "a b.png"),
        ("två 画像.png", "två 画像.png"),
        ("a\nb.png", r"a\nb.png"),
        ("a\udcff.png", r"a\xff.png"),
        ("x" * 251 + ".png", "x" * 251 + ".png"),
    ],
)
def test_names_of_any_bytes_work_and_are_shown_on_one_line(name: str, shown: str, tmp_path: Path) -> None:
    write_pixels(tmp_path / name, RGB)
    assert np.array_equal(read_pixels(tmp_path / name), RGB)
    assert show(name) == shown
    (tmp_path / name).write_bytes(b"")
    assert "is empty" in refusal(tmp_path / name)


@pytest.mark.parametrize("suffix", [suffix for suffix in HOLDS if suffix not in (".dcm", ".dicom")])
def test_what_a_format_holds_is_read_back_exactly(suffix: str, tmp_path: Path) -> None:
    if suffix == ".exr":
        pytest.importorskip("OpenEXR")
    for dtype, counts in HOLDS[suffix].items():
        for channels in counts:
            pixels = np.random.default_rng(0).integers(0, 256, (9, 7, channels or 5)).astype(dtype)
            pixels = pixels * pixels.dtype.type(200) if dtype == "uint16" else pixels
            lossy = suffix in (".jpg", ".jpeg", ".jpe", ".jfif")
            pixels[...] = pixels[:1, :1] if lossy else pixels  # flat, since JPEG is lossy
            write_pixels(tmp_path / f"x{suffix}", pixels)
            found = read_pixels(tmp_path / f"x{suffix}")
            assert (found.shape, found.dtype) == (pixels.shape, pixels.dtype)
            assert np.abs(found.astype(float) - pixels).max() <= (2 if lossy else 0)
    assert suffix in SUFFIXES


def test_jpegs_are_written_with_full_colour_resolution(tmp_path: Path) -> None:
    write_pixels(tmp_path / "x.jpg", np.ascontiguousarray(RGB))
    with Image.open(tmp_path / "x.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


@pytest.mark.parametrize(
    ("suffix", "channels", "dtype", "expected"),
    [
        (".jpg", 3, "uint8", ".jpg"),
        (".JPG", 1, "uint8", ".JPG"),
        (".jpg", 3, "uint16", ".png"),
        (".png", 3, "uint16", ".png"),
        (".webp", 1, "uint8", ".png"),
        (".gif", 3, "uint8", ".png"),
        (".png", 5, "uint8", ".tiff"),
        (".jpg", 1, "float32", ".tiff"),
        (".npy", 7, "float32", ".npy"),
        ("", 3, "uint8", ".png"),
    ],
)
def test_outputs_keep_the_suffix_that_can_hold_them(suffix: str, channels: int, dtype: str, expected: str) -> None:
    assert output_suffix(suffix, channels, dtype) == output_suffix(suffix, channels, np.dtype(dtype)) == expected


def test_a_format_that_cannot_hold_the_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.jpg: cannot hold 3 x uint16; name it \.png"):
        write_pixels(tmp_path / "x.jpg", RGB16)
    with pytest.raises(DataError, match=r"x\.xyz: cannot hold 3 x uint8; name it \.png"):
        write_pixels(tmp_path / "x.xyz", RGB)
    with pytest.raises(DataError, match=r"x\.webp: cannot hold this image \(.*\); name it \.png"):
        write_pixels(tmp_path / "x.webp", np.zeros((1, 20_000, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_when_the_disk_refuses_the_old_file_stays_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(JPEG)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"x\.jpg: cannot be written \(No space left on device\); check"):
        write_pixels(path, RGB)
    assert path.read_bytes() == JPEG and list(tmp_path.iterdir()) == [path]
    with pytest.raises(StorageError, match="Not a directory"):
        write_pixels(path / "x.jpg", RGB)


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write_pixels(tmp_path / "x.png", RGB)
    (tmp_path / "plain").write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "x.png").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
