"""Whatever keeps the images, and however many processes read them, the samples are those read from the files each time."""

import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diptych.cli import load
from diptych.data import cache as module
from diptych.data import datasets
from diptych.data.cache import CACHES, choose_place, kept, reserved, shared_memory
from diptych.data.census import Census
from diptych.data.datasets import Crops, DataConfig
from diptych.data.slots import Mapped, Slots
from diptych.data.stream import batches
from diptych.errors import ConfigError, DataError, StorageError
from tests.data.pictures import side_by_side, two_sides

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
KINDS = (3, "uint16"), (1, "float32")
CONFIGS = [DataConfig(resize=how, load_size=36, crop_size=32) for how in ("square", "aspect", "none")]


@pytest.fixture
def reads(monkeypatch):
    """The files that are decoded from now on."""
    found, reading = [], datasets.read_pixels
    monkeypatch.setattr(datasets, "read_pixels", lambda path, rules: found.append(path) or reading(path, rules))
    return found


def samples(crops, workers=0, start=0, stop=24):
    return list(batches(crops, start, stop, 2, workers=workers))


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for batch, other in zip(found, expected, strict=True):
        assert torch.equal(batch.a, other.a) and torch.equal(batch.b, other.b)
        assert (batch.files, batch.problems) == (other.files, other.problems)


# --- the same samples ---


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.resize)
@pytest.mark.parametrize(("paired", "counts"), [(True, (7, 7)), (False, (7, 4))])
@pytest.mark.parametrize("cache", CACHES)
def test_samples_are_those_of_the_files_and_every_file_is_decoded_once(cache, paired, counts, config, tmp_path, reads):
    census = two_sides(tmp_path / "data", paired=paired, counts=counts, kinds=KINDS)
    crops = Crops(census, config, 5)
    expected = samples(crops)
    del reads[:]
    with kept(crops, cache, tmp_path, CPU) as cached:
        assert_same(samples(cached), expected)
        assert_same(samples(cached, start=8), expected[4:])
    assert (len(reads) == len(set(reads)) == sum(counts)) == (cache != "off")


@pytest.mark.parametrize("cache", ["ram", "disk", "device"])
def test_worker_processes_share_one_cache(cache, tmp_path):
    census = two_sides(tmp_path / "data", kinds=KINDS)
    crops = Crops(census, CONFIGS[1], 5)
    expected = samples(crops)
    with kept(crops, cache, tmp_path, CPU) as cached:
        assert_same(samples(cached, workers=2), expected)
        for ref in (*census.split.a, *census.split.b):
            ref.path.unlink()
        assert_same(samples(cached), expected)  # this process has read nothing
        assert_same(samples(cached, workers=1), expected)


def test_a_process_that_starts_afresh_maps_the_same_memory(tmp_path):
    crops = Crops(two_sides(tmp_path / "data"), CONFIGS[0], 5)
    with kept(crops, "ram", tmp_path, CPU) as cached:
        expected, file = samples(cached), tmp_path / "crops"
        file.write_bytes(pickle.dumps(cached))
        (tmp_path / "data").rename(tmp_path / "moved")
        code = f"""
            import pickle, sys
            from diptych.data.stream import batches
            crops = pickle.load(open({str(file)!r}, "rb"))
            pickle.dump([batch._asdict() for batch in batches(crops, 0, 24, 2)], sys.stdout.buffer)
        """
        found = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True).stdout
    for batch, other in zip(pickle.loads(found), expected, strict=True):
        assert torch.equal(batch["a"], other.a) and torch.equal(batch["b"], other.b)


def test_halves_of_one_file_are_decoded_together(tmp_path, reads):
    crops = Crops(side_by_side(tmp_path / "data"), CONFIGS[0], 0)
    expected = samples(crops)
    del reads[:]
    with kept(crops, "ram", tmp_path, CPU) as cached:
        assert_same(samples(cached), expected)
    assert len(reads) == 5


# --- files that go bad or change ---


@pytest.mark.parametrize("cache", ["ram", "disk", "device"])
def test_an_unreadable_file_gives_way_to_the_next_as_without_a_cache(cache, tmp_path):
    census = two_sides(tmp_path / "data", counts=(12, 12))
    census.split.a[4].path.unlink()
    crops = Crops(census, CONFIGS[0], 0)
    expected = samples(crops)
    assert any(batch.problems for batch in expected)
    with kept(crops, cache, tmp_path, CPU) as cached:
        assert_same(samples(cached), expected)
        for ref in census.split.b:
            ref.path.unlink()
        assert_same(samples(cached), expected)


def test_what_was_never_readable_stops_after_ten(tmp_path):
    census = two_sides(tmp_path / "data", counts=(12, 12))
    for ref in census.split.a:
        ref.path.unlink()
    with (
        kept(Crops(census, CONFIGS[0], 0), "device", tmp_path, CPU) as cached,
        pytest.raises(DataError, match="10 images in a row"),
    ):
        samples(cached)


