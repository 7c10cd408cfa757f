"""The papers' variants are trained under one budget, resumed, run side by side, and scored alike."""

import json
import multiprocessing.process
import shutil
import threading
import time

import numpy as np
import pytest
from PIL import Image

from diptych.ablation.ablate import comparable_images
from diptych.ablation.trials import score, trials_of
from diptych.ablation.variants import VARIANTS, recipe_of, segmenter_recipe
from diptych.cli.ablate import main
from diptych.data.census import take_census
from diptych.data.folders import find_data
from diptych.errors import ConfigError, Interrupted, TrainingError
from diptych.evaluation.instruments import Instruments
from diptych.palette import Palette
from diptych.recipe import Recipe, flat
from diptych.run import Run
from diptych.scoring.many import train_all
from diptych.training.distributed import World
from diptych.training.preparation import build_method
from tests.training.stopping import ask_to_stop

SIZE = 32
TINY = {"ngf": 4, "ndf": 4, "norm": "instance"}
TRAIN = {"epochs": 1, "decay_epochs": 0, "precision": "fp32"}
COLOURS = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200]], dtype=np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Label maps of three colours, and photos that show each class as a texture of its own."""
    root, noise = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 3)):
        for side in "AB":
            (root / f"{split}{side}").mkdir()
        for k in range(count):
            classes = np.kron(noise.integers(0, 3, (4, 4)), np.ones((8, 8), int))
            photo = classes[..., None] * 60 + noise.integers(0, 60, (SIZE, SIZE, 3))
            Image.fromarray(COLOURS[classes]).save(root / f"{split}A" / f"{k}.png")
            Image.fromarray(photo.astype(np.uint8)).save(root / f"{split}B" / f"{k}.png")
    return root


def base_of(images, method="pix2pix", **settings):
    settings = {"generator": "unet_3", **TINY, "num_layers": 1} | ({"pool_size": 2} if method == "cyclegan" else {}) | settings
    data = {"source": [str(images)], "load_size": SIZE, "crop_size": SIZE, "holdout": 0.0}
    return Recipe.create(method, {"method": settings, "data": data, "train": TRAIN})


@pytest.mark.parametrize("method", VARIANTS)
def test_variants_differ_from_the_base_only_as_the_paper_says(images, method):
    base = flat(base_of(images, method).to_dict())
    for trial in trials_of(base_of(images, method), (), 2, images):
        changed = {key: value for key, value in flat(trial.recipe.to_dict()).items() if value != base[key]}
        expected = {f"method.{key}": value for key, value in trial.variant.settings.items()} | {"train.seed": trial.seed}
        expected |= {"method.generator": "encoder_decoder_3"} if "method.generator" in expected else {}
        assert changed.items() <= expected.items(), trial.name
        assert trial.folder == images / trial.variant.name / f"seed-{trial.seed}"


@pytest.mark.parametrize("method", VARIANTS)
def test_every_variant_builds_and_has_the_networks_of_its_name(images, method):
    base = base_of(images, method).replace(**{"data.crop_size": 96, "data.load_size": 96})
    census = take_census(find_data([str(images)], paired=True).train)
    for variant in VARIANTS[method]:
        built = build_method(recipe_of(base, variant, 0), census, World())
        assert ("D" in built.phases()) == (variant.settings.get("lambda_gan") != 0.0), variant.name
        if variant.name.startswith("patch-"):
            assert built.D_b.receptive_field == int(variant.name.removeprefix("patch-"))


def test_a_generator_without_skips_to_take_out_is_refused(images):
    with pytest.raises(ConfigError, match=r"takes the skips out of a U-Net, found method\.generator resnet_6; choose unet_N"):
        trials_of(base_of(images, generator="resnet_6"), (), 1, images)


def test_an_unknown_variant_is_refused_with_the_known_ones(images):
    with pytest.raises(ConfigError, match="pix2pix has no variant 'full'; choose among l1, gan, cgan"):
        trials_of(base_of(images), ["full"], 1, images)


def test_the_segmenter_learns_from_photos_to_labels_whichever_way_the_base_goes(images):
    base = base_of(images)
    assert segmenter_recipe(base, "a").data.direction == "b2a" and segmenter_recipe(base, "b").data.direction == "a2b"
    assert segmenter_recipe(base.replace(**{"data.direction": "b2a"}), "a").data.direction == "a2b"
    cyclegan = segmenter_recipe(base_of(images, "cyclegan"), "a")
    assert (cyclegan.method.name, cyclegan.method.lambda_gan, cyclegan.method.generator) == ("pix2pix", 0.0, "unet_3")


def test_the_command_trains_scores_and_prints_the_papers_table_and_goes_on_where_it_was(images, tmp_path, capsys):
    recipe = tmp_path / "base.yaml"
    recipe.write_text(base_of(images).to_yaml())
    command = [str(recipe), "--out", str(tmp_path / "out"), "--seeds", "2", "--variants", "l1,cgan,l1-cgan", "--device", "cpu"]
    command += ["--labels", "a", "--palette", "auto:3", "--metrics", "fcn_pixel,fcn_iou,psnr"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    for row in ("| L1 |", "| cGAN |", "| L1 + cGAN |", "| Ground truth |", "### Losses, a to b", "pairs of variants"):
        assert row in printed
    assert (tmp_path / "out" / "tables.md").read_text() in printed
    with Image.open(tmp_path / "out" / "figure-a2b.png") as figure:
        assert figure.width > 5 * SIZE  # input, three variants, truth
    numbers = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert numbers["a2b"].keys() == {"l1", "cgan", "l1-cgan"}
    state = next((tmp_path / "out" / "l1" / "seed-1").glob("state-*"))
    before = state.stat().st_mtime_ns, (tmp_path / "out" / "l1" / "seed-1" / "evaluation.json").stat().st_mtime_ns
    assert main(command) == 0 and capsys.readouterr().out == printed
    assert (state.stat().st_mtime_ns, (tmp_path / "out" / "l1" / "seed-1" / "evaluation.json").stat().st_mtime_ns) == before


@pytest.mark.parametrize("count", [1, 2])
def test_a_single_test_image_is_warned_of(images, tmp_path, count, caplog):
    for folder in ("trainA", "trainB"):
        shutil.copytree(images / folder, tmp_path / "data" / folder)
    for k in range(count):
        for side in ("testA", "testB"):
            (tmp_path / "data" / side).mkdir(exist_ok=True)
            shutil.copy(images / side / f"{k}.png", tmp_path / "data" / side)
    assert len(comparable_images(base_of(tmp_path / "data"), tmp_path / "out", None).split.a) == count
    said = f"{tmp_path}/data: 1 test image on a side, which shows nothing of how the variants differ on other images"
    assert (said in caplog.text) == (count == 1)


def test_a_score_is_kept_only_while_everything_that_enters_it_stays(images, tmp_path):
    data = shutil.copytree(images, tmp_path / "data")
    (trial,) = trials_of(base_of(data), ["l1"], 1, tmp_path / "out")
    train_all([trial], ["cpu"], options={"num_previews": 0, "workers": 0}, watch=lambda name: lambda step: None)
    palettes = [Palette(COLOURS), Palette(COLOURS, ignored=np.array([[0, 0, 0]]))]

    def scored(metrics=("psnr",), **tools):
        split = find_data([str(data)], paired=True).test
        return score(trial, split, metrics, Instruments(**tools)), (trial.folder / "evaluation.json").stat().st_mtime_ns

    first, again = scored(), scored()
    assert first == again
    changes = [{"metrics": ("psnr", "l1")}, {"seed": 1}, {"resamples": 500}]
    changes += [{"metrics": ("fcn_pixel",), "labels": "b", "palette": palette} for palette in palettes]
    written = first[1]
    for change in [*changes, {}]:
        _, when = scored(**change)
        assert when != written, change
        written = when
    Image.fromarray(np.full((SIZE, SIZE, 3), 90, np.uint8)).save(data / "testB" / "1.png")  # the test set was replaced
    (replaced, _), before = scored(), first[0]
    means = [[r["estimate"]["value"] for r in e["results"] if r["of"] == "model"] for e in (before, replaced)]
    assert means[0] != means[1] and replaced["images"]["a2b"][0] == before["images"]["a2b"][0]


def test_side_by_side_a_trial_learns_what_it_learns_alone_and_one_that_fails_is_named_with_its_reason(images, tmp_path):
    how = {"options": {"num_previews": 0, "workers": 0}, "watch": lambda name: lambda step: None}
    alone, beside = [trials_of(base_of(images), ["l1", "cgan"], 1, tmp_path / name) for name in ("one", "two")]
    train_all(alone[:1], ["cpu"], **how)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "cgan").write_text("in the way")
    with pytest.raises(
        TrainingError, match=r"^ablate: cgan, seed 0: .*cannot be made or written.*; mend it and run the same command"
    ):
        train_all(beside, ["cpu#0", "cpu#1"], **how)
    split = find_data([str(images)], paired=True).test
    one, two = (score(trials[0], split, ["psnr"], Instruments())["results"] for trials in (alone, beside))
    assert [r["estimate"]["value"] for r in one] == pytest.approx([r["estimate"]["value"] for r in two], rel=1e-3)


def test_trials_side_by_side_are_told_once_to_stop_and_are_saved(images, tmp_path, monkeypatch):
    told = []  # a second signal would end a training at once, unsaved
    terminate = multiprocessing.process.BaseProcess.terminate
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "terminate", lambda self: (told.append(self.pid), terminate(self)))
    base = base_of(images).replace(**{"train.epochs": 5000})
    trials = trials_of(base, ["l1", "cgan"], 1, tmp_path)

    def stop():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not all((t.folder / "stats.jsonl").exists() for t in trials):
            time.sleep(0.05)
        ask_to_stop()

    waiter = threading.Thread(target=stop)
    waiter.start()
    with pytest.raises(Interrupted, match="stopped and saved; run the same command to go on"):
        train_all(trials, ["cpu#0", "cpu#1"], options={"num_previews": 0, "workers": 0}, watch=lambda name: lambda step: None)
    waiter.join()
    assert len(told) == len(set(told)) == 2
    for trial in trials:
        assert Run(trial.folder).states(), f"{trial.name} was not saved"
