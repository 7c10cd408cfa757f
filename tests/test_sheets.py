"""Contact sheets, looked at pixel by pixel."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from diptych.sheets import SURROUND, TITLE, contact_sheet, spread

GREY = [104, 104, 104]


def flat(value, height=5, width=6, channels=1):
    """An image of one value in [-1, 1]."""
    return torch.full((1, channels, height, width), value)


def pixels_of(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_images_stand_in_their_column_and_row_with_4_pixels_between_them_below_a_bar_of_18():
    left, right = [flat(-1.0), flat(0.0)], [flat(0.6), flat(0.8)]
    sheet = pixels_of(contact_sheet([("one", left), ("two", right)]))
    # 4 + 6 + 4 + 6 + 4 pixels wide; 18 + (5 + 4) + (5 + 4) high
    assert sheet.shape == (36, 24, 3)
    canvas = np.full((18, 24), 104)
    canvas[0:5, 4:10], canvas[9:14, 4:10] = 0, 128  # -1 and 0 in 8 bits
    canvas[0:5, 14:20], canvas[9:14, 14:20] = 204, 230  # 0.6 and 0.8: 1.6 * 127.5 and 1.8 * 127.5 = 229.5
    assert np.array_equal(sheet[18:], np.repeat(canvas[..., None], 3, axis=2))


def test_the_largest_image_sets_the_distance_and_the_longest_column_the_height():
    sheet = pixels_of(contact_sheet([("", [flat(-1.0)]), ("", [flat(-1.0, 8, 10), flat(-1.0, 3, 2), flat(-1.0)])]))
    assert sheet.shape == (18 + 3 * (8 + 4), 2 * (10 + 4) + 4, 3)
    assert (sheet[18:23, 4:10] == 0).all() and (sheet[18 + 12 :, :18] == 104).all()  # the first column ends after its one image
    for row, (height, width) in enumerate([(8, 10), (3, 2), (5, 6)]):
        cell = sheet[18 + 12 * row : 18 + 12 * (row + 1), 18:32]
        assert (cell == 0).all(axis=2).sum() == height * width and (cell[:height, :width] == 0).all()


def test_a_title_stands_in_the_bar_above_its_column():
    sheet = pixels_of(contact_sheet([(title, [flat(1.0, width=60)]) for title in ("", "output", "")]))
    rows, places = np.nonzero((sheet > 128)[:18].all(axis=2))
    assert rows.size and rows.min() >= 2 and rows.max() < 18
    assert 68 <= places.min() < 72 and places.max() < 128  # the second column begins at 64 + 4


def contrast(one, other):
    """The ratio of two colours' luminances by WCAG 2; 4.5 is enough for text."""
    linear = [[c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(rgb) / 255] for rgb in (one, other)]
    dark, light = sorted(np.dot(rgb, [0.2126, 0.7152, 0.0722]) for rgb in linear)
    return (light + 0.05) / (dark + 0.05)


def test_titles_and_borders_are_seen_on_light_and_dark_pages():
    assert contrast(GREY, [255, 255, 255]) > 4.5, "titles are white"
    sheet = pixels_of(contact_sheet([("title", [flat(1.0, width=60)])]))
    assert sheet[:18].max() > 230 and sheet[0, 0].tolist() == GREY
    for page in ([253, 253, 251], [21, 23, 26]):  # --paper of pages/style.css
        assert contrast(GREY, page) > 3.0


def test_colours_are_kept_and_half_precision_is_taken():
    red = torch.tensor([1.0, -1.0, 0.0], dtype=torch.bfloat16).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    sheet = pixels_of(contact_sheet([("", [red])]))
    assert sheet[18, 4].tolist() == sheet[19, 5].tolist() == [255, 0, 128] and sheet[20, 6].tolist() == GREY


@pytest.mark.parametrize(
    ("items", "wanted", "expected"),
    [
        (range(10), 4, [0, 3, 6, 9]),
        (range(10), 3, [0, 4, 9]),  # 4.5 rounds to the even number
        (range(9), 2, [0, 8]),
        ("abc", 5, ["a", "b", "c"]),
        ("abc", 1, ["a"]),
        ("", 3, []),
    ],
)
def test_spread_takes_the_first_the_last_and_evenly_between(items, wanted, expected):
    assert spread(items, wanted) == expected


def test_a_title_is_drawn_two_pixels_below_the_top_at_the_left_of_its_column():
    alone = Image.new("RGB", (80, 18), SURROUND)
    ImageDraw.Draw(alone).text((0, 0), "output", fill=TITLE)
    sheet = pixels_of(contact_sheet([("", [flat(1.0, width=60)]), ("output", [flat(1.0, width=60)])]))
    assert np.array_equal(sheet[2:18, 68:128], np.asarray(alone)[:16, :60]) and (sheet[:2] == GREY).all()
