"""Which images of an evaluation are shown, looked at by hand: nine of twelve scores, and the pixels of their files."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.data.datasets import DataConfig
from diptych.data.folders import Ref, Split
from diptych.data.formats import write_pixels
from diptych.evaluation import examples as module
from diptych.evaluation.examples import images_of, pick, picture
from diptych.evaluation.subject import Subject
from diptych.pixels import Domain

SIZE = 8


def refs(folder, values, channels=3):
    folder.mkdir()
    for i, value in enumerate(values):
        write_pixels(folder / f"{i}.png", np.full((SIZE, SIZE, channels), value, np.uint8))
    return tuple(Ref(folder / f"{i}.png") for i in range(len(values)))


def subject_of(root, count=12, paired=True, **given):
    """Inputs 0, 1, 2 ..., truths 100, 101, 102 ...; the translator adds 200."""
    inputs, targets = refs(root / "a", range(count)), refs(root / "b", range(100, 100 + count))
    options = {"translate": lambda x: x + 200} | given
    return Subject("a2b", Domain(), Domain(), inputs, targets, paired, **options)


def opened(image):
    return Image.open(io.BytesIO(image))


def gray(image):
    """The one value of an image file."""
    (value,) = np.unique(np.asarray(opened(image))).tolist()
    return value


def ranks(examples):
    """The indices of each rank, in order."""
    found = {}
    for example in examples:
        found.setdefault(example.rank, []).append(example.index)
    return found


SCORES = [5.0, 0.0, 11.0, 3.0, 8.0, 1.0, 9.0, 2.0, 10.0, 4.0, 7.0, 6.0]  # image 1 has the lowest, image 2 the highest


def test_of_twelve_images_three_are_the_best_three_the_median_and_three_the_worst_of_which_the_worst_comes_first(tmp_path):
    # By score: 1 5 7 | 3 9 0 11 10 4 | 6 8 2; of the six between, the middle are 9 0 11
    subject = subject_of(tmp_path)
    assert ranks(pick(subject, {"lpips_alex": SCORES})) == {"best": [1, 5, 7], "median": [9, 0, 11], "worst": [2, 8, 6]}
    # Of PSNR, more is better: 2 8 6 | 4 10 11 0 9 3 | 7 5 1
    assert ranks(pick(subject, {"psnr": SCORES})) == {"best": [2, 8, 6], "median": [10, 11, 0], "worst": [1, 5, 7]}


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, {"best": [0]}),
        (2, {"best": [0], "worst": [1]}),
        (3, {"best": [0], "median": [1], "worst": [2]}),
        (4, {"best": [0], "median": [1], "worst": [3]}),
        (5, {"best": [0], "median": [2], "worst": [4]}),
        (6, {"best": [0, 1], "median": [2, 3], "worst": [5, 4]}),
        (9, {"best": [0, 1, 2], "median": [3, 4, 5], "worst": [8, 7, 6]}),
    ],
)
def test_of_few_images_each_is_shown_once(count, expected, tmp_path):
    assert ranks(pick(subject_of(tmp_path, count), {"cycle": [float(i) for i in range(count)]})) == expected


def test_equal_scores_stay_in_their_order(tmp_path):
    subject = subject_of(tmp_path, 3)
    for metric in ("lpips_alex", "psnr"):
        assert ranks(pick(subject, {metric: [1.0] * 3})) == {"best": [0], "median": [1], "worst": [2]}


def test_the_first_metric_of_the_list_that_was_computed_ranks_them(tmp_path):
    up, down = [0.0, 1.0, 2.0], [2.0, 1.0, 0.0]
    subject = subject_of(tmp_path, 3)
    for scores, metric in [
        ({"cycle": down, "psnr": down, "lpips_vgg": down, "lpips_alex": up}, "lpips_alex"),
        ({"cycle": down, "psnr": up, "lpips_vgg": up}, "lpips_vgg"),
        ({"cycle": up, "psnr": down}, "psnr"),
        ({"l1": down, "lpips_alex": [], "cycle": up}, "cycle"),
    ]:
        examples = pick(subject, scores)
        assert ranks(examples) == {"best": [0], "median": [1], "worst": [2]}
        assert [(e.metric, e.score) for e in examples] == [(metric, scores[metric][e.index]) for e in examples]


def test_without_such_a_metric_nine_are_evenly_chosen_and_have_no_score(tmp_path):
    examples = pick(subject_of(tmp_path, 17), {"l1": [0.0] * 17})
    assert ranks(examples) == {"evenly chosen": [0, 2, 4, 6, 8, 10, 12, 14, 16]}
    assert all(example.metric == "" and math.isnan(example.score) for example in examples)


def test_an_example_says_what_it_is_and_has_the_files_of_input_output_and_truth(tmp_path):
    best, _, worst = pick(subject_of(tmp_path, 3), {"psnr": [1.0, 2.0, 3.0]})
    assert (best.direction, best.name, best.index, best.metric, best.score) == ("a2b", "2", 2, "psnr", 3.0)
    assert {name: gray(image) for name, image in best.images.items()} == {"input": 2, "output": 202, "truth": 102}
    assert {name: gray(image) for name, image in worst.images.items()} == {"input": 0, "output": 200, "truth": 100}


def test_outputs_that_were_kept_are_shown_and_not_made_again(tmp_path):
    def never(x):
        raise AssertionError("translated again")

    kept = [torch.full((1, 3, SIZE, SIZE), 50 + i, dtype=torch.uint8) for i in range(3)]
    examples = pick(subject_of(tmp_path, 3, translate=never), {"psnr": [1.0, 2.0, 3.0]}, kept)
    assert [gray(example.images["output"]) for example in examples] == [52, 51, 50]


def test_outputs_of_another_tool_are_read_from_their_files_with_inputs_or_without(tmp_path):
    outputs = refs(tmp_path / "made", [33, 44])
    subject = subject_of(tmp_path, 2, translate=None, outputs=outputs)
    assert {name: gray(image) for name, image in images_of(subject, 1).items()} == {"input": 1, "output": 44, "truth": 101}
    alone = Subject("a2b", Domain(), Domain(), (), (), False, outputs=outputs)
    assert {name: gray(image) for name, image in images_of(alone, 1).items()} == {"output": 44}


def test_without_pairs_there_is_no_truth(tmp_path):
    assert list(images_of(subject_of(tmp_path, 2, paired=False), 0)) == ["input", "output"]


def test_each_side_is_shown_by_the_range_of_its_own_domain(tmp_path):
    source, target = Domain(3, "uint8", 0.0, 51.0), Domain(1, "uint8", 50.0, 250.0)
    inputs, targets = refs(tmp_path / "a", [51]), refs(tmp_path / "b", [50], channels=1)
    subject = Subject("a2b", source, target, inputs, targets, True, translate=lambda x: x[:, :1] + 99)
    # an output of 150 is in the middle of 50..250
    assert {name: gray(image) for name, image in images_of(subject, 0).items()} == {"input": 255, "output": 128, "truth": 0}
    outputs = refs(tmp_path / "made", [250], channels=1)
    made = Subject("a2b", source, target, inputs, targets, True, outputs=outputs)
    assert gray(images_of(made, 0)["output"]) == 255


@pytest.mark.parametrize(
    ("height", "width", "kind", "size"),
    [
        (4, 6, "PNG", (6, 4)),
        (256, 128, "PNG", (128, 256)),
        (257, 8, "JPEG", (8, 257)),
        (512, 512, "JPEG", (512, 512)),
        (256, 1024, "JPEG", (512, 128)),
        (2048, 512, "JPEG", (128, 512)),
    ],
)
def test_large_images_are_shrunk_to_512_pixels_and_beyond_256_they_are_jpeg(height, width, kind, size):
    image = opened(picture(Domain(), torch.full((1, 3, height, width), 77, dtype=torch.uint8)))
    assert (image.format, image.size) == (kind, size) and abs(int(np.asarray(image)[0, 0, 0]) - 77) <= 1


def test_a_picture_has_the_pixels_where_they_were_and_jpeg_keeps_colours_of_single_pixels():
    pixels = torch.randint(0, 256, (1, 3, 5, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert np.array_equal(np.asarray(opened(picture(Domain(), pixels))), pixels[0].permute(1, 2, 0).numpy())
    stripes = torch.zeros(1, 3, 16, 300, dtype=torch.uint8)
    stripes[:, 0, :, ::2], stripes[:, 2, :, 1::2] = 255, 255  # red and blue columns, which coarser colours would mix
    image = opened(picture(Domain(), stripes))
    assert image.format == "JPEG" and np.abs(np.asarray(image).astype(int) - stripes[0].permute(1, 2, 0).numpy()).mean() < 12


def test_a_shrunk_picture_is_the_mean_of_what_it_shows_and_not_a_sample():
    stripes = torch.zeros(1, 3, 64, 1024, dtype=torch.uint8)
    stripes[..., ::2] = 200
    assert abs(np.asarray(opened(picture(Domain(), stripes))).mean() - 100) < 2


@pytest.mark.parametrize("given", [{"translate": None}, {"translate": None, "paired": False}])
def test_a_subject_that_can_make_no_output_is_our_own_mistake(given, tmp_path):
    with pytest.raises(AssertionError, match=r"^a subject has outputs, or inputs and a translator$"):
        images_of(subject_of(tmp_path, 2, **given), 0)


@pytest.mark.parametrize(("paired", "titles"), [(True, ["input", "output", "truth"]), (False, ["input", "output"])])
def test_the_columns_of_a_sheet_are_named(paired, titles, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "contact_sheet", lambda columns: seen.extend(columns) or b"a sheet")
    split = Split(refs(tmp_path / "a", range(3)), refs(tmp_path / "b", range(3)), paired)
    config = DataConfig(resize="none", crop_size=SIZE)
    assert module.sheet_of(lambda x: x, Domain(), Domain(), config, split, rows=2) == b"a sheet"
    assert [title for title, _ in seen] == 2 * titles and [len(images) for _, images in seen] == len(titles) * [2] + len(
        titles
    ) * [1]
