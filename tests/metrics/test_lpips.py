"""LPIPS equals the formula written out, and its authors' numbers where their networks' weight files are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import diptych
from diptych.data.formats import read_pixels
from diptych.errors import ConfigError, DataError, WeightsError
from diptych.files import sha256_of
from diptych.metrics.lpips import HEADS, LPIPS
from diptych.nets.backbones import BACKBONES, load_backbone
from diptych.pixels import Domain

FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
NAMES = {"alex": "alexnet", "vgg": "vgg16"}


@pytest.fixture(scope="module", params=list(FILES))
def random_weights(request, tmp_path_factory):
    """A name of LPIPS's backbones, and a file of random weights for it."""
    random = torch.Generator().manual_seed(0)
    state = {}
    for key, like in BACKBONES[NAMES[request.param]]().state_dict().items():
        fan_in = like[0].numel() if like.ndim == 4 else 100
        state[key] = torch.randn(like.shape, generator=random) * (2.0 / fan_in) ** 0.5
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(state, path)
    return request.param, path


@pytest.fixture
def pair():
    random = torch.Generator().manual_seed(1)
    x = torch.rand(3, 3, 40, 48, generator=random) * 2 - 1
    return x, (x + 0.3 * torch.randn(x.shape, generator=random)).clamp(-1, 1)


def by_hand(name, path, x, y):
    """Place by place, in double precision: both activations to unit length, weighted squares, mean over places, sum over taps."""
    heads = safetensors.torch.load_file(HEADS)
    net = load_backbone(NAMES[name], path).double()
    total = np.zeros(len(x))
    for tap, (a, b) in enumerate(zip(net(x.double()), net(y.double()), strict=True)):
        weights = heads[f"{name}.{tap}"].double().numpy()
        a, b = a.numpy(), b.numpy()
        n, _, height, width = a.shape
        for image in range(n):
            for row, column in np.ndindex(height, width):
                one, other = a[image, :, row, column], b[image, :, row, column]
                one = one / (np.linalg.norm(one) + 1e-10)
                other = other / (np.linalg.norm(other) + 1e-10)
                total[image] += weights @ (one - other) ** 2 / (height * width)
    return total


def test_it_is_the_formula_written_out(random_weights, pair):
    name, path = random_weights
    found = LPIPS.load(name, path)(*pair)
    assert found.shape == (3,)
    assert found.tolist() == pytest.approx(by_hand(name, path, *pair), rel=1e-4)
    assert min(found.tolist()) > 0.01


def test_equal_images_are_at_distance_zero_and_order_makes_no_difference(random_weights, pair):
    lpips = LPIPS.load(*random_weights)
    x, y = pair
    assert lpips(x, x.clone()).tolist() == [0.0, 0.0, 0.0]
    assert torch.equal(lpips(x, y), lpips(y, x))


def test_each_image_counts_for_itself(random_weights, pair):
    lpips = LPIPS.load(*random_weights)
    x, y = pair
    alone = [float(lpips(a[None], b[None])) for a, b in zip(x, y, strict=True)]
    assert lpips(x, y).tolist() == pytest.approx(alone, rel=1e-5)
    nearer = x + (y - x) / 10
    assert (lpips(x, nearer) < lpips(x, y)).all()


def test_it_is_a_loss_that_trains_images_only(random_weights):
    lpips = LPIPS.load(*random_weights)
    x = torch.full((1, 3, 32, 32), -1.0, requires_grad=True)
    lpips(x, torch.ones(1, 3, 32, 32)).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in lpips.parameters())


def test_autocast_changes_no_number(random_weights, pair):
    lpips = LPIPS.load(*random_weights)
    expected = lpips(*pair)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(lpips(*pair), expected)


def test_it_says_which_weights_it_has(random_weights):
    _, path = random_weights
    assert LPIPS.load(*random_weights).sha256 == sha256_of(path)


def test_the_bundled_heads_are_the_published_ones():
    assert sha256_of(HEADS) == "ede0af447ea4e42b2408c7f6b3f49ebb05f0ead5b7f0a72fae000972c82ba8a4"
    heads = safetensors.torch.load_file(HEADS)
    assert set(heads) == {f"{name}.{tap}" for name in FILES for tap in range(5)}
    for name in FILES:
        widths = [len(heads[f"{name}.{tap}"]) for tap in range(5)]
        assert widths == list(BACKBONES[NAMES[name]].widths)
    assert all((head >= 0).all() for head in heads.values())
    assert "BSD" in (HEADS.parent / "NOTICE.md").read_text() and "Richard Zhang" in (HEADS.parent / "NOTICE.md").read_text()


