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
    assert capsys.readouterr().err == f"error: {tmp_path}/x.pth: is a text file; give a .pth or .safetensors file\n"
    assert not (tmp_path / "x.safetensors").exists()


KINDS = {
    "G.onnx": (b"\x08\x07\x12\x07pytorch", "is an ONNX program, which does not keep the layers' names"),
    "G.h5": (b"\x89HDF\r\n\x1a\n\0\0\0\0", "is an HDF5 file, such as Keras weights (.h5)"),
    "weights.hdf": (b"\x89HDF\r\n\x1a\n\0\0\0\0", "is an HDF5 file, such as Keras weights (.h5)"),
    "G.t7": (b"\4\0\0\0\1\0\0\0\3\0\0\0V 1\r\0", "is a file of Lua Torch"),
    "G.pkl": (b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94.", "is a pickle of Python objects, which would have to be run"),
    "G.npz": (b"PK\3\4\0\0\0\0\xff\xfe", "is an archive of NumPy arrays"),
    "G.pb": (b"\n\x0c\n\5Const\x12\5\xff\xfe", "is a TensorFlow graph"),
    "G.pth.gz": (b"\x1f\x8b\x08\0\0\0\0\0", "is compressed with gzip; unpack it first"),
    "G.png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is an image; give a .pth or .safetensors file"),
    "none.pth": (b"", "is empty (0 bytes); download or copy it again"),
    "noise.pth": (bytes(range(128, 256)) * 9, "is damaged, or holds no PyTorch weights; download or copy it again"),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_another_kind_is_named_for_what_it_is(name, tmp_path, capsys):
    content, words = KINDS[name]
    (tmp_path / name).write_bytes(content)
    assert diptych("import", tmp_path / name) == 6
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}/{name}: {words}") and error.count("\n") == 1
    assert "Error" not in error, "the name of an exception helps nobody"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_guesses_are_printed_and_options_change_them(tmp_path, capsys):
    torch.manual_seed(1)
    theirs = junyanz.ResnetGenerator(ngf=4, n_blocks=1, padding="replicate").eval()
    file, x = saved(theirs, tmp_path / "G.pth"), torch.rand(1, 3, 16, 16)
    assert diptych("import", file, "--out", tmp_path / "guess.safetensors") == 0
    line = "a2b: assumed: instance norm (to change it: --norm none); reflect padding in the blocks (to change it: --padding"
    assert f"{line} replicate);" in capsys.readouterr().out
    assert diptych("import", file, "--padding", "replicate", "--out", tmp_path / "said.safetensors") == 0
    assert "assumed: instance norm (to change it: --norm none); replicate padding in the blocks" in capsys.readouterr().out
    with torch.no_grad():
        guess, said = (Snapshot.load(tmp_path / f"{name}.safetensors").generators["a2b"](x) for name in ("guess", "said"))
        assert torch.equal(said, theirs(x)) and not torch.allclose(guess, theirs(x), atol=0.01)
    assert diptych("import", file, "--dropout", "--out", tmp_path / "x.safetensors") == 2
    assert "--dropout changes nothing: it does not apply to a CycleGAN ResNet" in capsys.readouterr().err


def test_one_file_of_two_generators_and_discriminators_becomes_one_snapshot(tmp_path, capsys):
    nets = {"netG_A": junyanz.ResnetGenerator(ngf=4, n_blocks=1), "netG_B": junyanz.ResnetGenerator(ngf=4, n_blocks=1)}
    nets["netD_A"] = junyanz.NLayerDiscriminator(ndf=4)
    torch.save(
        {"state_dict": {f"{name}.{key}": t for name, net in nets.items() for key, t in net.state_dict().items()}},
        tmp_path / "x.ckpt",
    )
    assert diptych("import", tmp_path / "x.ckpt") == 0
    out = capsys.readouterr().out
    assert "a2b: netG_A, CycleGAN ResNet" in out and "b2a: netG_B, CycleGAN" in out and "D_b: netD_A, PatchGAN of 3 layers" in out
    snapshot = Snapshot.load(tmp_path / "x.safetensors")
    assert sorted(snapshot.generators) == ["a2b", "b2a"] and list(snapshot.discriminators) == ["D_b"]
    assert diptych("import", tmp_path / "x.ckpt", "--take", "b2a=netG_A", "--out", tmp_path / "back.safetensors") == 0
    back = Snapshot.load(tmp_path / "back.safetensors").generators
    assert list(back) == ["b2a"] and torch.equal(back["b2a"].head[1].weight, nets["netG_A"].model[-2].weight)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--take", "G_A"], "--take must be a2b=NAME, b2a=NAME or both with a comma between them, found 'G_A'"),
        (["--take", "a2b=X"], "--take: the file holds no generator 'X', but one that has no name; leave the option out"),
        (["G.pth", "--take", "a2b=X"], "--take chooses from one file"),
        (["D.pth"], "D.pth: holds no generator; give two files of one generator each"),
    ],
)
def test_a_choice_that_is_none_is_refused(words, error, tmp_path, capsys):
    file = saved(junyanz.ResnetGenerator(ngf=4, n_blocks=1), tmp_path / "G.pth")
    saved(junyanz.NLayerDiscriminator(ndf=4), tmp_path / "D.pth")
    words = [tmp_path / word if word.endswith(".pth") else word for word in words]
    assert diptych("import", file, *words, "--out", tmp_path / "x.safetensors") == 2
    assert error in capsys.readouterr().err


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
