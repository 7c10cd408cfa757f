"""Take films apart into folders of frames, on which translators of films are trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from diptych.data.film_names import is_film
from diptych.data.films import read_frames, survey
from diptych.data.formats import write_pixels
from diptych.errors import ConfigError, DataError
from diptych.messages import show
from diptych.walking import files_below

Watch = Callable[[int, int], None]
"""Called with the number of frames that were read of a film, and how many it has."""


def take_frames(source: Path, out: Path, every: int, watch: Watch = lambda done, total: None) -> tuple[int, int, list[str]]:
    """Write every so many-th frame of a film, or of each film below a folder, as PNG files called FILM-000000.png and so on.

    Frames are upright and of 8 bits. Returns how many were written, how many were there already, and what was left out and why.
    Files that are there are kept. Raises DataError where there is no film, ConfigError where two have one name.
    """
    inside = files_below(source) if source.is_dir() else ()
    films = sorted(path for path in inside if is_film(path) and path.is_file()) if source.is_dir() else [source]
    if not films:
        raise DataError(f"{show(source)}: holds no films; give a film such as film.mp4, or a folder of them")
    if len({path.stem for path in films}) < len(films):
        raise ConfigError(
            f"{show(source)}: has films of one name, whose frames would be mixed; take each apart into its own folder"
        )
    out.mkdir(parents=True, exist_ok=True)
    written, there, problems = 0, 0, []
    for path in films:
        try:
            film = survey(path)
            for number, frame in enumerate(read_frames(film)):
                watch(number + 1, film.frames)
                target = out / f"{path.stem}-{number:06d}.png"
                if number % every:
                    continue
                if target.exists():
                    there += 1
                    continue
                write_pixels(target, frame.pixels)
                written += 1
        except DataError as error:
            problems.append(str(error))
    if problems and not written and not there:
        raise DataError(problems[0])
    return written, there, problems
