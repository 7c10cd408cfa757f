"""Apply a trained model to images: one class for folders, evaluation, music and Python users."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor, nn

from diptych.choices import Dropout, WorkingSize
from diptych.data.augment import resize, to_tensor
from diptych.data.decoders import native, pixels_of
from diptych.data.pillow_images import to_pillow
from diptych.device import pick_device
from diptych.errors import ConfigError, DataError
from diptych.inference.backends import Backend, ComputingPrecision, onnx_run, openvino_run, refuse_for_graphs
from diptych.inference.cuda import EXACT_FLOAT32
from diptych.inference.instance_maps import fitted, translate_labelled
from diptych.inference.maps import Source, Target
from diptych.inference.missing import put_back, put_back_by_rows, refuse_nan
from diptych.inference.norm_statistics import NormStatistics, fix_norms, measure_norms, set_norms
from diptych.inference.pytorch import TorchBackend
from diptych.inference.sampled import GAPS, reach, translate_sampled, translate_windows, windowed
from diptych.inference.staged import StagedRun, Watch, key_of, staging_of
from diptych.inference.staging import whole_bytes
from diptych.inference.window_state import WindowState
from diptych.memory import default_memory, giving_back, resident_memory
from diptych.nets import adjusted
from diptych.nets.fixed_norm import measuring_norms
from diptych.nets.modes import Mode, depends_on_batch
from diptych.settings import sides
from diptych.sheets import Sheet, contact_sheet
from diptych.snapshot import Snapshot

WINDOWS_FORMAT = 2  # of the state of a translation in windows
FEW = 256  # pixels around a window; a network that looks at more takes less time by stages


class Translator:
    """A snapshot in one direction, on one device: images in, translated images out, of the same kind and size.

    Several threads may use one translator at the same time.

    >>> translate = Translator.load("runs/x/snapshot.safetensors")
    >>> translate(Image.open("photo.jpg")).save("painting.png")
    """

    def __init__(
        self,
        snapshot: Snapshot,
        direction: str = "a2b",
        *,
        device: str = "auto",
        precision: ComputingPrecision = "fp32",
        mode: Mode | None = None,
        seed: int = 0,
        backend: Backend = "torch",
        replay: bool = True,
        compiled: bool = False,
        dropout: Dropout = "image",
        memory: int | None = None,
        strength: float | None = None,
        steps: int | None = None,
        style: int | None = None,
        norms: NormStatistics | None = None,
    ) -> None:
        self._make = partial(
            Translator, snapshot, direction, device=device, precision=precision, mode=mode, seed=seed, backend=backend
        )
        self._make = partial(self._make, replay=replay, compiled=compiled, dropout=dropout, memory=memory)
        self._make = partial(self._make, strength=strength, steps=steps, style=style)
        self.source, self.target = snapshot.domains(direction)
        self.net = adjusted(snapshot.generators[direction], strength=strength, steps=steps, style=style, seed=seed)
        self.size, self.mode = snapshot.size, mode or snapshot.mode
        self.backend, self.precision, self.device = backend, precision, pick_device(device)
        self.memory, self._one_by_stages = memory, threading.Lock()
        self.depends_on_batch = self.mode == "paper" and depends_on_batch(self.net)
        """Whether the translation of an image depends on the other images of its batch."""
        self.draws_noise = bool(getattr(self.net, "draws_noise", False))
        """Whether the network draws noise of its own, which no graph holds."""
        how: dict[str, Any] = {"replay": replay, "compiled": compiled, "dropout": dropout, "norms": norms}
        if backend != "torch":
            refuse_for_graphs(backend, device, draws_noise=self.draws_noise, depends_on_batch=self.depends_on_batch)
            self.device = torch.device("cpu")
            self._torch = lambda: TorchBackend(
                self.net, self.source, self.target, self.device, "fp32", self.mode, seed, norms=norms
            )
            net = self.net if norms is None else fix_norms(self.net, norms)
            self._run = {"onnx": onnx_run, "openvino": openvino_run}[backend](net, self.source, self.target, precision)
        else:
            run = TorchBackend(self.net, self.source, self.target, self.device, precision, self.mode, seed, **how)
            self._run, self._torch = run, lambda: run
        self._whole_bytes = lru_cache(maxsize=1024)(self._count_whole_bytes)

    @classmethod
    def load(
        cls,
        snapshot: str | Path,
        direction: str = "a2b",
        *,
        device: str = "auto",
        precision: ComputingPrecision = "fp32",
        mode: Mode | None = None,
        seed: int = 0,
        backend: Backend = "torch",
        replay: bool = True,
        compiled: bool = False,
        dropout: Dropout = "image",
        memory: int | None = None,
        strength: float | None = None,
        steps: int | None = None,
        style: int | None = None,
        norms: NormStatistics | None = None,
    ) -> Translator:
        """Load a snapshot file.

        ``mode`` is ``eval`` or ``paper`` (see diptych.nets.modes), by default the snapshot's; ``seed`` fixes dropout and noise.
        ``backend`` is what computes: ``torch``, or on the CPU ``onnx`` (ONNX Runtime) or ``openvino``, which are faster.
        On CUDA, ``replay`` replays the translation of a size that comes again as one CUDA graph: the results are the same, and
        small batches several times as fast. ``compiled`` generates kernels for each size with torch.compile, which takes most of
        a minute. ``dropout`` is drawn for the whole ``image`` as published, or by ``position`` (see diptych.inference.dropout).
        ``memory`` are the bytes that the process may hold on the device; an image that needs more is translated by stages, which
        gives the same result (see `by_stages`). By default every image is translated whole.
        ``strength``, from 0 (nothing changes) to 1, ``steps`` and ``style`` are for generators that have them (see nets.adjust).
        ``norms`` are statistics that `measure_norms` found in other images, in the place of those of each image at hand.
        Raises SnapshotError for a bad file, ConfigError for a direction that it does not translate or a device that is not there.
        """
        how: dict[str, Any] = {"device": device, "precision": precision, "mode": mode, "seed": seed, "dropout": dropout}
        how |= {"backend": backend, "replay": replay, "compiled": compiled, "memory": memory}
        how |= {"strength": strength, "steps": steps, "style": style, "norms": norms}
        return cls(Snapshot.load(snapshot), direction, **how)

    @property
    def network(self) -> nn.Module:
        """The modules that torch applies, over the snapshot's weights; other backends have their own form of them."""
        return self._torch().net

    def __call__(self, image: Any, instances: Any = None) -> Any:
        """Translate an image, a batch of them, or a list.

        A PIL image comes back as a PIL image, an (h, w), (h, w, c) or (n, h, w, c) array of the source domain's pixel type as
        such an array of the target's, a (c, h, w) or (n, c, h, w) tensor of native pixels likewise, and a list of such images as
        a list. Height and width stay as they are. A PIL image is treated like its file: it comes back upright, and with the
        colours that `diptych translate` gives. NaN marks pixels without data for a model that was trained with such, and comes
        back as NaN, or as the lowest value of integers. A model of label maps may take one of ``instances`` for each, an array
        (h, w) or a picture. Raises ConfigError or DataError for anything that is not such an image.
        """
        if self.source.instances or instances is not None:
            return translate_labelled(image, instances, self.source, self.pixels, self.target.alpha == "keep")
        if isinstance(image, list | tuple):
            return [self(each) for each in image]
        if isinstance(image, np.ndarray | Tensor) and 0 in image.shape:
            raise DataError(f"the shape {tuple(image.shape)} holds no pixels; pass images of at least 1 x 1 pixel")
        if isinstance(image, Image.Image):
            target, pixels = self.target, pixels_of(image, self.source.reading)
            to_pillow(np.zeros((1, 1, target.bands), target.dtype), alpha=target.alpha == "keep")  # before the work is done
            refuse_nan(pixels, self.source)
            return to_pillow(self.pixels(pixels), alpha=target.alpha == "keep")
        if isinstance(image, np.ndarray) and image.ndim in (2, 3):
            pixels = native(image)
            refuse_nan(pixels, self.source)
            out = self.pixels(pixels)
            return out[..., 0] if image.ndim == 2 and out.shape[-1] == 1 else out
        if isinstance(image, np.ndarray) and image.ndim == 4:
            refuse_nan(image, self.source)
            prepared = torch.stack([self.prepare(native(each)) for each in image])
            return np.stack([self.finish(out, *image.shape[1:3]) for out in self.tensors(prepared)])
        if isinstance(image, Tensor) and image.ndim in (3, 4):
            return self.tensors(image) if image.ndim == 4 else self.tensors(image[None])[0]
        expected = "PIL images, (h, w), (h, w, c) or (n, h, w, c) arrays, (c, h, w) or (n, c, h, w) tensors, and lists of these"
        found = f"the shape {tuple(image.shape)}" if isinstance(image, np.ndarray | Tensor) else type(image).__name__
        raise ConfigError(f"a translator takes {expected}, found {found}")

    def sheet(self, images: Sequence[Any]) -> Sheet:
        """A contact sheet of images, PIL images or arrays as in a call, beside their translations; notebooks show it.

        Raises DataError when there are none.
        """
        if not len(images):
            raise DataError("a sheet needs at least one image, found none")
        reading = self.source.reading
        arrays = [pixels_of(image, reading) if isinstance(image, Image.Image) else np.asarray(image) for image in images]
        inputs = [self.prepare(array[..., None] if array.ndim == 2 else array)[None] for array in arrays]
        outputs = [self.target.encode(self.tensors(x)) for x in inputs]
        return Sheet(contact_sheet([("input", [self.source.encode(x) for x in inputs]), ("output", outputs)]))

    def pixels(self, pixels: np.ndarray, at: WorkingSize = "native") -> np.ndarray:
        """Translate an (h, w, c) array of native pixels.

        ``at="trained"`` works at the size of training and resizes the result back. Raises DataError when the pixels cannot
        be brought to the source domain (other channels, other pixel type).
        """
        return self.finish(self.tensors(self.prepare(pixels, at)[None])[0], *pixels.shape[:2])

    def prepare(self, pixels: np.ndarray, at: WorkingSize = "native") -> Shaped[Tensor, "c h w"]:
        """Make of an (h, w, c) array of native pixels what `tensors` takes, at the size at which the network is to work."""
        height, width = pixels.shape[:2]
        pixels = fitted(pixels, self.source)
        if at == "trained" and self.size:
            trained_high, trained_wide = sides(self.size)
            scale = max(trained_high / height, trained_wide / width)
            pixels = resize(pixels, round(height * scale), round(width * scale), nearest=bool(self.source.classes))
        return to_tensor(pixels)

    def finish(self, out: Shaped[Tensor, "c h w"], height: int, width: int) -> np.ndarray:
        """Make of one result of `tensors` an (h, w, c) array of the image's own height and width."""
        return resize(np.ascontiguousarray(out.numpy().transpose(1, 2, 0)), height, width, nearest=bool(self.target.classes))

    def tensors(self, pixels: Shaped[Tensor, "n c h w"]) -> Shaped[Tensor, "n d h w"]:
        """Translate a tensor of native pixels that lies on the CPU or the device; the result lies on the CPU."""
        self.source.check(pixels)
        if pixels.is_floating_point() and not (pixels.isfinite() | (pixels.isnan() if self.source.masked else False)).all():
            raise DataError("the images have values that are NaN or infinite, which the model was trained without; replace them")
        valid = self.source.valid(pixels)
        if valid is not None:
            pixels, valid = pixels.nan_to_num(self.source.low), valid.cpu()
        if self.fits(*pixels.shape[2:]):
            return put_back(self._run(pixels), valid, self.target)
        images = (self.by_stages(image.permute(1, 2, 0).cpu().numpy()) for image in pixels)
        return put_back(torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in images]), valid, self.target)

    def measure_norms(self, images: np.ndarray) -> NormStatistics:
        """Measure what the norms of the network take from images, over all of them together: one (h, w, c), or (n, h, w, c).

        They are native pixels, and frames of a film, say, of one size. A translator with these statistics (see `with_norms`)
        translates such an image as this one does. A single image may be too large for the memory. Raises ConfigError where the
        network has no such norms, as where they are fixed already.
        """
        batch = images[None] if images.ndim == 3 else images
        backend, (height, width) = self._torch(), batch.shape[1:3]
        if len(batch) == 1 and not self.fits(height, width):
            return self.measure_by_stages(fitted(batch[0], self.source))
        pixels = torch.stack([self.prepare(native(image)) for image in batch]).to(backend.device)
        pixels = pixels.nan_to_num(self.source.low) if self.source.masked else pixels
        with EXACT_FLOAT32, self._one_by_stages:
            backend.random.manual_seed(backend.seed)
            return measure_norms(backend.net, self.source.encode(pixels).to(**backend.input_format))

    def measure_by_stages(self, source: Source) -> NormStatistics:
        """Measure the norms in one image of any size, in bounded memory."""
        with self._one_by_stages, self._scratch_if_large(run := StagedRun(self._torch(), source, self.left() // 2)) as scratch:
            return run.measure(scratch)

    def with_norms(self, norms: NormStatistics | None) -> Translator:
        """A translator with the same settings and other statistics of its norms; None stands for those of each image at hand."""
        return self._make(norms=norms)

    def set_norms(self, norms: NormStatistics) -> None:
        """Give a translator made by `with_norms`, on the torch backend, other statistics in place, as from frame to frame."""
        set_norms(self._torch().net, norms)

    def fits(self, height: int, width: int, images: int = 1) -> bool:
        """Whether so many images of a size can be translated whole at once in the memory that this translator may take."""
        return self.memory is None or images * self._whole_bytes(height, width) <= self.left()

    def _count_whole_bytes(self, height: int, width: int) -> int:
        try:
            return whole_bytes(staging_of(self._torch(), height, width).nodes)
        except ConfigError:  # a network with layers that have no form for windows is applied to whole images only
            return 0

    def left(self) -> int:
        """The bytes that this process may still take on the device."""
        memory = default_memory(self.device) if self.memory is None else self.memory
        return memory - (resident_memory() if self.device.type == "cpu" else 0)

    def by_stages(
        self,
        source: Source,
        out: Target | None = None,
        *,
        scratch: Path | None = None,
        keep_scratch: bool = False,
        watch: Watch = lambda share: None,
    ) -> Target:
        """Translate an array of native pixels by stages, in bounded memory, to what the network makes of the whole image.

        ``source`` and ``out`` may be mapped from files (numpy.memmap). With a ``scratch`` folder, feature maps lie in files there
        and an interrupted translation goes on from them; it is removed at the end unless ``keep_scratch``. Without one, they lie
        in memory, or in a temporary folder where they would take more than half of it. ``watch`` is called with the share of the
        work that is done. Raises ConfigError for dropout that is not by position and where ``memory`` is too little for any
        window, StorageError when the disk refuses.
        """
        out = self._empty_for(source) if out is None else out
        with self._one_by_stages, ExitStack() as stack:
            run = StagedRun(self._torch(), source, self.left() // 2)
            run(out, scratch or stack.enter_context(self._scratch_if_large(run)), giving_back(watch, self.memory))
            if self.source.masked and not self.target.classes:
                put_back_by_rows(source, out, self.target)
            if scratch is not None and not keep_scratch:
                shutil.rmtree(scratch)
        return out

    def by_windows(
        self, source: Source, out: Target | None = None, *, state: Path | None = None, watch: Watch = lambda share: None
    ) -> tuple[Target, float]:
        """Translate an array of native pixels in windows with margins, in one pass and without scratch.

        A translator with fixed norms (see `with_norms`) gives what it gives for the whole image, and the error is 0. Any other
        takes the statistics of a sample, and its result is only near that of `by_stages`: an upper figure of the mean absolute
        error, in [0, 2] of [-1, 1], is given too (see `norm_error`). With a file for its ``state``, an interrupted translation
        into a PixelFile goes on, and one into an array keeps its sample. Arrays, ``watch`` and errors are as in `by_stages`.
        """
        out = self._empty_for(source) if out is None else out
        with self._one_by_stages:
            backend, memory, error = self._torch(), int(self.left() / GAPS), 0.0
            known = WindowState(state, key_of(backend, source, WINDOWS_FORMAT) if state else "", out)
            if measuring_norms(backend.net):
                error = translate_sampled(
                    backend, lambda norms: self.with_norms(norms)._torch(), source, out, memory, known, watch
                )
            else:
                translate_windows(backend, source, out, memory, known, watch)
        if self.source.masked and not self.target.classes:
            put_back_by_rows(source, out, self.target)
        return out, error

    @property
    def fits_windows(self) -> bool:
        """Whether windows give what the whole image gives: norms are fixed, and the network looks at few pixels around one."""
        try:
            windowed(self._torch())
            return reach(self._torch()) <= FEW
        except ConfigError:
            return False

    def _empty_for(self, source: Source) -> np.ndarray:
        """An array for the translation of a source, whose pixel type is checked. It is filled, so that its memory counts."""
        self.source.check(torch.from_numpy(np.array(source[:1, :1])).permute(2, 0, 1)[None])
        return np.full((*source.shape[:2], self.target.bands), 0, self.target.dtype)

    @contextmanager
    def _scratch_if_large(self, run: StagedRun) -> Iterator[Path | None]:
        """A temporary folder for feature maps that take more memory than windows; None where they may lie in memory."""
        if self.memory is not None and run.staging.scratch > run.memory:
            with tempfile.TemporaryDirectory(prefix="diptych-") as folder:
                yield Path(folder, "stages")
        else:
            run.memory -= min(run.memory, run.staging.scratch) // 2  # half of what is left for windows beside the maps
            yield None
