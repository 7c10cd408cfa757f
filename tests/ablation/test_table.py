"""Tables say what was measured: means with intervals over seeds and images, and which published orders were found."""

import math

import numpy as np
import pytest
from scipy import stats

from diptych.ablation.table import FCN, estimates, markdown, order_of
from diptych.ablation.variants import PIX2PIX, TABLES
from diptych.metrics.estimate import mean_estimate
from diptych.scoring.cells import cell, difference

LOSSES = TABLES["pix2pix"][0]
TITLES = {"fcn_pixel": ("Per pixel", "higher"), "lpips_alex": ("LPIPS", "lower")}


def evaluation(value, metric="fcn_pixel", of="model", direction="a2b", half=0.001, n=58, images=None):
    """An evaluation with one score, whose interval over n images has this half width, or with the scores of every image."""
    if images is not None:
        found = mean_estimate(images)
        value, half, n = found.value, (found.high - found.low) / 2, found.n
    estimate = {"value": value, "low": value - half, "high": value + half, "n": n}
    result = {"metric": metric, "direction": direction, "of": of, "estimate": estimate}
    return {"results": [result], "images": {direction: [{metric: x} for x in images] if images is not None else []}}


def test_where_images_hardly_differ_a_cell_has_students_interval_over_seeds():
    values = [0.5, 0.6, 0.9]
    found = cell([evaluation(value, half=0) for value in values], "fcn_pixel", "a2b")
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert found is not None and found.seeds == tuple(values)
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), low, high), abs=1e-4)


def test_where_seeds_agree_a_cell_has_the_interval_over_images():
    found = cell([evaluation(0.5, half=0.1)] * 3, "fcn_pixel", "a2b")
    assert found is not None and (found.low, found.high) == pytest.approx((0.4, 0.6))


def simulated(random, seeds=3, images=10, shift=0.0, of_images=None, by_seed=0.3):
    """Scores of trials that vary by seed, by image, and by both."""
    of_images = random.normal(size=images) if of_images is None else of_images
    scores = shift + by_seed * random.normal(size=(seeds, 1)) + of_images + 0.3 * random.normal(size=(seeds, images))
    return cell([evaluation(0, "psnr", images=row) for row in scores], "psnr", "a2b")


def test_intervals_over_seeds_and_images_hold_the_truth_and_those_over_seeds_alone_do_not():
    random = np.random.default_rng(0)
    for by_seed in (0.1, 0.3, 1.0):
        cells = [simulated(random, by_seed=by_seed) for _ in range(500)]
        assert np.mean([found.low <= 0 <= found.high for found in cells]) == pytest.approx(0.955, abs=0.03)
    cells = [simulated(random, by_seed=0.1) for _ in range(500)]
    alone = [stats.t.interval(0.95, 2, found.value, stats.sem(found.seeds)) for found in cells]
    assert np.mean([low <= 0 <= high for low, high in alone]) < 0.8


def test_differences_of_variants_on_the_same_images_err_in_five_percent():
    random, wrong, seen = np.random.default_rng(0), [], []
    for _ in range(600):
        images = 3 * random.normal(size=10)  # far more than what sets the variants apart
        x, same, better = (simulated(random, shift=shift, of_images=images) for shift in (0.0, 0.0, 1.2))
        (apart, half), (gain, width) = difference(x, same), difference(better, x)
        wrong.append(abs(apart) > half)
        seen.append(gain > width)
    assert np.mean(wrong) < 0.07 and np.mean(seen) > 0.6


def test_a_small_number_keeps_its_digits():
    found = cell([evaluation(value, "kid", half=0) for value in (0.0002, 0.0003, 0.0004)], "kid", "a2b")
    assert str(found) == "0.00030 [0.00005, 0.00055]"  # Student: 4.303 * .0001 / sqrt(3)


def test_one_seed_keeps_the_interval_over_images():
    found = cell([evaluation(0.5, half=0.1)], "fcn_pixel", "a2b")
    assert found is not None and (found.low, found.high) == pytest.approx((0.4, 0.6))
    assert cell([evaluation(0.5)], "psnr", "a2b") is None and cell([evaluation(0.5)], "fcn_pixel", "b2a") is None


def test_the_order_is_compared_pair_by_pair_with_the_published_one():
    published = {name: numbers[0] for name, numbers in LOSSES.published.items()}
    same = {name: [evaluation(value)] for name, value in published.items()}
    order = order_of(LOSSES, PIX2PIX, same, "fcn_pixel", "a2b", "a")
    assert order is not None and (order.agreeing, order.pairs, order.disagreeing) == (10, 10, ())
    swapped = same | {"l1": [evaluation(0.65)]}  # published .42, now between L1 + GAN .64 and L1 + cGAN .66
    order = order_of(LOSSES, PIX2PIX, swapped, "fcn_pixel", "a2b", "a")
    assert order is not None and order.agreeing == 8 and set(order.disagreeing) == {"cGAN above L1", "L1 + GAN above L1"}


