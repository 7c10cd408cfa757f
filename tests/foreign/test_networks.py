"""All networks of a file: below whatever prefixes, in both directions, with what is left out named."""

import pytest
import torch

from diptych.errors import ConfigError, WeightsError
from diptych.foreign import Said, load_foreign, load_networks, to_snapshot
from diptych.snapshot import Snapshot
from tests.foreign.weights import image, scrambled
from tests.reference import junyanz, mmagic


def generator(seed=0, **options):
    return scrambled(junyanz.ResnetGenerator(**{"ngf": 2, "n_blocks": 1, **options}), seed)


def judge(seed=0, inputs=3):
    return scrambled(junyanz.NLayerDiscriminator(inputs, ndf=2), seed)


def under(**networks):
    """One flat state_dict, as Lightning and wrapper modules write it."""
    return {f"{name}.{key}": t for name, net in networks.items() for key, t in net.state_dict().items()}


def written(content, path):
    torch.save(content, path)
    return path


X = image(1, 3, 16, 20)
PREFIXES = ["netG.", "module.", "netG.module.", "G_AB.", "generator.", "model.", "net.", "state.model.G.", "_orig_mod.netG."]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("kind", ["resnet", "unet"])
def test_a_network_is_found_below_any_prefix(prefix, kind, tmp_path):
    theirs = generator() if kind == "resnet" else scrambled(junyanz.UnetGenerator(ngf=2, num_downs=5))
    state = {prefix + key: tensor for key, tensor in theirs.state_dict().items()}
    x = X if kind == "resnet" else image(1, 3, 64, 64)
    assert torch.equal(load_foreign(written(state, tmp_path / "x.ckpt")).net(x), theirs(x))
    checkpoint = {"state_dict": state, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}, "param_groups": []}}
    assert torch.equal(load_foreign(written(checkpoint, tmp_path / "y.ckpt")).net(x), theirs(x))


def test_a_bare_row_of_layers_is_found(tmp_path):
    theirs = generator()
    assert torch.equal(load_foreign(written(theirs.model.state_dict(), tmp_path / "x.pth")).net(X), theirs(X))


PAIRS = [
    ("G_A", "G_B"), ("netG_A", "netG_B"), ("G_AB", "G_BA"), ("genA2B", "genB2A"), ("G_AtoB", "G_BtoA"), ("G", "F"),
    ("generator_a2b", "generator_b2a"), ("gen_ab", "gen_ba"), ("models.G_A", "models.G_B"),
]  # fmt: skip


@pytest.mark.parametrize(("forth", "back"), PAIRS)
@pytest.mark.parametrize("nested", [False, True])
def test_two_generators_of_one_file_become_both_directions(forth, back, nested, tmp_path):
    there, home = generator(1), generator(2)
    content = {back: home.state_dict(), forth: there.state_dict()} if nested else under(**{back: home, forth: there})
    found = load_networks(written(content, tmp_path / "both.pth"))
    assert found.labels == {"a2b": forth, "b2a": back} and found.notes == ()
    assert torch.equal(found.generators["a2b"].net(X), there(X)) and torch.equal(found.generators["b2a"].net(X), home(X))


def test_domains_by_name_are_guessed_in_the_order_of_the_file_and_can_be_chosen(tmp_path):
    photo, zebra = (scrambled(mmagic.ResnetGenerator(base=2, num_blocks=1), seed) for seed in (1, 2))
    judges = [scrambled(mmagic.PatchDiscriminator(base=2), seed) for seed in (3, 4)]
    names = {"generators.photo": photo, "generators.zebra": zebra}
    names |= {"discriminators.photo": judges[0], "discriminators.zebra": judges[1]}
    path = written({"state_dict": under(**names), "meta": {"epoch": 1}}, tmp_path / "mm.pth")
    found = load_networks(path)
    assert found.labels["a2b"] == "generators.photo" and found.labels["D_b"] == "discriminators.photo"
    guess = "assumed: generators.photo translates a2b and generators.zebra b2a (--take a2b=generators.zebra,b2a=generators.photo)"
    assert found.notes == (guess,)
    chosen = load_networks(path, take={"a2b": "generators.zebra", "b2a": "generators.photo"})
    assert torch.equal(chosen.generators["a2b"].net(X), zebra(X)) and chosen.notes == ()
    y = image(1, 3, 64, 64)
    assert torch.equal(chosen.discriminators["D_b"].net(y), judges[1](y))  # what generators.zebra makes
    assert torch.equal(chosen.discriminators["D_a"].net(y), judges[0](y))
    with pytest.raises(
        ConfigError, match=r"--take: the file holds no generator 'zebra', but 'generators.photo', 'generators.zebra'"
    ):
        load_networks(path, take={"a2b": "zebra"})


