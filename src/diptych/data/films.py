"""Read films: any container that holds its own pictures, upright frames with their time stamps, one after the other.

FFmpeg reads them through PyAV (the extra ``video``). Only local files are opened, and only by the readers in CONTAINERS:
playlists and session descriptions (m3u8, concat, sdp ...) name other files, and nothing that a film names is ever opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from diptych.data.declared_sizes import declared_size, lacks_index
from diptych.data.pillow_images import MAX_PIXELS
from diptych.data.untrusted import refuse_untrusted
from diptych.errors import DataError
from diptych.extras import extra
from diptych.messages import show

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,asf_o,flv,kux,live_flv,mpeg,mpegts,mpegvideo,m4v,h261,h263,h264,hevc,vvc,av1,obu,evc,"
    "vc1,dirac,cavsvideo,ivf,ogg,mxf,gxf,nut,rm,dv,wtv,swf,yuv4mpegpipe,gif,apng,webp_anim,jpegxl_anim,flic,smk,bink,roq,vmd,nuv,nsv,mtv,"
    "mm,film_cpk,filmstrip,mjpeg,mjpeg_2000,amv,thp,pmp,mv,ser,cine,viv,idcin,wc3movie,4xm,ea,dxa,c93,bfi,hnm,rpl,rl2,smush,txd,xmv,ty,"
    "moflex,mods,lmlm4,dhav,iv8,ifv,dnxhd,mgsts"
)
"""The readers of FFmpeg that may open a file. None of them follows a reference to another file or address."""

PLAYLISTS = {
    b"#EXTM3U": "a playlist (m3u8)",
    b"ffconcat": "a list of films (ffconcat)",
    b"v=0": "a session description (sdp)",
    b"<MPD": "a manifest (DASH)",
    b"[Reference]": "a list of addresses (asx)",
    b"<asx": "a list of addresses (asx)",
    b"RTSPtext": "an address (rtsp)",
    b"file '": "a list of films (concat)",
}
HIGH_DYNAMIC_RANGE = {16: "PQ", 18: "HLG"}  # transfer characteristics of ITU-T H.273
MEND = "copy it again, or let FFmpeg hide the damage: ffmpeg -i IN OUT"
GUESSED_RATE = Fraction(25)  # FFmpeg's own guess for streams without any


@dataclass(frozen=True)
class Film:
    """What a film's first frame and its packets say; see `survey`.

    ``height`` and ``width`` are those of upright frames. ``frames`` is how many pictures its packets hold: for most codecs
    exactly as many as will be read. Time stamps are counted in ``time_base`` seconds. ``aspect`` is the shape of a pixel,
    ``colors`` are the codes of H.273 for matrix, range, primaries and transfer. ``bits`` is the depth of a sample, ``notes`` say
    what reading changes.
    """

    path: Path
    height: int
    width: int
    frames: int
    time_base: Fraction
    rate: Fraction
    aspect: Fraction | None
    colors: tuple[int, int, int, int]
    bits: int
    alpha: bool
    audio: int
    other_streams: int
    stamped: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Frame:
    """One upright picture (h, w, 3) of uint8 or uint16, with its time stamp and its duration (0 where unknown) in time_base."""

    pixels: Shaped[np.ndarray, "h w c"]
    pts: int
    duration: int


def av_of() -> Any:
    """PyAV. Raises MissingExtraError where it is not installed."""
    return extra("av", "video", "films")


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A film open for reading, by the readers in CONTAINERS alone. Raises DataError for what none of them can read."""
    av = av_of()
    try:
        refuse_untrusted()
    except DataError as error:
        raise DataError(f"{show(path)}: {error}") from error
    _refuse_playlists(path)
    limits = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    try:
        container = av.open(f"file:{path}", container_options=limits, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        _refuse_cut_off(path)
        raise DataError(
            f"{show(path)}: is no film that can be read ({_reason(error)}); give an mp4, mkv, mov or webm file"
        ) from error
    with container:
        yield container


def survey(path: Path) -> Film:
    """Look a film over before any work: its first frame is decoded, and all packets are read without decoding them.

    Raises DataError, in one line, for a file without pictures, one that ends before the end that it declares, one with damaged
    packets, and for frames with more pixels than images may have.
    """
    av = av_of()
    where = show(path)
    if path.is_file() and not path.stat().st_size:
        raise DataError(f"{where}: is an empty file; copy it again")
    with opened(path) as container:
        _check_whole(path)
        stream = pictures_of(container, path)
        _check_size(path, stream.codec_context.width, stream.codec_context.height)
        first = next(decoded(container, stream, path), None)
        if first is None:
            raise DataError(f"{where}: holds no frame that can be read; it is empty or damaged")
        _check_size(path, first.width, first.height)
        turn = _orientation(first, path)
        height, width = (first.width, first.height) if turn[0] else (first.height, first.width)
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or None
        if aspect and turn[0]:
            aspect = 1 / aspect
        deepest = max(component.bits for component in first.format.components)
        codes = (int(first.colorspace), int(first.color_range), int(first.color_primaries), int(first.color_trc))
        alpha = _has_alpha(first)
        audio = len(container.streams.audio)
        other = len(container.streams) - audio - 1
        stamped = first.pts is not None
        base = stream.time_base if stamped else 1 / Fraction(stream.average_rate or stream.guessed_rate or GUESSED_RATE)
        rate = Fraction(stream.average_rate or stream.guessed_rate or GUESSED_RATE)
        declared = stream.frames if container.format.name.startswith("mov") else 0  # others count pictures that are left out too
        index = stream.index
    notes = []
    if not stamped:
        notes.append(f"{where}: has no time stamps; {float(rate):g} frames a second are taken")
    if codes[3] in HIGH_DYNAMIC_RANGE:
        notes.append(f"{where}: has a high dynamic range ({HIGH_DYNAMIC_RANGE[codes[3]]}); its values are taken as they are")
    if alpha:
        notes.append(f"{where}: its transparency is composited over white")
    frames = _count_packets(path, index, declared, av)
    return Film(
        path, height, width, frames, base, rate, aspect, codes, deepest, alpha, audio, other, stamped, tuple(notes)
    )  # fmt: skip


def read_frames(film: Film, *, deep: bool = False) -> Iterator[Frame]:
    """Decode a film from its beginning to its end: (h, w, 3) frames of uint8, or of uint16 where ``deep``, upright and opaque.

    Raises DataError at a frame that is damaged, has another size than the first, or whose time stamp does not grow.
    """
    last: int | None = None
    with opened(film.path) as container:
        stream = pictures_of(container, film.path)
        stream.thread_type = "AUTO"
        for number, frame in enumerate(decoded(container, stream, film.path)):
            pixels = upright(frame, film, number, deep=deep)
            pts = frame.pts if film.stamped else number
            if pts is None or (last is not None and pts <= last):
                at = "no time stamp" if pts is None else f"time stamp {pts}, not after {last}"
                raise DataError(
                    f"{show(film.path)}: frame {number} has {at}; repair the film, as by: ffmpeg -i IN -fps_mode vfr OUT"
                )
            last = pts
            yield Frame(pixels, pts, frame.duration or 0)


def upright(frame: Any, film: Film, number: int, *, deep: bool = False) -> Shaped[np.ndarray, "h w 3"]:
    """The pixels of a decoded frame, upright and opaque. Raises DataError for another size than the film's first frame has."""
    turn = _orientation(frame, film.path)
    if (frame.height, frame.width)[:: -1 if turn[0] else 1] != (film.height, film.width):
        raise DataError(f"{show(film.path)}: frame {number} is of another size than the first; cut the film there")
    return _upright(_pixels(frame, deep), turn)


def pictures_of(container: Any, path: Path) -> Any:
    """The stream of moving pictures; covers of music files are none."""
    found = [stream for stream in container.streams.video if not int(stream.disposition) & 0x400]  # AV_DISPOSITION_ATTACHED_PIC
    if not found:
        has = "only sound" if container.streams.audio else "no pictures"
        raise DataError(f"{show(path)}: holds {has}; a film needs a video stream")
    best = container.streams.best("video")
    stream = best if best in found else found[0]
    if stream.codec_context is None:
        raise DataError(f"{show(path)}: its video codec is not known to FFmpeg; convert the film to H.264")
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS), "err_detect": "explode"}  # nothing is concealed in silence
    return stream


