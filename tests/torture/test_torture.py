"""A few attempts of the quick parts of `make torture`, and proof that they find what they look for."""

import random

import pytest
from hypothesis import strategies as st

from tests.torture import edits, folders, loading, power, properties, refusals


@pytest.fixture(autouse=True)
def quietly(caplog):
    caplog.set_level("ERROR")


@pytest.mark.parametrize("trial", range(10))
def test_a_power_loss_leaves_a_state_to_go_on_from(trial, tmp_path):
    assert power.lost(random.Random(trial), tmp_path) is None


def test_the_replay_of_power_losses_finds_a_naive_save(tmp_path):
    found = []
    for trial in range(8):
        (tmp_path / str(trial)).mkdir()
        found.append(power.outcome(random.Random(trial), tmp_path / str(trial), power.save_naively))
    assert any(found)


@pytest.mark.parametrize("fault", ["SIGKILL", "SIGSTOP", "exit"])
def test_a_loader_that_is_lost_is_started_again_at_the_same_images(fault, tmp_path):
    assert loading.attacked(random.Random(1), tmp_path, fault) is None


@pytest.mark.parametrize("trial", range(4))
def test_a_disk_that_refuses_leaves_what_was_saved(trial, tmp_path):
    assert refusals.refused(random.Random(trial), tmp_path) is None


@pytest.mark.parametrize("trial", range(12))
def test_an_edited_snapshot_ends_in_one_line(trial, tmp_path):
    assert edits.edited(random.Random(trial), tmp_path, "snapshot") is None


@pytest.mark.parametrize("kind", ["census", "state"])
def test_another_edited_file_ends_in_one_line(kind, tmp_path):
    assert edits.edited(random.Random(5), tmp_path, kind) is None


def test_another_clock_does_not_change_which_state_is_newest(tmp_path):
    assert folders.clock(random.Random(1), tmp_path) is None


@pytest.mark.parametrize("parser", properties.PROPERTIES)
def test_a_parser_gives_a_value_that_keeps_its_promise_or_one_line(parser, tmp_path):
    assert properties.held(random.Random(1), tmp_path, parser, examples=25) is None


def test_the_smallest_example_that_broke_a_parser_is_kept_whole(tmp_path, monkeypatch):
    def check(text: str) -> None:
        assert len(text) < 700, "too long"

    monkeypatch.setattr(properties, "FOUND", tmp_path / "found")
    monkeypatch.setitem(properties.PROPERTIES, "two words", (st.integers(0, 999).map("x".__mul__), check))
    said = properties.held(random.Random(1), tmp_path, "two words")
    assert said and said.startswith("two words: AssertionError: too long")
    (kept,) = (tmp_path / "found").iterdir()
    assert f"['{'x' * 700}']" in kept.read_text() and str(kept) in said
