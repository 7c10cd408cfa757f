"""Scores are engraved, cut into systems, and line up with their rolls; what cannot be used is counted by its reason."""

import io
import xml.etree.ElementTree as ET
import zipfile
from contextlib import suppress
from fractions import Fraction

import numpy as np
import pytest

from diptych.errors import DataError
from diptych.music.beams import rebeam
from diptych.music.engrave import merge_ties
from diptych.music.excerpts import excerpts
from diptych.music.layout import Layout
from diptych.music.mei import load_mei, parts
from diptych.music.notes import CLEFS, apply_accidentals
from diptych.music.roll import column_of, read_roll
from diptych.music.score_files import find_scores, read_text, tunes
from diptych.music.staves import to_song
from tests.music.songs import CONTAINER, attributes, melody, mxl, note, score


def written(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def made(tmp_path, *parts_, layout=None):
    return excerpts(written(tmp_path / "x.musicxml", score(*parts_)), layout or Layout())


def test_all_measures_come_back_as_they_are_written(tmp_path):
    found, left_out = made(tmp_path, melody())
    assert sum(len(each.system.measures) for each in found) == 6 and not left_out
    first = found[0].system
    assert (first.clefs, first.fifths, first.measures[0]) == (("G2",), 1, 4)
    assert [n.midi for n in first.notes[:4]] == [67, 69, 71, 72]
    sharp = [n for each in found for n in each.system.notes if n.accidental == "s"]
    assert [n.midi for n in sharp] == [73, 73]


@pytest.mark.parametrize("layout", [Layout(1, 4), Layout(1, 8)], ids=str)
def test_every_head_stands_on_its_note_of_the_roll(layout, tmp_path):
    found, _ = made(tmp_path, melody(), layout=layout)
    for each in found:
        downbeats = layout.downbeat_columns(each.system.measures, each.system.quarter_width)
        for n in each.system.notes:
            rows = layout.step_rows(0, n.step - CLEFS["G2"])
            column = column_of(n.onset, each.system, layout, downbeats)
            head = each.sheet[rows, column : column + layout.space]
            beside = each.sheet[rows, column - layout.space : column - 1]
            assert head.mean() < 128, (n, column)
            assert n.accidental or head.mean() + 60 < beside.mean(), (n, column)


def test_the_roll_says_what_the_system_says(tmp_path):
    for each in made(tmp_path, melody())[0]:
        assert read_roll(each.roll, Layout()) == each.system == apply_accidentals(each.system)


def test_a_tied_note_is_one_also_over_many_systems(tmp_path):
    bars = [attributes() + note("c5", 4, tie="start"), note("c5", 2, tie="stop") + note("d5", 2), note("e5", 4)]
    found, left_out = made(tmp_path, bars)
    assert [(n.midi, n.duration) for n in found[0].system.notes] == [(72, 6), (74, 2)]
    long = [
        attributes() + note("c5", 4, tie="start"),
        *[note("c5", 4, tie="stop start")] * 3,
        note("c5", 4, tie="stop"),
        note("e5", 4),
    ]
    found, left_out = made(tmp_path, long)
    assert not left_out and len(found) == 3
    assert [(n.continued, n.goes_on) for each in found for n in each.system.notes] == [
        (False, True), (True, True), (True, False), (False, False),
    ]  # fmt: skip
    assert [(n.onset, n.end, n.pitch) for n in to_song([each.system for each in found]).notes] == [(0, 20, 72), (20, 24, 76)]
    assert [read_roll(each.roll, Layout()) for each in found] == [each.system for each in found]


def test_ties_over_the_end_of_a_system_are_drawn(tmp_path):
    """The same bars without ties have less ink behind the last bar line and in front of the first note, and nowhere else."""
    tied = [attributes() + note("c5", 4, tie="start"), *[note("c5", 4, tie="stop start")] * 3, note("c5", 4, tie="stop")]
    plain = [attributes() + note("c5", 4), *[note("c5", 4)] * 4]
    ties, bare = (made(tmp_path, bars)[0] for bars in (tied, plain))
    layout = Layout()
    first, last = (layout.downbeat_columns(ties[0].system.measures, 6)[k] for k in (0, -1))
    more = [np.flatnonzero((bare[k].sheet.astype(int) - ties[k].sheet > 40).any(0)) for k in (0, 1)]
    assert more[0].max() > layout.barline_column(last) and more[1].min() < first
    assert more[0].max() <= layout.barline_column(last) + 2 * layout.space and more[1].min() >= first - 2 * layout.space


TREMOLO = '<notations><ornaments><tremolo type="{kind}">3</tremolo></ornaments></notations></note>'


def test_a_tremolo_is_its_note_and_one_of_two_notes_is_left_out(tmp_path):
    single = note("c5", 2).replace("</note>", TREMOLO.format(kind="single"))
    found, left_out = made(tmp_path, [attributes() + single + note("d5", 2)])
    assert [(n.onset, n.midi, n.duration) for n in found[0].system.notes] == [(0, 72, 2), (2, 74, 2)] and not left_out
    pair = [note(p, 1).replace("<type>quarter", "<type>half") for p in ("c5", "e5")]
    pair = [n.replace("</note>", TREMOLO.format(kind=kind)) for n, kind in zip(pair, ("start", "stop"), strict=True)]
    found, left_out = made(tmp_path, [attributes() + note("d5", 4), "".join(pair) + note("d5", 2), note("d5", 4)])
    assert left_out == {"a tremolo of two notes": 1} and [each.measure for each in found] == [0, 2]


def test_ties_in_a_circle_come_to_an_end():
    times = {name: (Fraction(k), Fraction(k + 1)) for k, name in enumerate("abcd")}
    ties = "".join(f'<tie startid="#{a}" endid="#{b}"/>' for a, b in ("ab", "ba", "cd"))
    held = merge_ties(times, ET.fromstring(f"<mei>{ties}</mei>"))
    assert held == {"a", "b", "d"} and times["c"] == (2, 4) and times["a"] == (0, 1)


def test_the_heads_that_a_tie_leads_to_are_told(tmp_path):
    bars = [attributes() + note("c5", 4, tie="start"), note("c5", 2, tie="stop") + note("d5", 2)]
    found, _ = made(tmp_path, bars)
    assert found[0].held == ((Fraction(4), 0, 35),)


def test_another_font_engraves_the_same_notes(tmp_path):
    path = written(tmp_path / "x.musicxml", score(melody()))
    one, other = (excerpts(path, Layout(), font)[0] for font in ("Leipzig", "Petaluma"))
    assert [each.digest for each in one] == [each.digest for each in other]
    assert all((a.sheet != b.sheet).any() and (a.roll == b.roll).all() for a, b in zip(one, other, strict=True))


def test_beams_of_the_source_make_no_difference(tmp_path):
    bar = "".join(note(pitch, 0.5) for pitch in ("g4", "a4", "b4", "c5", "d5", "e5", "d5", "c5"))
    parts = bar.split("</note>")
    joined = "</note>".join(
        part.replace("</staff>", f'</staff><beam number="1">{kind}</beam>') if part else part
        for part, kind in zip(parts, ["begin", "continue", "continue", "end"] * 2 + [""], strict=True)
    )
    (one,), _ = made(tmp_path, [attributes() + bar])
    (other,), _ = made(tmp_path, [attributes() + joined])
    assert [len(beam) for beam in load_mei(tmp_path / "x.musicxml").iter("beam")] == [4, 4]
    assert (one.sheet == other.sheet).all()


def test_what_a_roll_cannot_say_is_left_out_by_its_reason(tmp_path):
    bars = melody()
    bars[1] += f"<attributes>{'<clef><sign>F</sign><line>4</line></clef>'}</attributes>"
    bars[3] = note(None, 4)
    grace = note("a4", 1, extra="<grace/>").replace("<duration>24</duration>", "")
    bars[4] = grace + bars[4]
    found, left_out = made(tmp_path, bars)
    assert left_out["clef or key changes in it"] == 1
    assert sum(len(each.system.measures) for each in found) + sum(left_out.values()) == 6


@pytest.mark.parametrize(("fifths", "sign"), [(8, "#"), (-8, "b")])
def test_a_key_that_no_roll_can_show_is_left_out(fifths, sign, tmp_path):
    bar = "".join(note(f"{letter}{sign}5", 1) for letter in "cdef")
    found, left_out = made(tmp_path, [attributes(fifths=fifths) + bar])
    assert not found and left_out == {"a key of more than 7 accidentals": 1}


def test_a_tuplet_of_no_notes_lasts_as_verovio_counts(tmp_path):
    staff = '<staffDef n="1" lines="5" clef.shape="G" clef.line="2" meter.count="4" meter.unit="4"/>'
    notes = '<note dur="8" oct="5" pname="c"/>' * 2
    body = f'<staff n="1"><layer n="1"><tuplet num="0" numbase="2">{notes}</tuplet>{notes}</layer></staff>'
    inside = f"<scoreDef><staffGrp>{staff}</staffGrp></scoreDef><section><measure>{body}</measure></section>"
    text = f'<mei xmlns="http://www.music-encoding.org/ns/mei"><music><body><mdiv><score>{inside}</score></mdiv></body></music></mei>'
    path = written(tmp_path / "x.mei", text)
    (each,), _ = excerpts(path, Layout())
    assert [n.onset for n in each.system.notes] == [0, 1, 2, 2.5]
    assert [len(beam) for beam in rebeam(load_mei(path)).iter("beam")] == [2, 2]


def test_a_piano_has_two_panels_in_their_own_clefs(tmp_path):
    bars = []
    for k in range(4):
        upper = "".join(note(p, 1, staff=1) for p in ("c5", "d5", "e5", "f5"))
        lower = "<backup><duration>96</duration></backup>" + note("c3", 2, staff=2, voice=5) + note("g3", 2, staff=2, voice=5)
        bars.append((attributes(clefs=(("G", 2), ("F", 4))) if not k else "") + upper + lower)
    path = written(tmp_path / "p.musicxml", score(bars))
    assert parts(load_mei(path)) == [["1", "2"]]
    found, left_out = excerpts(path, Layout(2))
    assert not left_out and found[0].system.clefs == ("G2", "F4")
    assert {n.midi for n in found[0].system.notes if n.staff == 1} == {48, 55}
    with pytest.raises(DataError, match=r"p\.musicxml: has no part of 1 staff$"):
        excerpts(path, Layout(1))


def test_staff_lines_and_bar_lines_are_crisp(tmp_path):
    each = made(tmp_path, melody())[0][0]
    layout = Layout()
    assert (each.sheet[layout.line_rows(0)] == 0).all()
    between = each.sheet[layout.line_rows(0)[0] + 2]
    assert set(np.flatnonzero(between == 0)) >= {
        layout.barline_column(z) for z in layout.downbeat_columns(each.system.measures, each.system.quarter_width)[1:]
    }


# --- files of every kind ---


def test_compressed_and_plain_scores_are_the_same(tmp_path):
    text = score(melody())
    plain, packed = written(tmp_path / "a.musicxml", text), written(tmp_path / "b.mxl", mxl(text))
    assert read_text(plain) == read_text(packed)
    assert [e.digest for e in excerpts(plain, Layout())[0]] == [e.digest for e in excerpts(packed, Layout())[0]]


def test_abc_is_read_too(tmp_path):
    path = written(tmp_path / "tune.abc", "X:1\nT:Tune\nC:Trad.\nM:4/4\nL:1/4\nK:G\nGABc|d2B2|A^cde|G4|\n")
    found, _ = excerpts(path, Layout())
    assert [n.midi for n in found[0].system.notes][:4] == [67, 69, 71, 72]
    assert any(n.accidental == "s" for each in found for n in each.system.notes)


def test_each_tune_of_an_abc_file_is_a_score_under_its_header(tmp_path):
    header = "% Tunes\nM:3/4\nL:1/4\nC:All\n\n"
    path = written(tmp_path / "x.abc", header + "X:1\nK:G\nGAB|\n\nX: 7\nC:Own\nM:2/4\nK:C\nCD|EF|\n")
    assert tunes(path) == ["X:1\nM:3/4\nL:1/4\nC:All\nK:G\nGAB|\n\n", "X: 7\nL:1/4\nC:Own\nM:2/4\nK:C\nCD|EF|\n"]
    found = [excerpts(path, Layout(), tune=k)[0][0].system for k in (0, 1)]
    assert [[n.midi for n in system.notes] for system in found] == [[67, 69, 71], [60, 62, 64, 65]]
    assert [system.measures for system in found] == [(3,), (2, 2)]


def test_a_score_that_speaks_of_abc_is_one(tmp_path):
    text = score(melody(), composer="one\nX:1\nX:2\n")
    assert tunes(written(tmp_path / "x.musicxml", text)) == [text]


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("Peter & Wolf.xml", 'full-path="Peter &amp; Wolf.xml"'),
        ("Für Elise.xml", 'full-path="F&#252;r Elise.xml"'),
        ("a score", "media-type='x' full-path = 'a score'"),
        ("SCORE.XML", None),
        ("SCORE.XML", 'full-path="elsewhere.xml"'),
    ],
)
def test_an_archive_may_name_its_score_in_any_way(name, container, tmp_path):
    buffer, text = io.BytesIO(), score(melody())
    with zipfile.ZipFile(buffer, "w") as archive:
        if container:
            archive.writestr("META-INF/container.xml", f"<container><rootfiles><rootfile {container}/></rootfiles></container>")
        archive.writestr(name, text)
    assert read_text(written(tmp_path / "x.mxl", buffer.getvalue())) == text


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_lacks_a_byte_or_has_a_wrong_one_is_read_or_refused(kind, tmp_path):
    buffer, path = io.BytesIO(), tmp_path / "x.mxl"
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("score.xml", "<score/>")
    whole = buffer.getvalue()
    for place in range(2, len(whole)):
        for byte in (b"", bytes([whole[place] ^ 255])):
            path.write_bytes(whole[:place] + byte + whole[place + 1 :])
            with suppress(DataError):
                assert isinstance(read_text(path), str)


