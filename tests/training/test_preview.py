"""Previews, looked at pixel by pixel: which images stand where, and how the networks are applied."""

import io
import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from diptych.data.census import take_census
from diptych.data.datasets import DataConfig
from diptych.data.folders import find_data
from diptych.data.formats import write_pixels
from diptych.sheets import SURROUND
from diptych.training.records.preview import Preview

SIZE = 16
CONFIG = DataConfig(resize="none", crop_size=SIZE)
CELL = SIZE + 4


class Adds(nn.Module):
    """Adds a number to images in [-1, 1]."""

    def __init__(self, number):
        super().__init__()
        self.number = nn.Parameter(torch.tensor(number))

    def forward(self, x):
        return x + self.number


def flat_images(folder, values):
    folder.mkdir(parents=True)
    for i, value in enumerate(values):
        write_pixels(folder / f"{i}.png", np.full((SIZE, SIZE, 3), value, np.uint8))


def census_of(root, a, b, paired=True):
    flat_images(root / "trainA", a)
    flat_images(root / "trainB", b)
    return take_census(find_data([root], paired=paired).train)


def table_of(png):
    """The gray value in the middle of each cell, row by row; 104 where there is no image."""
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    rows, columns = (pixels.shape[0] - 18) // CELL, (pixels.shape[1] - 4) // CELL
    middles = [[pixels[18 + CELL * r + SIZE // 2, 4 + CELL * c + SIZE // 2] for c in range(columns)] for r in range(rows)]
    assert all(len(set(middle.tolist())) == 1 for row in middles for middle in row)
    return [[int(middle[0]) for middle in row] for row in middles]


def test_of_pairs_it_shows_input_output_and_truth_of_each_direction(tmp_path):
    census = census_of(tmp_path, [10, 50], [100, 200])
    preview = Preview(census.split, census, CONFIG)
    # 0.4 in [-1, 1] is 51 of 255
    assert table_of(preview.draw({"a2b": Adds(0.4)}, "eval")) == [[10, 61, 100], [50, 101, 200]]
    both = preview.draw({"a2b": Adds(0.4), "b2a": Adds(-0.2)}, "eval")
    assert [row[:4] + row[5:] for row in table_of(both)] == [[10, 61, 100, 100, 10], [50, 101, 200, 200, 50]]
    assert [row[4] for row in table_of(both)] == pytest.approx([100 - 25.5, 200 - 25.5], abs=0.51)


def test_without_pairs_it_shows_no_truth(tmp_path):
    census = census_of(tmp_path, [10, 50], [100, 200], paired=False)
    preview = Preview(census.split, census, CONFIG)
    table = table_of(preview.draw({"a2b": Adds(0.4), "b2a": Adds(-0.4)}, "eval"))
    assert table == [[10, 61, 100, 49], [50, 101, 200, 149]]


def test_each_side_of_unpaired_images_is_chosen_evenly_on_its_own(tmp_path):
    census = census_of(tmp_path, [10, 50], [10 * i for i in range(10)], paired=False)
    png = Preview(census.split, census, CONFIG).draw({"a2b": Adds(0.0), "b2a": Adds(0.0)}, "eval")
    assert [[row[0], row[2]] for row in table_of(png)] == [[10, 0], [50, 30], [SURROUND[0], 60], [SURROUND[0], 90]]


def test_it_shows_4_images_evenly_chosen_unless_asked_for_more_or_less(tmp_path):
    census = census_of(tmp_path, [10 * i for i in range(10)], [10 * i for i in range(10)])
    table = table_of(Preview(census.split, census, CONFIG).draw({"a2b": Adds(0.0)}, "eval"))
    assert [row[0] for row in table] == [0, 30, 60, 90]
    assert [row[0] for row in table_of(Preview(census.split, census, CONFIG, 2).draw({"a2b": Adds(0.0)}, "eval"))] == [0, 90]


@pytest.mark.parametrize(("mode", "expected"), [("eval", 128), ("paper", 255)])
def test_mode_paper_uses_the_statistics_of_the_image_and_mode_eval_the_kept_ones(mode, expected, tmp_path):
    net = nn.Sequential(nn.BatchNorm2d(3))
    net[0].bias.data.fill_(1.0)  # an image of one value is 0 after its own statistics, and so 1 here: white
    net[0].running_mean.fill_(2 * 51 / 255 - 1 + 1.0)  # with the kept ones, 51 becomes -1, and so 0 here: gray
    census = census_of(tmp_path, [51], [100])
    assert table_of(Preview(census.split, census, CONFIG).draw({"a2b": net}, mode)) == [[51, expected, 100]]
    assert net.training and net[0].num_batches_tracked == 0


def test_an_image_that_went_bad_is_left_out_with_its_partner_and_named(tmp_path, caplog):
    census = census_of(tmp_path, [10, 50, 90], [100, 200, 210])
    (tmp_path / "trainB" / "1.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        preview = Preview(census.split, census, CONFIG)
    assert table_of(preview.draw({"a2b": Adds(0.0)}, "eval")) == [[10, 10, 100], [90, 90, 210]]
    (record,) = caplog.records
    assert "previews" in record.getMessage() and str(tmp_path / "trainB" / "1.png") in record.getMessage()