def decoded(container: Any, stream: Any, path: Path) -> Iterator[Any]:
    """Decode frames from where a container stands. Raises DataError at damage."""
    av, number = av_of(), 0
    try:
        for packet in container.demux(stream):
            for frame in packet.decode():
                if frame.is_corrupt:
                    raise DataError(f"{show(path)}: frame {number} is damaged; {MEND}")
                yield frame
                number += 1
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(f"{show(path)}: is damaged behind frame {number} ({_reason(error)}); {MEND}") from error


def _count_packets(path: Path, index: int, declared: int, av: Any) -> int:
    """The number of pictures in a film's packets. Raises DataError for one that is cut off or has damaged packets."""
    where, frames, end = show(path), 0, 0.0
    with opened(path) as container:
        duration = (container.duration or 0) / av.time_base
        begin = (container.start_time or 0) / av.time_base
        try:
            for packet in container.demux():
                if not packet.size:
                    continue
                if packet.is_corrupt:
                    raise DataError(f"{where}: is cut off or damaged after {frames} frames; copy it again, or repair it")
                if packet.dts is not None and packet.time_base:
                    end = max(end, float((packet.dts + (packet.duration or 0)) * packet.time_base))
                frames += packet.stream_index == index and not packet.is_discard
        except (av.error.FFmpegError, OSError) as error:
            raise DataError(f"{where}: is cut off or damaged after {frames} frames ({_reason(error)}); copy it again") from error
    if frames < declared:
        raise DataError(f"{where}: is cut off: it declares {declared:,} frames and holds {frames:,}; copy it again, or repair it")
    if duration - (end - begin) > max(2.0, duration / 20):
        raise DataError(f"{where}: is cut off: it declares {duration:.1f} s and ends after {end - begin:.1f} s; copy it again")
    return frames


