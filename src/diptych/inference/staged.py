"""Translate an image of any size by stages, in bounded memory, to what the network makes of the whole image.

Tiles cut from an image give another picture, since norms take their statistics over the whole image. So the network is applied
one stage at a time to the whole image: each stage walks over windows with the margins that its layers need, keeps its output as a
feature map, and gathers the statistics of the norm that follows in float64, before the next stage reads them.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from diptych.data.windows import Fitted
from diptych.errors import ConfigError, SnapshotError, StorageError
from diptych.inference.cuda import EXACT_FLOAT32
from diptych.inference.maps import FeatureMap, Moments, PixelFile, Source, Target
from diptych.inference.norm_statistics import NOTHING_TO_FIX, NormStatistics, refuse_repeated
from diptych.inference.pytorch import TorchBackend
from diptych.inference.recording import record
from diptych.inference.staging import Stage, Staging, windows
from diptych.inference.windows import Dropped, Normalised, Window
from diptych.memory import in_words, too_little
from diptych.messages import show
from diptych.nets.modes import SeededDropout
from diptych.trees import read_tree, write_tree

FORMAT = 2  # of the state in the scratch folder
SAVE_EVERY = 20.0  # seconds of work that an interruption may lose
LATE = 2**28  # bytes of maps that no stage reads any more, and that may lie on the disk until the next save
FULL_SIZE_SCRATCH = 4 * 10**9  # bytes on the disk up to which full-size maps are kept too, and not computed again
Watch = Callable[[float], None]
"""Called with the share of the work that is done, from 0 to 1."""


def staging_of(backend: TorchBackend, height: int, width: int) -> Staging:
    """The stages for images of a size. Raises ConfigError for a network with a layer that has no form for windows."""
    dtype = backend.input_format.get("dtype", torch.float32)
    return Staging(record(backend.net, backend.source.channels, height, width, dtype), FULL_SIZE_SCRATCH)


@final
class StagedRun:
    """One image on its way through the stages.

    ``source`` is (h, w, c) of native pixels, and may be mapped from a file or read from it in windows. ``memory`` bounds the
    bytes that windows take. Raises ConfigError where that is too little for the smallest windows, for dropout that is not by
    position, and for a network with a layer that has no form for windows.
    """

    def __init__(self, backend: TorchBackend, source: Source, memory: int) -> None:
        self.backend, self.source = backend, source
        self.scratch: Path | None = None
        self.staging = staging_of(backend, *source.shape[:2])
        self.nodes = self.staging.nodes
        if any(isinstance(node.operation, Dropped) and isinstance(node.operation.layer, SeededDropout) for node in self.nodes):
            raise ConfigError("dropout is drawn for whole images, not for windows; add --dropout position, or --mode eval")
        if self.staging.least > memory:
            needed = 2 * self.staging.least  # `memory` is half of what is left
            raise ConfigError(too_little("windows of this network need", needed, backend.device))
        self.memory = memory
        self.maps: dict[int, FeatureMap] = {}
        self.moments: dict[int, Moments] = {}
        self.state: dict[str, Any] = {"key": "", "done": {}}
        self.expired: set[int] = set()
        """Maps that no stage to come reads. They stay until the state is saved, as the one that was saved last may name them."""
        self.saved = time.monotonic()
        self.kept: PixelFile | None = None

    def __call__(self, out: Target, scratch: Path | None = None, watch: Watch = lambda share: None) -> None:
        """Write the translation into an array (h, w, d) of the target's pixel type, which may be mapped to a file.

        With a ``scratch`` folder, feature maps lie in files there, and a run that was interrupted goes on from them; without one,
        they lie in memory. The folder stays, so that only the last stage is lost where the caller cannot keep the result, and
        nothing where ``out`` is a PixelFile. Raises StorageError when the disk refuses, or has too little space for the feature
        maps and, with a PixelFile, for the file that is made of it.
        """
        self.kept = out if isinstance(out, PixelFile) else None
        self._run(self.staging.stages, out, scratch, watch)

    def measure(self, scratch: Path | None = None) -> NormStatistics:
        """Measure the statistics of the norms that take them from the image, without the stages after the last of these.

        Raises what a call raises, and ConfigError where there are no such norms.
        """
        if not self.staging.normed:
            raise ConfigError(NOTHING_TO_FIX)
        last = max(index for index, stage in enumerate(self.staging.stages) if stage.measured)
        self._run(self.staging.stages[: last + 1], np.empty((0, 0, 0)), scratch, lambda share: None)
        names = {id(layer): name for name, layer in self.backend.net.named_modules()}
        found = [
            (names[id(node.operation.layer)], node.inputs[0]) for node in self.nodes if isinstance(node.operation, Normalised)
        ]
        refuse_repeated(max(Counter(name for name, _ in found).values()))
        return NormStatistics.of_moments({name: self.moments[source] for name, source in found})

    def _run(self, stages: list[Stage], out: Target, scratch: Path | None, watch: Watch) -> None:
        self.scratch = scratch
        self._open_scratch()
        work = [self.staging.work(stage.node) for stage in stages]
        try:
            with EXACT_FLOAT32, torch.inference_mode():
                for index, stage in enumerate(stages):
                    if stage.node not in self.state["done"]:
                        self._walk(stage, out, partial(_watch_all, watch, work, index))
                        self._finish(index, stage)
        finally:
            for feature_map in self.maps.values():
                feature_map.close()

    def _walk(self, stage: Stage, out: Target, watch: Watch) -> None:
        """Compute every window of a stage, from where an interrupted run stopped."""
        node, side = self.nodes[stage.node], self.staging.side(stage.node, self.memory)
        moments, begun = Moments(node.shape[1]), self._begun(stage, side)
        if stage.kept:
            self.maps[stage.node] = self._map(stage.node)
        if begun and stage.measured:
            moments = Moments.restored(self.state["moments"])
        parts = windows(node.size, side)
        for index, window in enumerate(parts):
            if index < begun:
                continue
            x = self._compute(stage.node, window)
            if stage.measured:
                moments.add(x if x.is_cuda else x.cpu())
            if stage.kept:
                self.maps[stage.node].write(window, x)
            if stage.node == self.staging.last:
                (top, bottom), (left, right) = window
                out[top:bottom, left:right] = self.backend.target.decode(x)[0].permute(1, 2, 0).cpu().numpy()
            watch((index + 1) / len(parts))
            if self._is_time() and (stage.node != self.staging.last or self.kept):
                self.state |= {"at": stage.node, "side": side, "windows": index + 1, "moments": moments.state()}
                self._save()
        if stage.measured:
            self.moments[stage.node] = moments

    def _compute(self, place: int, window: Window) -> Tensor:
        """Compute a window of a node from kept maps and the image."""
        node, inputs = self.nodes[place], []
        if node.operation is None:
            return self._read_image(window)
        for source in node.inputs:
            needed = self.staging.needs(place, window, source)
            kept = self.maps.get(source) if source in self.staging.kept else None
            inputs.append(kept.read(needed).to(self.backend.device) if kept else self._compute(source, needed))
        if isinstance(node.operation, Normalised):
            moments = self.moments[node.inputs[0]]
            mean, variance = (x.to(inputs[0].device, torch.float32) for x in (moments.mean, moments.variance))
            return node.operation.normalise(inputs[0], mean, variance)
        return node.operation.apply(inputs, window, self.nodes[node.inputs[0]].size)

    def _read_image(self, window: Window) -> Tensor:
        (top, bottom), (left, right) = window
        pixels = torch.from_numpy(np.array(self.source[top:bottom, left:right]))
        return self.backend.source.encode(pixels.permute(2, 0, 1)[None].to(self.backend.device)).to(**self.backend.input_format)

    def _finish(self, index: int, stage: Stage) -> None:
        """Note that a stage is done, and which maps no later stage reads. The last one leaves all as it is."""
        if stage.node == self.staging.last:
            if self.kept:
                side = self.staging.side(stage.node, self.memory)
                count = len(windows(self.nodes[stage.node].size, side))
                self.state |= {"at": stage.node, "side": side, "windows": count, "moments": Moments(0).state()}
                self._save()
            return
        kept = {"moments": self.moments[stage.node].state()} if stage.measured else {}
        self.state = {"key": self.state["key"], "done": {**self.state["done"], stage.node: kept}}
        self.expired |= self.staging.expires(index) & set(self.maps)
        if self.scratch is None or self._is_time() or sum(self.nodes[place].nbytes for place in self.expired) > LATE:
            self._save()

    # What lies in the scratch folder.

    def _path(self, place: int) -> Path | None:
        return self.scratch / f"map-{place}.bin" if self.scratch is not None else None

    def _map(self, place: int) -> FeatureMap:
        return FeatureMap(self.nodes[place].shape, self.nodes[place].dtype, self._path(place))

    def _begun(self, stage: Stage, side: int) -> int:
        """How many windows of a stage an interrupted run has done, if it used windows of the same size."""
        same = self.state.get("at") == stage.node and self.state.get("side") == side
        lost = stage.node == self.staging.last and (self.kept is None or self.kept.fresh)
        return self.state["windows"] if same and not lost else 0

    def _open_scratch(self) -> None:
        """Take up an interrupted run of the same image and network, or begin anew."""
        if self.scratch is None:
            return
        key = self._key()
        try:
            state = read_tree(self.scratch / "state.safetensors")
        except SnapshotError:  # missing or damaged
            state = {}
        done = {int(place): kept for place, kept in state.get("done", {}).items()}
        needed = self._needed(done)
        begun = {state["at"]} & self.staging.kept if "at" in state else set()
        if state.get("key") != key or not all(self._is_there(place) for place in needed | begun):
            self._make_scratch()
            self.state = {"key": key, "done": {}}
            return
        self.state = {**state, "done": done}
        self.moments = {place: Moments.restored(kept["moments"]) for place, kept in done.items() if kept}
        self.maps = {place: self._map(place) for place in needed}

    def _needed(self, done: Iterable[int]) -> set[int]:
        """The kept maps that stages after the ones that are done read."""
        left = [stage for stage in self.staging.stages if stage.node not in done]
        return {place for stage in left for place in stage.reads} & set(done)

    def _is_there(self, place: int) -> bool:
        path = self._path(place)
        return path is not None and path.is_file() and path.stat().st_size == self.nodes[place].nbytes

    def _make_scratch(self) -> None:
        """Make an empty folder on a disk with enough space."""
        assert self.scratch is not None
        try:
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch.mkdir(parents=True)
            free = shutil.disk_usage(self.scratch).free
        except OSError as error:
            raise StorageError(f"{show(self.scratch)}: cannot be made ({error.strerror}); choose another --out") from error
        needed = self.staging.scratch + LATE + (3 * self.kept.nbytes if self.kept else 0)  # itself, the result and smaller copies
        if free < needed:
            self.scratch.rmdir()
            raise StorageError(
                f"{show(self.scratch)}: feature maps need {in_words(needed)} of disk, found {in_words(free)} free; "
                "free some space, or choose an --out on another disk"
            )

    def _is_time(self) -> bool:
        return time.monotonic() - self.saved > SAVE_EVERY

    def _save(self) -> None:
        """Write down what is done, as soon as it has reached the disk, and drop the maps that nothing names any more."""
        if self.scratch is not None:
            if self.kept:
                self.kept.sync()
            for place in set(self.maps) - self.expired:
                self.maps[place].sync()
            state = {**self.state, "done": {str(place): kept for place, kept in self.state["done"].items()}}
            write_tree(self.scratch / "state.safetensors", state)
        for place in self.expired:
            self.maps.pop(place).drop()
        self.expired, self.saved = set(), time.monotonic()

    def _key(self) -> str:
        """A hash of all that the feature maps depend on."""
        nodes = (f"{type(node.operation).__name__} {node.inputs} {node.shape}" for node in self.nodes)
        return key_of(self.backend, self.source, FORMAT, nodes)


def key_of(backend: TorchBackend, source: Source, format: int, facts: Iterable[str] = ()) -> str:
    """A hash of a network, of how it is applied, of an image, and of further facts that an unfinished translation depends on."""
    digest = hashlib.sha256(f"{format} {backend.net} {backend.source} {backend.seed} {backend.input_format}".encode())
    for fact in facts:
        digest.update(fact.encode())
    for name, tensor in backend.net.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    if isinstance(source, Fitted):
        digest.update(source.identity.encode())
        return digest.hexdigest()
    for top in range(0, len(source), 256):
        digest.update(np.ascontiguousarray(source[top : top + 256]).data)
    return digest.hexdigest()


def _watch_all(watch: Watch, work: Sequence[int], index: int, share: float) -> None:
    """Tell the share of all stages, from the share of one of them."""
    watch((sum(work[:index]) + share * work[index]) / sum(work))
