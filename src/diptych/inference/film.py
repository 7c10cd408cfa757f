"""Translate films: decoding, network, filter and encoding overlap, in bounded memory, and an interrupted film goes on.

A film is encoded in segments of a fixed number of frames, each a file of its own in a hidden folder beside the result, with the
state that the next segment begins from. When all are there they are joined, so that an interrupted film becomes the same file as
another.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from diptych.choices import Audio, FilmNorms, WorkingSize
from diptych.data.film_writing import SILENT, Encoder, Encoding, Packet, check_container, header_apart, join
from diptych.data.films import Film, Frame, av_of, read_frames
from diptych.errors import ConfigError, DataError, SnapshotError, StorageError, out_of_memory
from diptych.files import read_text, sha256_of, sync, write_atomic
from diptych.inference.batch import scratch_folder
from diptych.inference.flow_filter import FlowFilter
from diptych.inference.manifest import Job, Manifest
from diptych.inference.steady import SteadyNorms
from diptych.inference.translator import Translator
from diptych.messages import show
from diptych.motion import Cuts, Places, likeness, opencv, places_before
from diptych.overlap import ahead
from diptych.pixels import Domain
from diptych.trees import read_tree, write_tree

FORMAT = 1  # of the segments
SEGMENT_FRAMES, SEGMENT_BYTES = 96, 2**28  # at most so many frames, or bytes of frames before they are encoded
DEPTH = 4  # frames that each thread may be ahead


@dataclass(frozen=True)
class FilmOptions:
    """How a film is translated: see `diptych.inference.steady` for ``norms``, and `diptych.inference.flow_filter` for ``flow``.

    ``batch`` frames of a shot go through the network at once.
    """

    encoding: Encoding
    norms: FilmNorms = "smooth"
    flow: bool = True
    at: WorkingSize = "native"
    audio: Audio = "copy"
    batch: int = 1


@dataclass(frozen=True)
class _Step:
    """A frame on its way. ``prepared`` is what the network takes, later what it gives.

    ``ends`` says that it is the last of its segment; it then carries the states of cuts and norms after it.
    """

    number: int
    frame: Frame
    before: np.ndarray | None
    begins: bool
    ends: bool
    cuts: dict[str, Any] | None = None
    norms: list[Tensor] | None = None
    prepared: Tensor | None = None
    places: Places | None = None
    weight: Float[np.ndarray, "h w 1"] | None = None


def translate_film(
    job: Job,
    film: Film,
    translator: Translator,
    options: FilmOptions,
    *,
    manifest: Manifest,
    watch: Callable[[int], None] = lambda done: None,
) -> int:
    """Translate a film into a film, and return how many frames it has.

    The translator's norms are changed in place where ``options.norms`` asks for that: it serves one film. ``watch`` is called
    with the number of frames that are done. Raises DataError for a frame that cannot be read, ConfigError for what the model, the
    codec or the container cannot do, and StorageError when the disk refuses; what was done is kept in the folder `scratch_folder`
    and used again.
    """
    check_domains(translator)
    if options.flow:
        opencv()
    deep = translator.target.dtype == "uint16"
    scratch = scratch_folder(job.target)
    sound = options.audio == "copy" and job.target.suffix.lower() not in SILENT and bool(film.audio)
    try:
        _open_scratch(scratch, _identity(job, film, options, manifest))
        check_container(scratch / f"trial{job.target.suffix}", film, options.encoding, deep=deep, sound=sound)
        run = _FilmRun(job, film, translator, options, scratch, watch)
        run.translate()
        joined = scratch / f"joined{job.target.suffix}"
        how: dict[str, Any] = {"deep": deep, "sound": sound, "last_duration": run.last_duration}
        join(joined, film, run.packets(), options.encoding, **how)
        sync(joined)
        manifest.begin(job)
        os.replace(joined, job.target)
        manifest.finish(job)
        shutil.rmtree(scratch)
    except OSError as error:
        raise StorageError(f"{show(job.target)}: cannot be written ({error.strerror}); check space and permissions") from error
    finally:
        if not any(scratch.glob("segment-*")):  # nothing is done that the same command could go on from
            shutil.rmtree(scratch, ignore_errors=True)
    return run.done


def check_domains(translator: Translator) -> None:
    """Raise ConfigError for a model whose images are no gray or RGB pictures of 8 or 16 bits, which is what films hold."""
    for side, domain in (("takes", translator.source), ("makes", translator.target)):
        plain = domain.dtype in ("uint8", "uint16") and domain.bands in (1, 3) and not domain.classes and not domain.masked
        if not plain:
            kind = f"label maps of {len(domain.classes)} classes" if domain.classes else f"images of {domain}"
            raise ConfigError(
                f"a film holds gray or RGB pictures of 8 or 16 bits, and this model {side} {kind}; translate its frames"
            )


@final
class _FilmRun:
    """A film in progress."""

    def __init__(
        self, job: Job, film: Film, translator: Translator, options: FilmOptions, scratch: Path, watch: Callable[[int], None]
    ) -> None:
        self.film, self.translator, self.options, self.scratch, self.watch = film, translator, options, scratch, watch
        self.deep_in = translator.source.dtype == "uint16" and film.bits > 8
        self.deep_out = translator.target.dtype == "uint16"
        self.header_apart = header_apart(job.target)
        self.segment = max(1, min(SEGMENT_FRAMES, SEGMENT_BYTES // (film.height * film.width * (6 if self.deep_out else 3))))
        self.norms = SteadyNorms(translator.network, options.norms, float(film.rate))
        self.cuts, self.filter = Cuts(), FlowFilter()
        self.before: np.ndarray | None = None
        self.done, self.segments, self.finished, self.last_duration = 0, 0, False, 0
        self.encoder: Encoder | None = None
        self.encoded: list[Packet] = []
        self.last_pts = 0
        self._resume()

    def translate(self) -> None:
        """Translate the frames that are left, segment by segment."""
        if self.finished:
            return
        with (
            closing(self._decoded()) as decoded,
            closing(ahead(self._prepared, decoded, threads=2, depth=DEPTH)) as prepared,
            closing(self._translated(prepared)) as translated,
            closing(ahead(self._encoded, translated, threads=1, depth=DEPTH)) as encoded,
        ):
            for done in encoded:
                self.watch(done)
        if not self.done:
            raise DataError(f"{show(self.film.path)}: holds no frame that can be read; it is empty or damaged")
        self._write_segment(None)

    def packets(self) -> Iterator[list[Packet]]:
        """The packets of the segments, one after the other."""
        for number in range(self.segments):
            yield _unpacked(read_tree(self._path(number)))

    def _decoded(self) -> Generator[_Step, None, None]:
        """Read frames ahead in a thread; those that are done already are decoded and passed over."""
        frames = read_frames(self.film, deep=self.deep_in)
        first = self.done
        with closing(ahead(lambda _: next(frames, None), itertools.repeat(None), threads=1, depth=DEPTH)) as read:
            for number, frame in enumerate(itertools.takewhile(lambda frame: frame is not None, read)):
                assert frame is not None
                if number < first:
                    continue
                begins, ends = self.cuts.begins(frame.pixels), (number + 1) % self.segment == 0
                yield _Step(number, frame, self.before, begins, ends, self.cuts.state() if ends else None)
                self.before = frame.pixels

    def _prepared(self, step: _Step) -> _Step:
        """Make the network's input and find the flow; several threads do this at the same time."""
        source, pixels = self.translator.source, step.frame.pixels
        places = weight = None
        if self.options.flow and step.before is not None and not step.begins:
            places = places_before(pixels, step.before)
            weight = likeness(pixels, step.before, places)
        try:
            prepared = self.translator.prepare(_into(pixels, source), self.options.at)
        except DataError as error:
            raise DataError(f"{show(self.film.path)}: frame {step.number}: {error}") from error
        return replace(step, before=None, prepared=prepared, places=places, weight=weight)

    def _translated(self, steps: Iterable[_Step]) -> Generator[_Step, None, None]:
        """Apply the network to batches that do not reach beyond their segment."""
        group: list[_Step] = []
        for step in steps:
            group.append(step)
            if step.ends or len(group) == self.options.batch:
                yield from self._through(group)
                group = []
        if group:
            yield from self._through(group)

    def _through(self, group: list[_Step]) -> list[_Step]:
        images = torch.stack([step.prepared for step in group if step.prepared is not None])
        height, width = images.shape[2:]
        where = f"{show(self.film.path)}: frames of {width} x {height} pixels need more memory than there is"
        if self.norms.layers and not self.translator.fits(height, width, len(images)):
            raise ConfigError(
                f"{where} to be translated whole; use --at trained, or --norms frame, which can translate them by stages"
            )
        self.norms.next([step.begins for step in group])
        try:
            outs = self.translator.tensors(images)
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise DataError(f"{where}; use --at trained") from error
        state = self.norms.state() if group[-1].ends else None
        return [replace(step, prepared=out, norms=state) for step, out in zip(group, outs, strict=True)]

    def _encoded(self, step: _Step) -> int:
        """Filter and encode one frame after the other, in one thread, and write each segment that is complete."""
        assert step.prepared is not None
        out = self.translator.finish(step.prepared, self.film.height, self.film.width)
        out = _out_of(out, self.translator.target)
        if self.options.flow:
            out = self.filter(out, step.places, step.weight)
        if self.encoder is None:
            self.encoder = Encoder(self.film, self.options.encoding, self.deep_out, self.header_apart)
        self.encoded += self.encoder.encode(out, step.frame.pts)
        self.last_duration = step.frame.duration or (step.frame.pts - self.last_pts if step.number else 0)
        self.last_pts = step.frame.pts
        self.done = step.number + 1
        if step.ends:
            self._write_segment(step)
        return self.done

    def _write_segment(self, step: _Step | None) -> None:
        """Write the packets of a segment, with what the next one needs; without a step it is the last one."""
        packets = self.encoded + (self.encoder.finish() if self.encoder else [])
        self.encoder, self.encoded = None, []
        tree: dict[str, Any] = {
            "format": FORMAT,
            "done": self.done,
            "last_pts": self.last_pts,
            "last_duration": self.last_duration,
        }
        tree |= {"finished": step is None, "packets": _packed(packets)}
        if step is not None:
            tree |= {"cuts": step.cuts, "norms": step.norms, "before": torch.from_numpy(step.frame.pixels)}
            tree["filtered"] = torch.zeros(0) if self.filter.last is None else torch.from_numpy(self.filter.last)
        write_tree(self._path(self.segments), tree)
        self.segments += 1

    def _resume(self) -> None:
        """Go on behind the last segment that is whole."""
        tree: dict[str, Any] | None = None
        while self._path(self.segments).exists():
            try:
                tree = read_tree(self._path(self.segments))
            except SnapshotError:
                break
            self.segments += 1
        if tree is None:
            return
        self.done, self.finished = tree["done"], tree["finished"]
        self.last_pts, self.last_duration = tree["last_pts"], tree["last_duration"]
        self.watch(self.done)
        if self.finished:
            return
        self.cuts.restore(tree["cuts"])
        self.norms.restore(tree["norms"], self.translator.device)
        self.before = tree["before"].numpy()
        self.filter.last = tree["filtered"].numpy() if tree["filtered"].numel() else None

    def _path(self, number: int) -> Path:
        return self.scratch / f"segment-{number:06d}.safetensors"


