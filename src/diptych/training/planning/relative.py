"""How much longer one recipe trains than another, from the arithmetic of their networks: known at once, without measuring."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from diptych.errors import DiptychError
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.settings import sides


def relative_time(recipe: Recipe, other: Recipe, a: Domain, b: Domain) -> float | None:
    """About how many times the training time of ``recipe`` the other one takes on the same images and hardware.

    Both are of one method. Compared are the multiplications of one pass through every network, and the number of epochs. None
    where the networks cannot be counted, as those of a method of one's own may not.
    """
    try:
        costs = [_cost(each, a, b) for each in (recipe, other)]
    except (DiptychError, RuntimeError, NotImplementedError, TypeError):
        return None
    return costs[1] / costs[0] if costs[0] else None


def _cost(recipe: Recipe, a: Domain, b: Domain) -> float:
    crop = sides(recipe.data.crop_size)
    with torch.device("meta"):
        method = recipe.build(a, b)
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            for nets in method.phases().values():
                for net in nets:
                    channels = next(p for p in net.parameters() if p.ndim == 4).shape[1]
                    net(torch.empty(1, channels, *crop))
    return float(counter.get_total_flops() * (recipe.train.epochs + recipe.train.decay_epochs))
