"""Build a data set of rolls and sheets from scores, split by composer, without duplicates across splits.

DIR/roll/{train,val,test}/ID.png and DIR/sheet/... hold pages of systems, ready for ``diptych train pix2pix DIR/sheet DIR/roll``.
DIR/notes.jsonl holds the notes of every system, DIR/works.jsonl what came of every score and what was left out by its reason, and
DIR/manifest.json the counts.
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
from diptych.errors import ConfigError, DataError, StorageError
from diptych.files import open_to_append, refuse_links_out, write_atomic
from diptych.music.composers import composer_of, group_by_composer
from diptych.music.dataset import read_lines, to_json
from diptych.music.excerpts import Excerpt, excerpts
from diptych.music.layout import Layout
from diptych.music.near_duplicates import near_duplicates
from diptych.music.notes import CLEFS
from diptych.music.processes import map_in_processes
from diptych.music.score_files import find_scores, tunes
from diptych.schemas import MAPPING, read_json

BACKGROUNDS = {"sheet": 255, "roll": 0}
KINDS = tuple(BACKGROUNDS)
SPLITS = ("test", "val", "train")  # in this order, so that a duplicate stays in the split that is evaluated
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class BuildConfig:
    """Settings of a build.

    Args:
        staves: 1 for single staves, 2 for a piano's two.
        space: pixels per staff space, 4 or 8.
        test: the share of works for test.
        val: the share of works for validation.
        most: the limit on systems of one work, evenly spread; 0 for all.
        seed: chooses the composers of test and validation.
        font: verovio's music font.
        varied: prints each part in a clef, a font, line weights and a size of its own, and a piano's staves as single ones too.
        free: builds for unpaired training: sheets of one half of the training composers, rolls of the other half.
        pairs: with ``free``, the number of works that have both.
        signs: draws rolls of signs, for unpaired training (see diptych.music.sign_rolls), one system a page.
        clef: keeps only systems whose first staff has this clef, or all for ''. The meaning of a clef cannot be learned unpaired.
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
    varied: bool = False
    signs: bool = False

    def __post_init__(self) -> None:
        if self.staves not in (1, 2) or self.space not in (4, 8):
            raise ConfigError(f"staves must be 1 or 2 and space 4 or 8 pixels, found {self.staves} and {self.space}")
        if self.clef not in ("", *CLEFS):
            raise ConfigError(f"clef must be one of {', '.join(CLEFS)}, found {self.clef!r}")
        if self.pairs < 0 or (self.pairs and not self.free):
            raise ConfigError(f"pairs must be 0 or more and needs --free, found {self.pairs}")
        pure = self.test == 1 and not self.val
        if not (self.test >= 0 and self.val >= 0 and (self.test + self.val < 1 or pure)):
            raise ConfigError(
                f"test and val must be shares that leave works for training, or 1 and 0 for a pure test set; found {self.test} "
                f"and {self.val}"
            )

    @property
    def layout(self) -> Layout:
        """The geometry of the pictures."""
        return Layout(self.staves, self.space, self.signs)


