"""Images that any tool made, as a subject to score: folders of outputs, truth and inputs, joined by file name."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from diptych.data.census import Census, take_census
from diptych.data.listing import images_by_stem, open_folder
from diptych.data.splits import Half, Ref, Split
from diptych.errors import DataError
from diptych.evaluation.subject import Subject
from diptych.messages import show
from diptych.pixels import Domain

log = logging.getLogger(__name__)
FAINT = 4  # outputs that use less than a quarter of the truth's range may have another scale


def outputs_subject(
    outputs: str | Path,
    truth: str | Path,
    inputs: str | Path | None = None,
    *,
    paired: bool = True,
    truth_half: Half = "whole",
    on_progress: Callable[[int, int], None] | None = None,
) -> Subject:
    """The images of folders, at their own sizes: outputs, and the truth and the inputs of the same stems.

    When not ``paired``, ``truth`` holds any real images. ``truth_half`` takes that half of side-by-side images as the truth, and
    the other half as the input where none is given. Outputs have the scale of the truth, whose range is measured where it is not
    8-bit; outputs of 8 bits beside a truth of 16 fill that range, and the log says so.

    Raises DataError, naming folders and files, when a folder is missing or empty, two of them are one, images have no partner
    or cannot be read, the sizes of a pair differ, or outputs and truth have different scales.
    """
    folders = {"outputs": open_folder(outputs), "truth": open_folder(truth)}
    folders |= {"inputs": open_folder(inputs)} if inputs is not None else {}
    _refuse_same_folders(folders)
    by_stem = {what: images_by_stem(folder) for what, folder in folders.items()}
    stems = list(by_stem["outputs"])
    for other in by_stem.keys() - {"outputs"} - (set() if paired else {"truth"}):
        _refuse_partnerless(folders, by_stem, other)
    made = tuple(Ref(by_stem["outputs"][stem]) for stem in stems)
    real = tuple(Ref(by_stem["truth"][stem], truth_half) for stem in (stems if paired else by_stem["truth"]))
    given = tuple(Ref(by_stem["inputs"][stem]) for stem in stems) if inputs is not None else ()
    if paired and not given and truth_half != "whole":
        given = tuple(Ref(ref.path, "left" if truth_half == "right" else "right") for ref in real)
    census = take_census(Split(made, real, paired), strict=True, on_progress=on_progress)
    _compare_scales(folders, census)
    source = take_census(Split(given, real, False), strict=True).a if given else Domain()
    return Subject("a2b", source, census.b, given, real, paired, outputs=made)


def _compare_scales(folders: dict[str, Path], census: Census) -> None:
    """Say how outputs are brought to the scale of the truth, and refuse what would be clipped to it."""
    made, real = census.a, census.b
    found = ", ".join(
        f"{what} {domain.dtype} of {domain.low:g} to {domain.high:g}" for what, domain in (("outputs", made), ("truth", real))
    )
    if made.dtype != real.dtype:
        log.warning("%s: %s; the outputs are scaled to the range of the truth", show(folders["outputs"]), found)
        return
    width = real.high - real.low
    if made.dtype != "uint8" and (made.high > real.high + width or made.low < real.low - width):
        raise DataError(
            f"{show(folders['outputs'])}: {found}, which are two scales; bring both to one, such as 0 to 4095 for 12 bits"
        )
    if made.dtype != "uint8" and FAINT * (made.high - made.low) < width:
        log.warning("%s: %s; is this one scale? the outputs use little of it", show(folders["outputs"]), found)


def _refuse_same_folders(folders: dict[str, Path]) -> None:
    names = list(folders)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            if os.path.samefile(folders[one], folders[other]):
                raise DataError(f"{show(folders[one])}: is given as {one} and as {other}; give two different folders")


def _refuse_partnerless(folders: dict[str, Path], by_stem: dict[str, dict[str, Path]], other: str) -> None:
    alone = [path for stem, path in by_stem["outputs"].items() if stem not in by_stem[other]]
    lonely = [path for stem, path in by_stem[other].items() if stem not in by_stem["outputs"]]
    if not alone and not lonely:
        return
    where = f"{show(folders['outputs'])} and {show(folders[other])}"
    counts = f"{len(by_stem['outputs'])} and {len(by_stem[other])} images"
    examples = ", ".join(show(path.name) for path in [*alone[:2], *lonely[:2]])
    way_out = ", or --unpaired to compare the two sets as wholes" if other == "truth" else ""
    raise DataError(
        f"{where}: {counts}, {len(alone) + len(lonely)} without a partner of the same stem, such as {examples}; "
        f"give the two of a pair one name{way_out}"
    )
