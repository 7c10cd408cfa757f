"""In a study's folder nothing but the pixels tells real pictures from fake ones, and unfair sets are refused."""

import resource
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from diptych.errors import ConfigError, DataError, StorageError
from diptych.study.database import database_of
from diptych.study.folder import Secrets, Study, new_token
from diptych.study.make import new_study, scrambled
from diptych.study.protocol import Protocol

SMALL = Protocol(practice=1, trials=2)


def test_all_pictures_have_one_size_in_bytes_and_no_metadata(folders, tmp_path):
    marked = tmp_path / "marked"
    marked.mkdir()
    for file in folders["one"].iterdir():
        info = PngImagePlugin.PngInfo()
        info.add_text("Software", "a generator")
        Image.open(file).save(marked / file.name, pnginfo=info, dpi=(72, 72))
    study, _, _ = new_study(tmp_path / "s", folders["real"], {"m": marked}, SMALL)
    files = list((tmp_path / "s" / "pictures").iterdir())
    assert len(files) == 24 and len({file.stat().st_size for file in files}) == 1
    for file in files:
        chunks = file.read_bytes()
        assert b"tEXt" not in chunks and b"pHYs" not in chunks and b"generator" not in chunks
        assert not any(picture.name in file.name or picture.source in file.name for picture in study.pictures.values())
    for id, picture in study.pictures.items():
        source = folders["real"] if picture.source == "real" else folders["one"]
        assert np.array_equal(np.asarray(Image.open(study.file(id))), np.asarray(Image.open(source / f"{picture.name}.png")))


def test_names_differ_from_study_to_study_and_files_are_the_owners_alone(make, folders, tmp_path):
    study, _ = make()
    other, _, _ = new_study(tmp_path / "other", folders["real"], {"one": folders["one"]}, SMALL)
    assert not set(study.pictures) & set(other.pictures)
    for name in ("study.json", "secrets.json", "answers.sqlite"):
        assert stat.S_IMODE((study.folder / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE((study.folder / "pictures").stat().st_mode) == 0o700


def test_a_study_is_read_as_it_was_written(make):
    study, token = make(Protocol("single", trials=6, practice=1, catch=2), languages=["de"], consent={"de": "Ja?"}, title="T")
    assert Study.load(study.folder) == study and study.consent == {"de": "Ja?"}
    assert token not in "".join(file.read_text() for file in study.folder.glob("*.json"))
    assert len(study.named("catch")) == 10 and new_token(study.folder) != token


def test_gray_pictures_become_rgb_and_sizes_are_made_alike_on_request(folders, tmp_path):
    gray = tmp_path / "gray"
    gray.mkdir()
    for file in folders["one"].iterdir():
        Image.open(file).convert("L").resize((24, 20)).save(gray / file.name)
    with pytest.raises(DataError, match=r"is 24x20, but .* is 16x16; give --size WIDTHxHEIGHT"):
        new_study(tmp_path / "s", folders["real"], {"m": gray}, SMALL)
    study, _, _ = new_study(tmp_path / "s", folders["real"], {"m": gray}, SMALL, size=(16, 18))
    for id in study.pictures:
        with Image.open(study.file(id)) as image:
            assert (image.size, image.mode) == ((16, 18), "RGB")


def test_a_catch_picture_has_the_same_pixels_in_another_order():
    pixels = np.random.default_rng(1).integers(0, 256, (32, 40, 3), np.uint8)
    mixed = scrambled(pixels)
    assert not np.array_equal(mixed, pixels)
    assert np.array_equal(np.sort(mixed.reshape(-1, 3), axis=0), np.sort(pixels.reshape(-1, 3), axis=0))


def without(folder: Path, target: Path, name: str) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        if file.name != name:
            (target / file.name).write_bytes(file.read_bytes())
    return target


def test_sets_that_cannot_be_compared_are_refused(folders, tmp_path):
    fewer = without(folders["two"], tmp_path / "fewer", "p03.png")
    with pytest.raises(DataError, match=r"two: its pictures have other names than those of one \(p03 is in one only\)"):
        new_study(tmp_path / "s", folders["real"], {"one": folders["one"], "two": fewer}, SMALL)
    copied = without(folders["one"], tmp_path / "copied", "p00.png")
    (copied / "p00.png").write_bytes((folders["real"] / "p05.png").read_bytes())
    with pytest.raises(DataError, match=r"copied/p00.png: has the same pixels as .*p05.png"):
        new_study(tmp_path / "s1", folders["real"], {"one": copied}, SMALL)
    twins = without(folders["one"], tmp_path / "twins", "")
    Image.open(twins / "p00.png").save(twins / "p00.webp")
    with pytest.raises(DataError, match=r"p00.webp: has the name of|p00.png: has the name of"):
        new_study(tmp_path / "s2", folders["real"], {"one": twins}, SMALL)
    np.save(without(folders["one"], tmp_path / "deep", "p00.png") / "p00.npy", np.zeros((16, 16, 3), np.uint16))
    with pytest.raises(DataError, match=r"p00.npy: has 3 channels of uint16; a browser shows"):
        new_study(tmp_path / "s3", folders["real"], {"one": tmp_path / "deep"}, SMALL)


def test_what_may_tell_real_from_fake_or_repeats_is_warned_of(folders, tmp_path):
    lossy = tmp_path / "lossy"
    lossy.mkdir()
    for file in folders["real"].iterdir():
        Image.open(file).save(lossy / f"{file.stem}.jpg")
    _, _, warnings = new_study(tmp_path / "s", lossy, {"one": folders["one"]}, Protocol())
    assert warnings == [
        "real pictures are JPEG and one ones are not: JPEG's traces may tell them apart; use one format",
        "one: 12 pictures for 50 trials, so some are shown more than once",
    ]


def test_what_gives_a_method_away_and_what_is_not_shown_are_warned_of(folders, tmp_path):
    (gray := tmp_path / "gray").mkdir()
    (moving := tmp_path / "moving").mkdir()
    for file in sorted(folders["one"].iterdir()):
        with Image.open(file) as image:
            image.convert("L").save(gray / file.name)
            image.save(moving / f"{file.stem}.gif", save_all=True, append_images=[image.rotate(180)])
    models = {"gray": gray, "moving": moving}
    _, _, warnings = new_study(tmp_path / "s", folders["real"], models, Protocol(practice=0, trials=12, show_ms=15))
    assert warnings == [
        "moving: only the first frame or page is shown in 12 of 12 pictures",
        "all pictures of gray are gray and others are not: that tells them apart, whatever they show",
        "--show-ms 15: is less than one frame of most screens, which last 16 ms",
    ]


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        ([], {}, "at least one --model"),
        (["real"], {}, "--model real: this name has another meaning"),
        (["one"], {"languages": ["fr"]}, "languages are en, ko, de, found fr"),
        (["one"], {"consent": {"xx": "?"}}, "languages are en, ko, de, found xx"),
    ],
)
def test_wrong_words_are_refused(folders, tmp_path, models, options, message):
    with pytest.raises(ConfigError, match=message):
        new_study(tmp_path / "s", folders["real"], {name: folders["one"] for name in models}, SMALL, **options)
    assert not (tmp_path / "s").exists()


