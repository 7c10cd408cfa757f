"""What participants read, in each language, from words.yaml."""

from __future__ import annotations

from pathlib import Path

import yaml

WORDS: dict[str, dict[str, str]] = yaml.safe_load((Path(__file__).parent / "words.yaml").read_text(encoding="utf-8"))
LANGUAGES = {key: words["name"] for key, words in WORDS.items()}
CONSENT = {key: words["consent"] for key, words in WORDS.items()}
