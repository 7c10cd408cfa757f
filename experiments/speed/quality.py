"""bf16 against fp32 on the embedded pairs, three seeds each: python experiments/speed/quality.py OUT

Trains what is not there yet, one after the other, and prints mean and range over the seeds of the test scores.
"""

import json
import subprocess
import sys
from pathlib import Path

SHORT = ["--train.epochs", "2", "--train.decay_epochs", "2", "--previews", "0", "--validations", "0"]
SEEDS = (0, 1, 2)


def score(out: Path, precision: str, seed: int) -> dict[str, float]:
    """The test scores of one training."""
    folder = out / f"{precision}-{seed}"
    if not (folder / "evaluation.json").exists():
        words = ["diptych", "train", "relief", *SHORT, "--train.precision", precision, "--train.seed", str(seed)]
        subprocess.run([*words, "--out", str(folder)], check=True)
    results = json.loads((folder / "evaluation.json").read_text())["results"]
    return {r["metric"]: r["estimate"]["value"] for r in results if r["of"] == "model"}


def main() -> None:
    """Print the table."""
    out = Path(sys.argv[1])
    print("| precision | PSNR | SSIM | L1 |\n| --- | --- | --- | --- |")
    for precision in ("bf16", "fp32"):
        found = [score(out, precision, seed) for seed in SEEDS]
        cells = []
        for metric, digits in (("psnr", 2), ("ssim", 3), ("l1", 4)):
            values = [scores[metric] for scores in found]
            cells.append(f"{sum(values) / len(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})")
        print(f"| {precision} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
