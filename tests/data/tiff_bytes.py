"""TIFF files byte by byte, for what no writer here makes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

FORMATS = {3: "H", 4: "I"}


def tiff_bytes(
    strip: bytes,
    width: int,
    height: int,
    *,
    bits: Sequence[int],
    photometric: int,
    compression: int = 1,
    colormap: Sequence[int] = (),
    extrasamples: Sequence[int] = (),
) -> bytes:
    """One page in one strip, little-endian."""
    tags = {256: (3, [width]), 257: (3, [height]), 258: (3, list(bits)), 259: (3, [compression]), 262: (3, [photometric])}
    tags |= {273: (4, [0]), 277: (3, [len(bits)]), 278: (3, [height]), 279: (4, [len(strip)])}
    tags |= {320: (3, list(colormap))} if colormap else {}
    tags |= {338: (3, list(extrasamples))} if extrasamples else {}
    packed = {code: struct.pack(f"<{len(values)}{FORMATS[kind]}", *values) for code, (kind, values) in tags.items()}
    start = 8 + 2 + 12 * len(tags) + 4
    packed[273] = struct.pack("<I", start + sum(len(data) for data in packed.values() if len(data) > 4))
    entries, outside = b"", b""
    for code in sorted(tags):
        data = packed[code]
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", start + len(outside))
        outside += data if len(data) > 4 else b""
        entries += struct.pack("<HHI", code, tags[code][0], len(tags[code][1])) + place
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + outside + strip
