"""Generators of other methods, rebuilt from descriptions of their layers: imported, they give the same images to rounding."""

import pytest
import torch
from torch import nn

from diptych.__main__ import main
from diptych.errors import ConfigError, WeightsError
from diptych.foreign import Said, load_foreign, load_networks, recognise, to_snapshot
from diptych.nets import adjusted, build_net
from diptych.nets.modes import applied
from diptych.nets.stego import spread
from diptych.snapshot import Snapshot
from tests.foreign.weights import image, saved, scrambled
from tests.reference import bicyclegan, junyanz, styled, uvcgan2


def alike(one, other):
    assert one.std() > 0.01  # not flat, else much would be alike
    torch.testing.assert_close(one, other, rtol=0, atol=2e-5)


def calm(net, seed=0):
    """Random weights by whose sums outputs do not saturate; buffers stay as they are."""
    constants = {name: tensor.clone() for name, tensor in net.named_buffers() if "running" not in name}
    scrambled(net, seed)
    for tensor in net.parameters():
        if tensor.ndim > 1:
            tensor.data.mul_((5.0 if tensor.ndim == 4 else 1.0) / tensor[0].numel() ** 0.5)
    net.load_state_dict(constants, strict=False)
    return net


# --- UVCGANv2 ---


def uvcgan(seed=0, **options):
    return calm(uvcgan2.Generator(**options), seed)


@pytest.mark.parametrize("widths", [(4, 8), (4, 8, 16)])
def test_the_generator_of_uvcganv2_gives_the_same_images(widths, tmp_path):
    size = 4 * 2 ** len(widths)
    theirs, x = uvcgan(widths=widths), torch.rand(2, 3, size, size)
    ours = load_foreign(saved(theirs, tmp_path / "net_gen_ab.pth"))
    alike((ours.net(2 * x - 1) + 1) / 2, theirs(x))
    assert build_net(ours.net.spec).spec == ours.net.spec
    words = f"UVCGANv2 generator of {len(widths)} levels and 2 transformer blocks, width 4, for {size} px, 3 to 3 channels"
    assert ours.origin == words and ours.size == size and ours.stale == ()
    assert to_snapshot({"a2b": ours}).size == size
    weights = theirs.state_dict()
    assert torch.equal(ours.net.blocks[1].to_qkv.weight, weights[_inner(weights, "encoder.encoder.1.atten.in_proj_weight")])
    assert torch.equal(ours.net.ups[0].first.conv.weight, weights[_inner(weights, "deconv.block.conv_block1.conv.weight")])


def _inner(weights, name):
    return max((key for key in weights if key.endswith(name)), key=len)


def test_the_heads_of_a_transformer_are_assumed_to_be_six_and_can_be_said():
    theirs, x = uvcgan(heads=3), torch.rand(1, 3, 32, 32)
    state = theirs.state_dict()
    assert recognise(state).assumed["heads"].what == "6 heads of attention"
    assert (recognise(state).net(2 * x - 1) / 2 + 0.5 - theirs(x)).abs().max() > 1e-4
    alike(recognise(state, Said(heads=3)).net(2 * x - 1) / 2 + 0.5, theirs(x))
    with pytest.raises(WeightsError, match=r"--heads 5: 12 features cannot be shared evenly among so many"):
        recognise(state, Said(heads=5))


