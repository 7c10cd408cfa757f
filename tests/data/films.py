"""Small films of every kind, written by PyAV itself, and how their frames and time stamps are read without diptych."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av: Any = pytest.importorskip("av", reason="needs the video extra")
cv2: Any = pytest.importorskip("cv2", reason="needs the video extra")

BASE = Fraction(1, 12800)
LOSSLESS = {"codec": "libx264rgb", "options": {"qp": "0"}, "pixels": "rgb24"}


def moving(count: int = 6, height: int = 48, width: int = 64, seed: int = 0) -> list[np.ndarray]:
    """Frames of coloured blocks that move to the right, 2 pixels a frame."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    picture = np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height, :width]
    return [np.roll(picture, 2 * i, 1) for i in range(count)]


def film(
    path: Path,
    frames: Sequence[np.ndarray] | None = None,
    *,
    stamps: Sequence[int] | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    sound: bool = False,
    turned: int = 0,
    aspect: Fraction | None = None,
    container: dict[str, str] | None = None,
    tags: dict[str, int] | None = None,
) -> Path:
    """Write frames, (h, w, 3 or 4) of uint8, with time stamps in units of BASE; ``turned`` is the display matrix's angle."""
    frames = moving() if frames is None else frames
    stamps = [512 * i for i in range(len(frames))] if stamps is None else stamps
    path.parent.mkdir(parents=True, exist_ok=True)
    exact = {"movie_timescale": str(BASE.denominator)} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", container_options=exact | (container or {})) as file:
        video = file.add_stream(
            codec, rate=25, options={"crf": "10"} if options is None and codec == "libx264" else options or {}
        )
        video.height, video.width = frames[0].shape[:2] if frames else (48, 64)
        video.pix_fmt, video.time_base = pixels, BASE
        video.codec_context.time_base = BASE
        for name, value in (tags or {}).items():
            setattr(video.codec_context, name, value)
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        if turned:
            video.set_display_rotation(turned)
        audio = file.add_stream("aac", rate=44100, layout="mono") if sound else None
        file.start_encoding()
        for number, (frame, pts) in enumerate(zip(frames, stamps, strict=True)):
            kind = {3: "rgb24", 4: "rgba"}[frame.shape[2]]
            picture = av.VideoFrame.from_ndarray(frame, format=kind).reformat(format=pixels)
            picture.pts, picture.time_base = pts, BASE
            file.mux(video.encode(picture))
            if audio:
                tone = np.sin(np.arange(1764, dtype=np.float32)[None] * (0.05 + 0.01 * number)) / 4
                samples = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
                samples.sample_rate, samples.pts = 44100, 1764 * number
                file.mux(audio.encode(samples))
        file.mux(video.encode())
        if audio:
            file.mux(audio.encode())
    return path


def seconds_of(path: Path) -> list[Fraction]:
    """The time stamps of all frames."""
    with av.open(str(path)) as file:
        return [frame.pts * frame.time_base for frame in file.decode(video=0)]


def pictures_of(path: Path) -> list[np.ndarray]:
    """All frames in RGB, as they are stored."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def sound_of(path: Path) -> list[tuple[Fraction, bytes]]:
    """The packets of sound, with their time stamps."""
    with av.open(str(path)) as file:
        return [(p.pts * p.time_base, bytes(p)) for p in file.demux(audio=0) if p.size]
