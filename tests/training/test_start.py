"""Trainings that begin with weights: of a snapshot, a run or another tool, for one direction or both, as far as they fit."""

import json
import re

import pytest
import torch

from diptych.errors import ConfigError
from diptych.nets import PatchGAN, ResNet, UNet
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.snapshot import Snapshot
from diptych.training.distributed import World
from diptych.training.going_on import continued
from diptych.training.loop import train
from diptych.training.publish import with_discriminators
from diptych.training.start import begin, freeze, with_hashes
from diptych.training.weights import take
from diptych.trees import read_tree
from tests.cli.pictures import digest, folder

SMALL = {"generator": "resnet_1", "ngf": 4, "ndf": 4, "num_layers": 1}


def recipe(tmp_path, start=None, name="cyclegan", method=SMALL, **train):
    data = {"source": [str(tmp_path / "a"), str(tmp_path / "b")], "load_size": 16, "crop_size": 16, "holdout": 0.0}
    settings = {"epochs": 1, "decay_epochs": 0, "precision": "fp32"} | train
    return Recipe.create(name, {"method": method, "data": data, "train": settings, "start": start or {}})


@pytest.fixture
def images(tmp_path):
    folder(tmp_path / "a", 2, height=16, width=16), folder(tmp_path / "b", 2, seed=9, height=16, width=16)
    return tmp_path


def run(recipe, out):
    return train(recipe, out, device="cpu", num_previews=0, workers=0)


def built(recipe, a=3, b=3):
    torch.manual_seed(5)
    return recipe.build(Domain(a), Domain(b))


def begun(method, recipe):
    begin(method, with_hashes(recipe), World())
    return method


def resnet(seed, a=3, b=3, width=4):
    torch.manual_seed(seed)
    return ResNet(a, b, width=width, num_blocks=1)


