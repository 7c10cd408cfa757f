"""Networks of other tools, rebuilt from descriptions of their layers: imported, they give the same images to the last bit."""

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm
from torch.nn.utils.parametrizations import spectral_norm as modern_spectral_norm

from diptych.errors import ConfigError, WeightsError
from diptych.foreign import Assumed, Said, load_foreign, recognise, to_snapshot
from diptych.nets import build_net
from diptych.nets.modes import applied
from tests.foreign.weights import image, saved, scrambled
from tests.reference import cut, junyanz, mmagic, pix2pixhd, pytorch_gan

BIAS_FREE = {"norm": junyanz.instance, "bias": False}
RESNETS = {
    "replicate": ({"padding": "replicate"}, Said(padding="replicate")),
    "zero in the blocks": ({"padding": "zero"}, Said()),
    "zero in the blocks, dropout": ({"padding": "zero", "dropout": True}, Said()),
    "zero in the blocks, by a layer": ({"padding": "zero_layer"}, Said(padding="zero")),
    "zero at the edges": ({"edges": "zero"}, Said()),
    "zero at the edges, by a layer": ({"edges": "zero_layer"}, Said(edge_padding="zero")),
    "replicate at the edges": ({"edges": "replicate"}, Said(edge_padding="replicate")),
    "DeepLIIF": ({"padding": "zero", "edges": "zero_layer", "norm": junyanz.batch}, Said()),
    "DeepLIIF with dropout": ({"padding": "zero", "edges": "zero_layer", "norm": junyanz.batch, "dropout": True}, Said()),
    "zero and batch norm, mirrored at the edges": ({"padding": "zero", "norm": junyanz.batch}, Said(edge_padding="reflect")),
    "resize-convolutions": ({"up": "resize"}, Said()),
    "PyTorch-GAN": ({"up": "resize_zero", "block_name": "block"}, Said()),
    "no biases beside instance norm": (BIAS_FREE, Said()),
    "no norm": ({"norm": junyanz.no_norm}, Said(norm="none")),
    "no norm, biases": ({"norm": junyanz.no_norm, "bias": True}, Said(norm="none")),
    "biases beside batch norm": ({"norm": junyanz.batch, "bias": True}, Said()),
    "affine without biases": ({"norm": junyanz.affine, "bias": False}, Said()),
}


@pytest.mark.parametrize("case", RESNETS)
def test_a_variant_of_the_resnet_gives_bit_equal_images(case, tmp_path):
    options, said = RESNETS[case]
    theirs = scrambled(junyanz.ResnetGenerator(ngf=4, n_blocks=2, **options))
    ours = load_foreign(saved(theirs, tmp_path / "G.pth"), said)
    x = image(2, 3, 20, 32)
    assert torch.equal(ours.net(x), theirs(x))
    assert build_net(ours.net.spec).spec == ours.net.spec


@pytest.mark.parametrize(
    "wrong", [{}, {"padding": "replicate", "edge_padding": "zero"}, {"norm": "none"}, {"edge_padding": "replicate"}]
)
def test_what_is_assumed_wrongly_would_show(wrong):
    """So that the cases above can fail: another reading of the same file gives other images."""
    theirs = scrambled(junyanz.ResnetGenerator(ngf=4, n_blocks=2, padding="reflect", edges="reflect"))
    x = image(1, 3, 20, 32)
    assert torch.equal(recognise(theirs.state_dict(), Said(**wrong)).net(x), theirs(x)) == (not wrong)


def test_every_guess_is_named_with_the_option_that_changes_it():
    plain = recognise(junyanz.ResnetGenerator(ngf=2, n_blocks=2).state_dict())
    assert plain.assumed == {
        "norm": Assumed("instance norm", "--norm none"),
        "padding": Assumed("reflect padding in the blocks", "--padding replicate"),
        "edge_padding": Assumed("reflect padding at the edges", "--edge-padding replicate"),
    }
    zero = recognise(junyanz.ResnetGenerator(ngf=2, n_blocks=2, padding="zero", edges="zero", norm=junyanz.batch).state_dict())
    assert zero.assumed == {} and zero.origin.startswith("DeepLIIF ResNet of 2 blocks") and zero.mode == "eval"
    said = recognise(junyanz.ResnetGenerator(ngf=2, n_blocks=2).state_dict(), Said(padding="replicate"))
    assert said.assumed["padding"] == Assumed("replicate padding in the blocks", "--padding reflect")


def test_what_the_file_says_itself_cannot_be_said_otherwise():
    state = junyanz.ResnetGenerator(ngf=2, n_blocks=2, padding="zero", norm=junyanz.batch).state_dict()
    for said, option in ((Said(padding="reflect"), "padding"), (Said(norm="none"), "norm"), (Said(dropout=True), "dropout")):
        with pytest.raises(
            ConfigError, match=f"--{option} changes nothing: it does not apply to a DeepLIIF ResNet .*; leave it out"
        ):
            recognise(state, said)


