"""diptych translate: translate images and folders of images with a snapshot."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import get_args

from diptych.choices import Backend, Direction, Dropout, Frames, Mode, Names, Norms, Precision, WorkingSize
from diptych.cli import command_parser, positive, seed
from diptych.cli.determined import determined_by, in_vain
from diptych.cli.film import add_film_options, are_films, translate_films
from diptych.cli.maps import add_map_options, planned_maps
from diptych.cli.own_files import out_path, say_folder
from diptych.cli.sharding import in_words_of, own_shard, shard

EXAMPLES = """\
  diptych translate runs/x photos/ --out paintings/
  diptych translate horse2zebra.safetensors zebra.jpg --direction b2a --out horse.jpg
  diptych translate runs/x/snapshot-best.safetensors photos/ --out paintings/ --backend torch --precision fp32
  diptych translate runs/x data/testA/ --out paintings/ --maps --truth data/testB/
  diptych translate runs/x film.mp4 --out painted.mp4
The same command again translates what is missing. Files that it did not make itself are never replaced."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = command_parser("translate", EXAMPLES)
    p.add_argument(
        "snapshot",
        metavar="SNAPSHOT",
        type=Path,
        help="the trained translator: a run folder, a snapshot of it, or what `diptych import` wrote",
    )
    p.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="an image, a film, or a folder or archive (.zip, .tar), of which all images at any depth are translated",
    )
    p.add_argument(
        "--out",
        type=out_path,
        required=True,
        metavar="DIR",
        help="the folder for the results, which keep names, subfolders and sizes; for a single image also a file",
    )
    p.add_argument("--direction", default="a2b", choices=get_args(Direction), help="from A to B, or from B to A (default: a2b)")
    p.add_argument(
        "--at",
        default="native",
        choices=get_args(WorkingSize),
        help="translate each image at its own size, or at the size of training and resize the result (default: native)",
    )
    p.add_argument(
        "--mode",
        choices=get_args(Mode),
        help="apply the network with batch statistics and dropout, as the published tests do (paper), or with neither (eval) "
        "(default: the snapshot's own mode)",
    )
    p.add_argument(
        "--dropout",
        choices=get_args(Dropout),
        help="draw the dropout of mode paper for the whole image, as published, or by position, which is possible by stages too "
        "(default: image)",
    )
    p.add_argument("--seed", type=seed, metavar="N", help="the random seed of dropout in mode paper, and of noise (default: 0)")
    p.add_argument(
        "--strength",
        type=float,
        metavar="S",
        help="how strongly to translate, from 0 (leave the image as it is) to 1, where the generator has a strength (santa) "
        "(default: 1)",
    )
    p.add_argument(
        "--steps",
        type=positive,
        metavar="N",
        help="the number of steps of a generator that has them (unsb): more steps change more (default: as many as it has times)",
    )
    p.add_argument(
        "--style",
        type=int,
        metavar="N",
        help="which look objects get, from 0 (the commonest of each label) to 9, where the generator has several (pix2pixhd with "
        "num_features) (default: 0)",
    )
    p.add_argument("--instances", type=Path, metavar="DIR", help="the instance maps of label maps, by the same names (pix2pixhd)")
    statistics = p.add_mutually_exclusive_group()
    statistics.add_argument(
        "--norm-from",
        type=Path,
        metavar="IMAGE",
        help="give the norms of the network the statistics of this image for all images, so that all come out in the same "
        "colours (default: those of each image)",
    )
    p.add_argument("--device", default="auto", help="the hardware that computes: auto, cpu, cuda, cuda:N or mps (default: auto)")
    p.add_argument(
        "--backend",
        default="auto",
        choices=("auto", *get_args(Backend)),
        help="the library that computes; auto measures the installed ones on the first images of a large job (default: auto)",
    )
    p.add_argument(
        "--precision",
        default="auto",
        choices=get_args(Precision),
        help="the precision of the network; auto takes bf16 where it is faster and exact enough (default: auto)",
    )
    p.add_argument(
        "--batch", default=None, type=_batch, metavar="N", help="the number of images translated at once, or auto (default: auto)"
    )
    p.add_argument(
        "--memory",
        default=None,
        type=_memory,
        metavar="SIZE",
        help="the memory that the process may hold on the device, such as 4GB; an image that needs more is translated by stages, "
        "with the same result (default: four fifths of what the device has free)",
    )
    statistics.add_argument(
        "--sample-norms",
        action="store_true",
        help="measure the norm statistics of images that are too large for the memory in a sample of each, which is faster, "
        "needs no scratch and is near the exact result (default: in the whole image)",
    )
    p.add_argument(
        "--max-error",
        default=1.0,
        type=float,
        metavar="LEVELS",
        help="the largest mean difference to torch in fp32 that auto accepts, in levels of 255 (default: 1)",
    )
    there = p.add_mutually_exclusive_group()
    there.add_argument(
        "--overwrite",
        action="store_true",
        help="replace earlier translations in DIR that another snapshot, other settings or another input made",
    )
    there.add_argument("--skip-existing", action="store_true", help="keep every file in DIR as it is, whatever made it")
    p.add_argument(
        "--names",
        default="plain",
        choices=get_args(Names),
        help="name results like their inputs, with the suffix of their format, or in full where it differs (a.gif.png) "
        "(default: plain)",
    )
    p.add_argument(
        "--frames",
        choices=get_args(Frames),
        help="translate the first frame of animations and files of many pages, or all of them into a file of the same kind; "
        "films are always translated whole (default: all where --out names a .gif, .webp or .apng file, otherwise first)",
    )
    p.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help="translate share I of N of the images, as job I of an array of N; under torchrun each process takes its own share",
    )
    p.add_argument(
        "--untrusted", action="store_true", help="decode each image in a process of its own with limits, for files of strangers"
    )
    p.add_argument("--dry-run", action="store_true", help="list what would be written, and write nothing")
    add_map_options(p)
    add_film_options(p)
    return p


