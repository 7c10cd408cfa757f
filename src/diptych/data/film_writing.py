"""Write films: an encoder for a segment of frames, and the segments and the source's sound joined into one file."""

from __future__ import annotations

import errno
import heapq
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from diptych.data.films import Film, av_of, opened
from diptych.errors import ConfigError, StorageError
from diptych.messages import nearest, show

CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
    ".gif": "gif",
}
"""The containers that films are written to, by suffix, with FFmpeg's name for each."""
CODECS = {".webm": "libvpx-vp9", ".gif": "gif"}
"""The encoders of containers that do not take H.264 (libx264), which is the default."""
SILENT = (".gif",)
SQUARE = ("libvpx", "libvpx-vp9", "libsvtav1")
"""Encoders that write no shape of pixels, which WebM and Matroska files then lack."""
CRF = {"libx264": 18, "libx265": 20, "libsvtav1": 25, "libvpx-vp9": 24, "libvpx": 10}
"""The encoders with a constant quality, and the one taken unless another is asked for: lower is better."""
WORST = {"libx264": 51, "libx264rgb": 51, "libx265": 51}
"""The highest crf of encoders whose table of options gives no end."""
PALETTED = ("gif",)
# With its macroblock tree x264 reads memory that was never written: equal frames then differ in a few bits.
REPRODUCIBLE = {"mbtree": "0"}
DEFAULTS = {
    "libx264": REPRODUCIBLE,
    "libx264rgb": REPRODUCIBLE,
    "libx265": {"x265-params": "log-level=error"},
    "libvpx-vp9": {"b": "0"},
    "libvpx": {"b": "4M"},
}
"""Options that encoders are opened with unless others are asked for."""
ENCODING = 1  # AV_OPT_FLAG_ENCODING_PARAM
RGB = ("png", "libx264rgb", "qtrle")


@dataclass(frozen=True)
class Encoding:
    """How a film is encoded: the name of an encoder of FFmpeg, its constant quality, and other options by name.

    Raises ConfigError for an encoder that is not there, an option that it does not have, a quality where it has none, and one
    outside its range.
    """

    codec: str
    quality: int | None = None
    options: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        av = av_of()
        try:
            kind = av.codec.Codec(self.codec, "w").type
        except av.codec.codec.UnknownCodecError as error:
            known = ", ".join(CRF)
            raise ConfigError(f"--codec {self.codec}: FFmpeg has no such encoder here; choose one of {known}") from error
        if kind != "video":
            raise ConfigError(f"--codec {self.codec}: encodes {kind} and no pictures; choose one of {', '.join(CRF)}")
        if self.quality is not None and self.codec not in CRF:
            raise ConfigError(
                f"--quality: {self.codec} has no constant quality; give its own options by --codec-option NAME=VALUE"
            )
        self._check_options()

    def _check_options(self) -> None:
        """FFmpeg leaves out the options that an encoder does not have, and takes a crf without end."""
        table = av_of().CodecContext.create(self.codec, "w").supported_options
        own = {option.name: option for option in table.private}
        known = own.keys() | {option.name for option in table.generic if int(option.flags) & ENCODING}
        for name, _ in self.options:
            if name not in known:
                near = nearest(name, known) or sorted(own)
                hint = f"near it: {', '.join(near)}" if near else "it has none of its own"
                raise ConfigError(f"--codec-option {name}: {self.codec} has no such option; {hint}")
        given = {"--quality": self.quality, "--codec-option crf": dict(self.options).get("crf")}
        for flag, value in given.items():
            if value is None or "crf" not in own:
                continue
            top = WORST.get(self.codec, own["crf"].max)
            try:
                number = float(value)
            except ValueError:  # the encoder itself says so
                continue
            if number > top or (flag == "--quality" and number < 0):  # an option of -1 asks for no crf
                raise ConfigError(f"{flag} {value}: {self.codec} takes 0 (best) to {top:g} (worst); choose a number between them")

    def all_options(self) -> dict[str, str]:
        """The options that the encoder is opened with."""
        options = dict(DEFAULTS.get(self.codec, {}))
        if self.codec in CRF:
            options["crf"] = str(CRF[self.codec] if self.quality is None else self.quality)
        return options | dict(self.options)

    def pixel_format(self, height: int, width: int, deep: bool) -> str:
        """The samples that are encoded: 4:2:0 where both sides are even, else 4:4:4, which keeps odd sizes as they are."""
        formats = [found.name for found in av_of().codec.Codec(self.codec, "w").video_formats or ()]
        if self.codec in PALETTED:
            return "pal8"
        if self.codec in RGB:
            wanted = ["rgb48be", "rgb24"] if deep else ["rgb24"]
        else:
            odd = ["yuv444p", "yuvj444p", "bgr0", "rgb24"] if height % 2 or width % 2 else []
            wanted = [*odd, "yuv420p", "yuv422p", "yuvj420p", "yuv444p", "rgb24"]
            wanted = (
                [f"{name}10le" for name in wanted if "j" not in name] + wanted
                if deep
                else [*wanted, "yuv422p10le", "yuv444p10le"]
            )
        return next((name for name in wanted if name in formats), formats[0] if formats else wanted[0])


