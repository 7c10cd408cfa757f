"""What stands above the columns of a preview, what is said of images that cannot be shown, and sides of different sizes."""

import logging

import pytest

from diptych.training.records import preview as module
from diptych.training.records.preview import Preview
from tests.training.test_preview import CONFIG, Adds, census_of, table_of


@pytest.mark.parametrize(
    ("paired", "titles"),
    [(True, ["a", "a to b", "b, truth", "b", "b to a", "a, truth"]), (False, ["a", "a to b", "b", "b to a"])],
)
def test_columns_are_named_by_their_sides(paired, titles, tmp_path, monkeypatch):
    census, seen = census_of(tmp_path, [10], [100], paired=paired), []
    monkeypatch.setattr(module, "contact_sheet", lambda columns: seen.extend(columns) or b"a sheet")
    preview = Preview(census.split, census, CONFIG)
    assert preview.draw({"a2b": Adds(0.0), "b2a": Adds(0.0)}, "eval") == b"a sheet"
    assert [title for title, _ in seen] == titles


def test_of_sides_of_different_sizes_each_shows_all_of_its_own(tmp_path):
    census = census_of(tmp_path, [10, 20, 30], [100, 200], paired=False)
    table = table_of(Preview(census.split, census, CONFIG).draw({"a2b": Adds(0.0), "b2a": Adds(0.0)}, "eval"))
    assert [(row[0], row[2]) for row in table] == [(10, 100), (20, 200), (30, 104)]  # the surround, where there is no image


def test_an_image_that_went_bad_is_a_warning_that_names_it(tmp_path, caplog):
    census = census_of(tmp_path, [10, 50], [100, 200])
    (tmp_path / "trainA" / "0.png").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        Preview(census.split, census, CONFIG)
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith(f"not in the previews: {tmp_path / 'trainA' / '0.png'}")
