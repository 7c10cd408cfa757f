"""`diptych train edges2photo photos/` makes the pairs that its recipe learns from, once, and only of plain photos."""

import pytest

from diptych.cli.pairs import on_pairs
from diptych.cli.prepare import KINDS
from diptych.cli.recipe_options import known_recipes
from diptych.data.folders import find_data
from diptych.errors import ConfigError, DataError
from diptych.prepare.pairs import Preparation, prepare
from diptych.prepare.recipes import RECIPES, kind_of
from tests.cli.pictures import diptych, folder, picture


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Six photos, in the working folder."""
    monkeypatch.chdir(tmp_path)
    return folder(tmp_path / "photos", 6)


def on(kind, *sources, **options):
    return on_pairs(kind, RECIPES[f"{kind}2photo"]().replace(**{"data.source": tuple(map(str, sources))}), **options)


def test_there_is_a_recipe_for_every_kind_of_pairs():
    assert [kind_of(name) for name in RECIPES] and {kind_of(name) for name in RECIPES} == set(KINDS)
    assert kind_of("cyclegan") is None and kind_of("day2photo") is None and known_recipes().keys() >= RECIPES.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_plain_photos_become_pairs_of_the_kind(kind, photos, capsys):
    (source,) = on(kind, photos).data.source
    assert source.startswith(f"runs/pairs/{kind}-") and source.endswith("/photos")
    layout = find_data([source], paired=True)
    assert len(layout.train.a) + len(layout.test.a if layout.test else ()) == 6
    assert "6 pairs of photos" in capsys.readouterr().err


def test_a_training_goes_on_with_the_pairs_of_before_and_those_of_new_photos(photos, capsys):
    on("sketch", photos)
    assert "6 of them made now" in capsys.readouterr().err
    on("sketch", photos)
    assert "0 of them made now" in capsys.readouterr().err
    picture(photos / "new.png", 9)
    on("sketch", photos)
    assert "7 pairs of photos" in (said := capsys.readouterr().err) and "1 of them made now" in said


def test_the_command_trains_on_the_pairs_that_it_made(photos, monkeypatch):
    trained = {}

    def train(recipe, out, **options):
        trained.update(source=recipe.data.source, out=str(out))
        raise ConfigError("enough")

    monkeypatch.setattr("diptych.training.loop.train", train)
    assert diptych("train", "blur2photo", "photos") == 2
    assert trained == {"source": on("blur", photos).data.source, "out": "runs/blur2photo-photos"}


def test_two_folders_of_one_name_keep_their_pairs_apart(photos, tmp_path):
    assert on("gray", photos).data.source != on("gray", folder(tmp_path / "other" / "photos", 1)).data.source


def test_pairs_are_taken_as_they_are(photos, tmp_path):
    prepare(photos, tmp_path / "pairs", Preparation("edges", strength=0.1))
    for side in "AB":
        folder(tmp_path / "mine" / f"train{side}", 2)
    for sources in ([tmp_path / "pairs"], [tmp_path / "mine"], [tmp_path / "mine" / "trainA", tmp_path / "mine" / "trainB"]):
        assert on("edges", *sources).data.source == tuple(map(str, sources))
    with pytest.raises(ConfigError, match="pairs: holds pairs of the kind edges; train edges2photo on them, or pass the photos"):
        on("gray", tmp_path / "pairs")


@pytest.mark.parametrize("side", ["trainA", "train_b", "A", "train/B", "training/a", "train_label"])
def test_a_folder_with_a_side_is_no_folder_of_photos(side, photos, tmp_path):
    folder(tmp_path / "mine" / side, 2)
    assert on("edges", tmp_path / "mine").data.source == (str(tmp_path / "mine"),)


@pytest.mark.parametrize("name", ["daisies", "train", "train/daisies", "beta"])
def test_other_folders_are_folders_of_photos(name, photos, tmp_path):
    folder(tmp_path / "mine" / name, 2)
    assert on("gray", tmp_path / "mine").data.source[0].startswith("runs/pairs/gray-")


def test_a_dry_run_makes_nothing(photos):
    with pytest.raises(ConfigError, match="photos: its pairs are not made yet; run `diptych prepare edges`"):
        on("edges", photos, dry_run=True)


def test_a_photo_that_cannot_be_used_is_named_and_strict_refuses_it(photos, capsys):
    (photos / "broken.png").write_bytes(b"no picture")
    on("gray", photos)
    assert "skipped: " in (said := capsys.readouterr().err) and "broken.png" in said
    with pytest.raises(DataError, match=r"broken\.png.*; 1 of 7 photos cannot be used"):
        on("gray", photos, strict=True)
