"""Films are translated frame by frame into films: the same frames, time stamps and sound, also after being killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diptych.data.film_writing import Encoder, encoding_for
from diptych.data.films import survey
from diptych.errors import ConfigError, DataError
from diptych.inference import film as module
from diptych.inference.batch import scratch_folder
from diptych.inference.film import FilmOptions, translate_film
from diptych.inference.flow_filter import FlowFilter
from diptych.inference.manifest import Job, Manifest
from diptych.inference.steady import SteadyNorm, SteadyNorms
from diptych.inference.translator import Translator
from diptych.motion import Cuts, likeness, moved, places_before
from diptych.nets import generator
from diptych.nets.instance_norm import InstanceNorm
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from tests.data.films import LOSSLESS, cv2, film, moving, pictures_of, seconds_of, sound_of
from tests.inference.test_names_and_frames import negative

EXACT = {"codec": "libx264rgb", "options": [("qp", "0"), ("crf", "-1")]}


def small(seed: int = 0) -> Translator:
    torch.manual_seed(seed)
    return Translator(Snapshot({"a2b": generator("resnet_1", 3, 3, width=4)}, Domain(), Domain()), device="cpu")


def translated(source: Path, target: Path, translator: Translator, how: dict[str, Any] | None = None, **options: Any) -> int:
    encoding = encoding_for(target, **(how or {}))
    chosen = FilmOptions(encoding, **options)
    manifest = Manifest(target.parent, {"snapshot_sha256": "x"})
    return translate_film(Job(source, target), survey(source), translator, chosen, manifest=manifest)


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.mov", "out.ts"])
def test_frames_time_stamps_and_sound_are_those_of_the_source(tmp_path: Path, target: str) -> None:
    stamps = [4096 * i + (128 * 7 if i % 3 else 0) for i in range(6)]  # a variable rate, in whole milliseconds for Matroska
    stamps = [round(s / 128) * 128 for s in stamps]
    source = film(tmp_path / "in.mp4", stamps=stamps, sound=True)
    assert translated(source, tmp_path / target, negative(), norms="frame", flow=False) == 6
    shift = seconds_of(tmp_path / target)[0] - seconds_of(source)[0]
    assert shift == 0 or target == "out.ts"  # whose clock starts anew
    tolerance = Fraction(1, 90_000) if target == "out.ts" else 0
    for was, now in zip(seconds_of(source), seconds_of(tmp_path / target), strict=True):
        assert abs(now - shift - was) <= tolerance
    if target == "out.ts":
        return  # it wraps packets of sound in headers of its own
    sound = [(t - sound_of(source)[0][0], data) for t, data in sound_of(source)]
    found = [(t - sound_of(tmp_path / target)[0][0], data) for t, data in sound_of(tmp_path / target)]
    assert [data for _, data in found] == [data for _, data in sound]
    assert all(abs(a - b) <= Fraction(1, 1000) for (a, _), (b, _) in zip(found, sound, strict=True))


def test_every_frame_is_the_translation_of_that_frame_upright(tmp_path: Path) -> None:
    source = film(tmp_path / "in.mp4", moving(5, 47, 63), turned=90, **LOSSLESS)
    translated(source, tmp_path / "out.mkv", negative(), EXACT, norms="frame", flow=False)
    found = pictures_of(tmp_path / "out.mkv")
    expected = [255 - np.rot90(frame) for frame in moving(5, 47, 63)]
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("target", ["out.mp4", "out.webm", "out.gif"])
def test_odd_sides_and_the_shape_of_pixels_are_kept(tmp_path: Path, target: str) -> None:
    source = film(tmp_path / "in.mkv", moving(4, 33, 51), aspect=Fraction(4, 3), **LOSSLESS)
    translated(source, tmp_path / target, negative(), norms="frame", flow=False)
    found = survey(tmp_path / target)
    assert (found.height, found.width, found.frames) == (33, 51, 4)
    assert found.aspect == Fraction(4, 3) or target != "out.mp4"
    assert all(
        np.abs(a.astype(int) - (255 - b)).mean() < 12
        for a, b in zip(pictures_of(tmp_path / target), moving(4, 33, 51), strict=True)
    )


def test_sixteen_bits_stay_deep(tmp_path: Path) -> None:
    deep = Domain(dtype="uint16", low=0, high=4095)
    source = film(tmp_path / "in.mkv", pixels="yuv444p10le", options={"qp": "0"})
    translated(
        source, tmp_path / "out.mkv", negative(deep, deep), {"options": [("qp", "0"), ("crf", "-1")]}, norms="frame", flow=False
    )
    assert survey(tmp_path / "out.mkv").bits == 10
    assert np.abs(pictures_of(tmp_path / "out.mkv")[0].astype(int) - (255 - moving()[0])).mean() < 12


def test_batches_and_segments_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = film(tmp_path / "in.mkv", [*moving(5), *moving(6, seed=1)], **LOSSLESS)
    found = []
    for batch, segment in ((1, 96), (3, 96), (2, 4)):
        monkeypatch.setattr(module, "SEGMENT_FRAMES", segment)
        translated(source, tmp_path / f"{batch}-{segment}.mkv", small(), EXACT, batch=batch)
        found.append(np.stack(pictures_of(tmp_path / f"{batch}-{segment}.mkv")).astype(int))
    assert np.abs(found[1] - found[0]).max() <= 1 and np.abs(found[2] - found[0]).max() <= 1
    assert not list(tmp_path.glob(".*.stages"))


def test_an_interrupted_film_goes_on_and_becomes_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_FRAMES", 3)
    source = film(tmp_path / "in.mp4", [*moving(5), *moving(6, seed=1)], sound=True)
    translated(source, tmp_path / "whole.mp4", small())
    stages = scratch_folder(tmp_path / "parts.mp4")
    for broken_at, segments in ((4, 1), (8, 3)):
        translator, calls = small(), []
        tensors = translator.tensors

        def breaks(
            images: Any, tensors: Any = tensors, calls: Any = calls, broken_at: int = broken_at, segments: int = segments
        ) -> Any:
            calls.append(len(images))
            if sum(calls) == broken_at:
                until = time.monotonic() + 20  # the encoder's thread is up to four frames behind
                while len(list(stages.glob("segment-*.safetensors"))) < segments and time.monotonic() < until:
                    time.sleep(0.01)
                raise KeyboardInterrupt
            return tensors(images)

        monkeypatch.setattr(translator, "tensors", breaks)
        with pytest.raises(KeyboardInterrupt):
            translated(source, tmp_path / "parts.mp4", translator)
        assert not (tmp_path / "parts.mp4").exists()
    last = sorted(stages.glob("segment-*"))[-1]
    last.write_bytes(last.read_bytes()[:-10])  # as a failing disk leaves it
    done: list[int] = []
    manifest = Manifest(tmp_path, {"snapshot_sha256": "x"})
    options = FilmOptions(encoding_for(tmp_path / "parts.mp4"))
    translate_film(Job(source, tmp_path / "parts.mp4"), survey(source), small(), options, manifest=manifest, watch=done.append)
    assert done[0] == 6, "what was done is not done again"
    assert (tmp_path / "parts.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_equal_frames_are_encoded_as_equal_bytes_whatever_memory_held_before(tmp_path: Path) -> None:
    source, frames, rng = survey(film(tmp_path / "in.mp4", moving(3, 70, 100))), moving(3, 70, 100), np.random.default_rng(0)
    held, found = [np.zeros(0, np.uint8)] * 60, set()
    for _ in range(200):
        for place in rng.integers(0, len(held), 20):
            held[place] = np.full(rng.integers(100, 200_000), rng.integers(256), np.uint8)
        encoder = Encoder(source, encoding_for(tmp_path / "out.mp4"), deep=False, header_apart=True)
        packets = [packet for number, frame in enumerate(frames) for packet in encoder.encode(frame, 512 * number)]
        found.add(b"".join(packet.data for packet in packets + encoder.finish()))
    assert len(found) == 1


def test_other_settings_begin_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_FRAMES", 2)
    source = film(tmp_path / "in.mp4")
    monkeypatch.setattr(module, "join", lambda *given, **how: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        translated(source, tmp_path / "out.mp4", small())
    done: list[int] = []
    options = FilmOptions(replace(encoding_for(tmp_path / "out.mp4"), quality=30))
    how: dict[str, Any] = {"manifest": Manifest(tmp_path, {"snapshot_sha256": "y"}), "watch": done.append}
    with pytest.raises(KeyboardInterrupt):
        translate_film(Job(source, tmp_path / "out.mp4"), survey(source), small(), options, **how)
    assert done == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("target", "how", "message"),
    [
        ("x.mp4", {"codec": "ffv2"}, "FFmpeg has no such encoder here; choose one of libx264"),
        ("x.mp4", {"codec": "aac"}, "encodes audio and no pictures"),
        ("x.mkv", {"codec": "ffv1", "quality": 3}, "--quality: ffv1 has no constant quality"),
        ("x.mp4", {"options": [("foo", "bar")]}, "--codec-option foo: libx264 has no such option"),
        ("x.mp4", {"options": [("presett", "slow")]}, "libx264 has no such option; near it: preset"),
        ("x.mp4", {"quality": 52}, r"--quality 52: libx264 takes 0 \(best\) to 51 \(worst\)"),
        ("x.mp4", {"quality": -1}, "--quality -1: libx264 takes 0"),
        ("x.webm", {"quality": 64}, r"--quality 64: libvpx-vp9 takes 0 \(best\) to 63"),
        ("x.mp4", {"options": [("crf", "99999")]}, "--codec-option crf 99999: libx264 takes 0"),
        ("x.webm", {"codec": "libx264"}, "--codec libx264: webm files do not take it"),
        ("x.webm", {}, "webm files do not take the film's sound"),
        ("x.mp4", {"options": [("crf", "fast")]}, "--codec libx264: cannot encode"),
    ],
)
def test_what_a_codec_or_a_container_cannot_do_is_said_first(
    tmp_path: Path, target: str, how: dict[str, Any], message: str
) -> None:
    source = film(tmp_path / "in.mp4", sound=True)
    with pytest.raises(ConfigError, match=message):
        translated(source, tmp_path / target, negative(), how, norms="frame", flow=False)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_models_whose_images_are_no_pictures_are_refused(tmp_path: Path) -> None:
    source = film(tmp_path / "in.mp4")
    for domain in (Domain(channels=5), Domain(dtype="float32"), Domain(classes=((0, 0, 0), (255, 255, 255)))):
        with pytest.raises(ConfigError, match="a film holds gray or RGB pictures of 8 or 16 bits, and this model makes"):
            translated(source, tmp_path / "out.mp4", negative(Domain(), domain))
    with pytest.raises(DataError, match=r"in.mp4: frame 0: is 3 x uint8"):
        translated(source, tmp_path / "out.mp4", negative(Domain(channels=1)), norms="frame", flow=False)


# --- norms ---


def test_smoothed_statistics_are_the_moving_average_of_the_frames() -> None:
    """m_t = m_{t-1} + f (x_t - m_{t-1}), from the first frame's own; a cut begins anew. Any batch gives the same."""
    x = torch.randn(5, 3, 8, 9, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 6)[:, None, None, None] + 2
    begins = [True, False, False, True, False]
    for memory in (torch.contiguous_format, torch.channels_last):
        norm = SteadyNorm(InstanceNorm(3), 0.25)
        norm.begins = begins[:2]
        parts = [norm(x[:2].to(memory_format=memory))]
        norm.begins = begins[2:]
        parts.append(norm(x[2:].to(memory_format=memory)))
        means, variances = x.mean((2, 3)).double(), x.var((2, 3), correction=0).double()
        m, v = means.clone(), variances.clone()
        for t in (1, 2, 4):
            m[t] = m[t - 1] + 0.25 * (means[t] - m[t - 1])
            v[t] = v[t - 1] + 0.25 * (variances[t] - v[t - 1])
        expected = (x - m[..., None, None]) / (v[..., None, None] + 1e-5).sqrt()
        assert torch.allclose(torch.cat(parts).double(), expected, atol=2e-6)