def test_a_generator_of_uvcganv2_that_has_another_shape_is_refused():
    state = uvcgan().state_dict()
    table = _inner(state, "x_const")
    with pytest.raises(WeightsError, match=r"UVCGANv2's generator for images of 2 x 4 tokens; those of square images are read"):
        recognise(state | {table: state[table] // 2})
    narrow = _inner(state, "ffn.net.0.weight")
    with pytest.raises(WeightsError, match=r"looks like a UVCGANv2 generator of 3 levels.*'.*ffn.net.0.weight' is 24x12 instead"):
        recognise(state | {narrow: state[narrow][:24]})


def test_both_generators_of_uvcganv2_come_from_two_names_of_one_file(tmp_path):
    nets = {"gen_ab": uvcgan(1), "gen_ba": uvcgan(2)}
    torch.save({name: net.state_dict() for name, net in nets.items()}, tmp_path / "x.pth")
    found, x = load_networks(tmp_path / "x.pth"), torch.rand(1, 3, 32, 32)
    for direction, name in (("a2b", "gen_ab"), ("b2a", "gen_ba")):
        alike((found.generators[direction].net(2 * x - 1) + 1) / 2, nets[name](x))


# --- BicycleGAN ---


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d, nn.BatchNorm2d, lambda channels: nn.Identity()])
@pytest.mark.parametrize("num_downs", [5, 6])
def test_the_generator_of_bicyclegan_gives_the_same_images_for_a_code(norm, num_downs, tmp_path):
    theirs = calm(bicyclegan.UNetOfAll(norm=norm, num_downs=num_downs))
    said = Said(norm="none") if norm not in (nn.InstanceNorm2d, nn.BatchNorm2d) else Said()
    ours = load_foreign(saved(theirs, tmp_path / "latest_net_G.pth"), said)
    x, z = image(2, 3, 64, 64), torch.randn(2, 3)
    alike(ours.net.translate(x, z), theirs(x, z))
    assert "BicycleGAN U-Net" in ours.origin and "a code of 3 numbers" in ours.origin and "3 to 2 channels" in ours.origin


def test_an_imported_bicyclegan_draws_another_answer_for_each_seed(tmp_path):
    theirs = calm(bicyclegan.UNetOfAll())
    to_snapshot({"a2b": recognise(theirs.state_dict())}).save(tmp_path / "s.safetensors")
    snapshot, x = Snapshot.load(tmp_path / "s.safetensors"), image(1, 3, 64, 64)
    with (
        applied(snapshot.generators["a2b"], snapshot.mode, 0) as one,
        applied(snapshot.generators["a2b"], snapshot.mode, 1) as two,
    ):
        assert (one(x) - two(x)).abs().max() > 1e-3


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d, nn.BatchNorm2d])
@pytest.mark.parametrize("num_downs", [5, 6])
def test_bicyclegan_with_its_code_at_the_input_gives_the_same_images_once_it_is_said(norm, num_downs, tmp_path):
    theirs = calm(bicyclegan.UNetOfInput(norm=norm, num_downs=num_downs))
    ours = load_foreign(saved(theirs, tmp_path / "latest_net_G.pth"), Said(code=8))
    x, z = image(2, 3, 64, 64), torch.randn(2, 8)
    alike(ours.net.translate(x, z), theirs(x, z))
    assert "BicycleGAN U-Net" in ours.origin and "a code of 8 numbers, 3 to 2 channels" in ours.origin


def test_a_unet_of_many_input_channels_is_refused_until_it_is_said_whether_some_are_a_code():
    state = bicyclegan.UNetOfInput().state_dict()
    with pytest.raises(
        WeightsError, match=r"has 11 input channels: a pix2pix U-Net of such images \(import it with --code 0\), or BicycleGAN"
    ):
        recognise(state)
    assert recognise(state, Said(code=0)).net.spec["in_channels"] == 11
    with pytest.raises(WeightsError, match=r"--code must be from 0 to 10, as the network takes 11 channels; found 11"):
        recognise(state, Said(code=11))
    with pytest.raises(ConfigError, match=r"--code changes nothing"):
        recognise(bicyclegan.UNetOfAll().state_dict(), Said(code=8))


def test_a_pix2pix_unet_without_biases_may_have_any_number_of_input_channels():
    state = junyanz.UnetGenerator(7, num_downs=5, ngf=4).state_dict()
    assert recognise(state).net.spec["in_channels"] == 7


def test_bicyclegan_with_bilinear_doublings_is_refused():
    state = bicyclegan.UNetOfAll().state_dict()
    state |= {"model.up.3.weight": torch.ones(2, 8, 3, 3), "model.up.3.bias": torch.ones(2)}
    with pytest.raises(WeightsError, match=r"looks like BicycleGAN's U-Net with bilinear doublings; the one with transposed"):
        recognise(state)


# --- SANTA, UNSB, StegoGAN ---


