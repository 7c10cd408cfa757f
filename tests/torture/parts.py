"""The parts of `make torture`: what is promised, one attempt to break it, and how many attempts the plan asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from tests.torture import edits, export, folders, fuzz, loading, power, processes, properties, refusals

Attempt = Callable[[Random, Path], str | None]
"""Tries once in an empty folder; returns what was broken, or nothing."""


@dataclass(frozen=True)
class Part:
    promise: str
    attempt: Attempt
    trials: int


PARTS = {
    "R1": Part("a training killed at random instants ends bit-equal", processes.killed, 500),
    "R2": Part("after a power loss at any instant of a save the old or the new state loads", power.lost, 1000),
    "R3": Part("a damaged state is never loaded; the one before it is", edits.damaged, 320),
    "R4": Part("a disk that refuses leaves what was saved, no temporary file and one line", refusals.refused, 500),
    "R5": Part("asked to stop, a training saves, ends within 10 s and goes on bit-equal", processes.asked_to_stop, 50),
    "R6": Part("a killed or stopped rank costs one restart by torchrun; weights are bit-equal", processes.rank_lost, 100),
    "R7": Part("a loader that dies, stops or fails costs nothing but time", loading.attacked, 200),
    "R13": Part("of two writers of a run folder exactly one wins", folders.raced, 50),
    "R14": Part("the newest state is that of the highest step, whatever the clock says", folders.clock, 100),
    "R15": Part("a snapshot or state of an older format loads; a newer one is refused in a line", edits.versions, 100),
    "R16": Part("a recipe that differs from the run's is refused, naming the difference", edits.mismatched, 200),
    "R17": Part("where memory runs out a training ends in one line and keeps its states", refusals.out_of_memory, 20),
    "R18": Part("a killed translation of a folder leaves no partial file and goes on", folders.translated, 50),
    "R20": Part("an exported program computes what the network does, at any size", export.exported, 50),
    "E6": Part("an edited snapshot, state, recipe, census or statistics ends in one line", edits.edited, 2000),
    "P1": Part("whatever is written, a parser gives a value that keeps its promise, or one line", properties.held, 90),
} | {
    f"L6-{target}": Part(f"a hostile {target} ends in one line (100,000 by atheris)", partial(fuzz.fuzzed, target=target), 7)
    for target in fuzz.TARGETS
}
