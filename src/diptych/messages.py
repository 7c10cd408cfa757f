"""Paths and foreign texts, made safe to print in a message of one line."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


def show(path: str | Path) -> str:
    """A path as messages and pages print it: one line of valid text, whatever bytes the name is made of."""
    return printable(str(path))


def printable(text: str) -> str:
    """A text in one line of valid Unicode: control characters, line ends and undecodable bytes become escapes."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, what: str) -> str:
    """A number of things in words, such as "1 film" and "2 films"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def were_there(number: int) -> str:
    """How many results were there already, as the end of a sentence; nothing where there were none."""
    return f", {number:,} {'was' if number == 1 else 'were'} there" if number else ""


def nearest(word: str, known: Iterable[str], n: int = 3, cutoff: float = 0.6) -> list[str]:
    """The known words that are most like one that is not known, whatever the case of its letters; the nearest first.

    ``cutoff`` is the least likeness, as difflib measures it from 0 to 1.
    """
    by_case: dict[str, str] = {}
    for each in known:
        by_case.setdefault(each.casefold(), each)
    if word.casefold() in by_case:
        return [by_case[word.casefold()]]
    return [by_case[found] for found in get_close_matches(word.casefold(), by_case, n, cutoff)]