@pytest.mark.parametrize("blur", [True, False])
@pytest.mark.parametrize("blocks", [4, 5])
def test_the_generator_of_santa_gives_the_same_images_at_every_strength(blur, blocks, tmp_path):
    theirs, x = calm(styled.Santa(blocks=blocks, blur=blur)), image(2, 3, 20, 24)
    ours = load_foreign(saved(theirs, tmp_path / "latest_net_G.pth"))
    for strength in (0.0, 0.3, 1.0):
        alike(ours.net.decode(ours.net.encode(x), torch.full((2,), strength), (20, 24))[0], theirs(x, strength))
    alike(ours.net(x), theirs(x, 1.0))
    alike(adjusted(ours.net, strength=0.3)(x), theirs(x, 0.3))
    assert ours.origin == f"SANTA generator of {blocks} blocks, ngf 4, instance norm, 3 to 2 channels" and ours.stale == ()
    weights = theirs.state_dict()
    assert torch.equal(ours.net.ends, weights["domain_embedding.weight"])


@pytest.mark.parametrize("blur", [True, False])
def test_the_generator_of_unsb_gives_the_images_of_its_released_code(blur, tmp_path):
    theirs, x = calm(styled.Unsb(blur=blur)), image(2, 3, 20, 24)
    ours = load_foreign(saved(theirs, tmp_path / "latest_net_G.pth"))
    z = torch.randn(2, 16)
    alike(ours.net.G(x, torch.tensor([0, 3]), z), theirs(x, z))
    assert ours.net.steps == 5 and ours.net.tau == 0.01 and "as its released code computes" in ours.origin
    used = {name for name, p in theirs.named_parameters() if p in _with_gradient(theirs, x, z)}
    assert set(ours.stale) == {name for name, _ in theirs.named_parameters()} - used


def _with_gradient(net, x, z):
    net.zero_grad()
    net(x, z).square().sum().backward()
    return {p for p in net.parameters() if p.grad is not None}


def test_the_chain_of_an_imported_unsb_is_the_one_of_its_test_script(tmp_path):
    theirs, x = calm(styled.Unsb()).double(), image(1, 3, 16, 16).double()  # five passes in a row amplify rounding
    net = recognise(theirs.state_dict()).net.double()
    random, times = (
        torch.Generator().manual_seed(0),
        [0.0, 0.5, 0.5 + 0.5 * 12 / 25, 0.5 + 0.5 * 18 / 25, 0.5 + 0.5 * 22 / 25, 1.0],
    )
    state = fake = x
    for t in range(5):
        if t:
            delta, left = times[t] - times[t - 1], 1 - times[t - 1]
            noise = torch.randn(1, 3, 16, 16, generator=random)
            state = (1 - delta / left) * state + delta / left * fake + (delta * (1 - delta / left) * 0.01) ** 0.5 * noise
        fake = theirs(state, torch.randn(1, 16, generator=random).double())
    alike(net(x), fake)


@pytest.mark.parametrize("blocks", [3, 9])
def test_the_generators_of_stegogan_give_the_same_images_and_the_same_mask(blocks, tmp_path):
    forth, back = (
        calm(styled.Stego(False, blocks=blocks, seam=blocks - 1), 1),
        calm(styled.Stego(True, blocks=blocks, seam=blocks - 1), 2),
    )
    torch.save({"G_A": forth.state_dict(), "G_B": back.state_dict()}, tmp_path / "x.pth")
    found, x, extra = load_networks(tmp_path / "x.pth").generators, image(2, 3, 20, 24), torch.randn(2, 16, 5, 6)
    alike(found["a2b"].net(x), forth(x)[0])
    alike(found["a2b"].net.restore(x, extra), forth(x, extra)[0])
    image_, left_out = back(x)
    alike(found["b2a"].net(x), image_)
    _, _, mask = found["b2a"].net.hide(x)
    alike(mask.amax(1, keepdim=True), left_out)
    alike(found["b2a"].net.maps(x)["mask"], spread(left_out, x))
    assert "can be given what is hidden" in found["a2b"].origin and "hides what its target lacks" in found["b2a"].origin
    assert build_net(found["b2a"].net.spec).spec == found["b2a"].net.spec


READ = {
    "uvcganv2": lambda: calm(uvcgan2.Generator(widths=(4, 8))),
    "bicyclegan": lambda: calm(bicyclegan.UNetOfAll(num_downs=5)),
    "santa": lambda: calm(styled.Santa()),
    "unsb": lambda: calm(styled.Unsb()),
    "stegogan": lambda: calm(styled.Stego(True)),
}


