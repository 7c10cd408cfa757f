"""Folders: reading and writing go on beside the network, in order, whole files only, and never far ahead."""

import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.data.formats import read_pixels
from diptych.errors import StorageError
from diptych.inference import batch as module
from diptych.inference.batch import plan, translate_files
from diptych.inference.translator import Translator
from diptych.overlap import ahead
from tests.inference.test_backends import snapshot


@pytest.fixture
def translator():
    return Translator(snapshot(), device="cpu")


def pictures(folder, sizes):
    folder.mkdir()
    random = np.random.default_rng(0)
    for i, (height, width) in enumerate(sizes):
        Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{i:02}.png")
    return folder


def test_results_come_in_order_and_no_more_than_depth_are_begun():
    begun, most = [], 0

    def work(item):
        begun.append(item)
        time.sleep(0.002 * (item % 3))
        return item * item

    results = []
    for result in ahead(work, range(20), threads=3, depth=4):
        most = max(most, len(begun) - len(results))
        results.append(result)
    assert results == [item * item for item in range(20)] and 1 < most <= 4


def test_items_weigh_no_more_together_than_they_may_and_a_heavier_one_is_alone():
    weights, held, most = [3, 3, 3, 9, 1, 4, 6, 0, 0, 0], [], []

    def work(item):
        held.append(weights[item])
        most.append(sum(held))
        return item

    for result in ahead(work, range(10), threads=1, depth=4, weight=weights.__getitem__, most=8):
        held.remove(weights[result])  # it was held until it was asked for
    assert max(most) == 9 and most[3] == 9 and max(total for i, total in enumerate(most) if i != 3) <= 8


def test_work_overlaps():
    both = threading.Barrier(2, timeout=30)
    assert list(ahead(lambda item: both.wait() >= 0, range(4), threads=2, depth=2)) == [True] * 4


def test_what_work_raises_comes_at_its_place_and_nothing_new_begins():
    begun = []

    def work(item):
        begun.append(item)
        if item == 3:
            raise StorageError("full")
        return item

    results, answers = [], ahead(work, range(100), threads=2, depth=3)
    with pytest.raises(StorageError, match="full"):
        results.extend(answers)
    assert results == [0, 1, 2] and len(begun) <= 6


