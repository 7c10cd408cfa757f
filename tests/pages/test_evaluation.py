"""The page of an evaluation holds what was found, nothing from outside, and survives any name."""

import re
from html.parser import HTMLParser

import pytest

from diptych.data.folders import Ref, Split
from diptych.evaluation.evaluate import score_translators
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.results import METRICS
from diptych.evaluation.tables import MEANING, number, reasons, tables
from diptych.pages.evaluation import write_evaluation
from tests.evaluation.images import CONFIG, RGB, Features, negative, pairs, sets

HOSTILE = "<script>alert(1)</script>&\"'"


@pytest.fixture
def evaluation(tmp_path):
    tools = Instruments(features=Features(), resamples=40, allow_small=True)
    about = {"title": f"x {HOSTILE}", "sentence": "4 pairs.", "data": "here", "skipped": [HOSTILE], "device": "cpu"}
    return score_translators(
        {"a2b": lambda x: x // 2, "b2a": negative}, pairs(tmp_path), RGB, RGB, CONFIG, tools=tools, about=about
    )


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page_of(evaluation, tmp_path):
    return Page(write_evaluation(evaluation, tmp_path, "e").read_text())


def test_every_number_of_the_tables_stands_on_the_page(evaluation, tmp_path):
    text = page_of(evaluation, tmp_path).text
    for table in tables(evaluation.to_json()):
        for row in table.rows:
            assert row.title in text and row.protocol in text
            for cell in row.cells.values():
                assert cell.value in text and cell.interval in text and cell.note in text
    assert "biased, N=4" in text and "a to b" in text and "b to a" in text


def test_the_page_fetches_and_runs_nothing(evaluation, tmp_path):
    page = page_of(evaluation, tmp_path)
    assert not page.open
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "video")]
    addresses = [(tag, value) for tag, attrs in page.tags for name, value in attrs.items() if name in ("src", "href")]
    assert [value for tag, value in addresses if tag == "a"] == ["e.json"] and (tmp_path / "e.json").is_file()
    assert all(value.startswith("data:") for tag, value in addresses if tag != "a")
    (policy,) = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert "prefers-color-scheme: dark" in (tmp_path / "e.html").read_text()


def test_every_number_says_its_column_where_the_row_of_titles_is_hidden(evaluation, tmp_path):
    page = page_of(evaluation, tmp_path)
    columns = [*tables(evaluation.to_json())[0].columns.values(), "Better", "N", "Protocol"]
    named = [attrs["data-of"] for tag, attrs in page.tags if tag == "td" and "data-of" in attrs]
    assert named == columns * (len(named) // len(columns)) and len(named) >= len(columns)


def test_hostile_names_are_only_text(tmp_path, evaluation):
    page = page_of(evaluation, tmp_path)
    assert HOSTILE in page.text and "alert(1)" not in str([attrs for tag, attrs in page.tags if tag != "img"])


def test_images_have_size_and_words(evaluation, tmp_path):
    images = [attrs for tag, attrs in page_of(evaluation, tmp_path).tags if tag == "img"]
    assert len(images) == 3 * len(evaluation.examples)
    assert all(attrs["alt"] and (attrs["width"], attrs["height"]) == ("16", "16") for attrs in images)


def test_the_same_evaluation_gives_the_same_page(evaluation, tmp_path):
    texts = []
    for folder in ("one", "two"):
        texts.append(write_evaluation(evaluation, tmp_path / folder).read_bytes())
    assert texts[0] == texts[1]


def test_an_evaluation_without_scores_by_image_shows_evenly_chosen_ones(tmp_path):
    found = score_translators({"a2b": negative}, sets(tmp_path, 12), RGB, RGB, CONFIG, tools=Instruments(features=Features()))
    assert [e.index for e in found.examples] == [0, 1, 3, 4, 6, 7, 8, 10, 11]
    assert "Evenly chosen images" in page_of(found, tmp_path).text


def test_an_evaluation_of_nothing_is_still_a_page(tmp_path):
    split = sets(tmp_path, 1)
    found = score_translators({"a2b": negative}, split, RGB, RGB, CONFIG)
    assert not found.results
    assert "Not computed" in page_of(found, tmp_path).text


def test_names_of_any_bytes_are_shown(tmp_path):
    split = pairs(tmp_path, 2)
    odd = split.a[0].path.rename(tmp_path / "a" / "\udcff😀.png")
    found = score_translators({"a2b": negative}, Split((Ref(odd), split.a[1]), split.b, True), RGB, RGB, CONFIG, metrics=["l1"])
    assert "😀" in page_of(found, tmp_path).text


def test_numbers_have_the_digits_they_deserve():
    assert number("psnr", 13.1132) == "13.11" and number("psnr", float("inf")) == "inf"
    assert number("kid", 0.00031) == "0.00031" and number("kid", 0.0) == "0.0000"
    assert number("kid", 0.012345) == "0.0123" and number("fid", 62.1149) == "62.1" and number("ssim", 0.2406) == "0.241"


def test_reasons_stand_once():
    assert reasons({"psnr": "x", "ssim": "x", "fid a2b": "y"}) == [("psnr, ssim", "x"), ("fid a to b", "y")]


def test_every_metric_has_words():
    assert MEANING.keys() == METRICS.keys()
    assert not [text for text in MEANING.values() if re.search(r"[A-Z].*\.$", text)]
