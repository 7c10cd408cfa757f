"""diptych fetch: download a published data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.cli import command_parser
from diptych.cli.own_files import out_folder
from diptych.errors import ConfigError
from diptych.messages import nearest

if TYPE_CHECKING:  # the real import waits until wrong words are refused
    from diptych.data.published import Published
    from diptych.recipe import Recipe

EXAMPLES = """\
  diptych fetch                              the data sets, their sizes and their terms; to fetch one is to agree to them
  diptych fetch horse2zebra                  into the cache; then: diptych train horse2zebra
  diptych fetch maps --out data/maps
$DIPTYCH_DATA names another cache, $DIPTYCH_DATA_URL a mirror: https://..., file:///... or http://localhost..."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("fetch", EXAMPLES)
    p.add_argument(
        "name", metavar="NAME", nargs="?", help="the data set, or a recipe that has one; without a name, all sets are listed"
    )
    p.add_argument("--out", type=out_folder, metavar="DIR", help="the folder to unpack into (default: NAME in the cache)")
    return p


def main(argv: Sequence[str]) -> int:
    """Say the terms, fetch, unpack, and print what was found."""
    args = parser().parse_args(argv)
    from diptych.cli.console import console, notes, show_notes
    from diptych.data.published import PUBLISHED, fetched
    from diptych.messages import show

    if not args.name:
        if args.out:
            raise ConfigError("--out: needs the name of a data set; `diptych fetch` alone lists them")
        for each in PUBLISHED.values():
            here = "  (fetched)" if fetched(each.name) else ""
            console.print(f"{each.name:24}{each.shows} ({megabytes(each.size)}){here}", soft_wrap=True)
            console.print(f"{'':24}{each.terms}", soft_wrap=True)
        return 0
    show_notes()
    wanted, recipe = data_set(args.name)
    if recipe:
        notes.print(f"note: the data set of the recipe {recipe} is called {wanted.name}", soft_wrap=True)
    folder = bring(wanted, args.out)
    from diptych.data.folders import find_data  # imports torch, for which the list must not wait

    layout = find_data([folder], paired=wanted.paired)
    splits = {"train": layout.train, "val": layout.val, "test": layout.test}
    counts = ", ".join(f"{name} {split}" for name, split in splits.items() if split)
    console.print(f"{show(folder)}: {wanted.shows}; {counts}", soft_wrap=True)
    method = recipe or ("pix2pix" if wanted.paired else "cyclegan")
    way = f" --data.direction {wanted.direction}" if not recipe and wanted.direction != "a2b" else ""  # a recipe says its own
    console.print(f"next: diptych train {method} {show(folder)}{way}", soft_wrap=True)
    return 0


def data_set(name: str) -> tuple[Published, str]:
    """The published data set of a name, and the recipe that the name means ('' where it is that of a data set).

    Hyphens and underscores are alike. Raises ConfigError, naming the nearest, for other names and for recipes without a
    published data set.
    """
    from diptych.data.published import PUBLISHED

    if name in PUBLISHED:
        return PUBLISHED[name], ""
    from diptych.cli.recipe_options import known_recipes

    recipes, recipe = known_recipes(), name.replace("_", "-")
    if recipe in recipes:
        if not (source := _published_of(recipes[recipe])):
            raise ConfigError(
                f"{name}: this recipe has no published data set to fetch; `diptych fetch` lists those that there are"
            )
        return PUBLISHED[source], recipe
    if name.replace("-", "_") in PUBLISHED:
        return PUBLISHED[name.replace("-", "_")], ""
    near = nearest(name, PUBLISHED, n=1) or nearest(recipe, [known for known in recipes if _published_of(recipes[known])], n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(PUBLISHED)}"
    raise ConfigError(f"no published data set is called {name!r}; {hint}")


def _published_of(recipe: Callable[[], Recipe]) -> str:
    """The published data set that a recipe trains on; '' where there is none."""
    from diptych.data.published import PUBLISHED

    sources = recipe().data.source
    return sources[0] if len(sources) == 1 and sources[0] in PUBLISHED else ""


def bring(wanted: Published, out: Path | None = None) -> Path:
    """Print the terms of a data set and, once the server has answered, its size; fetch it, and return its folder."""
    from diptych.cli.console import bar, console
    from diptych.data.published import fetch

    console.print(f"terms: {wanted.terms}", soft_wrap=True)
    said = False
    with bar("bytes") as progress:
        task = progress.add_task(wanted.name, total=None, note="")

        def watch(done: int, total: int) -> None:
            nonlocal said
            if not said:
                here = f", of which {megabytes(done)} are here" if done else ""
                progress.console.print(f"to download: {megabytes(total)}{here}", soft_wrap=True)
            said = True
            progress.update(task, completed=done, total=total or None)

        return fetch(wanted, out, watch)


def fetch_missing(sources: Sequence[str], yes: bool) -> None:
    """Fetch the published data sets among the sources of a training that are not here, once somebody agreed to their terms.

    ``yes`` agrees; without it, a person at a terminal is asked. Raises ConfigError where nobody agrees.
    """
    from diptych.data.published import PUBLISHED, fetched

    for wanted in [PUBLISHED[name] for name in sources if name in PUBLISHED and not fetched(name) and not Path(name).exists()]:
        if not (yes or agreed(wanted)):
            raise ConfigError(
                f"{wanted.name}: this published data set ({wanted.shows}) is not on this machine; its terms: {wanted.terms}. Add "
                f"--yes to agree and to download it ({megabytes(wanted.size)}), or run `diptych fetch {wanted.name}` first"
            )
        bring(wanted)


def agreed(wanted: Published) -> bool:
    """Whether a person at the terminal answers that the terms of a data set are agreed to; False where there is none."""
    from diptych.cli.console import notes

    if not (sys.stdin.isatty() and notes.is_terminal):
        return False
    notes.print(
        f"{wanted.name} is not on this machine: {wanted.shows}, {megabytes(wanted.size)}. Terms: {wanted.terms}", soft_wrap=True
    )
    notes.print("Download it under these terms? [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def megabytes(size: int) -> str:
    """The size of a data set's archive in words; 0 where it is unknown."""
    return (f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB") if size else "size unknown"
