"""The sheet of a test split, looked at pixel by pixel: inputs, outputs and truths stand under their titles."""

import io

import numpy as np
from PIL import Image

from diptych.data.datasets import DataConfig
from diptych.data.folders import Ref, Split
from diptych.data.formats import write_pixels
from diptych.evaluation.examples import sheet_of
from diptych.pixels import Domain

SIZE, CELL = 16, 20
CONFIG = DataConfig(resize="none", crop_size=SIZE)


def flat_images(folder, values, channels=3):
    folder.mkdir()
    for i, value in enumerate(values):
        write_pixels(folder / f"{i}.png", np.full((SIZE, SIZE, channels), value, np.uint8))
    return tuple(Ref(folder / f"{i}.png") for i in range(len(values)))


def split_of(root, count, paired=True):
    """Inputs of 0, 1, 2 ... and truths of 100, 101, 102 ..."""
    return Split(flat_images(root / "a", range(count)), flat_images(root / "b", [100 + i for i in range(count)]), paired)


def sheet(split, source=Domain(), target=Domain(), **layout):  # noqa: B008 - frozen
    """The gray value in the middle of each cell, row by row; 104 where there is no image. Outputs are inputs + 200."""
    png = sheet_of(lambda x: x[:, : target.channels] + 200, source, target, CONFIG, split, **layout)
    pixels = np.asarray(Image.open(io.BytesIO(png)))[18 + SIZE // 2 :: CELL, 4 + SIZE // 2 :: CELL]
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0].tolist()


def test_of_pairs_it_shows_input_output_and_truth(tmp_path):
    assert sheet(split_of(tmp_path, 2)) == [[0, 200, 100], [1, 201, 101]]


def test_without_pairs_it_shows_no_truth(tmp_path):
    assert sheet(split_of(tmp_path, 2, paired=False)) == [[0, 200], [1, 201]]


def test_more_images_than_rows_stand_in_a_second_block(tmp_path):
    assert sheet(split_of(tmp_path, 3), rows=2) == [[0, 200, 100, 2, 202, 102], [1, 201, 101, 104, 104, 104]]


def test_it_shows_12_images_evenly_chosen_in_two_blocks_of_6(tmp_path):
    table = sheet(split_of(tmp_path, 23))
    assert [row[0] for row in table] + [row[3] for row in table] == list(range(0, 23, 2))
    assert all(row == [row[0], row[0] + 200, row[0] + 100, row[3], row[3] + 200, row[3] + 100] for row in table)


def test_inputs_are_shown_by_the_range_of_their_domain_and_outputs_and_truths_by_that_of_theirs(tmp_path):
    source, target = Domain(3, "uint8", 0.0, 51.0), Domain(1, "uint8", 50.0, 250.0)
    split = Split(flat_images(tmp_path / "a", [0, 51]), flat_images(tmp_path / "b", [50, 250], 1), True)
    # Of an output of 200 on 50..250, 3/4 of the range is below it; 251 is above it.
    assert sheet(split, source, target) == [[0, 191, 0], [255, 255, 255]]
