"""What all pages share: one frame, and everything that they show embedded."""

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

import diptych
from diptych.pages.frame import capital, counted, data_uri, embedded, render, write_page

SERVED = {"participant.html.j2", "owner.html.j2"}  # with scripts, and a policy in the server's headers: tests/study
TEMPLATES = sorted(path for path in Path(diptych.__file__).parent.rglob("*.j2") if path.name not in SERVED)


def test_all_pages_extend_one_template_which_alone_has_logo_policy_and_style():
    assert len(TEMPLATES) == 6
    for path in TEMPLATES:
        text = path.read_text(encoding="utf-8")
        parts = ("Content-Security-Policy", "<svg viewBox", "include 'style.css'", "<!doctype html>")
        if path.name == "base.html.j2":
            assert all(text.count(part) == 1 for part in parts)
        else:
            assert text.startswith("{% extends 'base.html.j2' %}") and not any(part in text for part in parts), path.name


def test_a_page_of_another_room_is_rendered_in_the_common_frame(tmp_path):
    (tmp_path / "own.html.j2").write_text("{% extends 'base.html.j2' %}{% block main %}<p>{{ counted(n, 'cat') }}{% endblock %}")
    text = render("own.html.j2", {"title": "<cats>", "n": 1200}, tmp_path)
    assert "<h1>&lt;cats&gt;</h1>" in text and "<p>1,200 cats" in text and "prefers-color-scheme: dark" in text
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text


def test_an_image_is_embedded_as_it_is_with_its_size():
    file = io.BytesIO()
    Image.new("L", (3, 2)).save(file, "PNG")
    found = embedded(file.getvalue())
    kind, _, data = found["uri"].partition(";base64,")
    assert (kind, found["width"], found["height"]) == ("data:image/png", 3, 2) and base64.b64decode(data) == file.getvalue()
    with pytest.raises(OSError, match="cannot identify image file"):
        embedded(b"no")


def test_words_of_pages():
    assert data_uri("audio/wav", b"abc") == "data:audio/wav;base64,YWJj"
    assert (counted(1, "image"), counted(12_000, "image")) == ("1 image", "12,000 images")
    assert (capital("a PNG"), capital("")) == ("A PNG", "")


def test_names_that_are_no_text_do_not_keep_a_page_from_being_written(tmp_path):
    write_page(tmp_path / "page.html", "b\udcffd")
    assert (tmp_path / "page.html").read_bytes() == b"b?d"
