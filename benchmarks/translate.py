"""Measure images per second of every backend against plain eager fp32, and of whole folders of JPEGs against the bare network.

    python -m benchmarks.translate [--device cpu] [--net resnet_9] [--batches 1 4] [--rounds 3] [--folder 200]
        [--snapshot FILE] [--json FILE]
    python -m benchmarks.translate --device cuda --batches 1 16

Every way takes 8-bit images from the CPU and returns 8-bit images to it. There are two references, both of torch's own layers
in eager fp32 with torch's own settings, which on CUDA let convolutions round to TF32: the plain loop translates one image after
the other, as the published test does, and the plain batch translates the whole batch in one call. On CUDA the plain batch is
also measured without TF32.

All ways take turns, so that other work of the machine meets them alike, and the median of the rounds counts. Before the rounds
each way is warmed up, and on CUDA it is called as often as fills a fifth of a second in each round; the device is synchronised
before the clock is read. Differences are means over all pixels to exact fp32, in levels of 255, on random weights (or a
snapshot's) and smooth pictures.

The folder is translated as `diptych translate` does it: found, read, translated and written; the bare network before and after
it sees the same images in memory.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.data.formats import read_pixels, write_pixels
from diptych.device import pick_device
from diptych.inference.backends import installed
from diptych.inference.batch import plan, translate_files
from diptych.inference.choice import ChosenTranslator, choose_translator, difference
from diptych.inference.cuda import EXACT_FLOAT32
from diptych.inference.scripted import plain_layers
from diptych.inference.translator import Translator
from diptych.nets import generator, initialise
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

WAYS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "cpu": (("torch", "fp32"), ("torch", "bf16"), ("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")),
    "cuda": (
        ("torch", "fp32"),
        ("torch", "bf16", "unrecorded"),
        ("torch", "bf16"),
        ("torch", "bf16", "compiled"),
    ),
}
LOOP, BATCH = "plain loop", "plain batch"
ROUND = 0.2  # seconds
Way = Callable[[Tensor], Tensor]


def pictures(count: int, size: int) -> Tensor:
    """Smooth random colours with some grain, (n, 3, size, size) of uint8, as compressible as photographs."""
    torch.manual_seed(1)
    smooth = F.interpolate(torch.rand(count, 3, size // 16, size // 16), size=(size, size), mode="bicubic")
    return ((smooth + 0.05 * torch.randn(count, 3, size, size)).clamp(0, 1) * 255).byte()


def plain(net: torch.nn.Module, device: torch.device, at_once: int | None = None) -> Way:
    """Torch's own layers in eager fp32, ``at_once`` images in a call, or all of them."""
    net, domain = plain_layers(net).eval().to(device), Domain()

    def run(pixels: Tensor) -> Tensor:
        with torch.no_grad():
            parts = pixels.split(at_once or len(pixels))
            return torch.cat([domain.decode(net(domain.encode(part.to(device)))).cpu() for part in parts])

    return run


def exactly(way: Way) -> Way:
    """The same without TF32."""

    def run(pixels: Tensor) -> Tensor:
        with EXACT_FLOAT32:
            return way(pixels)

    return run


