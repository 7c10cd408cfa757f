"""Read scores (MusicXML, .mxl, ABC, MEI) through verovio, and keep what a roll can say: notes, rests, ties, keys, clefs."""

from __future__ import annotations

import html
import io
import lzma
import re
import zipfile
import zlib
from pathlib import Path

from diptych.errors import DataError
from diptych.extras import extra

SUFFIXES = (".mxl", ".musicxml", ".xml", ".abc", ".mei")
MAX_BYTES = 64_000_000  # of a score once unpacked: the longest operas are smaller
CONTAINER = "META-INF/container.xml"  # names the score in an archive
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
"""What reading a damaged archive raises."""


def find_scores(sources: list[str]) -> list[Path]:
    """The score files among files and folders, sorted; ``music21:NAME`` is a part of music21's corpus, such as bach.

    Raises DataError where a source is not there or holds no score.
    """
    found: list[Path] = []
    for source in sources:
        root = music21_folder(source.partition(":")[2]) if source.startswith("music21:") else Path(source)
        if not root.exists():
            raise DataError(f"{source}: no such file or folder; give scores ({' '.join(SUFFIXES)}) or folders of them")
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not files:
            raise DataError(f"{source}: holds no scores ({' '.join(SUFFIXES)})")
        found += files
    return found


def music21_folder(name: str) -> Path:
    """A folder of the corpus that comes with the package music21. Raises DataError where it has none of that name."""
    package = Path(extra("music21", "music-corpus", "its corpus").__file__).parent / "corpus"
    if not (name and (package / name).is_dir()):
        known = sorted(p.name for p in package.iterdir() if p.is_dir() and p.name[0] not in "_.")
        raise DataError(f"music21:{name}: not in its corpus; choose one of {', '.join(known)}")
    return package / name


def read_text(path: Path) -> str:
    """The score in a file, unpacked. Raises DataError, in one line that begins with the path."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: {path.stat().st_size:,} bytes of score, at most {MAX_BYTES:,} are read")
        data = path.read_bytes()
        if data[:2] == b"PK":
            data = _unpacked(data, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    for encoding in ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "latin-1"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path}: is no text")


def _unpacked(data: bytes, path: Path) -> bytes:
    """The score inside a compressed MusicXML file: what its container names, else the first XML file in it."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            found = [n for n in names if n.lower().endswith((".xml", ".musicxml")) and not n.startswith("META-INF")]
            if CONTAINER in names:
                text = _member(archive, CONTAINER, path).decode("utf-8", "replace")
                named = re.search(r"""full-path\s*=\s*(["'])(.*?)\1""", text)
                found = [n for n in names if named and n == html.unescape(named[2])] or found
            if not found:
                raise DataError(f"{path}: holds no score")
            return _member(archive, found[0], path)
    except ARCHIVE_ERRORS as error:
        raise DataError(f"{path}: damaged: {error}") from error


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    with archive.open(name) as file:
        data = file.read(MAX_BYTES + 1)  # never more, whatever the archive says of its size
    if len(data) > MAX_BYTES:
        raise DataError(f"{path}: unpacks to more than {MAX_BYTES:,} bytes, as no score does")
    return data


def tunes(path: Path) -> list[str]:
    """The scores in a file as text: one, but of ABC each ``X:`` begins another, which the fields before the first hold for.

    Raises DataError, in one line that begins with the path.
    """
    text = read_text(path)
    header, *found = [text] if is_xml(text) else re.split(r"^(?=X:)", text, flags=re.MULTILINE)
    fields = re.findall(r"^[A-JL-Z]:.*\n", header, flags=re.MULTILINE)
    return [_with_fields(each, fields) for each in found] or [text]


def is_xml(text: str) -> bool:
    return text.lstrip().startswith("<")


def _with_fields(tune: str, fields: list[str]) -> str:
    """A tune of ABC with these fields after its first line, but for those that its own header has."""
    number, _, rest = tune.partition("\n")
    own = {line[:2] for line in rest.partition("\nK:")[0].splitlines()}
    return "".join([number, "\n", *(field for field in fields if field[:2] not in own), rest])
