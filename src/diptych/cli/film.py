"""The part of diptych translate that translates films."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from diptych.choices import Audio, FilmNorms
from diptych.cli.maps import OPTIONS
from diptych.cli.own_files import say_folder
from diptych.errors import ConfigError, DataError

if TYPE_CHECKING:  # at run time these would import torch, before wrong words are refused
    from diptych.data.films import Film
    from diptych.inference.manifest import Job
    from diptych.inference.translator import Translator


def add_film_options(p: argparse.ArgumentParser) -> None:
    """Add the options that only films have."""
    group = p.add_argument_group("films", "These apply where the input is a film (.mp4, .mkv ...) or the result is one.")
    group.add_argument(
        "--norms",
        default="smooth",
        choices=get_args(FilmNorms),
        help="let the statistics of the network's norms follow a shot slowly (smooth), stay as in its first frame (fixed), or be "
        "each frame's own, which flickers (frame) (default: smooth)",
    )
    group.add_argument(
        "--no-flow", dest="flow", action="store_false", help="leave out the temporal filter along the film's optical flow"
    )
    group.add_argument(
        "--codec", default="", metavar="NAME", help="the encoder of FFmpeg (default: libx264; libvpx-vp9 for .webm)"
    )
    group.add_argument(
        "--quality", type=int, metavar="CRF", help="the encoder's constant quality, lower is better (default: 18 for libx264)"
    )
    group.add_argument(
        "--codec-option",
        action="append",
        default=[],
        type=_option,
        metavar="NAME=VALUE",
        help="an option of the encoder, such as preset=slow; may be given several times",
    )
    group.add_argument(
        "--audio", default="copy", choices=get_args(Audio), help="copy the sound of the film, or leave it out (default: copy)"
    )


FILMS_ALONE = {"norms": "smooth", "flow": True, "codec": "", "quality": None, "codec_option": [], "audio": "copy"}
IMAGES_ALONE = {"shard": None, "sample_norms": False, "names": "plain"} | dict.fromkeys(OPTIONS)


def _refuse_options(args: argparse.Namespace, usual: Mapping[str, Any], what: str) -> None:
    for name, value in usual.items():
        if getattr(args, name) != value:
            flag = "--no-flow" if name == "flow" else f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag} is for {what}, and the inputs are none; leave it out")


def _option(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, such as preset=slow, found {text!r}")
    return name, value


def are_films(args: argparse.Namespace) -> bool:
    """Whether films are to be translated: by the suffix of an input, or by that of a result which is no folder.

    Raises ConfigError where films stand beside images, and for options that have no meaning for the one or the other.
    """
    inputs, out = args.inputs, args.out
    from diptych.data.film_names import is_film
    from diptych.data.film_writing import CONTAINERS
    from diptych.messages import show

    films = [given for given in inputs if is_film(given) and not Path(given).is_dir()]
    if films and len(films) < len(inputs):
        other = next(given for given in inputs if given not in films)
        raise ConfigError(
            f"{show(other)}: is no film, and {show(films[0])} is one; translate films and images by commands of their own"
        )
    named = out.suffix.lower() in CONTAINERS.keys() - {".gif"} and not out.is_dir()
    if named and any(Path(given).is_dir() for given in inputs):
        raise ConfigError(
            f"--out {show(out)}: names a film, and {show(inputs[0])} is a folder; give a film, or a folder for the results"
        )
    found = bool(films) or named
    if found and args.frames == "first":
        raise ConfigError(
            "--frames first is for images, and films are translated whole; leave it out, or see `diptych prepare frames`"
        )
    _refuse_options(args, IMAGES_ALONE if found else FILMS_ALONE, "images" if found else "films")
    if found and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ConfigError("a film is translated by one process, as its frames depend on each other; start it without torchrun")
    return found


def film_jobs(inputs: Sequence[str], out: Path) -> list[Job]:
    """The jobs of films: an ``out`` with the suffix of a film is the result, any other is the folder for results.

    A result in a folder keeps its name, and its suffix where such films are written, else .mp4. Raises DataError and ConfigError
    as `diptych.inference.batch.plan` does for images.
    """
    from diptych.data.film_writing import CONTAINERS
    from diptych.files import is_same_file
    from diptych.inference.manifest import Job
    from diptych.messages import show

    named = out.suffix.lower() in CONTAINERS and not out.is_dir()
    if named and len(inputs) > 1:
        raise ConfigError(f"--out {show(out)}: names one film, but several are translated; give a folder, --out {show(out.stem)}")
    if not named and out.suffix and not out.is_dir():
        known = ", ".join(CONTAINERS)
        raise ConfigError(f"--out {show(out)}: films are written as {known}; name it {show(out.stem)}.mp4, or give a folder")
    jobs: list[Job] = []
    for source in map(Path, inputs):
        if not source.is_file():
            raise DataError(f"{show(source)}: no such film; give files such as film.mp4")
        kept = source.suffix if source.suffix.lower() in CONTAINERS else ".mp4"
        target = out if named else out / (source.stem + kept)
        if is_same_file(source, target):
            raise DataError(f"{show(source)}: would be overwritten by its own translation; choose another --out")
        if any(target == job.target for job in jobs):
            raise DataError(f"{show(source)}: its translation has the name of another; translate it by a command of its own")
        jobs.append(Job(source, target))
    return jobs


def translate_films(
    args: argparse.Namespace, make: Callable[..., Translator], plain: Translator, made_by: Mapping[str, Any]
) -> int:
    """Translate every film; return 1 when some could not be translated. ``made_by`` is what determines an image's translation."""
    from diptych.cli.console import bar, console, notes
    from diptych.data.film_writing import encoding_for
    from diptych.data.films import survey
    from diptych.inference.film import FilmOptions, check_domains, translate_film
    from diptych.inference.jobs import folder_of
    from diptych.inference.manifest import Manifest, left_to_do
    from diptych.messages import counted, show, were_there

    check_domains(plain)
    backend = "torch" if args.backend == "auto" else args.backend
    precision = "fp32" if args.precision == "auto" else args.precision
    if args.norms != "frame" and backend != "torch":
        raise ConfigError(f"--backend {backend}: holds no norms over a film; choose --backend torch, or --norms frame")
    jobs = film_jobs(args.inputs, args.out)
    named = [job for job in jobs if job.target == args.out]
    encodings = {job: encoding_for(job.target, args.codec, args.quality, args.codec_option) for job in jobs}
    film_facts = {"norms": args.norms, "flow": args.flow, "audio": args.audio, "backend": backend, "precision": precision}
    film_facts |= {
        "codec": args.codec,
        "quality": args.quality,
        "codec_options": [list(pair) for pair in sorted(args.codec_option)],
    }
    folder = args.out.parent if named else folder_of(args.out)
    say_folder(None if named else folder)
    manifest = Manifest(folder, {**made_by, **film_facts})
    left = left_to_do(jobs, manifest, overwrite=args.overwrite, skip_existing=args.skip_existing)
    if args.dry_run:
        for job in left:
            console.print(f"{show(job.source)} -> {show(job.target)}", soft_wrap=True)
        return 0
    problems, frames = 0, 0
    for job in left:
        try:
            film = survey(job.source)
            for note in film.notes:
                notes.print(f"note: {note}", soft_wrap=True)
            if left_out := _left_out(film, job, encodings[job].codec, args.audio):
                notes.print(f"note: {show(job.source)}: {left_out}", soft_wrap=True)
            options = FilmOptions(encodings[job], args.norms, args.flow, args.at, args.audio, args.batch or 1)
            with bar("frames") as progress:
                watch = _watch(progress, progress.add_task("translating", total=film.frames, note=""), show(job.source))
                replay = args.norms == "frame"
                translator = make(backend=backend, precision=precision, replay=replay)
                frames += translate_film(job, film, translator, options, manifest=manifest, watch=watch)
        except DataError as error:
            problems += 1
            notes.print(f"skipped: {error}", soft_wrap=True)
    done, already = len(left) - problems, len(jobs) - len(left)
    films = counted(done, "film") + (f" of {counted(frames, 'frame')}" if done else "")
    tail = were_there(already) + (f", {problems} of {len(jobs)} skipped" if problems else "")
    computed = f"; {backend} {precision}" if done else ""
    console.print(f"{films} translated into {show(args.out)}{tail}{computed}", soft_wrap=True)
    return 1 if problems else 0


