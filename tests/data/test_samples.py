"""WebDataset shards and tables of Hugging Face: local copies, read by their numbers, so that a run goes on exactly."""

import io
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import diptych
from diptych.data.census import Census, take_census
from diptych.data.datasets import Crops, DataConfig
from diptych.data.folders import find_data
from diptych.data.samples import choose_columns, expanded, split_columns
from diptych.data.stream import batches
from diptych.errors import DataError, MissingExtraError
from diptych.recipe import Recipe
from diptych.trees import read_tree
from tests.data.pictures import noise


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise((24, 30, 3), "uint8", seed)).save(file, "PNG")
    return file.getvalue()


def shard(path: Path, start: int, count: int = 3, columns=("photo.png", "label.png")) -> None:
    """A shard as webdataset writes it: the members of each sample one after another, and its text beside them."""
    with tarfile.open(path, "w") as archive:
        for i in range(start, start + count):
            for place, column in enumerate(columns):
                member = tarfile.TarInfo(f"{i:04d}.{column}")
                data = png(1000 * place + i)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            text = tarfile.TarInfo(f"{i:04d}.json")
            text.size = 2
            archive.addfile(text, io.BytesIO(b"{}"))


def shards(root: Path) -> str:
    shard(root / "train-00.tar", 0)
    shard(root / "train-01.tar", 3)
    shard(root / "val-00.tar", 6, 2)
    return f"wds:{root}/{{train-00,train-01,val-00}}.tar"


def test_samples_of_shards_are_pairs_of_their_split(tmp_path):
    layout = find_data([shards(tmp_path)], paired=True)
    assert (len(layout.train.a), len(layout.val.a), layout.test) == (6, 2, None)
    for i, (a, b) in enumerate(zip(layout.train.a, layout.train.b, strict=True)):
        assert np.array_equal(a.read(), noise((24, 30, 3), "uint8", i))
        assert np.array_equal(b.read(), noise((24, 30, 3), "uint8", 1000 + i))
    assert len(find_data([f"wds:{tmp_path}/*.tar"], paired=False).train.a) == 6
    other = find_data([f"wds:{tmp_path}/train-{{00..01}}.tar:label.png,photo.png"], paired=True).train
    assert np.array_equal(other.a[0].read(), layout.train.b[0].read())


def test_two_sources_of_one_image_a_sample_are_two_sides(tmp_path):
    shard(tmp_path / "x.tar", 0, 4, ("jpg",))
    shard(tmp_path / "y.tar", 9, 3, ("png",))
    split = find_data([f"wds:{tmp_path}/x.tar", f"wds:{tmp_path}/y.tar"], paired=False).train
    assert (len(split.a), len(split.b)) == (4, 3) and split.b[0].read().shape == (24, 30, 3)
    with pytest.raises(DataError, match=r"has 1 path a row; pass a second list or folder"):
        find_data([f"wds:{tmp_path}/x.tar"], paired=False)


def test_shards_that_do_not_fit_say_so(tmp_path):
    shard(tmp_path / "a.tar", 0, 1)
    shard(tmp_path / "b.tar", 1, 1, ("photo.png",))
    for source, message in {
        f"wds:{tmp_path}/*.tar": r"b.tar: sample 0001 has photo.png and no label.png",
        f"wds:{tmp_path}/c.tar": r"no shards found; expected wds:shards/train-\{000..009\}.tar",
        "wds:https://example.org/x.tar": r"is not on this machine; copy the shards",
        f"wds:{tmp_path}/a.tar:mask.png": r"has no images called mask.png; there are photo.png, label.png",
    }.items():
        with pytest.raises(DataError, match=message):
            find_data([source], paired=True)


def test_braces_and_columns_are_understood():
    assert expanded("a{08..10}-{x,y}") == ["a08-x", "a08-y", "a09-x", "a09-y", "a10-x", "a10-y"]
    assert split_columns("user/name:photo,label") == ("user/name", ("photo", "label"))
    assert split_columns("/data/set") == ("/data/set", ())
    assert choose_columns(["target", "input"], (), "hf:x") == ("input", "target")
    assert choose_columns(["zebra", "horse"], (), "hf:x") == ("zebra", "horse")
    with pytest.raises(DataError, match=r"images are called a, b, c; choose one or two of them, as in hf:x:photo,label"):
        choose_columns(["a", "b", "c"], (), "hf:x")


