"""What the variants are scored with: metrics by the data, and a segmenter that is trained first where none is at hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from diptych.ablation.variants import segmenter_recipe
from diptych.data.census import take_census
from diptych.data.datasets import view
from diptych.data.folders import Split, find_data
from diptych.data.labels import label_domains
from diptych.device import pick_device
from diptych.errors import ConfigError
from diptych.evaluation.instruments import Instruments
from diptych.palette import Palette
from diptych.recipe import Recipe
from diptych.scoring.many import TRAINING
from diptych.scoring.tools import MAX_FOR_PALETTE, Side, found_palette, num_colours, refuse_unordered, tools_of
from diptych.sheets import spread
from diptych.training.loop import train
from diptych.training.progress import Watch


def ablation_tools(
    base: Recipe,
    out: Path,
    *,
    labels: Side | None,
    palette: str | None,
    segmenter: str | None,
    weights: Sequence[str],
    paired: bool | None,
    device: str,
    watch: Callable[[str], Watch],
) -> Instruments:
    """The instruments of all trials.

    With a palette and labels, and no segmenter, one is trained in ``out / "segmenter"``: pix2pix from photos to the labels'
    colours, as segmenter_recipe says. A palette that is found in the training images is kept as ``out / "palette.json"``.
    """
    refuse_unordered(palette, segmenter)
    colours = _palette(base, out, palette, labels, paired) if palette else None
    if colours and labels and not segmenter:
        recipe = segmenter_recipe(base, labels)
        segmenter = str(train(recipe, out / "segmenter", device=device, watch=watch("segmenter"), **TRAINING))
    return tools_of(
        (),
        weights=weights,
        labels=labels,
        palette=colours,
        segmenter=segmenter if colours and labels else None,
        cache=False,
        device=str(pick_device(device)),
    )


def _palette(base: Recipe, out: Path, given: str, labels: Side | None, paired: bool | None) -> Palette:
    """The palette of a file, or found in the training images of the labels' side."""
    if (count := num_colours(given)) is None:
        return Palette.load(Path(given))
    if labels is None:
        raise ConfigError(f"--palette {given}: finds label colours, but on which side? add --labels a or b")
    paired = base.method.paired if paired is None else paired
    layout = find_data(base.data.source, paired=paired, layout=base.data.layout, axis=base.data.axis)
    train = base.data.oriented(layout.train)
    labelled = label_domains(train, base.data.labels, base.data.classes)
    census = take_census(train, labels=labelled, fitting=base.data.fit, reading=base.data.reading)
    refs, domain = (census.split.a, census.a) if labels == "a" else (census.split.b, census.b)
    images = (view(ref, domain, base.data)[None] for ref in spread(refs, MAX_FOR_PALETTE))
    palette = found_palette(images, domain, count)
    palette.save(out / "palette.json")
    return palette


def default_metrics(test: Split, tools: Instruments) -> list[str]:
    """FCN-scores where there are labels; then closeness to the truth for pairs, or the distance of the two sets."""
    fcn = ["fcn_pixel", "fcn_class", "fcn_iou"] if tools.palette and tools.labels else []
    lpips = ["lpips_alex"] if tools.at_hand("alexnet") else []
    return fcn + (["psnr", "ssim", *lpips] if test.paired else ["kid"])
