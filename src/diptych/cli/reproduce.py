"""diptych reproduce: score published translators again, beside the numbers that were printed for them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diptych.cli import command_parser, names
from diptych.errors import ConfigError, DataError, WeightsError
from diptych.messages import nearest

if TYPE_CHECKING:  # the real import waits until wrong words are refused
    from diptych.evaluation.results import Evaluation

EXAMPLES = """\
  diptych reproduce horse2zebra                                 fetches weights and test images, prints FID, KID and MIND
  diptych reproduce horse2zebra data/horse2zebra --only authors
  diptych reproduce horse2zebra --weights authors-id0=latest_net_G.pth --device cuda
$DIPTYCH_WEIGHTS_URL and $DIPTYCH_DATA_URL name mirrors: https://..., file:///... or http://localhost..."""
TASKS = ("horse2zebra", "zebra2horse", "summer2winter", "winter2summer")


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("reproduce", EXAMPLES)
    p.add_argument(
        "task",
        metavar="TASK",
        nargs="?",
        choices=TASKS,
        help=f"what the translators do: {', '.join(TASKS)}; without one, all are listed",
    )
    p.add_argument("data", metavar="DATA", nargs="?", help="the published data set, if it lies somewhere else than in the cache")
    p.add_argument(
        "--only",
        type=names,
        default=[],
        metavar="NAMES",
        help="score only these weights, of authors,authors-id0,openmmlab,openmmlab-id0",
    )
    p.add_argument("--weights", action="append", default=[], metavar="NAME=FILE", help="a file of your own; may be repeated")
    p.add_argument("--features", metavar="NET", help="the network of the metrics, as in evaluate (default: inception)")
    p.add_argument("--no-fetch", action="store_true", help="download nothing")
    p.add_argument("--yes", action="store_true", help="agree to the terms of the data set, and download it")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    return p


def main(argv: Sequence[str]) -> int:
    """Fetch, import and score the weights of a task, and print one line for each."""
    args = parser().parse_args(argv)
    if args.task is None:
        if argv:
            raise ConfigError(f"TASK is missing: give one of {', '.join(TASKS)}; `diptych reproduce` alone lists them")
        return listing()
    given = files(args.weights)
    from diptych.cli.console import bar, console, notes, show_notes
    from diptych.cli.fetch import fetch_missing
    from diptych.scoring.reproduce import REPRODUCTIONS, reproduce

    show_notes()
    task = REPRODUCTIONS[args.task]
    refuse_unknown(args.task, [weights.name for weights in task.weights], (*args.only, *given))  # before anything is fetched
    data = args.data or task.data
    if not args.no_fetch:
        fetch_missing([data], args.yes)
    console.print(f"published: {task.source}; all test images at 256 x 256, none held back", soft_wrap=True)
    scored = 0
    with bar("bytes") as progress:
        bytes_ = progress.add_task("weights", total=None, note="")
        rows = reproduce(
            args.task,
            data,
            given=given,
            only=args.only,
            features=args.features,
            fetch=not args.no_fetch,
            device=args.device,
            watch=lambda done, total: progress.update(bytes_, completed=done, total=total or None),
        )
        for row in rows:
            title = f"{row.weights.maker}, {'with' if row.weights.identity else 'without'} identity loss"
            if row.evaluation is None:
                notes.print(f"not scored: {title} (published FID {row.weights.fid:.1f}): {row.missing}", soft_wrap=True)
                continue
            scored += 1
            console.print(f"{title}: published FID {row.weights.fid:.1f}, here {numbers(row.evaluation)}", soft_wrap=True)
            console.print(f"  SHA-256 of the weights: {row.sha256}", soft_wrap=True)
    if args.features and args.features != "inception":
        notes.print(f"note: FID by {args.features} does not compare with the published one", soft_wrap=True)
    if not scored:
        raise WeightsError(f"{args.task}: none of its weights could be scored; the lines above say why")
    return 0


def listing() -> int:
    """Print each task with its data set, and the FID that was printed for each of its weights."""
    from diptych.cli.console import console
    from diptych.scoring.reproduce import REPRODUCTIONS

    for name in TASKS:
        task = REPRODUCTIONS[name]
        rows = ", ".join(f"{weights.name} {weights.fid:.1f}" for weights in task.weights)
        console.print(f"{name:16}on {task.data}; published FID: {rows}", soft_wrap=True)
    console.print(f"next: diptych reproduce {TASKS[0]}", soft_wrap=True)
    return 0


def refuse_unknown(task: str, known: Sequence[str], named: Sequence[str]) -> None:
    """Raise ConfigError, naming the nearest, for a name that is none of the task's weights."""
    for name in named:
        if name not in known:
            near = nearest(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ConfigError(f"{task}: no weights are called {name!r}; {hint}")


def files(words: Sequence[str]) -> dict[str, Path]:
    """The files of --weights by the names of weights. Raises ConfigError for other words and files that are not there."""
    found: dict[str, Path] = {}
    for word in words:
        name, _, path = word.partition("=")
        if not path:
            raise ConfigError(f"--weights {word}: must be NAME=FILE, such as authors-id0=latest_net_G.pth")
        if not Path(path).is_file():
            raise ConfigError(f"--weights {word}: no such file; check the path")
        if name in found:
            raise ConfigError(f"--weights {word}: {name} has the file {found[name]} already; give each name once")
        found[name] = Path(path)
    return found


def numbers(evaluation: Evaluation) -> str:
    """FID, KID and MIND with their intervals, and how many images there were. Raises DataError where one was not computed."""
    from diptych.scoring.reproduce import METRICS

    texts = []
    for metric in METRICS:
        value = evaluation.value(metric)
        if value is None:
            raise DataError(f"{metric}: not computed: {evaluation.left_out.get(metric, 'no reason is known')}")
        texts.append(f"{metric.upper()} {value}")
    return ", ".join(texts)
