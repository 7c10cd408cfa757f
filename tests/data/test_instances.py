"""Instance maps in files: two touching objects of one class, which nothing but such a map tells apart."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import diptych
from diptych.cli import translate
from diptych.data.census import Census, take_census
from diptych.data.datasets import Crops, DataConfig, view
from diptych.data.folders import find_data
from diptych.data.instances import numbered, with_instances, without_maps
from diptych.data.labels import label_domains
from diptych.errors import ConfigError, DataError
from diptych.inference.translator import Translator
from diptych.nets.instances import outlines, regions, regions_of_numbers
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.run import Run
from diptych.snapshot import Snapshot
from diptych.training.planning.plan import plan_training

SIZE = 32
LABELS = np.zeros((SIZE, SIZE), np.uint8)
LABELS[8:24, 4:28] = 7  # two cars of class 7 that touch at column 16, on class 0
OBJECTS = np.full((SIZE, SIZE), 1, np.int32)
OBJECTS[8:24, 4:16], OBJECTS[8:24, 16:28] = 26001, 26002
TEST_MOVED = 5  # pixels that test images are moved down, so that none is a training image
TINY = {"ngf": 4, "ndf": 2, "num_downs": 1, "num_blocks": 1, "instances": True, "num_features": 2, "nef": 2}


@pytest.fixture
def streets(tmp_path):
    """Label maps, photos in which each car has a colour of its own, and instance maps in folders of their own."""
    for split, count in (("train", 4), ("test", 2)):
        for side in ("A", "B", "_inst"):
            (tmp_path / ("objects" if side == "_inst" else "data") / f"{split}{side}").mkdir(parents=True)
        for i in range(count):
            moved = [np.roll(map_, i + TEST_MOVED * (split == "test"), 0) for map_ in (LABELS, OBJECTS)]
            photo = np.random.default_rng(i + count).integers(0, 40, (SIZE, SIZE, 3), dtype=np.uint8)
            photo[moved[1] == 26001] += np.array([200, 0, 0], np.uint8)
            photo[moved[1] == 26002] += np.array([0, 0, 200], np.uint8)
            Image.fromarray(moved[0]).save(tmp_path / f"data/{split}A/{i}.png")
            Image.fromarray(photo).save(tmp_path / f"data/{split}B/{i}.png")
            deep = moved[1] if split == "train" else moved[1].astype(np.uint16)
            Image.fromarray(deep).save(tmp_path / f"objects/{split}_inst/{i}{'.tif' if split == 'train' else '.png'}")
    return tmp_path


def recipe(streets, **data):
    images = {"source": [str(streets / "data")], "labels": "a", "instances": str(streets / "objects")}
    images |= {"load_size": SIZE + 4, "crop_size": SIZE, "holdout": 0.0}
    train = {"epochs": 2, "decay_epochs": 0, "precision": "fp32", "batch_size": 2}
    return Recipe.create("pix2pixhd", {"method": TINY, "data": images | data, "train": train})


def census(streets, **data):
    config = recipe(streets, **data).data
    split = config.oriented(find_data(config.source, paired=True).train)
    return take_census(split, labels=label_domains(split, "a")), config


def objects_of(x):
    """Which of three objects each pixel of one encoded label map is: 1 for the ground, 2 and 3 for the cars."""
    first = regions_of_numbers(x[None, -2:])[0]
    return np.unique(first.numpy(), return_inverse=True)[1].reshape(first.shape)


def test_objects_are_numbered_from_one_by_their_values_or_colours():
    assert numbered(np.array([[26002, 7], [26001, 7]])).tolist() == [[[0, 3], [0, 1]], [[0, 2], [0, 1]]]
    many = numbered(np.arange(600).reshape(20, 30))
    assert (many[..., 0].astype(int) * 256 + many[..., 1]).ravel().tolist() == list(range(1, 601))
    colours = np.array([[[9, 0, 0], [0, 9, 0]], [[0, 9, 0], [9, 0, 0]]], np.uint8)
    assert numbered(colours)[..., 1].tolist() == [[1, 2], [2, 1]]
    deep = np.array([[[256, 0, 0], [0, 1, 0]]], np.uint16)  # which are one where a band counts as a byte
    assert numbered(deep)[..., 1].tolist() == [[1, 2]]
    assert numbered(np.array([[2.0**24, 1.0]], np.float32))[..., 1].tolist() == [[2, 1]]
    with pytest.raises(DataError, match="holds values that are not whole numbers"):
        numbered(np.array([[0.5]], np.float32))
    with pytest.raises(DataError, match=r"holds 65,536 objects, expected at most 65,535"):
        numbered(np.arange(65536).reshape(256, 256))


def test_touching_objects_of_a_class_are_apart_with_a_map_and_one_without():
    pixels = torch.from_numpy(np.dstack([LABELS, numbered(OBJECTS)])).permute(2, 0, 1)[None]
    domain = Domain(classes=((0,), (7,)), instances=True)
    assert (domain.bands, domain.channels, str(domain)) == (3, 4, "2 classes in 1 x uint8 with instance maps")
    x = domain.encode(pixels)
    assert torch.equal(x[:, :2], domain.labels.encode(pixels[:, :1])) and torch.equal(domain.decode(x), pixels)
    for exact in (x, x.bfloat16()):  # a number survives low precision
        found = regions_of_numbers(exact[:, -2:])
        assert found.unique().tolist() == [0, 8 * SIZE + 4, 8 * SIZE + 16]  # the first pixel of each
    assert torch.equal(regions_of_numbers(x[:, -2:].repeat(2, 1, 1, 1))[1], found[0] + SIZE * SIZE)
    between = outlines(found)[0, 0, 12, 14:18].tolist(), outlines(regions(x[:, :2]))[0, 0, 12, 14:18].tolist()
    assert between == ([-1, 1, 1, -1], [-1, -1, -1, -1])
    with pytest.raises(ConfigError, match="instances are of label maps, and it has no classes"):
        Domain(instances=True)


def test_a_sample_is_cropped_mirrored_and_turned_together_with_its_instance_map(streets):
    found, config = census(streets, turns=True, angle=20.0, zoom=1.5)
    assert found.a.instances and not found.b.instances
    crops = Crops(found, config, seed=3)
    for k in range(6):
        a = found.a.encode(crops[k].a[None])[0]
        seen = objects_of(a)
        assert a.shape == (4, SIZE, SIZE) and seen.max() == 2  # no number between two was invented
        assert np.array_equal(seen > 0, (a[1] > 0).numpy())
    test = config.oriented(find_data(config.source, paired=True).test)
    assert [ref.instances.parent.name for ref in test.a] == ["test_inst"] * 2
    assert view(test.a[1], found.a, config)[-1, 20, [4, 20]].tolist() == [2, 3]


def test_a_census_keeps_instance_maps_and_leaves_out_those_of_another_size(streets):
    found, _ = census(streets)
    again = Census.from_json(found.to_json())
    assert again == found and again.split.a[0].instances == streets / "objects/train_inst/0.tif"
    Image.fromarray(OBJECTS[:, 1:]).save(streets / "objects/train_inst/2.tif")
    with pytest.raises(DataError, match=r"2\.png: its instance map .*2\.tif is 31 x 32, expected 32 x 32 as the label map"):
        census(streets)


def test_missing_and_ambiguous_instance_maps_are_refused_in_one_line(streets):
    train = find_data([str(streets / "data")], paired=True).train
    (streets / "objects/train_inst/3.tif").rename(streets / "objects/train_inst/x.tif")
    with pytest.raises(
        DataError, match=r"train_inst: has no instance map for 1 of 4 label maps, such as .*trainA/3\.png; give it a"
    ):
        with_instances(train, streets / "objects/train_inst")
    (streets / "objects/train").mkdir()
    Image.fromarray(OBJECTS).save(streets / "objects/train/0.tif")
    with pytest.raises(DataError, match=r"0\.tif and .*0\.tif: may both be the instance map of .*trainA/0\.png"):
        with_instances(train, streets / "objects")


def test_the_instance_map_of_a_training_image_serves_no_test_image_of_its_name(streets):
    data = find_data([streets / "data"], paired=True)
    for folder in ("objects/train_inst", "objects/test_inst"):  # 0.png and 1.png are in both splits
        own, other = (data.train, data.test) if "train" in folder else (data.test, data.train)
        assert all(ref.instances.parent == streets / folder for ref in with_instances(own, streets / folder).a)
        with pytest.raises(DataError, match=r"for \d of \d label maps, such as .*A/0.png.* or in one of no split"):
            with_instances(other, streets / folder)
    anywhere = (streets / "objects/train_inst").rename(streets / "objects/maps")  # a name that speaks of no split
    assert len(with_instances(data.test, anywhere).a) == 2


def test_instance_maps_that_lie_beside_the_images_are_no_leftovers(streets):
    (streets / "objects").rename(streets / "data/inst")
    (streets / "data/old").mkdir()
    Image.fromarray(LABELS).save(streets / "data/old/0.png")
    layout = find_data([str(streets / "data")], paired=True)
    assert len(layout.unused) == 2
    assert list(without_maps(layout, streets / "data/inst").unused) == [streets / "data/old"]


def test_instance_maps_are_for_label_maps_and_for_a_method_that_looks_at_them(streets):
    with pytest.raises(ConfigError, match=r"data\.instances are the objects of A's label maps.*set data\.labels a"):
        DataConfig(instances="x")
    with pytest.raises(ConfigError, match=r"data\.instances: the method pix2pix does not look at them"):
        Recipe.create("pix2pix", {"data": {"labels": "a", "instances": "x"}})


def test_a_training_on_photos_that_is_to_see_objects_is_refused_before_images_are_read(streets):
    on_photos = recipe(streets, labels="none", instances="")
    refused = r"method\.instances true looks for the objects of A's label maps, and A holds pictures; set data\.labels a"
    with pytest.raises(ConfigError, match=refused):
        diptych.train(on_photos, streets / "run", device="cpu")
    assert not (streets / "run" / "census.json").exists()
    with pytest.raises(ConfigError, match=refused):
        plan_training(on_photos, torch.device("cpu"))


def test_each_touching_object_gets_the_mean_of_what_the_encoder_finds_in_it(streets):
    found, config = census(streets)
    sample = Crops(found, config, seed=0)[0]
    a, b = found.a.encode(sample.a[None]), found.b.encode(sample.b[None])
    method = recipe(streets).build(found.a, found.b)
    seen = []
    method.G_ab.G.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0]))
    from diptych.methods import Batch

    dict(method.losses(Batch(a, b)))
    objects, features = objects_of(a[0]), method.E(b)[0].detach()
    for number in (1, 2):
        inside = torch.from_numpy(objects == number)
        expected = features[:, inside].mean(1)
        torch.testing.assert_close(seen[0][0, 3:, inside], expected[:, None].expand(-1, int(inside.sum())))
    assert torch.equal(seen[0][:, :2], a[:, :2]) and torch.equal(seen[0][:, 2:3], outlines(regions_of_numbers(a[:, -2:])))


def stop_at(step):
    def watch(progress):
        if progress.epoch and progress.done >= step:
            raise KeyboardInterrupt

    return watch


def test_a_run_resumes_translates_evaluates_and_says_what_it_needs(streets, capsys):
    wanted, options = recipe(streets), {"device": "cpu", "save_every": 0.0, "num_previews": 0, "log_every": 1}
    path = diptych.train(wanted, streets / "run", **options)
    with pytest.raises(KeyboardInterrupt):
        diptych.train(wanted, streets / "stopped", watch=stop_at(2), **options)
    again = diptych.train(wanted, streets / "stopped", **options)
    weights = [Snapshot.load(each).generators["a2b"].state_dict() for each in (path, again)]
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    assert Run(streets / "stopped").census().a.instances and Snapshot.load(path).a.instances

    words = [str(path), str(streets / "data/testA"), "--out", str(streets / "out"), "--device", "cpu"]
    with pytest.raises(
        ConfigError, match="was trained with instance maps, and takes them beside label maps; give --instances DIR"
    ):
        translate.main(words)
    assert translate.main([*words, "--instances", str(streets / "objects/test_inst")]) == 0
    made, given = np.asarray(Image.open(streets / "out/1.png")), np.roll(LABELS, TEST_MOVED + 1, 0)
    objects = np.roll(OBJECTS, TEST_MOVED + 1, 0)
    load = Translator.load(path, device="cpu")
    assert np.array_equal(made, load(given, objects))
    assert np.array_equal(made, np.asarray(load(Image.fromarray(given), Image.fromarray(objects))))
    tensors = torch.from_numpy(given)[None, None], objects[None]
    assert np.array_equal(made, load(*tensors)[0].permute(1, 2, 0).numpy())
    assert not np.array_equal(made, load(given, given))  # by its classes alone
    with pytest.raises(ConfigError, match="this model takes instance maps beside label maps; pass instances"):
        load(given)
    with pytest.raises(DataError, match="instances: is 31 x 32, expected 32 x 32 as the label map"):
        load(given, OBJECTS[:, 1:])
    scores = diptych.evaluate(streets / "run", metrics=["l1"], device="cpu", allow_small=True)
    truths = [np.asarray(Image.open(streets / f"data/testB/{i}.png")).astype(float) for i in range(2)]
    outs = [load(np.roll(LABELS, TEST_MOVED + i, 0), np.roll(OBJECTS, TEST_MOVED + i, 0)).astype(float) for i in range(2)]
    expected = np.mean([np.abs(out - truth).mean() / 127.5 for out, truth in zip(outs, truths, strict=True)])
    assert scores.value("l1").value == pytest.approx(expected, abs=1e-6)
    how = {"metrics": ["l1"], "device": "cpu", "allow_small": True}
    elsewhere = diptych.evaluate(path, streets / "data", instances=streets / "objects", **how)
    assert elsewhere.value("l1").value == pytest.approx(expected, abs=1e-6)
    with pytest.raises(DataError, match=r"has no instance map, and this model was trained with such; give --instances DIR"):
        diptych.evaluate(path, streets / "data", **how)
    (streets / "objects/test_inst/1.png").write_bytes((streets / "objects/test_inst/0.png").read_bytes())
    with pytest.raises(ConfigError, match=r"was made with other instance maps"):
        translate.main([*words, "--instances", str(streets / "objects/test_inst")])
    assert Snapshot.load(path).about["recipe"]["data"]["instances"] == "objects"

    (streets / "objects").rename(streets / "moved")
    diptych.train(recipe(streets, instances=str(streets / "moved")), streets / "run", **options)
    kept = json.loads((streets / "run/recipe.json").read_text())["data"]
    assert kept["instances"] == str(streets / "moved")
    assert Run(streets / "run").census().split.a[0].instances == streets / "moved/train_inst/0.tif"
    with pytest.raises(ConfigError, match=r"data\.instances: .*moved -> none"):
        diptych.train(recipe(streets, instances=""), streets / "run", **options)
