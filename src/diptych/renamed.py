"""Settings that earlier versions called otherwise: recipes written then, in files and in snapshots, load through one table."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

RENAMED: dict[tuple[str, str], str] = {  # (method, old setting) -> new setting; extra.LOSS.SETTING is a setting of added terms
    ("pix2pix", "method.pixel"): "method.pixel_loss.kind",
    ("pix2pix", "method.foreground"): "method.pixel_loss.foreground",
    ("cyclegan", "method.pixel"): "method.pixel_loss.kind",
    ("cyclegan", "method.foreground"): "method.pixel_loss.foreground",
    ("cyclegan", "method.lambda_structure"): "extra.structure.weight",
    ("cyclegan", "method.structure"): "extra.structure.enough",
}
BETWEEN = {"structure": (("fake_b", "real_a"), ("fake_a", "real_b"))}
"""The images that a loss compared when it was a setting of the method and not yet a term of ``extra``."""

WRITTEN = {"source", "direction", "resize", "load_size", "crop_size", "flip"}
"""The settings of data that a recipe has always had when a run wrote it; files that people write have those they need."""
THEN = {"icc": "ignore"}
"""What a setting of data, unknown when a run wrote its recipe, would have been called then."""


def translated(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's dict with the settings' present names. One line of the log names every setting that was translated."""
    changed = {part: dict(given) if isinstance(given, Mapping) else given for part, given in values.items()}
    method = changed.get("method")
    name = method.get("name") if isinstance(method, dict) else method
    found: list[str] = []
    terms: dict[str, dict[str, Any]] = {}
    for (owner, old), new in RENAMED.items():
        part, _, key = old.partition(".")
        if owner != name or not isinstance(changed.get(part), dict) or key not in changed[part]:
            continue
        found.append(f"{old} is now {new}")
        place, group, setting = new.split(".")
        group_settings = terms.setdefault(group, {}) if place == "extra" else changed[place].setdefault(group, {})
        group_settings[setting] = changed[part].pop(key)
    data = changed.get("data")
    if isinstance(data, dict) and data.keys() >= WRITTEN:
        found += [f"data.{setting} is {value}, as it was then" for setting, value in THEN.items() if setting not in data]
        changed["data"] = THEN | data
    if not found:
        return dict(values)
    log.info("recipe of an earlier version: %s", ", ".join(found))
    added = [
        {"loss": loss, "between": list(between)} | settings
        for loss, settings in terms.items()
        if settings.get("weight")  # a weight of 0 was the default and meant no such term
        for between in BETWEEN[loss]
    ]
    return changed | {"extra": [*added, *changed.get("extra", [])]}


def new_name(method: str, setting: str) -> str:
    """A sentence that says what to give in place of a setting of earlier versions; empty for any other setting."""
    new = RENAMED.get((method, setting), "")
    if not new.startswith("extra."):
        return f"{setting} is called {new} now; give --{new}" if new else ""
    _, loss, name = new.split(".")
    weight = "" if name == "weight" else ", weight: 1"
    terms = ", ".join(f"{{loss: {loss}, between: [{x}, {y}]{weight}, {name}: VALUE}}" for x, y in BETWEEN[loss])
    return f"{setting} is now a setting of added losses; give --extra '[{terms}]'"
