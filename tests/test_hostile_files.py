"""Files that strangers or tools made end in one line, before they take time or memory."""

import dataclasses
import os
import zipfile

import pytest
import torch

from diptych.cli.own_files import refuse_existing, refuse_foreign_folder
from diptych.errors import ConfigError, SnapshotError, StorageError, WeightsError
from diptych.files import sweep, write_atomic
from diptych.nets import UNet
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.recipe_files import read_values
from diptych.run import Run
from diptych.schemas import DomainValues
from diptych.snapshot import Snapshot
from diptych.state_dicts import read_state_dict
from diptych.trees import read_tree, write_tree

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "holds more than 10,000 values, aliases written out"),
        ("method: &m {name: pix2pix, inside: *m}", "an alias refers to what it is part of"),
        ("[" * 3000 + "]" * 3000, "is nested too deeply"),
        ("- 1\n- 2", "a recipe is a mapping"),
    ],
)
def test_a_recipe_without_bounds_is_refused(text, message, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_values(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_aliases_that_stand_for_a_few_values_are_read(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("method: {name: pix2pix, ngf: &n 8, ndf: *n}")
    assert read_values(path) == {"method": {"name": "pix2pix", "ngf": 8, "ndf": 8}}


def test_a_pipe_is_no_recipe_and_no_snapshot(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=r"pipe\.yaml: cannot be read .* is a pipe, socket or device"):
        read_values(tmp_path / "pipe.yaml")
    with pytest.raises(SnapshotError, match="is a pipe, socket or device, not a file"):
        read_tree(tmp_path / "pipe.yaml")


def edited(tmp_path, change):
    path = tmp_path / "s.safetensors"
    Snapshot({"a2b": UNet(3, 3, width=2, num_downs=3)}, Domain(), Domain()).save(path)
    tree = read_tree(path)
    change(tree)
    write_tree(path, tree)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["generators"]["a2b"]["spec"].update(width=10**9), r"a2b\.spec\.width: must be at most 8,192"),
        (lambda t: t["generators"]["a2b"]["spec"].update(num_downs=10**9), r"a2b\.spec\.num_downs: must be at most 8,192"),
        (lambda t: t["generators"]["a2b"]["spec"].update(width=-1), r"a2b\.spec: describes no network"),
        (lambda t: t["generators"]["a2b"]["spec"].update(width=4), r"a2b\.weights\.\S+: has shape \(2, .* expected \(4, "),
        (lambda t: next(iter(t["generators"]["a2b"]["weights"].values())).fill_(float("nan")), "is NaN or infinite"),
        (lambda t: t.update(size=-1), "size"),
        (lambda t: t.update(size=10**12), "size"),
        (lambda t: t["a"].update(channels=10**9), r"a\.channels"),
        (lambda t: t.pop("mode"), "mode: field required"),
        (lambda t: t["generators"].update(sideways=t["generators"].pop("a2b")), "sideways"),
    ],
)
def test_an_edited_snapshot_is_refused_with_the_place(change, message, tmp_path):
    with pytest.raises(SnapshotError, match=rf"no whole snapshot: .*{message}") as caught:
        Snapshot.load(edited(tmp_path, change))
    assert "\n" not in str(caught.value)


def test_every_field_of_a_domain_has_its_rule_and_an_unknown_one_is_refused(tmp_path):
    assert {field.name for field in dataclasses.fields(Domain)} == set(DomainValues.__annotations__)
    with pytest.raises(SnapshotError, match=r"no whole snapshot: .*unexpected keyword argument 'colour'"):
        Snapshot.load(edited(tmp_path, lambda t: t["a"].update(colour="red")))


def test_a_state_that_was_renamed_or_is_of_another_run_gives_way_to_the_one_before(tmp_path):
    weights = {"weights": torch.zeros(3)}
    runs = []
    for name, rate in (("one", 0.1), ("other", 0.2)):
        with Run.open(tmp_path / name, Recipe.create("pix2pix", {"train": {"lr": rate}})) as run:
            for step in (1, 2):
                run.save_state(step, weights)
            runs.append(run)
    one, other = runs
    (one.folder / "state-000000003.safetensors").write_bytes(other.states()[0].read_bytes())
    write_tree(one.folder / "state-000000003.safetensors", read_tree(other.states()[0]) | {"step": 3})
    state, problems = one.load_state()
    assert state["step"] == 2 and "is the state of another run (train.lr: 0.2 -> 0.1)" in problems[0]
    (one.folder / "state-000000003.safetensors").write_bytes(one.states()[1].read_bytes())
    state, problems = one.load_state()
    assert state["step"] == 2 and "is the state of step 2 and was renamed" in problems[0]


def test_a_compressed_or_boasting_pth_is_refused_unread(tmp_path):
    plain, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save({"w": torch.zeros(50_000)}, plain)
    assert read_state_dict(plain)["w"].numel() == 50_000
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(WeightsError, match=r"is a compressed archive, which torch\.save does not write"):
        read_state_dict(packed)


def test_a_file_that_cannot_fit_is_not_begun(tmp_path, monkeypatch):
    monkeypatch.setattr("diptych.files.free_bytes", lambda folder: 10)
    begun = []
    monkeypatch.setattr("builtins.open", lambda *args, **kwargs: begun.append(args))
    with pytest.raises(StorageError, match=r"x: cannot be written \(No space left on device\); needs 11 bytes, 10 free"):
        write_atomic(tmp_path / "x", b"0123456789a")
    assert not begun


def test_only_abandoned_remains_of_the_own_files_are_swept(tmp_path):
    names = [".a.png.0123456789abcdef.tmp", ".b.png.0123456789abcdef.tmp", ".a.png.other.tmp", ".a.png.fedcba9876543210.tmp"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (0, 0))
    os.utime(tmp_path / names[3])
    sweep([tmp_path / "a.png", tmp_path / "none" / "c.png"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


def test_files_and_folders_of_others_are_left_alone(tmp_path):
    refuse_existing(tmp_path / "song.mid")
    refuse_foreign_folder(tmp_path / "none", "build.json")
    (tmp_path / "song.mid").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"song\.mid: is there already; name another file, or remove it"):
        refuse_existing(tmp_path / "song.mid")
    with pytest.raises(ConfigError, match="is not empty and was not made by this command"):
        refuse_foreign_folder(tmp_path, "build.json")
    (tmp_path / "build.json").write_text("{}")
    refuse_foreign_folder(tmp_path, "build.json")


def test_a_training_that_is_refused_at_its_start_leaves_no_run(tmp_path):
    recipe = Recipe.create("pix2pix")
    with pytest.raises(ConfigError), Run.open(tmp_path / "run", recipe):
        raise ConfigError("refused")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
