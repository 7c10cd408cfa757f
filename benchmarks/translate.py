"""Images a second of every backend against a plain loop in eager fp32, and of whole folders of JPEGs against the bare network.

    python -m benchmarks.translate [--net resnet_9] [--batches 1 4] [--rounds 3] [--folder 200]
        [--snapshot FILE] [--json FILE]

The plain loop is what the published test does: torch's own layers, fp32, one image after the other (not counting its files). All
ways take turns, so that what else the machine does meets them alike, and the median of the rounds counts; the first round warms
up. Differences are means over all pixels, in levels of 255, on random weights (or a snapshot's) and smooth pictures.

The folder is translated as `diptych translate` does it: found, read, translated and written; the bare network before and after
it sees the same images in memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diptych.data.formats import read_pixels, write_pixels
from diptych.inference.backends import installed
from diptych.inference.batch import plan, translate_files
from diptych.inference.choice import Choice, choose, difference
from diptych.inference.scripted import plain_layers
from diptych.inference.translator import Translator
from diptych.nets import generator, initialise
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

WAYS = (("torch", "fp32"), ("torch", "bf16"), ("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))


def pictures(count: int, size: int) -> Tensor:
    """Smooth random colours with some grain, (n, 3, size, size) of uint8, as compressible as photographs."""
    torch.manual_seed(1)
    smooth = F.interpolate(torch.rand(count, 3, size // 16, size // 16), size=(size, size), mode="bicubic")
    return ((smooth + 0.05 * torch.randn(count, 3, size, size)).clamp(0, 1) * 255).byte()


def plain_loop(net: torch.nn.Module) -> Callable[[Tensor], Tensor]:
    """One image after the other through torch's own layers."""
    net, domain = plain_layers(net).eval(), Domain()

    def run(pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([domain.decode(net(domain.encode(image[None]))) for image in pixels])

    return run


def backends(snapshot: Snapshot, size: int, batches: Sequence[int], rounds: int, ways: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each way and batch: images/s, ratio to the plain loop in the same rounds, mean difference."""
    named = {f"{b} {p}": (b, p) for b, p in WAYS if f"{b} {p}" in ways and installed(b)}
    runs = {name: Translator(snapshot, device="cpu", backend=b, precision=p).tensors for name, (b, p) in named.items()}
    runs = {"plain loop": plain_loop(snapshot.generators["a2b"]), **runs}
    rows = []
    for batch in batches:
        images, seconds = pictures(batch, size), {name: list[float]() for name in runs}
        outs: dict[str, Tensor] = {}
        for number in range(rounds + 1):
            for name, run in runs.items():
                began = time.perf_counter()
                outs[name] = run(images)
                seconds[name] += [time.perf_counter() - began] * (number > 0)
        for name in runs:
            ratio = statistics.median(p / s for p, s in zip(seconds["plain loop"], seconds[name], strict=True))
            speed, error = batch / statistics.median(seconds[name]), difference(outs[name], outs["plain loop"], Domain())
            rows.append({"way": name, "batch": batch, "images_s": speed, "ratio": ratio, "difference": error})
            print(
                f"{name:14} batch {batch:2}  {speed:7.2f} images/s  {ratio:5.2f} x plain  difference {error:.3f}/255", flush=True
            )
    return rows


def folder(snapshot: Snapshot, size: int, count: int) -> dict[str, Any]:
    """A folder of JPEGs end to end: its share of the bare network's throughput, which is measured before and after."""
    with tempfile.TemporaryDirectory() as name:
        images, source = pictures(count, size), Path(name, "in")
        source.mkdir()
        for i, image in enumerate(images):
            write_pixels(source / f"{i:04}.jpg", image.permute(1, 2, 0).contiguous().numpy())
        began = time.perf_counter()

        def make(backend: Any, precision: Any) -> Translator:
            return Translator(snapshot, device="cpu", backend=backend, precision=precision)

        jobs = plan([source], Path(name, "out"), make("torch", "fp32"))
        choice = choose(make, jobs)
        chosen = time.perf_counter() - began
        decoded = torch.stack([torch.from_numpy(read_pixels(job.source)).permute(2, 0, 1) for job in jobs]).contiguous()
        before = _bare(choice, decoded[: count // 2])
        began = time.perf_counter()
        translate_files(jobs, choice.translator, batch=choice.batch)
        seconds = time.perf_counter() - began
        bare = before + _bare(choice, decoded[count // 2 :])
    row = {"images": count, "choice": str(choice), "choosing_s": chosen, "images_s": count / seconds, "share": bare / seconds}
    print(
        f"folder of {count} JPEGs: chose {choice} in {chosen:.1f} s; {count / seconds:.2f} images/s, {bare / seconds:.1%} of bare"
    )
    return row


def _bare(choice: Choice, images: Tensor) -> float:
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
    parser.add_argument("--net", default="resnet_9", help="resnet_9, or unet_8 for the U-Net of 256 pixels")
    parser.add_argument("--snapshot", type=Path, help="trained weights instead of random ones")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="*", default=[f"{b} {p}" for b, p in WAYS])
    parser.add_argument("--folder", type=int, default=0, metavar="N", help="also a folder of N JPEGs")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    snapshot = Snapshot.load(args.snapshot) if args.snapshot else untrained(args.net)
    net = args.snapshot.name if args.snapshot else args.net
    print(f"{net}, {args.size} px, cpu ({torch.get_num_threads()} threads)")
    found: dict[str, Any] = {"net": net, "size": args.size, "threads": torch.get_num_threads()}
    found["backends"] = backends(snapshot, args.size, args.batches, args.rounds, args.ways)
    if args.folder:
        found["folder"] = folder(snapshot, args.size, args.folder)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
