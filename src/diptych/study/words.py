"""What participants read, in each language, from words.yaml."""

from __future__ import annotations

from pathlib import Path

import yaml

from diptych.study.protocol import Protocol

WORDS: dict[str, dict[str, str]] = yaml.safe_load((Path(__file__).parent / "words.yaml").read_text(encoding="utf-8"))
LANGUAGES = {key: words["name"] for key, words in WORDS.items()}


def default_title(protocol: Protocol, language: str = "en") -> str:
    """The heading of a study that has none of its own."""
    return WORDS[language]["title_compare" if protocol.kind == "compare" else "title"]


def default_consent(protocol: Protocol, language: str) -> str:
    """The text to agree to where a study brings none of its own: what the study is for, and what is stored."""
    words = WORDS[language]
    return f"{words['aim_compare' if protocol.kind == 'compare' else 'aim']} {words['consent']}"


def instructions(protocol: Protocol, words: dict[str, str]) -> list[str]:
    """What a participant is to know before the study begins, as paragraphs."""
    seconds = f"{protocol.show_ms / 1000:g}"
    time = words["second" if seconds == "1" else "seconds"].format(n=seconds.replace(".", words["point"]))
    practice = words["practice_compare" if protocol.kind == "compare" else "practice"].format(n=protocol.practice)
    trials = words["trials"].format(n=protocol.trials + protocol.catch)
    above = words["with_input" if protocol.kind == "compare" else f"with_input_{protocol.kind}"]
    length = [*([practice] if protocol.practice else []), trials, words["once"]]
    return [
        words[protocol.kind].format(time=time),
        *([above] if protocol.inputs else []),
        " ".join(length),
        words["look"],
    ]
