"""diptych evaluate on a run, on a snapshot, and on finished images; and what finishing a training writes."""

import json
import os
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

from diptych.cli import main
from diptych.evaluation import passes
from diptych.snapshot import Snapshot
from tests.cli.pictures import CYCLEGAN, PIX2PIX, diptych, folder, picture

FAST = ["--resamples", 40, "--device", "cpu"]
CHEAP = [*FAST, "--metrics", "psnr,l1"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def paired_run(tmp_path_factory):
    """pix2pix on trainA/ trainB/ with testA/ testB/."""
    root = tmp_path_factory.mktemp("paired")
    for i, name in enumerate(("trainA", "trainB", "testA", "testB")):
        folder(root / "data" / name, 3, seed=10 * i)
    assert diptych("train", "pix2pix", root / "data", "--out", root / "run", *PIX2PIX) == 0
    return root / "run"


@pytest.fixture
def run(paired_run, tmp_path):
    """A copy of it to write into."""
    shutil.copytree(paired_run, tmp_path / "run")
    for name in ("evaluation.json", "evaluation.html"):
        (tmp_path / "run" / name).unlink()
    return tmp_path / "run"


def results(path):
    document = json.loads(path.read_text())
    return {(r["metric"], r["direction"], r["of"]): r["estimate"]["value"] for r in document["results"]}


def refused(capsys, *words, code=2):
    capsys.readouterr()
    assert diptych("evaluate", *words) == code
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    return error


def test_a_run_is_scored_on_its_test_images(run, capsys):
    assert diptych("evaluate", run, *FAST) == 0
    out = capsys.readouterr()
    found = results(run / "evaluation.json")
    assert {metric for metric, _, _ in found} == {"psnr", "ssim", "l1", "kid", "mind", "nearest", "lab_l", "lab_a", "lab_b"}
    assert {of for _, _, of in found} == {"model", "copy", "mean", "truth"}
    assert f"{found['psnr', 'a2b', 'model']:.2f}" in out.out and f"page  {run}/evaluation.html" in out.out
    assert "not computed: fid: 3 images are fewer than 2,048" in out.err
    document = json.loads((run / "evaluation.json").read_text())
    assert document["about"]["snapshot"]["file"].endswith("snapshot.safetensors")
    assert {p["outputs"]["mode"] for p in document["protocols"].values() if p["of"] == "model"} == {"paper"}


def test_shares_are_merged_into_the_report_of_one_process(run, capsys, monkeypatch):
    assert diptych("evaluate", run, *FAST) == 0
    whole = (run / "evaluation.json").read_bytes()
    (run / "evaluation.json").unlink()
    assert diptych("evaluate", run, *FAST, "--shard", "2/2") == 0
    printed = capsys.readouterr()
    assert f"share 2 of 2: 4 images measured into {run}/evaluation-shards\n" in printed.out and "with --merge" in printed.err
    error = refused(capsys, run, *FAST, "--merge")
    assert error.endswith("evaluation-shards: shares are missing: 1/2; give the command with --shard 1/2 and so on first")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert diptych("evaluate", run, *FAST) == 0
    assert "share 1 of 2: 2 images measured" in capsys.readouterr().out and not (run / "evaluation.json").exists()
    assert diptych("evaluate", run, *FAST, "--merge") == 0
    assert (run / "evaluation.json").read_bytes() == whole and (run / "evaluation.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard", "0/4"], "must be a share such as 3/16, from 1/16 to 16/16, found '0/4'"),
        (["--shard", "5/4"], "must be a share such as 3/16, from 1/16 to 16/16, found '5/4'"),
        (["--shard", "a/b"], "must be a share such as 3/16, from 1/16 to 16/16, found 'a/b'"),
        (["--shard", "1/4", "--merge"], "argument --merge: not allowed with argument --shard"),
        (["--shard", "1/4", "--json", "x.json"], "--json: a share has no report to write; give it beside --merge"),
        (["--shard", "1/4"], "--shard and --merge need --out DIR, a folder that all shares have in common"),
        (["--merge"], "--shard and --merge need --out DIR, a folder that all shares have in common"),
    ],
)
def test_wrong_shares_are_one_line(tmp_path, capsys, words, message):
    assert message in refused(capsys, tmp_path, tmp_path, *words)


def test_the_numbers_are_those_that_training_ended_with(paired_run, run):
    assert diptych("evaluate", run, *CHEAP) == 0
    found, ended = results(run / "evaluation.json"), results(paired_run / "evaluation.json")
    for of in ("model", "copy", "mean"):
        assert found["psnr", "a2b", of] == ended["psnr", "a2b", of]


