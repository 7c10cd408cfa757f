"""What libraries say of a mistake reaches people in plain words, in one line."""

import pytest
from pydantic import TypeAdapter

from diptych import downloads
from diptych.data.decoders import first_line
from diptych.errors import ConfigError, WeightsError
from diptych.recipe import Recipe
from diptych.recipe_files import read_values
from diptych.schemas import checked
from diptych.scoring.cells import cell


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !!python/name:os.system", "the tag !!python/name:os.system is not read, as a recipe holds plain values only"),
        ("a: !mine [1]", "the tag !mine is not read"),
        ("a: 1\nb: [1", "(line 2, column 6)"),
    ],
)
def test_a_recipe_that_yaml_refuses_is_told_in_plain_words(text, said, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_values(tmp_path / "x.yaml")
    assert said in str(caught.value) and "\n" not in str(caught.value) and "unicode string" not in str(caught.value)


def test_a_value_of_none_of_the_allowed_types_is_told_with_the_types():
    with pytest.raises(ConfigError, match=r"data.crop_size: expected int or a list of two int, found \[8, 8, 8\]"):
        Recipe.create("pix2pix", {"data": {"source": ["x"], "crop_size": [8, 8, 8]}})


@pytest.mark.parametrize("value", [None, [1], 3])
def test_what_is_no_mapping_is_said_without_the_words_of_a_library(value):
    with pytest.raises(ValueError, match=r"^expected names with values, found"):
        checked(value, TypeAdapter(dict[str, int]))


def test_what_a_library_counted_is_left_out():
    assert first_line(OSError("image file is truncated (17 bytes not processed)")) == "image file is truncated"


def test_a_cell_of_one_image_has_no_interval():
    estimate = {"value": 0.5, "low": float("nan"), "high": float("nan"), "n": 1}
    one = {"results": [{"metric": "l1", "direction": "a2b", "of": "model", "estimate": estimate}], "images": {}}
    assert str(cell([one], "l1", "a2b")) == "0.500 (no interval)"


def test_a_host_that_swallows_packets_is_named_before_a_download_waits_for_it(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "diptych")
    monkeypatch.setattr(downloads, "QUIET", 0.05)
    monkeypatch.setattr(downloads, "PATIENCE", 0.2)
    waits = []

    def swallow(place, timeout):
        waits.append((place, timeout))
        downloads.time.sleep(1)
        raise TimeoutError

    monkeypatch.setattr(downloads.socket, "create_connection", swallow)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(WeightsError, match=r"silent.example: no answer"):
        downloads.download(downloads.Download("a file", "https://silent.example/x"), tmp_path / "x")
    assert waits == [(("silent.example", 443), 0.2)]
    assert "waiting for silent.example to answer, at most 0.2 seconds" in caplog.text
