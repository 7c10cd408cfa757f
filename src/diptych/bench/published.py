"""What papers report of methods, which stands in brackets beside a bench's own numbers, and how each number was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from diptych.recipe import Recipe
from diptych.scoring.published import PROTOCOLS, folder_words, way_of


@dataclass(frozen=True)
class Report:
    """An FID that a paper reports of a method: where it stands, and how the network behind it was chosen."""

    fid: float
    source: str
    chosen: str = "how it was chosen is not said"


BEST_EPOCH = "the best epoch by the test images"
TRAINING_SET = "of and against the training set"
KIM, ZHOU, CUT = "Kim et al. 2024", "Zhou et al. 2024, table 2", PROTOCOLS["cut2020"]
REPORTS: dict[tuple[str, str], dict[str, Report]] = {
    ("horse2zebra", "a2b"): {
        "src": Report(34.4, "Jung et al. 2022", f"{BEST_EPOCH}; others measured 45 at the last"),
        "qs": Report(41.1, "Hu et al. 2022"),
        "unsb": Report(35.7, KIM, f"{BEST_EPOCH}; others measured 67 at the last"),
    },
    ("cityscapes", "b2a"): {"unsb": Report(53.2, KIM, BEST_EPOCH)},
    ("summer2winter", "a2b"): {"unsb": Report(73.9, KIM, BEST_EPOCH)},
    ("maps", "b2a"): {"unsb": Report(47.6, KIM, BEST_EPOCH)},
    ("edges2handbags", "a2b"): {"pix2pix": Report(74.8, ZHOU, TRAINING_SET), "bridge": Report(1.83, ZHOU, TRAINING_SET)},
}
"""By data set and direction of that data set, then by method; the table of CUT's paper is added below."""
for task, numbers in CUT.fid.items():
    REPORTS.setdefault(task, {}).update({method.lower(): Report(fid, CUT.source) for method, fid in numbers.items()})
REPORTS["horse2zebra", "a2b"]["cut"] = Report(45.5, CUT.source, "others measured 62 to 68 at the last epoch")
OWN_RECIPES = {"horse2zebra": "cyclegan", "ddbm-edges2handbags": "bridge"}  # published experiments not named SET-METHOD


def reported(name: str, recipe: Recipe, direction: str) -> Report | None:
    """What a paper reports of the method of this name on this data set, which is known by the name of its folder."""
    folders = folder_words(recipe.data.source)
    for (data, way), found in REPORTS.items():
        if data in folders and way == way_of(direction, recipe.data.direction):
            return found.get(OWN_RECIPES.get(name, name.removeprefix(f"{data}-")))
    return None


def footnotes(reports: Mapping[str, Report]) -> str:
    """Where the numbers in brackets come from, by method."""
    of_each = "; ".join(f"{name}: {report.source}, {report.chosen}" for name, report in reports.items())
    return (
        "In brackets: the FID that a paper reports of the method on this data set, with the paper's own image size, length of "
        f"training and test images; it compares with no other column. {of_each}."
    )
