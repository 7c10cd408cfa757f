"""The page of a checked data set shows the offenders, escapes every name, and needs neither network nor script."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from diptych.data.checkup import check
from diptych.errors import StorageError
from diptych.pages.checkup import MAX_LISTED, MAX_PICTURED, page, write_checkup
from tests.data.scenes import pairs, save, scene, sets


class Tags(HTMLParser):
    """The tags of a page, and that those which open also close."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(text: str) -> Tags:
    parsed = Tags()
    parsed.feed(text)
    assert parsed.open == []
    return parsed


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """Pairs with a copy in test, a damaged file, a turned pair and a nasty name."""
    pairs(tmp_path / "data", 30)
    pairs(tmp_path / "data", 2, "test", 900)
    for side in "AB":
        shutil.copy(tmp_path / "data" / f"train{side}" / "004.png", tmp_path / "data" / f"test{side}" / '<b>x&".png')
    (tmp_path / "data" / "trainA" / "007.png").write_bytes(b"")
    path = tmp_path / "data" / "trainB" / "009.png"
    save(path, np.rot90(scene(9)[1]))
    return tmp_path / "data"


def test_a_finding_shows_its_images_side_by_side(faulty: Path) -> None:
    text = page(check([faulty]))
    images = [attributes for tag, attributes in tags(text).seen if tag == "img"]
    assert len(images) == 4 + 2 and all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in images)
    assert "no picture" in text and "1 group of equal images in two splits".capitalize() in text
    assert "turn B by 90 degrees to the right" in text and "is empty (0 bytes)" in text and "Usable, with findings" in text


def test_names_are_escaped_and_the_page_runs_and_fetches_nothing(faulty: Path) -> None:
    text = page(check([faulty]))
    assert "<b>x" not in text and "&lt;b&gt;x&amp;&#34;.png" in text
    found = tags(text).seen
    assert not {"script", "iframe", "object", "form"} & {tag for tag, _ in found}
    assert not re.search(r"""(src|href)=["'](?!data:)""", text) and "http" not in text.replace("http-equiv", "")
    assert any("default-src 'none'" in str(attributes.get("content")) for tag, attributes in found if tag == "meta")


def test_the_page_and_its_data_are_written_together(faulty: Path, tmp_path: Path) -> None:
    found = check([faulty])
    assert write_checkup(tmp_path / "new" / "out", found) == tmp_path / "new" / "out" / "check.html"
    assert json.loads((tmp_path / "new" / "out" / "check.json").read_text()) == found.to_dict()
    assert sorted(path.name for path in faulty.iterdir()) == ["testA", "testB", "trainA", "trainB"]


def test_a_page_of_clean_data_says_so(tmp_path: Path) -> None:
    text = page(check([sets(tmp_path)]))
    assert "Nothing found" in text and '<h2 id="findings">' not in text and "3 x uint8 (RGB)" in text
    tags(text)


def test_only_the_first_cases_are_pictured_and_the_rest_is_named(tmp_path: Path) -> None:
    sets(tmp_path, 2)
    for i in range(MAX_LISTED + 5):
        save(tmp_path / "trainA" / f"{i}.png", np.full((4, 4, 3), i % 250, np.uint8))
    text = page(check([tmp_path]))
    assert text.count("<img") == MAX_PICTURED and "and 5 more, in check.json" in text


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = check([sets(tmp_path / "data", 2)])
    with pytest.raises(StorageError, match=r"file/x: cannot be made .*; choose another --out"):
        write_checkup(tmp_path / "file" / "x", found)
