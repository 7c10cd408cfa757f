"""Score every snapshot that a training of horses to zebras kept, and draw the curve and the pictures.

    PYTHONPATH=. python experiments/horse2zebra/curve.py runs/horse2zebra out/ [--weights FOLDER]

Snapshots are those of `--keep-every` and the last. The rate is the share of held-out horses whose output
EfficientNet-Lite0, trained on ImageNet, takes for a zebra (class 340); the structure distance says how much of a picture was
changed besides. It needs the packages of examples/own_judge.py. OUT gets curve.json, curve.svg and test.png: held-out
horses, evenly chosen by the evaluation and not by hand, each beside its output by the last snapshot, at 256 pixels.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from shutil import copy

import matplotlib
from PIL import Image

import diptych
from diptych.evaluation.results import Example
from diptych.metrics.estimate import Estimate

matplotlib.use("agg")
from matplotlib import pyplot

JUDGE, ZEBRA = "python:examples.own_judge:EfficientNetLite0", 340
SIDE, GAP, COLUMNS = 256, 4, 3


def snapshots(run: Path) -> list[tuple[str, Path]]:
    """The kept snapshots of a run by the number of epochs, in their order, and the last one."""
    kept = sorted(run.glob("snapshot-epoch-*.safetensors"), key=lambda path: int(path.stem.split("-")[-1]))
    return [(path.stem.split("-")[-1].lstrip("0"), path) for path in kept] + [("last", run / "snapshot.safetensors")]


def as_a_run(run: Path, snapshot: Path, folder: Path) -> Path:
    """Make a folder that says what the run's says and holds this snapshot as its last, to score it on the held-out images."""
    folder.mkdir(exist_ok=True)
    for path in run.glob("*.json"):
        copy(path, folder / path.name)
    copy(snapshot, folder / "snapshot.safetensors")
    return folder


def sheet(examples: tuple[Example, ...]) -> Image.Image:
    """Inputs beside their outputs, pair after pair."""
    pairs = [[example.images[name] for name in ("input", "output")] for example in examples if example.direction == "a2b"]
    rows = -(-len(pairs) // COLUMNS)
    canvas = Image.new("RGB", (COLUMNS * 2 * (SIDE + GAP) - GAP, rows * (SIDE + GAP) - GAP), "white")
    for place, pair in enumerate(pairs):
        row, column = divmod(place, COLUMNS)
        for side, data in enumerate(pair):
            picture = Image.open(io.BytesIO(data)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            canvas.paste(picture, ((2 * column + side) * (SIDE + GAP), row * (SIDE + GAP)))
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder of diptych train, which held images out")
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", action="append", default=[], help="of VGG16, as for diptych evaluate")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    print("| epochs | taken for zebras | structure distance |\n| --- | --- | --- |")
    for name, path in snapshots(options.run):
        found = diptych.evaluate(
            as_a_run(options.run, path, options.out / f"epochs-{name}"),
            split="val",
            direction="a2b",
            metrics=["target_rate", "structure"],
            classifier=JUDGE,
            target=ZEBRA,
            allow_doubles=True,  # the published set holds some images twice
            weights=options.weights,
        )
        rate, structure = found.value("target_rate"), found.value("structure")
        assert rate and structure
        print(f"| {name} | {rate} | {structure} |", flush=True)
        rows.append((name, rate, structure))
    baselines: dict[str, Estimate | None] = {of: found.value("target_rate", of=of) for of in ("copy", "truth")}
    print(f"copied horses: {baselines['copy']}; real zebras: {baselines['truth']}")
    numbers = [{"epochs": name, "target_rate": rate.value, "structure": structure.value} for name, rate, structure in rows]
    baseline_values = {of: estimate.value for of, estimate in baselines.items() if estimate}
    (options.out / "curve.json").write_text(json.dumps({"snapshots": numbers} | baseline_values, indent=1) + "\n")
    sheet(found.examples).save(options.out / "test.png")
    figure, axes = pyplot.subplots(figsize=(6, 3), layout="constrained")
    axes.plot([name for name, *_ in rows], [rate.value for _, rate, _ in rows], marker="o")
    axes.set(xlabel="epochs", ylabel="taken for zebras", ylim=(0, 1))
    figure.savefig(options.out / "curve.svg")


if __name__ == "__main__":
    main()
