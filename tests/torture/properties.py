"""Parsers of what people write, with any words: each gives a value that keeps its promise, or one line."""

import argparse
import csv
import io
import math
import traceback
from itertools import pairwise
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from diptych.cli.sharding import shard
from diptych.cli.study import size
from diptych.cli.translate import UNITS, _memory
from diptych.data.lists import WORDS, read_list
from diptych.errors import ConfigError, DiptychError
from diptych.palette import Palette
from diptych.recipe import Recipe, TrainConfig
from diptych.recipe_files import read_values
from tests.torture.fuzz import FOUND

QUIET = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
FIELDS = [f"--train.{name}" for name in ("lr", "betas", "epochs", "seed", "ema", "accumulate", "decay", "precision")]
FIELDS += ["--data.source", "--data.crop_size", "--data.range", "--data.classes", "--method.ngf", "--method.dropout", "--extra"]

anything = st.text(max_size=30)
number = st.one_of(st.integers().map(str), st.floats().map(str), st.integers(4290, 4400).map("9".__mul__))
colour = st.tuples(*[st.integers(-1, 256)] * 3)
name = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=8)


def parsed(parse, *words):
    """The value, or None where the words are refused in one line, in the way of an option or of the house."""
    try:
        return parse(*words)
    except (DiptychError, argparse.ArgumentTypeError) as error:
        assert len(str(error).splitlines()) <= 1, f"more than a line: {error}"  # noqa: PT017
    return None


def shares(text: str) -> None:
    found = parsed(shard, text)
    assert found is None or 1 <= found[0] <= found[1] == int(text.split("/")[1])


def sizes(text: str) -> None:
    try:
        found = parsed(size, text)
    except ValueError:  # more digits than Python reads, which argparse says
        return
    assert found is None or text == "x".join(map(str, found)) or text.strip("0123456789") != "x" or "0" in text


def memories(text: str) -> None:
    found = parsed(_memory, text)
    assert found is None or (1 <= found < 2**63 and text.strip()[-2:].lower() in {unit.lower() for unit in UNITS})


def overrides(words: tuple[str, str]) -> None:
    """What is taken comes back from the recipe's own text as the same recipe."""
    field, value = words
    recipe = parsed(lambda: Recipe.create("pix2pix", None, [f"{field}={value}"]))
    if recipe is not None:
        assert Recipe.from_dict(recipe.to_dict()) == recipe
        assert all(math.isfinite(each) for each in (recipe.train.lr, *recipe.train.betas, recipe.train.ema))


def recipes(text: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "r.yaml"
        path.write_bytes(text.encode(errors="surrogatepass"))
        values = parsed(read_values, path)
        if values is not None:
            parsed(Recipe.from_dict, values)


def schedules(given: tuple[int, int, str, float, float, list[float]]) -> None:
    """The rate is never negative nor above the one that was asked for, and after the warm-up it never rises."""
    epochs, decay_epochs, decay, rate, warm_up, shares_of = given
    try:
        config = TrainConfig(epochs=epochs, decay_epochs=decay_epochs, decay=decay, lr=rate, warm_up=warm_up)
    except ConfigError:
        return
    times = sorted(share * (epochs + decay_epochs) for share in shares_of)
    rates = [config.lr_at(time) for time in times]
    assert all(0 <= each <= rate for each in rates)
    late = [each for time, each in zip(times, rates, strict=True) if time >= warm_up]
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(late))


def palettes(given: tuple[list, list, str]) -> None:
    """A palette that is accepted is the same when it was saved and loaded."""
    colours, names, suffix = given
    palette = parsed(lambda: Palette(colours, names[: len(colours)]))
    if palette is None:
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"p{suffix}"
        if parsed(lambda: palette.save(path) or True) is None:
            return
        again = Palette.load(path)
    assert (again.colours.tolist(), again.names) == (palette.colours.tolist(), palette.names)


