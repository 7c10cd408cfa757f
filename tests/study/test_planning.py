"""How many participants are needed, by hand and by simulation."""

import numpy as np
import pytest

from diptych.errors import ConfigError
from diptych.study.planning import deviation, needed_for_difference, needed_for_width


def test_the_deviation_adds_people_and_answers():
    assert deviation(0.2, 40, 0.0) == pytest.approx(0.0632456)  # sqrt(.16 / 40)
    assert deviation(0.5, 100, 0.12) == pytest.approx(0.13)  # sqrt(.0144 + .0025)


def test_by_default_people_differ_no_more_than_their_share_allows():
    assert deviation(0.01, 40) == pytest.approx(0.1007348)  # sqrt(.0099 + .0099 / 40), as .12 is more than sqrt(.0099)


def test_a_width_needs_as_many_as_the_formula_says():
    assert needed_for_width(0.025, 0.1) == 62  # (1.96 * 4)^2 = 61.5
    assert needed_for_width(0.5, 0.0) == 2


def test_a_planned_difference_is_found_as_often_as_promised():
    n = needed_for_difference(0.25, 0.35, 40, spread=0.1, power=0.8)
    rng, found = np.random.default_rng(0), 0
    for _ in range(2000):
        groups = [rng.binomial(40, np.clip(rng.normal(share, 0.1, n), 0, 1)) / 40 for share in (0.25, 0.35)]
        error = np.sqrt(sum(g.var(ddof=1) / n for g in groups))
        found += abs(groups[0].mean() - groups[1].mean()) > 1.96 * error
    assert 0.76 < found / 2000 < 0.86


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deviation(1.2, 40), "a share must be from 0 to 1, found 1.2"),
        (lambda: deviation(0.2, 40, -1), "--spread must be from 0 to 0.4, the most for people whose mean share is 0.2, found -1"),
        (lambda: needed_for_width(0, 0.1), "--width must be between 0 and 1, found 0"),
        (lambda: needed_for_difference(0.2, 0.2, 40), "two shares must differ to be told apart, found 0.2 for both"),
        (lambda: needed_for_difference(0.2, 0.3, 40, power=1), "^--power must be between 0 and 1, found 1"),
        (lambda: deviation(0.3, 40, 5), "--spread must be from 0 to 0.4583, .* found 5"),
        (lambda: needed_for_width(1e-200, 0.1), "needs more participants than can be counted"),
        (lambda: needed_for_difference(1e-200, 0, 40), "a difference of 1e-200: needs more participants"),
    ],
)
def test_wrong_numbers_are_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