def _batch(text: str) -> int | None:
    return None if text == "auto" else positive(text)


UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _memory(text: str) -> int:
    found = re.fullmatch(r"(\d+\.?\d*) ?([kMGT]B)", text.strip(), re.IGNORECASE)
    size = float(found[1]) * {unit.lower(): size for unit, size in UNITS.items()}[found[2].lower()] if found else 0.0
    if not 1 <= size < 2**63:
        raise argparse.ArgumentTypeError(f"must be a number with a unit ({', '.join(UNITS)}), such as 4GB, found {text!r}")
    return int(size)


def main(argv: Sequence[str]) -> int:
    """Translate every image; return 1 when some could not be translated."""
    args = parser().parse_args(argv)
    from diptych.data.untrusted import untrusted_files

    with untrusted_files() if args.untrusted else nullcontext():
        return _translate(args)


def _translate(args: argparse.Namespace) -> int:
    from diptych.cli.console import bar, console, notes, show_notes
    from diptych.cli.snapshots import chosen_snapshot
    from diptych.data.archives import is_folder
    from diptych.data.passed_over import passed_over
    from diptych.device import pick_device
    from diptych.files import sweep
    from diptych.inference.batch import Outcome, outcomes_of
    from diptych.inference.budget import refuse_too_little
    from diptych.inference.choice import agreed, choose_translator
    from diptych.inference.frames import is_stack, translate_stacks
    from diptych.inference.jobs import folder_of, frames_named, plan
    from diptych.inference.large import measure_file, way_of
    from diptych.inference.manifest import COMPUTING, Job, Manifest, left_to_do, share_of
    from diptych.inference.names import in_lines, notes_in
    from diptych.inference.translator import Translator
    from diptych.memory import RESERVE, default_memory, in_words, many_objects
    from diptych.messages import show, were_there
    from diptych.snapshot import Snapshot

    show_notes()
    path = chosen_snapshot(args.snapshot, "translate", args.inputs, f" --out {args.out}")
    memory = args.memory or default_memory(pick_device(args.device))
    planned = memory - RESERVE if args.memory else memory
    how = {"device": args.device, "mode": args.mode, "memory": planned}
    how |= {"seed": args.seed or 0, "dropout": args.dropout or "image"}
    how |= {"strength": args.strength, "steps": args.steps, "style": args.style}
    snapshot = Snapshot.load(path)
    make = partial(Translator, snapshot, args.direction, **how)
    plain = make()
    if args.memory is not None:
        refuse_too_little(plain, args.memory)
    if args.norm_from is not None:
        make = partial(make, norms=measure_file(args.norm_from, plain))
        plain = make()
    films = are_films(args)
    if not args.frames:
        args.frames = "first" if films else frames_named(args.inputs, args.out, plain.target, "first")
        if args.frames == "all":
            notes.print(f"note: all frames of {show(args.inputs[0])} are translated, as --out names an animation", soft_wrap=True)
    for line in in_vain(args, plain):
        notes.print(f"note: {line}", soft_wrap=True)
    args.seed, args.dropout = how["seed"], how["dropout"]
    made_by = determined_by(args, path, plain, snapshot.generators[args.direction])
    if films:
        return translate_films(args, make, plain, made_by)
    say_folder(args.out if folder_of(args.out) == args.out else None)
    own = args.shard or own_shard()
    with many_objects():
        jobs = plan(args.inputs, args.out, plain, args.names, args.frames, args.instances)
        manifest = Manifest(folder_of(args.out), made_by, own)
        computed_by = manifest.computed_by()
        backend, precision = agreed(computed_by, args.backend, args.precision, shared=own is not None)
        manifest.settle(**{name: value for name, value in zip(COMPUTING, (backend, precision), strict=True) if value != "auto"})
        if own:
            all_jobs, jobs = len(jobs), share_of(jobs, manifest, own)
            notes.print(f"note: {in_words_of(own, len(jobs), all_jobs)}", soft_wrap=True)
        left = left_to_do(jobs, manifest, overwrite=args.overwrite, skip_existing=args.skip_existing)
    if left and (backend, precision) != (args.backend, args.precision):
        why = "as for the earlier results in this folder" if (backend, precision) in computed_by else "so that all shares agree"
        notes.print(f"note: {backend} {precision} is taken, {why}; --backend and --precision choose others", soft_wrap=True)
    if not args.overwrite and (unlike := sum(n for pair, n in computed_by.items() if pair != (backend, precision))):
        how_made = "were made by another backend or precision, or do not record it"
        notes.print(f"note: {unlike:,} earlier results in this folder {how_made}", soft_wrap=True)
    maps = planned_maps(args, snapshot, jobs, made_by, how)
    if others := passed_over([given for given in args.inputs if is_folder(Path(given))], use="translating"):
        notes.print(f"note: passed over, as they are no images that can be read: {others}", soft_wrap=True)
    for folder in args.inputs:
        if Path(folder).is_dir() and args.out.resolve().is_relative_to(Path(folder).resolve()):
            notes.print(f"note: results go into {show(folder)}, where trainings take them for data", soft_wrap=True)
    if args.dry_run:
        for job in left:
            console.print(f"{show(job.source)} -> {show(job.target)}", soft_wrap=True)
        maps.list()
        notes.print("note: the files were not read, so damaged ones are listed too", soft_wrap=True)
        return 0
    sweep(job.target for job in left)
    stacks = dict.fromkeys(job for job in left if is_stack(job, args.frames))
    singles = [job for job in left if job not in stacks] if stacks else left
    norms_of: Norms = "sampled" if args.sample_norms else "whole"
    way = way_of(plain, norms_of)
    with bar("images") as progress:
        task = progress.add_task("translating", total=len(left), note="")
        said: dict[Path, int] = {}  # tenths of each image by stages that were printed

        def watch_stages(job: Job, share: float) -> None:
            note = f"{show(job.source)} {way}, {share:.0%}"
            progress.update(task, completed=progress.tasks[0].completed // 1 + min(share, 0.999), note=note)
            if not notes.is_terminal and int(share * 10) > said.get(job.source, -1):
                said[job.source] = int(share * 10)
                seconds = progress.tasks[0].time_remaining
                notes.print(note + (f", {timedelta(seconds=round(seconds))} left" if seconds else ""), soft_wrap=True)

        choice = choose_translator(
            lambda backend, precision: make(backend=backend, precision=precision),
            left,
            at=args.at,
            backend=backend,
            precision=precision,
            batch=args.batch,
            max_error=args.max_error,
        )
        manifest.settle(backend=choice.translator.backend, precision=choice.translator.precision)
        counts, problems, done, large = Counter[str](), list[str](), 0, 0

        def take(outcome: Outcome) -> None:
            nonlocal done, large
            counts.update(notes_in(outcome, args.frames))
            problems.extend([outcome.problem] if outcome.problem else [])
            done += not outcome.problem
            large += outcome.by_stages and not outcome.problem
            progress.update(task, completed=done + len(problems), note="")

        for outcome in outcomes_of(
            singles,
            choice.translator,
            at=args.at,
            batch=choice.batch,
            batch_values=choice.batch_values,
            manifest=manifest,
            watch_stages=watch_stages,
            norms=norms_of,
        ):
            take(outcome)
        translate_stacks(stacks, choice.translator, at=args.at, manifest=manifest, watch=take)
    for note in in_lines(counts, done + len(problems)):
        notes.print(f"note: {note}", soft_wrap=True)
    for problem in problems:
        notes.print(f"skipped: {problem}", soft_wrap=True)
    how_large = f"; {large} {way}, too large to be translated whole in {in_words(memory)}" if large else ""
    computed = f"; {choice}" if done else ""
    tail = were_there(len(jobs) - len(left)) + (f", {len(problems)} of {len(jobs)} skipped" if problems else "")
    console.print(f"{done} translated into {show(args.out)}{tail}{computed}{how_large}", soft_wrap=True)
    return 1 if maps.write() + len(problems) else 0
