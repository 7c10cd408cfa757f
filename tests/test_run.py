"""The run folder: one writer, one recipe, and always a state to go on from."""

import errno
import fcntl
import json
import os
import random
import signal
import socket
import threading
import time

import pytest
import torch

from diptych.errors import ConfigError, LockedError, SnapshotError, StorageError
from diptych.files import write_atomic
from diptych.locks import is_locked
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.trees import read_tree, write_tree
from tests.training.forks import CONTEXT, hold, race, start

RECIPE = Recipe.create("pix2pix")


def state(step):
    return {"weights": torch.full((3000,), float(step)), "stats": {"sums": {}, "steps": step}}


def run_with_states(folder, *steps):
    folder.mkdir(exist_ok=True)
    run = Run(folder)
    for step in steps:
        run.save_state(step, state(step))
    return run


# --- states ---


def test_the_newest_two_states_are_kept_by_their_step_and_not_by_their_time(tmp_path):
    run = run_with_states(tmp_path / "run", 9, 10, 100)
    assert [path.name for path in run.states()] == ["state-000000100.safetensors", "state-000000010.safetensors"]
    os.utime(run.states()[0], (0, 0))  # a clock that went back
    loaded, problems = run.load_state()
    assert loaded["step"] == 100 and problems == []
    assert torch.equal(loaded["weights"], state(100)["weights"])


def test_remains_of_a_killed_save_are_swept_away_by_the_next(tmp_path):
    run = run_with_states(tmp_path / "run", 1)
    (run.folder / ".state-000000002.safetensors.77.tmp").write_bytes(b"torn")
    run.save_state(2, state(2))
    assert sorted(path.name for path in run.folder.iterdir()) == [f"state-00000000{step}.safetensors" for step in (1, 2)]


def test_what_other_commands_are_writing_in_the_folder_stays(tmp_path, monkeypatch):
    run, real = run_with_states(tmp_path / "run", 1), os.replace

    def meanwhile(temporary, target):  # a training saves between another command's writing and renaming
        monkeypatch.setattr(os, "replace", real)
        run.save_state(2, state(2))
        real(temporary, target)

    for name in ("evaluation.json", "report.html", "snapshot-a2b.onnx"):
        monkeypatch.setattr(os, "replace", meanwhile)
        write_atomic(run.folder / name, b"whole")
        assert (run.folder / name).read_bytes() == b"whole"


@pytest.mark.parametrize("name", ["state-000000002.safetensors", "snapshot.safetensors", "snapshot-best.safetensors"])
def test_what_a_killed_save_of_this_version_left_is_swept_away(name, tmp_path, monkeypatch):
    run = run_with_states(tmp_path / "run", 1)

    def killed(*_):
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        patched.setattr(os, "unlink", killed)
        with pytest.raises(SystemExit):
            write_atomic(run.folder / name, b"torn")
    assert len(list(run.folder.glob(".*"))) == 1
    run.save_state(3, state(3))
    assert list(run.folder.glob(".*")) == []


def test_a_run_that_has_not_begun_has_no_state_and_no_problem(tmp_path):
    assert run_with_states(tmp_path / "run").load_state() == (None, [])


def test_a_damaged_state_is_named_with_both_hashes_and_the_one_before_it_is_used(tmp_path):
    seed = 7
    chance = random.Random(seed)
    run = run_with_states(tmp_path / "run", 10, 20)
    newest = run.states()[0]
    data = newest.read_bytes()
    for k in range(60):
        place = chance.randrange(len(data))
        damaged = data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :] if k % 3 else data[:place]
        newest.write_bytes(damaged)
        loaded, problems = run.load_state()
        assert loaded["step"] == 10, f"seed {seed}, {k}"
        assert len(problems) == 1 and str(newest) in problems[0]
    newest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "damaged: expected SHA-256" in run.load_state()[1][0]


def test_no_whole_state_is_an_error_that_does_not_begin_anew(tmp_path):
    run = run_with_states(tmp_path / "run", 10, 20)
    for path in run.states():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        SnapshotError, match=r"no training state is whole; first: .*state-000000020.*; start again with another --out"
    ):
        run.load_state()


def test_a_state_of_a_newer_version_and_another_kind_of_file_are_refused(tmp_path):
    run = run_with_states(tmp_path / "run", 10)
    for header, message in [
        ({"kind": "state", "format": 99}, "format 99 is newer than this version of diptych understands"),
        ({"kind": "snapshot", "format": 1}, "is a snapshot, expected a state"),
    ]:
        write_tree(run.folder / "state-000000020.safetensors", header | {"step": 20} | state(20))
        loaded, problems = run.load_state()
        assert loaded["step"] == 10 and message in problems[0]