def test_an_image_that_has_another_size_than_at_the_census_is_read_each_time(tmp_path, reads):
    census = two_sides(tmp_path / "data", counts=(3, 3))
    np.save(census.split.a[1].path, np.zeros((90, 50, 3), np.uint8))
    crops = Crops(census, CONFIGS[2], 0)
    expected = samples(crops)
    for cache in ("ram", "device"):
        with kept(crops, cache, tmp_path, CPU) as cached:
            assert_same(samples(cached), expected)
            del reads[:]
            assert_same(samples(cached), expected)
        assert set(reads) == {census.split.a[1].path}


# --- the file ---


def interrupted(crops, folder):
    """The samples of a training that keeps images on the disk and is stopped."""
    with suppress(KeyboardInterrupt), kept(crops, "disk", folder, CPU) as cached:
        found = samples(cached)
        raise KeyboardInterrupt
    return found


def test_a_slot_whose_bytes_are_not_those_written_is_read_again(tmp_path, reads):
    crops = Crops(two_sides(tmp_path / "data", kinds=KINDS), CONFIGS[0], 0)
    expected = samples(crops)
    slots = Slots.of(crops.census, crops.config)
    path = Path(reserved(tmp_path / "cache", "host-key", Mapped.size_for(slots)))
    assert_same(samples(crops.over(Mapped(crops.source, slots, path))), expected)
    del reads[:]
    assert_same(samples(crops.over(Mapped(crops.source, slots, path))), expected)
    assert not reads
    content = bytearray(path.read_bytes())
    content[-slots.nbytes + slots.starts[3] + 100] ^= 1  # a pixel of the fourth image
    content[8 * 9] ^= 1  # a checksum, of the third image of b
    path.write_bytes(content)
    assert_same(samples(crops.over(Mapped(crops.source, slots, path))), expected)
    assert sorted(reads) == [crops.census.split.a[3].path, crops.census.split.b[2].path]


def test_the_file_outlives_an_interrupted_training_and_no_other(tmp_path, reads):
    crops = Crops(two_sides(tmp_path / "data"), CONFIGS[0], 0)
    expected = interrupted(crops, tmp_path)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    del reads[:]
    with kept(crops, "disk", tmp_path, CPU) as cached:
        assert_same(samples(cached), expected)
    assert not reads and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("change", ["a file", "the size", "the images", "the file's length"])
def test_a_file_left_by_other_images_or_settings_is_not_used(change, tmp_path, reads):
    census, config = two_sides(tmp_path / "data"), CONFIGS[0]
    interrupted(Crops(census, config, 0), tmp_path)
    (left,) = (tmp_path / "cache").iterdir()
    if change == "a file":
        np.save(census.split.a[2].path, np.zeros((46, 54, 3), np.uint8))
    elif change == "the size":
        config = replace(config, load_size=37)
    elif change == "the images":
        census = replace(census, split=replace(census.split, a=census.split.a[::-1]))
    else:
        os.truncate(left, left.stat().st_size - 1)
    crops = Crops(census, config, 0)
    expected = samples(crops)
    del reads[:]
    with kept(crops, "disk", tmp_path, CPU) as cached:
        assert len(list((tmp_path / "cache").iterdir())) == 1
        assert_same(samples(cached), expected)
    assert len(reads) == 14


def test_what_a_person_keeps_in_a_folder_of_that_name_stays(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "mine.txt").write_text("mine")
    with kept(Crops(two_sides(tmp_path / "data"), CONFIGS[0], 0), "disk", tmp_path, CPU) as cached:
        samples(cached)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["mine.txt"]


def test_a_full_disk_is_said_before_training_and_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor, start, length):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    crops = Crops(two_sides(tmp_path / "data"), CONFIGS[0], 0)
    with pytest.raises(StorageError) as error, kept(crops, "disk", tmp_path, CPU):
        pass
    message = str(error.value)
    assert message.startswith(f"{tmp_path}/cache/")
    assert re.search(r"cannot be kept \(No space left on device\); they need 5\d\.\d kB, ", message)
    assert message.endswith("free; make room, or choose --cache off") and not (tmp_path / "cache").exists()


def test_the_space_on_the_disk_is_taken_at_once(tmp_path):
    path = Path(reserved(tmp_path / "cache", "host-key", 1_000_000))
    assert path.stat().st_size == 1_000_000 and path.stat().st_blocks * 512 >= 1_000_000


