"""What a licence may be called: an identifier of SPDX (https://spdx.org/licenses), an address, or free text that says it is."""

from __future__ import annotations

import re

from diptych.errors import ConfigError
from diptych.messages import nearest

COMMON = (
    *("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-NC-ND-4.0"),
    *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "MPL-2.0", "GPL-3.0-only", "AGPL-3.0-only", "LGPL-3.0-only"),
    *("ODbL-1.0", "ODC-By-1.0", "PDDL-1.0", "CDLA-Permissive-2.0", "OFL-1.1", "Unlicense", "0BSD", "ISC", "WTFPL"),
)
"""The identifiers of SPDX that models and pictures come under, to suggest one."""

ON_THE_HUB = (
    *("other", "unknown", "cc", "bsd", "gpl", "agpl-3.0", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "gfdl", "odbl"),
    *("odc-by", "pddl", "wtfpl", "openrail", "openrail++", "creativeml-openrail-m", "bigscience-openrail-m"),
    *("bigcode-openrail-m", "bigscience-bloom-rail-1.0", "c-uda", "cdla-permissive-1.0", "etalab-2.0", "h-research"),
    *("intel-research", "apple-ascl", "apple-amlr", "lgpl-lr", "openmdw-1.0", "deepfloyd-if-license"),
    *("fair-noncommercial-research-license", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "gemma"),
)
"""What the Hugging Face hub knows besides identifiers of SPDX, which it writes in small letters."""


def licence_of(text: str) -> str:
    """A licence as it is written down: SPDX in its own spelling, perhaps with a remark in parentheses, an address, or free text.

    Free text is given as ``other: TEXT``. Raises ConfigError, naming what is near, for anything else.
    """
    text = text.strip()
    if text.casefold().startswith("other:") and text[6:].strip():
        return text[6:].strip()
    if re.fullmatch(r"https?://[^\s/]+\.\S+", text):
        return text
    expression, remark = text, ""
    if found := re.fullmatch(r"(\S+)( \(.+\))", text):
        expression, remark = found[1], found[2]
    if known := _spdx(expression):
        return known + remark
    near = nearest(expression, COMMON, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "such as CC0-1.0, CC-BY-4.0 or MIT"
    raise ConfigError(
        f"--licence {text!r}: must be an identifier of SPDX ({hint}), https://..., or free text that says so, as 'other: TEXT'"
    )


def licence_on_the_hub(text: str) -> str:
    """A licence as the hub writes it, in small letters. Raises ConfigError, naming what is near, for an unknown one."""
    word = text.strip().casefold()
    if word in ON_THE_HUB or (_spdx(word) and " " not in word):
        return word
    near = nearest(word, [*map(str.casefold, COMMON), *ON_THE_HUB], cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "such as cc0-1.0, cc-by-4.0 or mit"
    raise ConfigError(
        f"--licence {text!r}: must be one word, as the hub writes licences ({hint}); take `other` and write yours into the card"
    )


def _spdx(text: str) -> str:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return ""
