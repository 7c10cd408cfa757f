"""Put trained music translators into the package as 16-bit weights with a note on their origin.

python tools/ship_music.py READ.safetensors DRAW.safetensors
"""

import argparse
from dataclasses import replace
from pathlib import Path

from diptych.music import translators
from diptych.snapshot import Snapshot

ORIGIN = "trained on OpenScore Lieder (CC0 1.0, https://github.com/OpenScore/Lieder); these weights are CC0 1.0 too"


def main() -> None:
    """Halve both snapshots and write them where the package looks for them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("read", type=Path, metavar="READ", help="the snapshot that reads sheets")
    parser.add_argument("draw", type=Path, metavar="DRAW", help="the snapshot that draws them")
    args = parser.parse_args()
    for task, path in (("read", args.read), ("draw", args.draw)):
        snapshot = Snapshot.load(path)
        halved = replace(snapshot, generators={name: net.half() for name, net in snapshot.generators.items()}, discriminators={})
        halved = replace(halved, about=snapshot.about | {"origin": ORIGIN})
        translators.PRETRAINED.mkdir(exist_ok=True)
        out = translators.PRETRAINED / f"{task}-1-4.safetensors"
        halved.save(out)
        print(f"{out}: {out.stat().st_size:,} bytes, from {path}")


if __name__ == "__main__":
    main()
