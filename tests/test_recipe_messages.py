"""What a recipe says about a mistake, word for word: the setting as the user writes it, the rule, what was found, what to do."""

import pytest

from diptych.errors import ConfigError
from diptych.recipe import Recipe, TrainConfig

ADVERSARIAL = "expected one of ['vanilla', 'lsgan', 'hinge', 'wgan']"
YAML = "look for a bracket or a quotation mark that is not closed"


def said(make, *arguments):
    with pytest.raises(ConfigError) as caught:
        make(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": 5}, "train: expected settings by name such as train: {...}, found 5"),
        ({"data": "maps"}, "data: expected settings by name such as data: {...}, found 'maps'"),
        ({"train": {"epochs": "many"}}, "train.epochs: expected int, found many"),
        ({"train": {"lr": [1]}}, "train.lr: expected float, found [1]"),
        ({"method": {"gan": "wgan-gp"}}, f"method.gan: {ADVERSARIAL}, found wgan-gp"),
        ({"extra": 5}, "extra: expected list, found 5; put terms in [ ], or add one with --extra+"),
        ({"train": {"seed": 1.5}}, "train.seed: expected int, found 1.5"),
        ({"train": {"lr": -1.0}}, "train.lr must be at least 0, found -1.0"),
        # unknown settings: the nearest by its whole name, by its last part, or all that there are
        ({"train": {"epoch": 5}}, "recipe: no setting is called train.epoch; did you mean train.epochs?"),
        ({"training": {"epochs": 5}}, "recipe: no setting is called training.epochs; did you mean train.epochs?"),
        ({"epochs": 5}, "recipe: no setting is called epochs; did you mean train.epochs?"),
        ({"lr": 5}, "recipe: no setting is called lr; did you mean train.lr?"),
        ({"cropsize": 5}, "recipe: no setting is called cropsize; did you mean data.crop_size?"),
        ({"train": {"ngf": 5}}, "recipe: no setting is called train.ngf; did you mean method.ngf?"),
        (
            {"method": {"pool_size": 5}},
            "recipe: no setting is called method.pool_size in pix2pix; it is one of cyclegan, stegogan and uvcgan2; "
            "leave it out here",
        ),
        (
            {"train": {"steps": 5}},
            "recipe: no setting is called train.steps; did you mean train.epochs? (method.steps is one of bridge)",
        ),
        ({"flipp": 5}, "recipe: no setting is called flipp; did you mean data.flip?"),
        (
            {"method": {"pixel_loss": {"knd": 1}}},
            "recipe: no setting is called method.pixel_loss.knd; did you mean method.pixel_loss.kind?",
        ),
        (
            {"method": {"pixel_loss": {"knd": {}}}},
            "recipe: no setting is called method.pixel_loss.knd; did you mean method.pixel_loss.kind?",
        ),
        (
            {"train": {}, "method": {"pixel_lss": {}}},
            "recipe: no setting is called method.pixel_lss; did you mean method.pixel_loss.kind?",
        ),
        (
            {"method": {"foreground": 2}},
            "recipe: method.foreground is called method.pixel_loss.foreground now; give --method.pixel_loss.foreground",
        ),
    ],
)
def test_a_wrong_setting(settings, message):
    assert said(Recipe.create, "pix2pix", settings) == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train.epochs", "x"], "train.epochs: expected int, found x"),
        (["--train.epochs"], "argument --train.epochs: expected one argument"),
        (["--epochs", "5"], "recipe: no setting is called epochs; did you mean train.epochs?"),
        (["--method.ng", "5"], "recipe: no setting is called method.ng; did you mean method.ngf?"),  # no abbreviations
        (["--train.lr", "nan"], "train.lr must be a finite number, found nan"),
        (["--train.lr", "+Infinity"], "train.lr must be a finite number, found +Infinity"),
        (["--train.lr=-inf"], "train.lr must be a finite number, found -inf"),
        (["--train.lr", "nano"], "train.lr: expected float, found nano"),
        (["--train.epochs", "inf"], "train.epochs: expected int, found inf"),
        (["--train.betas", "[0.5"], f"train.betas: not valid YAML, found [0.5; {YAML}"),
        (["--train.betas", "[0.5, 2]"], "train.betas[1] must be at least 0 and below 1, found 2.0"),
        (["--train", "x"], 'train: expected settings by name, such as train.epochs, found "x"'),
        (["--method.pixel_loss", "x"], 'method.pixel_loss: expected settings by name, such as method.pixel_loss.kind, found "x"'),
        (["--data.flip", "maybe"], "data.flip: expected bool, found maybe"),
        (["--help", "me"], "recipe: no setting is called help; did you mean flip?"),
        (["x"], "unrecognized arguments: x"),
    ],
)
def test_a_wrong_word_on_the_command_line(words, message):
    assert said(Recipe.create, "pix2pix", None, words) == message


def test_a_setting_that_is_near_nothing_is_answered_with_all_that_there_are():
    message = said(Recipe.create, "pix2pix", {"zqzq": 1})
    beginning, _, known = message.partition("; ")
    assert beginning == "recipe: no setting is called zqzq"
    assert (
        known.startswith("known: method.generator, method.ngf, method.dropout, ")
        and ", train.checkpoint, " in known
        and ", extra" in known
    )


@pytest.mark.parametrize("value", [5, None, [1], "x"])
def test_a_group_of_settings_that_is_something_else_is_refused_wherever_it_stands(value):
    message = f"method.pixel_loss: expected settings by name such as pixel_loss: {{...}}, found {value!r}"
    assert said(Recipe.create, "pix2pix", {"train": {"epochs": 5}, "method": {"pixel_loss": value}}) == message


@pytest.mark.parametrize(("settings", "words"), [({"extra": None}, []), (None, ["--extra", "null"])])
def test_added_losses_that_are_no_list_are_refused(settings, words):
    assert said(Recipe.create, "pix2pix", settings, words).startswith("extra: expected list, found None; ")


@pytest.mark.parametrize("values", [{"train": {}}, {"method": {"ngf": 3}}, {"method": 5}, {"method": {"name": 5}}])
def test_a_recipe_without_a_method(values):
    assert said(Recipe.from_dict, values) == "a recipe needs method.name, e.g. method: {name: cyclegan}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n- 2", ": a recipe is a mapping with the keys method, data, train, extra"),
        (
            "method: [",
            ": cannot be read as YAML or JSON: expected the node content, but found '<stream end>' (line 1, column 10)",
        ),
    ],
)
def test_a_file_that_is_no_recipe(text, message, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    found = said(Recipe.load, path)
    assert found.startswith(f"{path}{message}") and "\n" not in found and "  " not in found


def test_settings_that_contradict_each_other():
    nothing = "train.epochs and train.decay_epochs are both 0; set at least one of them"
    assert said(lambda: TrainConfig(epochs=0, decay_epochs=0)) == nothing
    parts = "train.accumulate 4 must divide train.batch_size 6 into equal parts; choose one of its divisors"
    assert said(lambda: TrainConfig(batch_size=6, accumulate=4)) == parts
    twice = [{"loss": "pixel", "between": ["fake_b", "real_a"]}] * 2
    found = said(Recipe.create, "pix2pix", {"extra": twice})
    assert found == "extra: pixel between fake_b and real_a stands there twice; keep one of them"


def test_rules_of_the_settings_are_named_by_their_part():
    assert said(lambda: TrainConfig(ema=1.0)) == "train.ema must be at least 0 and below 1, found 1.0"
    assert said(Recipe.create, "cyclegan", {"method": {"pool_size": -1}}) == "method.pool_size must be at least 0, found -1"