def test_a_pair_whose_difference_may_be_nothing_is_undecided():
    scores = {name: [evaluation(numbers[0], half=0.02)] for name, numbers in LOSSES.published.items()}
    order = order_of(LOSSES, PIX2PIX, scores, "fcn_pixel", "a2b", "a")  # .64 and .66 differ by less than .028
    assert order is not None and (order.agreeing, order.disagreeing) == (9, ()) and order.undecided == ("L1 + cGAN and L1 + GAN",)
    assert str(order).endswith("published order by fcn_pixel; undecided: L1 + cGAN and L1 + GAN")
    ties = order_of(LOSSES, PIX2PIX, {name: [evaluation(0.5)] for name in LOSSES.rows}, "fcn_pixel", "a2b", "a")
    assert ties is not None and (ties.agreeing, len(ties.undecided)) == (0, 10)


def test_published_numbers_are_those_of_the_same_task_and_metric():
    table = TABLES["cyclegan"][0]
    assert table.published_for("a", "a2b")["gan-forward-cycle"] == (0.55, 0.18, 0.12)  # labels -> photo
    assert table.published_for("a", "b2a")["gan-forward-cycle"] == (0.49, 0.11, 0.07)  # photo -> labels
    assert table.published_for("b", "b2a")["gan-backward-cycle"] == (0.55, 0.18, 0.12)  # forward, in the paper, begins at labels
    assert table.published_for("b", "a2b")["full"] == (0.58, 0.22, 0.16)
    assert table.published_for(None, "a2b") == {}
    scores = {name: [evaluation(1 - iou, "psnr")] for name, (_, _, iou) in LOSSES.published.items()}
    assert order_of(LOSSES, PIX2PIX, scores, "psnr", "a2b", "a") is None
    text = markdown(TABLES["pix2pix"], PIX2PIX, scores, {"psnr": ("PSNR", "higher")}, ["a2b"], "a")
    assert "published" not in text and ".66" not in text


def test_fewer_than_two_published_variants_have_no_order():
    assert order_of(LOSSES, PIX2PIX, {"l1": [evaluation(0.5)]}, "fcn_pixel", "a2b", "a") is None


def test_the_page_has_the_papers_rows_its_numbers_and_the_ground_truth():
    scores = {name: [evaluation(value)] for name, (value, _, _) in LOSSES.published.items()}
    scores["l1"][0]["results"] += evaluation(0.8, of="truth")["results"]
    lines = markdown(TABLES["pix2pix"], PIX2PIX, scores, TITLES, ["a2b"], "a").splitlines()
    assert lines[0] == "### Losses, a to b (as Isola et al. 2017, table 1)"
    assert "| L1 | 0.4200 [0.4190, 0.4210] | .42 / .15 / .11 |" in lines
    assert "| Ground truth | 0.8000 [0.7990, 0.8010] |  |" in lines
    assert "- 10 of 10 pairs of variants stand in the published order by fcn_pixel." in lines
    assert not any("Patch" in line for line in lines)  # of that table only L1 + cGAN was scored


def test_estimates_are_for_other_programs():
    found = estimates({"l1": [evaluation(0.4), evaluation(0.6)]}, "a2b")["l1"]["fcn_pixel"]
    assert (round(found.value, 6), found.n) == (0.5, 2) and math.isfinite(found.low)


def test_every_row_of_every_table_is_a_variant_and_published_numbers_are_the_papers():
    for method, tables in TABLES.items():
        for table in tables:
            assert table.published.keys() <= set(table.rows)
            assert all(len(numbers) == len(FCN) for numbers in table.published.values()), method
    assert LOSSES.published["l1-cgan"] == (0.66, 0.23, 0.17) and TABLES["cyclegan"][0].published["full"] == (0.52, 0.17, 0.11)


@pytest.mark.parametrize(
    ("scored", "titles"),
    [
        (("l1", "gan", "l1-cgan"), ["Losses"]),  # L1 and L1 + cGAN stand in the tables of generators and patches too
        (("l1-cgan", "patch-16"), ["Losses", "Patch sizes of the discriminator"]),
        (("encoder-decoder-l1",), ["Generators"]),
    ],
)
def test_a_table_that_has_no_variant_of_its_own_is_left_out(scored, titles):
    text = markdown(TABLES["pix2pix"], PIX2PIX, {name: [evaluation(0.5)] for name in scored}, TITLES, ["a2b"], "a")
    assert [line[4:].partition(",")[0] for line in text.splitlines() if line.startswith("### ")] == titles
