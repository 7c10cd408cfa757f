"""Images a second of an evaluation against its bare networks in the same run: what reading, metrics and bookkeeping cost.

    python benchmarks/evaluate.py [--images 96] [--size 128] [--device auto]

The bare networks are the translator on the inputs and random VGG16 features of inputs, outputs and truths, on tensors that are
already in memory. The evaluation does the same for images in PNG files, and PSNR, SSIM, L1, KID with its intervals, and the
nine images of the page. Afterwards the same evaluation with features from the cache. On a CPU its own time is counted, so that
other programs do not disturb; on a GPU the time that passes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from diptych.data.datasets import DataConfig
from diptych.data.folders import Ref, Split
from diptych.data.formats import write_pixels
from diptych.device import describe, pick_device
from diptych.evaluation.cache import FeatureCache
from diptych.evaluation.evaluate import score_translators
from diptych.evaluation.instruments import Instruments
from diptych.inference.translator import Translator
from diptych.metrics.features import random_vgg
from diptych.nets import build_net
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

METRICS = ["psnr", "ssim", "l1", "kid"]


def images(folder: Path, count: int, size: int, seed: int) -> tuple[Ref, ...]:
    """Smooth random pictures, as compressible as photographs."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    for i in range(count):
        coarse = torch.from_numpy(random.random((1, 3, size // 8, size // 8)))
        fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)
        write_pixels(folder / f"{i}.png", (255 * fine[0]).byte().permute(1, 2, 0).contiguous().numpy())
    return tuple(Ref(folder / f"{i}.png") for i in range(count))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = pick_device(args.device)
    torch.manual_seed(0)
    spec = {"net": "resnet", "in_channels": 3, "out_channels": 3, "width": 64, "num_blocks": 9, "norm": "instance"}
    snapshot = Snapshot({"a2b": build_net(spec)}, Domain(), Domain())
    translate, features = Translator(snapshot, device=str(device)).tensors, random_vgg(device=device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split = Split(*(images(folder / side, args.images, args.size, i) for i, side in enumerate("ab")), True)
        config = DataConfig(load_size=args.size, crop_size=args.size)
        a, b = (torch.stack([torch.from_numpy(r.read()).permute(2, 0, 1) for r in side]) for side in (split.a, split.b))

        def bare() -> None:
            for x, t in zip(a.split(args.batch), b.split(args.batch), strict=True):
                for batch in (x, translate(x), t):
                    features(batch)

        def whole(cache: FeatureCache) -> None:
            tools = Instruments(features=features, cache=cache, device=str(device))
            score_translators(
                {"a2b": translate}, split, Domain(), Domain(), config, metrics=METRICS, tools=tools, batch_size=args.batch
            )

        clock = time.process_time if device.type == "cpu" else time.perf_counter

        def speed(run: Callable[[], None]) -> float:
            start = clock()
            run()
            return args.images / (clock() - start)

        translate(a[: args.batch]), features(a[: args.batch])  # warm
        bare_speed = speed(bare)
        whole_speed = speed(lambda: whole(FeatureCache(folder / "cache")))
        again = speed(lambda: whole(FeatureCache(folder / "cache")))
    print(f"{describe(device, 'fp32')}, {args.images} pairs of {args.size} x {args.size}, ResNet-9")
    print(f"bare networks {bare_speed:.2f} images/s, evaluation {whole_speed:.2f}, ratio {whole_speed / bare_speed:.2f}")
    print(f"features from the cache {again:.2f} images/s, {again / whole_speed:.1f} times the first")


if __name__ == "__main__":
    main()
