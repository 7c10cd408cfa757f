"""Count the files of a folder that are no images that can be read, so that none of them vanishes without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from diptych.data.archives import split_archive
from diptych.data.film_names import is_film
from diptych.data.foreign_kinds import SUFFIXES as KNOWN
from diptych.data.formats import SUFFIXES
from diptych.data.listing import is_list, open_folder, suffix_of, walk
from diptych.data.volumes import is_volume
from diptych.messages import show

BESIDE = frozenset(  # what lies beside images and is never taken for one
    [
        ".txt",
        ".md",
        ".rst",
        ".json",
        ".jsonl",
        ".csv",
        ".tsv",
        ".xml",
        ".yaml",
        ".yml",
        ".toml",
        ".ini",
        ".log",
        ".html",
        ".css",
        ".js",
        ".py",
        ".sh",
        ".url",
        ".db",
        ".lock",
        ".cache",
        ".tfw",
        ".jgw",
        ".pgw",
        ".wld",
        ".prj",
        ".ovr",
        ".aux",
        ".pal",
        ".sha256",
        ".md5",
        ".safetensors",
        ".pt",
        ".pth",
        ".gitignore",
        ".license",
    ]
)

Use = Literal["training", "translating", "study"]
FILMS: dict[Use, str] = {
    "training": "films beside images are left out; to train with a film, give the film itself: {film}",
    "translating": "films are not translated with the images beside them; name them: {all}",
    "study": "a film; extract its frames as PNG",
}
"""What to do about films that are passed over, by what the images are used for."""


def passed_over(sources: Sequence[str | Path], films: Collection[Path] = (), use: Use = "training") -> str:
    """Name the suffixes that are passed over in folders, with how many files have each; empty where there are none.

    ``films`` are those whose frames are read. ``use`` is what the images are for, which decides what to do about other films.
    """
    counts: Counter[str] = Counter()
    known = dict(KNOWN)
    for source in dict.fromkeys(str(source) for source in sources if not is_list(source)):
        for path in walk(open_folder(source, films=True)):
            suffix = suffix_of(path)
            read = suffix in SUFFIXES or is_volume(path) or Path(path) in films
            if suffix and suffix not in BESIDE and not read:
                if is_film(path) and not counts[suffix]:
                    known[suffix] = _film_advice(Path(path), use)
                counts[suffix] += 1
    return ", ".join(
        f"{count:,} x {show(suffix)}" + (f" ({known[suffix]})" if suffix in known else "")
        for suffix, count in counts.most_common()
    )


def _film_advice(film: Path, use: Use) -> str:
    if split_archive(film):
        return "a film in an archive, where it cannot be read; unpack it"
    return FILMS[use].format(film=show(film), all=f"{show(film.parent)}/*{show(film.suffix)}")