def test_a_folder_holds_one_study(make):
    study, _ = make()
    with pytest.raises(ConfigError, match="holds a study already"):
        make()
    (study.folder / "study.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot be read as a study"):
        Study.load(study.folder)
    (study.folder / "study.json").write_text('{"format": 99}')
    with pytest.raises(ConfigError, match="written by a newer diptych"):
        Study.load(study.folder)
    with pytest.raises(ConfigError, match="holds no study; make one with diptych study new"):
        Study.load(study.folder / "pictures")


def test_a_folder_with_other_files_is_left_alone(folders, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "secrets.json").write_text("mine")
    with pytest.raises(ConfigError, match="s: is not an empty folder; choose another"):
        new_study(tmp_path / "s", folders["real"], {"one": folders["one"]}, SMALL)
    assert [(file.name, file.read_text()) for file in (tmp_path / "s").iterdir()] == [("secrets.json", "mine")]


def test_inputs_are_kept_beside_the_pictures_and_must_cover_them(folders, tmp_path):
    protocol = Protocol(practice=1, trials=2, catch=2, same_input=True, inputs=True)
    few = without(folders["two"], tmp_path / "few", "p03.png")
    with pytest.raises(ConfigError, match="--show-inputs: no input is called p03"):
        new_study(tmp_path / "s", folders["real"], {"one": folders["one"]}, protocol, inputs=few)
    assert not (tmp_path / "s").exists()
    shown = folders["real"]  # an input may equal a real picture, as where a filter is learned
    study, _, _ = new_study(tmp_path / "s", folders["real"], {"one": folders["one"]}, protocol, inputs=shown)
    assert len(study.named("input")) == 12 and len({study.file(id).stat().st_size for id in study.pictures}) == 1
    without_them, _, _ = new_study(tmp_path / "t", folders["real"], {"one": folders["one"]}, SMALL, inputs=folders["two"])
    assert without_them.named("input") == {}


