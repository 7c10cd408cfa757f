"""Count the files of a folder that are no images that can be read, so that none of them vanishes without a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

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


def passed_over(sources: Sequence[str | Path], films: Collection[Path] = ()) -> str:
    """Name the suffixes that are passed over in folders, with how many files have each; empty where there are none.

    ``films`` are those whose frames are read.
    """
    counts: Counter[str] = Counter()
    for source in dict.fromkeys(str(source) for source in sources if not is_list(source)):
        for path in walk(open_folder(source, films=True)):
            suffix = suffix_of(path)
            read = suffix in SUFFIXES or is_volume(path) or Path(path) in films
            if suffix and suffix not in BESIDE and not read:
                counts[suffix] += 1
    return ", ".join(
        f"{count:,} x {show(suffix)}" + (f" ({KNOWN[suffix]})" if suffix in KNOWN else "")
        for suffix, count in counts.most_common()
    )
