"""Recognise the composer of a work in the many spellings of a name, so that no composer stands on both sides of a split."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping

NOISE = re.compile(r"\(.*?\)|\[.*?\]|\b(arr|arranged|comp|composed|music)\b[.:]?\s*(by\b)?|\d")
"""What stands beside a composer's name."""


def composer_of(text: str) -> str:
    """Who wrote a score, as MusicXML or ABC say it; empty where they don't."""
    found = re.search(r'<creator[^>]*type="composer"[^>]*>([^<]+)<', text) or re.search(r"^C:(.+)$", text, re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def composer_key(name: str) -> str:
    """A composer's family name and initial, the same in ``Brahms, J.`` as in ``Johannes Brahms 1833-1897``; or family alone."""
    plain = unicodedata.normalize("NFKD", html.unescape(name).lower()).encode("ascii", "ignore").decode()
    listed = [re.findall(r"\S*[a-z]\S*", part) for part in NOISE.sub(" ", plain).split(",")]
    parts = [words for words in listed if words] or [[]]
    family, given = (parts[0], parts[1]) if len(parts) > 1 else (parts[0][-1:], parts[0][:-1])
    return " ".join([*re.findall(r"[a-z]+", " ".join(family)), *re.findall(r"[a-z]", " ".join(given))[:1]]) or name


def group_by_composer(composers: Mapping[str, str]) -> dict[str, str]:
    """The person behind each work, by its name: a family name alone is the one person of that family, where there is one."""
    people = {work: composer_key(composer) for work, composer in composers.items()}
    families: dict[str, set[str]] = {}
    for each in people.values():
        if each[-2:-1] == " ":
            families.setdefault(each[:-2], set()).add(each)
    for name, each in people.items():
        if each[-2:-1] != " ":
            known = families.get(each, set())
            people[name] = min(known) if len(known) == 1 else f"{each} {each[:1]}"  # one of its own, with an initial as all have
    return people