def test_a_full_disk_keeps_the_states_that_were(tmp_path, monkeypatch):
    run = run_with_states(tmp_path / "run", 10, 20)
    before = sorted(os.listdir(run.folder))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            run.save_state(30, state(30))
    assert sorted(os.listdir(run.folder)) == before
    assert run.load_state()[0]["step"] == 20


# --- statistics ---


def test_statistics_after_the_resumed_step_and_a_line_torn_anywhere_are_forgotten(tmp_path):
    run = run_with_states(tmp_path / "run")
    lines = [{"step": step, "losses": {"G/l1": 0.5}, "images_s": 2.5} for step in (10, 20, 30)]
    for line in lines:
        run.add_stats(line)
    whole = run.stats.read_text()
    last = len(whole) - len(json.dumps(lines[-1])) - 1
    for end in range(last, len(whole)):
        run.stats.write_text(whole[:end])
        run.rewind_stats(30)
        kept = [json.loads(line) for line in run.stats.read_text().splitlines()]
        assert kept == lines[:2]
    run.stats.write_text(whole)
    run.rewind_stats(20)
    assert [json.loads(line)["step"] for line in run.stats.read_text().splitlines()] == [10, 20]


LINES = [{"step": step, "losses": {"G/l1": 0.1 * step}, "images_s": 2.5} for step in (10, 20, 30)]
ONE, TWO, THREE = (json.dumps(line) + "\n" for line in LINES)


@pytest.mark.parametrize(
    ("text", "kept", "damaged"),
    [
        (ONE + TWO + "\0" * 4096, LINES[:2], 1),
        (ONE + "\0" * 100 + TWO + THREE, LINES, 1),  # the next run appended
        (ONE + "\0" * 100 + "\n" + TWO, LINES[:2], 1),
        (ONE + TWO[:20] + THREE, LINES[:1], 1),
        (ONE + "5\n[]\nnull\n" + '{"losses": 1}\n' + TWO + THREE[:9], LINES[:2], 5),
        ("\0" * 50, [], 1),
        ("", [], 0),
        (ONE + TWO + THREE, LINES, 0),
    ],
)
def test_damage_of_a_kill_or_power_failure_is_repaired_and_said(text, kept, damaged, tmp_path, caplog):
    run = run_with_states(tmp_path / "run")
    run.stats.write_text(text)
    assert run.lines() == kept
    run.rewind_stats(1000)
    assert run.stats.read_text() == "".join(json.dumps(line) + "\n" for line in kept)
    said = f"stats.jsonl: repaired; a kill or a power failure had damaged {damaged} of its lines"
    assert (said in caplog.text) == bool(damaged)


def test_bytes_that_are_no_text_are_damage_too(tmp_path):
    run = run_with_states(tmp_path / "run")
    run.stats.write_bytes(ONE.encode() + b"\xff\xfe\n" + TWO.encode())
    run.rewind_stats(10)
    assert run.lines() == LINES[:1]


# --- one recipe ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.lr": 0.001}, "train.lr: 0.0002 -> 0.001"),
        ({"method.lambda_l1": 10.0}, "method.lambda_l1: 100.0 -> 10.0"),
        ({"data.source": ("x",), "data.flip": False}, "data.flip: True -> False"),  # place is not recipe
        ({"method.ngf": 32, "train.seed": 3}, "method.ngf: 64 -> 32"),
    ],
)
def test_a_changed_recipe_is_refused_with_its_first_difference(changes, message, tmp_path):
    for _ in range(2):  # the same recipe may come again
        with Run.open(tmp_path / "run", RECIPE) as run:
            run.save_state(10, state(10))
    advice = "give the settings that it began with to go on with it, or another --out for a new run"
    expected = f"run: holds a run of another recipe \\({message}\\); {advice}"
    with pytest.raises(ConfigError, match=expected), Run.open(tmp_path / "run", RECIPE.replace(**changes)):
        pass
    assert [path.name for path in run.states()] == ["state-000000010.safetensors"]


@pytest.mark.parametrize("changes", [{"train.accumulate": 2, "train.batch_size": 2}, {"train.checkpoint": True}], ids=str)
def test_a_run_goes_on_with_what_out_of_memory_advises(changes, tmp_path):
    before = RECIPE.replace(**{"train.batch_size": changes.get("train.batch_size", 1)})
    with Run.open(tmp_path / "run", before) as run:
        run.save_state(10, state(10))
    with Run.open(tmp_path / "run", before.replace(**changes)) as run:
        assert run.load_state()[0]["step"] == 10
    assert json.loads((run.folder / "recipe.json").read_text()) == before.replace(**changes).to_dict()


