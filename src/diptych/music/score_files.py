"""Find score files (MusicXML, .mxl, ABC, MEI) and read their text."""

from __future__ import annotations

import html
import io
import lzma
import re
import zipfile
import zlib
from pathlib import Path
from xml.parsers import expat

from diptych.errors import DataError
from diptych.extras import extra
from diptych.files import read_bounded
from diptych.walking import files_below

SUFFIXES = (".mxl", ".musicxml", ".xml", ".abc", ".mei")
MAX_BYTES = 64_000_000  # of an unpacked score; the longest operas are smaller
MAX_MEMBERS = 1_000  # of an .mxl archive, which holds one score and perhaps its pictures
MEMBER = b"PK\x01\x02"  # how an entry of a ZIP archive's directory begins
MAX_DEPTH = 100  # of elements inside elements; scores have about ten, and verovio crashes on thousands
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those of MusicXML; others unpack a small file to gigabytes at once
CONTAINER = "META-INF/container.xml"  # names the score inside an .mxl archive
ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
)
"""Exceptions that reading a damaged archive can raise."""


def find_scores(sources: list[str]) -> list[Path]:
    """Find the score files among files and folders, sorted. ``music21:NAME`` is a folder of music21's corpus, such as bach.

    Raises DataError where a source does not exist or contains no score.
    """
    found: list[Path] = []
    for source in sources:
        root = music21_folder(source.partition(":")[2]) if source.startswith("music21:") else Path(source)
        if not root.exists():
            raise DataError(f"{source}: no such file or folder; give scores ({' '.join(SUFFIXES)}) or folders of them")
        if not (root.is_file() or root.is_dir()):
            raise DataError(f"{source}: is a pipe, socket or device, not a file; give scores or folders of them")
        files = [root] if root.is_file() else sorted(path for path in files_below(root) if path.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(f"{source}: holds no scores ({' '.join(SUFFIXES)})")
        found += files
    return found


def music21_folder(name: str) -> Path:
    """Return a folder of the corpus in the package music21. Raises DataError where there is none of that name."""
    package = Path(extra("music21", "music-corpus", "its corpus").__file__).parent / "corpus"
    if not (name and (package / name).is_dir()):
        known = sorted(p.name for p in package.iterdir() if p.is_dir() and p.name[0] not in "_.")
        raise DataError(f"music21:{name}: not in its corpus; choose one of {', '.join(known)}")
    return package / name


def read_text(path: Path) -> str:
    """Read the score in a file, unpacked, as text. Raises DataError, in one line that begins with the path."""
    try:
        data = read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a score as {' '.join(SUFFIXES)}") from error
    if data[:2] == b"PK":
        data = _unpacked(data, path)
    for encoding in ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "latin-1"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path}: is not text; give a score as {' '.join(SUFFIXES)}")


def _unpacked(data: bytes, path: Path) -> bytes:
    """Return the score in a compressed MusicXML file: the file that its container names, else the first XML file."""
    if data.count(MEMBER) > MAX_MEMBERS:
        raise DataError(f"{path}: holds more than {MAX_MEMBERS:,} files, and a score is one; export it again")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            found = [n for n in names if n.lower().endswith((".xml", ".musicxml")) and not n.startswith("META-INF")]
            if CONTAINER in names:
                text = _member(archive, CONTAINER, path).decode("utf-8", "replace")
                named = re.search(r"""full-path\s*=\s*(["'])(.*?)\1""", text)
                found = [n for n in names if named and n == html.unescape(named[2])] or found
            if not found:
                raise DataError(f"{path}: holds no score; export it again")
            return _member(archive, found[0], path)
    except ARCHIVE_ERRORS as error:
        raise DataError(f"{path}: is damaged ({error}); export it again") from error


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    if archive.getinfo(name).compress_type not in PACKINGS:
        raise DataError(f"{path}: is not packed as MusicXML asks, which is by deflate; export it again")
    with archive.open(name) as file:
        data = file.read(MAX_BYTES + 1)  # whatever size the archive states
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: unpacks to more than {MAX_BYTES:,} bytes, at most that many are read; split the score")
    return data


def tunes(path: Path) -> list[str]:
    """Return the scores in a file as text. An ABC file holds a tune for each ``X:``; fields before the first apply to all.

    Raises DataError, in one line that begins with the path.
    """
    text = read_text(path)
    if is_xml(text):
        _check_xml(text, path)
    header, *found = [text] if is_xml(text) else re.split(r"^(?=X:)", text, flags=re.MULTILINE)
    fields = re.findall(r"^[A-JL-Z]:.*\n", header, flags=re.MULTILINE)
    return [_with_fields(each, fields) for each in found] or [text]


def is_xml(text: str) -> bool:
    """Return whether a score is MusicXML or MEI, not ABC."""
    return text.lstrip().startswith("<")


def _check_xml(text: str, path: Path) -> None:
    """Raise DataError for XML that is not well-formed, that declares entities, or whose elements are nested too deeply."""
    depth = 0

    def begin(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise DataError(f"{path}: has elements nested more than {MAX_DEPTH} deep, which no score has; export it again")

    def end(*_: object) -> None:
        nonlocal depth
        depth -= 1

    def declare(name: str, *_: object) -> None:
        raise DataError(f"{path}: declares the entity {name!r}, and a score is read without them; export it again")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.EntityDeclHandler = begin, end, declare
    try:
        parser.Parse(text.lstrip(), True)
    except expat.ExpatError as error:
        raise DataError(f"{path}: cannot be read as a score ({error}); export it again") from error


def _with_fields(tune: str, fields: list[str]) -> str:
    """Insert header fields after the first line of an ABC tune, except those that the tune sets itself."""
    number, _, rest = tune.partition("\n")
    own = {line[:2] for line in rest.partition("\nK:")[0].splitlines()}
    return "".join([number, "\n", *(field for field in fields if field[:2] not in own), rest])
