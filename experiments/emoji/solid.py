"""Make pairs of one emoji drawn flat (A) and modelled in three dimensions (B): Fluent Emoji, 128 px with transparency.

    npm pack @iconify-json/fluent-emoji-flat@1.2.6 @lobehub/fluent-emoji-3d@1.1.0
    pip install resvg_py==0.5.0
    python experiments/emoji/solid.py iconify-json-fluent-emoji-flat-1.2.6.tgz lobehub-fluent-emoji-3d-1.1.0.tgz solid/

Writes trainA, trainB, testA and testB. Skin tones are left out, as they only repeat a drawing, and so are pairs whose outlines
overlap by less than 90 % (intersection over union of what is more than half opaque): these are other drawings. Every tenth
emoji is a test pair, by the hash of pairs.py beside this file.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np
import resvg_py
from pairs import in_test
from PIL import Image

SIDE = 128
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{0}" viewBox="0 0 32 32">{1}</svg>'
TONES = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"}
OVERLAP = 0.9


def stem(code: str) -> str:
    """The code points of an emoji without the sign that only asks for colours, as the two packages disagree on it."""
    return "-".join(part for part in code.split("-") if part != "fe0f")


def flat(archive: str) -> dict[str, Image.Image]:
    """The flat drawings by code points: vectors, drawn at SIDE pixels."""
    with tarfile.open(archive) as packed:
        icons = json.load(packed.extractfile("package/icons.json"))["icons"]
        names = json.load(packed.extractfile("package/chars.json"))
    drawn = {}
    for code, name in names.items():
        if not TONES & set(code.split("-")):
            png = resvg_py.svg_to_bytes(svg_string=SVG.format(SIDE, icons[name]["body"]))
            drawn[stem(code)] = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    return drawn


def solid(archive: str, wanted: set[str]) -> dict[str, Image.Image]:
    """The pictures of the models that are wanted, by code points; made smaller from 256 pixels with weights of their opacity."""
    models = {}
    with tarfile.open(archive) as packed:
        for entry in packed:
            code = stem(PurePosixPath(entry.name).stem)
            if entry.name.endswith(".webp") and code in wanted:
                picture = Image.open(packed.extractfile(entry)).convert("RGBA").convert("RGBa")
                models[code] = picture.resize((SIDE, SIDE), Image.Resampling.BOX).convert("RGBA")
    return models


def overlap(a: Image.Image, b: Image.Image) -> float:
    """Intersection over union of what is more than half opaque."""
    first, second = (np.asarray(picture)[..., 3] > 127 for picture in (a, b))
    return (first & second).sum() / max((first | second).sum(), 1)


def cleaned(picture: Image.Image) -> Image.Image:
    """White where it is fully transparent: colours that nobody sees."""
    pixels = np.array(picture)
    pixels[pixels[..., 3] == 0, :3] = 255
    return Image.fromarray(pixels)


def main(drawings: str, models: str, out: str) -> None:
    a = flat(drawings)
    b = solid(models, set(a))
    pairs = {code: (cleaned(a[code]), cleaned(b[code])) for code in sorted(b) if overlap(a[code], b[code]) >= OVERLAP}
    for code, pair in pairs.items():
        for side, picture in zip("AB", pair, strict=True):
            folder = Path(out, ("test" if in_test(code) else "train") + side)
            folder.mkdir(parents=True, exist_ok=True)
            picture.save(folder / f"{code}.png")
    print(f"{len(pairs):,} pairs of {len(b):,} in {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
