"""Rows of every image come back as they went in, and do not keep the memory of images between them from being used again."""

import numpy as np
import pytest

from diptych.evaluation import kept as module
from diptych.evaluation.kept import KeptRows


@pytest.mark.parametrize("sizes", [[1], [4], [3, 5, 1], [1] * 9, [8]])
def test_rows_come_back_in_order_whatever_the_batches(monkeypatch, sizes):
    monkeypatch.setattr(module, "ROWS", 4)
    rows = np.random.default_rng(0).normal(size=(sum(sizes), 2, 3)).astype(np.float32)
    kept = KeptRows()
    assert len(kept) == 0
    for batch in np.split(rows, np.cumsum(sizes)[:-1]):
        kept.add(batch)
    joined = kept.joined()
    assert len(kept) == len(rows) and joined.dtype == np.float32 and np.array_equal(joined, rows)


def test_a_batch_that_is_written_over_later_is_kept_as_it_was():
    batch, kept = np.arange(6).reshape(2, 3), KeptRows()
    kept.add(batch)
    batch[:] = 0
    assert kept.joined().tolist() == [[0, 1, 2], [3, 4, 5]]
