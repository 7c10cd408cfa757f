"""Make pairs of one emoji in two styles: Noto's (A) and Twemoji's (B), 64 px with transparency.

    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    python experiments/emoji/pairs.py emoji-datasource-google-16.0.0.tgz emoji-datasource-twitter-16.0.0.tgz emoji/

Writes trainA, trainB, testA and testB. Every tenth emoji is a test pair, drawn by a hash of its name without skin tones and
without the sign of a man or a woman, so that all variants of one emoji lie on one side of the split. Left out are emoji that one
of the two sets lacks, and test pairs of which a picture is in training under another name. Colours that nobody sees, as they are
fully transparent, become white.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

VARIANTS = {"1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff", "2640", "2642", "fe0f", "200d"}
TEST = 0.1  # the share of emoji to test on


def pictures(archive: str) -> dict[str, bytes]:
    """The PNG files of 64 pixels in an archive of npm, by their names."""
    with tarfile.open(archive) as packed:
        files = {entry.name: entry for entry in packed if PurePosixPath(entry.name).parent.name == "64" and entry.isfile()}
        return {PurePosixPath(name).name: cleaned(packed.extractfile(entry).read()) for name, entry in files.items()}


def cleaned(content: bytes) -> bytes:
    """The same picture as RGBA, white where it is fully transparent."""
    pixels = np.array(Image.open(io.BytesIO(content)).convert("RGBA"))
    pixels[pixels[..., 3] == 0, :3] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def in_test(name: str) -> bool:
    """Whether an emoji is there to test on, by a hash of what all its variants share."""
    parts = [part for part in PurePosixPath(name).stem.split("-") if part not in VARIANTS]
    digest = hashlib.sha256("-".join(parts).encode()).digest()
    return int.from_bytes(digest[:6]) < TEST * 2**48


def main(noto: str, twemoji: str, out: str) -> None:
    a, b = pictures(noto), pictures(twemoji)
    names = sorted(a.keys() & b.keys())
    trained = {pictures[name] for name in names for pictures in (a, b) if not in_test(name)}
    names = [name for name in names if not in_test(name) or not {a[name], b[name]} & trained]
    for name in names:
        split = "test" if in_test(name) else "train"
        for side, content in (("A", a[name]), ("B", b[name])):
            folder = Path(out, split + side)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    print(f"{len(names):,} pairs in {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
