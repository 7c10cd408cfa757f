"""The reader of engraved pages that ships with diptych reads a page that was engraved here, end to end."""

from diptych.cli import main
from diptych.data.formats import write_pixels
from diptych.music.free_pages import FreeStyle, free_pages
from diptych.music.mei import load_mei
from diptych.music.note_metrics import _matches
from diptych.music.symbols import draw_page

TUNE = """X:1
L:1/4
M:3/4
K:D
D F A | d/2^g/2 =c B | B z A/2>G/2 | F/2G/2A/2B/2 [DFA] | d3- | d ^A A | B2 z/2 d/4e/4 | D3 |]
"""


def test_an_engraved_page_is_read_without_a_snapshot_of_ones_own(tmp_path):
    (tmp_path / "tune.abc").write_text(TUNE)
    page = next(free_pages(load_mei(tmp_path / "tune.abc"), FreeStyle(width=90.0)))
    write_pixels(tmp_path / "page.png", draw_page(page.drawing, round(page.width * 12))[..., None])
    out = tmp_path / "page.musicxml"
    assert main(["music", "read", str(tmp_path / "page.png"), "--out", str(out)]) == 0
    read = [note for found in free_pages(load_mei(out)) for note in found.notes]
    matched = len(_matches(list(page.notes), read, offsets=False))
    assert 2 * matched / (len(page.notes) + len(read)) > 0.9
