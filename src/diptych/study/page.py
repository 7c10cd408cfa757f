"""The page of results: the papers' table, comparisons, and the pictures that fooled most and least."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from diptych.messages import show
from diptych.pages.frame import embedded, render
from diptych.study.folder import Study
from diptych.study.intervals import Interval
from diptych.study.results import CATCH_PASS, MARKS, MethodResult, Results

HERE = Path(__file__).parent
SHOWN = 6  # pictures of a method at each end
THUMBNAIL = 192
ENDS = "Most often taken for real", "Least often taken for real"


def percent(share: float) -> str:
    """A share in percent with one decimal, or a dash for a number that is not known."""
    return f"{100 * share:.1f} %" if share == share else "–"


def strength(found: Interval) -> str:
    """A strength of Bradley and Terry with its interval, if it has one."""
    return f"{found.value:.3f}" + (f" ({found.low:.3f} to {found.high:.3f})" if found.n > 1 else "")


def table(results: Results) -> list[dict[str, Any]]:
    """The rows of the table, as texts."""
    return [
        {
            "method": row.method,
            "fooled": percent(row.fooled.value),
            "error": percent(row.error),
            "interval": f"{100 * row.fooled.low:.1f} to {percent(row.fooled.high)}" if row.participants > 1 else "–",
            "doubted": "" if row.doubted is None else percent(row.doubted),
            "participants": row.participants,
            "trials": row.trials,
            "more": "–" if row.more is None else f"{row.more:,}",
            "strength": "" if row.strength is None else strength(row.strength),
        }
        for row in results.methods
    ]


def page(study: Study, results: Results, links: bool = False) -> str:
    """The page as text. ``links`` adds the owner's downloads."""
    values = {
        "title": study.title,
        "results": results,
        "rows": table(results),
        "comparisons": [(c.one, c.other, percent(c.difference), f"{c.p:.2g}", f"{c.p_holm:.2g}") for c in results.comparisons],
        "galleries": [(row.method, *_ends(study, row)) for row in results.methods],
        "marks": [(MARKS[name], number) for name, number in results.marked.items()],
        "width": percent(results.width),
        "catch_pass": percent(CATCH_PASS),
        "ends": ("Most often preferred", "Least often preferred") if results.compares else ENDS,
        "links": links,
    }
    return render("results.html.j2", values, HERE)


def _ends(study: Study, row: MethodResult) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The most and the least fooling pictures of a method; a picture stands in one of the two lists at most."""
    number = min(SHOWN, len(row.images) // 2 or 1)
    named = study.named(row.method)
    shown = [
        _thumbnail(study.file(named[name])) | {"name": show(name), "score": f"{percent(share)} of {n}"}
        for name, share, n in (*row.images[:number], *row.images[number:][-number:])
    ]
    return shown[:number], shown[number:][::-1]


def _thumbnail(file: Path) -> dict[str, Any]:
    with Image.open(file) as image:
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=90)
    return embedded(buffer.getvalue())