def test_what_it_cannot_look_at_is_refused(random_weights):
    lpips = LPIPS.load(*random_weights)
    with pytest.raises(DataError, match="looks at gray or RGB images, these have 2 channels"):
        lpips(torch.zeros(1, 2, 40, 40), torch.zeros(1, 2, 40, 40))
    with pytest.raises(DataError, match="pixels a side or more, found 12x40"):
        lpips(torch.zeros(1, 3, 40, 12), torch.zeros(1, 3, 40, 12))


def test_gray_images_are_seen_as_rgb(random_weights, pair):
    lpips = LPIPS.load(*random_weights)
    x, y = (images[:, :1] for images in pair)
    assert torch.equal(lpips(x, y), lpips(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)))


def test_an_unknown_backbone_and_weights_of_another_are_refused(random_weights):
    name, path = random_weights
    with pytest.raises(ConfigError, match="the backbone of LPIPS must be alex or vgg, found 'squeeze'"):
        LPIPS.load("squeeze", path)
    other = {"alex": "vgg", "vgg": "alex"}[name]
    with pytest.raises(WeightsError, match=rf"weights.pth: .* expected torchvision's {NAMES[other]}"):
        LPIPS.load(other, path)


def test_without_weights_it_says_where_to_put_them(tmp_path, monkeypatch):
    monkeypatch.setenv("DIPTYCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"not on this machine; fetch https://\S+alexnet\S+ and put it at"):
        LPIPS.load("alex", fetch=False)


# --- the authors' numbers, where DIPTYCH_TEST_WEIGHTS names a folder with torchvision's weight files ---

GIVEN = Path(os.environ.get("DIPTYCH_TEST_WEIGHTS", "missing"))
with_weights = pytest.mark.skipif(
    not all((GIVEN / name).exists() for name in FILES.values()),
    reason="needs DIPTYCH_TEST_WEIGHTS, a folder with torchvision's AlexNet and VGG16 weight files",
)
EXAMPLES = ("ex_ref.png", "ex_p0.png", "ex_p1.png")  # imgs/ of the authors' repository, which their package leaves out

RELIEF = Path(diptych.__file__).parent / "data" / "relief"
TILES = ("r018_c018", "r018_c027", "r018_c035", "r018_c044", "r018_c052", "r018_c138")
# What lpips 0.1.4, the authors' own package, gives for these six pairs (A against B) with the same networks.
OF_TILES = {
    "alex": [0.474775, 0.421058, 0.475930, 0.435229, 0.437823, 0.304303],
    "vgg": [0.472375, 0.473817, 0.456967, 0.452448, 0.491268, 0.429978],
}
# And for ten pairs of noise, which were also published for VGG16 to four digits, with torchvision's own file.
OF_NOISE = {
    "alex": [0.164498, 0.139014, 0.141770, 0.131150, 0.173130, 0.148647, 0.130128, 0.128832, 0.142158, 0.146136],
    "vgg": [0.3497, 0.3494, 0.3473, 0.3558, 0.3437, 0.3366, 0.3716, 0.3516, 0.3472, 0.3413],
}


@with_weights
@pytest.mark.parametrize("name", list(FILES))
def test_maps_are_as_different_as_the_authors_package_says(name):
    def side(letter):
        tiles = [torch.from_numpy(read_pixels(RELIEF / f"test{letter}" / f"{tile}.webp")).permute(2, 0, 1) for tile in TILES]
        return Domain().encode(torch.stack(tiles))

    found = LPIPS.load(name, GIVEN / FILES[name])(side("A"), side("B"))
    assert found.tolist() == pytest.approx(OF_TILES[name], abs=2e-6)


@with_weights
@pytest.mark.parametrize("name", list(FILES))
def test_noise_is_as_different_as_the_authors_package_says(name):
    random = np.random.RandomState(123)
    x, y = (torch.tensor(random.rand(10, 3, 100, 100), dtype=torch.float32) * 2 - 1 for _ in range(2))
    found = LPIPS.load(name, GIVEN / FILES[name])(x, y)
    assert found.tolist() == pytest.approx(OF_NOISE[name], abs=2e-6 if name == "alex" else 5.1e-5)


@with_weights
@pytest.mark.skipif(
    not all((GIVEN / name).exists() for name in EXAMPLES),
    reason=f"needs the authors' example images {', '.join(EXAMPLES)} in the folder DIPTYCH_TEST_WEIGHTS",
)
def test_the_authors_examples_have_their_scores():
    reference, first, second = (
        Domain().encode(torch.from_numpy(read_pixels(GIVEN / name)).permute(2, 0, 1)[None]) for name in EXAMPLES
    )
    for name, scores in {"alex": (0.722, 0.138), "vgg": (0.569, 0.422)}.items():
        lpips = LPIPS.load(name, GIVEN / FILES[name])
        assert (float(lpips(reference, first)), float(lpips(reference, second))) == pytest.approx(scores, abs=6e-4)
