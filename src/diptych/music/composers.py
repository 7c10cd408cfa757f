"""Recognise the composer of a work in the many spellings of a name, so that no composer stands on both sides of a split."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping

NOT_A_NAME = re.compile(r"\(.*?\)|\[.*?\]|\b(arr|arranged|comp|composed|music)\b[.:]?\s*(by\b)?|\d")
"""Text that often stands beside a composer's name: years, remarks in brackets, ``arranged by``."""


def composer_of(text: str) -> str:
    """Return the composer that a MusicXML or ABC score names, or an empty string."""
    found = re.search(r'<creator[^>]*type="composer"[^>]*>([^<]+)<', text) or re.search(r"^C:(.+)$", text, re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def composer_key(name: str) -> str:
    """Reduce a composer's name to family name and initial, or to the family name where no given name is there.

    ``Brahms, J.`` and ``Johannes Brahms 1833-1897`` give the same key.
    """
    plain = unicodedata.normalize("NFKD", html.unescape(name).lower()).encode("ascii", "ignore").decode()
    listed = [re.findall(r"\S*[a-z]\S*", part) for part in NOT_A_NAME.sub(" ", plain).split(",")]
    parts = [words for words in listed if words] or [[]]
    family, given = (parts[0], parts[1]) if len(parts) > 1 else (parts[0][-1:], parts[0][:-1])
    return " ".join([*re.findall(r"[a-z]+", " ".join(family)), *re.findall(r"[a-z]", " ".join(given))[:1]]) or name


def group_by_composer(composers: Mapping[str, str]) -> dict[str, str]:
    """Map each work to the key of its composer, given the composer's name as the work states it.

    A family name alone stands for the one composer of that family; where several are known, it counts as a further person.
    """
    people = {work: composer_key(composer) for work, composer in composers.items()}
    families: dict[str, set[str]] = {}
    for each in people.values():
        if each[-2:-1] == " ":
            families.setdefault(each[:-2], set()).add(each)
    for name, each in people.items():
        if each[-2:-1] != " ":
            known = families.get(each, set())
            people[name] = min(known) if len(known) == 1 else f"{each} {each[:1]}"
    return people