def test_discriminators_are_named_by_the_domain_that_they_judge(tmp_path):
    """The authors' D_A judges what G_A makes, images of B; elsewhere D_A judges images of A."""
    y = image(1, 3, 64, 64)
    for forms, b in ((("netG_A", "netG_B", "netD_A", "netD_B"), "netD_A"), (("G_AB", "G_BA", "D_A", "D_B"), "D_B")):
        nets = dict(zip(forms, (generator(1), generator(2), judge(3), judge(4)), strict=True))
        found = load_networks(written(under(**nets), tmp_path / "x.pth"))
        assert found.labels["D_b"] == b
        assert torch.equal(found.discriminators["D_b"].net(y), nets[b](y))
    snapshot = to_snapshot(found.all())
    snapshot.save(tmp_path / "s.safetensors")
    again = Snapshot.load(tmp_path / "s.safetensors")
    assert sorted(again.generators) == ["a2b", "b2a"] and sorted(again.discriminators) == ["D_a", "D_b"]
    assert torch.equal(again.discriminators["D_b"](y), nets["D_B"](y))


def test_the_only_discriminator_beside_a_generator_judges_images_of_b(tmp_path):
    found = load_networks(written({"G": generator().state_dict(), "D": judge(inputs=6).state_dict()}, tmp_path / "x.pth"))
    assert found.labels == {"a2b": "G", "D_b": "D"} and "judges pairs" in found.discriminators["D_b"].origin


def test_what_is_left_out_is_named(tmp_path):
    content = under(netG=generator(), netD=judge()) | {
        "netF.mlp_0.0.weight": torch.ones(2, 2),
        "criterion.real_label": torch.ones(1),
    }
    content |= {f"vgg.features.{i}.weight": torch.ones(4, 4, 3, 3) for i in (0, 2, 5)}
    found = load_networks(written(content, tmp_path / "x.ckpt"))
    assert sorted(found.labels) == ["D_b", "a2b"]
    assert any(note.startswith("left out vgg.features: looks like a PatchGAN") for note in found.notes)
    assert "left out 'criterion', 'netF': no known network" in found.notes


def test_tensors_that_stand_beside_a_network_as_its_parts_do_are_never_dropped(tmp_path):
    """Since the network would compute something else with them."""
    for content in (
        generator().state_dict() | {"attention.weight": torch.ones(2)},
        under(netG=generator(), netD=judge()) | {"netG.attention.weight": torch.ones(2)},
    ):
        with pytest.raises(
            WeightsError, match=r"x\.pth: looks like a CycleGAN ResNet .* but '(netG\.)?attention.weight' unexpected"
        ):
            load_networks(written(content, tmp_path / "x.pth"))


def test_more_generators_than_directions_must_be_chosen_from(tmp_path):
    nets = {f"G{n}": generator(n) for n in (1, 2, 3)}
    path = written(under(**nets), tmp_path / "x.pth")
    with pytest.raises(
        WeightsError, match=r"x.pth: holds 3 generators, G1, G2, G3; choose with --take a2b=NAME or a2b=NAME,b2a=NAME"
    ):
        load_networks(path)
    assert torch.equal(load_networks(path, take={"a2b": "G2"}).generators["a2b"].net(X), nets["G2"](X))


def test_a_file_of_several_networks_is_no_single_one(tmp_path):
    path = written(under(G_A=generator(), G_B=generator()), tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"holds the networks 'G_A', 'G_B'; load_networks loads all of them"):
        load_foreign(path)


def test_what_is_said_holds_for_each_network_that_leaves_it_open(tmp_path):
    nets = {"G_A": generator(1, padding="replicate"), "G_B": generator(2, padding="replicate"), "D_A": judge()}
    found = load_networks(written(under(**nets), tmp_path / "x.pth"), Said(padding="replicate"))
    assert torch.equal(found.generators["b2a"].net(X), nets["G_B"](X))
    with pytest.raises(ConfigError, match=r"--dropout changes nothing"):
        load_networks(tmp_path / "x.pth", Said(dropout=True))