def test_comparisons_need_no_real_pictures(folders, tmp_path):
    models = {name: folders[name] for name in ("one", "two")}
    study, _, _ = new_study(tmp_path / "s", None, models, Protocol("compare", practice=0, trials=4, catch=1))
    assert study.named("real") == {} and len(study.named("catch")) == 10 and Study.load(study.folder) == study
    with pytest.raises(ConfigError, match="--protocol compare shows what methods made and no real pictures; leave --real out"):
        new_study(tmp_path / "t", folders["real"], models, Protocol("compare"))
    with pytest.raises(ConfigError, match="--protocol pairs needs real pictures; give --real DIR"):
        new_study(tmp_path / "t", None, models, SMALL)
    with pytest.raises(ConfigError, match="--protocol compare needs at least 2 methods, found 1"):
        new_study(tmp_path / "t", None, {"one": folders["one"]}, Protocol("compare"))


def test_one_folder_is_not_two_sources(folders, tmp_path):
    real, one = folders["real"], folders["one"]
    (tmp_path / "link").symlink_to(real)
    with pytest.raises(ConfigError, match=r"^--model blur1=.*link: is the folder of real pictures as well; give the folder of"):
        new_study(tmp_path / "s", real, {"blur1": tmp_path / "link"}, SMALL)
    with pytest.raises(ConfigError, match=r"^--model b=.*: is the folder of a as well"):
        new_study(tmp_path / "s", real, {"a": one, "b": one}, SMALL)


@pytest.mark.parametrize("there", [False, True])
def test_a_study_that_cannot_be_written_leaves_nothing(folders, tmp_path, monkeypatch, there):
    folder = tmp_path / "s"
    if there:
        folder.mkdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))  # bytes; less than a picture
    try:
        with pytest.raises(StorageError, match=r"/s: cannot be made \(File too large\); make room") as caught:
            new_study(folder, folders["real"], {"one": folders["one"]}, SMALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert ".tmp" not in str(caught.value) and list(tmp_path.rglob("*")) == ([folder] if there else [])
    identity = folder.stat().st_ino if there else None
    study, _, _ = new_study(folder, folders["real"], {"one": folders["one"]}, SMALL)
    assert {path.name for path in folder.iterdir()} == {"study.json", "secrets.json", "answers.sqlite", "pictures"}
    assert study.folder == folder and stat.S_IMODE((folder / "pictures").stat().st_mode) == 0o700
    assert folder.stat().st_ino == identity if there else stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_study_does_not_take_the_place_of_a_file(folders, tmp_path):
    (tmp_path / "s").write_text("mine")
    with pytest.raises(ConfigError, match="s: is there already and is no folder; choose another name"):
        new_study(tmp_path / "s", folders["real"], {"one": folders["one"]}, SMALL)


def test_what_is_passed_over_is_warned_of(folders, tmp_path):
    some = without(folders["one"], tmp_path / "some", "")
    (some / "sub").mkdir()
    for name in (".hidden.png", "sub/.other.JPG", ".notes.txt"):
        (some / name).write_bytes(b"")
    (some / "raw.cr2").write_bytes(b"")
    (some / "p00.png").rename(some / "sub" / "p00.png")
    _, _, warnings = new_study(tmp_path / "s", folders["real"], {"one": some}, SMALL)
    hidden, others = warnings
    assert hidden.startswith("one: 2 hidden pictures are passed over, such as ") and ".hidden.png; rename them" in hidden
    assert others.startswith("one: passed over, as they are no images that can be read: 1 x .cr2")


def test_transparency_and_heavy_pictures_are_warned_of(folders, tmp_path):
    clear = tmp_path / "clear"
    clear.mkdir()
    for place, file in enumerate(sorted(folders["one"].iterdir())):
        image = Image.open(file).convert("RGBA")
        image.putalpha(0 if place < 3 else 255)  # three that one sees through
        image.save(clear / file.name)
    study, _, warnings = new_study(tmp_path / "s", folders["real"], {"clear": clear}, SMALL, size=(1300, 1100))
    assert warnings == [
        "clear: transparency composited over white in 3 of 12 pictures",
        "each picture of 1300x1100 is a file of 4 MB, which every participant loads; "
        "a smaller --size WIDTHxHEIGHT begins trials sooner",
    ]
    ids = study.named("clear")
    assert (np.asarray(Image.open(study.file(ids["p00"]))) == 255).all()
    assert study.file(ids["p00"]).stat().st_size > 3 * 1300 * 1100


@pytest.mark.parametrize("content", ["null", "[" * 100_000, "9" * 6000, "{}", '{"format": "x"}', '{"format": 1, "title": 3}'])
@pytest.mark.parametrize("name", ["study.json", "secrets.json", "database.json"])
def test_a_damaged_file_of_a_study_is_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    read = {"study.json": Study.load, "secrets.json": Secrets.load, "database.json": database_of}[name]
    with pytest.raises((ConfigError, DataError, StorageError)) as error:
        read(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / name}: ") and "\n" not in str(error.value)
