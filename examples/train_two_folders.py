"""Train CycleGAN between two folders of images of any names and sizes, then look at one translation.

    python examples/train_two_folders.py horses/ zebras/ runs/horses
The same command goes on where an interrupted training stopped.
"""

import argparse
from pathlib import Path

from diptych import Recipe, Translator, train
from diptych.data.formats import read_pixels, write_pixels
from diptych.data.listing import find_images
from diptych.training.progress import Progress


def show(step: Progress) -> None:
    """One line whenever losses are logged."""
    if step.losses is not None:
        terms = "  ".join(f"{name} {value:.3f}" for name, value in step.losses.items())
        print(f"{step.done}/{step.total}  {step.images_s:.1f} images/s  {terms}")


def main() -> None:
    """Train with the published settings, but for the ones named here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", type=Path, help="folder of images of A")
    parser.add_argument("b", type=Path, help="folder of images of B")
    parser.add_argument("out", type=Path, help="run folder")
    args, settings = parser.parse_known_args()  # settings such as --train.epochs 10 override what stands below

    recipe = Recipe.create(
        "cyclegan",
        {
            "data": {"source": [str(args.a), str(args.b)], "load_size": 143, "crop_size": 128},
            "method": {"generator": "resnet_6", "ngf": 32},
            "train": {"epochs": 50, "decay_epochs": 50},
        },
        settings,
    )
    snapshot = train(recipe, args.out, watch=show)

    translate = Translator.load(snapshot, "a2b")
    first = read_pixels(find_images(args.a)[0])
    write_pixels(args.out / "first.png", translate.pixels(first))
    print(f"{snapshot} and {args.out / 'first.png'}")


if __name__ == "__main__":
    main()
