"""The share of a process in work that several do: --shard 3/16, or its place among those that torchrun started."""

from __future__ import annotations

import argparse
import os
import re

Shard = tuple[int, int]
"""The number of a share, from 1, and how many there are."""


def shard(text: str) -> Shard:
    """Parse --shard: I/N with I from 1 to N."""
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"must be a share such as 3/16, from 1/16 to 16/16, found {text!r}")
    return int(found[1]), int(found[2])


def in_words_of(own: Shard, mine: int, total: int) -> str:
    """Say how many images a share has, and why it has none where there are more shares than images."""
    few = f" of {total:,}; most of so many shares are empty, so take fewer" if own[1] > total else ""
    return f"share {own[0]:,} of {own[1]:,}, {mine:,} image{'s' * (mine != 1)}{few}"


def own_shard() -> Shard | None:
    """The share of this process among those that torchrun started; None where it is the only one."""
    if "RANK" not in os.environ:
        return None
    rank, count = int(os.environ["RANK"]), int(os.environ.get("WORLD_SIZE", "1"))
    return (rank + 1, count) if count > 1 else None