def test_twice_gives_the_same_bytes(run):
    texts = []
    for _ in range(2):
        assert diptych("evaluate", run, *FAST, "--metrics", "psnr,kid") == 0
        texts.append([(run / f"evaluation.{kind}").read_bytes() for kind in ("json", "html")])
    assert texts[0] == texts[1]


def test_both_directions_of_a_cyclegan_are_scored(cyclegan_run, tmp_path):
    assert diptych("evaluate", cyclegan_run, *FAST, "--metrics", "cycle", "--out", tmp_path / "out") == 0
    assert results(tmp_path / "out" / "evaluation.json").keys() == {("cycle", "a2b", "model"), ("cycle", "b2a", "model")}
    assert diptych("evaluate", cyclegan_run, *CHEAP, "--truth", "--direction", "b2a", "--out", tmp_path / "one") == 0
    assert {direction for _, direction, _ in results(tmp_path / "one" / "evaluation.json")} == {"b2a"}


def test_pairs_of_an_unpaired_run_need_truth(cyclegan_run, tmp_path, capsys):
    error = refused(capsys, cyclegan_run, *CHEAP, "--out", tmp_path)
    assert "psnr: needs pairs; --truth pairs test images of equal names" in error


def test_other_data_has_files_of_its_own_name(run, tmp_path, capsys):
    for i, side in enumerate("AB"):
        folder(tmp_path / "more" / side, 2, seed=70 + 20 * i)
    assert diptych("evaluate", run, tmp_path / "more", *CHEAP) == 0
    assert results(run / "evaluation-more.json")["psnr", "a2b", "model"] > 0
    assert not (run / "evaluation.json").exists()
    train = run.parent / "data"  # the copy's recipe names the original's data
    source = json.loads((run / "recipe.json").read_text())["data"]["source"][0]
    assert "lies in a folder of training images" in refused(capsys, run, f"{source}/trainA", f"{source}/trainB", *CHEAP)
    assert not train.exists()


def test_results_are_written_before_they_are_printed(run, tmp_path, monkeypatch):
    def closed(evaluation):
        raise UnicodeEncodeError("cp1252", "\u2191", 0, 1, "not in this console's characters")

    monkeypatch.setattr("diptych.cli.tables.print_tables", closed)
    with pytest.raises(UnicodeEncodeError):
        diptych("evaluate", run, *CHEAP, "--out", tmp_path / "out", "--json", tmp_path / "numbers.json")
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["results"] and written == json.loads((tmp_path / "numbers.json").read_text())
    assert (tmp_path / "out" / "evaluation.html").exists()


def test_pairs_that_were_trained_on_are_left_out_unless_allowed(run, tmp_path, capsys):
    source = json.loads((run / "recipe.json").read_text())["data"]["source"][0]
    for i, side in enumerate("AB"):
        folder(tmp_path / "leaky" / side, 3, seed=70 + 20 * i)
        shutil.copy(f"{source}/train{side}/1.png", tmp_path / "leaky" / side / "2.png")
    for words, count, note in (([], 2, ""), (["--allow-seen"], 3, "1 seen before")):
        assert diptych("evaluate", run, tmp_path / "leaky", *CHEAP, *words, "--out", tmp_path / "out") == 0
        assert "leaky/B/2.png: equals" in capsys.readouterr().err
        (results,) = (json.loads(path.read_text())["results"] for path in (tmp_path / "out").glob("*.json"))
        assert {(r["estimate"]["n"], r["note"]) for r in results} == {(count, note)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "train"], "images that were trained on say nothing about new ones; choose test or val"),
        (["--size", 0], "--size must be at least 1 pixel, found 0"),
        (["--split", "all"], "must be test or val, found 'all'"),
        (["--split", "val"], "no images were set aside for validation; name other data after the run"),
        (["--snapshot", "best"], "no snapshot-best.safetensors, which a training with validation keeps; use --snapshot last"),
        (["--metrics", "fid"], "fid: 3 images are fewer than 2,048"),
        (["--metrics", "lpips"], "no metric is called 'lpips'; did you mean lpips_alex or lpips_vgg?"),
        (["--direction", "b2a"], "this snapshot translates a2b, not b2a"),
        (["--weights", "nowhere"], "--weights nowhere: is no folder; pass a folder, or one of inception, alexnet, vgg16 as"),
        (["--palette", "auto:2"], "--palette auto:2: finds label colours, but on which side? add --labels a or b"),
        (
            ["--palette", "auto:2", "--labels", "a", "--segmenter", "fcn.onnx"],
            "auto:2: finds colours in any order, but fcn.onnx numbers its own classes; give a file of colours in that order",
        ),
        (["--palette", "auto:x", "--labels", "a"], "--palette auto:x: auto:K needs a number of classes, such as auto:12"),
        (["--labels", "a", "--segmenter", "x.safetensors"], "gives colours; say with --palette which classes they are"),
        (["--metrics", "fcn_iou"], "fcn_iou: needs --labels and --palette"),
        (["--metrics", "target_rate"], "target_rate: needs --classifier and --target"),
        (["--metrics", "kid", "--features", "resnet"], "features must be inception, random-vgg"),
    ],
)
def test_a_mistake_is_one_line(run, words, message, capsys):
    assert message in refused(capsys, run, *FAST, *words)
    assert not (run / "evaluation.json").exists()


