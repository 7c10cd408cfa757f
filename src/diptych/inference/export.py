"""Export a generator as one self-contained file for programs without diptych, after comparing it with the network."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from diptych.choices import Format
from diptych.errors import ConfigError, SnapshotError
from diptych.extras import extra
from diptych.files import sha256_of, write_atomic
from diptych.inference.backends import onnx_session
from diptych.inference.large import measure_file
from diptych.inference.norm_statistics import fix_norms
from diptych.inference.translator import Translator
from diptych.nets import adjusted
from diptych.nets.modes import Noise, applied, depends_on_batch
from diptych.pixels import TORCH_DTYPES, Domain
from diptych.snapshot import Snapshot

EXPORT = "export to onnx"  # begins the message about a missing package
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torchscript": ".pt"}
TOLERANCE = 1e-4  # greatest difference in [-1, 1] before rounding, about a hundredth of one of 255 levels
LEVEL = 2 / 255  # the most that a network which amplifies the rounding of float32 may differ by: one of 255 levels
SIZES = ((1, 65, 67), (2, 96, 128), (1, 31, 200), (1, 2, 3))  # batch, height and width: odd ones, and smaller than any padding


@dataclass(frozen=True)
class Exported:
    """A written file, its SHA-256, and its greatest difference to the network in [-1, 1] before rounding."""

    path: Path
    sha256: str
    difference: float
    paper: bool
    """Whether the snapshot is applied in mode paper with other results. A file is always in mode eval."""


def export(
    snapshot: str | Path,
    out: str | Path,
    to: Format,
    direction: str = "a2b",
    *,
    strength: float | None = None,
    norm_from: str | Path | None = None,
) -> Exported:
    """Write one direction of a snapshot as a file that takes and gives native pixels of any batch, height and width.

    The network is in mode eval. ``strength`` is that of the file, for a generator that has one: 1 unless told otherwise.
    ``norm_from`` is an image whose statistics the norms of the network keep, instead of those of each image. First the
    network's results are compared with those of the file at SIZES. Raises SnapshotError where they differ by more than TOLERANCE
    and by more than the rounding of float32 in this network explains,
    ConfigError where the generator takes no strength or draws noise, which a file cannot, and MissingExtraError
    without the packages for ONNX; then no file is written.
    """
    loaded = Snapshot.load(snapshot)
    source, target = loaded.domains(direction)
    net = adjusted(loaded.generators[direction], strength=strength).eval()
    if getattr(net, "draws_noise", False) or any(isinstance(module, Noise) for module in net.modules()):
        raise ConfigError(
            f"{snapshot}: its generator draws random numbers from a seed, and a file takes pixels alone, so that its results "
            "could neither be repeated nor compared with the network's; translate with diptych"
        )
    if does := getattr(net, "unportable", ""):
        raise ConfigError(f"{snapshot}: its generator {does}, which no file can; translate with diptych")
    facts = {"direction": direction, "source": str(source), "target": str(target), "mode": "eval"}
    facts |= {"snapshot_sha256": sha256_of(Path(snapshot)), "diptych": version("diptych")}
    for name, domain in (("source_classes", source), ("classes", target)):  # the value of each class, in the order of channels
        facts |= {name: json.dumps(domain.classes)} if domain.classes else {}
    facts |= {} if strength is None else {"strength": f"{strength:g}"}
    if norm_from is not None:
        translator = Translator(loaded, direction, device="cpu", mode="eval", strength=strength)
        net = fix_norms(net, measure_file(Path(norm_from), translator))
        facts |= {"norm_from_sha256": sha256_of(Path(norm_from))}
    if to == "onnx":
        data, run = _onnx(net, source, target, facts)
    else:
        data, run = _torchscript(net, source, target, facts)
    difference = 0.0
    for size in SIZES:
        pixels = example(source, *size)
        with applied(net, "eval") as translate:
            expected = translate(source.encode(pixels))
        found = float((run(pixels) - expected).abs().max())
        if not found <= TOLERANCE and not found <= min(2 * rounding(net, source.encode(pixels)), LEVEL):
            where = " x ".join(map(str, size[1:]))
            raise SnapshotError(
                f"{snapshot}: exported to {to} it differs by {found:.2g} at {where} pixels, more than {TOLERANCE:g}; nothing was "
                "written, please report it with the snapshot"
            )
        difference = max(difference, found)
    write_atomic(Path(out), data)
    return Exported(Path(out), hashlib.sha256(data).hexdigest(), difference, loaded.mode == "paper" and depends_on_batch(net))


def rounding(net: torch.nn.Module, x: Float[Tensor, "n c h w"]) -> float:
    """How far a network in mode eval is from its result in float64: two exact programs in float32 differ by up to twice as much.

    It is about 1e-6 for a network as it is initialised; large weights before a norm of fixed statistics can amplify it a
    thousand times.
    """
    with applied(net, "eval") as translate, applied(copy.deepcopy(net).double(), "eval") as exactly:
        return float((translate(x) - exactly(x.double())).abs().max())


def _onnx(
    net: torch.nn.Module, source: Domain, target: Domain, facts: dict[str, str]
) -> tuple[bytes, Callable[[Tensor], Tensor]]:
    onnx = extra("onnx", "onnx", EXPORT)
    from diptych.inference.graph import FLOATS, onnx_graph, with_floats

    model = onnx_graph(net, source, target, facts)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(), onnx_session(with_floats(model).SerializeToString(), FLOATS, EXPORT)


def _torchscript(
    net: torch.nn.Module, source: Domain, target: Domain, facts: dict[str, str]
) -> tuple[bytes, Callable[[Tensor], Tensor]]:
    from diptych.inference.scripted import torchscript

    data, program = torchscript(net, source, target, facts)
    return data, lambda x: program.floats(x)


def example(domain: Domain, n: int, height: int, width: int) -> Shaped[Tensor, "n c h w"]:
    """Make pixels as rough as photographs: coarse colours and fine noise over the range of the domain, the same at every call.

    Of labels, coarse regions of all classes with ragged borders: other values would nearly all count as the last class.
    """
    random = np.random.default_rng((n, height, width))
    coarse = torch.from_numpy(random.random((n, 1 if domain.classes else domain.bands, 4, 4)))
    unit: Float[Tensor, "n c h w"] = F.interpolate(coarse, (height, width), mode="bilinear")
    unit = unit * 0.8 + 0.2 * torch.from_numpy(random.random(unit.shape))
    if domain.classes:
        values = torch.tensor(domain.classes).to(TORCH_DTYPES[domain.dtype])
        return values[(unit[:, 0] * len(values)).long()].movedim(-1, 1)
    return (unit * (domain.high - domain.low) + domain.low).to(torch.float32).to(TORCH_DTYPES[domain.dtype])
