"""Trees of tensors and JSON come back as they were, and every kind of damage is noticed."""

import random
import re

import pytest
import safetensors.torch
import torch
from PIL import Image

from diptych.errors import SnapshotError
from diptych.nets import UNet
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from diptych.trees import read_header, read_tree, write_tree

TREE = {
    "kind": "state",
    "format": 1,
    "step": 7,
    "nested": [{"weights": torch.randn(5, 3), "half": torch.randn(4).bfloat16()}, [torch.arange(6), None, "text", 1.5, True]],
    "scalar": torch.tensor(3.5, dtype=torch.float64),
    "empty": torch.zeros(0, 3, 2, 2),
    "bytes": torch.arange(256, dtype=torch.uint8),
    "transposed": torch.randn(3, 4).t(),
    "channels_last": torch.randn(1, 3, 4, 4).to(memory_format=torch.channels_last),
}


def written(path, tree=TREE):
    write_tree(path, tree)
    return path


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other and type(one) is type(other)


def snapshot(path, seed=0):
    torch.manual_seed(seed)
    Snapshot({"a2b": UNet(3, 3, width=2, num_downs=3)}, Domain(), Domain(), about={"recipe": {"train": {"seed": seed}}}).save(
        path
    )
    return path


# --- what goes in comes out ---


def test_a_tree_comes_back_as_it_was(tmp_path):
    assert same(read_tree(written(tmp_path / "x.safetensors")), TREE)


def test_shared_memory_and_device_views_are_kept_as_values(tmp_path):
    base = torch.arange(12.0)
    tree = {"whole": base, "part": base[3:6], "again": base, "parameter": torch.nn.Parameter(base[:2])}
    back = read_tree(written(tmp_path / "x.safetensors", tree))
    assert {name: tensor.tolist() for name, tensor in back.items()} == {name: tensor.tolist() for name, tensor in tree.items()}


def test_keys_with_dots_name_tensors_of_their_own(tmp_path):
    one, two, three, four = (torch.tensor([float(k)]) for k in range(4))
    for tree in (
        {"a.b": one, "a": {"b": two}},
        {"a": {"b": one}, "a.b": two},
        {"a.b.c": one, "a": {"b.c": two, "b": {"c": three}}, "a.b": {"c": four}},
        {"": {"a": one}, "a": two},
        {"a": [one, two], "a.1": three, "a.0'": four},
        {"a.b": one, "a": {"b": two}, "a.b'": three},
    ):
        assert same(read_tree(written(tmp_path / "x.safetensors", tree)), tree)


def test_keys_that_become_equal_as_text_are_refused(tmp_path):
    for tree in ({1: torch.zeros(1), "1": torch.ones(1)}, {"$tensor": "x"}):
        with pytest.raises(AssertionError, match="keys must differ as text"):
            write_tree(tmp_path / "x.safetensors", tree)


def test_the_hash_depends_on_content_alone(tmp_path):
    digests = {write_tree(tmp_path / f"{k}.safetensors", TREE) for k in range(5)}
    assert len(digests) == 1 and len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    changed = TREE | {"step": 8}
    assert write_tree(tmp_path / "y.safetensors", changed) not in digests


def test_the_header_is_read_without_the_tensors(tmp_path):
    assert read_header(written(tmp_path / "x.safetensors"))["step"] == 7


# --- damage is seen ---

SEED = 20261122


def flipped(data, place):
    return data[: place // 8] + bytes([data[place // 8] ^ 1 << place % 8]) + data[place // 8 + 1 :]


@pytest.mark.parametrize("kind", ["state", "snapshot"])
def test_every_flipped_bit_and_every_truncation_is_found(kind, tmp_path):
    path = tmp_path / f"{kind}.safetensors"
    load, whole = (read_tree, written(path)) if kind == "state" else (Snapshot.load, snapshot(path))
    load(whole)
    data = whole.read_bytes()
    chance = random.Random(SEED)
    header = int.from_bytes(data[:8], "little") + 8
    places = [chance.randrange(8 * len(data)) for _ in range(150)] + [chance.randrange(8 * header) for _ in range(150)]
    damages = [flipped(data, place) for place in places] + [data[: chance.randrange(len(data))] for _ in range(100)]
    found = []
    for damaged in damages:
        path.write_bytes(damaged)
        with pytest.raises(SnapshotError, match=re.escape(str(path))) as caught:
            load(path)
        found.append(str(caught.value))
    print(f"seed {SEED}: {len(found)} of {len(damages)} found, the file has {len(data)} bytes")
    assert not any("\n" in message for message in found)
    with_hashes = [m for m in found if re.search(r"expected SHA-256 \w{64}, found \w{64}; use another copy", m)]
    assert len(with_hashes) >= 75  # at the least all that hit a tensor


def test_tensors_that_changed_places_are_found(tmp_path):
    tree = {name: torch.randn(4, 4) for name in "abcdef"}
    path = written(tmp_path / "x.safetensors", tree)
    with safetensors.safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in tree}
    for one, other in [("a", "b"), ("c", "f"), ("a", "e")]:
        safetensors.torch.save_file(tensors | {one: tensors[other], other: tensors[one]}, path, metadata)
        with pytest.raises(SnapshotError, match="damaged: expected SHA-256"):
            read_tree(path)
    safetensors.torch.save_file(tensors, path, metadata)
    read_tree(path)


@pytest.mark.parametrize("change", [lambda t: t.view(torch.int32), lambda t: t.reshape(2, 8), lambda t: t.double()])
def test_a_tensor_of_another_type_or_shape_is_found(change, tmp_path):
    path = written(tmp_path / "x.safetensors", {"a": torch.randn(4, 4)})
    with safetensors.safe_open(path, "pt") as file:
        metadata, tensor = file.metadata(), file.get_tensor("a")
    safetensors.torch.save_file({"a": change(tensor).contiguous()}, path, metadata)
    with pytest.raises(SnapshotError, match="damaged: expected SHA-256"):
        read_tree(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file or run; give a snapshot"),
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>not found</html>", "is a web page and not the file behind it"),
        (b"\x08\0\0\0\0\0\0\0{not json", "damaged or not a safetensors file"),
        (
            safetensors.torch.save({"x": torch.zeros(1)}),
            "not written by diptych; other tools' weights go through `diptych import`",
        ),
        (safetensors.torch.save({"x": torch.zeros(1)}, {"diptych": "0" * 64 + "{"}), "damaged or not a safetensors file"),
    ],
)
def test_other_files_are_refused_in_one_line(content, message, tmp_path):
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SnapshotError, match=message) as caught:
        read_tree(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.gif", "x.webp", "x.tif", "x.safetensors"])
def test_a_picture_in_the_place_of_a_snapshot_is_called_one(name, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG" if name == "x.safetensors" else None)
    with pytest.raises(SnapshotError, match=rf"{name}: is an image; give a snapshot, such as runs/x/snapshot\.safetensors$"):
        Snapshot.load(tmp_path / name)


def test_weights_of_another_tool_are_told_the_way_in(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "G.pth")
    with pytest.raises(SnapshotError, match=r"holds weights of another tool; run `diptych import .*G\.pth`"):
        Snapshot.load(tmp_path / "G.pth")


def test_a_folder_is_no_snapshot(tmp_path):
    with pytest.raises(SnapshotError, match=re.escape(str(tmp_path))):
        read_tree(tmp_path)


def test_a_run_folder_stands_for_its_snapshot_and_any_other_folder_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(SnapshotError, match=r"run: is a folder; give a file, such as runs/x/snapshot\.safetensors$"):
        Snapshot.load(tmp_path / "run")
    inside = snapshot(tmp_path / "run" / "snapshot.safetensors")
    assert Snapshot.load(tmp_path / "run").about == Snapshot.load(inside).about
    with pytest.raises(SnapshotError, match=f"^{re.escape(str(tmp_path / 'run'))}: is a folder; give {re.escape(str(inside))}$"):
        read_tree(tmp_path / "run")