def _left_out(film: Film, job: Job, codec: str, audio: str) -> str:
    """What of the source is not in the result, in words."""
    from diptych.data.film_writing import SILENT, SQUARE

    parts, silent = [], job.target.suffix.lower() in SILENT
    if film.other_streams:
        parts.append(f"{film.other_streams} streams that are neither the film nor sound (subtitles, data) are left out")
    if silent and film.audio and audio == "copy":
        parts.append(f"{job.target.suffix} has no sound")
    if film.bits > 8:
        parts.append(f"its {film.bits} bits become those of the model's images")
    if film.aspect not in (None, 1) and codec in SQUARE and job.target.suffix.lower() in (".webm", ".mkv"):
        parts.append(f"the shape of its pixels, {film.aspect}, is not written by {codec}")
    if (film.height % 2 or film.width % 2) and not silent:
        parts.append("odd sides are kept by 4:4:4 samples, which some players do not show")
    return "; ".join(parts)


def _watch(progress: Any, task: Any, name: str) -> Callable[[int], None]:
    """Draw the bar; where stderr is no terminal, print a line for each tenth of the film."""
    from diptych.cli.console import notes

    said = 0  # tenths of the film

    def watch(done: int) -> None:
        nonlocal said
        progress.update(task, completed=done)
        total = progress.tasks[0].total or 1
        tenths = 10 * done // total
        if not notes.is_terminal and said < tenths < 10:
            said, seconds = tenths, progress.tasks[0].time_remaining
            left = f", {timedelta(seconds=round(seconds))} left" if seconds else ""
            notes.print(f"{name}: {done:,} of {total:,} frames{left}", soft_wrap=True)

    return watch
