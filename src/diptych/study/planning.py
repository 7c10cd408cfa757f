"""How many participants a study needs, by the normal approximation to the mean over participants."""

from __future__ import annotations

import math
from statistics import NormalDist

from diptych.errors import ConfigError

POWER = 0.8  # the probability to find a difference that is there
SPREAD = 0.12  # a guess of how much people differ, for want of answers: the standard deviation of their true shares
MOST = 2.0**26  # whose square is still a whole number of participants exactly
QUANTILE = NormalDist().inv_cdf(0.975)


def deviation(share: float, trials: int, spread: float | None = None) -> float:
    """The standard deviation of what participants answer: that of people, and that of ``trials`` answers of each.

    ``spread`` is how much people differ, by default ``SPREAD`` or the most that this share allows. Raises ConfigError for a share
    outside 0 to 1, and for a spread that is negative or larger than people of this mean share can have.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"a share must be from 0 to 1, found {share}")
    if trials < 1:
        raise ConfigError(f"--trials must be at least 1, found {trials}")
    most = most_spread(share)
    if spread is None:
        spread = min(SPREAD, most)
    if not 0 <= spread <= most:
        raise ConfigError(
            f"--spread must be from 0 to {most:.4g}, the most for people whose mean share is {share}, found {spread}"
        )
    return math.sqrt(spread**2 + share * (1 - share) / trials)


def most_spread(share: float) -> float:
    """The largest standard deviation of shares from 0 to 1 with this mean: that of people who answer always or never so."""
    return math.sqrt(share * (1 - share))


def check_width(width: float) -> None:
    """Raise ConfigError for a width that no interval of shares has."""
    if not 0 < width < 1:
        raise ConfigError(f"--width must be between 0 and 1, found {width}")


def needed_for_width(width: float, deviation: float) -> int:
    """Participants for a 95 % interval of +- ``width``, given the standard deviation over participants; at least 2."""
    check_width(width)
    return _participants(QUANTILE * deviation, width, f"--width {width}")


def needed_for_difference(one: float, other: float, trials: int, spread: float | None = None, power: float = POWER) -> int:
    """Participants for each of two methods, so that their shares differ at the 5 % level with this probability; at least 2."""
    if one == other:
        raise ConfigError(f"two shares must differ to be told apart, found {one} for both; change --share or --other")
    if not 0 < power < 1:
        raise ConfigError(f"--power must be between 0 and 1, found {power}")
    both = QUANTILE + NormalDist().inv_cdf(power)
    variance = deviation(one, trials, spread) ** 2 + deviation(other, trials, spread) ** 2
    return _participants(abs(both) * math.sqrt(variance), abs(one - other), f"a difference of {abs(one - other)}")


def _participants(deviation: float, error: float, what: str) -> int:
    if deviation / error > MOST:
        raise ConfigError(f"{what}: needs more participants than can be counted; choose a larger one")
    return max(2, math.ceil((deviation / error) ** 2))
