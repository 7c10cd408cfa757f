"""A folder of translations knows what was done in it, also by other processes, and goes on after a crash."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.cli import main
from diptych.errors import StorageError
from diptych.inference import choice
from diptych.inference import manifest as module
from diptych.inference.manifest import NAME, Job, Manifest, left_to_do, share_of
from diptych.pixels import Domain
from tests.inference.test_norm_statistics import snapshot

MADE_BY = {"snapshot_sha256": "5" * 64, "direction": "a2b"}


def done(folder, count, manifest):
    """Jobs that were done, whose inputs and results hold their numbers."""
    jobs = []
    for number in range(count):
        job = Job(folder / "in" / f"{number}.png", folder / "out" / f"{number}.png")
        for path in (job.source, job.target):
            path.parent.mkdir(exist_ok=True)
            path.write_text(str(number))
        manifest.begin(job)
        manifest.finish(job)
        jobs.append(job)
    return jobs


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path


def test_results_that_did_not_change_are_not_read_again(folder, monkeypatch):
    jobs = done(folder, 3, Manifest(folder / "out", MADE_BY))
    read = []
    real = module.hash_of
    monkeypatch.setattr(module, "hash_of", lambda path: read.append(path) or real(path))
    again = Manifest(folder / "out", MADE_BY)
    assert [again.obstacle(job) for job in jobs] == ["", "", ""] and read == []
    jobs[0].target.touch()  # another time, the same content
    assert again.obstacle(jobs[0]) == "" and read == [jobs[0].target]
    jobs[1].target.write_text("7")
    assert again.obstacle(jobs[1]) == "was changed after `diptych translate` had made it"
    jobs[2].source.write_text("7")
    assert again.obstacle(jobs[2]) == "was made from an input that has changed since"


def test_records_without_stamps_and_torn_ones_are_understood(folder):
    jobs = done(folder, 3, Manifest(folder / "out", MADE_BY))
    path = folder / "out" / NAME
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    old = [{key: value for key, value in line.items() if key not in ("input_stamp", "output_stamp", "time")} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in old[:4]) + json.dumps(old[4])[:50])
    torn = Manifest(folder / "out", MADE_BY)
    assert [torn.obstacle(job) for job in jobs[:2]] == ["", ""]
    assert torn.obstacle(jobs[2]) == "is there already and was not made by `diptych translate`"
    torn.begin(jobs[2])
    torn.finish(jobs[2])  # is not joined to the torn line
    assert [Manifest(folder / "out", MADE_BY).obstacle(job) for job in jobs] == ["", "", ""]


def test_a_record_whose_last_line_is_torn_still_knows_the_write_that_was_killed(folder):
    (job,) = done(folder, 1, Manifest(folder / "out", MADE_BY))
    path = folder / "out" / NAME
    text = path.read_text()
    assert text.count("\n") == 2
    path.write_text(text[:-20])  # the hash is there, the end of the line is not
    assert Manifest(folder / "out", MADE_BY).obstacle(job) is None
    path.write_text(text)
    Manifest(folder / "out", MADE_BY).begin(job)  # anew, and killed
    assert Manifest(folder / "out", MADE_BY).obstacle(job) is None
    Manifest(folder / "out", MADE_BY).finish(job)
    assert Manifest(folder / "out", MADE_BY).obstacle(job) == ""


def test_names_of_any_bytes_and_settings_that_change_are_read_back(folder):
    names = [os.fsdecode(b"\xff.png"), 'a "b\\.png', 'x", "y.png', "\u00e4.png"]
    jobs = [Job(folder / "in" / name, folder / "out" / name) for name in names]
    (folder / "in").mkdir()
    for number, job in enumerate(jobs):
        manifest = Manifest(folder / "out", {**MADE_BY, "seed": number % 2})
        job.source.write_text("in")
        job.target.write_text("out")
        manifest.begin(job)
        manifest.finish(job)
    for seed in (0, 1):
        found = [Manifest(folder / "out", {**MADE_BY, "seed": seed}).obstacle(job) for job in jobs]
        assert found == ["" if number % 2 == seed else f"was made with seed {1 - seed} instead of {seed}" for number in range(4)]


def test_a_write_that_was_killed_is_done_again_without_its_remains(folder):
    (job,) = done(folder, 1, Manifest(folder / "out", MADE_BY))
    Manifest(folder / "out", MADE_BY).begin(job)
    remains = job.target.with_name(f".{job.target.name}.0123.tmp")
    remains.write_text("torn")
    again = Manifest(folder / "out", MADE_BY)
    assert left_to_do([job], again, overwrite=False, skip_existing=False) == [job]
    again.begin(job)
    assert not remains.exists()


def test_shares_are_all_of_the_jobs_once_and_know_of_each_other(folder):
    jobs = done(folder, 200, Manifest(folder / "out", MADE_BY, (1, 3)))
    shares = [share_of(jobs, Manifest(folder / "out", MADE_BY, (number, 3)), (number, 3)) for number in (1, 2, 3)]
    assert sorted(job.target.name for share in shares for job in share) == sorted(job.target.name for job in jobs)
    assert all(40 < len(share) < 95 for share in shares)
    assert (
        Manifest(folder / "out", MADE_BY, (2, 3)).obstacle(jobs[0]) == "" == Manifest(folder / "out", MADE_BY).obstacle(jobs[0])
    )
    assert not (folder / "out" / NAME).exists()
    other = Manifest(folder / "out", {**MADE_BY, "direction": "b2a"})
    assert other.obstacle(jobs[0]) == "was made with direction a2b instead of b2a"
    other.begin(jobs[0])
    other.finish(jobs[0])  # the newest line counts, in whichever file it stands
    assert Manifest(folder / "out", MADE_BY, (1, 3)).obstacle(jobs[0]) == "was made with direction b2a instead of a2b"


def test_the_command_takes_a_share_by_option_or_from_torchrun(tmp_path, capsys, monkeypatch):
    snapshot("resnet_1", domain=Domain()).save(tmp_path / "s.safetensors")
    (tmp_path / "in").mkdir()
    for number in range(6):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(tmp_path / "in" / f"{number}.png")
    words = ["translate", str(tmp_path / "s.safetensors"), str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert main([*words, "--shard", "1/2"]) == 0
    first = {path.name for path in (tmp_path / "out").glob("*.png")}
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(words) == 0
    assert f"share 2 of 2, {6 - len(first)} images" in capsys.readouterr().err
    monkeypatch.delenv("RANK")
    assert 0 < len(first) < 6 and main(words) == 0
    assert (
        capsys.readouterr().out.endswith(f"0 translated into {tmp_path}/out, 6 were there\n")
        and len(list((tmp_path / "out").glob("*.png"))) == 6
    )
    assert main([*words, "--shard", "3/2"]) == 2
    assert "must be a share such as 3/16, from 1/16 to 16/16, found '3/2'" in capsys.readouterr().err.replace("\n", " ")


def test_all_results_of_a_folder_are_computed_alike_or_it_is_said(tmp_path, capsys, monkeypatch):
    """Also where each share would measure another backend to be the fastest."""
    monkeypatch.setattr(choice, "SMALL_JOB", 1)
    monkeypatch.setattr(choice, "SHORT_JOB", 0.0)
    monkeypatch.setattr(choice, "installed", lambda backend: backend == "onnx")
    monkeypatch.setattr(choice, "pick_precision", lambda wanted, device: "fp32")
    monkeypatch.setattr(choice, "_timed", lambda by, images, size: (by.tensors(torch.stack(images)), by.backend == "torch"))
    snapshot("resnet_1", domain=Domain()).save(tmp_path / "s.safetensors")
    for number in range(6):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(tmp_path / "in" / f"{number}.png")

    def translate(out, *options):
        code = main(
            ["translate", *map(str, (tmp_path / "s.safetensors", tmp_path / "in")), "--out", str(tmp_path / out), *options]
        )
        written = [json.loads(line) for path in (tmp_path / out).glob(".*.jsonl") for line in path.read_text().splitlines()]
        return code, {(line["backend"], line["precision"]) for line in written}, " ".join(capsys.readouterr().err.split())

    assert translate("alone")[:2] == (0, {("onnx", "fp32")})  # as measured
    for share in ("1/2", "2/2"):
        code, made, said = translate(f"shared {share[0]}", "--shard", share)  # begun at once: none sees the other
        assert (code, made) == (0, {("torch", "fp32")}) and "note: torch fp32 is taken, so that all shares" in said
    assert translate("named", "--shard", "1/1", "--backend", "onnx")[:2] == (0, {("onnx", "fp32")})
    monkeypatch.undo()
    (tmp_path / "alone" / "0.png").unlink()
    code, made, said = translate("alone")
    assert (code, made) == (0, {("onnx", "fp32")}) and "note: onnx fp32 is taken, as for the earlier results in this" in said
    code, _, said = translate("alone", "--backend", "torch")
    assert code == 2 and "was made with backend onnx instead of torch (and 5 more such files); make it anew with --over" in said
    code, _, said = translate("alone", "--backend", "torch", "--skip-existing")
    assert code == 0 and "note: 6 earlier results in this folder were made by another backend or precision" in said
    for path in (tmp_path / "alone").glob(".*.jsonl"):  # of a version that did not record it
        path.write_text(path.read_text().replace('"backend": "onnx", "precision": "fp32", ', ""))
    assert main(["translate", str(tmp_path / "s.safetensors"), str(tmp_path / "in"), "--out", str(tmp_path / "alone")]) == 0
    assert "note: 6 earlier results in this folder were made by another backend" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_record_that_leads_elsewhere_is_refused_and_nothing_is_written_there(kind, folder):
    """As a folder may hold it that a stranger packed: the lines were appended to any file of the user's."""
    (folder / "mine").write_text("kept")
    (folder / "in").mkdir()
    (folder / "in" / "0.png").write_text("0")
    if kind == "link":
        (folder / "out" / NAME).symlink_to("../mine")
        with pytest.raises(StorageError, match=r"cannot be written \(is a link to .*mine, outside of its folder"):
            Manifest(folder / "out", MADE_BY).begin(Job(folder / "in" / "0.png", folder / "out" / "0.png"))
    else:
        os.mkfifo(folder / "out" / NAME)
        with pytest.raises(OSError, match="is a pipe, socket or device"):
            Manifest(folder / "out", MADE_BY)
    assert (folder / "mine").read_text() == "kept"
