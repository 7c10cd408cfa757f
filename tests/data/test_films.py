"""Films are read as they are meant to be seen, or refused in one line; nothing that a film names is opened."""

from __future__ import annotations

import re
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from diptych.data.films import CONTAINERS, Film, read_frames, survey
from diptych.errors import DataError
from tests.data.films import BASE, LOSSLESS, av, film, moving, pictures_of, seconds_of


def read(path: Path, deep: bool = False) -> tuple[Film, list[np.ndarray]]:
    found = survey(path)
    frames = list(read_frames(found, deep=deep))
    assert [frame.pts * found.time_base for frame in frames] == seconds_of(path)
    assert len(frames) == found.frames
    return found, [frame.pixels for frame in frames]


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def text(path: Path, words: str) -> Path:
    path.write_text(words)
    return path


def test_frames_time_stamps_and_pixels_are_those_of_the_film(tmp_path: Path) -> None:
    stamps = [100, 612, 700, 2500, 2501, 9000]
    found, frames = read(film(tmp_path / "x.mkv", stamps=[8 * 128 * s for s in range(6)], **LOSSLESS))
    assert all(np.array_equal(a, b) for a, b in zip(frames, moving(), strict=True))
    found, frames = read(film(tmp_path / "y.mp4", stamps=stamps, **LOSSLESS))
    assert [s * BASE for s in stamps] == seconds_of(tmp_path / "y.mp4")
    assert (found.height, found.width, found.bits, found.audio) == (48, 64, 8, 0)