def _check_whole(path: Path) -> None:
    declared, found = declared_size(path) or 0, path.stat().st_size
    if found < declared:
        raise DataError(
            f"{show(path)}: is cut off: it declares {declared:,} bytes and holds {found:,}; copy it again, or repair it"
        )


def _refuse_cut_off(path: Path) -> None:
    """Raise DataError for a film that FFmpeg cannot open as its end is missing."""
    if not path.is_file():
        return
    _check_whole(path)
    if lacks_index(path):
        raise DataError(
            f"{show(path)}: is cut off: its index (moov), which is written last, is missing; copy it again, or record it again"
        )


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(f"{show(path)}: has frames of {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} are read")


def _pixels(frame: Any, deep: bool) -> Shaped[np.ndarray, "h w 3"]:
    """RGB in the full range, by the frame's own matrix and range."""
    if _has_alpha(frame):
        rgba = frame.to_ndarray(format="rgba64le" if deep else "rgba")
        top = np.iinfo(rgba.dtype).max
        opacity = rgba[..., 3:].astype(np.float32) / top
        return (rgba[..., :3] * opacity + top * (1 - opacity)).round().astype(rgba.dtype)
    return frame.to_ndarray(format="rgb48le" if deep else "rgb24")


def _has_alpha(frame: Any) -> bool:
    return any(component.is_alpha for component in frame.format.components) or frame.format.name == "pal8"


def _orientation(frame: Any, path: Path) -> tuple[bool, bool, bool]:
    """How a stored picture becomes upright: whether its axes are exchanged, and then whether rows and columns are reversed.

    The display matrix (ISO 14496-12) takes a stored (x, y) to (a x + c y, b x + d y).
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5] / 65536
    if abs(abs(a) - 1) < 0.01 and abs(abs(d) - 1) < 0.01 and not round(b) and not round(c):
        return False, bool(d < 0), bool(a < 0)
    if abs(abs(b) - 1) < 0.01 and abs(abs(c) - 1) < 0.01 and not round(a) and not round(d):
        return True, bool(b < 0), bool(c < 0)
    raise DataError(
        f"{show(path)}: is turned by an angle that is no multiple of 90 degrees; turn it, as with FFmpeg's filter rotate"
    )


def _upright(pixels: np.ndarray, turn: tuple[bool, bool, bool]) -> np.ndarray:
    exchanged, rows, columns = turn
    pixels = pixels.swapaxes(0, 1) if exchanged else pixels
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if columns else 1])


def _refuse_playlists(path: Path) -> None:
    """Raise DataError for a text that names films. FFmpeg's readers of these are not in CONTAINERS; this says what was found."""
    try:
        with open(path, "rb") as file:
            head = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as error:
        raise DataError(f"{show(path)}: cannot be read ({error.strerror}); check the path") from error
    for mark, kind in PLAYLISTS.items():
        if head.lower().startswith(mark.lower()) or (mark == b"<MPD" and b"<MPD" in head):
            raise DataError(f"{show(path)}: is {kind}, which names films elsewhere; give the film itself")


def _reason(error: Exception) -> str:
    """FFmpeg's message without the address that it puts behind."""
    return str(getattr(error, "strerror", None) or error).partition(":")[0]