def test_weights_that_cannot_be_had_are_an_error_that_says_where_they_are(run, capsys):
    error = refused(capsys, run, *FAST, "--metrics", "kid", "--features", "inception", "--no-fetch", code=6)
    assert "https://" in error and "pt_inception-2015-12-05-6726825d.pth" in error


def test_a_folder_of_weights_without_any_is_refused(run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "holds none of pt_inception" in refused(capsys, run, *FAST, "--weights", tmp_path / "empty")


def test_nothing_at_that_path_is_said(tmp_path, capsys):
    assert "no such run folder, snapshot, name of the zoo or folder of outputs" in refused(capsys, tmp_path / "gone", tmp_path)
    folder(tmp_path / "out")
    assert "name one folder of real images after it" in refused(capsys, tmp_path / "out")


@pytest.mark.parametrize(
    ("subject", "words", "message"),
    [
        ("run", ["--size", 64], "--size: makes no difference to a run, as"),
        ("run", ["--data-direction", "b2a"], "--data-direction: makes no difference to a run, as"),
        ("run", ["--inputs", "in"], "--inputs: makes no difference to a run, as"),
        ("x.safetensors", ["--snapshot", "best"], "--snapshot: makes no difference to a snapshot file, as"),
        ("x.safetensors", ["--truth-half", "left"], "--truth-half: makes no difference to a snapshot file, as"),
        ("out", ["--split", "val"], "--split: makes no difference to a folder of outputs, as"),
        ("out", ["--direction", "b2a"], "--direction: makes no difference to a folder of outputs, as"),
        ("out", ["--truth", "--unpaired"], "argument --unpaired: not allowed with argument --truth"),
    ],
)
def test_what_would_make_no_difference_is_refused(subject, words, message, tmp_path, capsys):
    folder(tmp_path / "out", 1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").touch()
    assert message in refused(capsys, tmp_path / subject, tmp_path / "out", *words)


def test_a_dry_run_computes_and_writes_nothing(run, monkeypatch, capsys):
    monkeypatch.setattr(passes, "show", None)
    assert diptych("evaluate", run, *FAST, "--dry-run") == 0
    out = capsys.readouterr()
    assert (
        out.out == "a2b: psnr, ssim, l1, kid, mind, nearest, lab_l, lab_a, lab_b on 6 images\n" and "not computed: fid" in out.err
    )
    assert not (run / "evaluation.json").exists()


def test_a_snapshot_is_scored_on_any_data(run, tmp_path, capsys):
    for i, side in enumerate("AB"):
        folder(tmp_path / "more" / side, 2, seed=70 + 20 * i)
    snapshot = run / "snapshot.safetensors"
    assert diptych("evaluate", snapshot, tmp_path / "more", *CHEAP, "--json", tmp_path / "x.json") == 0
    assert "--out DIR writes evaluation.json" in capsys.readouterr().err
    forward = results(tmp_path / "x.json")
    words = [snapshot, tmp_path / "more", *CHEAP, "--data-direction", "b2a", "--json", tmp_path / "y.json"]
    assert diptych("evaluate", *words) == 0
    assert results(tmp_path / "y.json") != forward
    assert "name the data to evaluate it on" in refused(capsys, snapshot, *CHEAP)


def test_a_snapshot_of_unknown_origin_says_how_it_reads_the_data(run, tmp_path, capsys):
    for i, side in enumerate("AB"):
        folder(tmp_path / "more" / side, 2, seed=70 + 20 * i)
    bare = Snapshot.load(run / "snapshot.safetensors")
    Snapshot(bare.generators, bare.a, bare.b).save(tmp_path / "bare.safetensors")
    words = [tmp_path / "bare.safetensors", tmp_path / "more", *FAST, "--size", 32, "--json", tmp_path / "x.json"]
    assert diptych("evaluate", *words, "--metrics", "l1") == 0
    assert "are read as pairs by name; --unpaired takes them as two sets" in capsys.readouterr().err
    (tmp_path / "more" / "A" / "0.png").rename(tmp_path / "more" / "A" / "7.png")
    assert diptych("evaluate", *words, "--metrics", "lab_l") == 0
    assert "are read as two sets without pairs" in capsys.readouterr().err


def test_finished_images_are_scored(tmp_path, capsys):
    out, truth, given = folder(tmp_path / "out", 3), folder(tmp_path / "truth", 3, seed=5), folder(tmp_path / "in", 3, seed=9)
    assert diptych("evaluate", out, truth, "--inputs", given, *CHEAP, "--out", tmp_path / "report") == 0
    found = results(tmp_path / "report" / "evaluation.json")
    assert found.keys() == {(metric, "a2b", of) for metric in ("psnr", "l1") for of in ("model", "copy")}
    assert "Outputs" in capsys.readouterr().out
    (out / "2.png").unlink()
    assert "2 and 3 images, 1 without a partner of the same stem" in refused(capsys, out, truth, *CHEAP)
    assert diptych("evaluate", out, truth, "--unpaired", *FAST, "--metrics", "lab_a") == 0


def test_a_snapshot_can_be_the_segmenter(tmp_path, run):
    """Labels to photos, judged by the run's own translator as if it went from photos to labels."""
    for i in range(3):
        for side in "AB":
            (tmp_path / "data" / side).mkdir(parents=True, exist_ok=True)
        classes = np.add.outer(np.arange(32) // 8, np.arange(32) // 16 + i) % 2
        Image.fromarray(np.array([[255, 0, 0], [0, 0, 255]], np.uint8)[classes]).save(tmp_path / "data" / "A" / f"{i}.png")
        picture(tmp_path / "data" / "B" / f"{i}.png", 50 + i)
    words = [run, tmp_path / "data", *FAST, "--metrics", "fcn_pixel,fcn_class,fcn_iou", "--labels", "a", "--palette", "auto:2"]
    assert diptych("evaluate", *words, "--segmenter", run / "snapshot.safetensors", "--allow-doubles") == 0
    found = results(run / "evaluation-data.json")
    assert {of for _, _, of in found} == {"model", "truth"} and all(0 <= value <= 1 for value in found.values())


def test_weights_are_given_by_name_and_verified(run, tmp_path, capsys):
    (tmp_path / "net.pth").write_bytes(b"no")
    error = refused(capsys, run, *FAST, "--metrics", "kid", "--weights", f"inception={tmp_path}/net.pth", code=6)
    assert "net.pth: expected SHA-256" in error


def test_ctrl_c_ends_between_two_images_and_writes_nothing(run, monkeypatch, capsys):
    show = passes.show

    def interrupted(*args):
        for count in show(*args):
            os.kill(os.getpid(), signal.SIGINT)
            yield count

    monkeypatch.setattr(passes, "show", interrupted)
    assert diptych("evaluate", run, *CHEAP) == 130
    assert "\nstopped; no result was written" in "\n" + capsys.readouterr().err
    assert not (run / "evaluation.json").exists()


def test_an_output_that_cannot_be_made_is_exit_code_5(run, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert "cannot be made (Not a directory)" in refused(capsys, run, *CHEAP, "--out", tmp_path / "file" / "x", code=5)


# What finishing a training writes


def test_training_ends_with_an_evaluation_of_the_test_pairs(paired_run):
    found = results(paired_run / "evaluation.json")
    assert {metric for metric, _, _ in found} >= {"psnr", "ssim", "l1"}
    assert (paired_run / "evaluation.html").exists() and (paired_run / "test-a2b.png").exists()


def test_training_without_pairs_ends_with_kid_and_cycle(cyclegan_run):
    found = results(cyclegan_run / "evaluation.json")
    assert found.keys() == {
        ("kid", "a2b", "model"), ("kid", "a2b", "copy"), ("cycle", "a2b", "model"),
        ("kid", "b2a", "model"), ("kid", "b2a", "copy"), ("cycle", "b2a", "model"),
    }  # fmt: skip


def test_training_ends_well_when_its_test_images_must_not_be_scored(tmp_path, capsys):
    for i, name in enumerate(("trainA", "trainB", "testA", "testB")):
        folder(tmp_path / "data" / name, 2, seed=10 * i)
    for i in range(2):
        shutil.copy(tmp_path / "data" / "trainB" / f"{i}.png", tmp_path / "data" / "testB" / f"{i}.png")
    assert diptych("train", "cyclegan", tmp_path / "data", "--out", tmp_path / "run", *CYCLEGAN, "--previews", 0) == 0
    error = capsys.readouterr().err
    assert "warning: test images are not scored:" in error and "so were all images of a side to score" in error
    assert (tmp_path / "run" / "report.html").exists() and not (tmp_path / "run" / "evaluation.json").exists()


def test_help_needs_no_torch(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert "diptych evaluate runs/x" in capsys.readouterr().out
