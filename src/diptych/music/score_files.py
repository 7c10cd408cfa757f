"""Read scores (MusicXML, .mxl, ABC, MEI) through verovio, and keep what a roll can say: notes, rests, ties, keys, clefs."""

from __future__ import annotations

import copy
import html
import io
import lzma
import re
import xml.etree.ElementTree as ET
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from diptych.errors import DataError
from diptych.extras import extra

SUFFIXES = (".mxl", ".musicxml", ".xml", ".abc", ".mei")
MAX_BYTES = 64_000_000  # of a score once unpacked: the longest operas are smaller
ID = "{http://www.w3.org/XML/1998/namespace}id"
CONTAINER = "META-INF/container.xml"  # names the score in an archive
KEPT_ELEMENTS = {  # elements of MEI that a picture of notes needs; all others go, with what is in them
    *("mei", "music", "body", "mdiv", "score", "scoreDef", "staffGrp", "staffDef", "section", "measure", "staff", "layer"),
    *("clef", "keySig", "keyAccid", "meterSig", "beam", "tuplet", "chord", "note", "rest", "mRest", "space", "mSpace"),
    *("accid", "dot", "tie", "pb", "sb"),
}
DROPPED_ATTRIBUTES = {  # attributes that print more than the notes, or print them by a source's taste
    *("grace", "artic", "fermata", "stem.mod", "left", "right", "symbol", "label", "ornam", "slur", "lv"),
    *("stem.dir", "stem.len", "ploc", "oloc", "ho", "vo", "curvedir", "bulge"),
    *("bracket.visible", "bracket.place", "num.visible", "num.place", "num.format"),
}
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
INVISIBLE_RESTS = {"rest": "space", "mRest": "mSpace"}


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


@lru_cache(maxsize=1)
def verovio_toolkit() -> Any:
    """Verovio's engraver, silent. Raises MissingExtraError without the package."""
    verovio = extra("verovio", "music", "music")
    verovio.enableLog(verovio.LOG_OFF)
    return verovio.toolkit()


def tunes(path: Path) -> list[str]:
    """The scores in a file as text: one, but of ABC each ``X:`` begins another, which the fields before the first hold for.

    Raises DataError, in one line that begins with the path.
    """
    text = read_text(path)
    header, *found = [text] if _is_xml(text) else re.split(r"^(?=X:)", text, flags=re.MULTILINE)
    fields = re.findall(r"^[A-JL-Z]:.*\n", header, flags=re.MULTILINE)
    return [_with_fields(each, fields) for each in found] or [text]


def _is_xml(text: str) -> bool:
    return text.lstrip().startswith("<")


def _with_fields(tune: str, fields: list[str]) -> str:
    """A tune of ABC with these fields after its first line, but for those that its own header has."""
    number, _, rest = tune.partition("\n")
    own = {line[:2] for line in rest.partition("\nK:")[0].splitlines()}
    return "".join([number, "\n", *(field for field in fields if field[:2] not in own), rest])


def load_mei(path: Path, tune: int = 0) -> ET.Element:
    """A score as MEI, whole; ``tune`` chooses among several in one file. Raises DataError when verovio finds no music in it."""
    text = tunes(path)[tune]
    engraver = verovio_toolkit()
    engraver.setOptions({"xmlIdSeed": 1, "breaks": "none", "xmlIdChecksum": False})
    if not engraver.loadData(text):
        raise DataError(f"{path}: cannot be read as a score")
    try:
        mei = plain_xml(engraver.getMEI())
    except ET.ParseError as error:
        raise DataError(f"{path}: cannot be read as a score ({error})") from error
    if not _is_xml(text) and mei.find(".//*[@keysig]") is None:
        for note in mei.iter("note"):  # verovio keeps the key of the ABC that it read before, where one has no sharps or flats
            note.attrib.pop("accid.ges", None)
    return mei


def plain_xml(text: str) -> ET.Element:
    """Parsed with names as they are written, without the document's namespace."""
    return ET.fromstring(re.sub(r' xmlns="[^"]*"', "", text, count=1))  # noqa: S314 - verovio wrote it


def parts(mei: ET.Element) -> list[list[str]]:
    """The staves of each part by their numbers: staves joined by a brace are one part."""
    grouped: list[list[str]] = []

    def walk(group: ET.Element) -> None:
        staves = [child for child in group if child.tag == "staffDef"]
        symbol = group.find("grpSym")
        kind = group.get("symbol") or (symbol.get("symbol") if symbol is not None else None)
        if staves and kind == "brace":
            grouped.append([staff.get("n", "") for staff in group.iter("staffDef")])
            return
        for child in group:
            if child.tag == "staffDef":
                grouped.append([child.get("n", "")])
            elif child.tag == "staffGrp":
                walk(child)

    definition = mei.find(".//scoreDef/staffGrp")
    if definition is not None:
        walk(definition)
    return grouped


def select_staves(mei: ET.Element, staves: list[str]) -> ET.Element:
    """A copy with these staves alone, and of them what KEPT names."""
    root = copy.deepcopy(mei)
    _reduce(root, set(staves))
    return root


def _reduce(element: ET.Element, staves: set[str]) -> None:
    for name in DROPPED_ATTRIBUTES & element.attrib.keys():
        del element.attrib[name]
    if element.tag in INVISIBLE_RESTS and element.get("visible") == "false":
        element.tag = INVISIBLE_RESTS[element.tag]
        del element.attrib["visible"]
    kept: list[ET.Element] = []
    for child in list(element):
        tag = child.tag if isinstance(child.tag, str) else ""
        if tag in ("ending", "choice", "app", "corr", "sic"):  # wrappers: what is in them stays
            _reduce(child, staves)
            kept.extend(child)
        elif _stays(child, tag, staves):
            _reduce(child, staves)
            kept.append(child)
    element[:] = kept


def _stays(child: ET.Element, tag: str, staves: set[str]) -> bool:
    if tag not in KEPT_ELEMENTS or child.get("grace"):
        return False
    if tag in ("staff", "staffDef"):
        return child.get("n") in staves
    return tag != "staffGrp" or any(staff.get("n") in staves for staff in child.iter("staffDef"))
