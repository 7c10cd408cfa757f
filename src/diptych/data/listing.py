"""List the image files of a folder, whatever their names are made of."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from diptych.data.archives import PACKED, entries, is_folder, members, split_archive
from diptych.data.archives import SUFFIXES as ARCHIVES
from diptych.data.catalogue import EMBEDDED, embedded
from diptych.data.decoders import first_line
from diptych.data.film_frames import frames_of
from diptych.data.film_names import is_film
from diptych.data.formats import SUFFIXES
from diptych.data.hub import HF
from diptych.data.published import PUBLISHED, fetched
from diptych.data.volumes import is_volume, slices_of
from diptych.errors import ConfigError, DataError
from diptych.files import name_below
from diptych.messages import nearest, show
from diptych.walking import walk as walk_folders

OWN_NAMES = {"a", "b", "train", "training"}  # of folders that say by themselves what is in them
WDS = "wds:"  # begins a source of WebDataset shards
LISTS = (".csv", ".tsv", ".txt")
KINDS = ".jpg, .png, .webp, .tif, .npy ..."


def find_images(folder: str | Path, *, films: bool = False) -> list[Path]:
    """All images in a folder and the folders inside it, by suffix, in an order that does not depend on the file system.

    With ``films``, a film is a folder of its frames, and a folder that holds films and no images is one of their frames. Hidden
    files and folders are left out. Links to folders are followed, except back to where they came from. Raises DataError when
    there is no image, or a folder cannot be listed.
    """
    root = open_folder(folder, films=films)
    files = list(walk(root))
    images = [path for path in files if suffix_of(path) in SUFFIXES]
    images += [str(part) for path in files if is_volume(path) for part in _slices(Path(path))]
    if films and not images:
        images = [str(frame) for path in files if is_film(path) for frame in _frames(Path(path))]
    if not images:
        suffixes = Counter(suffix_of(path) or "no suffix" for path in files)
        if of_films := [suffix for suffix in suffixes if is_film(f"x{suffix}")]:
            raise DataError(_films_instead(root, suffixes, of_films))
        others = suffixes.most_common(3)
        found = f"no images found, but {', '.join(f'{count} x {show(suffix)}' for suffix, count in others)}"
        raise DataError(f"{show(root)}: {found if others else 'holds no files'}; expected {KINDS} files, check the path")
    images.sort(key=lambda path: (spelling(name_below(path, root)), os.fsencode(path)))
    return list(map(Path, images))


def _films_instead(root: Path, suffixes: Mapping[str, int], films: list[str]) -> str:
    counts = ", ".join(f"{suffixes[suffix]} x {suffix}" for suffix in films)
    return (
        f"{show(root)}: holds no images, but films ({counts}); to translate them, name them: {show(root)}/*{films[0]}; "
        "to train with their frames, give two films or two folders of films, one for each domain"
    )


def walk(root: Path) -> Iterator[str]:
    """All files in a folder and the folders inside it but hidden ones, in any order. Raises DataError as find_images does.

    Paths are strings, which take a third of the time that a million Path objects take.
    """
    if is_film(root) and root.is_file():
        yield str(root)
    elif inside := split_archive(root):
        yield from _in_archive(root, *inside)
    else:
        for _, folders, files in walk_folders(root):
            folders[:] = [path for path in folders if not hidden(os.path.basename(path))]
            yield from (path for path in files if not hidden(os.path.basename(path)))


def suffix_of(path: str) -> str:
    """The suffix of a path in lower case, as Path.suffix has it."""
    suffix = os.path.splitext(path)[1].lower()
    return suffix if suffix != "." else ""


def _frames(film: Path) -> list[Path]:
    if split_archive(film):
        raise DataError(f"{show(film)}: is a film in an archive, where its frames cannot be read; unpack it")
    return frames_of(film)


def _slices(volume: Path) -> list[Path]:
    try:
        return slices_of(volume)
    except DataError:  # the volume itself stands for its slices, and reading it says what is wrong
        return [volume]


def _in_archive(folder: Path, archive: Path, inside: str) -> Iterator[str]:
    """All files of an archive below a folder in it but hidden ones."""
    start = f"{inside}/" if inside else ""
    for name in members(archive):
        below = name.removeprefix(start)
        if name.startswith(start) and not any(map(hidden, below.split("/"))):
            yield os.path.join(folder, *below.split("/"))


def hidden(name: str) -> bool:
    """Whether files and folders of this name are left out."""
    return name.startswith(".") or name == "__MACOSX"


def spelling(name: str) -> str:
    """One spelling for names that look the same: macOS decomposes accents (NFD), others do not (NFC)."""
    return unicodedata.normalize("NFC", name)


def open_folder(source: str | Path, *, films: bool = False) -> Path:
    """The folder of this path, or of this name: embedded data, or a published data set that was fetched.

    With ``films``, a film is a folder of its frames. Raises DataError that names the near one when there is none.
    """
    if re.match(r"[a-z][a-z0-9+.-]*://", str(source), re.IGNORECASE):
        raise DataError(f"{show(source)}: is an address, expected a folder of images; download them, and pass their folder")
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:
        raise DataError(f"{show(source)}: names the home of a user who is not known here; write the path in full") from error
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return path
        if path.suffix.lower() in ARCHIVES:
            return _top(path)
        if films and is_film(path):
            return path
        raise DataError(f"{show(path)}: {what_a_file_is(path)}")
    except (FileNotFoundError, NotADirectoryError):
        if split_archive(path) and is_folder(path):
            return path
        pass  # it may be a name of embedded data; if not, what is near follows
    except (OSError, ValueError) as error:  # such as a name that is too long
        raise DataError(f"{show(path)[:200]}: cannot be used as a folder ({first_line(error)}); check the path") from error
    if str(source) in EMBEDDED:
        return embedded(str(source))
    if folder := fetched(str(source)):
        return folder
    if str(source) in PUBLISHED:
        raise DataError(f"{source}: is a published data set that is not on this machine; `diptych fetch {source}` downloads it")
    if path.is_symlink():
        raise DataError(f"{show(path)}: is a broken symbolic link; restore its target, or remove it")
    beside = [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []
    near = nearest(path.name, [*beside, *EMBEDDED], n=1)
    hint = f"did you mean {show(near[0] if near[0] in EMBEDDED else path.with_name(near[0]))}?" if near else "check the path"
    raise DataError(f"{show(path)}: no such folder, and no embedded data of this name ({', '.join(EMBEDDED)}); {hint}")


def what_a_file_is(path: Path) -> str:
    """In words what a file is that was given in place of a folder, and what to pass instead."""
    suffix = path.suffix.lower()
    if suffix in PACKED:
        return "is compressed as a whole, and cannot be read in place; unpack it, or pack a .zip"
    if suffix in (".lst", ".json", ".jsonl"):
        return f"is a list, expected a folder of images; write its images into a list of {', '.join(LISTS)}"
    kind = "an image" if suffix in SUFFIXES else "a file"
    return f"is {kind}, expected a folder of images; pass the folder that it is in"


def is_list(source: str | Path) -> bool:
    """Whether a source is a list of images, shards or a table (see diptych.data.lists and diptych.data.samples)."""
    if str(source).startswith((WDS, HF)):
        return True
    path = Path(os.path.expanduser(source))
    return path.suffix.lower() in LISTS and path.is_file()


def _top(archive: Path) -> Path:
    """An archive, or the only folder in it where there is nothing else."""
    inside = [entry for entry in entries(archive) if not hidden(entry[0].name)]
    (only, is_dir), *others = inside or [(archive, False)]
    return only if is_dir and not others and plain_name(only.name) not in OWN_NAMES else archive


def plain_name(name: str) -> str:
    """The name of a folder without case and separators."""
    return re.sub(r"[-_ ]", "", name.lower())


def refuse_out_in_data(out: str | Path, sources: Sequence[str | Path]) -> None:
    """Raise ConfigError where a folder for results is a data folder or lies inside one: its pictures would be taken for data."""
    for source in sources:
        data, results = Path(source).expanduser().resolve(), Path(out).resolve()
        if data.is_dir() and results.is_relative_to(data):
            place = "is the data folder" if results == data else "lies inside the data folder"
            raise ConfigError(
                f"{show(out)}: {place} {show(source)}, and the pictures of a run would be taken for data; choose another --out"
            )


def images_by_stem(folder: Path) -> dict[str, Path]:
    """The images of a folder by their path below it, without the suffix.

    Raises DataError when two images differ in their suffix only, and what find_images raises.
    """
    found: dict[str, Path] = {}
    for path in find_images(folder):
        stem = spelling(str(path.relative_to(folder).with_suffix("")))
        if stem in found:
            twins = f"{show(found[stem].name)}, {show(path.name)}"
            raise DataError(f"{show(folder)}: two images of one name, {twins}; remove or rename one")
        found[stem] = path
    return found