@pytest.mark.parametrize(("angle", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_frames_come_upright(tmp_path: Path, angle: int, turns: int) -> None:
    """A display matrix of angle t shows the stored picture turned counter-clockwise by t (libavutil/display.h)."""
    found, frames = read(film(tmp_path / "x.mp4", turned=angle, aspect=Fraction(4, 3), **LOSSLESS))
    assert all(np.array_equal(a, np.rot90(b, turns)) for a, b in zip(frames, moving(), strict=True))
    assert (found.height, found.width) == frames[0].shape[:2]
    assert found.aspect == (Fraction(4, 3) if turns == 2 else Fraction(3, 4))


def test_transparency_is_composited_over_white(tmp_path: Path) -> None:
    half = np.full((16, 16, 4), (200, 0, 100, 128), np.uint8)
    found, (frame,) = read(film(tmp_path / "x.mov", [half], codec="qtrle", pixels="argb"))
    assert found.alpha and "over white" in found.notes[0]
    assert np.array_equal(frame[0, 0], [round(c * 128 / 255 + 255 * 127 / 255) for c in (200, 0, 100)])


def test_ten_bits_are_read_as_eight_or_sixteen(tmp_path: Path) -> None:
    path = film(tmp_path / "x.mkv", codec="libx264", pixels="yuv444p10le", options={"qp": "0"})
    found, frames = read(path)
    assert found.bits == 10 and frames[0].dtype == np.uint8
    assert np.abs(frames[0].astype(int) - moving()[0]).max() <= 2
    _, deep = read(path, deep=True)
    assert deep[0].dtype == np.uint16 and np.abs(deep[0] / 257 - moving()[0]).max() <= 2


def test_a_matrix_of_hdtv_gives_the_colours_that_were_meant(tmp_path: Path) -> None:
    """Y = 0.2126 R + 0.7152 G + 0.0722 B (ITU-R BT.709): pure green of 8 bits has Y 173, Cb 42, Cr 26."""
    with av.open(str(tmp_path / "x.mkv"), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt, stream.codec_context.colorspace = "yuv444p", 1
        green = np.stack([np.full((16, 16), v, np.uint8) for v in (173, 42, 26)])
        file.mux(stream.encode(av.VideoFrame.from_ndarray(green, format="yuv444p")))
        file.mux(stream.encode())
    _, (frame,) = read(tmp_path / "x.mkv")
    assert np.abs(frame[0, 0].astype(int) - [0, 255, 0]).max() <= 2


ODD = {
    "odd sides": lambda p: film(p / "x.mkv", moving(2, 47, 63), codec="ffv1", pixels="bgr0"),
    "one frame": lambda p: film(p / "x.mp4", moving(1)),
    "one pixel": lambda p: film(p / "x.mkv", moving(2, 1, 1), codec="ffv1", pixels="bgr0"),
    "a late start": lambda p: film(p / "x.mp4", stamps=[99000 + 512 * i for i in range(6)]),
    "gray": lambda p: film(p / "x.mkv", codec="ffv1", pixels="gray"),
    "4:2:2": lambda p: film(p / "x.mkv", codec="ffv1", pixels="yuv422p"),
    "full range": lambda p: film(p / "x.mov", codec="mjpeg", pixels="yuvj420p"),
    "a palette": lambda p: film(p / "x.gif", codec="gif", pixels="rgb8"),
    "VP9": lambda p: film(p / "x.webm", codec="libvpx-vp9"),
    "AVI": lambda p: film(p / "x.avi", codec="mpeg4"),
    "a transport stream": lambda p: film(p / "x.ts"),
    "sound": lambda p: film(p / "x.mp4", sound=True),
    "a name like an address": lambda p: film(p / "a.mp4").rename(p / "concat:a.mp4|b.mp4"),
    "B-frames": lambda p: film(p / "x.mp4", moving(30), options={"bf": "3"}),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_film_is_read_as_ffmpeg_reads_it(tmp_path: Path, kind: str) -> None:
    path = ODD[kind](tmp_path)
    found, frames = read(path)
    plain = pictures_of(tmp_path / path) if ":" not in path.name else moving()
    assert len(frames) == len(plain) and frames[0].shape == (found.height, found.width, 3)
    if ":" not in path.name and not found.alpha:
        assert all(np.array_equal(a, b) for a, b in zip(frames, plain, strict=True))


def test_a_stream_without_time_stamps_takes_its_rate(tmp_path: Path) -> None:
    found = survey(bare(tmp_path / "x.h264", moving()))
    frames = list(read_frames(found))
    assert len(frames) == 6 and [f.pts for f in frames] == sorted({f.pts for f in frames})


def tone(path: Path) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(8000)
        file.writeframes(bytes(16000))
    return path


def only_sound(path: Path) -> Path:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        file.mux(stream.encode(frame)), file.mux(stream.encode())
    return path


def bare(path: Path, *pictures: list[np.ndarray]) -> Path:
    """H.264 without a container, one stream after the other."""
    with open(path, "wb") as file:
        for frames in pictures:
            context = av.CodecContext.create("libx264", "w")
            context.height, context.width = frames[0].shape[:2]
            context.pix_fmt, context.time_base, context.max_b_frames = "yuv420p", Fraction(1, 25), 0
            pictures_ = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames]
            file.writelines(bytes(packet) for picture in [*pictures_, None] for packet in context.encode(picture))
    return path


def huge(path: Path) -> Path:
    """A JPEG in QuickTime whose header says 16384 x 16384, in both places."""
    data = film(path, moving(1, 16, 16), codec="mjpeg", pixels="yuvj420p").read_bytes()
    baseline = b"\xff\xc0\x00\x11\x08"
    assert data.count(baseline + b"\x00\x10\x00\x10") == 1
    path.write_bytes(data.replace(baseline + b"\x00\x10\x00\x10", baseline + b"\x40\x00\x40\x00"))
    return path


def harmed(path: Path) -> Path:
    data = bytearray(film(path, moving(30), options={"crf": "5"}).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    path.write_bytes(data)
    return path


def before_index(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])
    return path


def y4m(path: Path, size: str) -> Path:
    path.write_bytes(f"YUV4MPEG2 {size} F25:1 C420jpeg\nFRAME\n".encode() + bytes(100))
    return path


BAD = {
    "empty": (lambda p: text(p / "x.mp4", ""), "is an empty file"),
    "words": (lambda p: text(p / "x.mp4", "no film at all\n" * 99), "is no film that can be read"),
    "without its index": (lambda p: cut(film(p / "x.mp4"), 0.6), "is cut off: it declares .* bytes"),
    "cut off just before its index": (
        lambda p: before_index(film(p / "x.mov")),
        r"is cut off: its index \(moov\), which is written last, is missing",
    ),
    "cut off behind its index": (
        lambda p: cut(film(p / "x.mp4", moving(40), container={"movflags": "faststart"}), 0.7),
        "is cut off",
    ),
    "cut off (Matroska)": (
        lambda p: cut(film(p / "x.mkv", moving(200), options={"crf": "30", "g": "5"}), 0.5),
        "is cut off",
    ),
    "cut off (short Matroska)": (lambda p: cut(film(p / "x.mkv", moving(24)), 2 / 3), "is cut off: it declares .* bytes"),
    "cut off (WebM)": (lambda p: cut(film(p / "x.webm", moving(24), codec="libvpx"), 0.9), "is cut off: it declares"),
    "cut off (AVI)": (lambda p: cut(film(p / "x.avi", moving(24), codec="mpeg4"), 0.9), "is cut off: it declares"),
    "cut off (fragments)": (
        lambda p: cut(film(p / "x.mp4", moving(24), container={"movflags": "frag_every_frame+empty_moov"}), 2 / 3),
        "is cut off: it declares",
    ),
    "only sound": (lambda p: only_sound(p / "x.mp4"), "holds only sound; a film needs a video stream"),
    "a wave file": (lambda p: tone(p / "x.wav"), "is no film that can be read"),
    "no frames": (lambda p: film(p / "x.mkv", []), "can be read"),
    "huge": (lambda p: huge(p / "x.mov"), r"x.mov: "),
    "huger": (lambda p: y4m(p / "x.y4m", "W999999 H999999"), "x.y4m: "),
    "two sizes": (lambda p: bare(p / "x.h264", moving(4), moving(4, 32)), "frame 4 is of another size than the first"),
    "damaged inside": (lambda p: harmed(p / "x.mp4"), "is damaged behind frame"),
    "an HLS playlist": (
        lambda p: text(p / "x.m3u8", "#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\ngood.ts\n"),
        r"is a playlist \(m3u8\)",
    ),
    "a playlist by another name": (lambda p: text(p / "x.mp4", "\ufeff#EXTM3U\n#EXTINF:1,\ngood.ts\n"), "is a playlist"),
    "ffconcat": (lambda p: text(p / "x.ffconcat", "ffconcat version 1.0\nfile good.ts\n"), "is a list of films"),
    "concat": (lambda p: text(p / "x.txt", "file 'good.ts'\n"), "is a list of films"),
    "sdp": (lambda p: text(p / "x.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"), "is a session description"),
    "DASH": (lambda p: text(p / "x.mpd", '<?xml version="1.0"?>\n<MPD><Period/></MPD>'), "is a manifest"),
    "a playlist behind a comment": (lambda p: text(p / "x.m3u", "# mine\n#EXTM3U\ngood.ts\n"), "is no film that can be read"),
    "an image sequence": (lambda p: text(p / "x%03d.png", "x"), "is no film that can be read"),
    "lavfi": (lambda p: text(p / "x.mp4", "testsrc=size=64x64"), "is no film that can be read"),
    "missing": (lambda p: p / "x.mp4", "cannot be read"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_film_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    make, message = BAD[kind]
    film(tmp_path / "good.ts")
    path = make(tmp_path)
    with pytest.raises(DataError) as refused:
        list(read_frames(survey(path)))
    line = str(refused.value)
    assert re.search(message, line) and line.startswith(str(path)) and "\n" not in line


def test_nothing_but_containers_of_their_own_pictures_is_opened() -> None:
    """FFmpeg's readers that follow names of other files or addresses, by its own list of formats."""
    following = {
        "hls",
        "dash",
        "concat",
        "sdp",
        "rtsp",
        "rtp",
        "sap",
        "lavfi",
        "image2",
        "imf",
        "mpjpeg",
        "webm_dash_manifest",
        "hds",
    }
    names = CONTAINERS.split(",")
    assert not following & set(names) and len(names) == len(set(names))
    known = {part for name in av.formats_available for part in name.split(",")}
    assert known & following, "so that the names are FFmpeg's"


def test_a_missing_extra_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from diptych.errors import MissingExtraError

    path = film(tmp_path / "x.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"^films: needs av, which is not installed; pip install 'diptych\[video\]'$"):
        survey(path)
