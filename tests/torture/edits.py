"""Files of a run, edited: at random, or in ways that people and tools do."""

import copy
import json
from pathlib import Path
from random import Random

import torch

from diptych.data.census import Census
from diptych.recipe import Recipe
from diptych.recorded import Recorded
from diptych.run import Run, read_census, read_stats
from diptych.snapshot import Snapshot
from diptych.training.loop import train
from diptych.training.state_files import read_state
from diptych.training.status import status_of
from diptych.trees import read_tree, write_tree
from tests.torture.tiny import copy_of_run, recipe, trained, tried

DEEP = "[" * 100_000 + "]" * 100_000
VALUES = (None, True, -1, 0, 3, 10**9, 2**64, -(10**30), 1e300, float("nan"), float("inf"), "", "x", "é" * 300, [], {}, [1, [2]])


def places(tree, around=()):
    """Every place in nested dicts and lists, as a path of keys."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*around, key)
        yield from places(value, (*around, key))


def changed(tree, chance: Random):
    """The tree with one place removed, or given another value or the value of another place."""
    tree = copy.copy(tree) if not isinstance(tree, dict | list) else copy.deepcopy(tree)
    *around, last = path = chance.choice(list(places(tree)))
    inside = tree
    for key in around:
        inside = inside[key]
    old = inside[last]
    if chance.random() < 0.25:
        del inside[last]
    elif isinstance(old, torch.Tensor):
        options = [
            torch.zeros(3),
            old.double(),
            old.reshape(-1)[:0],
            torch.full_like(old, float("nan")) if old.is_floating_point() else 5,
        ]
        inside[last] = chance.choice([*options, None, 5])
    else:
        inside[last] = chance.choice(VALUES)
    return tree, ".".join(map(str, path))


def resumed(run: Path) -> None:
    train(recipe(trained()[0]), run, device="cpu", workers=0, num_previews=0, log_every=2)


def edited(chance: Random, folder: Path, kind: str = "") -> str | None:
    kind, run, where = kind or chance.choice(["snapshot", "state", "recipe", "census", "stats", "deep"]), copy_of_run(folder), ""
    if kind in ("snapshot", "state"):
        path = run / "snapshot.safetensors" if kind == "snapshot" else Run(run).states()[0]
        tree, where = changed(read_tree(path), chance)
        write_tree(path, tree)
        readers = [Snapshot.load] if kind == "snapshot" else [lambda _: resumed(run)]
    elif kind == "stats":
        path = run / "stats.jsonl"
        line, where = changed(json.loads(path.read_text().splitlines()[-1]), chance)
        path.write_text(json.dumps(line) + "\n")
        readers = [read_stats, lambda _: status_of(run), lambda _: resumed(run)]
    elif kind == "deep":
        path = run / chance.choice(["recipe.json", "census.json", "files.json", "stats.jsonl"])
        path.write_text(DEEP)
        readers = [lambda _: status_of(run), lambda _: resumed(run)]
    else:
        path = run / f"{kind}.json"
        values, where = changed(json.loads(path.read_text()), chance)
        path.write_text(json.dumps(values))
        readers = [Recorded.read] if kind == "recipe" else [lambda path: Census.from_json(path.read_text())]
        readers += [lambda _: status_of(run), lambda _: resumed(run)]
    try:
        for read in readers:
            tried(read, path)
    except Exception as error:
        return f"{kind} {where}: {type(error).__name__}: {str(error)[:300]}"
    return None


def damaged(chance: Random, folder: Path) -> str | None:
    """A flipped bit, a cut or a swap in the newest state: it is found, and the state before it is loaded."""
    run = Run(copy_of_run(folder))
    newest, older = run.states()
    data = bytearray(newest.read_bytes())
    how = chance.choice(["flip", "cut", "swap"])
    if how == "flip":
        place = chance.randrange(8 * len(data))
        data[place // 8] ^= 1 << place % 8
    elif how == "cut":
        del data[chance.randrange(len(data)) :]
    newest.write_bytes(older.read_bytes() if how == "swap" else data)
    state, problems = run.load_state(read_state)
    if state is None or state["step"] != int(older.stem.removeprefix("state-")) or str(newest) not in problems[0]:
        return f"{how}: {problems}"
    return None


OTHERS = (
    *(("train.lr", 0.1), ("train.seed", 9), ("train.epochs", 5), ("train.batch_size", 2), ("train.ema", 0.9)),
    *(("method.ngf", 4), ("method.ndf", 4), ("method.generator", "unet_6"), ("method.dropout", False), ("method.lambda_l1", 1.5)),
    *(("data.crop_size", 64), ("data.load_size", 40), ("data.direction", "b2a"), ("train.betas", (0.1, 0.9))),
)


def mismatched(chance: Random, folder: Path) -> str | None:
    """Another value of one setting: the run is refused, and the setting is named."""
    run = copy_of_run(folder)
    before = (run / "recipe.json").read_bytes()
    key, value = chance.choice(OTHERS)
    message = tried(lambda: train(recipe(trained()[0]).replace(**{key: value}), run, device="cpu", workers=0))
    if key not in message or (run / "recipe.json").read_bytes() != before:
        return f"{key}: {message or 'was accepted'}"
    return None


def versions(chance: Random, folder: Path) -> str | None:
    """Files as earlier versions wrote them load; a format of the future is refused in a line that says so."""
    run = copy_of_run(folder)
    path = chance.choice([run / "snapshot.safetensors", Run(run).states()[0]])
    tree = read_tree(path)
    read = Snapshot.load if tree["kind"] == "snapshot" else read_state
    if chance.random() < 0.5:
        write_tree(path, tree | {"format": tree["format"] + chance.randrange(1, 9)})
        message = tried(read, path)
        return None if "is newer than this version of diptych understands" in message else message or "loaded a newer format"
    older = {key: value for key, value in tree.items() if key not in ("recipe", "images_sha256", "discriminators", "version")}
    if tree["kind"] == "snapshot":
        names = ("channels", "dtype", "low", "high")
        older |= {side: {name: tree[side][name] for name in names} for side in "ab"} | {"format": 1}
    write_tree(path, older)
    message = tried(read, path) or tried(lambda: Run(run).load_state(read_state) and None)
    assert read_census(run) and Recipe.load(run / "recipe.json")
    return message or None
