"""A build gives the same result in one run or in several, whatever its scores are like."""

import json

import numpy as np
import pytest

from diptych.errors import ConfigError
from diptych.music.build import BuildConfig, assign_splits, build
from diptych.music.composers import composer_key, group_by_composer
from diptych.music.dataset import MusicDataset, to_json
from diptych.music.evaluate import evaluate
from diptych.music.excerpts import excerpts
from diptych.music.layout import Layout
from diptych.music.mei import verovio_toolkit
from diptych.music.near_duplicates import near_duplicates
from tests.music.songs import melody, mxl, score

CONFIG = BuildConfig(test=0, val=0)


def songs(folder, *composers):
    """A short ABC file by each composer."""
    for k, name in enumerate(composers):
        (folder / f"{k}.abc").write_text(f"X:1\nC:{name}\nL:1/4\nK:C\nCDE{'FGABcdef'[k]}|\n")
    return sorted(folder.iterdir())


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_score_that_verovio_crashes_on_is_left_out_and_all_others_are_built(tmp_path):
    for k in range(3):
        (tmp_path / f"{k}.mxl").write_bytes(mxl(score(melody(k)).replace("<beat-type>4", f"<beat-type>{4 if k < 2 else 0}")))
    manifest = build([str(tmp_path)], tmp_path / "out", CONFIG, jobs=1)
    assert manifest["works"] == {"train": 3} and manifest["works_used"] == {"train": 2}
    assert lines(tmp_path / "out" / "works.jsonl")[2]["left_out"] == {"verovio crashed on it": 1}


def test_a_score_is_built_from_mei_as_from_musicxml(tmp_path):
    text = score(melody(1, 4), composer="Clara Example")
    engraver = verovio_toolkit()
    assert engraver.loadData(text)
    built = []
    for name, content in (("x.musicxml", text), ("x.mei", engraver.getMEI())):
        folder = tmp_path / name.partition(".")[2]
        folder.mkdir()
        (folder / name).write_text(content)
        (work,) = assign_splits([folder / name], CONFIG)
        assert work.composer == "Clara Example"
        found, _ = excerpts(work.path, Layout())
        built.append([to_json(each.system) for each in found])
    assert built[0] == built[1] and sum(len(system["notes"]) for system in built[0]) >= 15


def test_works_of_different_splits_that_share_their_melody_are_named(tmp_path):
    tune = "CEDF EGFA GcBd cBAG FDEC GAFE DCEG FDGE AFcG BAdc BGAF EDCG FEDC ECGE"
    letters = "CDEFGABcde"
    works = {
        "able": ("4/4", "1/4", "C", tune),
        "baker": ("2/4", "1/8", "D", tune.translate(str.maketrans(letters[:-1], letters[1:]))),  # a tone higher, twice as fast
        "cook": ("4/4", "1/4", "C", tune[::-1]),
    }
    records = []
    for name, (meter, length, key, notes) in works.items():
        path = tmp_path / f"{name}.abc"
        path.write_text(f"X:1\nM:{meter}\nL:{length}\nK:{key}\n{'|'.join(notes.split())}|\n")
        found, _ = excerpts(path, Layout())
        split = {"able": "train", "baker": "test"}.get(name, "val")
        records += [{"work": name, "split": split, "part": each.part} | to_json(each.system) for each in found]
    (pair,) = near_duplicates(records)
    assert (pair.first, pair.second) == ("able", "baker") and pair.shared > 0.9
    assert near_duplicates([record | {"split": "train"} for record in records]) == []


