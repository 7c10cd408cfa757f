"""The arguments that train, plan and ablate share (RECIPE, DATA, --preset, settings), and the recipe that they mean."""

from __future__ import annotations

import argparse
import logging
import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diptych.errors import ConfigError
from diptych.messages import nearest, show

if TYPE_CHECKING:  # the real import waits until everything that needs no torch is checked
    from diptych.recipe import Recipe

log = logging.getLogger(__name__)
FILES = (".yaml", ".yml", ".json")
PARTS = ("method", "data", "train", "start")
SETTING = re.compile(r"--([a-zA-Z_]+)\.[^=]*")
PAPERS = {  # what papers call what has another name here
    "fastcut": "horse2zebra-fastcut",
    "sincut": "single-image",
    "src": "horse2zebra-src",
    "hdce": "horse2zebra-src",
    "qs-attn": "horse2zebra-qs",
    "qsattn": "horse2zebra-qs",
    "simdcl": "dclgan --method.lambda_similarity 10",
    "uvcgan": "uvcgan2",
    "uvcganv2": "uvcgan2",
    "ddbm": "bridge",
    "bbdm": "bridge --method.bridge brownian",
    "dbim": "bridge",
}
EXTRA = re.compile(r"--extra\+?(=.*)?", re.DOTALL)