def palette_texts(given: tuple[str, str]) -> None:
    text, suffix = given
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"p{suffix}"
        path.write_bytes(text.encode(errors="surrogatepass"))
        found = parsed(Palette.load, path)
        assert found is None or found.num_classes >= 2


def lists(rows: list[list[str]]) -> None:
    """Every row of a list that is accepted is there once, in its order."""
    with TemporaryDirectory() as folder:
        for place in ("x.png", "y z.png"):
            (Path(folder) / place).write_bytes(b"")
        path, text = Path(folder) / "list.csv", io.StringIO()
        csv.writer(text).writerows(rows)
        path.write_bytes(text.getvalue().encode(errors="surrogatepass"))
        found = parsed(read_list, path)
        if found is None:
            return
        given = [row for row in rows if any(cell.strip() for cell in row) and not row[0].strip().startswith("#")]
        names = [[cell for cell in row if cell.strip().lower() not in WORDS] for row in given]
        read = sum(len(refs) for refs in found.values())
        assert read in (len(names), len(names) - 1)  # a first row of names is a header
        assert all(len(row) in (1, 2) for refs in found.values() for row in refs)


share = st.one_of(anything, st.tuples(number, number).map("/".join))
cell = st.one_of(
    st.sampled_from(["x.png", "y z.png", "train", "val", "Test", "", "~nobody-is-here/x.png", "a\0.png", '"']), anything
)
tree = st.recursive(
    anything, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=3), max_leaves=8
)
PROPERTIES = {
    "shares": (share, shares),
    "sizes": (st.one_of(anything, st.tuples(number, number).map("x".join)), sizes),
    "memories": (st.one_of(anything, st.tuples(number, st.sampled_from([*UNITS, "b", "mb"])).map("".join)), memories),
    "overrides": (st.tuples(st.sampled_from(FIELDS), st.one_of(anything, number, tree.map(str))), overrides),
    "recipes": (
        st.one_of(anything, tree.map(str), tree.map(lambda value: f"method: pix2pix\ntrain: {value}\ndata: {value}")),
        recipes,
    ),
    "schedules": (
        st.tuples(
            st.integers(0, 50), st.integers(0, 50), st.sampled_from(["epoch", "step", "cosine"]), st.floats(0, 1),
            st.floats(0, 9), st.lists(st.floats(0, 1, exclude_max=True), min_size=2),
        ),
        schedules,
    ),
    "palettes": (
        st.tuples(st.lists(colour, max_size=4), st.lists(name, max_size=4), st.sampled_from([".txt", ".json"])),
        palettes,
    ),
    "palette texts": (
        st.tuples(st.one_of(anything, st.lists(st.tuples(number, number, number).map(" ".join)).map("\n".join), tree.map(str)),
                  st.sampled_from([".txt", ".json", ".png"])),
        palette_texts,
    ),
    "lists": (st.lists(st.lists(cell, min_size=1, max_size=4), max_size=5), lists),
}  # fmt: skip


def held(chance: Random, folder: Path, which: str = "", examples: int = 400) -> str | None:
    """Try one parser with many examples, which a seed draws; the smallest that broke its promise is kept whole in a file."""
    which = which or chance.choice(list(PROPERTIES))
    strategy, check = PROPERTIES[which]
    examples = max(1, examples // 10) if which == "overrides" else examples  # a parser of settings takes long to make
    number, broke = chance.randrange(2**31), []

    def checked(example) -> None:
        try:
            check(example)
        except Exception:
            broke.append(example)  # hypothesis tries the smallest last
            raise

    try:
        seed(number)(settings(QUIET, max_examples=examples)(given(strategy)(checked)))()
    except Exception as error:
        FOUND.mkdir(parents=True, exist_ok=True)
        file, smallest = FOUND / f"P1-{which.replace(' ', '-')}-{number}.txt", repr(broke[-1:])
        file.write_text(f"{smallest}\n\n{''.join(traceback.format_exception(error))}", errors="replace")
        return f"{which}: {type(error).__name__}: {str(error)[:300]}: {smallest[:600]} ({file})"
    return None
