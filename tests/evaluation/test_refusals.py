"""Ten ways to score the wrong sets, each refused in one line that says where and what to do."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from diptych.data.formats import write_pixels
from diptych.data.splits import Ref, Split
from diptych.errors import DataError
from diptych.evaluation.evaluate import score_subjects, score_translators
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.outputs import outputs_subject
from diptych.evaluation.refusals import refuse_wrong_sets
from diptych.evaluation.subject import Subject
from tests.evaluation.images import CONFIG, RGB, Features, negative, negatives, noise, pairs, sets


def subject(split, **changes):
    return replace(Subject("a2b", RGB, RGB, split.a, split.b, split.paired, CONFIG, negative), **changes)


def copied(refs, folder):
    """The same bytes under other names."""
    folder.mkdir(parents=True)
    return tuple(Ref(shutil.copy(ref.path, folder / f"copy{ref.path.name}")) for ref in refs)


def refused(pattern, judged, **options):
    with pytest.raises(DataError, match=pattern) as refusal:
        refuse_wrong_sets(judged, **options)
    assert "\n" not in str(refusal.value)


def test_good_sets_pass(tmp_path):
    assert len(refuse_wrong_sets(subject(pairs(tmp_path / "pairs")))) == 8
    assert len(refuse_wrong_sets(subject(sets(tmp_path / "sets")))) == 8
    assert {len(digest) for digest in refuse_wrong_sets(subject(sets(tmp_path / "sets"))).values()} == {16}  # and no picture


def test_1_an_empty_set_is_refused(tmp_path):
    split = sets(tmp_path)
    refused("a2b: no inputs to score, the set is empty; give at least one image on each side", subject(split, inputs=()))
    refused("a2b: no real images to score", subject(split, targets=()))


def test_2_unequal_pairs_are_refused(tmp_path):
    split = pairs(tmp_path)
    refused("4 inputs and 3 truths cannot be pairs", subject(split, targets=split.b[:3]))
    outputs = noise(tmp_path / "out", 4, seed=9)
    refused("4 outputs and 3 inputs do not belong together", subject(split, outputs=outputs, inputs=split.a[:3]))


def test_3_doubled_files_are_refused_unless_allowed(tmp_path):
    split = sets(tmp_path)
    twice = split.b + copied(split.b[:2], tmp_path / "twice")
    message = r"copy0.png: is the same image as .*0.png, and 1 more, among 6 real images; remove them, or"
    refused(message, subject(split, targets=twice))
    assert refuse_wrong_sets(subject(split, targets=twice), allow_doubles=True)
    refused("among 5 inputs", subject(split, inputs=(*split.a, split.a[0])))


def test_4_one_output_for_every_input_is_refused_as_doubles(tmp_path):
    split = pairs(tmp_path)
    (tmp_path / "out").mkdir()
    for i in range(4):
        write_pixels(tmp_path / "out" / f"{i}.png", np.full((16, 16, 3), 9, np.uint8))
    outputs = tuple(Ref(tmp_path / "out" / f"{i}.png") for i in range(4))
    refused("does the translator give one answer to all", subject(split, outputs=outputs))


def test_equal_pixels_are_doubles_in_any_format_and_label_maps_of_two_photos_may_be_equal(tmp_path):
    split = sets(tmp_path / "sets")
    write_pixels(tmp_path / "again.bmp", split.b[0].read())
    refused("again.bmp: is the same image as .*0.png", subject(split, targets=(*split.b, Ref(tmp_path / "again.bmp"))))
    pair = pairs(tmp_path / "pairs")
    twins = replace(pair, a=(*pair.a[:3], *copied(pair.a[:1], tmp_path / "twin")))
    assert refuse_wrong_sets(subject(twins))
    refused("among 5 inputs", subject(pair, inputs=(*pair.a, pair.a[0]), targets=(*pair.b, pair.b[0])))


def test_5_outputs_that_are_the_truth_are_refused(tmp_path):
    split = pairs(tmp_path)
    refused("4 of 4 outputs are pixel for pixel among the truth", subject(split, outputs=copied(split.b, tmp_path / "out")))
    free = sets(tmp_path / "free")
    outputs = (*noise(tmp_path / "made", 3, seed=7), *copied(free.b[2:3], tmp_path / "one"))
    refused("1 of 4 outputs are pixel for pixel among the truth", subject(free, outputs=outputs))


def test_6_outputs_that_are_the_inputs_are_refused(tmp_path):
    split = pairs(tmp_path)
    refused("4 of 4 outputs are pixel for pixel among the inputs", subject(split, outputs=copied(split.a, tmp_path / "out")))


def test_7_inputs_that_are_the_truth_are_refused(tmp_path):
    split = pairs(tmp_path)
    refused("4 of 4 inputs are pixel for pixel among the truth", subject(split, targets=copied(split.a, tmp_path / "out")))


def test_8_sets_that_overlap_are_refused(tmp_path):
    split = sets(tmp_path)
    overlap = (*split.b, *copied(split.a[1:2], tmp_path / "more"))
    refused("1 of 4 inputs are pixel for pixel among the truth", subject(split, targets=overlap))


def test_a_pair_of_equal_images_among_others_may_be_real(tmp_path):
    split = pairs(tmp_path)
    targets = (*split.b[:3], *copied(split.a[3:], tmp_path / "equal"))
    assert refuse_wrong_sets(subject(split, targets=targets))


def test_9_sizes_that_differ_are_refused(tmp_path):
    outputs, truth = tmp_path / "out", tmp_path / "truth"
    noise(outputs, 3), noise(truth, 3, seed=2, size=20)
    with pytest.raises(DataError, match=r"is 20 x 20, its partner .*0.png is 16 x 16; bring both to one size"):
        outputs_subject(outputs, truth)
    split = pairs(tmp_path / "pairs")
    with pytest.raises(DataError, match=r"0.png: the output is 8 x 8, its truth 16 x 16; bring both to one size"):
        score_translators({"a2b": lambda x: x[..., :8, :8]}, split, RGB, RGB, CONFIG, metrics=["psnr"])


def test_10_one_folder_in_two_roles_is_refused(tmp_path):
    noise(tmp_path / "x", 3), noise(tmp_path / "y", 3, seed=1)
    (tmp_path / "link").symlink_to(tmp_path / "x")
    with pytest.raises(DataError, match="is given as outputs and as truth; give two different folders"):
        outputs_subject(tmp_path / "x", tmp_path / "link")
    with pytest.raises(DataError, match="is given as outputs and as inputs"):
        outputs_subject(tmp_path / "x", tmp_path / "y", tmp_path / "x")
    with pytest.raises(DataError, match="is given as truth and as inputs"):
        outputs_subject(tmp_path / "x", tmp_path / "y", tmp_path / "y")


def test_a_file_that_vanished_is_named(tmp_path):
    split = pairs(tmp_path)
    split.a[2].path.unlink()
    refused("a/2.png: cannot be read", subject(split))


def test_halves_of_one_file_are_two_images(tmp_path):
    files = noise(tmp_path, 3, size=32)
    a, b = (tuple(Ref(ref.path, half) for ref in files) for half in ("left", "right"))
    assert len(refuse_wrong_sets(subject(Split(a, b, True)))) == 6


# Finished images


def test_finished_images_are_paired_by_stem_in_any_format_and_tree(tmp_path):
    a = noise(tmp_path / "in", 3)
    negatives(a, tmp_path / "truth" / "deep")
    (tmp_path / "out" / "deep").mkdir(parents=True)
    for ref in a:
        write_pixels(tmp_path / "out" / "deep" / f"{ref.name}.bmp", 250 - np.minimum(ref.read(), 250))
    found = outputs_subject(tmp_path / "out", tmp_path / "truth")
    assert found.paired and found.names == ["0", "1", "2"] and not found.inputs
    evaluation = score_subjects([found], tools=Instruments(features=Features(), resamples=40))
    assert 10 < evaluation.value("psnr").value < 60 and evaluation.value("psnr", of="copy") is None
    assert evaluation.protocols[evaluation.results[0].protocol]["resize"] == "native"


def test_finished_images_with_inputs_have_the_copy_as_baseline(tmp_path):
    split = pairs(tmp_path)
    noise(tmp_path / "out", 4, seed=5)
    evaluation = score_subjects([outputs_subject(tmp_path / "out", tmp_path / "b", tmp_path / "a")], ["psnr"])
    assert evaluation.value("psnr", of="copy").n == 4 == len(split.a)
    assert evaluation.examples[0].images.keys() == {"input", "output", "truth"}


def test_partners_that_are_missing_are_named(tmp_path):
    noise(tmp_path / "out", 3), noise(tmp_path / "truth", 4, seed=1)
    message = "3 and 4 images, 1 without a partner of the same stem, such as 3.png; give the two of a pair one name, or --unp"
    with pytest.raises(DataError, match=message):
        outputs_subject(tmp_path / "out", tmp_path / "truth")
    found = outputs_subject(tmp_path / "out", tmp_path / "truth", paired=False)
    assert not found.paired and len(found.targets) == 4
    noise(tmp_path / "in", 2, seed=8)
    with pytest.raises(DataError, match="3 and 2 images, 1 without a partner"):
        outputs_subject(tmp_path / "out", tmp_path / "truth", tmp_path / "in", paired=False)


def test_twins_of_one_stem_are_named(tmp_path):
    (ref,) = noise(tmp_path / "out", 1)
    write_pixels(tmp_path / "out" / "0.bmp", ref.read())
    noise(tmp_path / "truth", 1, seed=1)
    with pytest.raises(DataError, match=r"two images of one name, 0.bmp, 0.png; remove or rename one"):
        outputs_subject(tmp_path / "out", tmp_path / "truth")


def test_an_empty_and_a_missing_folder_are_named(tmp_path):
    noise(tmp_path / "out", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no files"):
        outputs_subject(tmp_path / "out", tmp_path / "empty")
    with pytest.raises(DataError, match="gone: no such folder"):
        outputs_subject(tmp_path / "out", tmp_path / "gone")


def test_a_damaged_output_is_refused_and_named(tmp_path):
    noise(tmp_path / "out", 3), noise(tmp_path / "truth", 3, seed=1)
    (tmp_path / "out" / "1.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"1 of 3 pairs cannot be used, and strict allows none: .*1.png"):
        outputs_subject(tmp_path / "out", tmp_path / "truth")


def test_the_right_half_of_side_by_side_images_is_the_truth_and_the_left_the_input(tmp_path):
    for i in range(3):
        (tmp_path / "ab").mkdir(exist_ok=True)
        write_pixels(tmp_path / "ab" / f"{i}.png", np.random.default_rng(i).integers(0, 256, (16, 32, 3), np.uint8))
    noise(tmp_path / "out", 3, seed=9)
    found = outputs_subject(tmp_path / "out", tmp_path / "ab", truth_half="right")
    assert {ref.half for ref in found.targets} == {"right"} and {ref.half for ref in found.inputs} == {"left"}
    assert score_subjects([found], ["psnr"]).value("psnr", of="copy").n == 3


def test_images_of_many_sizes_keep_them(tmp_path):
    for i, size in enumerate((16, 16, 24, 12)):
        noise(tmp_path / f"o{i}", 1, seed=i, size=size), noise(tmp_path / f"t{i}", 1, seed=9 + i, size=size)
        for side, name in (("o", "out"), ("t", "truth")):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / f"{side}{i}" / "0.png").rename(tmp_path / name / f"{i}.png")
    found = outputs_subject(tmp_path / "out", tmp_path / "truth")
    evaluation = score_subjects([found], batch_size=4, tools=Instruments(features=Features(), resamples=40))
    assert evaluation.value("psnr").n == 4 and evaluation.value("kid").n == 4
    assert "at least 161 pixels a side" in evaluation.left_out["ms_ssim"]


def sixteen_bits(folder, most, count=3, seed=0):
    """Images of 16-bit files with values from 0 to ``most``."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    for i in range(count):
        pixels = random.integers(0, most + 1, (16, 16, 1), np.uint16)
        pixels[0, :2, 0] = 0, most
        write_pixels(folder / f"{i}.png", pixels)
    return folder


