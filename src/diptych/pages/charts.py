"""Charts of a training's statistics, as SVG that lives inside a page and takes the page's fonts and colours."""

from __future__ import annotations

import io
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

MAX_POINTS = 1000  # of one line
PHASES = {"G": "Generators", "D": "Discriminators"}
INK, SERIES = (
    "#0000f0",
    [f"#0000a{i}" for i in range(1, 9)],
)  # placeholders for the colours of the page, which are light or dark when it is read

Line = Mapping[str, Any]  # of stats.jsonl


def charts(stats: Sequence[Line], epoch_size: int) -> list[dict[str, Any]]:
    """Charts of the loss terms of each phase, of each validation score, of the learning rate, and of the speed."""

    def curve(value: Callable[[Line], float]) -> np.ndarray:
        points = np.array([(line["images"] / (epoch_size or 1), value(line)) for line in stats]).reshape(-1, 2)
        points = points[np.isfinite(points).all(1)]
        parts = np.array_split(points, min(len(points), MAX_POINTS)) if len(points) else []
        return np.array([part.mean(0) for part in parts]).reshape(-1, 2).T  # many lines: means of neighbours

    phases: dict[str, dict[str, np.ndarray]] = {"G": {}, "D": {}}
    for name in dict.fromkeys(name for line in stats for name in line["losses"]):
        phase, _, term = name.partition("/")
        phases.setdefault(phase, {})[term] = curve(lambda line, name=name: line["losses"].get(name, math.nan))  # type: ignore[misc]
    for name in dict.fromkeys(name for line in stats for name in line.get("validation", ())):
        phases[f"Validation, {name}"] = {name: curve(lambda line, name=name: line.get("validation", {}).get(name, math.nan))}  # type: ignore[misc]
    phases["Learning rate"] = {"": curve(lambda line: line["lr"])}
    phases["Images a second"] = {"": curve(lambda line: line["images_s"])}
    drawn = {phase: {term: c for term, c in curves.items() if len(c[0])} for phase, curves in phases.items()}
    unit = "epochs" if epoch_size else "images"
    return [chart(f"c{i}", phase, curves, unit) for i, (phase, curves) in enumerate(drawn.items()) if curves]


def smoothed(values: np.ndarray) -> np.ndarray:
    """Running mean over a twentieth of the curve; at its ends, over the part of the window that lies inside."""
    window = np.ones(len(values) // 40 * 2 + 1)
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def chart(prefix: str, phase: str, curves: Mapping[str, np.ndarray], unit: str) -> dict[str, Any]:
    """One chart: faint raw and strong smoothed lines, labelled at their ends.

    The axis is logarithmic where the values differ greatly; single spikes are cut off.
    """
    single, height = "" in curves, 170 if "" in curves else 300
    strong = {name: y if phase == "Learning rate" else smoothed(y) for name, (_, y) in curves.items()}
    ends = {name: f"{name[:20]} {y[-1]:.3g}".strip() for name, y in strong.items()}
    raw, smooth = np.concatenate([y for _, y in curves.values()]), np.concatenate(list(strong.values()))
    low = 0.0 if single else min(smooth.min(), np.percentile(raw, 0.5))
    high = max(smooth.max(), np.percentile(raw, 99.5))
    logarithmic = bool(not single and raw.min() > 0 and smooth.max() > 15 * smooth.min())
    pad, gap = max(0.05 * (high - low), 0.02 * abs(high)) or 1.0, 16 / (height - 48)

    left, right, top, bottom = 50 / 480, 1 - (20 + 6.7 * max(map(len, ends.values()))) / 480, 1 - 10 / height, 38 / height
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix, "font.size": 12}):
        figure = Figure(figsize=(480 / 72, height / 72))
        axes = figure.add_axes((left, bottom, right - left, top - bottom))
        limits = (low / 1.1, high * 1.1) if logarithmic else (low - pad, high + pad)
        axes.set(yscale="log" if logarithmic else "linear", ylim=limits)
        heights = axes.transAxes.inverted().transform(axes.transData.transform([(0, y[-1]) for y in strong.values()]))[:, 1]
        drawn = zip(curves.items(), SERIES * len(ends), heights, apart(heights, gap), strict=False)
        for (name, (x, y)), colour, end, place in drawn:
            axes.plot(x, y, color=colour, alpha=0.28, linewidth=0.8)
            axes.plot(x, strong[name], color=colour, linewidth=1.9, marker="o" if len(y) == 1 else "")
            axes.plot((1.005, 1.03), (end, place), transform=axes.transAxes, color=colour, linewidth=1, clip_on=False)
            axes.text(1.04, place, ends[name], transform=axes.transAxes, color=colour, va="center", parse_math=False)
        axes.set_xlabel(unit, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(
            LogLocator(subs=(1, 2, 5)) if logarithmic else MaxNLocator(height // 50, steps=(1, 2, 5, 10))
        )
        axes.yaxis.set_minor_locator(NullLocator())
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"))
        axes.tick_params(color=INK, labelcolor=INK, length=0, pad=6)
        axes.grid(axis="y", color=INK, alpha=0.14, linewidth=0.8)
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.spines["bottom"].set(color=INK, alpha=0.45)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    label = f"Line chart over {unit}; at the end: {', '.join(ends.values())}"
    svg = f'<svg viewBox="0 0 480 {height}" role="img" aria-label="{escape(label)}">{inline(file.getvalue(), prefix)}'
    title = PHASES.get(phase, phase) + " (logarithmic)" * logarithmic
    return {"title": title, "svg": Markup(svg)}  # noqa: S704 - matplotlib escapes text


def apart(heights: np.ndarray, gap: float) -> np.ndarray:
    """Heights (0 to 1) of labels, moved so that neighbours are at least ``gap`` apart, in the same order."""
    order = np.argsort(heights, kind="stable")
    places = np.clip(heights, 0.0, 1.0)
    for below, above in itertools.pairwise(order):
        places[above] = max(places[above], places[below] + gap)
    for below, above in itertools.pairwise([*order, None][::-1]):
        places[above] = min(places[above], 1.0 if below is None else places[below] - gap)
    return places


def inline(svg: str, prefix: str) -> str:
    """The content of a matplotlib SVG for a page, with ids of its own, the fonts and colours of the page, and short numbers."""
    body = re.sub(r"<style.*?</style>", "", svg[svg.index(">", svg.index("<svg")) + 1 :], flags=re.DOTALL)
    body = re.sub(r'( id="|url\(#|href="#)', rf"\1{prefix}-", body).replace("xlink:href", "href")
    body = re.sub(r" font-family: [^;\"]*;", "", body).replace(INK, "currentColor")
    body = re.sub(r"#0000a([1-8])", r"var(--s\1)", body)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), body)
    return re.sub(r"\s*\n\s*", " ", body)
