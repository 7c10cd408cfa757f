"""Generators whose forward is more than layers in a row: with a strength, in steps, with a mask."""

import math

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from diptych.errors import ConfigError
from diptych.inference.export import export
from diptych.inference.translator import Translator
from diptych.nets import AdaINResNet, BridgeChain, ResNet, StegoResNet, TimedPatchGAN, adjusted, build_net, initialise
from diptych.nets.adain import AdaIN
from diptych.nets.chain import bridge_step, bridge_times
from diptych.nets.timed import TimedBlock, TimeEmbedding, sinusoids
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

SMALL = {"width": 4, "num_blocks": 3}


def made(kind, **how):
    torch.manual_seed(0)
    return initialise(kind(3, 3, **SMALL | how), "normal", 0.2).eval()


def image(n=1, height=17, width=22, seed=0):
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def saved(net, tmp_path):
    path = tmp_path / "x.safetensors"
    Snapshot({"a2b": net}, Domain(), Domain()).save(path)
    return path


# --- strength (SANTA) ---


def test_adaptive_instance_norm_is_the_published_formula():
    layer, x, s = AdaIN(5).double(), torch.rand(2, 5, 4, 3, dtype=torch.float64), torch.rand(2, 8, dtype=torch.float64)
    g, h = (s @ layer.linear.weight.T + layer.linear.bias).split(5, 1)
    variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
    expected = (1 + g)[..., None, None] * (x - mean) / (variance + 1e-5).sqrt() + h[..., None, None]
    assert torch.allclose(layer(x, s), expected, atol=1e-12)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_at_one_strength_the_network_is_a_plain_one(strength):
    net, x = made(AdaINResNet), image(2)
    plain = adjusted(net, strength=strength)
    assert type(plain) is ResNet
    asked, _ = net.decode(net.encode(x), torch.full((2,), strength), (17, 22))
    with torch.no_grad():
        assert torch.allclose(plain(x), asked, atol=1e-5)
    if strength == 1.0:
        assert torch.equal(net(x), asked)


def test_each_image_of_a_batch_has_its_own_strength():
    net, x = made(AdaINResNet), image(1).expand(3, -1, -1, -1)
    out, _ = net.decode(net.encode(x), torch.tensor([0.0, 0.5, 1.0]), (17, 22))
    assert all((out[i] - out[j]).abs().max() > 1e-3 for i, j in ((0, 1), (1, 2), (0, 2)))
    assert torch.allclose(out[1:2], adjusted(net, strength=0.5)(x[:1]), atol=1e-5)


def test_a_translator_and_both_formats_of_export_take_a_strength(tmp_path):
    net = made(AdaINResNet)
    path, pixels = saved(net, tmp_path), np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    results = {s: Translator.load(path, device="cpu", strength=s)(pixels) for s in (None, 0.0, 0.4, 1.0)}
    assert np.array_equal(results[None], results[1.0])
    assert len({result.tobytes() for result in results.values()}) == 3
    for to in ("onnx", "torchscript"):
        export(path, tmp_path / f"x.{to}", to, strength=0.4)
    session = onnxruntime.InferenceSession((tmp_path / "x.onnx").read_bytes())
    (found,) = session.run(["translated_pixels"], {"pixels": pixels.transpose(2, 0, 1)[None]})
    assert np.abs(found[0].transpose(1, 2, 0).astype(int) - results[0.4]).max() <= 1
    staged = Translator.load(path, device="cpu", strength=0.4).by_stages(pixels)
    assert np.abs(staged.astype(int) - results[0.4]).max() <= 1


def test_what_a_generator_does_not_take_is_said(tmp_path):
    with pytest.raises(ConfigError, match=r"strength must be between 0, trained to leave an image as it is, and 1; found 1\.5"):
        adjusted(made(AdaINResNet), strength=1.5)
    message = (
        r"strength 0\.5: this snapshot's generator takes no strength; leave it out, or train a method that has one, such as santa"
    )
    with pytest.raises(ConfigError, match=message):
        Translator.load(saved(made(ResNet), tmp_path), strength=0.5)
    with pytest.raises(ConfigError, match=r"steps 3: this snapshot's generator takes no steps; leave it out"):
        adjusted(made(AdaINResNet), steps=3)
    with pytest.raises(ConfigError, match=r"steps must be from 1 to 5, the times that this generator was trained at; found 6"):
        adjusted(made(BridgeChain), steps=6)


# --- steps (UNSB) ---


def test_the_times_of_the_bridge_and_its_steps_are_the_published_ones():
    assert bridge_times(5) == pytest.approx([0.0, 0.5, 0.74, 0.86, 0.94])
    found = [bridge_step(bridge_times(5), k, tau=0.01) for k in range(4)]
    assert [share for share, _ in found] == pytest.approx([0.5, 0.48, 0.4615, 0.571], abs=1e-3)
    assert [deviation**2 / 0.01 for _, deviation in found] == pytest.approx([0.25, 0.1248, 0.0646, 0.0343], abs=1e-4)


def test_the_chain_is_the_published_one():
    net, x = made(BridgeChain), image(1, 16, 16)
    random = torch.Generator().manual_seed(7)
    times, state, deviation = [0.0, 0.5, 0.74, 0.86, 0.94], x, None
    with torch.no_grad():
        for k in range(3):
            if k:
                delta, left = times[k] - times[k - 1], 1 - times[k - 1]
                deviation = math.sqrt(0.01 * delta * (1 - delta / left))
                state = (1 - delta / left) * state + delta / left * fake + deviation * torch.randn(x.shape, generator=random)
            z = torch.randn(1, 16, generator=random)
            fake = net.G(state, torch.tensor([k]), z)
        assert torch.allclose(adjusted(net, steps=3, seed=7)(x), fake, atol=1e-5)


