"""Paths and foreign texts, made safe to print in a message of one line."""

from __future__ import annotations

from pathlib import Path


def show(path: str | Path) -> str:
    """A path as messages and pages print it: one line of valid text, whatever bytes the name is made of."""
    return printable(str(path))


def printable(text: str) -> str:
    """A text in one line of valid Unicode: control characters, line ends and undecodable bytes become escapes."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