def test_running_statistics_of_instance_norm_are_used_when_that_is_said():
    theirs = junyanz.ResnetGenerator(ngf=4, n_blocks=2, norm=lambda c: nn.InstanceNorm2d(c, track_running_stats=True), bias=True)
    theirs, x = scrambled(theirs), image(2, 3, 20, 24)
    used = recognise(theirs.state_dict(), Said(norm="batch"))
    assert used.stale == () and used.assumed["norm"] == Assumed("running statistics used", "--norm instance")
    torch.testing.assert_close(used.net(x), theirs(x), atol=1e-6, rtol=0)  # torch adds the unit scale in another order
    unused = recognise(theirs.state_dict())
    assert len(unused.stale) == 27 and unused.assumed["norm"].option == "--norm batch uses them"
    assert torch.equal(unused.net(x), theirs.train()(x))  # as their test scripts apply it: by the statistics of each image
    with pytest.raises(
        WeightsError, match="--norm batch: the file holds no running statistics; leave the option out, or say none"
    ):
        recognise(junyanz.ResnetGenerator(ngf=2, n_blocks=2).state_dict(), Said(norm="batch"))


@pytest.mark.parametrize("normed", [spectral_norm, modern_spectral_norm])
def test_spectral_norm_is_folded_into_the_weights(normed):
    torch.manual_seed(0)
    theirs = junyanz.ResnetGenerator(ngf=4, n_blocks=2)  # its transposed convolutions of 8 to 4 ... have channels in two orders
    for module in list(theirs.modules()):
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            normed(module)
    x = image(1, 3, 16, 24)
    with torch.no_grad():
        theirs.train()(x)  # one power iteration, as the first training step does
    ours = recognise(theirs.eval().state_dict())
    assert ours.origin.endswith("spectral norm folded into the weights")
    assert torch.equal(ours.net(x), theirs(x))


MMAGIC = {
    "resnet": (lambda: mmagic.ResnetGenerator(base=4, num_blocks=3), Said(), 32),
    "resnet, batch norm, dropout": (lambda: mmagic.ResnetGenerator(1, 4, 4, "BN", True, 2), Said(), 32),
    "resnet, replicate": (
        lambda: mmagic.ResnetGenerator(base=4, num_blocks=2, padding="replicate"),
        Said(padding="replicate"),
        32,
    ),
    "resnet, zeros": (lambda: mmagic.ResnetGenerator(base=4, num_blocks=2, padding="zeros"), Said(padding="zero"), 32),
    "unet": (lambda: mmagic.UnetGenerator(num_down=7, base=2), Said(), 128),
    "unet, instance norm": (lambda: mmagic.UnetGenerator(3, 1, 5, 4, "IN"), Said(), 64),
    "discriminator": (lambda: mmagic.PatchDiscriminator(6, 4, 3, "BN"), Said(), 64),
    "discriminator, instance norm": (lambda: mmagic.PatchDiscriminator(3, 4, 4), Said(), 96),
}


@pytest.mark.parametrize("case", MMAGIC)
def test_a_network_of_mmagic_gives_bit_equal_images(case):
    build, said, side = MMAGIC[case]
    theirs = scrambled(build())
    ours = recognise(theirs.state_dict(), said)
    x = image(2, ours.net.spec["in_channels"], side, side)
    assert ours.origin.startswith("mmagic") and torch.equal(ours.net(x), theirs(x))
    assert ours.mode == "eval"  # its test script calls eval()


@pytest.mark.parametrize("kind", ["pix2pix", "dualgan", "discogan"])
@pytest.mark.parametrize("mode", ["eval", "paper"])
def test_a_unet_of_pytorch_gan_gives_bit_equal_images(kind, mode):
    theirs = scrambled(pytorch_gan.GeneratorUNet(kind, 3, 2, width=4)).train(mode == "paper")
    ours = recognise(theirs.state_dict())
    assert ours.origin.startswith(f"PyTorch-GAN U-Net of {theirs.depth} halvings, ngf 4")
    x = image(1, 3, 2 * 2**theirs.depth, 2 * 2**theirs.depth)
    torch.manual_seed(3)
    expected = theirs(x)
    with applied(ours.net, mode, seed=3) as net:
        assert torch.equal(net(x), expected)
    assert to_snapshot({"a2b": ours}).mode == "paper"
    assert not any(isinstance(m, nn.Dropout) for m in recognise(theirs.state_dict(), Said(dropout=False)).net.modules())