def backends(snapshot: Snapshot, device: torch.device, size: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each way and batch: images/s, ratios to both references in the same rounds, mean difference to exact fp32."""
    net = snapshot.generators["a2b"]
    ways: dict[str, Way] = {LOOP: plain(net, device, 1), BATCH: plain(net, device)}
    if device.type == "cuda":
        ways["plain batch, no TF32"] = exactly(ways[BATCH])
    for backend, precision, *more in WAYS[device.type]:
        name = " ".join((backend, precision, *more))
        wanted = name in args.ways if args.ways else args.compiled or "compiled" not in more
        if wanted and installed(backend):
            how: dict[str, Any] = {"replay": "unrecorded" not in more, "compiled": "compiled" in more}
            ways[name] = Translator(snapshot, device=str(device), backend=backend, precision=precision, **how).tensors
    rows = []
    for batch in args.batches:
        images = pictures(batch, size)
        expected, seconds = exactly(ways[BATCH])(images), {name: list[float]() for name in ways}
        calls = {name: calls_in_a_round(way, images, device) for name, way in ways.items()}
        differences = {name: difference(way(images), expected, Domain()) for name, way in ways.items()}
        for _ in range(args.rounds):
            for name, way in ways.items():
                seconds[name].append(timed(way, images, calls[name], device))
        for name in ways:
            ratios = {
                reference: statistics.median(p / s for p, s in zip(seconds[reference], seconds[name], strict=True))
                for reference in (LOOP, BATCH)
            }
            row = {"way": name, "batch": batch, "images_s": batch / statistics.median(seconds[name])}
            rows.append({**row, "ratio": ratios[LOOP], "ratio_batch": ratios[BATCH], "difference": differences[name]})
            print(
                f"{name:20} batch {batch:2}  {row['images_s']:8.2f} images/s  {ratios[LOOP]:6.2f} x loop  "
                f"{ratios[BATCH]:6.2f} x batch  difference {differences[name]:.3f}/255",
                flush=True,
            )
    return rows


def timed(way: Way, images: Tensor, calls: int, device: torch.device) -> float:
    """Seconds of one call, the mean of several."""
    synchronise(device)
    began = time.perf_counter()
    for _ in range(calls):
        way(images)
    synchronise(device)
    return (time.perf_counter() - began) / calls


def calls_in_a_round(way: Way, images: Tensor, device: torch.device) -> int:
    """One on a CPU. On CUDA as many as fill a round, after the calls in which kernels are chosen and recorded."""
    if device.type != "cuda":
        return 1
    timed(way, images, 3, device)
    return max(1, math.ceil(ROUND / timed(way, images, 2, device)))


def synchronise(device: torch.device) -> None:
    """Wait until the device has computed all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def folder(snapshot: Snapshot, device: torch.device, size: int, count: int) -> dict[str, Any]:
    """A folder of JPEGs end to end: its share of the bare network's throughput, which is measured before and after."""
    with tempfile.TemporaryDirectory() as name:
        images, source = pictures(count, size), Path(name, "in")
        source.mkdir()
        for i, image in enumerate(images):
            write_pixels(source / f"{i:04}.jpg", image.permute(1, 2, 0).contiguous().numpy())
        began = time.perf_counter()

        def make(backend: Any, precision: Any) -> Translator:
            return Translator(snapshot, device=str(device), backend=backend, precision=precision)

        jobs = plan([source], Path(name, "out"), make("torch", "fp32"))
        choice = choose_translator(make, jobs)
        chosen = time.perf_counter() - began
        decoded = torch.stack([torch.from_numpy(read_pixels(job.source)).permute(2, 0, 1) for job in jobs]).contiguous()
        before = _bare(choice, decoded[: count // 2])
        began = time.perf_counter()
        translate_files(jobs, choice.translator, batch=choice.batch, batch_values=choice.batch_values)
        seconds = time.perf_counter() - began
        bare = before + _bare(choice, decoded[count // 2 :])
    row = {"images": count, "choice": str(choice), "choosing_s": chosen, "images_s": count / seconds, "share": bare / seconds}
    print(
        f"folder of {count} JPEGs: chose {choice} in {chosen:.1f} s; {count / seconds:.2f} images/s, {bare / seconds:.1%} of bare"
    )
    return row


def _bare(choice: ChosenTranslator, images: Tensor) -> float:
    began = time.perf_counter()
    for group in images.split(choice.batch):
        choice.translator.tensors(group)
    return time.perf_counter() - began


def untrained(name: str) -> Snapshot:
    """A generator of the papers' width with the papers' initial weights."""
    torch.manual_seed(0)
    options = {"norm": "instance"} if name.startswith("resnet") else {}
    net = initialise(generator(name, 3, 3, **options), "normal", 0.02).eval().requires_grad_(False)
    return Snapshot({"a2b": net}, Domain(), Domain())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--net", default="resnet_9", help="resnet_9, or unet_8 for the U-Net of 256 pixels")
    parser.add_argument("--snapshot", type=Path, help="trained weights instead of random ones")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="*", help="such as 'torch bf16' (default: all that are installed)")
    parser.add_argument("--compiled", action="store_true", help="on CUDA also compiled networks, which takes minutes")
    parser.add_argument("--folder", type=int, default=0, metavar="N", help="also a folder of N JPEGs")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    snapshot = Snapshot.load(args.snapshot) if args.snapshot else untrained(args.net)
    net = args.snapshot.name if args.snapshot else args.net
    device = pick_device(args.device)
    hardware = f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else torch.cuda.get_device_name(device)
    print(f"{net}, {args.size} px, {hardware}, torch {torch.__version__}")
    found: dict[str, Any] = {"net": net, "size": args.size, "hardware": hardware, "torch": torch.__version__}
    found["backends"] = backends(snapshot, device, args.size, args)
    if args.folder:
        found["folder"] = folder(snapshot, device, args.size, args.folder)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