def test_a_file_that_cannot_be_mapped_is_said(tmp_path):
    crops = Crops(two_sides(tmp_path / "data"), CONFIGS[0], 0)
    with pytest.raises(StorageError, match=r"/none: cannot be mapped \(.*No such file.*\); choose --cache ram or off$"):
        Mapped(crops.source, Slots.of(crops.census, crops.config), tmp_path / "none")


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="elsewhere a temporary file")
def test_shared_memory_is_gone_with_the_process_even_when_it_is_killed():
    code = (
        "import os, signal, sys; from diptych.data.cache import shared_memory\n"
        "with shared_memory(1 << 20) as path:\n"
        "    print(path, os.stat(path).st_size, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    before = set(Path("/dev/shm").iterdir())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    path, size = done.stdout.split()
    assert done.returncode == -signal.SIGKILL and int(size) == 1 << 20
    assert not Path(path).exists() and set(Path("/dev/shm").iterdir()) <= before


def test_where_there_is_no_memory_file_it_is_a_temporary_one(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    crops = Crops(two_sides(tmp_path / "data"), CONFIGS[0], 0)
    expected = samples(crops)
    with kept(crops, "ram", tmp_path, CPU) as cached:
        assert len(list(tmp_path.glob("diptych-*.pixels"))) == 1
        assert_same(samples(cached, workers=2), expected)
    assert not list(tmp_path.glob("diptych-*.pixels"))
    with shared_memory(100) as path:
        assert Path(path).read_bytes() == bytes(100)


# --- the choice ---


@pytest.fixture
def slots(tmp_path):
    found = Slots.of(two_sides(tmp_path / "data"), CONFIGS[0])
    assert found.nbytes == 14 * 36 * 36 * 3 + 14 * 64 - 14 * (36 * 36 * 3 % 64) and found.nbytes == 54656
    return found


def free(monkeypatch, ram, gpu=0):
    monkeypatch.setattr(module, "available_memory", lambda device: gpu if device.type == "cuda" else ram)


@pytest.mark.parametrize(
    ("cache", "device", "ram", "gpu", "chosen", "note"),
    [
        ("auto", CPU, 120_000, 0, "ram", "images are kept in RAM once decoded: 54.7 kB of 120 kB free"),
        ("auto", CUDA, 120_000, 10**6, "device", "images are kept on cuda once decoded: 54.7 kB of 1.00 MB free"),
        ("auto", CUDA, 120_000, 500_000, "ram", "images are kept in RAM once decoded: 54.7 kB of 120 kB free"),
        ("device", CUDA, 0, 120_000, "device", "images are kept on cuda once decoded: 54.7 kB of 120 kB free"),
        ("ram", CUDA, 120_000, 10**9, "ram", "images are kept in RAM once decoded: 54.7 kB of 120 kB free"),
        ("disk", CPU, 0, 0, "disk", "images are kept in runs/x/cache once decoded: 54.7 kB"),
        (
            "auto",
            CPU,
            100_000,
            0,
            "off",
            "images do not fit in RAM (54.7 kB, at most half of 100 kB free); read from their files each time; "
            "--cache disk keeps them decoded in runs/x/cache (54.7 kB)",
        ),
    ],
)
def test_where_images_are_kept_is_a_matter_of_memory_and_is_said(
    cache, device, ram, gpu, chosen, note, slots, monkeypatch, caplog
):
    free(monkeypatch, ram, gpu)
    with caplog.at_level(logging.INFO, "diptych"):
        assert choose_place(cache, slots, Path("runs/x/cache"), device) == chosen
    assert caplog.messages == [note]


@pytest.mark.parametrize(("cache", "name"), [("ram", "in RAM"), ("device", "on cuda")])
def test_what_does_not_fit_where_it_was_asked_to_be_is_an_error(cache, name, slots, monkeypatch):
    free(monkeypatch, 100_000, 100_000)
    with pytest.raises(ConfigError) as error:
        choose_place(cache, slots, Path("runs/x/cache"), CUDA)
    assert str(error.value) == (
        f"cache {cache}: images do not fit {name} (54.7 kB, at most half of 100 kB free); "
        "--cache disk keeps them decoded in runs/x/cache (54.7 kB), --cache off reads them each time"
    )


def test_without_the_sizes_of_an_older_census_nothing_is_kept_and_that_is_said(tmp_path, caplog):
    census = Census.from_json(replace(two_sides(tmp_path / "data"), sizes={}).to_json())
    assert Slots.of(census, CONFIGS[0]) is not None  # all of one size
    crops = Crops(census, CONFIGS[1], 0)
    expected = samples(crops)
    with caplog.at_level(logging.INFO, "diptych"), kept(crops, "auto", tmp_path, CPU) as cached:
        assert_same(samples(cached), expected)
    assert caplog.messages == ["images are read from their files each time: this run's census holds no sizes of images"]
    with pytest.raises(ConfigError, match=r"^cache ram: this run's census holds no sizes .*; start anew with another --out, or "):
        choose_place("ram", None, tmp_path, CPU)


def test_off_says_nothing_and_an_unknown_choice_is_an_error(tmp_path, caplog):
    crops = Crops(two_sides(tmp_path / "data"), CONFIGS[0], 0)
    with caplog.at_level(logging.INFO, "diptych"), kept(crops, "off", tmp_path, CPU) as cached:
        assert cached is crops
    assert not caplog.messages
    tape = kept(crops, "tape", tmp_path, CPU)
    with pytest.raises(ConfigError, match=r"^cache 'tape': no such choice; choose auto, ram, disk, device, off$"), tape:
        pass


def test_the_command_offers_these_choices():
    (option,) = [action for action in load("train").parser()._actions if action.dest == "cache"]
    assert option.choices == CACHES and option.default == "auto"