CUT = {
    "both": (lambda: cut.ResnetGenerator(4, 3), "CUT ResNet of 3 blocks, ngf 4, instance norm, without dropout, anti-aliased"),
    "down": (lambda: cut.ResnetGenerator(4, 2, up=False), "anti-aliased"),
    "up": (lambda: cut.ResnetGenerator(4, 2, down=False), "anti-aliased"),
    "dropout and batch norm": (lambda: cut.ResnetGenerator(4, 2, junyanz.batch, dropout=True), "batch norm, with dropout, anti-"),
    "discriminator": (lambda: cut.NLayerDiscriminator(3, 4), "CUT PatchGAN of 3 layers, ndf 4, instance norm"),
    "deep discriminator, batch norm": (lambda: cut.NLayerDiscriminator(6, 4, 4, junyanz.batch), "CUT PatchGAN of 4 layers"),
    "shallow discriminator": (lambda: cut.NLayerDiscriminator(3, 4, 1), "CUT PatchGAN of 1 layers"),
}


@pytest.mark.parametrize("case", CUT)
def test_an_anti_aliased_network_gives_equal_images(case):
    """In float64 to 1e-10: our blurs are means of pixels and bilinear interpolation, which add in another order."""
    build, origin = CUT[case]
    theirs = build()
    blurs = {key: tensor.clone() for key, tensor in theirs.state_dict().items() if key.endswith("filt")}
    theirs = scrambled(theirs)
    theirs.load_state_dict(blurs, strict=False)
    ours, x = recognise(theirs.state_dict()), image(2, 6 if "deep" in case else 3, 48, 64).double()
    assert origin in ours.origin
    with torch.no_grad():
        torch.testing.assert_close(ours.net.double()(x), theirs.double()(x), atol=1e-10, rtol=1e-10)


def test_another_blur_than_cuts_is_refused():
    state = cut.ResnetGenerator(2, 1).state_dict()
    for size in (3, 5):
        wrong = state | {"model.7.filt": torch.full((4, 1, size, size), 1 / size**2)}
        with pytest.raises(WeightsError, match=f"'model.7.filt' is a blur of 4x1x{size}x{size} other than CUT's; docs"):
            recognise(wrong)


HD = {
    "global, 3 halvings": (lambda: junyanz.ResnetGenerator(ngf=4, n_blocks=3, n_downsampling=3), (3, 48, 64)),
    "global, 4 halvings, labels": (lambda: junyanz.ResnetGenerator(5, 3, 4, n_blocks=2, n_downsampling=4), (5, 64, 64)),
    "global, 2 halvings": (lambda: junyanz.ResnetGenerator(ngf=4, n_blocks=3, n_downsampling=2), (3, 16, 24)),
    "local": (lambda: pix2pixhd.LocalEnhancer(3, 3, 2, 3, 2, 1), (3, 64, 96)),
    "local, 4 halvings, labels": (lambda: pix2pixhd.LocalEnhancer(5, 1, 2, 4, 1, 3), (5, 128, 64)),
    "two enhancers": (lambda: pix2pixhd.LocalEnhancer(3, 3, 2, 2, 1, 2, 2), (3, 64, 64)),
}


@pytest.mark.parametrize("case", HD)
def test_a_generator_of_pix2pixhd_gives_bit_equal_images(case):
    build, shape = HD[case]
    theirs, x = scrambled(build()), image(1, *shape)
    ours = recognise(theirs.state_dict())
    assert ours.origin.startswith("CycleGAN ResNet" if "2 halvings" in case else "pix2pixHD")
    assert torch.equal(ours.net(x), theirs(x))


def test_what_pix2pixhd_does_not_have_is_refused():
    for options in ({"padding": "zero"}, {"dropout": True}, {"up": "resize"}):
        with pytest.raises(WeightsError, match="looks like pix2pixHD's generator of 3 downsamplings, but its layers"):
            recognise(junyanz.ResnetGenerator(ngf=2, n_blocks=1, n_downsampling=3, **options).state_dict())
    with pytest.raises(ConfigError, match="--padding changes nothing"):
        recognise(junyanz.ResnetGenerator(ngf=2, n_blocks=1, n_downsampling=3).state_dict(), Said(padding="replicate"))


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize(("layers", "scales"), [(3, 2), (2, 3), (1, 1)])
def test_discriminators_at_several_scales_give_bit_equal_logits(layers, scales, split):
    theirs, x = scrambled(pix2pixhd.MultiscaleDiscriminator(6, 4, layers, scales, split)), image(1, 6, 96, 64)
    ours = recognise(theirs.state_dict())
    assert ours.role == "discriminator"
    assert (
        ours.origin
        == f"pix2pixHD discriminator of {scales} scales and {layers} layers, ndf 4, instance norm, 6 channels, so it judges pairs"
    )
    for mine, original in zip(ours.net(x), theirs(x), strict=True):
        assert torch.equal(mine, original)
