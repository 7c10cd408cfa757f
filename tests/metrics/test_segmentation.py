"""FCN-score against a slow count of pixels, the published script, and identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from diptych.errors import DataError
from diptych.metrics.segmentation import SegmentationScores, class_accuracy, class_iou, confusion, fcn_estimates, scores

K = 5


@pytest.fixture
def maps():
    random = torch.Generator().manual_seed(0)
    true = torch.randint(0, K, (4, 12, 10), generator=random)
    wrong = torch.randint(0, K, true.shape, generator=random)
    return torch.where(torch.rand(true.shape, generator=random) < 0.6, true, wrong), true


def pixel_by_pixel(predicted, true):
    """The definitions of Long et al., over sets of pixels instead of a matrix."""
    pairs = [(int(t), int(p)) for p, t in zip(predicted.flatten(), true.flatten(), strict=True) if int(t) not in (-1, 255)]
    accuracies, ious = [], []
    for c in range(K):
        truly = {index for index, (t, _) in enumerate(pairs) if t == c}
        taken = {index for index, (_, p) in enumerate(pairs) if p == c}
        if truly:
            accuracies.append(len(truly & taken) / len(truly))
        if truly | taken:
            ious.append(len(truly & taken) / len(truly | taken))
    return sum(t == p for t, p in pairs) / len(pairs), sum(accuracies) / len(accuracies), sum(ious) / len(ious)


def published(counts):
    """The scores of scripts/eval_cityscapes, whose 1e-12 makes an absent class 0."""
    right, true, taken = np.diag(counts), counts.sum(1), counts.sum(0)
    accuracy, iou = right / (true + 1e-12), right / (true + taken - right + 1e-12)
    return right.sum() / (counts.sum() + 1e-12), np.nanmean(accuracy), np.nanmean(iou)


def pooled(predicted, true):
    return confusion(predicted, true, K).sum(0).numpy()


def as_tuple(found: SegmentationScores):
    return found.pixel, found.per_class, found.iou


def test_scores_are_those_of_counting_pixel_by_pixel(maps):
    assert as_tuple(scores(pooled(*maps))) == pytest.approx(pixel_by_pixel(*maps), rel=1e-12)


def test_scores_are_those_of_the_published_script_when_every_class_occurs(maps):
    counts = pooled(*maps)
    assert as_tuple(scores(counts)) == pytest.approx(published(counts[:, :K]), rel=1e-9)


def test_absent_classes_are_left_out_where_the_published_script_counts_them_as_zero():
    true = torch.tensor([[[0, 0, 1, 1]]])
    right, mistaken = true.clone(), torch.tensor([[[0, 0, 1, 2]]])
    assert as_tuple(scores(pooled(right, true))) == (1.0, 1.0, 1.0)
    assert published(pooled(right, true)[:, :K])[1:] == pytest.approx((2 / K, 2 / K))
    assert as_tuple(scores(pooled(mistaken, true))) == (0.75, 0.75, (1 + 0.5 + 0) / 3)  # class 2: predicted, not there
    assert class_accuracy(pooled(mistaken, true)).tolist() == pytest.approx([1, 0.5, *[math.nan] * 3], nan_ok=True)
    assert class_iou(pooled(mistaken, true)).tolist() == pytest.approx([1, 0.5, 0, *[math.nan] * 2], nan_ok=True)


def test_each_image_has_a_matrix_of_its_own_with_the_truth_in_rows(maps):
    predicted, true = maps
    counts = confusion(predicted, true, K)
    assert counts.shape == (4, K, K + 1)
    for image, matrix in enumerate(counts):
        for t in range(K):
            for p in range(K):
                assert matrix[t, p] == ((true[image] == t) & (predicted[image] == p)).sum()
    assert counts[..., K].sum() == 0


def test_a_map_equals_itself(maps):
    _, true = maps
    assert as_tuple(scores(pooled(true, true))) == (1.0, 1.0, 1.0)


def test_the_order_of_classes_and_of_pixels_does_not_matter(maps):
    predicted, true = maps
    order = torch.tensor([3, 0, 4, 1, 2])
    assert as_tuple(scores(pooled(order[predicted], order[true]))) == pytest.approx(as_tuple(scores(pooled(*maps))), rel=1e-12)
    assert pooled(predicted.flip(2), true.flip(2)).tolist() == pooled(*maps).tolist()


@pytest.mark.parametrize("void", [-1, 255])
def test_pixels_without_a_true_class_count_nowhere(maps, void):
    predicted, true = maps
    true = true.clone()
    true[:, :4] = void
    assert pooled(predicted, true).tolist() == pooled(predicted[:, 4:], true[:, 4:]).tolist()


@pytest.mark.parametrize("void", [-1, 255])
def test_to_abstain_is_to_be_wrong(maps, void):
    predicted, true = maps
    predicted = predicted.clone()
    predicted[:, :4] = void
    assert as_tuple(scores(pooled(predicted, true))) == pytest.approx(pixel_by_pixel(predicted, true), rel=1e-12)
    assert confusion(predicted, true, K)[..., K].sum() == 4 * 4 * 10


def test_255_is_a_class_where_there_are_256():
    full = torch.full((1, 2, 2), 255)
    assert confusion(full, full, 256)[0, 255, 255] == 4


@pytest.mark.parametrize(
    ("predicted", "true", "message"),
    [
        (5, 0, r"^the segmenter answers class 5, but there are 5 classes \(0 to 4\); palette and segmenter must number the same"),
        (0, 7, "^the label maps hold class 7, but there are 5 classes"),
        (-2, 0, "^the segmenter answers class -2, but"),
    ],
)
def test_a_class_that_does_not_exist_is_an_error(predicted, true, message):
    maps = torch.ones(2, 1, 2, 2, dtype=torch.int64)
    maps[:, 0, 0, 0] = torch.tensor([predicted, true])
    with pytest.raises(DataError, match=message):
        confusion(*maps, K)


def test_estimates_pool_the_set_and_hold_the_score_in_their_interval(maps):
    counts = confusion(*maps, K).numpy()
    found = fcn_estimates(counts)
    assert [found[name].value for name in ("pixel", "class", "iou")] == pytest.approx(list(as_tuple(scores(counts.sum(0)))))
    assert all(estimate.low <= estimate.value <= estimate.high and estimate.n == 4 for estimate in found.values())
    assert found["pixel"].low < found["pixel"].high
    assert fcn_estimates(counts) == found


def test_the_interval_of_per_pixel_accuracy_is_that_of_the_images_own_accuracies():
    right = np.random.default_rng(0).integers(0, 101, 60)
    counts = np.zeros((60, 2, 3), int)
    counts[:, 0, 0], counts[:, 0, 1] = right, 100 - right  # images of equal size: the pooled score is the mean
    found = fcn_estimates(counts)["pixel"]
    error = (right / 100).std() / math.sqrt(60)
    assert (found.low, found.high) == pytest.approx((found.value - 1.96 * error, found.value + 1.96 * error), abs=0.2 * error)


def test_images_without_a_labelled_pixel_are_not_counted(maps):
    counts = confusion(*maps, K).numpy()
    assert fcn_estimates(np.concatenate([counts, 0 * counts])) == fcn_estimates(counts)
    with pytest.raises(DataError, match=r"^no pixel of 4 label maps is of any class; check the palette"):
        fcn_estimates(0 * counts)
    assert np.isnan(as_tuple(scores(0 * counts[0]))).all()
