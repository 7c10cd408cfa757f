"""Maps of uncertainty: each kind against values worked out by hand, on generators of one line."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from diptych.errors import ConfigError
from diptych.inference.calibration import calibration, rank_correlation
from diptych.inference.map_files import maps_folder, picture
from diptych.inference.translator import Translator
from diptych.inference.uncertainty import Maps, edge_change
from diptych.nets import BridgeChain, StegoResNet
from diptych.nets.bridge import BridgeSampler
from diptych.nets.latent import LatentUNet
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

FLOATS = Domain(2, "float32", -1.0, 1.0)


class Scaled(nn.Module):
    """Multiplies by a number, and drops values where asked."""

    def __init__(self, factor, dropped=0.0):
        super().__init__()
        self.factor, self.drop = nn.Parameter(torch.tensor(factor)), nn.Dropout(dropped)

    def forward(self, x):
        return self.drop(self.factor * x)


def snapshot(*nets, a=FLOATS, b=FLOATS):
    return Snapshot(dict(zip(("a2b", "b2a"), (net.eval() for net in nets), strict=False)), a, b)


def image(channels=2, high=12, wide=9, seed=0):
    return torch.rand(channels, high, wide, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def maps_of(*args, **options):
    return Maps(*args, device="cpu", **options)


def test_cycle_is_the_distance_to_what_the_way_back_gives_as_a_share_of_the_range():
    out, maps = maps_of(snapshot(Scaled(0.5), Scaled(0.8)), "a2b", ["cycle"])(image())
    assert torch.allclose(out, image() / 2, atol=1e-6)
    assert torch.allclose(maps["cycle"], 0.6 * image().abs().mean(0) / 2, atol=1e-6)


def test_cycle_between_labels_counts_pixels_of_another_class():
    labels = Domain(classes=((0,), (7,)))
    pixels = torch.tensor([[[0, 7, 7], [7, 0, 0]]], dtype=torch.uint8)
    _, maps = maps_of(snapshot(Scaled(-1.0), Scaled(1.0), a=labels, b=labels), "a2b", ["cycle"])(pixels)
    assert torch.equal(maps["cycle"], torch.ones(2, 3))
    _, maps = maps_of(snapshot(Scaled(-1.0), Scaled(-1.0), a=labels, b=labels), "a2b", ["cycle"])(pixels)
    assert torch.equal(maps["cycle"], torch.zeros(2, 3))


def test_spread_is_the_standard_deviation_of_the_answers_of_successive_seeds():
    of = snapshot(Scaled(0.4, dropped=0.5))
    found = maps_of(of, "a2b", ["spread"], samples=5, seed=3)(image())[1]["spread"]
    answers = [Translator(of, device="cpu", mode="paper", seed=seed).tensors(image()[None])[0] for seed in range(3, 8)]
    expected = np.sqrt((np.std(np.stack(answers) / 2, axis=0, ddof=1) ** 2).mean(0))
    assert np.allclose(found, expected, atol=1e-6) and found.max() > 0.1


def test_spread_of_an_ensemble_is_over_the_snapshots_and_not_over_dropout():
    of, other = snapshot(Scaled(0.4, dropped=0.5)), snapshot(Scaled(0.8))
    found = maps_of(of, "a2b", ["spread"], ensemble=[other])(image())[1]["spread"]
    assert torch.allclose(found, (0.4 * image() / 2).square().mean(0).sqrt() / 2**0.5, atol=1e-6)  # |x - y| / sqrt(2)


def test_spread_of_8_bit_outputs_is_not_rounded_to_levels():
    of, other = (snapshot(Scaled(factor), a=Domain(2), b=Domain(2)) for factor in (0.5, 0.5001))
    pixels = ((image() + 1) * 127.5).round().to(torch.uint8)
    found = maps_of(of, "a2b", ["spread"], ensemble=[other])(pixels)[1]["spread"]
    x = Domain(2).encode(pixels[None])[0]
    assert torch.allclose(found, (0.0001 * x / 2).square().mean(0).sqrt() / 2**0.5, atol=1e-7) and found.max() > 1e-5


@pytest.mark.parametrize("net", ["bridge", "bridge in one step", "flow", "chain", "bicycle"])
def test_who_draws_answers_has_a_spread_and_who_does_not_is_refused(net):
    torch.manual_seed(0)
    unet = {"in_channels": 4, "out_channels": 2, "width": 8, "num_levels": 1, "num_blocks": 1, "num_attention": 0}
    made = {
        "bridge": lambda: BridgeSampler(kind="vp", steps=3, unet=unet),
        "bridge in one step": lambda: BridgeSampler(kind="vp", steps=1, unet=unet),
        "flow": lambda: BridgeSampler(kind="flow", steps=3, unet=unet),
        "chain": lambda: BridgeChain(2, 2, width=4, num_blocks=1),
        "bicycle": lambda: LatentUNet(latent=3, in_channels=2, out_channels=2, width=4, num_downs=3),
    }[net]()
    of = snapshot(made)
    for layer in (layer for layer in made.modules() if isinstance(layer, nn.Conv2d)):
        nn.init.normal_(layer.weight, std=0.1)  # the last one of a bridge begins with 0
    if net in ("bridge in one step", "flow"):
        with pytest.raises(ConfigError, match=r"--maps spread: this generator has no dropout and draws no noise.* --ensemble$"):
            maps_of(of, "a2b", ["spread"])
        return
    assert maps_of(of, "a2b", ["spread"], samples=3)(image(high=16, wide=16))[1]["spread"].mean() > 1e-5


def test_edges_compare_where_edges_are_and_not_how_strong():
    x = torch.full((1, 1, 32, 32), -0.8)
    x[..., 16:] = 0.8
    assert edge_change(x, x).max() < 1e-6
    assert edge_change(x, 0.5 * x - 0.1).max() < 0.01
    found = edge_change(x, torch.zeros_like(x))[0]
    assert found[:, 10:22].min() > 0.8 and found[:, :9].max() < 1e-6  # within half a window of the edge, and away from it
    assert edge_change(x, x.roll(8, -1))[0, :, 10:14].min() > 0.8


def test_a_mask_is_the_generators_own_and_that_of_the_way_back_looks_at_the_translation():
    torch.manual_seed(0)
    restores, hides = (StegoResNet(3, 3, role=role, width=4, num_blocks=2).eval() for role in ("restores", "hides"))
    of = snapshot(restores, hides, a=Domain(), b=Domain())
    pixels = torch.randint(0, 256, (3, 24, 20), dtype=torch.uint8)
    _, maps = maps_of(of, "b2a")(pixels)
    assert set(maps) == {"cycle", "edges", "mask"}
    assert torch.equal(maps["mask"], hides.maps(Domain().encode(pixels[None]))["mask"][0, 0])
    out, maps = maps_of(of, "a2b", ["mask"])(pixels)
    assert torch.equal(maps["mask"], hides.maps(out[None])["mask"][0, 0])


def test_pixels_without_data_have_no_values_in_maps():
    masked = Domain(1, "float32", -1.0, 1.0, masked=True)
    pixels = image(1)
    pixels[:, 2:4, 3] = torch.nan
    of = snapshot(Scaled(0.5, dropped=0.5), Scaled(0.5), a=masked, b=masked)
    for each in maps_of(of, "a2b", samples=2)(pixels)[1].values():
        assert torch.equal(each.isnan(), pixels[0].isnan())


def test_what_a_snapshot_lacks_is_said():
    maps = maps_of(snapshot(Scaled(0.5)), "a2b")
    assert maps.kinds == ("edges",) and maps.left_out.keys() == {"cycle", "spread", "mask"}
    for kind, rule in (("mask", "have no mask; those of stegogan have one"), ("cycle", "one direction only")):
        with pytest.raises(ConfigError, match=f"^--maps {kind}: .*{rule}"):
            maps_of(snapshot(Scaled(0.5)), "a2b", [kind])
    with pytest.raises(ConfigError, match=r"--samples must be at least 2.*found 1"):
        maps_of(snapshot(Scaled(0.5, dropped=0.5)), "a2b", ["spread"], samples=1)
    with pytest.raises(ConfigError, match=r"--ensemble: a snapshot translates a2b between 2 x float32.* in direction b2a; leave"):
        maps_of(snapshot(Scaled(0.5), Scaled(0.5)), "b2a", ["spread"], ensemble=[snapshot(Scaled(0.5))])


def test_rank_correlation_is_spearmans_with_ties():
    random = np.random.default_rng(0)
    for x, y in ((random.normal(size=50), random.normal(size=50)), (random.integers(0, 5, 50), random.integers(0, 5, 50))):
        assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
    assert np.isnan(rank_correlation(np.ones(5), np.arange(5)))


def test_calibration_tells_ranks_within_images_from_ranks_among_them():
    error = np.arange(100, dtype=np.float32).reshape(10, 10)
    down = [(scale * error.max() - scale * error, scale * error) for scale in (1.0, 2.0, 3.0)]
    down[0][1][0, 0] = np.nan  # left out
    found = calibration(down)
    assert found.within.value == pytest.approx(-1.0) and found.among == pytest.approx(1.0) and found.images == 3
    assert found.tenths[0][0] < found.tenths[-1][0] and found.tenths[0][1] > found.tenths[-1][1]
    assert str(found) == "-1.00 (-1.00 to -1.00) within images, 1.00 among 3 images"
    flat = calibration([(np.zeros((4, 4)), error[:4, :4])])
    assert flat.within is None and str(flat) == "no rank correlation within images, as the map is constant"
    assert flat.as_json()["among"] is None


def test_files_to_look_at_go_from_dark_to_bright_and_are_grey_without_a_value(tmp_path):
    shown = picture(np.array([[0.0, 0.1, 0.25, 0.9, np.nan]]), "spread")
    brightness = shown[0].sum(1).astype(int)
    assert brightness[0] < brightness[1] < brightness[2] == brightness[3] and shown[0, 4].tolist() == [128] * 3
    assert maps_folder(tmp_path / "out") == tmp_path / "out-maps"
    assert maps_folder(tmp_path / "a.png") == tmp_path / "a-maps"