def resumed_exactly(source: str, tmp_path: Path) -> None:
    """A run on a source that was stopped half-way ends like one that was not."""
    small = {"generator": "unet_2", "ngf": 4, "lambda_gan": 0.0, "norm": "instance"}
    data = {"source": [source], "resize": "none", "crop_size": 16, "holdout": 0.0}
    settings = {"method": small, "data": data, "train": {"epochs": 2, "decay_epochs": 0, "precision": "fp32"}}
    recipe = Recipe.create("pix2pix", settings)
    ends, stopped = [], []
    for name in ("whole", "parts"):

        def stop(progress, name=name):
            if name == "parts" and progress.task == "training" and progress.done == 5 and not stopped:
                stopped.append(name)
                raise KeyboardInterrupt

        how = {"device": "cpu", "workers": 0, "log_every": 1, "save_every": 0.0, "num_previews": 0}
        try:
            path = diptych.train(recipe, tmp_path / name, watch=stop, **how)
        except KeyboardInterrupt:
            path = diptych.train(recipe, tmp_path / name, watch=stop, **how)
        assert bool(stopped) == (name == "parts")
        ends.append(read_tree(path)["generators"]["a2b"]["weights"])
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


def test_a_run_on_shards_goes_on_exactly(tmp_path):
    resumed_exactly(shards(tmp_path), tmp_path)


def test_webdataset_writes_what_is_read(tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="the shards of webdataset itself need it")
    with webdataset.TarWriter(str(tmp_path / "train.tar")) as writer:
        for i in range(3):
            writer.write({"__key__": f"some/{i}", "input.png": noise((8, 9, 3), "uint8", i), "target.png": png(i), "cls": i})
    split = find_data([f"wds:{tmp_path}/train.tar"], paired=True).train
    for i in range(3):
        assert np.array_equal(split.a[i].read(), noise((8, 9, 3), "uint8", i)) and split.b[i].read().shape == (24, 30, 3)


def write_table(path: Path, count: int = 5, start: int = 0) -> None:
    """A parquet file as the hub holds them, whose schema says which columns are images."""
    datasets, parquet = pytest.importorskip("datasets"), pytest.importorskip("pyarrow.parquet")
    rows = {
        "photo": [{"bytes": png(start + i), "path": None} for i in range(count)],
        "caption": ["x"] * count,
        "label": [{"bytes": png(1000 + start + i), "path": None} for i in range(count)],
    }
    features = datasets.Features({"photo": datasets.Image(), "caption": datasets.Value("string"), "label": datasets.Image()})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(parquet.core.pa.table(rows, schema=features.arrow_schema), path)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The package datasets, with its cache in a folder of the test."""
    datasets = pytest.importorskip("datasets", reason="hf: needs the package datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    return datasets


@pytest.mark.parametrize("form", ["saved", "parquet"])
def test_a_table_of_hugging_face_gives_its_image_columns(form, hub, tmp_path):
    write_table(tmp_path / "set/data/train-00000.parquet")
    write_table(tmp_path / "set/data/validation-00000.parquet", 2, 50)
    if form == "saved":
        hub.load_dataset(str(tmp_path / "set")).save_to_disk(str(tmp_path / "saved"))
        (tmp_path / "set").rename(tmp_path / "parquet")
        (tmp_path / "saved").rename(tmp_path / "set")
    layout = find_data([f"hf:{tmp_path}/set"], paired=True)
    assert (len(layout.train.a), len(layout.val.b)) == (5, 2)
    assert np.array_equal(layout.train.a[3].read(), noise((24, 30, 3), "uint8", 3))
    assert np.array_equal(layout.val.b[1].read(), noise((24, 30, 3), "uint8", 1051))
    census = take_census(layout.train)
    assert Census.from_json(census.to_json()) == census
    crops = Crops(census, DataConfig(resize="none", crop_size=16), 0)
    alone, by_workers = (list(batches(crops, 0, 6, 2, workers=workers)) for workers in (0, 2))
    assert all(torch.equal(x.a, y.a) and torch.equal(x.b, y.b) for x, y in zip(alone, by_workers, strict=True))
    sides = find_data([f"hf:{tmp_path}/set:photo", f"hf:{tmp_path}/set:label"], paired=False).train
    assert (len(sides.a), len(sides.b)) == (5, 5)


def test_a_run_on_a_table_goes_on_exactly(hub, tmp_path):
    write_table(tmp_path / "set/data/train-00000.parquet")
    resumed_exactly(f"hf:{tmp_path}/set", tmp_path)


def test_without_the_package_a_table_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"hf:some/set: needs datasets, .*pip install 'diptych\[hf\]'"):
        find_data(["hf:some/set"], paired=True)


def test_a_hub_that_cannot_be_reached_is_asked_for_nothing(monkeypatch):
    """The package datasets would retry for half a minute; it is told to be offline, and only meanwhile."""
    asked = []
    config = SimpleNamespace(HF_HUB_OFFLINE=False, HF_ENDPOINT="http://127.0.0.1:9")

    def load(name):
        asked.append((name, config.HF_HUB_OFFLINE))
        raise FileNotFoundError("not in the cache")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(config=config, load_dataset=load, load_from_disk=load))
    with pytest.raises(DataError, match=r"^hf:some/set: cannot be loaded \(127.0.0.1: Connection refused\); check the network, "):
        find_data(["hf:some/set"], paired=True)
    assert asked == [("some/set", True)] and not config.HF_HUB_OFFLINE
