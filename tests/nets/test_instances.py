"""Instances in label maps by hand, and the generator that gives each a look."""

import numpy as np
import pytest
import torch
from scipy.ndimage import label

from diptych.errors import ConfigError
from diptych.inference.export import export
from diptych.inference.translator import Translator
from diptych.nets import GlobalGenerator, InstanceGenerator, adjusted, build_net, initialise
from diptych.nets.instances import CAPACITY, means_of_regions, outlines, regions, spread
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

MAP = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 0], [0, 1, 0, 1]])  # label 0 in two regions, label 1 in three


def labels(numbers=MAP, num=2):
    """One channel for each label, 1 among -1, as label maps reach networks."""
    return 2.0 * torch.stack([numbers == label for label in range(num)])[None].float() - 1.0


def made(num_features=1, num_labels=2):
    torch.manual_seed(0)
    inner = GlobalGenerator(num_labels + 1 + num_features, 3, width=4, num_downs=1, num_blocks=1).spec
    return initialise(
        InstanceGenerator(num_labels, 3, inner=inner, num_features=num_features, num_labels=num_labels), "normal", 0.3
    ).eval()


def test_regions_are_connected_places_of_one_label_in_each_image():
    found = regions(labels().repeat(2, 1, 1, 1))
    expected = torch.tensor([[0, 0, 2, 2], [0, 5, 6, 6], [0, 5, 6, 11]])  # the first pixel of each
    assert torch.equal(found, torch.stack([expected, expected + 12]))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 13), (64, 65)])
@pytest.mark.parametrize("share", [0.45, 0.6])
def test_regions_are_those_that_scipy_finds(size, share):
    """About half of the pixels make the longest and most winding regions."""
    image = torch.rand(size, generator=torch.Generator().manual_seed(3)) < share
    found, expected = regions(labels(image.long())).numpy()[0], np.zeros(size, int)
    for value in (False, True):
        of_value = image.numpy() == value
        expected += np.where(of_value, label(of_value)[0] + expected.max() * of_value, 0)
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(found)) == len(np.unique(expected))


def test_a_spiral_of_one_pixel_is_one_region():
    image, (row, column), (down, right), side = torch.zeros(33, 33, dtype=torch.long), (0, 0), (0, 1), 33
    for _ in range(600):
        image[row, column] = 1
        ahead = row + 2 * down, column + 2 * right
        inside = 0 <= row + down < side and 0 <= column + right < side
        if not inside or (0 <= ahead[0] < side and 0 <= ahead[1] < side and image[ahead]):
            down, right = right, -down
        if image[row + down, column + right]:
            break
        row, column = row + down, column + right
    found = regions(labels(image))[0]
    assert image.sum() > 500 and torch.equal(found == 0, image == 1)


def test_outlines_are_places_beside_another_region_by_hand():
    square = torch.zeros(1, 5, 5, dtype=torch.long)
    square[0, 2:, 2:] = 1
    marks = ["-----", "--+++", "-++++", "-++--", "-++--"]
    assert torch.equal(outlines(square)[0, 0], torch.tensor([[1.0 if mark == "+" else -1.0 for mark in row] for row in marks]))


def test_means_over_regions_by_hand_go_back_to_their_places():
    features = torch.arange(12.0).view(1, 1, 3, 4)
    means = means_of_regions(features.double(), regions(labels()))
    assert means[[0, 2, 5, 6, 11], 0].tolist() == [(0 + 1 + 4 + 8) / 4, (2 + 3) / 2, (5 + 9) / 2, (6 + 7 + 10) / 3, 11.0]
    assert spread(means, regions(labels()))[0, 0].tolist() == [
        [3.25, 3.25, 2.5, 2.5],
        [3.25, 7, 23 / 3, 23 / 3],
        [3.25, 7, 23 / 3, 11],
    ]


def test_the_look_of_the_largest_region_of_each_label_is_kept_the_oldest_going_first():
    net, numbers, means = made(), regions(labels()), torch.zeros(12, 1)
    means[[0, 2, 5, 6, 11], 0] = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    for step in range(CAPACITY + 1):
        net.remember(labels(), numbers, means * (step == CAPACITY))
    assert net.seen.tolist() == [CAPACITY + 1, CAPACITY + 1]
    assert net.looks[0, :2, 0].tolist() == pytest.approx([0.1, 0.0]) and net.looks[1, 0].item() == pytest.approx(0.2)


def test_regions_of_less_than_a_two_hundredth_of_the_image_say_nothing_of_a_look():
    net, large = made(), torch.zeros(16, 16, dtype=torch.long)
    large[3, 3] = 1
    net.remember(labels(large), regions(labels(large)), torch.ones(256, 1))
    assert net.seen.tolist() == [1, 0]


def test_styles_are_centres_of_clusters_the_commonest_first():
    net = made()
    net.looks[1, :5, 0], net.seen[1] = torch.tensor([-0.5, 0.25, 0.25, 0.25, -0.5]), 5
    found = [adjusted(net, style=style).looks_of_style()[:, 0].tolist() for style in (0, 1, 2)]
    assert found == [[0.0, 0.25], [0.0, -0.5], [0.0, 0.25]]
    with pytest.raises(ConfigError, match="style must be from 0 to 9, found 10"):
        adjusted(net, style=10)


def test_a_translation_sees_labels_outlines_and_the_looks_of_its_style(tmp_path):
    net, domain = made(), Domain(1, classes=((0,), (255,)))
    net.looks[1, :3, 0], net.seen[1] = torch.tensor([0.25, 0.25, -0.5]), 3
    Snapshot({"a2b": net}, domain, Domain()).save(tmp_path / "x.safetensors")
    pixels = (MAP * 255).to(torch.uint8)[None, None]
    how = {"device": "cpu", "memory": 10**11}  # as the command line says, so that windows are tried
    outs = {style: Translator.load(tmp_path / "x.safetensors", style=style, **how)(pixels) for style in (None, 0, 1)}
    assert torch.equal(outs[None], outs[0]) and not torch.equal(outs[0], outs[1])
    look = torch.where(MAP == 1, -0.5, 0.0)[None, None]
    with torch.no_grad():
        plain = net.G(torch.cat([labels(), outlines(regions(labels())), look], 1))
    assert torch.equal(outs[1], Domain().decode(plain))
    with pytest.raises(ConfigError, match="its generator looks for the objects of label maps, which no file can; translate"):
        export(tmp_path / "x.safetensors", tmp_path / "x.pt", "torchscript")


def test_a_style_is_refused_by_other_generators_and_another_inside_is_named():
    with pytest.raises(ConfigError, match=r"style 1: this snapshot's generator takes no style; leave it out, or train a method"):
        adjusted(GlobalGenerator(3, 3, width=4), style=1)
    with pytest.raises(ConfigError, match="the generator inside must be one of pix2pixhd_global, pix2pixhd_local, found 'unet'"):
        build_net(made().spec | {"inner": {"net": "unet"}})
