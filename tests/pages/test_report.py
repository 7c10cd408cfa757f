"""The report of a run folder: whole by itself, safe with any names, and there for every folder that holds part of a run."""

import html
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.cli import main
from diptych.data.census import Census, Skipped
from diptych.data.folders import Ref, Split
from diptych.errors import ConfigError
from diptych.evaluation.results import Evaluation, Result
from diptych.metrics.estimate import Estimate
from diptych.pages import charts, report
from diptych.pages.report import write_report
from diptych.pixels import Domain
from diptych.recipe import Recipe
from diptych.trees import write_tree

HOSTILE = '<script>alert("1")</script>&"\'><img src=x onerror=alert(2)>'
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """A page's elements, its visible text, and the proof that every element that opens also closes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        self.text = " ".join(self.text.split())
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        self.text += "" if self.open and self.open[-1] == "style" else f"{data} "

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def picture(path, size=(30, 20), noise=False):
    pixels = (
        np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        if noise
        else np.zeros((*size[::-1], 3), np.uint8)
    )
    Image.fromarray(pixels).save(path)


def stats_line(images, losses=None, **more):
    losses = losses or {"D/real": 0.3, "D/fake": 0.2 + 0.1 / images, "G/l1": 20.0 + 900 / images, "G/gan": 1.0 + images % 7}
    return json.dumps({"step": images, "images": images, "epoch": 1, "lr": 2e-4, "losses": losses, "images_s": 25.0} | more)


def write_stats(folder, until=2000, every=50):
    (folder / "stats.jsonl").write_text("".join(stats_line(n) + "\n" for n in range(every, until + 1, every)))


def write_recipe(folder, **changes):
    settings = {"data": {"source": ["data/facades"]}, "train": {"epochs": 3, "decay_epochs": 2} | changes}
    (folder / "recipe.json").write_text(json.dumps(Recipe.create("pix2pix", settings).to_dict()))


def write_census(folder, num=400, skipped=(), flat=()):
    refs = tuple(Ref(Path(f"data/facades/{i}.png")) for i in range(num))
    census = Census(Split(refs, refs, True), Domain(), Domain(1, "uint16", 0.0, 4095.0), tuple(skipped), tuple(flat))
    (folder / "census.json").write_text(census.to_json())


def write_evaluation(folder, psnr, n=60, note=""):
    """``psnr`` by direction and of whom."""
    found = [
        Result("psnr", direction, of, Estimate(value, value - 0.5, value + 0.5, n), "dB", "higher", "p1", note)
        for direction, values in psnr.items()
        for of, value in values.items()
    ]
    text = json.dumps(Evaluation(tuple(found), {"p1": {"metric": "psnr"}}).to_json())
    (folder / "evaluation.json").write_text(text)


A2B = {"model": 23.9, "mean": 17.8, "copy": 12.4}


@pytest.fixture
def run(tmp_path):
    """A finished run of 5 epochs with every part but the statistics, whose charts take long to draw."""
    write_recipe(tmp_path)
    write_census(tmp_path)
    write_evaluation(tmp_path, {"a2b": A2B})
    for images in (1, 1000, 2000):
        picture(tmp_path / f"preview-{images:09d}.png")
    picture(tmp_path / "test-a2b.png", (60, 40))
    write_tree(
        tmp_path / "snapshot.safetensors", {"kind": "snapshot", "version": "0.1.0", "about": {"images": 2000}, "w": torch.ones(2)}
    )
    about = {"images": 1000, "selection": "lowest lpips on the validation split, 0.2"}
    write_tree(
        tmp_path / "snapshot-best.safetensors", {"kind": "snapshot", "version": "0.1.0", "about": about, "w": torch.ones(2)}
    )
    return tmp_path


@pytest.fixture
def whole(run):
    """A finished run with every part."""
    write_stats(run)
    return run


def test_wide_tables_scroll_by_themselves_on_a_narrow_screen(run):
    (run / "stats.jsonl").write_text(stats_line(100, validation={"lpips": 0.5}) + "\n")
    elements = Page(write_report(run)).elements
    around = [before for (_, before), (tag, _) in pairwise(elements) if tag == "table"]
    labels = [attributes.get("aria-label") for attributes in around if attributes.get("class") == "wide"]
    assert labels == ["Scores, a to b", "Validation scores"]


def test_files_beside_the_page_are_links(whole):
    (whole / "snapshot-best.safetensors").write_bytes((whole / "snapshot.safetensors").read_bytes())
    (whole / "stats.jsonl").write_text(stats_line(100, validation={"lpips": 0.5}) + "\n")
    page = Page(write_report(whole))
    links = [link["href"] for link in page.all("a")]
    assert links == ["evaluation.html", "snapshot-best.safetensors", "snapshot.safetensors"]
    assert not re.search(r"<code>[\w-]+\.(html|safetensors|json)</code>", page.source)


def test_scores_name_their_columns_where_a_narrow_screen_hides_the_row_of_titles(run):
    """The style makes each row a block there; without these words its numbers would have no meaning."""
    page = Page(write_report(run))
    titles = re.findall(r'<th scope="col">([^<]+)</th>', page.source.partition("<tbody>")[0])
    named = [td["data-of"] for td in page.all("td") if "data-of" in td]
    assert titles and named == titles * (len(named) // len(titles))
    narrow = page.source.partition("@media (max-width: 42rem)")[2].partition("\n}\n")[0]
    assert ".scores td::before { content: attr(data-of)" in narrow and ".scores thead { display: none; }" in narrow


def test_validation_is_told_as_last_best_and_mean_of_the_last_five(whole):
    values = [0.9, 0.2, 0.4, 0.5, 0.6, 0.7, float("nan"), 0.8]
    lines = [stats_line(100 * n, validation={"lpips": value}) for n, value in enumerate(values, 1)]
    (whole / "stats.jsonl").write_text("\n".join(lines) + "\n")
    page = Page(write_report(whole))
    assert "lpips 0.8 0.6 0.2 at 200 0.9 at 100" in page.text
    assert "was taken after 1,000 images: lowest lpips on the validation split, 0.2." in page.text
    assert "Validation, lpips" in page.text


def test_what_the_doctor_said_last_is_told(run):
    lines = [stats_line(50, verdicts=["old trouble"]), stats_line(100, verdicts=[f"copy: {HOSTILE}"]), stats_line(150)]
    (run / "stats.jsonl").write_text("\n".join(lines) + "\n")
    page = Page(write_report(run))
    assert "The training doctor found 1 problem" in page.text and HOSTILE in page.text and "old trouble" not in page.text
    (run / "stats.jsonl").write_text("\n".join([*lines, stats_line(200, verdicts=[])]) + "\n")
    assert "The training doctor looked 3 times and found nothing wrong" in Page(write_report(run)).text


def test_a_whole_run_gives_every_section_and_says_that_it_finished(whole):
    page = Page(write_report(whole))
    assert write_report(whole) == whole / "report.html"
    assert "pix2pix on facades" in page.text and "Finished: 2,000 images in 5 epochs." in page.text
    for heading in ("Verdict in numbers", "Test images", "Samples over time", "Curves", "Recipe", "Data", "Versions and files"):
        assert heading in page.text
    assert "400 pairs of images. Nothing was skipped." in page.text and "1 × uint16" in page.text and "0 to 4095" in page.text
    assert "Not everything could be read" not in page.text and "Not in this run folder" not in page.text


def test_the_page_is_self_contained(whole):
    page = Page(write_report(whole))
    names = {name for name, _ in page.elements}
    assert not names & {"script", "iframe", "object", "embed", "form", "base", "audio", "video"}
    for name, attributes in page.elements:
        for key in ("src", "href", "srcset", "xlink:href", "action"):
            address = attributes.get(key, "#")
            beside = name == "a" and "/" not in address and (whole / address).parent == whole  # a file of the run itself
            assert address.startswith(("data:", "#")) or beside, (name, key)
        assert not [key for key in attributes if key.startswith("on")], name
    assert not re.search(r"https?:|//www|@import|url\((?!#)", page.source)
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_every_image_and_chart_has_words_and_every_reference_its_one_target(whole):
    page = Page(write_report(whole))
    assert len(page.all("img")) == 4 and all(image["alt"] and image["width"] and image["height"] for image in page.all("img"))
    drawings = [svg for svg in page.all("svg") if "aria-hidden" not in svg]
    assert len(drawings) == 4 and all(svg["role"] == "img" and "at the end" in svg["aria-label"] for svg in drawings)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page.source)) <= set(ids)


def test_text_and_lines_keep_a_contrast_of_4_5_in_light_and_dark(run):
    def luminance(colour):
        channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    schemes = re.findall(r"--paper: (#\w{6});(.*?)\}", write_report(run).read_text(), re.DOTALL)
    assert len(schemes) == 2
    for paper, rest in schemes:
        tint = re.search(r"--tint: (#\w{6})", rest)[1]
        for name, colour in re.findall(r"--(ink|soft|warn|s\d): (#\w{6})", rest):
            for ground in (paper, tint):
                dark, light = sorted((luminance(ground), luminance(colour)))
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, colour, ground)


def test_hostile_names_are_text(tmp_path):
    write_recipe(tmp_path)
    values = json.loads((tmp_path / "recipe.json").read_text())
    values["data"]["source"] = [HOSTILE]
    (tmp_path / "recipe.json").write_text(json.dumps(values))
    odd = Path("data/\udcff\x1b[31m\n.png")  # bytes that are no text, a terminal's escape, a line break
    write_census(tmp_path, skipped=[Skipped(Path("a.png"), HOSTILE), Skipped(odd, "is no image")], flat=[Path(HOSTILE)])
    (tmp_path / "stats.jsonl").write_text(stats_line(1, {f"G/{HOSTILE}$x_": 1.0, f"{HOSTILE}/y": 2.0}) + "\n")
    picture(tmp_path / 'test-<b>"&.png')
    (tmp_path / "test-<i>.png").write_bytes(b"no image")
    write_evaluation(tmp_path, {"a2b": A2B}, note=HOSTILE)
    page = Page(write_report(tmp_path))
    assert not {name for name, _ in page.elements} & {"script", "b", "i"} and "<script" not in page.source
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert page.text.count('alert("1")') >= 6  # title, recipe, skipped, flat, both charts, score
    assert 'test-<b>"&' in page.text and "test-<i>.png: not an image" in page.text
    assert "\x1b" not in page.source


@pytest.mark.parametrize("part", sorted(report.PARTS))
def test_a_missing_part_is_left_out_and_named(run, part):
    (run / "stats.jsonl").write_text("")
    for file in run.glob(part):
        file.unlink()
    page = Page(write_report(run))
    assert f"Not in this run folder: {part}" in page.text
    assert "Not everything could be read" not in page.text


@pytest.mark.parametrize("part", sorted(report.PARTS))
def test_each_part_alone_gives_a_page(run, tmp_path_factory, part):
    alone = tmp_path_factory.mktemp("alone")
    (run / "stats.jsonl").write_text(stats_line(1, {"G/l1": 1.0}))
    for file in run.glob(part):
        (alone / file.name).write_bytes(file.read_bytes())
    page = Page(write_report(alone))
    assert "Not everything could be read" not in page.text and page.text.count("(") >= len(report.PARTS) - 1


@pytest.mark.parametrize(
    "name", ["recipe.json", "census.json", "evaluation.json", "snapshot.safetensors", "test-a2b.png", "preview-000001000.png"]
)
@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"null", b'{"method": 1, "sides": 2, "model": "x"}', b"\xff\xfe\x00"])
def test_a_damaged_part_is_said_and_the_rest_still_shown(run, name, content):
    (run / name).write_bytes(content)
    page = Page(write_report(run))
    assert "Not everything could be read" in page.text and f"{name}: not" in page.text and "Versions and files" in page.text


def test_what_a_page_cannot_show_is_said_beside_its_path(run, capsys):
    (run / "evaluation.json").write_bytes(b"{")
    assert main(["report", str(run)]) == 0
    out, err = capsys.readouterr()
    assert out.replace("\n", "") == f"{run}/report.html" and err.startswith("warning: evaluation.json: not understood (")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}: holds no run; give the folder of a training")):
        write_report(tmp_path)
    with pytest.raises(ConfigError, match="holds no run"):
        write_report(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


def test_a_torn_last_line_does_not_matter(whole):
    before = write_report(whole).read_bytes()
    with open(whole / "stats.jsonl", "a") as file:
        file.write('{"step": 2050, "images": 20')
    assert write_report(whole).read_bytes() == before


@pytest.mark.parametrize("broken", ["torn{", "[]", "7", '{"images": 1}', '{"images": 1, "losses": 2}', ""])
def test_a_broken_line_in_the_middle_is_said(run, broken):
    lines = [stats_line(images, {"G/l1": 1.0}) for images in (50, 100, 150)]
    (run / "stats.jsonl").write_text("\n".join([*lines[:2], broken, lines[2]]) + "\n")
    assert "stats.jsonl: 1 broken line passed over, the first is line 3" in Page(write_report(run)).text


def test_an_interrupted_run_says_how_far_it_came(run):
    (run / "snapshot.safetensors").unlink()
    (run / "stats.jsonl").write_text(stats_line(500, {"G/l1": 1.0}))
    page = Page(write_report(run))
    assert "Reached step 500 of 2,000, 25% of the way. If it stopped there, the same command goes on." in page.text
    write_recipe(run, batch_size=3)  # 5 epochs of 400 images are 667 steps of 3
    assert "Reached step 166 of 667, 25% of the way." in Page(write_report(run)).text


def test_images_saved_after_the_last_line_of_statistics_count(run):
    (run / "stats.jsonl").write_text(stats_line(500, {"G/l1": 1.0}))
    assert "Finished: 2,000 images" in Page(write_report(run)).text  # as the snapshot says


def test_time_is_that_of_training(whole):
    text = Page(write_report(whole)).text
    assert "Time training 1 min" in text and "Images a second 25" in text  # 2000 images at 25 a second are 80 s
    (whole / "stats.jsonl").write_text("".join(stats_line(n, images_s=0.25) + "\n" for n in (1000, 2000)))
    assert "Time training 2 h 13 min" in Page(write_report(whole)).text


@pytest.mark.parametrize(
    ("psnr", "sentence"),
    [
        ({"a2b": A2B}, "The translator is 6.1 dB above the mean colour and 11.5 dB above the copied input by PSNR; higher is"),
        ({"a2b": {"model": 23.9, "mean": 17.8}}, "The translator is 6.1 dB above the mean colour by PSNR;"),
        ({"a2b": A2B | {"copy": 23.93}}, "6.1 dB above the mean colour and level with the copied input by PSNR;"),
        ({"a2b": A2B | {"mean": 24.9}}, "is 1.0 dB below the mean colour and"),
        ({"a2b": {"model": 23.9}}, "The translator reaches 23.9 dB by PSNR; higher"),
        ({"a2b": A2B | {"copy": float("inf")}}, "The translator is 6.1 dB above the mean colour by PSNR;"),
        ({"a2b": A2B, "b2a": {"model": 9.0, "mean": 8.0}}, "is 1.0 dB above the mean colour by PSNR; higher is better. Over 60"),
    ],
)
def test_the_verdict_says_what_the_numbers_say(run, psnr, sentence):
    write_evaluation(run, psnr)
    page = Page(write_report(run))
    assert sentence in page.text and "23.90 23.40 to 24.40" in page.text
    assert ("b to a" in page.text) == ("b2a" in psnr)


def test_a_metric_that_a_baseline_lacks_leaves_its_cell_empty(run):
    results = [
        Result(metric, "a2b", of, Estimate(0.5, 0.4, 0.6, 60), "", "higher", "p1")
        for metric, of in (("ssim", "model"), ("ssim", "copy"), ("kid", "model"))
    ]
    (run / "evaluation.json").write_text(json.dumps(Evaluation(tuple(results), {"p1": {}}).to_json()))
    page = Page(write_report(run))
    assert "Not everything could be read" not in page.text and "0.5000 0.4000 to 0.6000" in page.text


def test_the_same_folder_gives_the_same_page(whole):
    assert write_report(whole).read_bytes() == write_report(whole).read_bytes()


def test_settings_that_differ_from_the_defaults_are_marked(run):
    source = write_report(run).read_text()
    rows = re.findall(r'<tr( class="lead")?><th scope="row"><code>([\w.]+)', source)
    assert {key for lead, key in rows if lead} == {"data.source", "train.epochs", "train.decay_epochs"}
    assert ("", "train.lr") in rows and ("", "method.lambda_l1") in rows
    assert re.search(r"train\.epochs</code></th><td>3 <small>default 100</small>", source)


def test_a_strangers_method_is_shown_and_not_imported(run, tmp_path, monkeypatch):
    (tmp_path / "stranger.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    values = json.loads((run / "recipe.json").read_text())
    values["method"]["name"] = "stranger:Config"
    (run / "recipe.json").write_text(json.dumps(values))
    page = Page(write_report(run))
    assert (
        "stranger:Config on facades" in page.text
        and "so nothing is marked" in page.text
        and 'class="lead"><th scope="row"><code>' not in page.source
    )


def test_the_recipe_can_be_copied_and_trained_again(run):
    source = write_report(run).read_text()
    code = re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", source, re.DOTALL)
    (run / "recipe.yaml").write_text(html.unescape(code[0]))
    assert Recipe.load(run / "recipe.yaml").to_dict() == json.loads((run / "recipe.json").read_text())
    assert code[1] == "diptych train recipe.yaml"


def test_many_previews_are_thinned_evenly_with_the_first_and_the_newest(run):
    for images in range(2, 62):
        picture(run / f"preview-{images * 50:09d}.png")
    page = Page(write_report(run))
    captions = re.findall(r"<figcaption>([\d,]+) images?", page.source)
    assert len(captions) == report.MAX_IMAGES == 24
    assert captions[0] == "3,050" and captions[1] == "1"  # the newest large, then from the first on
    steps = np.diff([int(caption.replace(",", "")) for caption in captions[1:]])
    assert steps.min() > 0 and steps.max() <= 4 * 50
    assert f"Shown here are 24 of {3 + 60 - 2}, evenly chosen." in page.text


def test_large_images_become_jpeg(run, monkeypatch):
    picture(run / "preview-000002000.png", (200, 150), noise=True)
    monkeypatch.setattr(report, "MAX_IMAGE_BYTES", 50_000)
    page = Page(write_report(run))
    kinds = [image["src"][:16] for image in page.all("img")]
    assert kinds == ["data:image/png;b", *["data:image/jpeg;"] * 3] and "they are JPEG of quality 90" in page.text
    assert (page.all("img")[1]["width"], page.all("img")[1]["height"]) == ("200", "150")


def test_a_long_run_keeps_its_lines_short(run, monkeypatch):
    write_stats(run)

    def longest():
        return max(len(re.findall(r"[ML] ", path)) for path in re.findall(r'<path d="([^"]*)"', write_report(run).read_text()))

    assert longest() > 30
    monkeypatch.setattr(charts, "MAX_POINTS", 30)
    assert 20 < longest() <= 30


def test_charts_are_drawn_in_the_page_s_own_colours(whole):
    source = write_report(whole).read_text()
    for svg in re.findall(r"<svg viewBox=\"0 0 480.*?</svg>", source, re.DOTALL):
        ET.fromstring(svg)
        assert "currentColor" in svg and "var(--s1)" in svg and "font-family" not in svg
        assert not re.search(r"(?:stroke|fill): #", svg)


def test_a_snapshot_is_told_from_another_by_its_digest(run):
    import hashlib

    data = (run / "snapshot.safetensors").read_bytes()
    text = Page(write_report(run)).text
    assert (
        hashlib.sha256(data).hexdigest() in text and f"{len(data):,} bytes, after 2,000 images, written by diptych 0.1.0" in text
    )


def test_many_skipped_images_are_counted_and_some_are_named(run):
    write_census(run, skipped=[Skipped(Path(f"data/{i}.png"), "is no image") for i in range(1200)], flat=[Path("data/flat.png")])
    text = Page(write_report(run)).text
    assert "Skipped: 1,200" in text and "data/49.png: is no image" in text and "data/50.png" not in text
    assert "and 1,150 more, in census.json" in text and "Images of one flat colour: 1 data/flat.png" in text