def test_a_still_film_is_translated_as_its_picture() -> None:
    still, translator = moving(1)[0], small()
    alone = translator(still)
    norms = SteadyNorms(translator.network, "smooth", 25.0)
    assert len(norms.layers) == 7
    for begins in ([True], [False], [False]):
        norms.next(begins)
        assert np.abs(translator(still).astype(int) - alone).max() <= 1


def test_cuts_are_found_and_pans_and_flashes_of_one_kind_are_none() -> None:
    pan = [smooth_picture(200, 300)[50:146, 6 * i : 6 * i + 128] for i in range(5)]
    flashes = [255 - frame if i % 2 else frame for i, frame in enumerate([pan[-1]] * 5)]
    cuts = Cuts()
    found = [cuts.begins(frame) for frame in [*pan, *(255 - smooth_picture(96, 128, s) // 4 for s in (1, 1, 1)), *flashes]]
    assert [i for i, begins in enumerate(found) if begins] == [0, 5, 8, 9]


# --- the temporal filter ---


def smooth_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    return ((blurred - blurred.min()) / np.ptp(blurred) * 255).astype(np.uint8)


def test_the_flow_of_a_known_pan_is_found_and_occlusions_weigh_nothing() -> None:
    large = smooth_picture(120, 160)
    before, frame = large[10:90, 10:110], large[12:92, 15:115]  # frame(x, y) = before(x + 5, y + 2)
    places = places_before(frame, before)
    y, x = np.mgrid[:80, :100]
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(places[..., 0] - x - 5)[inner].mean() < 0.2 and np.abs(places[..., 1] - y - 2)[inner].mean() < 0.2
    covered = frame.copy()
    covered[30:50, 30:50] = 255 - covered[30:50, 30:50]
    weight = likeness(covered, before, places_before(frame, before))[..., 0]
    assert weight[33:47, 33:47].mean() < 0.3 < 0.9 < weight[60:70, 20:80].mean()


def test_the_filter_takes_noise_out_of_what_stands_still_and_keeps_the_gradients() -> None:
    still, random = smooth_picture(64, 64), np.random.default_rng(1)
    noisy = [(still + random.normal(0, 8, still.shape)).clip(0, 255).astype(np.uint8) for _ in range(12)]
    places, full = places_before(still, still), np.ones((64, 64, 1), np.float32)
    filtering = FlowFilter()
    found = [filtering(frame, places if i else None, full if i else None) for i, frame in enumerate(noisy)]
    assert np.array_equal(found[0], noisy[0])

    def change(frames: list[np.ndarray]) -> float:
        return float(np.square(np.diff(np.stack(frames[4:]).astype(float), axis=0)).mean())

    assert change(found) < 0.5 * change(noisy)
    exact = [filtering(still, places, full) for _ in range(30)][-1]
    assert np.abs(exact.astype(int) - still).mean() < 1.5, "a still film stays as it is"


def test_moved_takes_values_from_the_places() -> None:
    image = np.arange(20, dtype=np.uint8).reshape(4, 5, 1)
    y, x = np.mgrid[:4, :5].astype(np.float32)
    assert np.array_equal(moved(image, np.stack([x - 1, y], -1), cubic=False)[:, 1:, 0], image[:, :-1, 0])


# --- killed ---

SCRIPT = """
import sys
from pathlib import Path
import torch
from tests.inference import test_film as t
t.module.SEGMENT_FRAMES = 4
torch.set_num_threads(1)
t.translated(Path(sys.argv[1]), Path(sys.argv[2]), t.small())
"""


@pytest.mark.slow
def test_a_film_killed_at_any_time_ends_as_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_FRAMES", 4)
    source = film(tmp_path / "in.mp4", [*moving(20, 96, 128), *moving(20, 96, 128, seed=1)], sound=True)
    translated(source, tmp_path / "whole.mp4", small())
    here = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), str(here / "src"), *sys.path])}
    scratch = scratch_folder(tmp_path / "parts.mp4")
    running = subprocess.Popen([sys.executable, "-c", SCRIPT, str(source), str(tmp_path / "parts.mp4")], env=environment)
    while running.poll() is None and len(list(scratch.glob("segment-*.safetensors"))) < 2:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL and scratch.exists()
    translated(source, tmp_path / "parts.mp4", small())
    assert (tmp_path / "parts.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert not scratch.exists()
