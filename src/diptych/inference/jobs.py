"""Plan which files become which results, before anything is read or written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from diptych.choices import Frames, Names
from diptych.data.archives import exists, is_folder
from diptych.data.folders import Ref, Split, find_images
from diptych.data.formats import SUFFIXES
from diptych.data.instances import with_instances
from diptych.data.large_files import only_in_windows
from diptych.data.listing import spelling
from diptych.data.stacks import ANIMATIONS, count_frames
from diptych.data.untrusted import among_strangers
from diptych.data.volumes import is_volume
from diptych.data.window_files import written_in_windows, written_only_in_windows
from diptych.errors import ConfigError, DataError
from diptych.files import is_same_file, name_below, refuse_links_out
from diptych.inference.manifest import Job
from diptych.inference.names import refuse_clashes, result_of, whole_files
from diptych.inference.translator import Translator
from diptych.messages import show
from diptych.pixels import Domain


def plan(
    inputs: Sequence[str | Path],
    out: str | Path,
    translator: Translator,
    names: Names = "plain",
    frames: Frames = "first",
    instances: str | Path | None = None,
) -> list[Job]:
    """Make a job of each input file and each image in input folders and archives; their trees are kept below ``out``.

    With ``full`` names a result keeps the suffix of its input (a.gif.png) where it has another. With all ``frames``, and for
    volumes, a file of many images has one result (see diptych.inference.frames). ``instances`` is a folder with the instance maps
    of label maps, for a translator that takes them (see with_instance_maps). A single image may also be given the file that
    it becomes: an ``out`` with the suffix of an image that is no folder. Where ``out`` lies inside an input folder, the images in
    it are taken for results and are not translated again. Raises DataError when an input is missing, a folder holds no images,
    or results would overwrite their input or one another, and ConfigError when ``out`` names a file that several images, or
    pixels of this kind, cannot become, or when a folder in it leads elsewhere through a link.
    """
    jobs, root, start = list[Job](), Path(out), f"{Path(out)}{os.sep}"
    same_names = set[str]()  # suffixes whose results have the names of their inputs, which needs to be found out only once
    if names_a_file(out):
        return with_instance_maps([_single_job(inputs, Path(out), translator, frames)], out, instances, translator.source)
    for given in map(Path, inputs):
        if not exists(given):
            raise DataError(f"{show(given)}: no such file or folder; give images, folders of images, or archives of these")
        files: Iterable[tuple[Path, str]] = [(given, given.name)]
        if is_folder(given) and not only_in_windows(given):
            results = root.resolve() if given.resolve() in root.resolve().parents else None
            images = [path for path in find_images(given) if not (results and path.resolve().is_relative_to(results))]
            files = ((path, name_below(path, given)) for path in whole_files(images))
        for path, relative in files:
            if path.suffix in same_names:
                target = Path(start + relative)
            else:
                target = root / result_of(path, Path(relative), translator.target, names, frames)
                if target == root / relative and frames == "first":
                    same_names.add(path.suffix)
            jobs.append(Job(path, target))
    refuse_own_inputs(jobs)
    refuse_clashes(jobs, names)
    refuse_links_out((job.target.parent for job in jobs), root)
    return with_instance_maps(jobs, out, instances, translator.source)


def refuse_own_inputs(jobs: Iterable[Job]) -> None:
    """Raise DataError where a result would replace its own input, by its path or through a link.

    Folders are compared rather than files, of which there may be millions: a result can only be its input where both lie in one
    folder, or where there is a link of its name.
    """
    near: dict[tuple[str, str], bool | set[str]] = {}
    for job in jobs:
        source, target = str(job.source), str(job.target)
        folders = os.path.dirname(source), os.path.dirname(target)
        found = near.get(folders)
        if found is None:
            found = near[folders] = is_same_file(*(folder or "." for folder in folders)) or _links(folders[1] or ".")
        if (found is True or (found and os.path.basename(target) in found)) and is_same_file(source, target):
            raise DataError(f"{show(job.source)}: would be overwritten by its own translation; choose another --out")


def _links(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_symlink()}
    except OSError:  # it is made later
        return set()


def with_instance_maps(jobs: list[Job], out: str | Path, folder: str | Path | None, source: Domain) -> list[Job]:
    """The jobs with the instance maps of their label maps: files of the same names, in a folder.

    Raises ConfigError where the images of the domain ``source`` have such maps and no folder is given, or where they have none;
    DataError as `with_instances` does.
    """
    if not source.instances:
        if folder is not None:
            raise ConfigError("--instances: this snapshot was trained without instance maps; leave them out")
        return jobs
    if folder is None:
        raise ConfigError("this snapshot was trained with instance maps, and takes them beside label maps; give --instances DIR")
    root = folder_of(out)
    keys = [job.source.stem if names_a_file(out) else key_of(job.source, job.target, root) for job in jobs]
    refs = tuple(Ref(job.source, key=key) for job, key in zip(jobs, keys, strict=True))
    found = with_instances(Split(refs, (), paired=False), folder).a
    return [replace(job, instances=ref.instances) for job, ref in zip(jobs, found, strict=True)]


def key_of(source: Path, target: Path, root: Path) -> str:
    """The name of an image in its folder of inputs, which that of results mirrors, without the suffix."""
    return spelling((target.relative_to(root).parent / source.stem).as_posix())


def names_a_file(out: str | Path) -> bool:
    """Whether the place for results is the name of one image, and not a folder."""
    if written_only_in_windows(Path(out)):
        return True
    return (Path(out).suffix.lower() in SUFFIXES or is_volume(out)) and not Path(out).is_dir()


def folder_of(out: str | Path) -> Path:
    """The folder that results are written into."""
    return Path(out).parent if names_a_file(out) else Path(out)


def frames_named(inputs: Sequence[str | Path], out: str | Path, target: Domain, frames: Frames) -> Frames:
    """All frames where a file of several is to become an animation by its name (.gif, .webp or .apng), else ``frames``.

    A PNG file may hold an animation too, but whoever names one wants a still. With other suffixes, all frames are taken where a
    result of that name cannot be a still of the target domain.
    """
    source, named = Path(inputs[0]), Path(out)
    if frames == "all" or len(inputs) > 1 or not names_a_file(out) or written_in_windows(named) or is_folder(source):
        return frames
    still = result_of(source, Path(named.name), target, "plain", "first").suffix == named.suffix
    if still and (named.suffix.lower() not in ANIMATIONS or among_strangers() or count_frames(source) == 1):
        return frames
    return "all" if result_of(source, Path(named.name), target, "plain", "all").suffix == named.suffix else frames


def _single_job(inputs: Sequence[str | Path], out: Path, translator: Translator, frames: Frames) -> Job:
    """The job of one image whose result has a name of its own."""
    if len(inputs) > 1 or (is_folder(Path(inputs[0])) and not only_in_windows(Path(inputs[0]))):
        raise ConfigError(f"--out {show(out)}: names one image, but several are translated; give a folder, --out {out.stem}")
    source = Path(inputs[0])
    if not exists(source):
        raise DataError(f"{show(source)}: no such file or folder; give images, folders of images, or archives of these")
    if is_same_file(source, out):
        raise DataError(f"{show(source)}: would be overwritten by its own translation; choose another --out")
    target = translator.target
    suffix = result_of(source, Path(out.name), target, "plain", frames).suffix
    if written_in_windows(out):
        return Job(source, out)
    if suffix != out.suffix or is_volume(source) != is_volume(out):
        kind = f"{target} pixels" if not target.classes else "label maps exactly"
        kind += " in its 256 colours" if out.suffix.lower() == ".gif" else ""
        raise ConfigError(f"--out {show(out)}: {out.suffix} cannot hold {kind}; name it {out.stem}{suffix}")
    return Job(source, out)