@dataclass(frozen=True)
class Work:
    """A score to build: file, unique name, composer, split, the kinds of pictures to keep, and its index among a file's tunes.

    Names of pages begin with ``name`` (for tunes see diptych.music.score_files.tunes).
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
    """Build, or continue a build, and return the manifest.

    ``watch`` is called with the number of works done, of all works, and the name of the last one.

    Raises DataError for sources without scores or where no system can be used. Raises ConfigError where ``out`` holds a build
    with other settings or other scores, since names and splits depend on all scores. Raises StorageError when the disk refuses.
    """
    works = assign_splits(find_scores(list(sources)), config)
    out.mkdir(parents=True, exist_ok=True)
    refuse_links_out((out / kind / work.split for work in works for kind in work.kinds), out)
    later = ("varied", "signs")  # settings that earlier builds do not name
    asked = {name: value for name, value in asdict(config).items() if name not in later or value}
    settings = {"config": asked, "versions": {name: version(name) for name in ("diptych", "verovio", "resvg-py")}}
    _check_same_build(out / "build.json", settings | {"scores": _digest(works)})
    done = {line["work"]: line for line in _lines(out / "works.jsonl")}
    _rewrite(out / "works.jsonl", list(done.values()))  # drops a line that was cut off
    records = [line for line in _lines(out / "notes.jsonl") if line["work"] in done]
    _rewrite(out / "notes.jsonl", records)
    seen = {record["digest"] for record in records}
    waiting = [work for split in SPLITS for work in works if work.split == split and work.name not in done]
    for place, (work, result) in enumerate(map_in_processes(partial(_excerpts_of, config), waiting, max(1, jobs)), len(done) + 1):
        found, left_out = result or ([], Counter({"verovio crashed on it": 1}))
        kept = spread(_new_excerpts(found, seen, left_out), config.most)
        seen.update(each.digest for each in kept)
        _append(out / "notes.jsonl", _write_pages(kept, work, out, config.layout))
        line: dict[str, Any] = {"work": work.name, "source": work.path.name, "composer": work.composer, "split": work.split}
        _append(out / "works.jsonl", [line | {"systems": len(kept), "left_out": dict(left_out)}])
        if watch:
            watch(place, len(works), work.name)
    manifest = settings | summary(_lines(out / "works.jsonl"), _lines(out / "notes.jsonl"))
    manifest["near_duplicates"] = [asdict(pair) for pair in near_duplicates(_lines(out / "notes.jsonl"))]
    write_atomic(out / "manifest.json", json.dumps(manifest, indent=1).encode())
    needed = "test" if config.test == 1 else "train"
    if not manifest["systems"].get(needed):
        what = "testing" if needed == "test" else "training"
        first = next((f" ({name}: {', '.join(why) or 'no measures'})" for name, why in manifest["without_systems"].items()), "")
        raise DataError(f"{out}: no system for {what} could be built{first}; works.jsonl in it counts the reasons")
    return manifest


def assign_splits(paths: Sequence[Path], config: BuildConfig) -> list[Work]:
    """Assign a split to each score; a file of several scores gives several works.

    Composers, in an order that the seed chooses, go to test and validation until these are full. A composer with more than half
    of the works that a split still needs is skipped. A score without a composer counts under its folder's name; spellings of one
    name count as one composer (see group_by_composer). With fewer composers than splits, works are assigned individually.
    """
    works = _works(paths)
    if config.test == 1:
        return [replace(work, split="test") for work in works]
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
    return _unpair(works, people, order, config.pairs) if config.free else works


def _unpair(works: Sequence[Work], people: Mapping[str, str], order: Sequence[str], pairs: int) -> list[Work]:
    """Keep one kind of picture of each training work, alternating by composer, except for ``pairs`` works that keep both."""
    trained = sorted((work for work in works if work.split == "train"), key=lambda work: order.index(people[work.name]))
    both = {work.name for work in trained[:: max(1, len(trained) // max(1, pairs))][:pairs]}
    kind_of = {name: KINDS[place % 2] for place, name in enumerate(dict.fromkeys(people[work.name] for work in trained))}
    return [
        replace(work, kinds=(kind_of[people[work.name]],)) if work.split == "train" and work.name not in both else work
        for work in works
    ]


def _works(paths: Sequence[Path]) -> list[Work]:
    """List every score in these files under a unique name, all of them in the training split."""
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
        return [""]  # counted as unreadable when it is built


def _excerpts_of(config: BuildConfig, work: Work) -> tuple[list[Excerpt], Counter[str]]:
    """Return the systems of one score and counts of what was left out; an unreadable score is one of the reasons."""
    try:
        found, left_out = excerpts(
            work.path, config.layout, config.font, work.tune, f"{config.seed} {work.name}" if config.varied else ""
        )
    except DataError as error:
        return [], Counter({str(error).removeprefix(f"{work.path}: "): 1})
    kept = [each for each in found if config.clef in ("", each.system.clefs[0])]
    return kept, left_out + Counter({"another clef than asked for": len(found) - len(kept)})


def _new_excerpts(found: Iterable[Excerpt], seen: Set[str], left_out: Counter[str]) -> list[Excerpt]:
    """Return the excerpts that no earlier work had, each once."""
    fresh: dict[str, Excerpt] = {}
    for excerpt in found:
        if excerpt.digest in seen or excerpt.digest in fresh:
            left_out["the same system was there before"] += 1
        else:
            fresh[excerpt.digest] = excerpt
    return list(fresh.values())


def spread(items: Sequence[Excerpt], most: int) -> list[Excerpt]:
    """Choose at most ``most`` items, evenly spread; 0 chooses all."""
    if not most or len(items) <= most:
        return list(items)
    return [items[round(k * (len(items) - 1) / max(1, most - 1))] for k in range(most)]


def _write_pages(found: Sequence[Excerpt], work: Work, out: Path, layout: Layout) -> Iterator[dict[str, Any]]:
    """Write the systems of a work as pages and yield the record of each system."""
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
            record |= {"font": each.font}
            yield record | to_json(each.system) | {"held": held}


def page_of(pictures: Sequence[np.ndarray], layout: Layout, background: int) -> np.ndarray:
    """Stack pictures of systems on a square page, (h, w, c)."""
    pictures = [picture.reshape(layout.height, layout.width, -1) for picture in pictures]
    page = np.full((layout.systems_per_page * layout.height, layout.width, pictures[0].shape[2]), background, np.uint8)
    for row, picture in enumerate(pictures):
        page[row * layout.height : (row + 1) * layout.height] = picture
    return page


def summary(works: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return counts by split, and of what was left out by reason."""
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
        "without_systems": {work["work"]: work["left_out"] for work in works if not work["systems"]},
    }


def _digest(works: Sequence[Work]) -> str:
    """Return a hash of the scores, their paths, names and splits."""
    listed = [[str(work.path.resolve()), work.tune, work.name, work.composer, work.split, work.kinds] for work in works]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _check_same_build(path: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a build. Raises ConfigError where the file holds other settings or scores."""
    asked = json.loads(json.dumps(settings))
    held = read_json(path, MAPPING, "build into another --out") if path.exists() else asked
    other = " and ".join(name for name in asked if held.get(name) != asked[name])
    if other:
        raise ConfigError(
            f"{path.parent}: holds a build with other settings (differing: {other}); give the same to continue, or another --out"
        )
    write_atomic(path, json.dumps(settings, indent=1).encode())


def _lines(path: Path) -> list[dict[str, Any]]:
    """Read the complete lines of a file of JSON lines; a missing file has none."""
    return read_lines(path, torn=True) if path.exists() else []


def _append(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    try:
        with open_to_append(path) as file:
            file.write(text)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}); free some space and run the same command, which goes on"
        ) from error


def _rewrite(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(line) + "\n" for line in lines).encode())
