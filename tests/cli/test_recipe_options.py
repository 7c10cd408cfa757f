"""RECIPE, DATA, --preset and settings on a command line: in any order, checked before anything slow, and never ignored."""

import subprocess
import sys

import pytest

from diptych.cli import load, main, recipe_options
from diptych.cli.recipe_options import PAPERS, choose_recipe, known_recipes, parse, split_settings
from diptych.errors import ConfigError, DataError
from diptych.methods import METHODS
from diptych.presets import PRESETS, with_preset
from diptych.recipe import Recipe
from tests.cli.pictures import CYCLEGAN, diptych, folder


def recipe(*words, command="train"):
    return choose_recipe(parse(load(command).parser(), words))


@pytest.mark.parametrize("command", ["train", "plan", "ablate"])
@pytest.mark.parametrize(
    "words",
    [
        ["pix2pix", "imgs", "--preset", "laptop", "--train.seed", "3"],
        ["pix2pix", "--preset", "laptop", "imgs", "--train.seed", "3"],
        ["--preset", "laptop", "--train.seed", "3", "pix2pix", "imgs"],
        ["--train.seed=3", "pix2pix", "--preset=laptop", "imgs"],
        ["--train.seed", "3", "--preset", "laptop", "pix2pix", "--", "imgs"],
    ],
    ids=" ".join,
)
def test_options_and_settings_stand_before_between_or_after_the_data(command, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imgs").mkdir()
    found = recipe(*words, command=command)
    assert found.data.source == ("imgs",) and found.train.seed == 3
    assert found.data.crop_size == 128 and found.method.generator == "unet_7"


def test_the_word_after_a_setting_is_its_value_whatever_it_looks_like():
    words = ["a", "--train.lr", "-1", "--out", "runs/a.b", "--method.x=-2e-3", "b", "--train.betas", "[0.5, 0.9]", "--out=x.y"]
    assert split_settings(words) == (
        ["a", "--out", "runs/a.b", "b", "--out=x.y"],
        ["--train.lr=-1", "--method.x=-2e-3", "--train.betas=[0.5, 0.9]"],
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train.seed", "-1"], "train.seed must be at least 0, found -1"),
        (["--train.seed", "9" * 30], "train.seed must be below 2"),
        (["--train.lr", "-1"], "found -1.0"),
        (["--train.lr", "-1e-3"], "found -0.001"),
        (["--train.epochs"], "--train.epochs needs a value, found nothing after it; write --train.epochs VALUE"),
        (["--train.epochs", "--dry-run"], "--train.epochs needs a value, found --dry-run"),
        (["--trian.epochs", "5"], "no setting is called --trian.epochs; did you mean --train.epochs?"),
        (["--optimizer.lr", "5"], "no setting is called --optimizer.lr; parts are method, data, train, start"),
        (["--lgo-every", "5"], "no option is called --lgo-every; did you mean --log-every?; see `diptych train --help`"),
        (["--preset", "laptp"], "--preset must be one of paper, laptop, found 'laptp'; did you mean laptop?"),
        (["--preset", "x"], "--preset must be one of paper, laptop, found 'x'"),
    ],
)
def test_a_wrong_word_is_named(words, message):
    with pytest.raises(ConfigError) as caught:
        recipe("cyclegan", "relief", *words)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("word", ["cyclegan", "horse2zebra"])
def test_a_run_that_goes_on_takes_no_method_and_does_not_take_its_name_for_data(word):
    with pytest.raises(
        ConfigError, match=f"{word}: a run that goes on with --from keeps its method and settings; leave {word} out"
    ):
        recipe(word, "--from", "runs/x", "--more-epochs", "2")


@pytest.mark.parametrize("name", ["facades", "horse2zebra", "maps"])
def test_a_preset_is_applied_to_an_experiment_and_keeps_its_other_settings(name):
    plain, small = recipe(name, "relief"), recipe(name, "relief", "--preset", "laptop")
    changes = PRESETS["laptop"][plain.method.name]
    assert small.data.crop_size == 128 and small.method.ngf == 32
    assert small == plain.replace(**{f"{part}.{key}": value for part, found in changes.items() for key, value in found.items()})
    assert recipe(name, "relief", "--preset", "paper") == plain
    assert recipe(name, "relief", "--preset", "laptop", "--method.ngf", "8").method.ngf == 8