BAD = {
    "truncated.mxl": (mxl(score(melody()))[:200], "damaged"),
    "empty.mxl": (b"PK\x05\x06" + bytes(18), "holds no score"),
    "bomb.mxl": (mxl("0" * 80_000_000), "unpacks to more than 64,000,000 bytes"),
    "broken.musicxml": ("<score-partwise><part-list>", "cannot be read as a score|has no|no music|no measures"),
    "text.musicxml": ("just words", "cannot be read as a score|has no|no music|no measures"),
    "nothing.musicxml": ("", "cannot be read as a score|has no|no music|no measures"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line(name, tmp_path):
    data, message = BAD[name]
    path = written(tmp_path / name, data)
    with pytest.raises(DataError, match=message) as caught:
        excerpts(path, Layout())
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_sources_that_hold_no_scores_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no scores"):
        find_scores([str(tmp_path / "empty")])
    with pytest.raises(DataError, match="no such file or folder"):
        find_scores([str(tmp_path / "missing")])


def test_a_measure_must_be_as_long_as_its_meter_or_a_part_of_one(tmp_path):
    def bar(*lengths):
        return "".join(note("g4" if k % 2 else "a4", length) for k, length in enumerate(lengths))

    whole, half = bar(1, 1, 1, 1), bar(1, 1)
    pickup = [attributes() + bar(1), whole, bar(3)]  # the last measure completes the first
    repeat = [attributes() + whole, bar(1, 2), bar(1), whole]  # two parts of one measure
    for good in (pickup, repeat):
        found, left_out = made(tmp_path, good)
        assert not left_out and sum(len(each.system.measures) for each in found) == len(good)
    long = bar(1, 1, 1, 1, 1)
    for wrong in (half, long):
        found, left_out = made(tmp_path, [attributes() + whole, wrong, whole])
        assert left_out == {"longer or shorter than its meter": 1} and sum(len(each.system.measures) for each in found) == 2