def _packed(packets: list[Packet]) -> dict[str, Any]:
    return {
        "data": torch.frombuffer(bytearray(b"".join(packet.data for packet in packets) or b"\0"), dtype=torch.uint8),
        "sizes": [len(packet.data) for packet in packets],
        "pts": [packet.pts for packet in packets],
        "keys": [packet.key for packet in packets],
    }


def _unpacked(tree: dict[str, Any]) -> list[Packet]:
    packed = tree["packets"]
    data = io.BytesIO(packed["data"].numpy().tobytes())
    parts = zip(packed["sizes"], packed["pts"], packed["keys"], strict=True)
    return [Packet(data.read(size), pts, key) for size, pts, key in parts]


def _identity(job: Job, film: Film, options: FilmOptions, manifest: Manifest) -> dict[str, Any]:
    """All that determines the segments of a film; another identity begins anew."""
    av = av_of()
    try:
        source = sha256_of(film.path)
    except OSError as error:
        raise DataError(f"{show(film.path)}: cannot be read ({error.strerror}); check the path") from error
    libraries = {name: list(version) for name, version in av.library_versions.items()}
    return {
        "format": FORMAT,
        "source_sha256": source,
        "made_by": manifest.made_by,
        "segment": [SEGMENT_FRAMES, SEGMENT_BYTES],
        "batch": options.batch,
        "libraries": libraries | {"torch": torch.__version__},
    }


def _open_scratch(scratch: Path, identity: dict[str, Any]) -> None:
    record = scratch / "film.json"
    wanted = json.dumps(identity, sort_keys=True)
    if scratch.exists() and not (record.exists() and read_text(record) == wanted):
        shutil.rmtree(scratch)
    write_atomic(record, wanted.encode())


def _into(pixels: Shaped[np.ndarray, "h w c"], domain: Domain) -> Shaped[np.ndarray, "h w c"]:
    """Spread deep pixels of a film, 0 to 65535, over a domain's range; those of 8 bits stay as they are."""
    if pixels.dtype == np.uint8 or (domain.low, domain.high) == (0, 65535):
        return pixels
    return (domain.low + pixels * ((domain.high - domain.low) / 65535)).round().astype(np.uint16)


def _out_of(pixels: Shaped[np.ndarray, "h w c"], domain: Domain) -> Shaped[np.ndarray, "h w c"]:
    """Spread a domain's range over what a film can hold."""
    full = 65535 if domain.dtype == "uint16" else 255
    if (domain.low, domain.high) == (0, full):
        return pixels
    return ((pixels - domain.low) * (full / (domain.high - domain.low))).clip(0, full).round().astype(domain.dtype)
