"""diptych doctor: judge the health of a run from its statistics."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diptych.cli import command_parser
from diptych.errors import DiptychError

EXAMPLES = """\
  diptych doctor runs/x                     also while it is still training
  diptych doctor runs/x --json health.json
Exits with 0 when nothing is wrong, and with 3 when something is."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("doctor", EXAMPLES)
    p.add_argument("run", metavar="RUN", type=Path, help="a run folder")
    p.add_argument("--json", metavar="FILE", type=Path, help="write the verdicts there as well")
    return p


def main(argv: Sequence[str]) -> int:
    """Print every verdict; the exit code is 3 when there is one."""
    args = parser().parse_args(argv)
    import dataclasses

    from diptych.cli.console import console
    from diptych.cli.own_files import refuse_foreign
    from diptych.errors import ConfigError
    from diptych.files import read_text, refuse_overwrite
    from diptych.messages import show
    from diptych.recorded import Recorded
    from diptych.run import read_stats, write_json
    from diptych.training.health.diagnosis import MIN_LOOKS, diagnose, num_looks

    stats = args.run / "stats.jsonl"
    if not stats.exists():
        raise ConfigError(f"{show(args.run)}: holds no statistics of a training; give a run folder, with stats.jsonl in it")
    refuse_overwrite(args.json, stats, args.run / "recipe.json")
    refuse_foreign(args.json, (b'"looks"', b'"verdicts"'))
    lines, damaged = read_stats(stats)
    # While a training writes the file, its last line may be incomplete.
    damaged -= read_text(stats).rpartition("\n")[2].startswith("{")
    if damaged > 0:
        counted = f"{damaged:,} of {len(lines) + damaged:,} lines cannot be read"
        advice = "restore it from a copy, or, where the training is not finished, go on with it"
        raise ConfigError(f"{show(stats)}: damaged ({counted}); {advice}")
    try:
        verdicts, looks = diagnose(lines, Recorded.read(args.run / "recipe.json").values), num_looks(lines)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{show(stats)}: damaged ({type(error).__name__}: {error}); train again, or restore it") from error
    for verdict in verdicts:
        console.print(str(verdict), soft_wrap=True)
    if late := lines_missing(args.run, lines):
        console.print(f"note: {late}", soft_wrap=True)
    if looks < MIN_LOOKS:
        console.print(f"too young to judge: {looks} of the {MIN_LOOKS} looks that it takes; only losses were judged")
    elif not verdicts:
        console.print(f"healthy: nothing wrong at the last of {looks} looks, step {lines[-1]['step']:,}")
    if args.json:
        plain = [dataclasses.asdict(verdict) for verdict in verdicts]
        for values in plain:  # JSON knows no NaN
            values |= {name: None for name in ("number", "threshold") if not math.isfinite(values[name])}
        write_json(args.json, {"looks": looks, "enough": looks >= MIN_LOOKS, "verdicts": plain})
    return 3 if verdicts else 0


def lines_missing(run: Path, lines: Sequence[Mapping[str, Any]]) -> str:
    """Say that statistics end long before the training does, as its snapshot tells; empty where they do not."""
    from diptych.trees import read_header

    try:
        seen = read_header(run / "snapshot.safetensors")["about"]["images"]
    except (DiptychError, LookupError, TypeError):  # there is no snapshot yet, or it is damaged
        return ""
    last = lines[-1]["images"] if lines else 0
    missing = isinstance(seen, int) and seen > 1.5 * last  # a snapshot may be somewhat ahead of the last line
    return f"stats.jsonl ends after {last:,} images, and the snapshot saw {seen:,}; lines are missing" if missing else ""
