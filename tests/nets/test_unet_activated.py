import numpy as np
import pytest
import torch

from diptych.errors import ConfigError
from diptych.inference import staging
from diptych.inference.translator import Translator
from diptych.nets import ActivatedUNet, build_net
from diptych.pixels import Domain
from diptych.snapshot import Snapshot


@pytest.mark.parametrize("size", [(1, 1), (7, 30), (16, 16), (17, 33)])
@pytest.mark.parametrize("resize_head", [False, True])
def test_any_size_in_gives_the_same_size_out(size, resize_head):
    y = ActivatedUNet(3, 2, width=2, num_downs=4, resize_head=resize_head)(torch.rand(2, 3, *size) * 2 - 1)
    assert y.shape == (2, 2, *size) and y.isfinite().all() and y.abs().max() <= 1


def test_every_variant_is_rebuilt_from_its_spec():
    net = ActivatedUNet(
        1, 4, width=2, num_downs=5, norm="instance_affine", bias=True, down_dropout=2, up_dropout=1, resize_head=False
    )
    twin = build_net(net.spec)
    twin.load_state_dict(net.state_dict())
    x = torch.rand(1, 1, 40, 33)
    assert torch.equal(twin.eval()(x), net.eval()(x))
    drops = [isinstance(part[-1], torch.nn.Dropout) for part in [*net.downs, *net.ups]]
    assert drops == [False, False, False, True, True, True, False, False, False]


def test_a_skip_carries_what_leaky_relu_gave():
    """The last decoder level gets the first level's features where they are negative, too."""
    net, seen = ActivatedUNet(1, 1, width=2, num_downs=3, down_dropout=0, up_dropout=0).eval(), {}
    net.downs[0].register_forward_hook(lambda module, inputs, output: seen.update(skip=output))
    net.head.register_forward_hook(lambda module, inputs, output: seen.update(joined=inputs[0]))
    net(torch.rand(1, 1, 16, 16) * 2 - 1)
    assert torch.equal(seen["joined"][:, 2:], seen["skip"]) and seen["skip"].min() < 0


def test_windows_give_what_the_whole_image_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "SIDES", (12,))
    torch.manual_seed(0)
    Snapshot({"a2b": ActivatedUNet(3, 3, width=4, num_downs=3).eval()}, Domain(), Domain()).save(tmp_path / "x.safetensors")
    translate = Translator.load(tmp_path / "x.safetensors", device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (45, 37, 3), dtype=np.uint8)
    whole = translate(image)
    assert whole.std() > 1 and np.abs(translate.by_stages(image).astype(int) - whole).max() <= 1


def test_too_few_levels_are_refused():
    with pytest.raises(ConfigError, match="a U-Net needs at least 2 downsamplings, found 1"):
        ActivatedUNet(3, 3, num_downs=1)
