"""Words and short files by which a wrong value hurts: the cases that random ones found, each one line."""

import argparse
import os

import pytest

from diptych.cli import main
from diptych.cli.sharding import shard
from diptych.cli.translate import _memory
from diptych.data.lists import read_list
from diptych.errors import ConfigError, DataError
from diptych.evaluation.offers import check_names
from diptych.licences import licence_of, licence_on_the_hub
from diptych.messages import nearest
from diptych.palette import Palette
from diptych.recipe import Recipe
from diptych.zoo import resolve

NINES = "9" * 5000  # more digits than Python turns into a number


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a" * 200_000 + ".png", "row 1: cannot be read"),
        ("x.png\n\0.png", "row 2: '?.x00.png'? is not there"),
        ("~nobody-is-here/x.png", "row 1: ~nobody-is-here/x.png is not there"),
    ],
)
def test_a_list_with_hostile_cells_is_refused_by_its_row(text, said, tmp_path):
    (tmp_path / "x.png").write_bytes(b"")
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DataError, match=said) as caught:
        read_list(tmp_path / "l.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_list, Palette.load])
@pytest.mark.parametrize("kind", ["pipe", "itself", "zero byte"])
def test_a_list_or_palette_that_is_no_file_is_one_line(kind, read, tmp_path):
    path = tmp_path / ("a\0.txt" if kind == "zero byte" else "a.txt")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "itself":
        path.symlink_to(path)
    with pytest.raises(DataError, match=r"a\S*\.txt: cannot be read") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_numbers_beyond_all_bounds_are_refused(tmp_path):
    (tmp_path / "p.txt").write_text(f"1 2 3\n{NINES} 2 3")
    with pytest.raises(DataError, match=r"line 2 is '9+', expected"):
        Palette.load(tmp_path / "p.txt")
    for words in (NINES, f"auto:{NINES}", f"1,{NINES}"):
        with pytest.raises(ConfigError, match=r"data\.classes must be"):
            Recipe.create("pix2pix", {"data": {"labels": "a", "classes": words}})
    for field in ("train.lr", "train.epochs", "data.zoom"):
        with pytest.raises(ConfigError, match=rf"{field} must be a (finite|whole) number, found (9+|a whole number above)"):
            Recipe.create("pix2pix", None, [f"--{field}={'9' * 400}"])
    for parse, words in (
        (_memory, f"{NINES}GB"),
        (_memory, "0GB"),
        (_memory, "0.0001kB"),
        (shard, f"1/{NINES}"),
        (shard, "0/1"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match="must be"):
            parse(words)
    assert (_memory("1.5 gb"), _memory("4GB"), shard(" 3/16 ")) == (1_500_000_000, 4_000_000_000, (3, 16))


TRANSLATE = ["translate", "s.safetensors", "p.png", "--out", "out"]
EMPTY = "where a value was expected; a shell variable may not be set (the working folder is written as .)"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reproduce", "horse2zebra", "--only", "Author"], "horse2zebra: no weights are called 'Author'; did you mean authors?"),
        (["reproduce", "zebra2horse", "--only", "x,authors"], "no weights are called 'x'; there are authors, authors-id0"),
        (["reproduce", "horse2zebra", "--weights", "authors=words.txt", "--weights", "authors=words.txt"], "give each name once"),
        (["translate", "s", "p.png", "--out", "o", "--maps", "edges,"], "argument --maps: must be names with commas between"),
        ([*TRANSLATE, "--norm-from", "p.png", "--sample-norms"], "--sample-norms: not allowed with argument --norm-from"),
        (["train", "cut", "relief", "--out", "words.txt"], "words.txt: is there already and is no folder; choose another"),
        (["bench", "cut", "santa", "--on", "relief", "--out", "words.txt"], "is there already and is no folder"),
        (["study", "token", "words.txt"], "words.txt: holds no study; make one with diptych study new words.txt"),
        (
            ["prepare", "lowres", "photos", "--out", "o", "--strength", "0"],
            "--strength must be greater than 0, found 0",
        ),
        (
            ["prepare", "frames", "f.mp4", "--out", "o", "--test", "0"],
            "--test is for pairs of photos, not for frames",
        ),
        (["prepare", "gray", "photos", "--out", "o", "--every", "2"], "--every is for frames, not for gray; leave it out"),
        (["music", "sheet", "m.mid", "--out", "o.pdf", "--tracks", ","], "argument --tracks: must be names with commas between"),
        (["study", "erase", "s", ""], f"found '' after s, {EMPTY}"),
        (["study", "erase", "s", " \t"], f"after s, {EMPTY}"),
        (["compare", "runs/x", "runs/y", "--device", ""], f"found '' after --device, {EMPTY}"),
        (["translate", "", "p.png", "--out", "out"], f"found '' after translate, {EMPTY}"),
        (["evaluate", "runs/x", "--metrics="], f"found '' after --metrics, {EMPTY}"),
        (["bench", "cut", "--on", "x", "--metrics", "ssim,,psnr"], "argument --metrics: must be names with commas between"),
        (["study", "serve", "s", "--port", "65536"], "argument --port: must be a whole number from 1 to 65535, found '65536'"),
        (["study", "serve", "s", "--port", "-1"], "argument --port: must be a whole number from 1 to 65535, found '-1'"),
        (
            [*TRANSLATE, "--memory", "-1GB"],
            "argument --memory: must be a number with a unit (kB, MB, GB, TB), such as 4GB, found",
        ),
        ([*TRANSLATE, "--memory", "0"], "such as 4GB, found '0'"),
        ([*TRANSLATE, "--shard", "-1/2"], "argument --shard: must be a share such as 3/16"),
        (["study", "simulate", "s", "--fooled", "m=.3", "--url", "http://127.0.0.1:99999"], "must be like https://study."),
        (["study", "serve", "s", "--public-url", "http://[::1"], "argument --public-url: must be like https://study.example.org"),
        (
            ["zoo", "pack", "s.safetensors", "--name", "n", "--shows", "x", "--out", "z", "--licence", "apache2"],
            "did you mean Apache",
        ),
    ],
)
def test_a_word_that_cannot_be_meant_is_one_line_before_anything_is_read(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("no study")
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert message in err and err.startswith("error: ") and err.count("\n") == 1 and out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["words.txt"]


def test_near_words_are_found_in_any_case():
    assert nearest("HORSE2ZEBRE", ["zebra2horse", "Horse2Zebra"], n=1) == ["Horse2Zebra"] and nearest("xyz", ["abc"]) == []
    with pytest.raises(ConfigError, match=r"no metric is called 'SSIM'; did you mean ssim\?"):
        check_names(["psnr", "SSIM"])


def test_a_name_that_is_nearly_one_of_the_zoo_is_told_which(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for word in ("Sunflower2Daisi", "sunflower2daisi.safetensors"):
        with pytest.raises(
            ConfigError, match=r": no such file, and no network of the zoo is called so; did you mean sunflower2daisy"
        ):
            resolve(word)
    for word in ("photos", "x/sunflower2daisi", "sunflower2daisi.png"):
        assert str(resolve(word)) == word
    (tmp_path / "sunflower2daisi").mkdir()
    assert resolve("sunflower2daisi").is_dir()


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0"),
        ("mit or Apache-2.0", "MIT OR Apache-2.0"),
        ("cc0-1.0 (the maps are in the public domain)", "CC0-1.0 (the maps are in the public domain)"),
        ("https://example.org/terms.html", "https://example.org/terms.html"),
        ("Other: for research alone", "for research alone"),
    ],
)
def test_a_licence_is_of_spdx_an_address_or_said_to_be_free_text(text, written):
    assert licence_of(text) == written


@pytest.mark.parametrize("text", ["none", "other:", "CC-BY", "CC-BY-4.0 the photos are free", "http://", "(CC0-1.0)x"])
def test_any_other_licence_is_refused(text):
    with pytest.raises(ConfigError, match=r"--licence .*: must be an identifier of SPDX \((did you mean|such as) "):
        licence_of(text)


def test_the_hub_has_words_of_its_own():
    assert [licence_on_the_hub(text) for text in ("OpenRAIL++", "CC-BY-4.0", "other")] == ["openrail++", "cc-by-4.0", "other"]
    with pytest.raises(ConfigError, match=r"must be one word, as the hub writes licences \(did you mean cc-by-4.0 or"):
        licence_on_the_hub("cc-by-4")
