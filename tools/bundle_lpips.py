"""Bundle the calibrated heads of LPIPS v0.1 out of the authors' package; running it again gives the same bytes.

    pip download --no-deps lpips==0.1.4 && unzip lpips-0.1.4-py3-none-any.whl
    python tools/bundle_lpips.py lpips/weights/v0.1 src/diptych/metrics/lpips_v0.1.safetensors

A head is one non-negative weight for each channel of a tap: ``alex.0`` ... ``alex.4`` and ``vgg.0`` ... ``vgg.4``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import safetensors.torch

from diptych.files import sha256_of, write_atomic
from diptych.state_dicts import read_state_dict

SHA256 = {
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
}


def bundle(folder: Path, target: Path) -> None:
    """Write the heads of both backbones as one safetensors file."""
    tensors = {}
    for name, expected in SHA256.items():
        path = folder / f"{name}.pth"
        if not path.exists():
            raise SystemExit(f"error: {path}: not found; expected the folder lpips/weights/v0.1 of lpips 0.1.4")
        if (found := sha256_of(path)) != expected:
            raise SystemExit(f"error: {path}: expected SHA-256 {expected}, found {found}; take it from lpips 0.1.4")
        state = read_state_dict(path)
        tensors |= {f"{name}.{tap}": state[f"lin{tap}.model.1.weight"].flatten().clone() for tap in range(5)}
    write_atomic(target, safetensors.torch.save(tensors, {"source": "lpips 0.1.4, weights/v0.1, BSD-2-Clause, see NOTICE.md"}))


def main() -> None:
    """Bundle what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="weights/v0.1 of the package lpips")
    parser.add_argument("target", type=Path, help="the file to write")
    arguments = parser.parse_args()
    bundle(arguments.folder, arguments.target)


if __name__ == "__main__":
    main()