def test_a_run_of_before_these_settings_goes_on(tmp_path):
    with Run.open(tmp_path / "run", RECIPE) as run:
        run.save_state(10, state(10))
        old = RECIPE.to_dict()
        del old["train"]["accumulate"], old["train"]["checkpoint"]
        run.write_json("recipe.json", old)
    with Run.open(tmp_path / "run", RECIPE) as run:
        assert run.load_state()[0]["step"] == 10


def test_a_run_in_which_nothing_was_learnt_yet_takes_a_new_recipe(tmp_path):
    with Run.open(tmp_path / "run", RECIPE) as run:
        (run.folder / "census.json").write_text("{}")
    changed = RECIPE.replace(**{"train.lr": 0.5})
    with Run.open(tmp_path / "run", changed) as run:
        assert run.census() is None
    assert json.loads((run.folder / "recipe.json").read_text()) == changed.to_dict()


def test_a_damaged_recipe_file_is_named(tmp_path):
    with Run.open(tmp_path / "run", RECIPE):
        pass
    (tmp_path / "run" / "recipe.json").write_text('{"method": {')
    with pytest.raises(ConfigError, match=r"recipe.json: damaged"), Run.open(tmp_path / "run", RECIPE):
        pass


@pytest.mark.parametrize("blocked", ["file", "folder of file"])
def test_a_folder_that_cannot_be_made_is_a_storage_error(blocked, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    out = tmp_path / "file" if blocked == "file" else tmp_path / "file" / "run"
    with pytest.raises(StorageError, match=r"cannot be made or written .*; choose another --out"), Run.open(out, RECIPE):
        pass


# --- one writer ---


def test_a_second_writer_in_the_same_process_is_refused_and_may_follow(tmp_path):
    with Run.open(tmp_path / "run", RECIPE), pytest.raises(LockedError) as caught, Run.open(tmp_path / "run", RECIPE):
        pass
    assert f"pid {os.getpid()} on " in str(caught.value) and caught.value.exit_code == 4
    with Run.open(tmp_path / "run", RECIPE):
        pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_a_warning(code, tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with Run.open(tmp_path / "run", RECIPE) as run:
        run.save_state(1, state(1))
    assert f"its file system has no locks ({os.strerror(code)}); let no other process train into it" in caplog.text


def test_of_two_writers_exactly_one_wins_fifty_times(tmp_path):
    rounds = 50
    barrier, results = CONTEXT.Barrier(2), CONTEXT.Queue()
    racers = [start(race, str(tmp_path), rounds, barrier, results) for _ in range(2)]
    found = [results.get(timeout=60) for _ in range(2 * rounds)]
    for racer in racers:
        racer.join(60)
    assert [racer.exitcode for racer in racers] == [0, 0]
    for k in range(rounds):
        outcomes = sorted((outcome for round_, *outcome in found if round_ == k), key=lambda outcome: outcome[0] == "won")
        (refused, code), (won, winner) = outcomes
        assert won == "won" and code == 4, k
        assert "another process writes this run (" in refused and f"pid {winner} on " in refused
        assert refused.endswith("; wait for it, or choose another --out")


@pytest.mark.parametrize("note", ["", f"pid {2**30 - 1} on {socket.gethostname()}"])
def test_who_only_looks_at_a_lock_does_not_keep_a_writer_away(note, tmp_path):
    run_with_states(tmp_path / "run", 1)
    (tmp_path / "run" / ".lock").write_text(note)
    looking = open(tmp_path / "run" / ".lock", "r+")  # noqa: SIM115 - closed by the timer
    fcntl.flock(looking, fcntl.LOCK_EX)
    assert is_locked(tmp_path / "run")
    threading.Timer(0.3, looking.close).start()
    with Run.open(tmp_path / "run", RECIPE):
        assert looking.closed
    assert not is_locked(tmp_path / "run")


@pytest.mark.parametrize("children", [0, 2])
def test_after_a_kill_the_next_writer_starts_at_once_though_loader_workers_live_on(children, tmp_path):
    ready = CONTEXT.Event()
    owner = start(hold, str(tmp_path / "run"), children, ready)
    assert ready.wait(60)
    with pytest.raises(LockedError, match=f"pid {owner.pid} on "), Run.open(tmp_path / "run", RECIPE):
        pass
    os.kill(owner.pid, signal.SIGKILL)
    owner.join(10)
    began = time.monotonic()
    with Run.open(tmp_path / "run", RECIPE):
        assert time.monotonic() - began < 1


def test_a_read_back_state_is_what_was_saved(tmp_path):
    run = run_with_states(tmp_path / "run", 5)
    tree = read_tree(run.states()[0])
    assert tree["kind"] == "state" and tree["step"] == 5 and tree["stats"] == {"sums": {}, "steps": 5}
