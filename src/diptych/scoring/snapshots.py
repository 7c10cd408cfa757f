"""The translators of a snapshot as an evaluation applies them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diptych.data.datasets import DataConfig
from diptych.data.folders import Split
from diptych.evaluation.evaluate import subjects_of
from diptych.evaluation.subject import Subject, Translate
from diptych.files import sha256_of
from diptych.inference.translator import Translator
from diptych.snapshot import Snapshot

BATCH_SIZES = {"cpu": 4, "mps": 8, "cuda": 16}  # images of one size at a time


@dataclass(frozen=True)
class Loaded:
    """A snapshot on a device, with a translator for each of its directions."""

    snapshot: Snapshot
    translators: Mapping[str, Translator]
    seed: int = 0

    @classmethod
    def on(cls, snapshot: Snapshot, device: str, seed: int = 0) -> Loaded:
        """``seed`` is that of dropout in mode paper."""
        return cls(snapshot, {way: Translator(snapshot, way, device=device, seed=seed) for way in snapshot.generators}, seed)

    @property
    def functions(self) -> dict[str, Translate]:
        """Functions of native pixels, by direction."""
        return {direction: translator.tensors for direction, translator in self.translators.items()}

    @property
    def applied(self) -> dict[str, Any]:
        """How the translators work, for the protocol; the seed is that of dropout, which mode eval does not draw."""
        seed = {"seed": self.seed} if self.snapshot.mode == "paper" else {}
        return {"mode": self.snapshot.mode, "precision": "fp32", **seed}

    @property
    def batch_size(self) -> int:
        """How many images to translate together: one where results depend on the other images of the batch."""
        every = self.translators.values()
        if any(translator.depends_on_batch for translator in every):
            return 1
        return min((BATCH_SIZES[translator.device.type] for translator in every), default=1)

    def subjects(self, split: Split, config: DataConfig, train: Split | None) -> list[Subject]:
        """What is to be scored on a split, one subject for each direction."""
        return subjects_of(self.functions, split, self.snapshot.a, self.snapshot.b, config, train)


def about_snapshot(path: Path, snapshot: Snapshot) -> dict[str, Any]:
    """The file, its hash, and how many images it was trained on."""
    return {"file": str(path), "sha256": sha256_of(path), "images": snapshot.about.get("images")}
