"""The notes of engraved pages are those that the pages print, worked out by hand where verovio's differ."""

from fractions import Fraction

from diptych.music.free_pages import FreeStyle, free_pages
from diptych.music.mei import load_mei
from diptych.music.notes import step_of

QUARTER = '<note pname="c" oct="5" dur="4"/>'
WHOLE = '<note pname="c" oct="5" dur="1"/>'


def page_of(tmp_path, bars):
    staff = '<staffGrp><staffDef n="1" lines="5" clef.shape="G" clef.line="2"/></staffGrp>'
    score = f'<scoreDef meter.count="4" meter.unit="4">{staff}</scoreDef><section>{bars}</section>'
    mei = '<mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="5.0">'
    body = f"<music><body><mdiv><score>{score}</score></mdiv></body></music></mei>"
    (tmp_path / "x.mei").write_text(f'<?xml version="1.0"?>{mei}{body}')
    return next(free_pages(load_mei(tmp_path / "x.mei"), FreeStyle(width=110.0)))


def bar(content, attributes="", signs=""):
    return f'<measure {attributes}><staff n="1"><layer n="1">{content}</layer></staff>{signs}</measure>'


def test_a_measure_without_a_print_lasts_like_others(tmp_path):
    page = page_of(tmp_path, bar(WHOLE) + bar("<mSpace/>") + bar(WHOLE))
    assert page.measures == (4, 4, 4) and [note.onset for note in page.notes] == [0, 8]


def test_a_rest_beside_a_part_of_a_measure_lasts_for_the_other_part(tmp_path):
    short = 'metcon="false"'
    page = page_of(tmp_path, bar(WHOLE) + bar("<mRest/>", short) + bar(QUARTER, short) + bar(WHOLE))
    assert page.measures == (4, 3, 1, 4) and [note.onset for note in page.notes] == [0, 7, 8]
    page = page_of(tmp_path, bar(WHOLE) + bar("<mRest/>") + bar(QUARTER, short) + bar(WHOLE))
    assert page.measures == (4, 4, 1, 4)


def test_notes_sound_an_octave_higher_only_where_its_sign_is_printed(tmp_path):
    notes = "".join(f'<note xml:id="n{k}" pname="c" oct="5" oct.ges="6" dur="4"/>' for k in range(4))
    sign = '<octave staff="1" startid="#n1" endid="#n2" dis="8" dis.place="above"/>'
    page = page_of(tmp_path, bar(notes, signs=sign))
    assert [note.step - step_of("c", 5) for note in page.notes] == [0, 7, 7, 0]
    assert [note.onset for note in page.notes] == [Fraction(k) for k in range(4)]
