"""The options of `diptych translate` for maps of uncertainty, and what they do."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, final, get_args

from diptych.choices import MapKind
from diptych.cli import names, positive
from diptych.errors import ConfigError

if TYPE_CHECKING:
    from diptych.inference.manifest import Job
    from diptych.inference.map_files import MapFiles, Request
    from diptych.inference.uncertainty import Maps
    from diptych.snapshot import Snapshot

KINDS: tuple[MapKind, ...] = get_args(MapKind)
OPTIONS = ("maps", "samples", "ensemble", "truth")
SAMPLES = 8


def add_map_options(p: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    p.add_argument(
        "--maps",
        nargs="?",
        const=(),
        type=_kinds,
        metavar="KINDS",
        help="also write maps that say how far to trust each translation, into a folder named after DIR (paintings-maps): cycle "
        "(how far the way back leads from the image), edges (which edges changed), spread (how far several answers differ) and "
        "mask (what has no counterpart, for stegogan); a list such as edges,spread, or all that the snapshot has",
    )
    p.add_argument(
        "--samples",
        type=positive,
        metavar="N",
        help=f"the number of answers, by dropout or noise, of which the spread is taken (default: {SAMPLES})",
    )
    p.add_argument(
        "--ensemble",
        action="append",
        type=Path,
        metavar="SNAPSHOT",
        help="take the spread over the answers of this snapshot too (of another seed or epoch, say) instead of over dropout "
        "and noise; give it several times",
    )
    p.add_argument(
        "--truth",
        type=Path,
        metavar="DIR",
        help="the true translations of held-out images, by the names of the inputs: also write maps of the error, and say how "
        "well each kind of map ranks it",
    )


def _kinds(text: str) -> tuple[MapKind, ...]:
    words = names(text)
    if unknown := [word for word in words if word not in KINDS]:
        raise argparse.ArgumentTypeError(
            f"must be kinds of maps ({', '.join(KINDS)}) with commas between, found {unknown[0]!r}; "
            "put --maps at the end of the command for all kinds"
        )
    return tuple(kind for kind in KINDS if kind in words)


@final
class PlannedMaps:
    """What the options ask for; nothing where they ask for no maps."""

    def __init__(
        self, maps: Maps | None = None, files: MapFiles | None = None, todo: Sequence[Request] = (), at: Any = ""
    ) -> None:
        self.maps, self.files, self.todo, self.at = maps, files, list(todo), at

    def list(self) -> None:
        """Print the files that would be written."""
        from diptych.cli.console import console
        from diptych.messages import show

        for request in self.todo if self.files else ():
            for job in self.files.jobs(request) if self.files else ():
                console.print(f"{show(job.source)} -> {show(job.target)}", soft_wrap=True)

    def write(self) -> int:
        """Write the maps, say what they show, and give the number of images that have none."""
        if self.maps is None or self.files is None:
            return 0
        from diptych.cli.console import bar, console, notes
        from diptych.messages import counted, show, were_there

        problems = []
        with bar("images") as progress:
            task = progress.add_task("maps", total=len(self.todo), note="")
            for request in self.todo:
                problems += [problem] if (problem := self.files.write(request, self.maps, self.at)) else []
                progress.advance(task)
        found = self.files.finish()
        if self.files.resized:
            notes.print(f"note: {self.files.resized:,} true images resized to the size of their inputs", soft_wrap=True)
        for problem in problems:
            notes.print(f"no maps: {problem}", soft_wrap=True)
        done, there = len(self.todo) - len(problems), len(self.files.wanted) - len(self.todo)
        kinds = ", ".join(self.files.kinds)
        console.print(
            f"maps of {counted(done, 'image')} ({kinds}) in {show(self.files.folder)}{were_there(there)}", soft_wrap=True
        )
        for kind, each in found.items():
            console.print(f"rank correlation of {kind} with the true error: {each}", soft_wrap=True)
        return len(problems)


def planned_maps(
    args: argparse.Namespace, snapshot: Snapshot, jobs: Sequence[Job], made_by: dict[str, Any], how: Mapping[str, Any]
) -> PlannedMaps:
    """Check the options, and plan what they ask for.

    Raises ConfigError for maps that this snapshot does not have, options that go with maps but are given without, and files that
    would be replaced; DataError for missing truth.
    """
    if args.maps is None:
        for name in OPTIONS[1:]:
            if getattr(args, name) is not None:
                raise ConfigError(f"--{name} is for maps, which are not asked for; add --maps")
        return PlannedMaps()
    for option, given in (("--norm-from", args.norm_from is not None), ("--sample-norms", args.sample_norms)):
        if given:
            raise ConfigError(f"--maps are of translations by each image's own statistics; give them without {option}")
    from diptych.cli.console import notes
    from diptych.cli.snapshots import chosen_snapshot
    from diptych.files import sha256_of
    from diptych.inference.frames import is_stack
    from diptych.inference.manifest import Manifest, left_to_do
    from diptych.inference.map_files import MapFiles, maps_folder, requests
    from diptych.inference.uncertainty import Maps
    from diptych.snapshot import Snapshot

    if args.ensemble and args.samples:
        raise ConfigError("--samples is for answers of one snapshot, and --ensemble takes one of each; give one of the two")
    paths = [chosen_snapshot(path, "translate") for path in args.ensemble or ()]
    samples = args.samples or SAMPLES
    maps = Maps(
        snapshot, args.direction, args.maps or None, samples=samples, ensemble=[Snapshot.load(path) for path in paths], **how
    )
    for kind, reason in maps.left_out.items():
        if not args.maps:
            notes.print(f"note: no maps of {kind}: {reason}", soft_wrap=True)
    singles = [job for job in jobs if not is_stack(job, args.frames)]
    if stacks := len(jobs) - len(singles):
        notes.print(f"note: no maps of {stacks} files of many images; give their images one by one", soft_wrap=True)
    spread = (
        {"seed": args.seed, "ensemble": [sha256_of(path) for path in paths]} if paths else {"seed": args.seed, "samples": samples}
    )
    wanted = requests(singles, args.out, args.truth)
    hashes = "".join(sha256_of(request.truth) for request in wanted if request.truth)
    truth = {"truth_sha256": sha256(hashes.encode()).hexdigest()} if args.truth else {}
    manifest = Manifest(maps_folder(args.out), made_by | (spread if "spread" in maps.kinds else {}) | truth)
    files = MapFiles(manifest.folder, maps.kinds, manifest, wanted)
    all_jobs = [job for request in files.wanted for job in files.jobs(request)]
    left = set(left_to_do(all_jobs, manifest, overwrite=args.overwrite, skip_existing=args.skip_existing))
    todo = [request for request in files.wanted if left.intersection(files.jobs(request))]
    return PlannedMaps(maps, files, todo, args.at)
