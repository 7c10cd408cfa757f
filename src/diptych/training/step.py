"""One training step, in which training spends nearly all of its time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import starmap

import torch
from torch import Tensor, nn

from diptych.losses import NextFrames
from diptych.methods import Batch
from diptych.training.distributed import average_gradients
from diptych.training.masking import masking
from diptych.training.trainee import Trainee


def train_step(trainee: Trainee, batch: Batch) -> None:
    """Update the networks of every phase once, with a batch in ``trainee.parts`` equal parts. Nothing here waits for the device.

    The parts go through a phase one after another, and their gradients add up to those of the whole batch. So only one part's
    activations are held at a time, besides what a later phase still needs of the other parts. In steps in which only the
    discriminators learn (``train.discriminator.updates``), the generators' losses are computed and lead to no update.
    """
    pace = trainee.begin_step()
    batches = list(split(batch, trainee.parts, trainee.layout))
    parts = [trainee.method.losses(part) for part in batches]
    generators = list(trainee.method.generators().values())
    while True:
        totals: dict[str, Tensor] = {}
        for losses, part in zip(parts, batches, strict=True):
            autocast = torch.autocast(trainee.device.type, torch.bfloat16, enabled=trainee.bf16)
            following = trainee.method.extra.beside(part.next_a, part.next_b)
            with autocast, masking(generators, part.valid), following:
                phase, terms = next(losses, (None, {}))
            if phase is None:
                break
            learns = pace.generators_learn or phase in trainee.discriminator_phases
            if learns and not totals:
                trainee.optimizers[phase].zero_grad(set_to_none=True)
            terms = {name: term / len(parts) for name, term in terms.items()} if len(parts) > 1 else terms
            if learns:
                torch.stack(list(terms.values())).sum().backward()
            totals = {name: term.detach() + totals.get(name, 0.0) for name, term in terms.items()}
        if phase is None:
            break
        if learns:
            optimizer = trainee.optimizers[phase]
            average_gradients((p for group in optimizer.param_groups for p in group["params"]), trainee.world)
            bad = trainee.guard.check(phase, totals, optimizer)
            if not (trainee.asks_host and bool(bad)):
                optimizer.step()
        trainee.stats.add(phase, totals)
    if trainee.ema and pace.generators_learn:
        trainee.ema.update(nn.ModuleDict(trainee.method.generators()))
    trainee.stats.steps += 1


def split(batch: Batch, parts: int, layout: torch.memory_format) -> Iterator[Batch]:
    """Divide a batch into equal parts, in the memory layout that the networks compute in."""
    a, b = (side.contiguous(memory_format=layout).chunk(parts) for side in (batch.a, batch.b))
    known, valid = ([None] * parts if x is None else x.chunk(parts) for x in (batch.known, batch.valid))
    following = (_split_frames(frames, parts, layout) for frames in (batch.next_a, batch.next_b))
    return starmap(Batch, zip(a, b, known, valid, *following, strict=True))


def _split_frames(frames: NextFrames | None, parts: int, layout: torch.memory_format) -> Sequence[NextFrames | None]:
    if frames is None:
        return [None] * parts
    images = frames.images.contiguous(memory_format=layout)
    return list(starmap(NextFrames, zip(*(x.chunk(parts) for x in (images, *frames[1:])), strict=True)))
