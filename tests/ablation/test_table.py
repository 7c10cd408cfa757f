"""Tables say what was measured: means over seeds, Student's interval, the published order found or not."""

import math

import numpy as np
import pytest
from scipy import stats

from diptych.ablation.table import FCN, STUDENT, cell, estimates, markdown, order_of
from diptych.ablation.variants import PIX2PIX, TABLES

LOSSES = TABLES["pix2pix"][0]
TITLES = {"fcn_pixel": ("Per pixel", "higher"), "lpips_alex": ("LPIPS", "lower")}


def evaluation(value, metric="fcn_pixel", of="model", direction="a2b"):
    estimate = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 58}
    return {"results": [{"metric": metric, "direction": direction, "of": of, "estimate": estimate}]}


def test_a_cell_is_the_mean_over_seeds_with_students_interval():
    values = [0.5, 0.6, 0.9]
    found = cell([evaluation(value) for value in values], "fcn_pixel", "a2b")
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert found is not None and found.seeds == tuple(values)
    assert (found.value, found.low, found.high) == pytest.approx((np.mean(values), low, high), abs=1e-4)


def test_a_small_number_keeps_its_digits():
    found = cell([evaluation(value, "kid") for value in (0.0002, 0.0003, 0.0004)], "kid", "a2b")
    assert str(found) == "0.00030 [0.00005, 0.00055]"  # Student: 4.303 * .0001 / sqrt(3)


def test_one_seed_keeps_the_interval_over_images():
    found = cell([evaluation(0.5)], "fcn_pixel", "a2b")
    assert found is not None and (found.low, found.high) == (0.4, 0.6)
    assert cell([evaluation(0.5)], "psnr", "a2b") is None and cell([evaluation(0.5)], "fcn_pixel", "b2a") is None


def test_the_quantiles_are_students():
    assert pytest.approx([stats.t.ppf(0.975, df) for df in range(1, 11)], abs=1e-3) == STUDENT


def test_the_order_is_compared_pair_by_pair_with_the_published_one():
    published = {name: numbers[0] for name, numbers in LOSSES.published.items()}
    same = {name: [evaluation(value)] for name, value in published.items()}
    order = order_of(LOSSES, PIX2PIX, same, "fcn_pixel", "a2b", "higher")
    assert order is not None and (order.agreeing, order.pairs, order.disagreeing) == (10, 10, ())
    swapped = same | {"l1": [evaluation(0.65)]}  # published .42, now between L1 + GAN .64 and L1 + cGAN .66
    order = order_of(LOSSES, PIX2PIX, swapped, "fcn_pixel", "a2b", "higher")
    assert order is not None and order.agreeing == 8 and set(order.disagreeing) == {"cGAN above L1", "L1 + GAN above L1"}


def test_a_metric_of_which_less_is_better_is_ordered_the_other_way():
    scores = {name: [evaluation(1 - iou, "lpips_alex")] for name, (_, _, iou) in LOSSES.published.items()}
    order = order_of(LOSSES, PIX2PIX, scores, "lpips_alex", "a2b", "lower")
    assert order is not None and order.agreeing == order.pairs == 10


def test_equal_numbers_are_no_order():
    scores = {name: [evaluation(0.5)] for name in LOSSES.rows}
    order = order_of(LOSSES, PIX2PIX, scores, "fcn_pixel", "a2b", "higher")
    assert order is not None and order.agreeing == 0
    assert order_of(LOSSES, PIX2PIX, {"l1": [evaluation(0.5)]}, "fcn_pixel", "a2b", "higher") is None


def test_the_page_has_the_papers_rows_its_numbers_and_the_ground_truth():
    scores = {name: [evaluation(value)] for name, (value, _, _) in LOSSES.published.items()}
    scores["l1"][0]["results"] += evaluation(0.8, of="truth")["results"]
    lines = markdown(TABLES["pix2pix"], PIX2PIX, scores, TITLES, ["a2b"]).splitlines()
    assert lines[0] == "### Losses, a to b (as Isola et al. 2017, table 1)"
    assert "| L1 | 0.420 [0.320, 0.520] | .42 / .15 / .11 |" in lines
    assert "| Ground truth | 0.800 [0.700, 0.900] |  |" in lines
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
