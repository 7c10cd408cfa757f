"""What makes the torch backend exact and fast on CUDA: its process-wide settings, copies beside the computation, CUDA graphs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, cast, final

import torch
from torch import Tensor

from diptych.errors import out_of_memory

WARM_UPS = 2  # calls of a shape in a thread before one is recorded: cuDNN chooses kernels in them, for each thread anew
RECORDED_PIXELS = 2**20  # in a batch: beside the computation of more, launching it costs little
RECORDINGS = 8  # shapes that are recorded; each holds the memory of its activations

Record = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
Recording = tuple[Tensor, Callable[[], None], Tensor]  # where the input is copied to, what replays, where the result lies


@final
class SharedSetting:
    """A process-wide setting that holds while any thread is inside: the first one changes it, the last one restores it."""

    def __init__(self, change: Callable[[], AbstractContextManager[None]]) -> None:
        self.change, self.changed = change, ExitStack()
        self.lock, self.inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.changed.enter_context(self.change())
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.changed.close()


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Set precision both ways that PyTorch has, since it refuses to read the older one where only the newer one was changed."""
    cudnn, mkldnn = cast(Any, torch.backends.cudnn), cast(Any, torch.backends.mkldnn)
    newer: list[Any] = [cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul, mkldnn.matmul]
    before = [setting.fp32_precision for setting in newer]
    tf32 = _unless_mixed(lambda: cudnn.allow_tf32)
    matmul = _unless_mixed(torch.get_float32_matmul_precision)
    if tf32 is not None:
        cudnn.allow_tf32 = False
    if matmul is not None:
        torch.set_float32_matmul_precision("highest")
    for setting in newer:
        setting.fp32_precision = "ieee"
    try:
        yield
    finally:
        if tf32 is not None:
            cudnn.allow_tf32 = tf32
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
        for setting, precision in zip(newer, before, strict=True):
            setting.fp32_precision = precision


def _unless_mixed(read: Callable[[], Any]) -> Any:
    """An older setting; None where the user chose the newer ones, beside which PyTorch raises an error."""
    try:
        return read()
    except RuntimeError:
        return None


@contextmanager
def _with_searched_kernels() -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


EXACT_FLOAT32 = SharedSetting(_without_tf32)  # 24 bits of precision, where torch by default lets cuDNN round to TF32's 11
FASTEST_KERNELS = SharedSetting(_with_searched_kernels)


def to_device(pixels: Tensor, device: torch.device) -> Tensor:
    """The pixels on a device; on CUDA the host goes on before they have arrived."""
    if device.type == "cuda" and pixels.device.type == "cpu":
        return pixels.pin_memory().to(device, non_blocking=True)
    return pixels.to(device)


def to_host(out: Tensor) -> Tensor:
    """An ordinary tensor on the CPU that may be changed in place. Waits for this result alone, and other threads go on."""
    if out.device.type != "cuda":
        return out.cpu().clone()
    host = torch.empty(out.shape, dtype=out.dtype, pin_memory=True)
    host.copy_(out, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(out.device))
    arrived.synchronize()
    return host.clone()  # pinned memory is scarce, and callers may keep many results


def record(compute: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Record what a function launches on the current CUDA device.

    Returns a function that launches it again, and the tensor in which the result then lies.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads read, pin and translate meanwhile
        out = compute()
    return graph.replay, out


@final
class Replays:
    """A function of one CUDA tensor; inputs of a shape that comes again are computed by replaying one CUDA graph.

    One launch replaces hundreds, which otherwise take longer than the computation of a small image. The first few shapes that
    come again are recorded, where there is enough memory; others are computed as they are. The function must draw no random
    numbers and wait for nothing. Threads may share it where they compute on one stream, as they do unless told otherwise.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], record: Record = record) -> None:
        self.compute, self.record, self.lock = compute, record, threading.Lock()
        self.seen: Counter[tuple[int, torch.Size]] = Counter()
        self.recorded: dict[torch.Size, Recording] = {}
        self.left = RECORDINGS

    def __call__(self, x: Tensor) -> Tensor:
        """Compute the function of x."""
        with self.lock, torch.cuda.device_of(x):
            if x.shape not in self.recorded:
                here = threading.get_ident(), x.shape
                self.seen[here] += 1
                wanted = self.left and self.seen[here] > WARM_UPS and x[:, 0].numel() <= RECORDED_PIXELS
                if not (wanted and self._record(x)):
                    return self.compute(x)
            given, replay, out = self.recorded[x.shape]
            given.copy_(x)
            replay()
            return out.clone()

    def _record(self, x: Tensor) -> bool:
        self.left -= 1
        given = x.clone()
        try:
            self.recorded[x.shape] = given, *self.record(lambda: self.compute(given))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        return x.shape in self.recorded