@pytest.mark.parametrize("word", sorted(PAPERS))
def test_what_papers_call_a_method_leads_to_its_name_here(word):
    meant, *words = PAPERS[word].split()
    with pytest.raises(ConfigError, match=f"no method or recipe is called '{word.upper()}'; did you mean {PAPERS[word]}\\?"):
        recipe(word.upper(), "relief")
    assert recipe(meant, "relief", *words).method.name in METHODS


def weight_of(values):
    """What makes a training large: the crop's sides, the epochs, and the widths of the networks."""
    crop, train = values["data"]["crop_size"], values["train"]
    widths = [values["method"].get(key, 0) for key in ("ngf", "ndf", "nef")]
    return [*(crop if isinstance(crop, list) else (crop, crop)), train["epochs"] + train["decay_epochs"], *widths]


def test_the_laptop_preset_makes_no_experiment_larger_or_longer():
    recipes = known_recipes()
    for name, made in recipes.items():
        plain = made().to_dict()
        small = with_preset(plain, "laptop", name)
        assert all(after <= before for before, after in zip(weight_of(plain), weight_of(small), strict=True)), name


def test_the_laptop_preset_leaves_what_is_small_already_and_sincut_its_networks():
    assert recipe("relief", "--preset", "laptop") == recipe("relief")
    shoes, small = (recipe("edges2shoes", "relief", *words) for words in ([], ["--preset", "laptop"]))
    assert (small.train, small.data.crop_size, small.method.generator) == (shoes.train, 128, "unet_7")
    one, small = (recipe("single-image", "relief", *words) for words in ([], ["--preset", "laptop"]))
    assert (small.method, small.data) == (one.method, one.data) and small.train.epochs == one.train.epochs / 10


@pytest.mark.parametrize("preset", ["laptop", "paper"])
def test_a_preset_beside_a_file_is_refused_by_name(preset, tmp_path):
    (tmp_path / "mine.yaml").write_text(Recipe.create("pix2pix").to_yaml())
    with pytest.raises(ConfigError, match=rf"--preset {preset}: \S+mine.yaml holds its own settings; leave --preset out"):
        recipe(str(tmp_path / "mine.yaml"), "relief", "--preset", preset)


def test_a_folder_that_is_not_there_is_named_before_an_old_run_is_compared(cyclegan_run, capsys):
    data = cyclegan_run.parent / "data"
    assert diptych("train", "cyclegan", f"{data}s", "--out", cyclegan_run, *CYCLEGAN) == 2
    assert capsys.readouterr().err == (
        f"error: {data}s: no such folder, and no embedded data of this name (relief); did you mean {data}?\n"
    )


def test_folders_named_in_a_recipe_are_checked_too(tmp_path):
    (tmp_path / "mine.yaml").write_text(Recipe.create("pix2pix", {"data": {"source": ["no-such-folder"]}}).to_yaml())
    with pytest.raises(DataError, match="no-such-folder: no such folder"):
        recipe(str(tmp_path / "mine.yaml"))
    folder(tmp_path / "data")
    assert recipe(str(tmp_path / "mine.yaml"), str(tmp_path / "data")).data.source == (str(tmp_path / "data"),)


WITHOUT_TORCH = """
import sys
from diptych.cli import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules, "torch was imported"
sys.exit(code)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["trian"],
        ["train", "cyclegam", "x"],
        ["train", "cyclegan", "no-such-folder"],
        ["plan", "facade", "relief"],
        ["ablate", "pix2pics", "relief"],
        ["train", "pix2pix", "relief", "--preset", "fast"],
        ["train", "pix2pix", "relief", "--lgo-every", "5"],
        ["train", "missing.yaml", "relief"],
    ],
    ids=" ".join,
)
def test_a_wrong_word_is_found_before_torch_is_imported(words, tmp_path):
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr


def test_the_parts_that_settings_may_name_are_those_of_a_recipe():
    start = {"start": {"freeze": ["G_ab"]}}  # without it, a recipe says nothing of a start
    assert set(Recipe.create("pix2pix", start).to_dict()) == {*recipe_options.PARTS, "extra"}


def test_weights_of_the_metrics_of_an_ablation_are_not_what_training_begins_with(capsys):
    words = ["ablate", "pix2pix", "relief", "--weights", "judges", "--variants", "l3", "--dry-run", "--device", "cpu"]
    assert main(words) == 2
    assert "ablate: pix2pix has no variant 'l3'; choose among l1" in capsys.readouterr().err
