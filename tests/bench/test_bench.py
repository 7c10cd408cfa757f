"""A whole bench on tiny images: trained, scored alike, resumed, and told in one table."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from diptych.bench.bench import bench
from diptych.bench.entries import Cost
from diptych.bench.published import reported
from diptych.bench.table import BenchRow, _trained, markdown
from diptych.cli import main
from diptych.metrics.two_level import Variance
from diptych.recipe import Recipe
from diptych.scoring.cells import Cell

SIZE = 32


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root, noise = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 6)):
        for side in "AB":
            (root / f"{split}{side}").mkdir()
            for k in range(count):
                picture = noise.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) // (2 if side == "A" else 1)
                Image.fromarray(picture).save(root / f"{split}{side}" / f"{k}.png")
    return root


def recipes_of(images):
    data = {"source": [str(images)], "load_size": SIZE, "crop_size": SIZE, "holdout": 0.0}
    shared = {"ngf": 4, "ndf": 4, "num_layers": 1}
    methods = {"identity-off": {"generator": "resnet_1", "lambda_identity": 0.0}, "unet": {"generator": "unet_2"}}
    return {
        name: Recipe.create("cyclegan", {"method": shared | method, "data": data, "train": {"precision": "fp32"}})
        for name, method in methods.items()
    }


def test_a_bench_trains_scores_and_prints_and_goes_on_where_it_was(images, tmp_path, monkeypatch):
    asked = []

    def measure(name, recipe):
        asked.append(name)
        return Cost(1.0, 3_000_000, 4)

    def once(images=images):
        return bench(recipes_of(images), tmp_path / "out", measure, epochs=2, num_seeds=2, metrics=["kid", "mind", "cycle"])

    text, found = once()
    assert asked == ["identity-off", "unet"]
    assert "2 epochs a training, 2 seeds, last snapshots, 6 test images" in text
    for part in ("| identity-off |", "| unet |", "| 8 |", "0.00 GB", "| MIND ↓ |"):
        assert part in text
    assert [len(system.trainings) for system in found.systems] == [2, 2]
    assert {pair.found.metric for pair in found.pairs} == {"kid", "cycle"}  # nothing tests a difference of MIND
    assert (tmp_path / "out" / "bench.md").read_text() == text
    states = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("state-*")}
    assert once()[0] == text and asked == ["identity-off", "unet"]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("state-*")} == states
    monkeypatch.chdir(images.parent)
    assert once(images.name)[0] == text and asked == ["identity-off", "unet"]  # the same data by another path
    rows = json.loads((tmp_path / "out" / "bench.json").read_text())["rows"]
    assert {row["method"] for row in rows} == {"identity-off", "unet"} and all(row["images"] == 8 for row in rows)


def test_hours_are_those_of_the_logged_speeds(tmp_path):
    lines = [{"images": 100, "images_s": 2.0}, {"images": 200, "images_s": 4.0}, {"images": 210, "images_s": 0.0}]
    texts = [json.dumps({"step": number} | line) + "\n" for number, line in enumerate(lines)]
    (tmp_path / "stats.jsonl").write_text(texts[0] + '{"step": 1, "ima\n' + texts[1] + texts[2])  # a line was torn
    images, hours = _trained(tmp_path)  # 100 images at 2 a second and 100 at 4 are 75 seconds
    assert images == 210 and hours == pytest.approx(75 / 3600)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cyclegan", "cyclegan"], "bench: cyclegan is named twice"),
        (["cyclegan", "cutt"], "did you mean"),
        (["cyclegan", "cut", "--hours", "-1"], "--hours must be a number above 0, found -1"),
        (["cyclegan", "cut", "--hours", "0"], "--hours must be a number above 0, found 0; without it each recipe keeps its"),
        (["cyclegan", "cut", "--hours", "nan"], "--hours must be a number above 0, found nan"),
        (["cyclegan", "--epochs", "1"], "bench: compares two methods or more, found cyclegan"),
        (["cyclegan", "cut", "--metrics", "fid"], "bench: fid is no metric of a bench; choose among"),
        (["cyclegan", "cut", "--metrics", "kdi"], "no metric is called 'kdi'; did you mean"),
        # These are weights of metrics, not what training begins with.
        (["cyclegan", "--weights", "judges"], "bench: compares two methods or more, found cyclegan"),
        (["cyclegan", "cut", "--hours", "1", "--epochs", "2"], "not allowed with argument"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(words, message, images, capsys):
    assert main(["bench", *words, "--on", str(images)]) == 2
    assert message in capsys.readouterr().err


def test_marks_say_how_a_method_compares_with_the_first():
    of_none = Variance(0.0, 0)
    cells = [Cell(value, value - 0.1, value + 0.1, (value,), of_none, of_none) for value in (1.0, 0.5, 2.0, 1.1)]
    against = [{}, {"kid": "better"}, {"kid": "worse"}, {"kid": "undecided"}]
    rows = [
        BenchRow(name, "a2b", {"kid": found}, said, 1000, 0.5, 2_500_000_000)
        for name, found, said in zip(["base", "good", "bad", "same"], cells, against, strict=True)
    ]

    subject = SimpleNamespace(names=["x"] * 7)
    system = SimpleNamespace(name="base", trainings=[SimpleNamespace(subjects={"a2b": subject})])
    text = markdown(rows, SimpleNamespace(systems=[system]), "a budget", 1)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "| 0.500 [0.400, 0.600] + |" in lines["good"] and "7 test images" in text
    assert "] - |" in lines["bad"] and "] |" in lines["same"] and "] |" in lines["base"]
    assert "| 1,000 | 0.50 | 2.50 GB |" in lines["base"]


@pytest.mark.parametrize(
    ("name", "folder", "turned", "direction", "fid"),
    [
        ("cut", "data/horse2zebra", "a2b", "a2b", 45.5),
        ("horse2zebra", "horse2zebra/", "a2b", "a2b", 77.2),
        ("horse2zebra-fastcut", "horse2zebra", "a2b", "a2b", 73.4),
        ("unsb", "cityscapes", "b2a", "a2b", 53.2),  # labels are b of the data set
        ("unsb", "cityscapes", "a2b", "a2b", None),
        ("cut", "horse2zebra", "a2b", "b2a", None),
        ("santa", "horse2zebra", "a2b", "a2b", None),
        ("cut", "flowers", "a2b", "a2b", None),
    ],
)
def test_a_papers_number_is_of_the_same_method_data_set_and_direction(name, folder, turned, direction, fid):
    method = {"horse2zebra": "cyclegan", "horse2zebra-fastcut": "cut"}.get(name, name)
    found = reported(name, Recipe.create(method, {"data": {"source": [folder], "direction": turned}}), direction)
    assert (found and found.fid) == fid


def test_papers_numbers_stand_in_brackets_with_how_they_were_chosen():
    recipe = Recipe.create("unsb", {"data": {"source": ["horse2zebra"]}})
    of_none = Variance(0.0, 0)
    scores = {"kid": Cell(1.0, 0.9, 1.1, (1.0,), of_none, of_none)}
    papers = {"own": None, "unsb": reported("unsb", recipe, "a2b")}
    rows = [BenchRow(name, "a2b", scores, {}, 1000, 0.5, 2_500_000_000, paper) for name, paper in papers.items()]
    system = SimpleNamespace(name="own", trainings=[SimpleNamespace(subjects={"a2b": SimpleNamespace(names=["x"])})])
    text = markdown(rows, SimpleNamespace(systems=[system]), "a budget", 1)
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert lines["unsb"].endswith("| 2.50 GB | (35.7) |") and lines["own"].endswith("| 2.50 GB |  |")
    assert "unsb: Kim et al. 2024, the best epoch by the test images; others measured 67 at the last." in text