def test_a_build_of_few_systems_a_work_goes_on_as_it_began(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.mxl").write_bytes(mxl(score(melody(0, 12))))
    words = [str(tmp_path)], tmp_path / "out", BuildConfig(test=0, val=0, most=2)
    build(*words, jobs=1)
    whole = {name: (tmp_path / "out" / name).read_text() for name in ("works.jsonl", "notes.jsonl", "manifest.json")}
    counts = [work["systems"] for work in lines(tmp_path / "out" / "works.jsonl")]
    assert counts == [2, 2], "what one work leaves over is there for the next"
    (tmp_path / "out" / "works.jsonl").write_text(whole["works.jsonl"].splitlines(keepends=True)[0])
    build(*words, jobs=1)
    assert {name: (tmp_path / "out" / name).read_text() for name in whole} == whole


def test_a_build_goes_on_only_with_the_scores_it_began_with(tmp_path):
    book, out = tmp_path / "book.abc", tmp_path / "out"
    book.write_text("".join(f"X:{k}\nL:1/4\nK:C\nCDE{last}|\n\n" for k, last in enumerate("FGA")))
    manifest = build([str(book)], out, CONFIG, jobs=1)
    assert manifest["works_used"] == {"train": 3} and manifest["notes"] == 12
    build([str(book)], out, CONFIG)
    assert json.loads((out / "manifest.json").read_text()) == manifest
    (tmp_path / "book-2.abc").write_text("X:1\nK:C\nC|\n")
    with pytest.raises(
        ConfigError, match=r"out: holds a build with other settings \(differing: scores\); give the same to continue"
    ):
        build([str(tmp_path)], out, CONFIG)
    with pytest.raises(ConfigError, match=r"\(differing: config and scores\)"):
        build([str(tmp_path)], out, BuildConfig(test=0, val=0, most=1))


def test_each_tune_of_a_file_is_a_work_with_a_name_of_its_own(tmp_path):
    (tmp_path / "x.abc").write_text("".join(f"X:{k}\nC:{name} Jig\nK:C\nC|\n\n" for k, name in enumerate("FGA")))
    (tmp_path / "x-2.abc").write_text("X:1\nK:C\nC|\n")
    works = assign_splits(sorted(tmp_path.iterdir()), CONFIG)
    found = [(work.name, work.tune, work.composer) for work in works]
    assert found == [("x-2", 0, tmp_path.name), ("x-1", 0, "F Jig"), ("x-2-1", 1, "G Jig"), ("x-3", 2, "A Jig")]


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("Franz Schubert 1797-1828", "schubert f"), ("Fanny Hensel 1805-1847", "hensel f"),
        ("Schubert, Franz, 1797-1828", "schubert f"), ("Franz Schubert, 1797 - 1828", "schubert f"),
        ("Music by Franz Schubert", "schubert f"), ("Music: Franz Schubert", "schubert f"),
        ("composed by Franz Schubert", "schubert f"), ("comp. Franz Schubert", "schubert f"),
        ("Comp. by: F. Schubert", "schubert f"), ("Composed by : Franz Schubert", "schubert f"),
        ("Schubert", "schubert"), ("Jacobs-Bond", "jacobs bond"), ("1797-1828", "1797-1828"),
        ("van Beethoven, Ludwig", "beethoven l"), ("Ludwig van Beethoven", "beethoven l"), ("L. v. Beethoven", "beethoven l"),
        ("F.Schubert", "schubert f"), ("Mendelssohn-Bartholdy, F.", "mendelssohn bartholdy f"), ("Bruno Musical", "musical b"),
    ],
)  # fmt: skip
def test_a_person_is_known_through_what_stands_beside_the_name(name, who):
    assert composer_key(name) == who


def test_a_family_name_alone_is_the_one_person_of_that_family(tmp_path):
    files = songs(
        tmp_path, "Franz Schubert", "Schubert", "Clara Schumann", "Robert Schumann", "Schumann", "Jacobs", "A. Jacobs-Bond"
    )
    splits = [[work.split for work in assign_splits(files, BuildConfig(seed=seed, test=0.6))] for seed in range(40)]
    assert all(split[0] == split[1] for split in splits) and {split[0] for split in splits} == {"test", "train"}
    assert all(any(split[k] != split[other] for split in splits) for k, other in ((2, 3), (2, 4), (3, 4)))
    assert all(split[5] == split[6] for split in splits)


def test_names_that_share_a_family_name_and_an_initial_are_one_person():
    names = ["Felix Mendelssohn", "F. Mendelssohn-Bartholdy", "Felix Mendelssohn Bartholdy", "Bartholdy", "Clara Schumann"]
    names += ["Robert Schumann", "Schumann", "Wolfgang Amadeus Mozart", "Mozart, W.A.", "Franz Xaver Mozart", "1900", "1901"]
    people = group_by_composer({str(k): name for k, name in enumerate(names)})
    same = [[k for k in range(len(names)) if people[str(k)] == who] for who in dict.fromkeys(people.values())]
    assert same == [[0, 1, 2, 3], [4], [5], [6], [7, 8], [9], [10], [11]]


def test_a_pure_test_set_has_all_works_in_test(tmp_path):
    files = songs(tmp_path, "Franz Schubert", "Clara Schumann")
    assert {work.split for work in assign_splits(files, BuildConfig(test=1.0, val=0))} == {"test"}
    with pytest.raises(ConfigError, match=r"leave works for training, or 1 and 0 for a pure test set; found 1\.0 and 0\.05"):
        BuildConfig(test=1.0, val=0.05)


def test_a_build_of_signs_has_single_systems_whose_rolls_are_scored_as_what_they_show(tmp_path):
    songs(tmp_path, "Franz Schubert", "Clara Schumann")
    out = tmp_path / "out"
    build([str(tmp_path)], out, BuildConfig(test=1.0, val=0, signs=True), jobs=1)
    built = MusicDataset.load(out)
    pages = built.pages("test")
    assert built.layout == Layout(1, 4, True) and [len(records) for records in pages.values()] == [1, 1]
    finished = iter(pages)
    seen = evaluate(built, "read", lambda _: built.page("roll", "test", next(finished)))
    assert seen.scores()["f1"].value == 1.0 == seen.scores()["f1_offsets"].value
    assert all(built.page(kind, "test", name).shape[:2] == (64, 320) for kind in ("sheet", "roll") for name in pages)
    assert evaluate(built, "read", lambda page: np.zeros((*page.shape[:2], 3), np.uint8)).scores()["f1"].value == 0.0


def test_a_build_without_signs_goes_on_as_one_of_before_there_were_any(tmp_path):
    songs(tmp_path, "Franz Schubert")
    build([str(tmp_path)], tmp_path / "out", CONFIG, jobs=1)
    assert {"signs", "varied"}.isdisjoint(json.loads((tmp_path / "out" / "build.json").read_text())["config"])
    with pytest.raises(ConfigError, match="differing: config"):
        build([str(tmp_path)], tmp_path / "out", BuildConfig(test=0, val=0, signs=True), jobs=1)
