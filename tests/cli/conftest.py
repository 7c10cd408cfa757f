"""Two runs trained once for all tests of the commands."""

import pytest

from tests.cli.pictures import CYCLEGAN, PIX2PIX, diptych, folder


@pytest.fixture(scope="session")
def pix2pix_run(tmp_path_factory):
    """pix2pix on two pairs A/ B/ by stem."""
    root = tmp_path_factory.mktemp("pix2pix")
    folder(root / "data" / "A")
    folder(root / "data" / "B", seed=10)
    assert diptych("train", "pix2pix", root / "data", "--out", root / "run", *PIX2PIX) == 0
    return root / "run"


@pytest.fixture(scope="session")
def cyclegan_run(tmp_path_factory):
    """CycleGAN on trainA/ trainB/ with testA/ testB/."""
    root = tmp_path_factory.mktemp("cyclegan")
    for i, name in enumerate(("trainA", "trainB", "testA", "testB")):
        folder(root / "data" / name, seed=10 * i)
    assert diptych("train", "cyclegan", root / "data", "--out", root / "run", *CYCLEGAN) == 0
    return root / "run"
