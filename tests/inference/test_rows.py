"""Rows of image files are translated as the files are, and Ray Data reads, shares, writes and goes on."""

import io
import logging

import numpy as np
import pytest
from PIL import Image

from diptych.inference.rows import TranslateRows
from diptych.inference.translator import Translator
from diptych.pixels import Domain
from tests.inference.test_norm_statistics import snapshot


def pictures(folder, count):
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (8 + 4 * (number % 2), 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def test_rows_are_translated_as_files_and_bad_ones_are_named(tmp_path, caplog):
    saved = snapshot("resnet_1", domain=Domain())
    saved.save(tmp_path / "s.safetensors")
    pictures(tmp_path / "in", 2)
    files = [tmp_path / "in" / "0.png", tmp_path / "in" / "1.png"]
    batch = {"path": np.array([*map(str, files), "bad.png"]), "bytes": [*(file.read_bytes() for file in files), b"<html>"]}
    with caplog.at_level(logging.WARNING):
        out = TranslateRows(tmp_path / "s.safetensors", device="cpu")(batch)
    translate = Translator(saved, device="cpu")
    assert list(out["path"]) == list(map(str, files))
    for file, image in zip(files, out["image"], strict=True):
        assert np.array_equal(image, translate(np.asarray(Image.open(io.BytesIO(file.read_bytes())))))
    assert "skipped: bad.png: is" in caplog.text
    written = TranslateRows(tmp_path / "s.safetensors", device="cpu", root=str(tmp_path), out=tmp_path / "out")(batch)
    assert list(written["result"]) == [str(tmp_path / "out" / "in" / file.name) for file in files]
    for path, image in zip(written["result"], out["image"], strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), image)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_data_reads_maps_writes_and_goes_on(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    from ray.data.checkpoint import CheckpointConfig

    snapshot("resnet_1", domain=Domain()).save(tmp_path / "s.safetensors")
    pictures(tmp_path / "in", 6)
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        config = CheckpointConfig(id_column="path", checkpoint_path=str(tmp_path / "done"), delete_checkpoint_on_success=False)
        ray.data.DataContext.get_current().checkpoint_config = config

        def translate():
            files = ray.data.read_binary_files(str(tmp_path / "in"), include_paths=True)
            places = {"device": "cpu", "root": str(tmp_path / "in"), "out": str(tmp_path / "out")}
            how = {"fn_constructor_args": [str(tmp_path / "s.safetensors")], "fn_constructor_kwargs": places}
            results = files.map_batches(TranslateRows, batch_size=4, concurrency=1, **how)
            results.write_parquet(str(tmp_path / "results"))

        translate()
        made = sorted((tmp_path / "out").iterdir())
        assert [path.name for path in made] == [f"{number}.png" for number in range(6)]
        translator = Translator(snapshot("resnet_1", domain=Domain()), device="cpu")
        for path in made:
            expected = translator(np.asarray(Image.open(tmp_path / "in" / path.name)))
            assert np.array_equal(np.asarray(Image.open(path)), expected)
            path.unlink()
        pictures(tmp_path / "more", 7)
        (tmp_path / "more" / "6.png").rename(tmp_path / "in" / "6.png")
        translate()  # does what is new, and nothing that is in its checkpoint
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["6.png"]
    finally:
        ray.shutdown()
