"""Read the frames of films in any order, by number: each is found from the keyframe before it.

A film that was opened stays open, so that frames in their order are each decoded once. Of every film, memory holds the time
stamps and a few frames.
"""

from __future__ import annotations

import atexit
import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import UInt8

from diptych.data.film_names import frame_paths
from diptych.data.films import decoded, opened, pictures_of, survey, upright
from diptych.errors import DataError
from diptych.messages import show

OPEN = 4  # films that stay open in a process
KEPT = 8  # decoded frames of each film: threads that read in order ask for them a little out of order


def frames_of(film: Path) -> list[Path]:
    """List the frames of a film. Raises DataError where it cannot be read, or has no time stamps to find frames by."""
    return frame_paths(film, len(_reader_of(film).stamps))


def read_frame(film: Path, name: str) -> UInt8[np.ndarray, "h w 3"]:
    """Read a frame by its name, upright and opaque, of 8 bits. Raises DataError, which begins with the film's path."""
    return _reader_of(film).read(int(name[1:]))


def _reader_of(film: Path) -> _Reader:
    try:
        status = film.stat()
        return _reader(film, status.st_size, status.st_mtime_ns, os.getpid())
    except OSError as error:
        raise DataError(f"{show(film)}: cannot be read ({error.strerror}); check the path") from error


@lru_cache(maxsize=OPEN)
def _reader(film: Path, size: int, changed: int, process: int) -> _Reader:
    """An open film; processes that share the place in a file may not share it."""
    return _Reader(film)


atexit.register(_reader.cache_clear)  # before PyAV's own parts are gone
if hasattr(os, "register_at_fork"):  # decoders have threads, which a forked process lacks: it crashed when it closed them
    os.register_at_fork(before=_reader.cache_clear)


@final
class _Reader:
    """A film and the place in it where decoding stands. Threads take turns."""

    def __init__(self, path: Path) -> None:
        self.film, self.lock = survey(path), threading.Lock()
        if not self.film.stamped:
            raise DataError(f"{show(path)}: has no time stamps, by which frames are found; take it apart: diptych prepare frames")
        self._opened = opened(path)
        container = self._opened.__enter__()
        self.container, self.stream = container, pictures_of(container, path)
        packets = [packet for packet in container.demux(self.stream) if packet.size and not packet.is_discard]
        if any(packet.pts is None for packet in packets):
            raise DataError(f"{show(path)}: has frames without time stamps; take it apart: diptych prepare frames")
        self.stamps = sorted({packet.pts for packet in packets})
        self.keys = sorted({packet.pts for packet in packets if packet.is_keyframe})
        self.kept: OrderedDict[int, Any] = OrderedDict()  # decoded frames by time stamp
        self.at: int | None = None  # the time stamp of the last decoded frame
        self.frames: Iterator[Any] = iter(())

    def read(self, number: int) -> UInt8[np.ndarray, "h w 3"]:
        where = show(self.film.path)
        if number >= len(self.stamps):
            raise DataError(f"{where}: has {len(self.stamps):,} frames, and none with the number {number:,}")
        with self.lock:
            frame = self._found(self.stamps[number])
            if frame is None:
                raise DataError(f"{where}: frame {number} is not at its time stamp; take the film apart: diptych prepare frames")
            return upright(frame, self.film, number)

    def _found(self, stamp: int) -> Any:
        """The frame of a time stamp: kept, or next, or behind one of the keyframes before it, or behind the film's beginning.

        Frames right behind a keyframe may need pictures before it, and some containers miss the keyframe that is asked for.
        """
        if stamp in self.kept:
            return self.kept[stamp]
        before = bisect_right(self.keys, stamp)
        near = self.keys[before - 1] if before else None
        further = 0 if self.at is None else bisect_right(self.stamps, stamp) - bisect_right(self.stamps, self.at)
        goes_on = self.at is not None and further > 0 and (near is None or near <= self.at or further <= KEPT)
        if goes_on and (frame := self._decode_until(stamp, last=False)) is not None:
            return frame
        for key in [*self.keys[max(0, before - 2) : before][::-1], None]:
            self.container.seek(self.stamps[0] if key is None else key, stream=self.stream)
            self.frames, self.at = decoded(self.container, self.stream, self.film.path), None
            if (frame := self._decode_until(stamp, last=key is None)) is not None:
                return frame
        return None

    def _decode_until(self, stamp: int, *, last: bool) -> Any:
        """Decode up to a frame; None where it does not come. Damage is raised at the ``last`` attempt alone."""
        try:
            for frame in self.frames:
                self.at = frame.pts
                self.kept[frame.pts] = frame
                self.kept.move_to_end(frame.pts)
                if len(self.kept) > KEPT:
                    self.kept.popitem(last=False)
                if frame.pts >= stamp:
                    return frame if frame.pts == stamp else None
        except DataError:
            if last:
                raise
        self.at = None
        return None