def test_batches_give_what_single_images_give_and_hold_one_size(translator, tmp_path, monkeypatch):
    sizes = [(20, 24)] * 5 + [(24, 20)] * 2 + [(20, 24)]
    jobs = plan([pictures(tmp_path / "in", sizes)], tmp_path / "out", translator)
    (tmp_path / "in" / "02.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    seen, tensors = [], translator.tensors

    def watched(pixels):
        seen.append(len(pixels))
        return tensors(pixels)

    monkeypatch.setattr(translator, "tensors", watched)
    outcomes = translate_files(jobs, translator, batch=3)
    assert seen == [2, 2, 2, 1]
    assert [outcome.job for outcome in outcomes] == jobs
    assert [i for i, outcome in enumerate(outcomes) if outcome.problem] == [2]
    monkeypatch.undo()
    for job, outcome in zip(jobs, outcomes, strict=True):
        if not outcome.problem:
            assert np.abs(read_pixels(job.target).astype(int) - translator.pixels(read_pixels(job.source))).max() <= 1


def test_larger_images_that_come_later_go_through_in_smaller_batches(translator, tmp_path, monkeypatch):
    sizes = [(8, 8)] * 4 + [(16, 16)] * 3 + [(40, 40)] * 2
    jobs = plan([pictures(tmp_path / "in", sizes)], tmp_path / "out", translator)
    seen, tensors = [], translator.tensors
    monkeypatch.setattr(translator, "tensors", lambda pixels: seen.append(tuple(pixels.shape)) or tensors(pixels))
    translate_files(jobs, translator, batch=4, batch_values=2 * 3 * 16 * 16)
    assert seen == [(4, 3, 8, 8), (2, 3, 16, 16), (1, 3, 16, 16), (1, 3, 40, 40), (1, 3, 40, 40)]


def test_groups_that_overlap_on_cuda_come_in_order_and_are_the_same(translator, tmp_path):
    jobs = plan([pictures(tmp_path / "in", [(8, 8)] * 5 + [(8, 12)] * 2 + [(8, 8)] * 3)], tmp_path / "out", translator)
    (tmp_path / "in" / "06.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    expected = [
        outcome.problem or translator.pixels(read_pixels(outcome.job.source)) for outcome in translate_files(jobs, translator)
    ]
    translator.device = torch.device("cuda")  # groups take turns on two threads; they still compute on the CPU
    outcomes = translate_files(jobs, translator, batch=2)
    assert [outcome.job for outcome in outcomes] == jobs
    for outcome, image in zip(outcomes, expected, strict=True):
        assert (
            outcome.problem == image
            if outcome.problem
            else np.abs(read_pixels(outcome.job.target) - image.astype(int)).max() <= 1
        )


def test_paper_mode_sees_every_image_alone(tmp_path):
    translator = Translator(snapshot("unet_5", norm="batch", mode="paper"), device="cpu")
    jobs = plan([pictures(tmp_path / "in", [(32, 32)] * 3)], tmp_path / "out", translator)
    translate_files(jobs, translator, batch=3)
    for job in jobs:
        assert np.array_equal(read_pixels(job.target), translator.pixels(read_pixels(job.source)))


def short_of_memory(translator, values, error, monkeypatch):
    """A translator that fails as libraries do where a batch has more numbers than there is memory for."""
    tensors, seen = translator.tensors, []

    def limited(pixels):
        seen.append(len(pixels))
        if pixels.numel() > values:
            raise error
        return tensors(pixels)

    monkeypatch.setattr(translator, "tensors", limited)
    return seen


@pytest.mark.parametrize(
    "error",
    [RuntimeError("CUDA out of memory. Tried to allocate 9 GiB"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
    ids=str,
)
def test_an_image_too_large_for_the_memory_is_an_outcome_and_the_rest_goes_on(translator, tmp_path, monkeypatch, error):
    jobs = plan([pictures(tmp_path / "in", [(8, 8), (40, 30), (8, 8), (8, 8)])], tmp_path / "out", translator)
    short_of_memory(translator, 1000, error, monkeypatch)
    outcomes = translate_files(jobs, translator, batch=2)
    said = "01.png: 40 x 30 pixels need more memory than there is; cut it into smaller images, or use --at trained"
    assert [outcome.problem and outcome.problem.endswith(said) for outcome in outcomes] == [None, True, None, None]
    assert [job.target.exists() for job in jobs] == [True, False, True, True]


def test_a_batch_too_large_for_the_memory_goes_through_one_by_one(translator, tmp_path, monkeypatch):
    jobs = plan([pictures(tmp_path / "in", [(8, 8)] * 3)], tmp_path / "out", translator)
    seen = short_of_memory(translator, 3 * 8 * 8, RuntimeError("std::bad_alloc"), monkeypatch)
    assert not any(outcome.problem for outcome in translate_files(jobs, translator, batch=3)) and seen == [3, 1, 1, 1]


def test_other_errors_of_the_network_end_the_job(translator, tmp_path, monkeypatch):
    jobs = plan([pictures(tmp_path / "in", [(8, 8)])], tmp_path / "out", translator)
    short_of_memory(translator, 0, RuntimeError("shape mismatch"), monkeypatch)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        translate_files(jobs, translator)


def test_an_image_that_cannot_be_held_at_all_is_an_outcome(translator, tmp_path, monkeypatch):
    jobs = plan([pictures(tmp_path / "in", [(8, 8), (8, 8)])], tmp_path / "out", translator)
    prepare = translator.prepare
    failures = iter([MemoryError(), None])

    def limited(pixels, at):
        if failure := next(failures):
            raise failure
        return prepare(pixels, at)

    monkeypatch.setattr(translator, "prepare", limited)
    monkeypatch.setattr(module, "THREADS", 1)
    first, second = translate_files(jobs, translator)
    assert first.problem.endswith("00.png: does not fit into memory; cut it into smaller images, or use --at trained")
    assert second.problem is None


def test_a_full_disk_ends_the_job_with_its_error(translator, tmp_path, monkeypatch):
    jobs = plan([pictures(tmp_path / "in", [(20, 24)] * 30)], tmp_path / "out", translator)
    write = module.write_as

    def full(path, pixels, domain, metadata):
        if path.name == "02.png":
            raise StorageError(f"{path}: cannot be written (No space left on device)")
        write(path, pixels, domain, metadata)

    monkeypatch.setattr(module, "write_as", full)
    with pytest.raises(StorageError, match=r"02\.png: cannot be written \(No space"):
        translate_files(jobs, translator)
    assert len(list((tmp_path / "out").iterdir())) < 20


def test_a_result_that_its_format_cannot_hold_is_an_outcome(translator, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (16400, 1)).save(folder / "wide.png")
    Image.new("RGB", (8, 8)).save(folder / "small.png")
    (folder / "wide.png").rename(folder / "wide.webp")
    outcomes = translate_files(plan([folder], tmp_path / "out", translator), translator)
    (problem,) = [outcome.problem for outcome in outcomes if outcome.problem]
    assert "wide.webp: cannot hold this image" in problem
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["small.png"]


def test_an_interruption_ends_promptly_and_leaves_whole_files(translator, tmp_path):
    jobs = plan([pictures(tmp_path / "in", [(20, 24)] * 60)], tmp_path / "out", translator)

    def interrupted(outcome):
        if outcome.job is jobs[3]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate_files(jobs, translator, watch=interrupted)
    written = sorted((tmp_path / "out").iterdir())
    assert 4 <= len(written) < 40 and all(read_pixels(path).shape == (20, 24, 3) for path in written)
    rest = [job for job in jobs if not job.target.exists()]
    assert len(translate_files(rest, translator)) == 60 - len(written) and len(list((tmp_path / "out").iterdir())) == 60
