"""The backends that compute a translation from a graph: ONNX Runtime and OpenVINO. (The third is torch, in `pytorch.py`.)

They run the graph of `graph.py` in eval mode on the CPU; each package is imported only when it is asked for.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from diptych.choices import Backend, ComputingPrecision
from diptych.errors import ConfigError
from diptych.extras import extra
from diptych.pixels import Domain

Run = Callable[[Shaped[Tensor, "n c h w"]], Shaped[Tensor, "n d h w"]]
PACKAGES: dict[Backend, tuple[str, ...]] = {"torch": (), "onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}


def installed(backend: Backend) -> bool:
    """Whether the packages of a backend are installed; none is imported."""
    return all(find_spec(package) for package in PACKAGES[backend])


def refuse_for_graphs(backend: Backend, device: str, *, draws_noise: bool, depends_on_batch: bool) -> None:
    """Raise ConfigError for what a graph does not have: noise and images that depend on their batch, and a device but the CPU."""
    if draws_noise:
        raise ConfigError(f"backend {backend} has no form for a generator that draws random numbers; choose --backend torch")
    if depends_on_batch:
        raise ConfigError(
            f"backend {backend} has no mode paper (dropout, batch statistics), which this snapshot asks for; "
            "choose --backend torch or --mode eval"
        )
    if device not in ("auto", "cpu"):
        raise ConfigError(f"backend {backend} computes on the cpu, found device {device!r}; choose --backend torch")


def onnx_run(net: nn.Module, source: Domain, target: Domain, precision: ComputingPrecision) -> Run:
    """Compute with ONNX Runtime on the CPU.

    Raises MissingExtraError where it is not installed, and ConfigError for bf16, for which it has no kernels on CPUs.
    """
    if precision == "bf16":
        raise ConfigError("backend onnx computes in fp32, found precision bf16; choose --backend torch or openvino for bf16")
    return onnx_session(_graph(net, source, target, "onnx"))


def onnx_session(model: bytes, output: str = "", what: str = "backend onnx") -> Run:
    """Run a model of graph.py, given as bytes, and return its output of a name, or its first one.

    ``what`` needs ONNX Runtime, as the error says where it is not installed.
    """
    runtime = extra("onnxruntime", "onnx", what)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda pixels: torch.from_numpy(session.run([output] if output else None, {"pixels": pixels.numpy()})[0])


def openvino_run(net: nn.Module, source: Domain, target: Domain, precision: ComputingPrecision) -> Run:
    """Compute with OpenVINO on the CPU. Raises MissingExtraError where it is not installed."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # which would report each import to Google Analytics
    openvino = extra("openvino", "openvino", "backend openvino")
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    model = core.compile_model(core.read_model(_graph(net, source, target, "openvino")), "CPU", settings)
    one_at_a_time = threading.Lock()  # a compiled model refuses a second call before the first has ended

    def run(pixels: Tensor) -> Tensor:
        with one_at_a_time:
            return torch.from_numpy(model(pixels.numpy())[0])

    return run


def _graph(net: nn.Module, source: Domain, target: Domain, backend: Backend) -> bytes:
    extra("onnx", backend, f"backend {backend}")
    from diptych.inference.graph import onnx_graph

    return onnx_graph(net, source, target).SerializeToString()
