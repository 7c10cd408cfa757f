"""How many participants a study needs, by the normal approximation to the mean over participants."""

from __future__ import annotations

import math
from statistics import NormalDist

from diptych.errors import ConfigError

SPREAD = 0.12  # a guess of how much people differ, for want of answers: the standard deviation of their true shares
QUANTILE = NormalDist().inv_cdf(0.975)


def deviation(share: float, trials: int, spread: float = SPREAD) -> float:
    """The standard deviation of what participants answer: that of people, and that of ``trials`` answers of each.

    Raises ConfigError for a share outside 0 to 1 or a negative spread.
    """
    if not 0 <= share <= 1 or not spread >= 0 or trials < 1:
        raise ConfigError(f"a share must be from 0 to 1, found {share}; the spread at least 0, found {spread}; trials 1 or more")
    return math.sqrt(spread**2 + share * (1 - share) / trials)


def needed_for_width(width: float, deviation: float) -> int:
    """Participants for a 95 % interval of +- ``width``, given the standard deviation over participants; at least 2."""
    if not 0 < width < 1:
        raise ConfigError(f"--width must be between 0 and 1, found {width}")
    return max(2, math.ceil((QUANTILE * deviation / width) ** 2))


def needed_for_difference(one: float, other: float, trials: int, spread: float = SPREAD, power: float = 0.8) -> int:
    """Participants for each of two methods, so that their shares differ at the 5 % level with this probability; at least 2."""
    if one == other or not 0 < power < 1:
        raise ConfigError(f"two shares must differ, found {one} and {other}; power must be between 0 and 1, found {power}")
    both = QUANTILE + NormalDist().inv_cdf(power)
    variance = deviation(one, trials, spread) ** 2 + deviation(other, trials, spread) ** 2
    return max(2, math.ceil(both**2 * variance / (one - other) ** 2))