def encoding_for(out: Path, codec: str = "", quality: int | None = None, options: Iterable[tuple[str, str]] = ()) -> Encoding:
    """The encoding of a film by its name, with what was asked for. Raises ConfigError as `Encoding` does."""
    return Encoding(codec or CODECS.get(out.suffix.lower(), "libx264"), quality, tuple(sorted(options)))


@dataclass(frozen=True)
class Packet:
    """An encoded picture. Its time stamp counts in the film's time_base."""

    data: bytes
    pts: int
    key: bool


@final
class Encoder:
    """Encodes successive frames, (h, w, 1 or 3) of uint8 or uint16, into packets in the order of their time stamps.

    B-frames are off: packets then need no second time stamp, and every container keeps the first as it is.
    """

    def __init__(self, film: Film, encoding: Encoding, deep: bool, header_apart: bool) -> None:
        self.film, self.encoding = film, encoding
        self.context = av_of().CodecContext.create(encoding.codec, "w")
        set_up(self.context, film, encoding, deep)
        if header_apart:
            self.context.flags |= av_of().codec.context.Flags.global_header

    def encode(self, pixels: Shaped[np.ndarray, "h w c"], pts: int) -> list[Packet]:
        """The packets that are ready once this frame is there."""
        frame = _frame_of(pixels, self.context.pix_fmt, self.film)
        frame.pts, frame.time_base = pts, self.film.time_base
        return self._taken(self.context.encode(frame))

    def open(self) -> None:
        """Open the encoder before the first frame. Raises ConfigError where it refuses its options or the size of the film."""
        av = av_of()
        try:
            self.context.open()
        except (av.error.FFmpegError, OSError) as error:
            told = ", ".join(f"{name}={value}" for name, value in self.encoding.all_options().items())
            raise ConfigError(
                f"--codec {self.encoding.codec}: cannot encode {self.film.width} x {self.film.height} pixels "
                f"with {told or 'no options'} ({error.strerror}); choose another --codec, or other options"
            ) from error

    def finish(self) -> list[Packet]:
        """The packets that were still held back."""
        return self._taken(self.context.encode(None)) if self.context.is_open else []

    def _taken(self, packets: Iterable[Any]) -> list[Packet]:
        base = self.film.time_base
        return [Packet(bytes(p), round(p.pts * (p.time_base or base) / base), p.is_keyframe) for p in packets if p.size]


def set_up(context: Any, film: Film, encoding: Encoding, deep: bool) -> None:
    """Tell an encoder what it encodes; two that were told the same write the same header."""
    context.width, context.height = film.width, film.height
    context.pix_fmt = encoding.pixel_format(film.height, film.width, deep)
    context.time_base, context.framerate = film.time_base, film.rate.limit_denominator(100_000)
    if film.aspect:
        context.sample_aspect_ratio = film.aspect
    if context.pix_fmt.startswith("yuv"):
        matrix, limits, primaries, transfer = film.colors
        context.colorspace = 2 if matrix == 0 else matrix  # RGB has no matrix of its own
        context.color_range = 0 if matrix == 0 else limits
        context.color_primaries, context.color_trc = primaries, transfer
    context.max_b_frames = 0
    context.options = encoding.all_options()


