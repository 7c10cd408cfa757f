"""Choose a few training images of each side, evenly, and others to test on. Usage: few.py DATA OUT [TRAIN] [TEST]

DATA has trainA and trainB. OUT gets trainA, trainB, testA and testB with links to TRAIN (150) and TEST (60) of their images, so
that methods can be compared where an epoch of all images would be longer than the budget, or where no test images are at hand.
"""

import sys
from pathlib import Path


def evenly(files: list[Path], number: int) -> list[Path]:
    """So many of the files, spread over all."""
    return [files[index * len(files) // number] for index in range(number)]


def main(data: Path, out: Path, train: int = 150, test: int = 60) -> None:
    for side in "AB":
        files = sorted((data / f"train{side}").iterdir())
        chosen = evenly(files, train)
        others = evenly(sorted(set(files) - set(chosen)), test)
        for split, images in (("train", chosen), ("test", others)):
            folder = out / f"{split}{side}"
            folder.mkdir(parents=True, exist_ok=True)
            for image in images:
                (folder / image.name).unlink(missing_ok=True)
                (folder / image.name).symlink_to(image.resolve())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:5]))
