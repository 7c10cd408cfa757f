"""Scores and songs that a stranger made: one clear line, in bounded memory, and no script in the page that shows them."""

import io
import os
import random
import tracemalloc
import xml.etree.ElementTree as ET
import zipfile
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser

import numpy as np
import pytest

from diptych.errors import DataError
from diptych.music.arrangement import arrange
from diptych.music.evaluate import Example
from diptych.music.listening import write_page
from diptych.music.mei import load_mei
from diptych.music.midi import Track, midi_bytes, read_midi
from diptych.music.musicxml import to_musicxml
from diptych.music.notes import Note, System
from diptych.music.score_files import MAX_MEMBERS, read_text, tunes
from diptych.music.score_pages import write_score
from tests.music.songs import CONTAINER, melody, mxl, score
from tests.music.test_midi import song

WHOLE = score(melody())
SCRIPT = "</title><script>alert(1)</script><img src=x onerror=alert(1)>\"'><b onmouseover=alert(1)>"


def written(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refused(read, path):
    with pytest.raises(DataError) as caught:
        read(path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line
    return line


def packed(kind, size, named=False):
    """An archive whose score, or container, is many zeros."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr("META-INF/container.xml" if named else "score.xml", bytes(size))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "named"),
    [(zipfile.ZIP_DEFLATED, False), (zipfile.ZIP_DEFLATED, True), (zipfile.ZIP_BZIP2, False), (zipfile.ZIP_BZIP2, True)],
)
def test_an_archive_that_unpacks_to_much_takes_little_memory(kind, named, tmp_path, monkeypatch):
    monkeypatch.setattr("diptych.music.score_files.MAX_BYTES", 2**20)
    path = written(tmp_path / "bomb.mxl", packed(kind, 24 * 2**20, named))
    assert path.stat().st_size < 2**17
    tracemalloc.start()
    try:
        line = refused(read_text, path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "unpacks to more than 1,048,576 bytes" in line or "is not packed as MusicXML asks" in line
    assert peak < 8 * 2**20


def test_an_archive_that_understates_its_size_is_refused(tmp_path):
    data = mxl("0" * 5_000).replace((5_000).to_bytes(4, "little"), (7).to_bytes(4, "little"))
    assert "is damaged" in refused(read_text, written(tmp_path / "x.mxl", data))


def test_an_archive_of_very_many_files_is_refused_before_they_are_listed(tmp_path, monkeypatch):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("META-INF/container.xml", CONTAINER)
        for number in range(MAX_MEMBERS):
            archive.writestr(f"{number}.xml", "")
    monkeypatch.setattr("zipfile.ZipFile", None)
    assert "holds more than 1,000 files" in refused(read_text, written(tmp_path / "x.mxl", buffer.getvalue()))


LAUGHS = '<!ENTITY a "hahaha">' + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize("suffix", [".musicxml", ".mei", ".mxl"])
@pytest.mark.parametrize(
    ("subset", "used", "said"),
    [
        (LAUGHS, "&i;", "declares the entity 'a'"),
        ('<!ENTITY a "&b;"><!ENTITY b "&a;">', "&a;", "declares the entity 'a'"),
        ('<!ENTITY x SYSTEM "file://SECRET">', "&x;", "declares the entity 'x'"),
        ('<!ENTITY % p SYSTEM "file://SECRET"> %p;', "", "declares the entity 'p'"),
        ('<!ENTITY x PUBLIC "-//x" "http://127.0.0.1:9/x">', "&x;", "declares the entity 'x'"),
        ("", "&x;", "undefined entity"),
        ("", "&#0;", "invalid character"),
    ],
)
def test_entities_are_neither_expanded_nor_followed(suffix, subset, used, said, tmp_path):
    secret = written(tmp_path / "secret", "what nobody may read")
    text = WHOLE.replace("A. Composer", used).replace(
        "<score-partwise", f"<!DOCTYPE s [{subset.replace('SECRET', str(secret))}]><score-partwise", 1
    )
    path = written(tmp_path / f"x{suffix}", mxl(text) if suffix == ".mxl" else text)
    for read in (tunes, load_mei):
        line = refused(read, path)
        assert said in line and "nobody" not in line


def test_the_usual_document_type_is_read(tmp_path):
    kind = '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" "http://127.0.0.1:9/partwise.dtd">'
    path = written(tmp_path / "x.musicxml", WHOLE.replace("<score-partwise", kind + "<score-partwise", 1))
    assert load_mei(path).find(".//note") is not None


@pytest.mark.parametrize("element", ["beam", "part"])
@pytest.mark.parametrize("depth", [200, 100_000])
def test_elements_nested_without_end_are_refused_before_verovio_crashes(depth, element, tmp_path):
    text = "<mei><music>" + f"<{element}>" * depth + f"</{element}>" * depth + "</music></mei>"
    assert "nested more than 100 deep" in refused(load_mei, written(tmp_path / "x.mei", text))


@pytest.mark.parametrize("read", [read_text, read_midi])
@pytest.mark.parametrize("kind", ["pipe", "itself", "folder", "device"])
def test_what_is_no_file_is_one_line_and_does_not_hold_up(kind, read, tmp_path):
    path = tmp_path / "self"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "itself":
        path.symlink_to(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    assert "cannot be read" in refused(read, path)


def test_songs_with_wrong_bytes_are_read_or_refused(tmp_path):
    whole = midi_bytes(replace(song(1), notes=song(1).notes[:12]))
    read = 0
    for number in range(300):
        chance = random.Random(number)
        data = bytearray(whole)
        for _ in range(chance.choice([1, 3])):
            place = chance.randrange(len(data))
            data[place : place + chance.randrange(2)] = bytes([chance.choice([0, 127, 128, 255, 0x51, 0x58, 0x59, 0xF0])])
        try:
            read += bool(read_midi(written(tmp_path / "x.mid", bytes(data))).notes)
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
    assert read > 20


class Scripts(HTMLParser):
    """What could run in a page: script elements other than the page's own, and attributes that are handlers."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found += [(tag, "")] if tag == "script" else []
        self.found += [(tag, name) for name, value in attrs if name.startswith("on") or "javascript:" in (value or "").lower()]


def test_a_title_runs_no_script_in_the_listening_page(tmp_path):
    system = System(("G2",), 0, (Fraction(2),), 6, (Note(Fraction(0), 0, 34, 0, Fraction(1)),))
    pixels = np.zeros((8, 40, 3), np.uint8)
    pages = []
    for words in ("plain", SCRIPT):
        write_page(tmp_path / "page.html", words, words, [], [Example(words, pixels, pixels, pixels, system, system, None)])
        pages.append((tmp_path / "page.html").read_text())
    plain, hostile = (Scripts(page).found for page in pages)
    assert hostile == plain
    assert "<b onmouseover" not in pages[1] and "&lt;script&gt;alert(1)" in pages[1]


def test_titles_and_names_run_no_script_in_engraved_pages(tmp_path):
    hostile = replace(song(1), title=SCRIPT, tracks=(Track(0, SCRIPT),))
    path = tmp_path / "x.svg"
    write_score(path, to_musicxml(arrange(hostile)))
    page = path.read_text()
    assert "alert(1)" in page and Scripts(page).found == []
    assert not {element.tag.rpartition("}")[2] for element in ET.fromstring(page).iter()} & {"script", "img", "b"}
