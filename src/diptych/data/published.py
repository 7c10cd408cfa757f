"""The published data sets of the papers, by name: where they are, what they must be, and under which terms.

Sizes and SHA-256 of the CycleGAN archives are those that TensorFlow Datasets recorded. None were published for the pix2pix
archives: theirs are recorded when they are first fetched, and a later fetch of other bytes is refused.
"""

from __future__ import annotations

import gzip
import json
import logging
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from diptych.data.decoders import first_line
from diptych.downloads import Download, Watch, download, mirrored, user_cache
from diptych.errors import ConfigError, DataError, StorageError
from diptych.files import write_atomic
from diptych.messages import show

log = logging.getLogger(__name__)

BERKELEY = "https://efrosgans.eecs.berkeley.edu"
NOTE = "fetched.json"
MOST_BYTES = 20 * 2**30  # that an archive may hold unpacked
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)
MOST_FILES = 500_000


@dataclass(frozen=True)
class Published:
    """One archive: what it shows (A, then B), its size in bytes and SHA-256 ('' and 0 where none were published), its terms.

    ``direction`` is that of the papers' task where it is not A to B.
    """

    name: str
    address: str
    shows: str
    terms: str
    paired: bool = False
    size: int = 0
    sha256: str = ""
    direction: str = "a2b"

    @property
    def filename(self) -> str:
        return self.address.rpartition("/")[2]


def _unpaired(name: str, shows: str, size: int, sha256: str, terms: str) -> Published:
    return Published(name, f"{BERKELEY}/cyclegan/datasets/{name}.zip", shows, terms, size=size, sha256=sha256)


def _paired(name: str, shows: str, terms: str, direction: str = "a2b") -> Published:
    return Published(name, f"{BERKELEY}/pix2pix/datasets/{name}.tar.gz", shows, terms, paired=True, direction=direction)


IMAGENET = "photos of ImageNet: for non-commercial research and education"
FLICKR = "photos of Flickr, each under its own licence: for research"
GOOGLE = "screenshots of Google Maps: its terms forbid redistribution; for research"
CITYSCAPES = "Cityscapes: its licence asks you to register and agree at www.cityscapes-dataset.com first; non-commercial"
CMP = "CMP Facade Database, Center for Machine Perception, Prague: for research; cite Tylecek and Sara 2013"
ART = "paintings of WikiArt and photos of Flickr: for research"

PUBLISHED: dict[str, Published] = {
    published.name: published
    for published in (
        _unpaired(
            "apple2orange",
            "apples <-> oranges",
            78_456_409,
            "845a191e9af8926408ea597001cd03a452e3300a1f44a79fe329b3d59f6e3eb8",
            IMAGENET,
        ),
        _unpaired(
            "cezanne2photo",
            "Cezanne's paintings <-> landscape photos",
            279_885_071,
            "3a6c10ca21f9485862f1cbd707744b9dc258954a04631271d23a3605eeb63cff",
            ART,
        ),
        _unpaired(
            "horse2zebra",
            "horses <-> zebras",
            116_867_962,
            "a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1",
            IMAGENET,
        ),
        _unpaired(
            "iphone2dslr_flower",
            "flowers by a phone <-> flowers by a DSLR with a shallow depth of field",
            339_964_458,
            "8fcb5e374d631b107e1d961b8c4cd0a186aa2a4ff3e279923f4c426128de7113",
            FLICKR,
        ),
        _unpaired(
            "monet2photo",
            "Monet's paintings <-> landscape photos",
            305_231_073,
            "88f91b00fc228f97c9411fbf1880ec1d119c98f1722e4cfcfaa2fb35fac05b04",
            ART,
        ),
        _unpaired(
            "summer2winter_yosemite",
            "Yosemite in summer <-> in winter",
            132_640_856,
            "167fe1726807a9d22bd106b4a6c0bd7953b688af924ac1bf967439c4961e49f9",
            FLICKR,
        ),
        _unpaired(
            "ukiyoe2photo",
            "ukiyo-e prints <-> landscape photos",
            292_946_532,
            "02a2a2fb5ecf425ca1bf86aca7304377da64a2a1d3b86df54eb65e4068bf3b08",
            ART,
        ),
        _unpaired(
            "vangogh2photo",
            "van Gogh's paintings <-> landscape photos",
            306_590_349,
            "362c3473e70be0944bda08d49d660eafdc2854df55d697835b8186d1d79caaff",
            ART,
        ),
        _paired("facades", "photos of facades, labels", CMP, "b2a"),
        _paired("maps", "aerial photos, maps", GOOGLE),
        _paired("cityscapes", "street photos, labels", CITYSCAPES, "b2a"),
        _paired("night2day", "a place by night, by day", "webcam pictures of Transient Attributes (Laffont 2014): for research"),
        _paired("edges2shoes", "edges, shoes", "UT Zappos50K: for academic, non-commercial use"),
        _paired("edges2handbags", "edges, handbags", "Amazon handbag photos of iGAN (Zhu et al. 2016): for research"),
    )
}


