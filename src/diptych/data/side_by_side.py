"""Whether the images of one folder can be pairs A|B side by side, or are one set whose other folder was forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.data.splits import Ref
from diptych.errors import DataError
from diptych.messages import show

ASPECT = 1.9  # width / height; two square images side by side have 2
SHARE = 0.9  # of the images that are looked at
LOOKED_AT = 20  # images, evenly spread over the folder


def refuse_single_images(refs: Sequence[Ref]) -> None:
    """Raise DataError unless nearly all images are at least nearly twice as wide as high, as two side by side are.

    Otherwise every photograph would be cut in halves, and the left one trained to become the right one. Images that cannot be
    read say nothing here; the census names them.
    """
    step = -(-len(refs) // LOOKED_AT)
    wide, narrow = 0, ""
    looked_at = refs[::step]
    for ref in looked_at:
        try:
            height, width = Ref(ref.path).read().shape[:2]
        except DataError:
            wide += 1
            continue
        wide += width >= ASPECT * height
        narrow = narrow or ("" if width >= ASPECT * height else f"{show(ref.path.name)} is {width} x {height}")
    if wide < SHARE * len(looked_at):
        raise DataError(
            f"{show(refs[0].path.parent)}: is a single folder of images that are not A|B side by side: {narrow}, and "
            f"{wide} of {len(looked_at)} looked at are at least {ASPECT} times as wide as high; give two folders, A and B, "
            "or --data.layout side_by_side if each image holds both"
        )
