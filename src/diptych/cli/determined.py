"""What determines a translation, as its manifest keeps it, and which options were given without effect."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the real import waits until the options were parsed
    from diptych.inference.translator import Translator


def determined_by(args: argparse.Namespace, path: Path, translator: Translator, generator: Any) -> dict[str, Any]:
    """All that determines a translation but its input, as the manifest keeps it."""
    from diptych.inference.manifest import hash_of

    found: dict[str, Any] = {"snapshot_sha256": hash_of(path), "direction": args.direction, "at": args.at, "mode": "eval"}
    found |= {"frames": "all"} if args.frames == "all" else {}
    found |= {"norms": "sampled"} if args.sample_norms else {}
    for name in ("norm_from", "instances"):
        found |= {f"{name}_sha256": hash_of(given) if (given := getattr(args, name)) else None}
    if translator.depends_on_batch:
        found |= {"mode": "paper", "dropout": args.dropout, "seed": args.seed}
    usual = {"strength": 1.0, "steps": getattr(generator, "steps", None), "style": 0}
    for name in getattr(generator, "adjustable", ()):
        found[name] = usual[name] if getattr(args, name) is None else getattr(args, name)
    return found | ({"seed": args.seed} if translator.draws_noise else {})


def in_vain(args: argparse.Namespace, translator: Translator) -> Iterator[str]:
    """Name the options that were given and change nothing: a seed where nothing is drawn, a dropout where there is none."""
    if translator.depends_on_batch:
        return
    if args.dropout is not None:
        yield f"--dropout {args.dropout} changes nothing, as no dropout is drawn here"
    spread = args.maps is not None and (not args.maps or "spread" in args.maps)
    if args.seed is not None and not (translator.draws_noise or spread):
        yield f"--seed {args.seed} changes nothing, as nothing is drawn by chance here"
