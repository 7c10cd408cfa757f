"""A part of a built folder: training pages of a few works, evenly spread over all; validation and test stay as they are.

python few.py BUILT OUT WORKS
"""

import os
import sys
from pathlib import Path


def main(built, out, works):
    pages = sorted((built / "sheet/train").glob("*.png"))
    names = sorted({page.name.split("-")[0] for page in pages})
    chosen = {names[int(k * len(names) / works)] for k in range(works)}
    for kind in ("sheet", "roll"):
        (out / kind / "train").mkdir(parents=True)
        for page in pages:
            if page.name.split("-")[0] in chosen:
                os.link(built / kind / "train" / page.name, out / kind / "train" / page.name)
    print(f"{works} works, {len(list((out / 'sheet/train').iterdir()))} pages")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
