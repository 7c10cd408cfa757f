"""`diptych import`, `diptych report` and `diptych demo`."""

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.cli.demo import parser as demo_parser
from diptych.data.formats import read_pixels
from diptych.snapshot import Snapshot
from tests.cli.pictures import diptych, picture, size_of
from tests.reference import junyanz


def saved(net, path):
    torch.save(net.state_dict(), path)
    return path


def test_imported_weights_translate_as_the_published_network_does(tmp_path, capsys):
    torch.manual_seed(1)
    there, back = (junyanz.ResnetGenerator(ngf=4, n_blocks=1).eval() for _ in range(2))
    files = saved(there, tmp_path / "latest_net_G_A.pth"), saved(back, tmp_path / "latest_net_G_B.pth")
    assert diptych("import", *files, "--out", tmp_path / "both.safetensors") == 0
    assert "a2b: CycleGAN ResNet of 1 blocks, ngf 4" in capsys.readouterr().out

    given = picture(tmp_path / "x.png", 2, 32, 48)
    for direction, net in (("a2b", there), ("b2a", back)):
        words = ["translate", tmp_path / "both.safetensors", given, "--out", tmp_path / direction, "--direction", direction]
        assert diptych(*words, "--device", "cpu") == 0
        x = torch.from_numpy(read_pixels(given)).permute(2, 0, 1)[None] / 255 * 2 - 1
        with torch.no_grad():
            expected = ((net(x)[0].permute(1, 2, 0) + 1) * 127.5).round().numpy()
        assert np.abs(read_pixels(tmp_path / direction / "x.png") - expected).max() <= 1


def test_an_imported_unet_translates_in_paper_mode_at_any_size(tmp_path):
    file = saved(junyanz.UnetGenerator(num_downs=5, ngf=4), tmp_path / "latest_net_G.pth")
    assert diptych("import", file) == 0
    assert Snapshot.load(tmp_path / "latest_net_G.safetensors").mode == "paper"
    picture(tmp_path / "x.jpg", 2, 37, 51)
    assert diptych("translate", tmp_path / "latest_net_G.safetensors", tmp_path / "x.jpg", "--out", tmp_path / "out") == 0
    assert size_of(tmp_path / "out" / "x.jpg") == ("RGB", 37, 51)


def test_what_is_no_network_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "x.pth").write_bytes(b"PK no")
    assert diptych("import", tmp_path / "x.pth") == 6
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/x.pth: is damaged or not a PyTorch file")
    assert not (tmp_path / "x.safetensors").exists()


def test_an_import_does_not_overwrite_its_source(tmp_path, capsys):
    import safetensors.torch

    safetensors.torch.save_file(junyanz.ResnetGenerator(ngf=4, n_blocks=1).state_dict(), tmp_path / "x.safetensors")
    before = (tmp_path / "x.safetensors").read_bytes()
    assert diptych("import", tmp_path / "x.safetensors") == 2
    assert "x.safetensors itself and would be overwritten; name another file" in capsys.readouterr().err
    assert (tmp_path / "x.safetensors").read_bytes() == before


def test_a_report_is_written_again(pix2pix_run, capsys):
    (pix2pix_run / "report.html").unlink()
    assert diptych("report", pix2pix_run) == 0
    assert capsys.readouterr().out == f"{pix2pix_run}/report.html\n"
    assert "pix2pix" in (pix2pix_run / "report.html").read_text()


def test_a_folder_without_a_run_has_no_report(tmp_path, capsys):
    assert diptych("report", tmp_path) == 2
    assert "holds no run; give the folder of a training" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "unpaired"), [([], False), (["--unpaired", "--out", "here"], True)])
def test_the_demo_understands_its_options(words, unpaired):
    args = demo_parser().parse_args(words)
    assert args.unpaired is unpaired and str(args.out) == ("here" if words else "None")


def test_a_snapshot_of_discriminators_alone_translates_nothing(tmp_path, capsys):
    file = saved(junyanz.NLayerDiscriminator(ndf=4), tmp_path / "latest_net_D.pth")
    assert diptych("import", file) == 0
    Image.new("RGB", (32, 32)).save(tmp_path / "x.png")
    assert diptych("translate", tmp_path / "latest_net_D.safetensors", tmp_path / "x.png", "--out", tmp_path / "out") == 2
    assert "holds only discriminators, which translate nothing" in capsys.readouterr().err
