"""Systems are compared on the same images: runs, trainings of one recipe, snapshots and folders of outputs."""

import json
import math
import shutil

import numpy as np
import pytest

from diptych.cli.compare import refuse_other_comparison
from diptych.data.formats import write_pixels
from diptych.errors import ConfigError, DataError
from diptych.pages.comparison import pair_tables, write_comparison
from diptych.scoring.compare import compare_systems, holm
from diptych.scoring.systems import System, find_systems, score_systems
from diptych.scoring.task import Request
from tests.cli.pictures import PIX2PIX, diptych, folder, pixels


@pytest.fixture(autouse=True)
def no_weights(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path_factory.mktemp("weights")))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("hub")))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Pairs, and three short trainings: two seeds of one recipe, and one without its adversarial loss."""
    root = tmp_path_factory.mktemp("systems")
    for i, name in enumerate(("trainA", "trainB", "testA", "testB")):
        folder(root / "data" / name, 6, seed=10 * i)
    size = ["--method.generator", "unet_6", "--data.load_size", 64, "--data.crop_size", 64]  # the least that has dropout
    for name, words in (("x", []), ("x1", ["--train.seed", 1]), ("y", ["--method.lambda_gan", 0])):
        assert diptych("train", "pix2pix", root / "data", "--out", root / name, *PIX2PIX, "--no-test", *size, *words) == 0
    return root


def scored(*words, metrics=("psnr", "kid"), dropout_seeds=1, **request):
    groups = find_systems(words)
    tools = {"resamples": 40, "cache": False}
    return score_systems(groups, Request(words[0], **request), metrics=metrics, words=tools, dropout_seeds=dropout_seeds)


def made(root, name, shift):
    """Outputs that are the truth, brighter by ``shift`` and by a little that differs between images."""
    (root / name).mkdir(parents=True)
    for i in range(6):
        image = pixels(100 + i).astype(int) + shift + i % 3
        write_pixels(root / name / f"{i}.png", image.clip(0, 255).astype(np.uint8))


def test_the_better_of_two_folders_is_named_and_its_images_lead(tmp_path):
    for name, shift in (("truth", 0), ("near", 5), ("far", 40)):
        made(tmp_path, name, shift)
    data = (tmp_path / "truth",)
    shutil.rmtree(tmp_path / "truth")
    (tmp_path / "truth").mkdir()
    for i in range(6):
        write_pixels(tmp_path / "truth" / f"{i}.png", pixels(100 + i))
    systems = scored(tmp_path / "near", tmp_path / "far", metrics=["l1"], data=data)
    found = compare_systems(systems)
    (pair,) = found.pairs
    assert pair.found.better == "one" and pair.found.p <= 0.05 and pair.found.difference.value < 0
    assert {image.by for image in found.favoured} == {0} and found.settings == {}
    page = write_comparison(found, tmp_path / "out").read_text()
    assert "Where " in page and "is ahead" in page and page.count("data:image") >= 3 * len(found.favoured)
    document = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert document["comparisons"][0]["better"] == systems[0].name and len(document["evaluations"]) == 2


def test_trainings_that_differ_in_their_seed_alone_are_one_system(root, caplog):
    caplog.set_level("INFO")
    assert find_systems([root / "x", root / "y", root / "x1"]) == [[str(root / "x"), str(root / "x1")], [str(root / "y")]]
    assert "trainings of one recipe with different seeds, taken as one system" in caplog.text
    with pytest.raises(
        ConfigError, match=r"needs two systems, found .*: differ in train.seed alone, which makes them one system"
    ):
        find_systems([root / "x", root / "x1"])
    with pytest.raises(ConfigError, match="is given twice; name two different systems"):
        find_systems([root / "x", root / "x"])


def test_runs_are_compared_over_trainings_with_the_settings_that_differ(root, tmp_path):
    systems = scored(root / "x", root / "x1", root / "y")
    found = compare_systems(systems)
    psnr = next(pair.found for pair in found.pairs if pair.found.metric == "psnr")
    values = [one.value("psnr").value for one in systems[0].evaluations]
    assert psnr.trainings == (2, 1) and psnr.values[0] == pytest.approx(np.mean(values))
    assert systems[0].spread("psnr", "a2b")[0] == pytest.approx(np.std(values, ddof=1))
    assert math.isnan(systems[1].spread("psnr", "a2b")[0])
    assert found.settings == {"method.lambda_gan": [1.0, 0.0]}
    (table,) = pair_tables(found)
    assert any("over 2 trainings" in text for text in table.rows[0].one)
    page = write_comparison(found, tmp_path).read_text()
    assert "method.lambda_gan" in page and "Losses of G together" in page


def test_dropout_is_drawn_again_with_other_seeds(root):
    one, _ = scored(root / "x", root / "y", metrics=["psnr"], dropout_seeds=3)
    (training,) = one.trainings
    seeds = training.by_dropout["a2b", "psnr"]
    assert len(seeds) == 3 and len(set(seeds)) == 3
    rows = [row["psnr"] for row in training.evaluation.images["a2b"]]
    assert np.mean(rows) == pytest.approx(np.mean(seeds)) and one.spread("psnr", "a2b")[1] == pytest.approx(np.std(seeds, ddof=1))


def test_the_command_prints_and_writes(root, tmp_path, capsys):
    assert diptych("compare", root / "x", root / "y", "--metrics", "psnr", "--out", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "PSNR" in out and "Difference" in out and (tmp_path / "out" / "compare.html").is_file()
    assert diptych("compare", root / "x", root / "y", "--metrics", "fid", "--out", tmp_path / "out") == 2
    assert "compare: fid is a distance of sets, which has no test here; kid compares sets" in capsys.readouterr().err


def test_systems_without_a_common_metric_are_refused(root):
    one, other = scored(root / "x", root / "y", metrics=["psnr"])
    (training,) = other.trainings
    bare = training.evaluation.__class__((), {}, images={"a2b": training.evaluation.images["a2b"][:0]})
    nothing = System("nothing", (training.__class__("nothing", bare, {}, {}),))
    with pytest.raises(DataError, match="have no metric in common that can be compared"):
        compare_systems([one, nothing])


def test_ps_of_several_pairs_are_holms():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2]) == [0.2] and math.isnan(holm([math.nan, 0.01])[0])


def test_a_page_never_replaces_the_comparison_of_other_systems_or_lies_among_other_files(tmp_path):
    kept = {"systems": [{"name": "x", "trainings": ["runs/x", "runs/x1"]}, {"name": "y", "trainings": ["runs/y"]}]}
    (tmp_path / "compare.json").write_text(json.dumps(kept))
    refuse_other_comparison(tmp_path, [["runs/x", "runs/x1"], ["runs/y"]])  # the same once more
    refuse_other_comparison(tmp_path / "new", [["runs/x"], ["runs/y"]])
    with pytest.raises(ConfigError, match=r"holds the comparison of runs/x, runs/x1, runs/y; choose another --out"):
        refuse_other_comparison(tmp_path, [["runs/x"], ["runs/y"]])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "h.png").touch()
    with pytest.raises(ConfigError, match=r"photos: is not empty and holds no comparison"):
        refuse_other_comparison(tmp_path / "photos", [["runs/x"], ["runs/y"]])
    (tmp_path / "compare.json").write_text("[")
    with pytest.raises(ConfigError, match=r"holds the comparison of others"):
        refuse_other_comparison(tmp_path, [["runs/x"], ["runs/y"]])