def data_folder() -> Path:
    """Where data sets lie that were fetched by name: $DIPTYCH_DATA, else ``diptych/data`` in the platform's folder for caches."""
    return Path(os.environ.get("DIPTYCH_DATA") or Path(user_cache("diptych"), "data"))


def fetched(name: str) -> Path | None:
    """The folder of a data set that was fetched by name, if it was."""
    folder = data_folder() / name
    return folder if name in PUBLISHED and (folder / NOTE).is_file() else None


def fetch(wanted: Published, folder: Path | None = None, watch: Watch = lambda done, total: None) -> Path:
    """Fetch a data set and unpack it into ``folder`` (data_folder()/NAME without one); returns the folder.

    The archive is fetched to a file beside the folder, where an interrupted fetch goes on, and removed once it is unpacked.
    $DIPTYCH_DATA_URL names a mirror. Nothing is done where the folder is complete already. Raises DataError when the data set
    cannot be had or unpacked, ConfigError when the folder holds anything else, and StorageError when the disk refuses.
    """
    folder = folder or data_folder() / wanted.name
    if (folder / NOTE).is_file():
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{show(folder)}: is not empty and was not made by `diptych fetch`; choose another folder")
    archive = folder.with_name(f".{wanted.filename}")
    url = mirrored(wanted.address, wanted.filename, "DIPTYCH_DATA_URL")
    known = wanted.sha256 or _first_seen(wanted)
    sha256 = download(Download(f"{wanted.name} data", url, known, wanted.size, DataError), archive, watch)
    unpacked = folder.with_name(f".{folder.name}.unpacked")
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        unpack(archive, unpacked)
        if not known:  # only now, as a page of an error is no data set, and would make the true one be refused for ever
            log.info("%s: no SHA-256 was published; %s is recorded, and other bytes will be refused", wanted.name, sha256)
            write_atomic(_seen(wanted), f"{sha256}\n".encode())
        inner = [path for path in unpacked.iterdir() if path.is_dir()]
        top = inner[0] if len(inner) == 1 and len(list(unpacked.iterdir())) == 1 else unpacked
        note = {"name": wanted.name, "address": url, "sha256": sha256, "terms": wanted.terms}
        write_atomic(top / NOTE, json.dumps(note, indent=1).encode())
        if folder.is_dir():  # and empty
            folder.rmdir()
        top.replace(folder)
    except OSError as error:
        advice = "free some space, or choose another folder"
        raise StorageError(f"{show(folder)}: cannot be written ({error.strerror}); {advice}") from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    archive.unlink()
    archive.with_name(f".{archive.name}.lock").unlink(missing_ok=True)
    return folder


def _seen(wanted: Published) -> Path:
    return data_folder() / f"{wanted.filename}.sha256"


def _first_seen(wanted: Published) -> str:
    try:
        return _seen(wanted).read_text().strip()
    except FileNotFoundError:
        return ""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the files of a .zip or .tar.gz archive into a new folder.

    Raises DataError for damage, for members that would land outside of the folder, and for more than MOST_FILES or MOST_BYTES;
    links and devices are passed over. OSError of the disk goes through.
    """
    taken = written = 0
    try:
        for name, member in _members(archive):
            taken += 1
            target = (folder / name).resolve()
            if not target.is_relative_to(folder.resolve()) or taken > MOST_FILES:
                raise DataError(f"{show(archive)}: holds {show(name)!r} outside of itself, or too many files; it is not unpacked")
            target.parent.mkdir(parents=True, exist_ok=True)
            with member as source, open(target, "wb") as file:
                while block := source.read(1 << 20):
                    written += len(block)
                    if written > MOST_BYTES:
                        raise DataError(f"{show(archive)}: holds more than {MOST_BYTES:,} bytes; it is not unpacked")
                    file.write(block)
    except DAMAGED as error:
        raise DataError(f"{show(archive)}: is a damaged archive ({first_line(error)}); remove it and fetch again") from error
    if not taken:
        raise DataError(f"{show(archive)}: holds no files; remove it and fetch again")


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The names and the open contents of the plain files of an archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16):
                    yield info.filename, zipped.open(info)
        return
    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
        for entry in tar:
            if entry.isfile() and (content := tar.extractfile(entry)):
                yield entry.name, content
        while stream.read(1 << 20):  # to the end, where the checksum is
            pass