def test_outputs_of_8_bits_fill_the_range_of_a_truth_of_12_and_this_is_said(tmp_path, caplog):
    truth = sixteen_bits(tmp_path / "truth", 4095)
    (tmp_path / "out").mkdir()
    for path in truth.iterdir():
        write_pixels(tmp_path / "out" / path.name, np.round(Ref(path).read() / 4095 * 255).astype(np.uint8))
    evaluation = score_subjects([outputs_subject(tmp_path / "out", truth)], ["psnr"])
    assert evaluation.value("psnr").value == pytest.approx(20 * np.log10(255 * np.sqrt(12)), abs=0.3)  # the rounding to 8 bits
    assert "outputs uint8 of 0 to 255, truth uint16 of 0 to 4095; the outputs are scaled to the range of the truth" in caplog.text


def test_outputs_and_truth_of_two_scales_are_refused(tmp_path, caplog):
    truth, made = sixteen_bits(tmp_path / "truth", 4095), sixteen_bits(tmp_path / "out", 65535, seed=1)
    message = "out: outputs uint16 of 0 to 65535, truth uint16 of 0 to 4095, which are two scales; bring both to one"
    with pytest.raises(DataError, match=message):
        outputs_subject(made, truth)
    outputs_subject(truth, made)
    assert "is this one scale? the outputs use little of it" in caplog.text