def add_recipe(p: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add RECIPE, DATA and --preset to a parser; RECIPE may be left out where it is not ``required``."""
    p.add_argument(
        "recipe",
        metavar="RECIPE",
        nargs=None if required else "?",
        help="what to train: a method (pix2pix, cyclegan, module:Class), a published experiment, or a .yaml/.json file",
    )
    p.add_argument(
        "data",
        metavar="DATA",
        nargs="*",
        default=[],
        help="the images: one folder, two folders (A and B), lists, archives (docs/sets.md), or relief, which is embedded",
    )
    p.add_argument(
        "--method",
        metavar="MODULE:CLASS",
        help="the code that a recipe file names as its method; it is run only if named here too",
    )
    p.add_argument(
        "--preset",
        help="the sizes of a method or experiment: paper, as published at 256 px, or laptop, small for a CPU (default: paper)",
    )


def parse(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse options, words and settings in any order; settings become ``settings``, each as ``--part.name=value``.

    Raises ConfigError for an option that is neither, naming the nearest.
    """
    words, settings = split_settings(argv)
    args, unknown = parser.parse_known_intermixed_args(words)
    for word in unknown:
        name = word.partition("=")[0]
        options = [option for action in parser._actions for option in action.option_strings]
        near = nearest(name, options, n=1, cutoff=0.8)
        hint = f"did you mean {near[0]}?" if near else "settings have two parts, such as --train.epochs 10"
        raise ConfigError(f"no option is called {name}; {hint}; see `{parser.prog} --help`")
    args.settings = settings
    return args


def split_settings(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """A command line without its settings, and the settings as ``--part.name=value``.

    The word after ``--part.name`` is its value, also when it is a negative number. Raises ConfigError when there is none, or for
    a part that recipes do not have.
    """
    words: list[str] = []
    settings: list[str] = []
    left = list(argv)
    while left:
        word = left.pop(0)
        if word == "--":  # what follows are names of folders
            return [*words, word, *left], settings
        found = SETTING.match(word)
        if found is None and not EXTRA.fullmatch(word):
            words.append(word)
            continue
        if found and found[1] not in PARTS:
            near = nearest(found[1], PARTS, n=1)
            hint = f"did you mean --{near[0]}{found[0][len(found[1]) + 2 :]}?" if near else f"parts are {', '.join(PARTS)}"
            raise ConfigError(f"no setting is called {found[0]}; {hint}")
        if "=" not in word:
            if not left or left[0].startswith("--"):
                raise ConfigError(f"{word} needs a value, found {left[0] if left else 'nothing after it'}; write {word} VALUE")
            word = f"{word}={left.pop(0)}"
        settings.append(word)
    return words, settings


def choose_recipe(args: argparse.Namespace) -> Recipe:
    """The recipe that a parsed command line means.

    Names and folders are checked first, which needs no torch. Raises ConfigError and DataError.
    """
    start = {
        name: getattr(args, name) for name in ("weights", "weights_a2b", "weights_b2a", "freeze") if getattr(args, name, None)
    }
    check_files([path for name, path in start.items() if name != "freeze"])
    if getattr(args, "from_run", None) or getattr(args, "more_epochs", None):
        return go_on_from(args, start)
    if args.recipe is None:
        raise ConfigError("the following arguments are required: RECIPE; see `diptych train --help`")
    name, is_file, recipes = args.recipe, args.recipe.endswith(FILES), known_recipes()
    check_name(name, args.data)
    check_preset(args.preset, name, is_file)
    fetch_agreed(args.data, args)
    check_folders(args.data)

    from diptych.data.catalogue import EMBEDDED
    from diptych.presets import preset, with_preset
    from diptych.recipe import Recipe
    from diptych.recipes import named

    if is_file:
        base = Recipe.load(name, code=args.method)
    elif name in recipes:
        base = named(name, recipes)
    else:
        base = Recipe.create(name, preset(args.preset or "paper", name))
    values = base.to_dict()
    if args.preset and name in recipes:
        values = with_preset(values, args.preset, name)
    if args.data:
        values["data"]["source"] = [word if word in EMBEDDED else str(Path(word)) for word in args.data]
    if start:
        values["start"] = values.get("start", {}) | start
    recipe = _understood(values, args.settings)
    if not recipe.data.source:
        raise ConfigError(f"{name}: no data given; name one or two folders, or relief, the embedded data")
    fetch_agreed(recipe.data.source, args)
    check_folders(recipe.data.source)
    return recipe


def recipe_words(args: argparse.Namespace, recipe: str, data: Sequence[str]) -> argparse.Namespace:
    """The words of choose_recipe, for a command whose own --weights are those of metrics and not what networks begin with."""
    return argparse.Namespace(recipe=recipe, data=data, preset=args.preset, method=args.method, settings=args.settings)


def fetch_agreed(sources: Sequence[str], args: argparse.Namespace) -> None:
    """Bring the published data sets among the sources, for a command that has --yes and trains in one process."""
    if getattr(args, "yes", None) is None or args.dry_run or "WORLD_SIZE" in os.environ:
        return
    from diptych.cli.fetch import fetch_missing

    fetch_missing(sources, args.yes)


def go_on_from(args: argparse.Namespace, start: dict[str, Any]) -> Recipe:
    """The recipe of a run that goes on where another one ended; all words of the command line are its data, if there are any."""
    if not args.from_run or not args.more_epochs:
        given, lacking = ("--from RUN", "--more-epochs N") if args.from_run else ("--more-epochs N", "--from RUN")
        raise ConfigError(f"{given} needs {lacking}, as in `diptych train --from runs/x --more-epochs 50`")
    clash = "--preset" if args.preset else next((f"--{name.replace('_', '-')}" for name in start if name != "freeze"), None)
    if clash:
        raise ConfigError(f"{clash}: a run that goes on keeps its own settings and weights; leave it out, or leave --from out")
    data = [word for word in (args.recipe, *args.data) if word]
    if data and not Path(data[0]).exists() and is_name(data[0]):
        raise ConfigError(f"{data[0]}: a run that goes on with --from keeps its method and settings; leave {data[0]} out")
    fetch_agreed(data, args)
    check_folders(data)

    from diptych.data.catalogue import EMBEDDED
    from diptych.training.going_on import continued

    values = continued(args.from_run, args.more_epochs, args.method).to_dict()
    if data:
        values["data"]["source"] = [word if word in EMBEDDED else str(Path(word)) for word in data]
    values["start"] |= start
    args.recipe = str(args.from_run)
    recipe = _understood(values, args.settings)
    check_folders(recipe.data.source)
    return recipe


def _understood(values: dict[str, Any], settings: Sequence[str]) -> Recipe:
    """The recipe with the settings of a command line; those that have no effect in it are named."""
    from diptych.recipe import Recipe
    from diptych.settings import without_effect

    recipe = Recipe.from_dict(values, settings)
    given = dict.fromkeys(word.partition("=")[0].removeprefix("--") for word in settings)
    for line in without_effect(recipe, given):
        log.warning("%s", line)
    return recipe


def check_files(paths: Sequence[str]) -> None:
    """Raise ConfigError for a file or run folder of weights that is not there."""
    from diptych.zoo import resolve

    for path in paths:
        if not resolve(path).exists():
            raise ConfigError(f"{show(path)}: no such file; give a snapshot, a run folder, or weights of another tool")


def known_recipes() -> dict[str, Callable[[], Recipe]]:
    """The published experiments, and the recipes of the applications."""
    from diptych.music.recipes import RECIPES as MUSIC
    from diptych.prepare.recipes import RECIPES as PREPARED
    from diptych.recipes import RECIPES

    return RECIPES | PREPARED | MUSIC


def is_name(word: str) -> bool:
    """Whether a word is the name of a method or of a recipe."""
    from diptych.methods import METHODS

    return word in METHODS or word in known_recipes()


def check_name(name: str, data: Sequence[str] = ()) -> None:
    """Raise ConfigError, naming the nearest, unless RECIPE can be a method, an experiment, a file, or module:Class.

    Where folders were given without a recipe, or before it, the error has the command that was meant.
    """
    from diptych.methods import METHODS

    recipes = known_recipes()
    if is_name(name) or ":" in name:
        return
    if name.endswith(FILES):
        if not Path(name).is_file():
            raise ConfigError(f"{name}: no such file; give a recipe that --dry-run printed, or the name of a method")
        return
    if Path(name).is_dir():
        words = [word for word in data if word in METHODS or word in recipes]
        folders = [name, *(word for word in data if word not in words)]
        meant = " ".join(map(shlex.quote, [words[0] if words else "cyclegan" if len(folders) > 1 else "pix2pix", *folders]))
        why = "without pairs; pix2pix in its place with pairs" if not words and len(folders) > 1 else "the recipe comes first"
        raise ConfigError(f"{show(name)}: is a folder, not a recipe; you may mean `diptych train {show(meant)}` ({why})")
    if Path(name).exists():
        raise ConfigError(
            f"{show(name)}: is no recipe, which is a file that ends in {' or '.join(FILES)}; rename it, or name a method"
        )
    known = [*METHODS, *recipes]
    near = PAPERS.get(name.casefold()) or next(iter(nearest(name, known, n=1)), "")
    hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}, files, and module:Class"
    raise ConfigError(f"no method or recipe is called {name!r}; {hint}")


def check_preset(preset: str | None, recipe: str, is_file: bool) -> None:
    """Raise ConfigError for an unknown preset, naming the nearest, and for any preset beside a file, which says everything."""
    from diptych.presets import PRESETS

    if preset is None:
        return
    if preset not in PRESETS:
        near = nearest(preset, PRESETS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"--preset must be one of {', '.join(PRESETS)}, found {preset!r}{hint}")
    if is_file:
        raise ConfigError(
            f"--preset {preset}: {recipe} holds its own settings; leave --preset out, and change single settings in the file "
            "or with --part.name VALUE"
        )


def check_folders(sources: Sequence[str]) -> None:
    """Raise DataError, naming the nearest, for a folder that is not there; before anything is compared or imported."""
    from diptych.data.listing import is_list, open_folder

    for source in sources:
        if not is_list(source):
            open_folder(source, films=True)
