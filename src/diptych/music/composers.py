"""Recognise the composer of a work in the many spellings of a name, so that no composer stands on both sides of a split."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping

NOT_A_NAME = re.compile(r"\(.*?\)|\[.*?\]|\b(arr|arranged|comp|composed|music)\b[.:]?\s*(by\b)?|\d")
"""Text that often stands beside a composer's name: years, remarks in brackets, ``arranged by``."""

PARTICLES = {"van", "von", "vom", "de", "der", "den", "da", "di", "du", "del", "della", "la", "le", "zu", "af", "v.", "d."}
MIN_SURNAME = 4  # letters of a further given name that may be a family name


def composer_of(text: str) -> str:
    """Return the composer that a MusicXML, MEI or ABC score names, or an empty string."""
    found = re.search(r'<(?:creator|persName)[^>]*(?:type|role)="composer"[^>]*>([^<]+)<', text) or re.search(
        r"^C:(.+)$", text, re.MULTILINE
    )
    return " ".join(found[1].split()) if found else ""


def composer_key(name: str) -> str:
    """Reduce a composer's name to family names and initial, or to the family names where no given name is there.

    ``Brahms, J.`` and ``Johannes Brahms 1833-1897`` give the same key. Particles such as ``van`` are no part of it.
    """
    surnames, initial, _ = _parts(name)
    return " ".join([*surnames, *initial]) or name


def _parts(name: str) -> tuple[list[str], str, set[str]]:
    """Return the family names, the initial of the first given name, and all words that may be a family name of the person.

    The last are the family names and all given names but the first: ``Felix Mendelssohn Bartholdy`` is a Mendelssohn.
    """
    plain = unicodedata.normalize("NFKD", html.unescape(name).lower()).encode("ascii", "ignore").decode()
    plain = NOT_A_NAME.sub(" ", plain).replace(".", ". ")
    listed = [[word for word in re.findall(r"\S*[a-z]\S*", part) if word not in PARTICLES] for part in plain.split(",")]
    parts = [words for words in listed if words] or [[]]
    family, given = (parts[0], parts[1]) if len(parts) > 1 else (parts[0][-1:], parts[0][:-1])
    surnames = re.findall(r"[a-z]+", " ".join(family))
    first, *others = re.findall(r"[a-z]+", " ".join(given)) or [""]
    return surnames, first[:1], {*surnames, *(word for word in others if len(word) >= MIN_SURNAME)}


def group_by_composer(composers: Mapping[str, str]) -> dict[str, str]:
    """Map each work to the key of its composer, given the composer's name as the work states it.

    Two names are one person where they share a family name and the initial of the first given name: ``Felix Mendelssohn`` and
    ``F. Mendelssohn-Bartholdy``. Relatives of one initial count as one person too, since a split must not part a person. A family
    name alone stands for the one composer who has it; where several are known, it counts as a further person.
    """
    names = {name: _parts(name) for name in dict.fromkeys(composers.values())}
    person: dict[str, str] = {}  # a name's representative
    holder: dict[tuple[str, str], str] = {}  # by family name and initial

    def found(name: str) -> str:
        while person[name] != name:
            name = person[name]
        return name

    for name, (_, initial, families) in names.items():
        person[name] = name
        for family in sorted(families) if initial else ():
            other = holder.setdefault((family, initial), name)
            person[found(name)] = found(other)
    for name, (surnames, initial, _) in names.items():
        if not initial and surnames:
            known = {found(other) for (family, _), other in holder.items() if family in surnames}
            person[name] = known.pop() if len(known) == 1 else f"{composer_key(name)}, no given name"
            person.setdefault(person[name], person[name])
    return {work: composer_key(found(name)) if found(name) in names else found(name) for work, name in composers.items()}
