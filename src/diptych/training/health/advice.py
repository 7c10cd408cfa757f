"""What the training doctor advises: only what would change something in the recipe at hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

OPTION = re.compile(r"--([a-z]+\.\w+)(?: ([\d.]+(?:e-\d+)?|true|[a-z]+_\d|instance|fp32|pixelshuffle)\b)?")
LESS = re.compile(r"\b(lower|smaller)\b")
NOTHING_LEFT = "the settings that usually help have these values already; try another --train.seed, or other data"


@dataclass(frozen=True)
class Advice:
    """Changes of settings as clauses, of which one (``or``) or all (``and``) help; ``last`` is a sentence that always holds."""

    clauses: tuple[str, ...] = ()
    lead: str = ""
    join: Literal["or", "and"] = "or"
    last: str = ""

    def for_settings(self, settings: Mapping[str, Any]) -> str:
        """The advice in words, with the present value of each setting that it names.

        Clauses that would change nothing are left out: a setting that has the value already, is 0 and is to be lowered, or that
        the method does not have.
        """
        left = [clause for clause in self.clauses if _changes(clause, settings)]
        *first, final = left or [""]
        words = f"{', '.join(first)}{', or ' if self.join == 'or' else ' and '}{final}" if first else final
        told = with_values(self.lead + words, settings) if left else ""
        if not told and not self.last:
            told = NOTHING_LEFT
        return "; ".join(filter(None, (told, with_values(self.last, settings))))


def _changes(clause: str, settings: Mapping[str, Any]) -> bool:
    """Whether a clause changes anything; one without a setting always does."""
    named = [(match[1], match[2]) for match in OPTION.finditer(clause)]
    if any(name not in settings for name, _ in named):
        return False
    same = [
        _equal(settings[name], value) if value else bool(LESS.search(clause)) and settings[name] == 0 for name, value in named
    ]
    return not same or not all(same)


def _equal(present: Any, text: str) -> bool:
    try:
        return float(present) == float(text) and not isinstance(present, bool)
    except (TypeError, ValueError):
        return str(present).lower() == text


def with_values(advice: str, settings: Mapping[str, Any]) -> str:
    """Add its present value to each setting that the advice names; a method of the user's own may not have that setting."""

    def told(match: re.Match[str]) -> str:
        name = match[1]
        return f"{match[0]} (now {settings[name]})" if name in settings else match[0]

    return OPTION.sub(told, advice)
