"""Protocols: everything that determines a number, with a short id. Numbers with equal protocols can be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from diptych.data.likeness import Likeness
from diptych.data.splits import Ref

LIBRARIES = ("diptych", "torch", "numpy", "pillow", "imagecodecs", "kornia")  # that can change a digit


def protocol_id(protocol: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of the SHA-256 of a protocol; the order of its keys makes no difference."""
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:12]


def versions() -> dict[str, str]:
    """The versions of diptych and of the libraries that compute its numbers."""
    return {name: version(name) for name in LIBRARIES}


def list_sum(refs: Iterable[Ref], looks: Mapping[Ref, Likeness]) -> str:
    """One hash of the pixels of a list of images, in order; where they lie and how they are encoded makes no difference."""
    digests = "".join(f"{looks[ref].digest.hex()}\n" for ref in refs)
    return hashlib.sha256(digests.encode()).hexdigest()[:16]
