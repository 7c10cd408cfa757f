"""Published numbers stand beside ours only where data set, direction and metric are the same."""

import pytest

from diptych.data.datasets import DataConfig
from diptych.data.folders import Split
from diptych.evaluation.evaluate import score_translators, subjects_of
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.tables import tables
from diptych.scoring.evaluate import evaluate as diptych_evaluate
from diptych.scoring.published import PROTOCOLS, as_published, published_numbers
from tests.cli.pictures import diptych
from tests.evaluation.images import CONFIG, RGB, Features, negative, noise


def found(folder, name, direction="a2b", data="horse2zebra", turned="a2b"):
    split = Split(noise(folder / "a", 5), noise(folder / "b", 5, seed=1), False)
    subjects = subjects_of({direction: negative}, split, RGB, RGB, DataConfig(direction=turned), None)
    return published_numbers(name, subjects, [folder / data], None, None)


def test_the_numbers_are_those_of_the_data_set_and_direction(tmp_path, caplog):
    (entry,) = found(tmp_path / "x", "cut2020")
    assert entry["text"] == "CycleGAN 77.2, CUT 45.5, FastCUT 73.4" and entry["metric"] == "fid"
    assert "a2b: has 5 and 5 test images, horse2zebra has 120 and 140" in caplog.text
    assert found(tmp_path / "y", "mmagic", "b2a")[0]["text"].startswith("authors 138.646")
    assert found(tmp_path / "z", "mmagic", "a2b", turned="b2a")[0]["text"].startswith("authors 138.646")
    assert found(tmp_path / "w", "cut2020", data="apples") == []
    assert "--protocol cut2020: printed no number of this task on data of this name" in caplog.text


def test_a_published_fid_is_not_set_beside_another_networks(tmp_path):
    split = Split(noise(tmp_path / "a", 5), noise(tmp_path / "b", 5, seed=1), False)
    numbers = [{"metric": "fid", "direction": "a2b", "text": "CycleGAN 77.2", "source": "a table"}]

    class Published(Features):
        name = "inception-2015-12-05"

    for network, there in ((Published(), True), (Features(), False)):
        tools = Instruments(features=network, allow_small=True, resamples=50)
        evaluation = score_translators(
            {"a2b": negative}, split, RGB, RGB, CONFIG, metrics=["fid"], tools=tools, about={"published": numbers}
        )
        (table,) = tables(evaluation.to_json())
        assert ("published" in table.rows[0].cells) is there and ("published" in table.columns) is there
        assert "biased, N=5" in table.rows[0].cells["model"].note


def test_images_have_the_published_size():
    config = as_published(DataConfig(load_size=143, crop_size=128, resize="aspect", direction="b2a"), "cut2020")
    assert (config.resize, config.load_size, config.crop_size, config.direction) == ("square", 256, 256, "b2a")
    assert {protocol.size for protocol in PROTOCOLS.values()} == {256}


def test_python_scores_by_a_protocol_and_sets_its_numbers_beside(tmp_path):
    data, sizes = tmp_path / "horse2zebra", []
    for i, name in enumerate(("trainA", "trainB", "testA", "testB")):
        noise(data / name, 4, seed=i)

    def translate(x):
        sizes.append(tuple(x.shape[2:]))
        return 255 - x

    class Published(Features):
        name = "inception-2015-12-05"

    found = diptych_evaluate(
        {"a2b": translate}, data, protocol="mmagic", features=Published(), paired=False, size=32, cache=False
    )
    assert set(sizes) == {(256, 256)} and {result.metric for result in found.results} == {"fid"}
    (entry,) = found.about["published"]
    assert entry["text"].startswith("authors 62.111, authors id0 77.202") and found.about["protocol"] == "mmagic"


def test_the_command_knows_the_protocols(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for i, name in enumerate(("made", "real")):
        noise(tmp_path / name, 4, seed=i)
    words = ["evaluate", tmp_path / "made", tmp_path / "real", "--unpaired", "--protocol", "mmagic", "--no-fetch"]
    assert diptych(*words) != 0
    assert "inception weights (pt_inception-2015-12-05-6726825d.pth, 91 MiB): not on this machine" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        diptych("evaluate", "--help")
    assert "--protocol {cyclegan2017,cut2020,mmagic}" in capsys.readouterr().out
