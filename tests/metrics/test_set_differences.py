"""What scores only sets is compared by exchanging, drawing and leaving out both outputs of an image together."""

import numpy as np
import pytest
import torch

from diptych.metrics.distribution import kid
from diptych.metrics.segmentation import confusion, scores
from diptych.metrics.set_differences import FcnScore, KidScore, images_variance, kid_exchange_scores


def features(seed, n=12, m=12):
    random = np.random.default_rng(seed)
    real = random.normal(size=(m, 5))
    return random.normal(size=(n, 5)) + 0.3, random.normal(size=(n, 5)) * 1.2, real


@pytest.mark.parametrize("paired", [True, False])
def test_exchanging_outputs_changes_the_sign_of_their_scores(paired):
    x, y, real = features(0)
    found = kid_exchange_scores(x, y, real, paired)
    for signs in (np.ones(12), np.random.default_rng(1).choice((-1.0, 1.0), 12)):
        kept = (signs > 0)[:, None]
        one, other = np.where(kept, x, y), np.where(kept, y, x)
        direct = kid(one, real, paired=paired) - kid(other, real, paired=paired)
        assert (signs * found).mean() == pytest.approx(direct, abs=1e-9)


def test_the_variance_of_a_difference_of_kid_is_that_of_other_draws():
    random, found, values = np.random.default_rng(2), [], []
    for _ in range(150):
        scene = random.normal(size=(30, 5))
        x, y = scene + 0.5, scene + 0.2 * random.normal(size=(30, 5)) + 0.3
        pair = [KidScore(made, random.normal(size=(30, 5)), False) for made in (x, y)]
        pair[1] = KidScore(y, pair[0].real, False)
        values.append(pair[0].value() - pair[1].value())
        found.append(images_variance(pair[:1], pair[1:]).value)
    assert np.mean(found) == pytest.approx(np.var(values, ddof=1), rel=0.35)


def test_fcn_scores_are_exchanged_image_by_image():
    random = torch.Generator().manual_seed(0)
    true, x, y = (torch.randint(0, 3, (6, 4, 4), generator=random) for _ in range(3))
    one, other = (FcnScore(confusion(made, true, 3).numpy(), "iou") for made in (x, y))
    signs = np.array([[1.0] * 6, [-1.0, 1, 1, -1, 1, 1]])
    chosen = torch.tensor(signs[1] > 0)[:, None, None]
    swapped = [confusion(torch.where(chosen, *pair), true, 3).sum(0).numpy() for pair in ((x, y), (y, x))]
    expected = [one.value() - other.value(), scores(swapped[0]).iou - scores(swapped[1]).iou]
    assert one.exchanged(other, signs) == pytest.approx(expected)
    assert images_variance([one], [one]).value == 0 and images_variance([one], [other]).value > 0
