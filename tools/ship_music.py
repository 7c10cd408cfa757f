"""Put trained music translators into the package: 16-bit weights, and where they come from.

python tools/ship_music.py READ.safetensors DRAW.safetensors
"""

import sys
from dataclasses import replace
from pathlib import Path

from diptych.music.translators import PRETRAINED
from diptych.snapshot import Snapshot

ORIGIN = "trained on OpenScore Lieder (CC0 1.0, https://github.com/OpenScore/Lieder); these weights are CC0 1.0 too"

for task, path in zip(("read", "draw"), sys.argv[1:], strict=True):
    snapshot = Snapshot.load(path)
    halved = replace(snapshot, generators={name: net.half() for name, net in snapshot.generators.items()}, discriminators={})
    halved = replace(halved, about=snapshot.about | {"origin": ORIGIN})
    PRETRAINED.mkdir(exist_ok=True)
    out = PRETRAINED / f"{task}-1-4.safetensors"
    print(out, f"{out.stat().st_size:,} bytes" if halved.save(out) else "", Path(path))
