"""Strangers' files are decoded in children that cannot do harm: same pixels, and one line for whatever attacks a decoder."""

import re
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diptych.cli import main
from diptych.data import decoders
from diptych.data.decoders import refuse_foreign
from diptych.data.metadata import Metadata
from diptych.data.untrusted import Limits, decode, untrusted_files
from diptych.errors import DataError
from diptych.nets import UNet
from diptych.pixels import Domain
from diptych.reading import Reading
from diptych.snapshot import Snapshot
from tests.data.bad_images import CASES

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs limits of processes, which Linux has")


def outcome(read, data):
    """What decoding gives: pixels and notes, or the class and the message of the refusal."""
    try:
        picture = read(data, Reading())
    except DataError as error:
        return type(error), str(error)
    return picture.pixels.dtype, picture.pixels.tolist(), picture.metadata.notes, picture.metadata.frames


def test_a_child_decodes_as_this_process_does():
    files = []
    for name in sorted(CASES)[::8]:
        data = CASES[name][0]()
        try:
            refuse_foreign(data[:512])
        except DataError:
            continue
        files.append((name, data))
    with warnings.catch_warnings(action="ignore"), untrusted_files(), ThreadPoolExecutor(4) as pool:
        for (name, data), found in zip(files, pool.map(lambda file: outcome(decode, file[1]), files), strict=True):
            assert repr(found) == repr(outcome(decoders.decode, data)), name  # as NaN does not equal NaN
    assert len(files) > 15 and decode is not decoders.decode


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    path = tmp_path_factory.mktemp("s") / "s.safetensors"
    Snapshot({"a2b": UNet(3, 3, width=2, num_downs=2).eval()}, Domain(), Domain()).save(path)
    return path


def test_translate_takes_strangers_files_apart(snapshot, tmp_path, capsys, monkeypatch):
    inside, noise = tmp_path / "in", np.random.default_rng(0)
    inside.mkdir()
    Image.fromarray(noise.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(inside / "good.png")
    (inside / "bomb.png").write_bytes(CASES["bomb.png"][0]())
    (inside / "scan.nii").write_bytes(b"\\x5c\\x01")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("open('taken', 'w')")
    how = ["--device", "cpu", "--backend", "torch", "--precision", "fp32", "--batch", "1"]
    assert main(["translate", str(snapshot), str(inside / "good.png"), "--out", "plain", *how]) == 0
    opened = []
    monkeypatch.setattr("diptych.data.formats.Image.open", lambda *args, **kwargs: opened.append(args))
    assert main(["translate", str(snapshot), str(inside), "--out", "apart", "--untrusted", *how]) == 1
    said = capsys.readouterr().err
    assert re.search(
        r"bomb.png: .*has more than [\d,]+ pixels; cut it into tiles", said
    )  # and not read in windows, which are decoded in this process
    assert "scan.nii: is not opened among strangers' files, as it cannot be decoded in a process of its own" in said
    assert (tmp_path / "apart" / "good.png").read_bytes() == (tmp_path / "plain" / "good.png").read_bytes()
    assert not opened and not (tmp_path / "taken").exists()
    assert main(["translate", str(snapshot), str(inside), "--out", "x", "--untrusted", "--frames", "all", *how]) == 2


@pytest.fixture(scope="module")
def hostile():
    """Decode by tests.data.hostile_decoders, in 400 MB and half a second, until the last test of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        patch.setenv("HF_TOKEN", "secret")
        with untrusted_files(Limits(4 * 10**8, 0.5), decode="tests.data.hostile_decoders:take_over"):
            yield lambda act: decode(act.encode(), Reading())


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("crash", r"made its decoder crash \(SIGSEGV\), as damaged and hostile files do; remove it"),
        ("abort", r"made its decoder crash \(SIG(ABRT|SEGV|ILL)\)"),
        ("hang", r"was not decoded within 0\.5 s"),
        ("spin", r"was not decoded within 0\.5 s"),
        ("leave", r"could not be decoded in 400 MB of memory; remove it"),
        ("eat", r"could not be decoded in 400 MB of memory"),
        ("lie", r"could not be decoded"),
        ("lie about the type", r"could not be decoded"),
        ("babble", r"^\\x1b\[31mx{900,1000}$"),
    ],
)
def test_a_decoder_that_was_taken_over_costs_one_line(hostile, act, message):
    began = time.monotonic()
    with pytest.raises(DataError, match=message) as caught:
        hostile(act)
    assert str(caught.value).isprintable() and time.monotonic() - began < 30
    assert hostile("behave").pixels.shape == (2, 3, 3)  # the next file is decoded as ever


def test_a_child_opens_no_file_and_no_socket_and_knows_no_token(hostile, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        hostile("look around")
    found = dict(part.split(": ") for part in str(caught.value).split(", "))
    assert found == dict.fromkeys(("read", "write", "connect"), "Too many open files") | {"TOKEN": "None"}


def test_metadata_that_a_writer_would_parse_is_left_behind(hostile):
    picture = hostile("behave")
    assert picture.metadata == Metadata(icc=b"colours", frames=3, notes=("seen",), stored="uint8")
    np.testing.assert_array_equal(picture.pixels, np.arange(18, dtype=np.uint16).reshape(2, 3, 3))
    picture.pixels[0, 0, 0] = 1  # it can be written
