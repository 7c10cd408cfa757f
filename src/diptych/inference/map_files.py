"""Write maps of uncertainty for the images of a job: one file of float32 and one to look at for each kind, and a table."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import matplotlib
import numpy as np
from jaxtyping import Float

from diptych.choices import MapKind, WorkingSize
from diptych.data.augment import resize, to_tensor
from diptych.data.datasets import read_picture_as
from diptych.data.folders import Ref
from diptych.data.formats import read_pixels, write_pixels, write_whole
from diptych.data.listing import images_by_stem, open_folder, spelling
from diptych.errors import ConfigError, DataError, out_of_memory
from diptych.files import make_folder, refuse_links_out
from diptych.inference.calibration import Calibration, calibration
from diptych.inference.jobs import folder_of, names_a_file
from diptych.inference.manifest import Job, Manifest
from diptych.inference.uncertainty import Maps, difference
from diptych.messages import show

SHOWN_UP_TO = {"cycle": 0.25, "edges": 1.0, "spread": 0.25, "mask": 1.0, "error": 0.25}  # what is brightest in files to look at
COLOURS = "magma"
TABLE, CALIBRATION = "means.csv", "calibration.json"


@dataclass(frozen=True)
class Request:
    """An image whose maps are wanted, and the truth of its translation, if that is known."""

    source: Path
    name: Path
    """The path of its files below the folder of each kind, without a suffix."""
    truth: Path | None = None
    instances: Path | None = None


def maps_folder(out: str | Path) -> Path:
    """Where maps go: into a folder beside that of the translations, or beside the single result, named after it."""
    out = Path(out).resolve()
    return out.with_name((out.stem if names_a_file(out) else out.name) + "-maps")


def requests(jobs: Sequence[Job], out: str | Path, truth: str | Path | None = None) -> list[Request]:
    """Make a request of each job; ``truth`` is a folder that has an image of the same name, up to its suffix, for each result.

    Raises DataError for a folder of truth that lacks one, or is none.
    """
    below = [job.target.relative_to(folder_of(out)) for job in jobs]
    counts = Counter(path.with_suffix("") for path in below)
    names = [path.with_suffix("") if counts[path.with_suffix("")] == 1 else path for path in below]
    if truth is None:
        return [Request(job.source, name, None, job.instances) for job, name in zip(jobs, names, strict=True)]
    folder = open_folder(truth)
    known = images_by_stem(folder)
    stems = [spelling(str(path.with_suffix(""))) for path in below]
    if missing := [stem for stem in stems if stem not in known]:
        more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        raise DataError(f"{show(folder)}: has no image named {show(missing[0])}{more}; the truth of every image is needed")
    return [Request(job.source, name, known[stem], job.instances) for job, name, stem in zip(jobs, names, stems, strict=True)]


@final
class MapFiles:
    """The files of maps in a folder, with a record as translations have, so that none is replaced that it did not make."""

    def __init__(self, folder: Path, kinds: Sequence[MapKind], manifest: Manifest, wanted: Sequence[Request]) -> None:
        self.folder, self.manifest, self.wanted = folder, manifest, list(wanted)
        self.resized = 0  # truths of another size than their inputs
        self.kinds = [*kinds, "error"] if any(request.truth for request in wanted) else list(kinds)
        refuse_links_out((self.place(kind, request, "").parent for request in wanted for kind in self.kinds), folder)

    def jobs(self, request: Request) -> list[Job]:
        """What is written for an image: for each kind a file of float32 and one to look at."""
        places = (self.place(kind, request, suffix) for kind in self.kinds for suffix in (".tiff", ".png"))
        return [Job(request.source, place) for place in places]

    def place(self, kind: str, request: Request, suffix: str) -> Path:
        """Where a map lies."""
        return self.folder / kind / request.name.with_name(request.name.name + suffix)

    def write(self, request: Request, maps: Maps, at: WorkingSize = "native") -> str | None:
        """Compute and write the maps of an image. Give the reason, in one line, where it cannot be done.

        Raises StorageError when the disk refuses.
        """
        where = show(request.source)
        try:
            found = self._maps(request, maps, at)
        except DataError as error:
            return str(error)
        except Exception as error:
            if not out_of_memory(error):
                raise
            return f"{where}: its maps need more memory than there is; use --at trained, or give less to --samples"
        for job in self.jobs(request):
            make_folder(job.target.parent)
            self.manifest.begin(job)
            kind = job.target.relative_to(self.folder).parts[0]
            write_pixels(job.target, found[kind][..., None] if job.target.suffix == ".tiff" else picture(found[kind], kind))
            self.manifest.finish(job)
        return None

    def _maps(self, request: Request, maps: Maps, at: WorkingSize) -> dict[str, Float[np.ndarray, "h w"]]:
        _, pixels = read_picture_as(Ref(request.source, instances=request.instances), maps.source)
        height, width = pixels.shape[:2]
        try:
            out, computed = maps(maps.prepare(pixels, at))
        except (DataError, ConfigError) as error:
            raise DataError(f"{show(request.source)}: {error}") from error
        found: dict[str, np.ndarray] = {
            kind: resize(each.numpy()[..., None], height, width)[..., 0] for kind, each in computed.items()
        }
        if request.truth is None:
            return found
        _, truth = read_picture_as(Ref(request.truth), maps.target)
        high, wide = truth.shape[:2]
        if abs(high - wide * height / width) > 1 and abs(wide - high * width / height) > 1:  # but for rounding
            raise DataError(
                f"{show(request.truth)}: has {high} x {wide} pixels, expected {height} x {width} as its input, or its proportions"
            )
        self.resized += (high, wide) != (height, width)
        working = resize(truth, *out.shape[-2:], nearest=bool(maps.target.classes))
        real = maps.target.encode(to_tensor(working)[None])
        missed = difference(out[None], real, maps.target)[0].numpy()
        return found | {"error": resize(missed[..., None], height, width)[..., 0]}

    def finish(self) -> dict[str, Calibration]:
        """Write the table of means, and how well each kind ranks the true error where that is known, which is returned too."""
        done = [request for request in self.wanted if all(job.target.is_file() for job in self.jobs(request))]
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["image", *self.kinds])
        for request in done:
            table.writerow([request.name.as_posix(), *(f"{_mean(self._read(kind, request)):.6f}" for kind in self.kinds)])
        if done:
            write_whole(self.folder / TABLE, text.getvalue().encode("utf-8", "surrogateescape"))
        known = [request for request in done if request.truth]
        if not known:
            return {}
        found = {
            kind: calibration((self._read(kind, request), self._read("error", request)) for request in known)
            for kind in self.kinds
            if kind != "error"
        }
        values = {kind: each.as_json() for kind, each in found.items()}
        write_whole(self.folder / CALIBRATION, (json.dumps(values, indent=1) + "\n").encode())
        return found

    def _read(self, kind: str, request: Request) -> Float[np.ndarray, "h w"]:
        return read_pixels(self.place(kind, request, ".tiff"))[..., 0]


def picture(values: Float[np.ndarray, "h w"], kind: str) -> np.ndarray:
    """A map in colours from dark (0) to bright (SHOWN_UP_TO of its kind, and all above); grey where it has no value."""
    share = np.clip(values / SHOWN_UP_TO[kind], 0.0, 1.0)
    colours = matplotlib.colormaps[COLOURS](np.nan_to_num(share), bytes=True)[..., :3]
    return np.where(np.isnan(values)[..., None], np.uint8(128), colours)


def _mean(values: Float[np.ndarray, "h w"]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan
