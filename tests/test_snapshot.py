"""A snapshot says all that translating needs, and refuses what it does not understand."""

import json
from dataclasses import fields

import pytest
import safetensors.torch
import torch

from diptych.errors import ConfigError, SnapshotError
from diptych.nets import PatchGAN, ResNet, UNet
from diptych.pixels import Domain
from diptych.schemas import DomainValues
from diptych.snapshot import Snapshot, check_header
from diptych.trees import read_header, write_tree

A, B = Domain(1, "uint16", 0.0, 4095.0), Domain(3)


def nets():
    torch.manual_seed(0)
    return {"a2b": UNet(1, 3, width=2, num_downs=3), "b2a": ResNet(3, 1, width=2, num_blocks=1)}


def saved(path, **settings):
    Snapshot(nets(), A, B, **settings).save(path)
    return path


def test_everything_comes_back(tmp_path):
    about = {"recipe": {"train": {"betas": [0.5, 0.9]}}, "images": 5, "note": "ünï ☃"}
    loaded = Snapshot.load(saved(tmp_path / "s.safetensors", size=286, mode="paper", about=about))
    assert (loaded.a, loaded.b, loaded.size, loaded.mode, loaded.about) == (A, B, 286, "paper", about)
    for direction, net in nets().items():
        back = loaded.generators[direction]
        assert not back.training and not any(p.requires_grad for p in back.parameters())
        assert back.state_dict().keys() == net.state_dict().keys()
        assert all(torch.equal(value, net.state_dict()[key]) for key, value in back.state_dict().items())
        x = torch.rand(1, net.spec["in_channels"], 16, 16)
        with torch.no_grad():
            assert torch.equal(back(x), net.eval()(x))


def test_saving_twice_gives_one_hash_and_saving_what_was_loaded_too(tmp_path):
    digests = {Snapshot(nets(), A, B).save(tmp_path / f"{k}.safetensors") for k in range(2)}
    digests.add(Snapshot.load(tmp_path / "0.safetensors").save(tmp_path / "2.safetensors"))
    assert len(digests) == 1


def test_the_discriminator_that_an_import_keeps_comes_back_and_none_is_needed(tmp_path):
    D = PatchGAN(3, width=2, num_layers=1)
    loaded = Snapshot.load(saved(tmp_path / "s.safetensors", discriminators={"b": D}))
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded.discriminators["b"](x), D.eval()(x))
    tree = {
        "kind": "snapshot",
        "format": 1,
        "a": {"channels": 1, "high": 9.0},
        "b": {},
        "size": 0,
        "mode": "eval",
        "about": {},
        "generators": {},
    }
    write_tree(tmp_path / "first.safetensors", tree)  # as the first snapshots of format 1 were
    first = Snapshot.load(tmp_path / "first.safetensors")
    assert first.discriminators == {} and (first.a.icc, first.a.alpha, first.a.masked) == ("ignore", "white", False)


def test_other_tools_can_read_it_without_diptych(tmp_path):
    path = saved(tmp_path / "s.safetensors", about={"images": 5})
    with safetensors.safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["diptych"][64:])  # after the SHA-256
        names = set(file.keys())
    assert header["kind"] == "snapshot" and header["format"] == 2 and header["about"] == {"images": 5}
    assert header["a"].items() >= {"channels": 1, "dtype": "uint16", "low": 0.0, "high": 4095.0, "icc": "ignore"}.items()
    assert header["generators"]["a2b"]["spec"]["net"] == "unet"
    assert {f"generators.a2b.weights.{key}" for key in nets()["a2b"].state_dict()} <= names


def test_a_direction_says_which_domain_goes_in_and_which_comes_out(tmp_path):
    both = Snapshot(nets(), A, B)
    assert both.domains("a2b") == (A, B) and both.domains("b2a") == (B, A)
    one = Snapshot({"a2b": nets()["a2b"]}, A, B)
    with pytest.raises(ConfigError, match="this snapshot translates a2b, not b2a; choose"):
        one.domains("b2a")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"kind": "state", "format": 1}, "is a state, expected a snapshot; give a snapshot file"),
        ({"format": 1}, "is not a diptych snapshot, expected a snapshot; give a snapshot file"),
        ({"kind": "snapshot", "format": 4}, r"format 4 is newer than this version of diptych understands \(3\); upgrade diptych"),
    ],
)
def test_other_kinds_and_newer_formats_are_refused_in_one_line(header, message, tmp_path):
    path = tmp_path / "s.safetensors"
    write_tree(path, header | {"x": torch.zeros(2)})
    with pytest.raises(SnapshotError, match=message) as caught:
        Snapshot.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and caught.value.exit_code == 6


def test_the_header_can_be_looked_at_alone(tmp_path):
    path = saved(tmp_path / "s.safetensors", size=128)
    check_header(path, "snapshot", 2)
    assert read_header(path)["size"] == 128


def test_a_snapshot_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        SnapshotError, match=r"x.safetensors: no such file or run; give a snapshot such as runs/x/snapshot.safetensors"
    ):
        Snapshot.load(tmp_path / "x.safetensors")


def test_the_schema_of_a_domain_names_every_field_of_one():
    assert DomainValues.__annotations__.keys() == {field.name for field in fields(Domain)}
