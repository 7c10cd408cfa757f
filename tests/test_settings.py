"""Settings are checked by the rules in their types, in one line that names setting, rule and value."""

from dataclasses import dataclass, fields
from typing import Literal, get_origin, get_type_hints

import pytest

from diptych.errors import ConfigError
from diptych.methods import method_config
from diptych.recipe import Recipe, TrainConfig
from diptych.settings import Count, Fraction, Positive, Weight, Whole, check_settings, without_effect
from tests.contract.small import NAMES

NAN, INF = float("nan"), float("inf")


@dataclass(frozen=True)
class Settings:
    count: Count = 1
    whole: Whole = 0
    weight: Weight = 0.0
    positive: Positive = 0.1
    pair: tuple[Fraction, Fraction] = (0.0, 0.999)
    kind: Literal["one", "two"] = "one"
    plain: float = -3.0
    names: tuple[str, ...] = ("a", "b", "c")

    def __post_init__(self) -> None:
        check_settings(self, "part")


def test_values_on_the_border_of_their_rules_pass():
    assert Settings(count=1, whole=0, weight=0, positive=1e-9, plain=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "part.count must be at least 1, found 0"),
        ({"count": 2.0}, "part.count must be a whole number, found 2.0"),
        ({"count": True}, "part.count must be a whole number, found True"),
        ({"whole": -1}, "part.whole must be at least 0, found -1"),
        ({"weight": -5.0}, "part.weight must be at least 0, found -5.0"),
        ({"weight": NAN}, "part.weight must be a finite number, found nan"),
        ({"weight": INF}, "part.weight must be a finite number, found inf"),
        ({"weight": "1"}, "part.weight must be a finite number, found '1'"),
        ({"positive": 0.0}, "part.positive must be greater than 0, found 0.0"),
        ({"pair": (0.5, 1.0)}, "part.pair[1] must be at least 0 and below 1, found 1.0"),
        ({"kind": "three"}, "part.kind must be one of one, two, found 'three'"),
        ({"plain": NAN}, "part.plain must be a finite number, found nan"),
    ],
)
def test_a_value_that_breaks_a_rule_is_named(values, message):
    with pytest.raises(ConfigError) as caught:
        Settings(**values)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("method", "override", "message"),
    [
        ("pix2pix", ["--method.lambda_l1=-5"], "method.lambda_l1 must be at least 0, found -5.0"),
        ("pix2pix", ["--method.pixel_loss.foreground", "-1"], "pixel_loss.foreground must be greater than 0, found -1.0"),
        ("cyclegan", ["--method.ngf", "0"], "method.ngf must be at least 1, found 0"),
        ("cyclegan", ["--method.num_layers", "-1"], "method.num_layers must be at least 0, found -1"),
        ("cyclegan", ["--method.pool_size", "-1"], "method.pool_size must be at least 0, found -1"),
        ("cyclegan", ["--method.generator", "resnet_x"], "method.generator must be resnet_N, .*, found 'resnet_x'"),
        ("cyclegan", ["--method.generator", "unet_1"], "method.generator must be .* at least 2, .*, found 'unet_1'"),
        ("cyclegan", ["--method.gan", "x"], r"method.gan: expected one of \['vanilla', .*\], found x"),
        ("cyclegan", ["--method.pixel_loss", "bce"], "method.pixel_loss: expected settings by name, .*_loss.kind, found .bce."),
        ("cyclegan", ["--train.lr", "-1"], "train.lr must be at least 0, found -1.0"),
        ("cyclegan", ["--train.seed", "-3"], "train.seed must be at least 0, found -3"),
        ("cyclegan", ["--train.betas", "[0.5, 1]"], r"train.betas\[1\] must be at least 0 and below 1, found 1"),
    ],
)
def test_a_wrong_setting_on_the_command_line_is_one_clear_line(method, override, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Recipe.create(method, None, override)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rate", [".nan", "-.inf"])
def test_a_rate_in_a_file_that_is_no_number_is_refused(rate, tmp_path):
    (tmp_path / "r.yaml").write_text(f"method: {{name: pix2pix}}\ntrain: {{lr: {rate}}}\n")
    with pytest.raises(ConfigError, match=r"train\.lr must be a finite number, found"):
        Recipe.load(tmp_path / "r.yaml")


def asked(name, **settings):
    """What a recipe asks at its door, of a method's settings or of the training's."""
    return TrainConfig(**settings) if name == "train" else Recipe(method_config(name)(**settings))


def config_of(name):
    return TrainConfig if name == "train" else method_config(name)


@pytest.mark.parametrize("name", ["train", *NAMES])
def test_no_number_may_be_nan_or_absurdly_small(name):
    numbers = [field.name for field in fields(config_of(name)) if type(field.default) in (int, float)]
    assert len(numbers) >= 5
    for number in numbers:
        for value in (NAN, -1):
            with pytest.raises(ConfigError, match=rf"\.{number} must be .*, found {value}"):
                asked(name, **{number: value})


@pytest.mark.parametrize("name", ["train", *NAMES])
def test_a_choice_that_is_not_offered_is_refused_in_python_too(name):
    choices = [key for key, hint in get_type_hints(config_of(name)).items() if get_origin(hint) is Literal]
    assert choices
    for choice in choices:
        with pytest.raises(ConfigError, match=rf"\.{choice} must be one of .*, found 'x'"):
            asked(name, **{choice: "x"})


@pytest.mark.parametrize(
    ("method", "settings", "idle"),
    [
        ("cut", {"method.hdce_gamma": 20}, "method.hdce_gamma has no effect without method.contrast hdce"),
        ("cut", {"method.hdce_gamma": 20, "method.contrast": "hdce"}, None),
        ("cut", {"method.norm": "none", "method.generator": "stylegan2"}, "method.norm has no effect without a resnet"),
        ("cyclegan", {"method.lambda_gp": 5}, "method.lambda_gp has no effect without method.gan wgan"),
        ("cyclegan", {"method.lambda_gp": 5, "method.gan": "wgan"}, None),
        ("uvcgan2", {"method.lambda_gp": 5}, None),  # a penalty of its own, which needs no wgan
        ("uvcgan2", {"method.num_blocks": 4}, "method.num_blocks has no effect without method.generator vit_modnet"),
        ("dclgan", {"method.lambda_pair": 3}, "method.lambda_pair has no effect without data.pairs above 0"),
        ("dclgan", {"method.lambda_pair": 3, "data.pairs": 0.5}, None),
        ("pix2pixhd", {"method.nef": 8}, "method.nef has no effect without method.num_features"),
        ("bridge", {"train.ema_warm_up": True}, "train.ema_warm_up has no effect without train.ema above 0"),
        ("bridge", {"train.discriminator.r1_every": 4}, "r1_every has no effect without method.lambda_r1 above 0"),
    ],
)
def test_a_setting_without_effect_is_named_with_what_it_needs(method, settings, idle):
    recipe = Recipe.create(method, overrides=[f"--{name}={value}".replace("True", "true") for name, value in settings.items()])
    lines = list(without_effect(recipe, settings))
    assert len(lines) == (idle is not None)
    assert idle is None or idle in lines[0]
