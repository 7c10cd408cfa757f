"""`diptych translate`: every image of a tree, under its own name and size; what cannot be translated is said."""

import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from diptych.cli import main
from diptych.data.formats import read_pixels
from diptych.inference import large, manifest, staged, staging
from diptych.inference.batch import scratch_folder
from diptych.inference.staged import StagedRun
from diptych.inference.translator import Translator
from diptych.nets import AdaINResNet, generator
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from tests.cli.pictures import diptych, folder, picture, pixels, size_of


@pytest.fixture(scope="module")
def snapshot(cyclegan_run):
    return cyclegan_run / "snapshot.safetensors"


def tree(root):
    """The files below a folder, without the record that translations keep."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != manifest.NAME}


def test_names_tree_and_sizes_are_kept(snapshot, tmp_path, capsys):
    sizes = {"a.png": (32, 32), "deep/er/b.jpg": (45, 31), "deep/c.webp": (33, 64), "d.bmp": (5, 7), "E.TIFF": (40, 40)}
    for i, (name, size) in enumerate(sizes.items()):
        picture(tmp_path / "in" / name, i, *size)
    assert diptych("translate", snapshot, tmp_path / "in", "--out", tmp_path / "out") == 0
    assert tree(tmp_path / "out") == set(sizes)
    for name, size in sizes.items():
        assert size_of(tmp_path / "out" / name) == ("RGB", *size)
    assert capsys.readouterr().out == f"5 translated into {tmp_path}/out; torch fp32, batch 1\n"


def test_the_result_is_what_python_gives(snapshot, tmp_path):
    given = picture(tmp_path / "x.png", 3, 37, 41)
    assert diptych("translate", snapshot, given, "--out", tmp_path / "out", "--direction", "b2a", "--device", "cpu") == 0
    expected = Translator.load(snapshot, "b2a", device="cpu")(Image.open(given))
    assert np.array_equal(read_pixels(tmp_path / "out" / "x.png"), np.asarray(expected))


@pytest.mark.parametrize(
    "name", ["größe  zwei.png", "zebra \U0001f993.png", "a\nb.png", "[red] :smile: 100%.png", b"caf\xe9.png"]
)
def test_any_file_name_is_kept(snapshot, tmp_path, name, capsys):
    name = os.fsdecode(name)
    made = picture(tmp_path / "in" / "x.png", 1, 20, 24)
    made.rename(made.with_name(name))
    assert diptych("translate", snapshot, tmp_path / "in", "--out", tmp_path / "out", "--dry-run") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert diptych("translate", snapshot, tmp_path / "in", "--out", tmp_path / "out") == 0
    assert tree(tmp_path / "out") == {name}


def test_a_broken_file_is_reported_and_the_others_are_translated(snapshot, tmp_path, capsys):
    folder(tmp_path / "in")
    (tmp_path / "in" / "broken [1].png").write_bytes((tmp_path / "in" / "0.png").read_bytes()[:300])
    (tmp_path / "in" / "notes.txt").write_text("no image")
    assert diptych("translate", snapshot, tmp_path / "in", "--out", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert tree(tmp_path / "out") == {"0.png", "1.png"}
    assert captured.out == f"2 translated into {tmp_path}/out, 1 of 3 skipped; torch fp32, batch 1\n"
    (line,) = captured.err.splitlines()
    assert line.startswith(f"skipped: {tmp_path}/in/broken [1].png: is damaged or incomplete PNG")


def test_an_image_of_another_kind_is_reported(snapshot, tmp_path, capsys):
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20)).save(tmp_path / "deep.png")
    assert diptych("translate", snapshot, tmp_path / "deep.png", "--out", tmp_path / "out") == 1
    captured = capsys.readouterr()
    assert f"skipped: {tmp_path}/deep.png: is 1 x uint16, but the model takes images of 3 x uint8; convert it" in captured.err


def test_gray_and_transparent_images_enter_as_training_reads_them(snapshot, tmp_path):
    Image.new("LA", (20, 20), (9, 128)).save(tmp_path / "gray.png")
    Image.new("RGBA", (20, 20), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    Image.new("RGB", (20, 20), "white").save(tmp_path / "white.png")
    files = [tmp_path / f"{name}.png" for name in ("gray", "clear", "white")]
    assert diptych("translate", snapshot, *files, "--out", tmp_path / "out") == 0
    assert size_of(tmp_path / "out" / "gray.png") == ("RGB", 20, 20)
    assert (tmp_path / "out" / "clear.png").read_bytes() == (tmp_path / "out" / "white.png").read_bytes()


def test_skip_existing_goes_on_where_a_job_stopped(snapshot, tmp_path, capsys):
    folder(tmp_path / "in", 3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.png").write_bytes(b"mine")
    assert diptych("translate", snapshot, tmp_path / "in", "--out", tmp_path / "out", "--skip-existing") == 0
    assert (tmp_path / "out" / "1.png").read_bytes() == b"mine"
    assert capsys.readouterr().out == f"2 translated into {tmp_path}/out, 1 was there; torch fp32, batch 1\n"
    assert translate(snapshot, tmp_path / "in", tmp_path / "out", "--overwrite", "--skip-existing") == 2
    assert "--skip-existing: not allowed with argument --overwrite" in " ".join(capsys.readouterr().err.split())


def translate(snapshot, given, out, *options):
    return diptych("translate", snapshot, given, "--out", out, "--device", "cpu", *options)


def test_the_same_command_translates_only_what_is_missing(snapshot, tmp_path, capsys):
    given, out = folder(tmp_path / "in", 3), tmp_path / "out"
    assert translate(snapshot, given, out) == 0
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    (out / "1.png").unlink()
    picture(given / "new" / "3.png", 8)
    capsys.readouterr()
    assert translate(snapshot, given, out) == 0
    assert capsys.readouterr().out.startswith(f"2 translated into {out}, 2 were there;")
    assert tree(out) == {"0.png", "1.png", "2.png", "new/3.png"}
    assert [(out / name).stat().st_mtime_ns == before[name] for name in ("0.png", "1.png", "2.png")] == [True, False, True]


def test_a_write_that_was_interrupted_is_done_again(snapshot, tmp_path, monkeypatch):
    given, out = folder(tmp_path / "in", 1), tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(manifest.Manifest, "finish", lambda self, job: None)  # as when the power fails just after the image
        assert translate(snapshot, given, out) == 0
    (out / "0.png").write_bytes(b"older")
    assert translate(snapshot, given, out) == 0
    assert size_of(out / "0.png") == ("RGB", 32, 32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("snapshot", "was made with another snapshot"),
        ("direction", "was made with direction a2b instead of b2a"),
        ("input", "was made from an input that has changed since"),
    ],
)
def test_translations_of_another_snapshot_setting_or_input_are_replaced_only_when_asked(
    change, said, snapshot, pix2pix_run, tmp_path, capsys
):
    given, out = folder(tmp_path / "in", 2), tmp_path / "out"
    assert translate(snapshot, given, out) == 0
    first = (out / "0.png").read_bytes()
    other = pix2pix_run / "snapshot.safetensors" if change == "snapshot" else snapshot
    if change == "input":
        picture(given / "0.png", 77)
    words = ["--direction", "b2a"] if change == "direction" else ["--mode", "eval"]
    assert translate(other, given, out, *words) == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert f"{out}/0.png: {said}" in err and err.endswith(
        "; make it anew with --overwrite, or keep what is there with --skip-existing"
    )
    assert (out / "0.png").read_bytes() == first
    assert translate(other, given, out, *words, "--skip-existing") == 0 and (out / "0.png").read_bytes() == first
    assert translate(other, given, out, *words, "--overwrite") == 0 and (out / "0.png").read_bytes() != first
    assert translate(other, given, out, *words) == 0  # the manifest knows the new ones


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda out, run: (out / "0.png").write_bytes(b"mine"), "was changed after `diptych translate` had made it"),
        (lambda out, run: (out / manifest.NAME).unlink(), "is there already and was not made by `diptych translate`"),
        (lambda out, run: (out / manifest.NAME).write_text("{torn"), "is there already and was not made by `diptych translate`"),
    ],
    ids=["changed", "no record", "torn record"],
)
def test_what_translate_did_not_make_is_never_replaced(made, said, snapshot, tmp_path, capsys):
    given, out = folder(tmp_path / "in", 2), tmp_path / "out"
    assert translate(snapshot, given, out) == 0
    made(out, snapshot)
    before = {path.name: path.read_bytes() for path in out.glob("*.png")}
    for words in ([], ["--overwrite"], ["--dry-run"]):
        assert translate(snapshot, given, out, *words) == 2
        assert f"{out}/0.png: {said}" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.glob("*.png")} == before


def test_one_folder_of_inputs_as_the_place_for_anothers_results_is_refused(snapshot, tmp_path, capsys):
    a, b = folder(tmp_path / "a", 2), folder(tmp_path / "b", 2, seed=5)
    before = (b / "0.png").read_bytes()
    assert translate(snapshot, a, b) == 2
    assert (
        f"{b}/0.png: is there already and was not made by `diptych translate` (and 1 more such files)" in capsys.readouterr().err
    )
    assert (b / "0.png").read_bytes() == before


def test_a_run_folder_stands_for_its_last_snapshot(snapshot, tmp_path):
    given = picture(tmp_path / "x.png", 3)
    assert translate(snapshot.parent, given, tmp_path / "run") == 0 and translate(snapshot, given, tmp_path / "file") == 0
    assert (tmp_path / "run" / "x.png").read_bytes() == (tmp_path / "file" / "x.png").read_bytes()
    expected = Translator.load(snapshot.parent, device="cpu")(Image.open(given))
    assert np.array_equal(read_pixels(tmp_path / "run" / "x.png"), np.asarray(expected))


def test_a_single_image_may_be_given_the_name_of_its_result(snapshot, tmp_path, capsys):
    given = picture(tmp_path / "x.png", 3)
    assert translate(snapshot, given, tmp_path / "y.png") == 0 and translate(snapshot, given, tmp_path / "out") == 0
    assert (tmp_path / "y.png").read_bytes() == (tmp_path / "out" / "x.png").read_bytes()
    assert translate(snapshot, folder(tmp_path / "in"), tmp_path / "z.png") == 2
    assert "z.png: names one image, but several are translated; give a folder, --out z" in capsys.readouterr().err
    assert translate(snapshot, given, tmp_path / "y.pgm") == 2
    assert ".pgm cannot hold 3 x uint8 pixels; name it y.png" in capsys.readouterr().err
    frames = [Image.fromarray(pixels(seed)) for seed in (0, 1)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert translate(snapshot, tmp_path / "x.gif", tmp_path / "y.gif") == 0
    assert f"note: all frames of {tmp_path}/x.gif are translated, as --out names an animation" in capsys.readouterr().err
    with Image.open(tmp_path / "y.gif") as made:
        assert made.n_frames == 2
    assert translate(snapshot, given, tmp_path / "z.gif") == 2
    assert ".gif cannot hold 3 x uint8 pixels in its 256 colours; name it z.png" in capsys.readouterr().err
    assert translate(snapshot, given, tmp_path / "z.png", "--norm-from", tmp_path) == 2
    assert "is a folder, expected an image file; give one image of it" in " ".join(capsys.readouterr().err.split())


def test_the_least_memory_that_is_advised_is_enough_and_hardly_less_is(snapshot, tmp_path, capsys):
    given = picture(tmp_path / "x.png", 3)
    assert translate(snapshot, given, tmp_path / "z.png", "--memory", "1KB") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--memory 1.00 kB: is too little, as the process itself holds" in said
    advised = int(re.search(r"give --memory (\d+)MB or more", said)[1])
    assert translate(snapshot, given, tmp_path / "z.png", "--memory", f"{advised - 20}MB") == 2
    assert translate(snapshot, given, tmp_path / "z.png", "--memory", f"{advised}MB") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["x.png", "RUN/snapshot.safetensors"],
            "the snapshot comes first: diptych translate RUN/snapshot.safetensors x.png --out o",
        ),
        (["in", "RUN"], "the snapshot comes first: diptych translate RUN in --out o"),
        (["x.png", "in"], "x.png: is an image; the snapshot comes first: diptych translate SNAPSHOT x.png --out o"),
        (["in", "x.png"], "in: is a folder without a snapshot.safetensors; give a run folder, or the file of a snapshot"),
        (["net.pth", "in"], "net.pth: are weights of another tool; run `diptych import net.pth`, then give net.safetensors"),
        (["net.onnx", "in"], "net.onnx: is an ONNX program, not a snapshot"),
        (["begun", "in"], "begun: this run has saved no snapshot yet; train it until its first save"),
    ],
    ids=str,
)
def test_what_is_given_in_place_of_a_snapshot_is_named_for_what_it_is(words, said, snapshot, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "in"), picture(tmp_path / "x.png"), (tmp_path / "begun").mkdir()
    for name in ("net.pth", "net.onnx", "begun/recipe.json"):
        (tmp_path / name).write_bytes(b"{}")
    words, said = ([text.replace("RUN", str(snapshot.parent)) for text in texts] for texts in (words, [said]))
    assert diptych("translate", *words, "--out", "o") == 2
    assert said[0] in capsys.readouterr().err and not (tmp_path / "o").exists()


def test_a_dry_run_lists_and_writes_nothing(snapshot, tmp_path, capsys):
    folder(tmp_path / "in", 1)
    assert diptych("translate", snapshot, tmp_path / "in", "--out", tmp_path / "out", "--dry-run") == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path}/in/0.png -> {tmp_path}/out/0.png\n"
    assert captured.err == "note: the files were not read, so damaged ones are listed too\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("out", "said"), [("in/out", True), ("out", False)])
def test_results_inside_the_input_folder_are_said_to_become_data(out, said, snapshot, tmp_path, capsys):
    given = folder(tmp_path / "in", 1)
    assert diptych("translate", snapshot, given, "--out", tmp_path / out) == 0
    assert (f"note: results go into {given}, where trainings take them for data" in capsys.readouterr().err) == said


def test_output_onto_input_is_refused(snapshot, tmp_path, capsys):
    folder(tmp_path / "in")
    before = (tmp_path / "in" / "0.png").read_bytes()
    assert diptych("translate", snapshot, tmp_path / "in", "--out", tmp_path / "in") == 2
    assert "in/0.png: would be overwritten by its own translation; choose another --out" in capsys.readouterr().err
    assert (tmp_path / "in" / "0.png").read_bytes() == before


def test_two_inputs_with_one_result_are_refused(snapshot, tmp_path, capsys):
    given = [picture(tmp_path / name / "x.png") for name in ("one", "two")]
    assert diptych("translate", snapshot, *given, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert (
        f"1 result would have the name of another: {tmp_path}/one/x.png and {tmp_path}/two/x.png -> {tmp_path}/out/x.png" in said
    )
    assert "translate them apart, or rename them" in said


def test_results_inside_the_input_folder_are_not_translated_again(snapshot, tmp_path, capsys):
    folder(tmp_path)
    for _ in range(2):
        assert diptych("translate", snapshot, tmp_path, "--out", tmp_path / "out") == 0
        assert tree(tmp_path) == {"0.png", "1.png", "out/0.png", "out/1.png"}


def test_working_at_the_trained_size_keeps_the_image_size(snapshot, tmp_path):
    given = picture(tmp_path / "x.png", 1, 70, 90)
    for at in ("native", "trained"):
        assert diptych("translate", snapshot, given, "--out", tmp_path / at, "--at", at) == 0
        assert size_of(tmp_path / at / "x.png") == ("RGB", 70, 90)
    assert (tmp_path / "native" / "x.png").read_bytes() != (tmp_path / "trained" / "x.png").read_bytes()


def test_a_direction_that_was_not_trained_is_refused(pix2pix_run, tmp_path, capsys):
    given = picture(tmp_path / "x.png")
    words = ["translate", pix2pix_run / "snapshot.safetensors", given, "--out", tmp_path / "out"]
    assert diptych(*words, "--direction", "b2a") == 2
    assert "error: this snapshot translates a2b, not b2a; choose one of these directions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [("missing.png", "missing.png: no such file or folder; give images"), ("empty", "empty: holds no files")],
)
def test_missing_and_empty_inputs_are_refused(snapshot, tmp_path, given, message, capsys):
    (tmp_path / "empty").mkdir()
    assert diptych("translate", snapshot, tmp_path / given, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err


def test_a_snapshot_needs_nothing_of_its_run(pix2pix_run, tmp_path):
    alone = tmp_path / "alone.safetensors"
    shutil.copy(pix2pix_run / "snapshot.safetensors", alone)
    picture(tmp_path / "x.png", 2, 50, 30)
    assert diptych("translate", alone, tmp_path / "x.png", "--out", tmp_path / "out", "--mode", "eval") == 0
    assert size_of(tmp_path / "out" / "x.png") == ("RGB", 50, 30)


@pytest.fixture
def too_large(monkeypatch):
    """Let every image seem too large for the memory, and windows be small."""
    monkeypatch.setattr(staging, "SIDES", (24,))
    monkeypatch.setattr(large, "IN_MEMORY", 0)
    monkeypatch.setattr(Translator, "_count_whole_bytes", lambda self, height, width: 10**15)


def test_an_image_too_large_for_the_memory_is_translated_by_stages_and_that_is_said(snapshot, tmp_path, too_large, capsys):
    given = picture(tmp_path / "x.png", 3, 61, 75)
    assert diptych("translate", snapshot, given, "--out", tmp_path / "out", "--device", "cpu", "--memory", "64GB") == 0
    captured = capsys.readouterr()
    assert captured.out.endswith("torch fp32, batch 1; 1 by stages, too large to be translated whole in 64.0 GB\n")
    assert "x.png by stages, 100%" in captured.err
    expected = Translator.load(snapshot, device="cpu")(Image.open(given))
    assert np.abs(read_pixels(tmp_path / "out" / "x.png").astype(int) - np.asarray(expected)).max() <= 1
    assert tree(tmp_path / "out") == {"x.png"}


def test_dropout_is_drawn_in_windows_only_by_position(tmp_path, too_large, capsys):
    net = generator("unet_6", 3, 3, width=4)
    Snapshot({"a2b": net}, Domain(), Domain(), mode="paper").save(tmp_path / "s.safetensors")
    given = picture(tmp_path / "x.png", 3, 64, 64)
    words = ["translate", tmp_path / "s.safetensors", given, "--out", tmp_path / "out", "--memory", "64GB"]
    assert diptych(*words) == 1
    assert (
        "x.png: needs more memory to be translated whole than there is by --memory, or by ulimit -v, "
        "and cannot be translated by stages: dropout is "
        "drawn for whole images, not for windows; add --dropout position, or --mode eval"
    ) in capsys.readouterr().err
    assert diptych(*words, "--dropout", "position", "--seed", 4) == 0
    whole = Translator.load(tmp_path / "s.safetensors", dropout="position", seed=4)(Image.open(given))
    assert np.abs(read_pixels(tmp_path / "out" / "x.png").astype(int) - np.asarray(whole)).max() <= 1


def test_an_interrupted_image_goes_on_from_the_folder_beside_its_result(snapshot, tmp_path, too_large, monkeypatch):
    monkeypatch.setattr(staged, "SAVE_EVERY", 0.0)
    given = picture(tmp_path / "x.png", 3, 61, 75)
    words = ["translate", snapshot, given, "--out", tmp_path / "out", "--device", "cpu", "--memory", "64GB"]
    assert diptych(*words[:3], "--out", tmp_path / "expected", *words[5:]) == 0
    walked, walk = [], StagedRun._walk

    def stop(self, stage, out, watch):
        if len(walked) == 7:
            raise KeyboardInterrupt
        walked.append(stage.node)
        walk(self, stage, out, watch)

    monkeypatch.setattr(StagedRun, "_walk", stop)
    assert diptych(*words) == 130
    assert scratch_folder(tmp_path / "out" / "x.png").is_dir()
    before = list(walked)
    walked.clear()
    walked.extend([None] * 100)
    assert diptych(*words) == 0 and not set(before) & set(walked)
    assert (tmp_path / "out" / "x.png").read_bytes() == (tmp_path / "expected" / "x.png").read_bytes()
    assert tree(tmp_path / "out") == {"x.png"}  # and no other folder


@pytest.mark.parametrize("size", ["4", "4XB", "-1GB", "GB"])
def test_a_memory_without_number_or_unit_is_refused(snapshot, tmp_path, size, capsys):
    assert diptych("translate", snapshot, tmp_path, "--out", tmp_path / "out", f"--memory={size}") == 2
    assert f"must be a number with a unit (kB, MB, GB, TB), such as 4GB, found '{size}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "words", "said"),
    [
        ("eval", ["--seed", "3"], ["--seed 3 changes nothing"]),
        ("eval", ["--seed", "0", "--dropout", "position"], ["--dropout position changes nothing", "--seed 0 changes nothing"]),
        ("eval", ["--seed", "3", "--maps", "cycle"], ["--seed 3 changes nothing"]),
        ("eval", [], []),
        ("paper", ["--seed", "3", "--dropout", "position"], []),
    ],
)
def test_a_seed_where_nothing_is_drawn_is_said_to_change_nothing(mode, words, said, cyclegan_run, pix2pix_run, tmp_path, capsys):
    run = cyclegan_run if mode == "eval" else pix2pix_run
    words = ["translate", run, folder(tmp_path / "in"), "--out", tmp_path / "out", "--mode", mode, *words, "--dry-run"]
    assert diptych(*words) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "changes nothing" in line]
    assert len(notes) == len(said)
    assert all(line.startswith(f"note: {text}") for line, text in zip(notes, said, strict=True))


def test_results_of_another_strength_are_not_taken_for_those_that_are_asked_for(tmp_path, capsys):
    Snapshot({"a2b": AdaINResNet(3, 3, width=4, num_blocks=2)}, Domain(), Domain()).save(tmp_path / "s.safetensors")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "x.png")
    command = ["translate", str(tmp_path / "s.safetensors"), str(tmp_path / "x.png"), "--out", str(tmp_path / "out")]
    assert main([*command, "--strength", "0.5"]) == 0
    capsys.readouterr()
    assert main(command) == 2  # the default is 1
    assert "strength 0.5 instead of 1" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0 and main([*command, "--strength", "1"]) == 0
    assert "1 was there" in capsys.readouterr().out