@pytest.mark.parametrize("method", READ)
def test_a_snapshot_of_an_imported_generator_is_read_again(method, tmp_path):
    path, x = saved(READ[method](), tmp_path / "net_G.pth"), image(1, 3, 32, 32)
    assert main(["import", str(path)]) == 0
    loaded = Snapshot.load(tmp_path / "net_G.safetensors")
    with applied(loaded.generators["a2b"], loaded.mode) as again, applied(load_foreign(path).net, loaded.mode) as once:
        assert torch.equal(again(x), once(x))


def test_the_command_names_what_an_imported_generator_leaves_unused_and_what_it_draws(tmp_path, capsys):
    for method, line in (("unsb", "a2b: 16 tensors in the file are not used"), ("bicyclegan", "a2b: draws a code of 3 numbers")):
        assert main(["import", str(saved(READ[method](), tmp_path / f"{method}.pth"))]) == 0
        assert line in capsys.readouterr().out


REFUSED = {
    "StegoGAN with another seam": (
        lambda: styled.Stego(True, blocks=4, seam=2).state_dict(),
        r"looks like a StegoGAN generator with a seam 2 blocks before the last; 1 is read; docs/import.md",
    ),
    "SANTA without a style": (
        lambda: {key: t for key, t in styled.Santa().state_dict().items() if "embedding" not in key},
        r"looks like a SANTA generator of 5 blocks.* but 'domain_embedding.weight' is missing; docs/import.md",
    ),
    "SANTA with encoders of styles": (
        lambda: styled.Santa().state_dict() | {"style_encoder_A.0.weight": torch.ones(4, 3, 7, 7)},
        r"looks like a SANTA generator .* but 'style_encoder_A.0.weight' is unexpected; docs/import.md",
    ),
    "UNSB with a longer mapping": (
        lambda: styled.Unsb().state_dict() | {"z_transform.9.weight": torch.ones(16, 16)},
        r"looks like a UNSB generator .* but 'z_transform.9.weight' is unexpected; docs/import.md",
    ),
    "a diffusion model's U-Net": (
        lambda: {
            "denoise_fn.time_embed.0.weight": torch.ones(8, 4),
            "denoise_fn.input_blocks.0.0.weight": torch.ones(4, 6, 3, 3),
            "denoise_fn.input_blocks.0.0.bias": torch.ones(4),
            "denoise_fn.input_blocks.1.0.in_layers.2.weight": torch.ones(4, 4, 3, 3),
        },
        r"holds the U-Net of a diffusion model or bridge \(BBDM, DDBM, I2SB\).* diptych's bridge has another network; docs",
    ),
    "UVCGAN's first generator": (
        lambda: {
            "net.unet.conv.block.block.1.weight": torch.ones(4, 4, 3, 3),
            "net.layer_input.0.weight": torch.ones(4, 3, 3, 3),
        },
        r"holds the generator of UVCGAN \(2022\), .* UVCGANv2's is read; docs/import.md",
    ),
    "BicycleGAN's encoder": (
        lambda: {
            "conv.0.weight": torch.ones(4, 3, 4, 4),
            "conv.1.shortcut.1.weight": torch.ones(8, 4, 1, 1),
            "conv.1.conv.5.0.weight": torch.ones(8, 4, 3, 3),
            "fc.0.weight": torch.ones(3, 8),
        },
        r"holds the encoder of BicycleGAN, which only training needs; give its generator; docs/import.md",
    ),
    "UVCGANv2's discriminator": (
        lambda: {
            "_body.model.0.weight": torch.ones(4, 3, 4, 4),
            "_body.model.2.weight": torch.ones(8, 4, 4, 4),
            "_body.model.5.weight": torch.ones(8, 8, 4, 4),
            "_head.net.0.weight": torch.ones(8, 8, 3, 3),
            "_head.net.0.bias": torch.ones(8),
        },
        r"holds a discriminator of UVCGANv2, which only training needs; give its generator; docs/import.md",
    ),
    "UNSB's discriminator": (
        lambda: {"model_main.0.conv1.weight": torch.ones(4, 3, 4, 4), "model_main.0.dense.weight": torch.ones(4, 16)},
        r"holds a discriminator of UNSB, .* diptych's is told it once; docs/import.md",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_diptych_computes_otherwise_is_refused_by_its_name(case, tmp_path):
    build, message = REFUSED[case]
    with pytest.raises(WeightsError, match=message) as caught:
        recognise(build())
    assert "\n" not in str(caught.value)
    torch.save(build(), tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="x.pth: " + message):
        load_networks(tmp_path / "x.pth")