def equal(net, other):
    return all(torch.equal(x, y) for x, y in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_snapshot_gives_its_generators_and_the_discriminators_that_it_holds(tmp_path, caplog):
    caplog.set_level("INFO")
    judge = PatchGAN(3, width=4, num_layers=1)
    Snapshot({"a2b": resnet(1), "b2a": resnet(2)}, Domain(), Domain(), discriminators={"D_b": judge}).save(
        tmp_path / "s.safetensors"
    )
    method = begun(built(r := recipe(tmp_path, {"weights": str(tmp_path / "s.safetensors")})), r)
    fresh = built(r)
    assert equal(method.G_ab, resnet(1)) and equal(method.G_ba, resnet(2)) and equal(method.D_b, judge)
    assert equal(method.D_a, fresh.D_a) and not equal(method.D_b, fresh.D_b)
    assert "G_ab takes 16 of its 16 tensors" in caplog.text and "nothing for D_a, which the training goes on" in caplog.text


def test_one_direction_takes_its_own_generator_and_a_single_one_serves_any(tmp_path):
    both, single = tmp_path / "both.safetensors", tmp_path / "single.safetensors"
    Snapshot({"a2b": resnet(1), "b2a": resnet(2)}, Domain(), Domain()).save(both)
    Snapshot({"a2b": resnet(3)}, Domain(), Domain()).save(single)
    r = recipe(tmp_path, {"weights_b2a": str(both)})
    assert equal(begun(built(r), r).G_ba, resnet(2)) and equal(begun(built(r), r).G_ab, built(r).G_ab)
    r = recipe(tmp_path, {"weights_b2a": str(single), "weights_a2b": str(both)})
    method = begun(built(r), r)
    assert equal(method.G_ba, resnet(3)) and equal(method.G_ab, resnet(1))


def test_a_network_of_the_zoo_is_taken_by_its_name(tmp_path, monkeypatch):
    Snapshot({"a2b": resnet(1)}, Domain(), Domain()).save(tmp_path / "h2z.safetensors")
    row = {
        "file": "h2z.safetensors",
        "sha256": digest(tmp_path / "h2z.safetensors"),
        "size": 1,
        "shows": "x",
        "licence": "CC0-1.0",
    }
    (tmp_path / "zoo.json").write_text(json.dumps({"h2z": row}))
    monkeypatch.setenv("DIPTYCH_ZOO", str(tmp_path))
    r = recipe(tmp_path, {"weights_a2b": "h2z"})
    assert equal(begun(built(r), r).G_ab, resnet(1))


def test_weights_of_another_tool_need_a_direction_where_there_are_two(tmp_path):
    net = resnet(1)
    offsets = {"stem": 0, "down": 4, "blocks": 10, "up": 11, "head": 17}  # the numbers of the layers in the published network

    def published(key):
        part, number, rest = key.split(".", 2)
        return f"model.{offsets[part] + int(number)}.{rest}".replace("layers", "conv_block")

    torch.save({published(key): value for key, value in net.state_dict().items()}, tmp_path / "G.pth")
    r = recipe(tmp_path, {"weights_a2b": str(tmp_path / "G.pth")})
    assert equal(begun(built(r), r).G_ab, net)
    r = recipe(tmp_path, {"weights": str(tmp_path / "G.pth")})
    with pytest.raises(ConfigError, match="holds one generator; say which it is with --weights-a2b or --weights-b2a"):
        begun(built(r), r)


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
@pytest.mark.parametrize("upsample", ["transposed", "pixelshuffle"])
def test_other_channels_adapt_the_first_and_last_layer_and_that_is_said(channels, upsample):
    torch.manual_seed(1)
    given = UNet(3, 3, width=4, num_downs=2, norm="none", dropout=False, upsample=upsample)
    net = UNet(channels, channels, width=4, num_downs=2, norm="none", dropout=False, upsample=upsample)
    report = str(take("G_ab", net, given.state_dict()))
    assert f"downs.0.0.weight adapted from 3 to {channels} channels in" in report
    assert f"weight adapted from 3 to {channels} channels out" in report and "of another shape" not in report
    x = torch.rand(1, 3, 16, 16)
    gray = x.mean(1, keepdim=True)
    with torch.no_grad():
        if channels == 1:  # gray as three equal channels is the same image
            expected = given(gray.expand(1, 3, 16, 16))
            assert torch.allclose(torch.atanh(net(gray)), torch.atanh(expected).mean(1, keepdim=True), atol=1e-5)
        elif channels > 3:  # what is new has no weight yet
            more = torch.cat([x, torch.rand(1, channels - 3, 16, 16)], 1)
            assert torch.allclose(net(more)[:, :3], given(x), atol=1e-6)


def test_gray_weights_serve_colour(tmp_path):
    torch.manual_seed(1)
    given, net = resnet(1, 1, 1), resnet(2, 3, 3)
    take("G_ab", net, given.state_dict())
    x = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        assert torch.allclose(net(x.expand(1, 3, 16, 16)), given(x).expand(1, 3, 16, 16), atol=1e-5)


def test_a_deeper_network_takes_what_fits_and_every_other_tensor_is_named():
    torch.manual_seed(1)
    given, net = ResNet(3, 3, width=4, num_blocks=2), ResNet(3, 3, width=4, num_blocks=3)
    before = net.blocks[2].layers[1].weight.clone()
    report = str(take("G_ab", net, given.state_dict()))
    assert "not in the file: blocks.2.layers.1.weight, blocks.2.layers.1.bias" in report
    assert torch.equal(net.blocks[1].layers[1].weight, given.blocks[1].layers[1].weight)
    assert torch.equal(net.blocks[2].layers[1].weight, before)
    report = str(take("G_ab", given, net.state_dict()))
    assert "in the file, not used: blocks.2.layers.1.weight" in report


def test_weights_of_another_width_are_refused_by_name():
    with pytest.raises(
        ConfigError, match=r"weights of another network: G_ab takes 1 of its 16 tensors; of another shape: stem\.1"
    ):
        take("G_ab", resnet(1, width=8), resnet(1, width=4).state_dict())


def test_a_run_gives_all_its_networks_and_the_recipe_keeps_the_hash(images):
    run(recipe(images), images / "first")
    r = recipe(images, {"weights": str(images / "first")}, lr=0.0)
    run(r, images / "second")
    first, second = (read_tree(Run(images / name).states()[0])["method"] for name in ("first", "second"))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    start = json.loads((images / "second" / "recipe.json").read_text())["start"]
    assert re.fullmatch("[0-9a-f]{64}", start["weights_sha256"]) and start["weights"] == str(images / "first")
    assert "start" not in json.loads((images / "first" / "recipe.json").read_text())


def test_discriminators_that_a_recipe_equips_are_published_plain_and_taken_again(images):
    equipped = {"discriminator": {"spectral_norm": True, "augment": "color", "ada_target": 0.6}}
    r = recipe(images, **equipped)
    run(r, images / "first")
    published = with_discriminators(images / "first")
    published.save(images / "all.safetensors")
    judge = Snapshot.load(images / "all.safetensors").discriminators["D_b"]

    torch.manual_seed(3)
    trained = r.build(Domain(), Domain())
    state = read_tree(Run(images / "first").states()[0])
    trained.load_state_dict(state["method"] | state["ranks"][0]["buffers"])
    x = torch.rand(1, 3, 16, 16)
    assert torch.allclose(judge(x), trained.D_b.net.eval()(x), atol=1e-6)  # spectrally normalised weights, as they amount to

    plain = recipe(images, {"weights": str(images / "all.safetensors")})
    assert equal(begun(built(plain), plain).D_b, judge)
    again = recipe(images, {"weights": str(images / "first")}, **equipped)  # a run, for networks that are equipped alike
    method = begun(built(again), again)
    assert all(torch.equal(p, state["method"][f"D_b.{name}"]) for name, p in method.D_b.named_parameters())


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_one_direction_of_a_run_is_its_generator_and_its_judge(ema, images):
    snapshot = Snapshot.load(run(recipe(images, ema=ema), images / "first"))
    r = recipe(images, {"weights_b2a": str(images / "first")})
    method, fresh = begun(built(r), r), built(r)
    judge = {
        k.removeprefix("D_a."): v for k, v in read_tree(Run(images / "first").states()[0])["method"].items() if k[:4] == "D_a."
    }
    assert equal(method.G_ba, snapshot.generators["b2a"])
    assert all(torch.equal(value, judge[name]) for name, value in method.D_a.named_parameters())
    assert equal(method.G_ab, fresh.G_ab) and equal(method.D_b, fresh.D_b)


def test_averaged_weights_are_what_another_training_begins_with(images):
    snapshot = Snapshot.load(run(recipe(images, ema=0.5), images / "first"))
    r = recipe(images, {"weights": str(images / "first")})
    assert equal(begun(built(r), r).G_ab, snapshot.generators["a2b"])


def test_a_run_resumes_without_its_weights_and_refuses_others(images):
    Snapshot({"a2b": resnet(1), "b2a": resnet(2)}, Domain(), Domain()).save(images / "s.safetensors")
    r = with_hashes(recipe(images, {"weights": str(images / "s.safetensors")}))
    run(r, images / "run")
    Snapshot({"a2b": resnet(3), "b2a": resnet(2)}, Domain(), Domain()).save(images / "s.safetensors")
    run(r, images / "run")  # finished, so it needs no file
    with pytest.raises(ConfigError, match=r"another recipe \(start.weights_sha256: "):
        run(recipe(images, {"weights": str(images / "s.safetensors")}), images / "run")
    with pytest.raises(ConfigError, match=r"s\.safetensors: has SHA-256 \w{12}, not \w{12} as the recipe says"):
        run(r, images / "another")


def test_frozen_parts_stay_and_the_others_learn(images):
    r = recipe(images, {"freeze": ["G_ab.stem", "D_a"]})
    before = built(r)
    torch.manual_seed(r.train.seed)
    before = r.build(Domain(), Domain())
    run(r, images / "run")
    after = read_tree(Run(images / "run").states()[0])["method"]
    same = {name for name, value in before.named_parameters() if torch.equal(value, after[name])}
    assert same == {name for name in after if name.startswith(("G_ab.stem.", "D_a."))}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["G_ab.stemm"], "start.freeze: no part of the networks is called 'G_ab.stemm'; did you mean G_ab.stem?"),
        (["xyz"], "no part of the networks is called 'xyz'; there are G_ab, G_ba, D_a, D_b and their parts"),
        (["D_a", "D_b"], "start.freeze leaves nothing of phase D to train; freeze less"),
    ],
)
def test_what_cannot_be_frozen_is_refused_by_name(names, message, tmp_path):
    with pytest.raises(ConfigError, match=re.escape(message)):
        freeze(built(recipe(tmp_path)), names)