def test_a_translation_by_a_bridge_depends_on_image_steps_and_seed_alone():
    net, x = made(BridgeChain).double(), image(3).double()
    with torch.no_grad():
        one = adjusted(net, steps=4)
        before = torch.get_rng_state()
        whole = one(x)
        assert torch.allclose(whole[1:2], one(x[1:2]), atol=1e-5) and torch.equal(whole, one(x))
        assert torch.equal(before, torch.get_rng_state())
        assert (adjusted(net, steps=4, seed=1)(x) - whole).abs().max() > 1e-4
        assert (adjusted(net, steps=2)(x) - whole).abs().max() > 1e-4


def test_a_bridge_has_no_other_backend_and_no_export_and_says_so(tmp_path):
    path = saved(made(BridgeChain), tmp_path)
    for to in ("onnx", "torchscript"):
        with pytest.raises(ConfigError, match="its generator draws random numbers from a seed, and a file takes pixels alone"):
            export(path, tmp_path / "x", to)
    with pytest.raises(ConfigError, match="backend onnx has no form for a generator that draws random numbers"):
        Translator.load(path, backend="onnx")
    assert Translator.load(path, device="cpu", steps=1)(np.zeros((9, 9, 3), np.uint8)).shape == (9, 9, 3)


def test_a_timed_block_is_the_published_formula_and_off_it_knows_no_time():
    torch.manual_seed(0)
    x, time, z = torch.rand(1, 4, 6, 6), torch.rand(1, 8), torch.rand(1, 8)
    pad, norm = nn.ReflectionPad2d(1), nn.InstanceNorm2d(4)
    for how in ("on", "off"):
        block = TimedBlock(4, 8, how)
        gamma, beta = block.style(z)[..., None, None].chunk(2, 1)
        y, shift = (block.first(pad(x)), block.add_time.linear(time)[..., None, None]) if how == "on" else (x, 0)
        conv = block.second[2]
        expected = x + norm(conv(pad(torch.relu((1 + gamma) * norm(y) + beta + shift))))
        assert torch.allclose(block(x, time, z), expected, atol=1e-5)
        changed = (block(x, time, z) - block(x, time + 1, z)).abs().max()
        assert changed > 1e-3 if how == "on" else changed == 0
        assert (block(x, time, z) - block(x, time, z + 1)).abs().max() > 1e-3


def test_sinusoids_are_those_of_the_published_embedding():
    found = sinusoids(torch.tensor([0, 3]), 4)
    rate = 1 / 10000
    by_hand = [[0, 0, 1, 1], [math.sin(3), math.sin(3 * rate), math.cos(3), math.cos(3 * rate)]]
    assert torch.allclose(found, torch.tensor(by_hand), atol=1e-6)
    assert TimeEmbedding(6)(torch.tensor([1])).shape == (1, 6)


def test_a_timed_judge_has_the_maps_of_the_anti_aliased_one_and_is_told_the_time():
    judge = initialise(TimedPatchGAN(6, width=4), "normal", 0.2)
    x = torch.rand(2, 6, 64, 64)
    assert judge(x, torch.tensor([0, 0])).shape == (2, 1, 6, 6)
    assert (judge(x, torch.tensor([0, 0])) - judge(x, torch.tensor([4, 4]))).abs().max() > 1e-4
    twin = build_net(judge.spec)
    twin.load_state_dict(judge.state_dict())
    assert torch.equal(twin(x, torch.tensor([1, 2])), judge(x, torch.tensor([1, 2])))


# --- a mask (StegoGAN) ---


@pytest.mark.parametrize("role", ["hides", "restores"])
def test_a_stego_network_is_translated_by_every_backend(role, tmp_path):
    net = made(StegoResNet, role=role)
    path, pixels = saved(net, tmp_path), np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    plain = Translator.load(path, device="cpu")
    assert np.abs(Translator.load(path, backend="onnx")(pixels).astype(int) - plain(pixels)).max() <= 1
    assert np.abs(plain.by_stages(pixels).astype(int) - plain(pixels)).max() <= 1
    export(path, tmp_path / "x.pt", "torchscript")


def test_what_is_hidden_and_what_is_kept_are_all_of_the_features():
    net, x = made(StegoResNet, role="hides").double(), image(2).double()
    out, hidden, mask = net.hide(x)
    features = net._encode(x)
    assert torch.allclose(hidden, features * mask) and mask.min() > 0 and mask.max() < 1
    assert torch.allclose(out, net._decode(features - hidden, x), atol=1e-6) and torch.equal(out, net(x))
    nn.init.constant_(net.mask[3][1].bias, -40.0)  # nothing is masked
    nn.init.zeros_(net.mask[3][1].weight)
    assert torch.allclose(net(x), net.net(x), atol=1e-6)


def test_the_mask_is_a_map_of_the_image_and_only_of_a_network_that_hides():
    net, x = made(StegoResNet, role="hides"), image(2)
    (mask,) = net.maps(x).values()
    assert mask.shape == (2, 1, 17, 22) and mask.min() >= 0 and mask.max() <= 1
    assert made(StegoResNet, role="restores").maps(x) == {}


def test_what_is_restored_changes_the_translation():
    net, x = made(StegoResNet, role="restores"), image(2)
    assert torch.equal(net.restore(x, None), net(x))
    assert (net.restore(x, torch.rand(2, 16, 5, 6)) - net(x)).abs().max() > 1e-3


@pytest.mark.parametrize("net", [made(AdaINResNet), made(BridgeChain, steps=2), made(StegoResNet, role="hides")])
def test_each_is_rebuilt_from_its_spec(net):
    twin = build_net(net.spec).eval()
    twin.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert torch.equal(twin(image()), net(image()))
