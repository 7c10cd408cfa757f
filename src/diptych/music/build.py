"""Build a data set of rolls and sheets from scores: split by composer, no system on both sides, everything left out counted.

DIR/roll/{train,val,test}/ID.png and DIR/sheet/... hold pages of systems, which ``diptych train pix2pix DIR/sheet DIR/roll`` takes
as they are; DIR/notes.jsonl the notes of every system, DIR/works.jsonl what became of every score, DIR/manifest.json the counts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.formats import write_pixels
from diptych.errors import ConfigError, DataError
from diptych.files import write_atomic
from diptych.music.composers import composer_of, group_by_composer
from diptych.music.dataset import to_json
from diptych.music.excerpts import Excerpt, excerpts
from diptych.music.layout import Layout
from diptych.music.notes import CLEFS
from diptych.music.processes import map_in_processes
from diptych.music.score_files import find_scores, tunes

BACKGROUNDS = {"sheet": 255, "roll": 0}
KINDS = tuple(BACKGROUNDS)
SPLITS = ("test", "val", "train")  # in this order, so that a system that comes twice stays where it is scored
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class BuildConfig:
    """What is built: one staff or a piano's two at so many pixels a staff space, and the share of works for test and validation.

    ``most`` limits the systems of one work, evenly spread, 0 for all. ``seed`` chooses the composers of test and validation.
    ``free`` is for unpaired training: sheets of half of the training's composers, rolls of the other half, and both only of
    ``pairs`` works. ``clef`` keeps only systems whose first staff has it, all for the empty name: what a clef means cannot be
    learned without pairs.
    """

    staves: int = 1
    space: int = 4
    test: float = 0.15
    val: float = 0.05
    most: int = 0
    seed: int = 0
    font: str = "Leipzig"
    free: bool = False
    pairs: int = 0
    clef: str = ""

    def __post_init__(self) -> None:
        if self.staves not in (1, 2) or self.space not in (4, 8):
            raise ConfigError(f"a layout has 1 or 2 staves and 4 or 8 pixels a space, found {self.staves} and {self.space}")
        if self.clef not in ("", *CLEFS):
            raise ConfigError(f"clef must be one of {', '.join(CLEFS)}, found {self.clef!r}")
        if self.pairs < 0 or (self.pairs and not self.free):
            raise ConfigError(f"pairs is the number of works of a free build that are on both sides, found {self.pairs}")
        if not (self.test >= 0 and self.val >= 0 and self.test + self.val < 1):
            raise ConfigError(f"test and val are shares of the works that leave some to train, found {self.test} and {self.val}")

    @property
    def layout(self) -> Layout:
        """Its geometry."""
        return Layout(self.staves, self.space)


@dataclass(frozen=True)
class Work:
    """A score, who wrote it, the split its composer is in, and the pictures that are kept; ``name`` begins their names.

    ``tune`` is its place in a file of several (see diptych.music.score_files.tunes).
    """

    path: Path
    name: str
    composer: str
    split: str
    kinds: tuple[str, ...] = KINDS
    tune: int = 0


def build(
    sources: Sequence[str], out: Path, config: BuildConfig, *, jobs: int = 2, watch: Progress | None = None
) -> dict[str, Any]:
    """Build or go on building; returns the manifest. ``watch`` hears of works done, works in all, and the last one's name.

    Raises DataError for sources without scores or when nothing could be used, ConfigError when ``out`` holds another build: of
    other settings, or of other scores, since what a work is named and where it stands depends on all of them.
    """
    works = assign_splits(find_scores(list(sources)), config)
    out.mkdir(parents=True, exist_ok=True)
    settings = {"config": asdict(config), "versions": {name: version(name) for name in ("diptych", "verovio", "resvg-py")}}
    _check(out / "build.json", settings | {"scores": _digest(works)})
    done = {line["work"]: line for line in _lines(out / "works.jsonl")}
    _rewrite(out / "works.jsonl", list(done.values()))  # without a line that was torn
    records = [line for line in _lines(out / "notes.jsonl") if line["work"] in done]
    _rewrite(out / "notes.jsonl", records)
    seen = {record["digest"] for record in records}
    waiting = [work for split in SPLITS for work in works if work.split == split and work.name not in done]
    with open(out / "notes.jsonl", "a") as notes, open(out / "works.jsonl", "a") as finished:
        for place, (work, result) in enumerate(map_in_processes(partial(_one, config), waiting, max(1, jobs)), len(done) + 1):
            found, left_out = result or ([], Counter({"verovio crashed on it": 1}))
            kept = spread(_unseen(found, seen, left_out), config.most)
            seen.update(each.digest for each in kept)
            for record in _write_pages(kept, work, out, config.layout):
                notes.write(json.dumps(record) + "\n")
            notes.flush()
            line: dict[str, Any] = {"work": work.name, "source": work.path.name, "composer": work.composer, "split": work.split}
            line |= {"systems": len(kept), "left_out": dict(left_out)}
            finished.write(json.dumps(line) + "\n")
            finished.flush()
            if watch:
                watch(place, len(works), work.name)
    manifest = settings | summary(_lines(out / "works.jsonl"), _lines(out / "notes.jsonl"))
    write_atomic(out / "manifest.json", json.dumps(manifest, indent=1).encode())
    if not manifest["systems"].get("train"):
        raise DataError(f"{out}: nothing to train on could be built; works.jsonl in it says why, measure by measure")
    return manifest


def assign_splits(paths: Sequence[Path], config: BuildConfig) -> list[Work]:
    """Each score with its split: composers, in an order that the seed chooses, go to test and validation until these are full.

    Of a file of several scores, each is a work.

    A composer of more than half of what a split still needs is passed over. A score that names none counts as its folder's; a
    composer is one person in all spellings that `person` sees through. Where there are fewer composers than splits, works are
    assigned each by itself.
    """
    works = _works(paths)
    people = group_by_composer({work.name: work.composer for work in works})
    if len(set(people.values())) < len(SPLITS):
        people = {work.name: work.name for work in works}
    counts = Counter(people.values())
    order = sorted(counts, key=lambda name: hashlib.sha256(f"{config.seed} {name}".encode()).hexdigest())
    split_of: dict[str, str] = {}
    for split, share in (("test", config.test), ("val", config.val)):
        room = share * len(works)
        for name in order:
            if name not in split_of and counts[name] <= max(room / 2, 1) and room >= 0.5:
                split_of[name] = split
                room -= counts[name]
    works = [replace(work, split=split_of.get(people[work.name], "train")) for work in works]
    return _freed(works, people, order, config.pairs) if config.free else works


def _freed(works: Sequence[Work], people: Mapping[str, str], order: Sequence[str], pairs: int) -> list[Work]:
    """Training's works with one kind of picture each, alternating by composer, but for so many works with both."""
    trained = sorted((work for work in works if work.split == "train"), key=lambda work: order.index(people[work.name]))
    both = {work.name for work in trained[:: max(1, len(trained) // max(1, pairs))][:pairs]}
    kind_of = {name: KINDS[place % 2] for place, name in enumerate(dict.fromkeys(people[work.name] for work in trained))}
    return [
        replace(work, kinds=(kind_of[people[work.name]],)) if work.split == "train" and work.name not in both else work
        for work in works
    ]


def _works(paths: Sequence[Path]) -> list[Work]:
    """Every score in these files, under a name that no other has; all are in training yet."""
    works: list[Work] = []
    taken: set[str] = set()
    for path in paths:
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", path.stem)[:60] or "score"
        texts = _texts(path)
        for tune, text in enumerate(texts):
            base = stem if len(texts) == 1 else f"{stem}-{tune + 1}"
            name = next(n for k in count() if (n := f"{base}-{k}" if k else base) not in taken)
            taken.add(name)
            works.append(Work(path, name, composer_of(text) or path.parent.name, "train", tune=tune))
    return works


def _texts(path: Path) -> list[str]:
    try:
        return tunes(path)
    except DataError:
        return [""]  # it is counted as unreadable when its turn comes


def _one(config: BuildConfig, work: Work) -> tuple[list[Excerpt], Counter[str]]:
    """The systems of one score; a score that cannot be read is one reason among the others."""
    try:
        found, left_out = excerpts(work.path, config.layout, config.font, work.tune)
    except DataError as error:
        return [], Counter({str(error).removeprefix(f"{work.path}: "): 1})
    kept = [each for each in found if config.clef in ("", each.system.clefs[0])]
    return kept, left_out + Counter({"another clef than asked for": len(found) - len(kept)})


def _unseen(found: Iterable[Excerpt], seen: Set[str], left_out: Counter[str]) -> list[Excerpt]:
    """Those that no work before had, each once."""
    fresh: dict[str, Excerpt] = {}
    for excerpt in found:
        if excerpt.digest in seen or excerpt.digest in fresh:
            left_out["the same system was there before"] += 1
        else:
            fresh[excerpt.digest] = excerpt
    return list(fresh.values())


def spread(items: Sequence[Excerpt], most: int) -> list[Excerpt]:
    """At most so many, evenly spread; all for 0."""
    if not most or len(items) <= most:
        return list(items)
    return [items[round(k * (len(items) - 1) / max(1, most - 1))] for k in range(most)]


def _write_pages(found: Sequence[Excerpt], work: Work, out: Path, layout: Layout) -> Iterator[dict[str, Any]]:
    """Write a work's systems as pages, one below the other; yields the record of each system."""
    for page, first in enumerate(range(0, len(found), layout.systems_per_page)):
        systems = found[first : first + layout.systems_per_page]
        name = f"{work.name}-{page:03d}.png"
        for kind in work.kinds:
            pictures = [getattr(each, kind) for each in systems]
            folder = out / kind / work.split
            folder.mkdir(parents=True, exist_ok=True)
            write_pixels(folder / name, page_of(pictures, layout, BACKGROUNDS[kind]))
        for row, each in enumerate(systems):
            record = {"id": f"{work.name}-{page:03d}-{row}", "page": name, "row": row, "split": work.split, "work": work.name}
            record |= {"composer": work.composer, "part": each.part, "measure": each.measure, "digest": each.digest}
            held = [[str(onset), staff, step] for onset, staff, step in each.held]
            yield record | to_json(each.system) | {"held": held}


def page_of(pictures: Sequence[np.ndarray], layout: Layout, background: int) -> np.ndarray:
    """Pictures of systems one below the other on a square page, (h, w, c)."""
    pictures = [picture.reshape(layout.height, layout.width, -1) for picture in pictures]
    page = np.full((layout.systems_per_page * layout.height, layout.width, pictures[0].shape[2]), background, np.uint8)
    for row, picture in enumerate(pictures):
        page[row * layout.height : (row + 1) * layout.height] = picture
    return page


def summary(works: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts by split, and what was left out by reason."""
    left_out: Counter[str] = Counter()
    for work in works:
        left_out.update(work["left_out"])
    return {
        "works": dict(Counter(work["split"] for work in works)),
        "works_used": dict(Counter(work["split"] for work in works if work["systems"])),
        "systems": dict(Counter(record["split"] for record in records)),
        "measures": sum(len(record["measures"]) for record in records),
        "notes": sum(len(record["notes"]) for record in records),
        "left_out": dict(left_out.most_common()),
    }


def _digest(works: Sequence[Work]) -> str:
    """The same for the same scores in the same place, named and split alike."""
    listed = [[str(work.path.resolve()), work.tune, work.name, work.composer, work.split, work.kinds] for work in works]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _check(path: Path, settings: dict[str, Any]) -> None:
    """Refuse to go on with a build of other settings or scores."""
    asked = json.loads(json.dumps(settings))
    held = json.loads(path.read_text()) if path.exists() else asked
    other = " and ".join(name for name in asked if held.get(name) != asked[name])
    if other:
        raise ConfigError(
            f"{path.parent}: holds a build of other settings (not the same {other}); give the same to go on, or another --out"
        )
    write_atomic(path, json.dumps(settings, indent=1).encode())


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of JSON lines; none when it is not there."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _rewrite(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