def test_a_finished_run_goes_on_with_its_networks_and_moments(images, caplog):
    caplog.set_level("INFO")
    run(recipe(images, epochs=1, decay_epochs=1, ema=0.5), images / "first")
    r = continued(images / "first", 2)
    assert (r.train.epochs, r.train.decay_epochs, r.train.lr) == (0, 2, 2e-4)
    assert "its rate was 0.0001 at the end; the rate of the 2 new epochs begins at 0.0002 and falls to zero again" in caplog.text
    run(r.replace(**{"train.lr": 0.0}), images / "second")
    first, second = (read_tree(Run(images / name).states()[0]) for name in ("first", "second"))
    assert all(torch.equal(first["method"][name], second["method"][name]) for name in first["method"])
    steps = [state["optimizers"]["G"][0]["step"].item() for state in (first, second)]
    assert steps == [4, 8]  # the moments are those of the first run, and not new ones
    assert second["images"] == 4
    third = continued(images / "second", 1).start
    assert len(third.lineage) == 2 and third.lineage[0].startswith(f"{images}/first at 4 images, SHA-256 ")
    assert Recipe.load(images / "second" / "recipe.json").start.lineage == third.lineage[:1]


def test_a_run_whose_rate_stayed_goes_on_at_that_rate(images, caplog):
    caplog.set_level("INFO")
    run(recipe(images, epochs=1, decay_epochs=0), images / "first")
    r = continued(images / "first", 3)
    assert (r.train.epochs, r.train.decay_epochs) == (3, 0) and "begins at 0.0002 and stays there" in caplog.text


@pytest.mark.parametrize(("wrong", "message"), [("none", "holds no run"), ("begun", "holds no training state to go on from")])
def test_what_has_no_state_cannot_go_on(wrong, message, tmp_path):
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "recipe.json").write_text(json.dumps(recipe(tmp_path).to_dict()))
    with pytest.raises(ConfigError, match=message):
        continued(tmp_path / wrong, 1)


def test_two_starts_at_once_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"start.weights and start.run both say what the networks begin with"):
        recipe(tmp_path, {"weights": "x", "run": "y"})
    with pytest.raises(ConfigError, match=r"start.weights nowhere\.pth: cannot be read \(No such file or directory\)"):
        with_hashes(recipe(tmp_path, {"weights": "nowhere.pth"}))
