"""What is said of a setting that a recipe does not have: its new name, its right part, whose it is, or the nearest one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from diptych.messages import nearest
from diptych.methods import METHODS, method_config
from diptych.renamed import new_name

LIKE = 0.7  # of names in one part, all of which begin alike


def no_such_setting(unknown: str, known: Sequence[str], method: str) -> str:
    """One line on an unknown setting, such as ``method.num_feature``, of a recipe whose settings are ``known``."""
    if hint := new_name(method, unknown):
        return f"recipe: {hint}"
    part, _, leaf = unknown.rpartition(".")
    elsewhere = [key for key in known if key.rpartition(".")[2].casefold() == leaf.casefold()]
    others = ""
    if not elsewhere and (owners := owners_of(leaf)):
        whose = " and ".join(filter(None, [", ".join(owners[:-1]), owners[-1]]))
        if part in ("", "method"):
            near = [key for key in known if key.startswith(f"method.{leaf}_")] or nearest(
                f"method.{leaf}", known, n=1, cutoff=LIKE
            )
            instead = f"did you mean {' or '.join(near)}?" if near else "leave it out here"
            return f"recipe: no setting is called method.{leaf} in {method}; it is one of {whose}; {instead}"
        others = f" (method.{leaf} is one of {whose})"
    near = (
        elsewhere
        or nearest(unknown, [key for key in known if part and key.startswith(f"{part}.")], n=1, cutoff=LIKE)
        or nearest(unknown, known, n=1, cutoff=0.5)
        or nearest(f"x.{unknown}", [f"x.{key.split('.')[-1]}" for key in known], n=1)
    )
    hint = f"did you mean {near[0].removeprefix('x.')}?" if near else f"known: {', '.join(known)}"
    return f"recipe: no setting is called {unknown}; {hint}{others}"


def owners_of(name: str) -> list[str]:
    """The methods that have a setting of their own of this name."""
    return [method for method in METHODS if name in {field.name for field in fields(method_config(method))}]
