"""Protocols: everything that determines a number, with a short id. Numbers with equal protocols can be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from diptych.data.splits import Ref

LIBRARIES = ("diptych", "torch", "numpy", "pillow", "imagecodecs", "kornia")  # that can change a digit


REMARKS = frozenset({"split", "seen", "batch_size"})  # what the pixels of the images decide, or what changes no number


def protocol_id(protocol: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the SHA-256 of a protocol without its REMARKS; the order of keys makes no difference."""
    entries = {key: value for key, value in protocol.items() if key not in REMARKS}
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()[:12]


def versions() -> dict[str, str]:
    """The versions of diptych and of the libraries that compute its numbers."""
    return {name: version(name) for name in LIBRARIES}


def list_sum(refs: Iterable[Ref], digests: Mapping[Ref, bytes]) -> str:
    """One hash of the pixels of a list of images, in order; where they lie and how they are encoded makes no difference."""
    lines = "".join(f"{digests[ref].hex()}\n" for ref in refs)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]