def _frame_of(pixels: np.ndarray, pixel_format: str, film: Film) -> Any:
    av = av_of()
    deep = pixels.dtype == np.uint16
    if pixels.shape[2] == 1:
        pixels = pixels.repeat(3, 2)
    if pixel_format == "pal8":
        picture = Image.fromarray((pixels // 257).astype(np.uint8) if deep else pixels).quantize(256)
        colors = np.full((256, 4), 255, np.uint8)  # opacity, red, green, blue
        found = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        colors[: len(found), 1:] = found
        return av.VideoFrame.from_ndarray((np.asarray(picture), colors), format="pal8")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb48le" if deep else "rgb24")
    if not pixel_format.startswith("yuv"):
        return frame.reformat(format=pixel_format)
    matrix, limits, *_ = film.colors
    how = {"dst_colorspace": matrix} if matrix not in (0, 2, 3) else {}
    how |= {"dst_color_range": limits} if limits and matrix else {}
    return frame.reformat(format=pixel_format, **how)


def check_container(trial: Path, film: Film, encoding: Encoding, *, deep: bool, sound: bool) -> None:
    """Write the header of a film to a file that is removed again, before any work. Raises what `join` raises."""
    Encoder(film, encoding, deep, header_apart=False).open()
    if CONTAINERS[trial.suffix.lower()] == encoding.codec == "gif":  # a GIF without frames cannot be finished
        return
    with _begun(trial, film, encoding, deep, sound):
        pass
    trial.unlink(missing_ok=True)


def join(
    out: Path, film: Film, segments: Iterable[list[Packet]], encoding: Encoding, *, deep: bool, sound: bool, last_duration: int
) -> None:
    """Write the packets of all segments, and the packets of the source's sound as they are, into one file.

    Chapters and the film's own words (title, artist ...) are kept. ``last_duration`` is that of the last frame, in time_base.
    Raises ConfigError where the container cannot hold the codec or the sound, StorageError when the disk refuses.
    """
    with _begun(out, film, encoding, deep, sound) as (file, source, stream, carried):
        pictures = _pictures(segments, film, stream, last_duration)
        for packet in heapq.merge(pictures, _sound(source, carried), key=lambda packet: float(packet.dts * packet.time_base)):
            file.mux(packet)


@contextmanager
def _begun(out: Path, film: Film, encoding: Encoding, deep: bool, sound: bool) -> Iterator[tuple[Any, Any, Any, dict[int, Any]]]:
    """A film whose header is written, its source, the stream of pictures, and those of sound by their number in the source."""
    av = av_of()
    container, flags = CONTAINERS[out.suffix.lower()], {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}
    flags |= {"loop": "0"} if container == "gif" else {}
    if container in ("mp4", "mov") and film.time_base.denominator < 2**31:
        flags["movie_timescale"] = str(film.time_base.denominator)  # in which the file says when the first frame comes
    try:
        with ExitStack() as stack:
            file = stack.enter_context(av.open(f"file:{out}", "w", container, container_options=flags))
            source = stack.enter_context(opened(film.path))
            stream = _video_stream(file, film, encoding, deep)
            carried = _sound_streams(file, source) if sound else {}
            file.metadata.update({key: value for key, value in source.metadata.items() if key in WORDS})
            if chapters := source.chapters():
                file.set_chapters(chapters)
            file.start_encoding()
            yield file, source, stream, carried
    except (av.error.FFmpegError, OSError) as error:
        if isinstance(error, OSError) and error.errno in REFUSALS:
            raise StorageError(
                f"{show(out)}: cannot be written ({os.strerror(error.errno)}); check space and permissions"
            ) from error
        what = encoding.codec + (f" and the sound of {show(film.path)}" if sound else "")
        raise ConfigError(
            f"--out *{out.suffix}: cannot hold {what} ({error.strerror}); name it .mkv, choose another --codec, or --audio none"
        ) from error


REFUSALS = (errno.EIO, errno.EACCES, errno.EFBIG, errno.ENOSPC, errno.EROFS, errno.EDQUOT)  # the disk's
WORDS = ("title", "artist", "album", "author", "comment", "date", "copyright", "description", "genre", "language")


def _video_stream(file: Any, film: Film, encoding: Encoding, deep: bool) -> Any:
    try:
        stream = file.add_stream(encoding.codec, rate=film.rate.limit_denominator(100_000))
    except ValueError as error:
        raise ConfigError(
            f"--codec {encoding.codec}: {file.format.name} files do not take it; name the result .mkv, or choose another"
        ) from error
    stream.time_base = film.time_base
    set_up(stream.codec_context, film, encoding, deep)
    return stream


def _sound_streams(file: Any, source: Any) -> dict[int, Any]:
    carried = {}
    for stream in source.streams.audio:
        try:
            carried[stream.index] = file.add_stream_from_template(stream)
        except ValueError as error:
            name = stream.codec_context.name if stream.codec_context else "unknown"
            raise ConfigError(
                f"--out: {file.format.name} files do not take the film's sound ({name}); name it .mkv, or choose --audio none"
            ) from error
    return carried


def _pictures(segments: Iterable[list[Packet]], film: Film, stream: Any, last_duration: int) -> Iterator[Any]:
    av = av_of()
    before: Packet | None = None

    def made(packet: Packet, duration: int) -> Any:
        ready = av.Packet(packet.data)
        ready.pts = ready.dts = packet.pts
        ready.time_base, ready.duration, ready.is_keyframe, ready.stream = film.time_base, duration, packet.key, stream
        return ready

    for packet in (packet for segment in segments for packet in segment):
        if before:
            yield made(before, packet.pts - before.pts)
        before = packet
    if before:
        yield made(before, last_duration)


def _sound(source: Any, carried: Mapping[int, Any]) -> Iterator[Any]:
    if not carried:
        return
    for packet in source.demux([stream for stream in source.streams.audio if stream.index in carried]):
        if packet.dts is None or not packet.size:
            continue
        packet.stream = carried[packet.stream_index]
        yield packet


def header_apart(out: Path) -> bool:
    """Whether a container wants its codec's header once, and not within the packets."""
    av = av_of()
    return bool(av.ContainerFormat(CONTAINERS[out.suffix.lower()], "w").flags & av.format.Flags.global_header.value)
