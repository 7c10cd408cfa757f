"""Files that attack what reads them, and the commands that are given them: the table of tests/test_hostile_commands.py.

Each attack writes its files into an empty folder and returns the words of a command; ``S`` stands for a snapshot.
"""

import gzip
import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from tests.data.bad_images import CASES, PNG

Attack = Callable[[Path], list[str]]
DEEP = "[" * 50_000 + "]" * 50_000


def translate(name: str, *more: str) -> list[str]:
    how = ["--device", "cpu", "--backend", "torch", "--precision", "fp32", "--batch", "1"]
    return ["translate", "S", name, "--out", "out", *how, *more]


# --- archives ---


def zipped(*names: str, data: bytes = PNG, method: int = zipfile.ZIP_STORED, change: Callable[[bytes], bytes] = bytes) -> Attack:
    def make(folder: Path) -> list[str]:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name in names:
                archive.writestr(name, data)
        (folder / "in.zip").write_bytes(change(file.getvalue()))
        return translate("in.zip")

    return make


def zip_link(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "in.zip", "w") as archive:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return translate("in.zip")


def in_header(field: int, value: bytes) -> Callable[[bytes], bytes]:
    """Change a field of the local header and of the central directory, which holds it two bytes later."""

    def change(data: bytes) -> bytes:
        central, data = data.index(b"PK\x01\x02"), bytearray(data)
        for place in (field, central + field + 2):
            data[place : place + len(value)] = value
        return bytes(data)

    return change


def in_directory(field: int, value: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        place = data.index(b"PK\x01\x02") + field
        return data[:place] + value + data[place + len(value) :]

    return change


def tarred(name: str = "x.png", suffix: str = ".tar", data: bytes = PNG, pax: dict | None = None, **changes) -> Attack:
    def make(folder: Path) -> list[str]:
        with tarfile.open(folder / f"in{suffix}", "w", format=tarfile.PAX_FORMAT) as archive:
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(data), pax or {}
            for key, value in changes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
        return translate(f"in{suffix}")

    return make


def tar_patched(place: int, value: bytes) -> Attack:
    def make(folder: Path) -> list[str]:
        words = tarred()(folder)
        data = bytearray((folder / "in.tar").read_bytes())
        data[place : place + len(value)] = value
        data[148:156] = b" " * 8
        data[148:156] = b"%06o\0 " % sum(data[:512])
        (folder / "in.tar").write_bytes(data)
        return words

    return make


# --- single files ---


def file(name: str, data: bytes | Callable[[], bytes], *more: str) -> Attack:
    def make(folder: Path) -> list[str]:
        (folder / name).write_bytes(data if isinstance(data, bytes) else data())
        return translate(name, *more)

    return make


def sparse(name: str, data: bytes, size: int) -> Attack:
    """A file of a size above which it is read in windows."""

    def make(folder: Path) -> list[str]:
        with open(folder / name, "wb") as opened:
            opened.write(data)
            opened.truncate(size)
        return translate(name)

    return make


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    whole = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        whole += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return whole


IHDR = (b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
IDAT = (b"IDAT", zlib.compress(b"\0" * 52))


def dicom(**values) -> Callable[[], bytes]:
    def make() -> bytes:
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, generate_uid

        found = Dataset()
        found.file_meta = FileMetaDataset()
        found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        found.file_meta.MediaStorageSOPClassUID, found.file_meta.MediaStorageSOPInstanceUID = "1.2", generate_uid()
        for name, value in ({"Rows": 4, "Columns": 4, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7} | values).items():
            setattr(found, name, value)
        found.SamplesPerPixel = values.get("SamplesPerPixel", 1)
        found.PhotometricInterpretation, found.PixelRepresentation = "MONOCHROME2", 0
        found.PixelData = bytes(16)
        found["PixelData"].VR = "OB"
        written = io.BytesIO()
        found.save_as(written, enforce_file_format=True)
        return written.getvalue()

    return make


def deep_dicom() -> bytes:
    """A sequence in a sequence, 3,000 times, of undefined lengths."""
    nested = (b"\x40\x00\x75\xa2SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 3000
    return dicom()()[:-20] + nested


def nifti(values: bytes = bytes(64), **fields) -> bytes:
    head = {"dim": (3, 4, 4, 4, 1, 1, 1, 1), "datatype": 2, "bitpix": 8, "vox_offset": 352.0, "slope": 1.0, "inter": 0.0} | fields
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, *head["dim"])
    struct.pack_into("<hh", header, 70, head["datatype"], head["bitpix"])
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<fff", header, 108, head["vox_offset"], head["slope"], head["inter"])
    header[344:348] = b"n+1\0"
    return bytes(header) + values


def tiff(**fields) -> bytes:
    """A TIFF of 4 x 4 gray pixels whose tags may be changed; ``next`` is the place of the next page."""
    tags = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: 4, 279: 16} | fields.pop("tags", {})
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", fields.get("next", 0))
    return head.ljust(200, b"\0") + bytes(16)


def zarr(files: dict[str, object]) -> Attack:
    def make(folder: Path) -> list[str]:
        (folder / "in.zarr").mkdir()
        for name, value in files.items():
            (folder / "in.zarr" / name).parent.mkdir(exist_ok=True)
            data = value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
            (folder / "in.zarr" / name).write_bytes(data)
        return translate("in.zarr")

    return make


ZARRAY = {"zarr_format": 2, "shape": [8, 8, 3], "chunks": [8, 8, 3], "dtype": "|u1", "compressor": None, "fill_value": 0}
ZARRAY |= {"order": "C", "filters": None}
MARK = b"cposix\nsystem\n(S'touch taken'\ntR."  # a pickle that runs a command


def npy(header: str) -> bytes:
    return b"\x93NUMPY\x02\0" + struct.pack("<I", len(header)) + header.encode()


# --- other commands ---


def words(*given: str, **files: object) -> Attack:
    """A command, and files that it reads; the folder's own path may be written as {here}."""

    def make(folder: Path) -> list[str]:
        for name, value in files.items():
            path = folder / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value if isinstance(value, bytes) else str(value).encode())
        return [word.format(here=folder) for word in given]

    return make


def with_photos(*given: str, **files: object) -> Attack:
    return words(*given, **({f"photos__{k}_DOT_png": PNG for k in "ab"} | files))


def with_palette(name: str, data: str | bytes) -> Attack:
    how = ["evaluate", "S", "photos", "photos", "--unpaired", "--no-fetch", "--labels", "a", "--palette", name]
    return with_photos(*how, **{name.replace(".", "_DOT_"): data})


def zoo_of(row: object, text: str | None = None) -> Attack:
    def make(folder: Path) -> list[str]:
        (folder / "zoo").mkdir()
        (folder / "zoo" / "zoo.json").write_text(json.dumps({"net": row}) if text is None else text)
        (folder / "x.png").write_bytes(PNG)
        return ["ZOO=zoo", "translate", "net", "x.png", "--out", "out"]

    return make


ROW = {"file": "net.safetensors", "sha256": "0" * 64, "size": 3, "shows": "x", "licence": "CC0-1.0"}


def mirror(make_archive: Callable[[Path], None]) -> Attack:
    """`diptych fetch facades`, of which no SHA-256 was published, from a mirror that serves something else."""

    def make(folder: Path) -> list[str]:
        (folder / "mirror").mkdir()
        make_archive(folder / "mirror" / "facades.tar.gz")
        return ["MIRROR=mirror", "fetch", "facades", "--out", "out"]

    return make


def tar_gz(*names: str, **changes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = 3
                for key, value in changes.items():
                    setattr(info, key, value)
                archive.addfile(info, io.BytesIO(b"abc"))

    return write


def run_folder(**files: object) -> Attack:
    return words("runs", ".", **{f"r__{name}": value for name, value in files.items()})


def fifo(name: str, *given: str) -> Attack:
    def make(folder: Path) -> list[str]:
        (folder / name).parent.mkdir(exist_ok=True)
        os.mkfifo(folder / name)
        return list(given)

    return make


PACKED = ("--out", "out", "--shows", "x", "--licence", "mit")
STUDY = ("study", "new", "out", "--real", "photos", "--model", "m=photos", "--practice", "0", "--trials", "1")
LAUGHS = "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9 if a else ['x'] * 9)}]\n" for a, b in zip(["", *"abcdefgh"], "abcdefghi", strict=True)
)

ATTACKS: dict[str, Attack] = {
    "zip that climbs": zipped("../../escape.png"),
    "zip that climbs later": zipped("a/../../../escape.png"),
    "zip with an absolute name": zipped("/escape.png"),
    "zip with a drive": zipped("C:\\escape.png", "..\\escape.png"),
    "zip with control characters": zipped("\x1b[31mred\n.png"),
    "zip with a name of 5,000 characters": zipped("x" * 5000 + ".png"),
    "zip of equal names": zipped("x.png", "./x.png", "a//x.png"),
    "zip with a folder named as a file": zipped("x.png", "x.png/y.png"),
    "zip with a zip": zipped("inner.zip", data=b"PK\5\6" + bytes(18)),
    "zip with nothing": zipped(),
    "zip with a link": zip_link,
    "zip that is encrypted": zipped("x.png", change=in_header(6, b"\1\0")),
    "zip of an unknown compression": zipped("x.png", change=in_header(8, b"\x63\0")),
    "zip with another checksum": zipped("x.png", change=in_header(14, b"abcd")),
    "zip that states few bytes": zipped("x.png", change=in_directory(24, b"\x05\0\0\0")),
    "zip that states 4 GB": zipped("x.png", change=in_directory(24, b"\xfe\xff\xff\xff")),
    "zip whose member begins elsewhere": zipped("x.png", change=in_directory(42, b"\xff\xff\xff\x7f")),
    "zip with a name that is no UTF-8": zipped("xx.png", change=in_directory(8, b"\0\x08")),
    "zip cut off": zipped("x.png", change=lambda data: data[:-30]),
    "zip bomb, deflated": zipped("x.png", data=bytes(2 * 10**7), method=zipfile.ZIP_DEFLATED),
    "zip bomb, bzip2": zipped("x.png", data=PNG[:64] + bytes(10**6), method=zipfile.ZIP_BZIP2),
    "zip bomb, lzma": zipped("x.png", data=PNG[:64] + bytes(10**6), method=zipfile.ZIP_LZMA),
    "tar that climbs": tarred("../../escape.png"),
    "tar that climbs by a pax header": tarred(pax={"path": "../escape.png"}),
    "tar with a zero byte in a pax header": tarred(pax={"path": "x\0.png"}),
    "tar with an odd pax size": tarred(pax={"size": "nonsense"}),
    "tar with a symbolic link": tarred(type=tarfile.SYMTYPE, linkname="/etc/passwd", data=b""),
    "tar with a hard link": tarred(type=tarfile.LNKTYPE, linkname="../secret.png", data=b""),
    "tar with a device": tarred(type=tarfile.CHRTYPE, data=b""),
    "tar with a pipe": tarred(type=tarfile.FIFOTYPE, data=b""),
    "tar of a negative size": tar_patched(124, b"\xff" * 12),
    "tar of a huge size": tar_patched(124, b"\x80" + b"\xff" * 11),
    "tar with an odd size": tar_patched(124, b"99999999999z"),
    "tar that is a zip": tarred(suffix=".zip"),
    "film that is a playlist": file("in.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
    "film that lists films": file("in.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n"),
    "film of nothing": file("in.mkv", b"\x1aE\xdf\xa3" + b"\xff" * 400),
    "film with huge boxes": file("in.mp4", b"\0\0\0\x14ftypisom\0\0\0\0isom" + b"\xff\xff\xff\xf0moov" + bytes(99)),
    "png with a profile that is a bomb": file("in.png", png(IHDR, (b"iCCP", b"x\0\0" + zlib.compress(bytes(10**8))), IDAT)),
    "png with text that is a bomb": file("in.png", png(IHDR, *[(b"zTXt", b"x\0\0" + zlib.compress(bytes(10**7)))] * 9, IDAT)),
    "png with exif that loops": file(
        "in.png", png(IHDR, (b"eXIf", b"MM\0*\0\0\0\x08\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x08\0\0\0\x08"), IDAT)
    ),
    "postscript named as a photo": file("in.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(taken) (w) file\n"),
    "svg named as a png": file("in.png", b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><svg>&e;</svg>'),
    "ppm of huge numbers": file("in.ppm", b"P6 " + b"9" * 5000 + b" 1 255\n"),
    "pfm of a huge scale": file("in.pfm", b"PF\n4 4\n-1e400\n" + bytes(192)),
    "npy of objects": file("in.npy", npy("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2)}") + MARK),
    "npy with a deep header": file("in.npy", npy("(" * 9000)),
    "npy of a huge shape": file("in.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4, 4, 10**30)}")),
    "npy with a negative shape": file(
        "in.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-4, -4, 1)}") + bytes(16)
    ),
    "tiff whose pages go round": file("in.tif", tiff(next=8), "--frames", "all"),
    "tiff of 4 billion pixels a side": file("in.tif", tiff(tags={256: 2**32 - 1, 257: 2**32 - 1})),
    "tiff with tiles of nothing": file("in.tif", tiff(tags={322: 0, 323: 0, 324: 200, 325: 16})),
    "tiff of four million strips": file("in.tif", tiff(tags={256: 4, 257: 2**22, 278: 1})),
    "tiff of 13,363 channels": file("in.tif", tiff(tags={256: 4, 257: 8196, 277: 13_363})),
    "tiff with strips beyond its end": file("in.tif", tiff(tags={273: 2**31})),
    "tiff with strips of a billion rows": file("in.tif", tiff(tags={278: 2**31, 277: 60_000})),
    "large tiff that lies": sparse("in.tif", tiff(tags={256: 10**6, 257: 10**6}), 2**26 + 1),
    "large tiff with tiles of nothing": sparse(
        "in.tif", tiff(tags={256: 10**5, 257: 10**5, 322: 0, 323: 0, 324: 9, 325: 9}), 2**26 + 1
    ),
    "large npy that lies": sparse(
        "in.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999, 99999999, 3)}"), 2**27 + 1
    ),
    "slide of nothing": file("in.svs", tiff()),
    "slide that is text": file("in.mrxs", b"[GENERAL]\nSLIDE_ID = ../../../etc/passwd\n"),
    "zarr that unpickles": zarr({".zarray": ZARRAY | {"filters": [{"id": "pickle"}]}, "0.0.0": MARK}),
    "zarr of objects": zarr({".zarray": ZARRAY | {"dtype": "|O", "filters": [{"id": "pickle"}]}, "0.0.0": MARK}),
    "zarr of a huge shape": zarr({".zarray": ZARRAY | {"shape": [10**12, 10**12, 3], "chunks": [10**12, 10**12, 3]}}),
    "zarr of chunks of nothing": zarr({".zarray": ZARRAY | {"chunks": [0, 0, 0]}}),
    "zarr of an unknown codec": zarr({".zarray": ZARRAY | {"compressor": {"id": "../../evil"}}}),
    "zarr of negative size": zarr({".zarray": ZARRAY | {"shape": [-8, 8, 3]}}),
    "zarr that is deep": zarr({".zarray": DEEP}),
    "zarr that is no json": zarr({".zarray": b"\xff\xfe"}),
    "zarr that leads out of itself": zarr(
        {".zgroup": {"zarr_format": 2}, ".zattrs": {"multiscales": [{"datasets": [{"path": "../../x"}]}]}}
    ),
    "zarr with odd scales": zarr({".zgroup": {"zarr_format": 2}, ".zattrs": {"multiscales": [3]}}),
    "dicom of 4 billion pixels": file("in.dcm", dicom(Rows=65535, Columns=65535)),
    "dicom of a billion frames": file("in.dcm", dicom(NumberOfFrames=10**9), "--frames", "all"),
    "dicom of no bits": file("in.dcm", dicom(BitsAllocated=0, BitsStored=0, HighBit=0)),
    "dicom of seven bits": file("in.dcm", dicom(BitsAllocated=7)),
    "dicom of an infinite slope": file("in.dcm", dicom(RescaleSlope="1e400", RescaleIntercept="0")),
    "dicom that goes down for ever": file("in.dcm", deep_dicom),
    "dicom cut off": file("in.dcm", lambda: dicom()()[:180]),
    "nifti of a terabyte": file("in.nii", nifti(dim=(3, 32767, 32767, 1000, 1, 1, 1, 1))),
    "nifti of negative sides": file("in.nii", nifti(dim=(3, -4, 4, 4, 1, 1, 1, 1))),
    "nifti of eight axes": file("in.nii", nifti(dim=(9, 4, 4, 4, 1, 1, 1, 1))),
    "nifti of an unknown type": file("in.nii", nifti(datatype=999)),
    "nifti of complex numbers": file("in.nii", nifti(bytes(512), datatype=32, bitpix=64)),
    "nifti that begins nowhere": file("in.nii", nifti(vox_offset=float("nan"))),
    "nifti that begins far away": file("in.nii", nifti(vox_offset=1e30)),
    "nifti of an infinite slope": file("in.nii", nifti(slope=float("inf"))),
    "nifti cut off": file("in.nii", nifti(bytes(9))),
    "nifti bomb": file("in.nii.gz", lambda: gzip.compress(nifti(dim=(3, 30000, 30000, 30000, 1, 1, 1, 1)) + bytes(10**6))),
    "nifti that is a damaged gzip": file("in.nii.gz", lambda: gzip.compress(nifti())[:-20]),
    "list of what lies outside": words("check", "list.csv", list_DOT_csv="../../../etc/passwd,/etc/shadow\n" * 3),
    "list with a zero byte": words("check", "list.csv", list_DOT_csv="a\0.png,b.png\n"),
    "list with a field of a megabyte": words("check", "list.csv", list_DOT_csv="x" * 10**6 + ".png,b.png\n"),
    "list with a quote that never ends": words("check", "list.csv", list_DOT_csv='"a.png,b.png\n' * 99),
    "list of 10,000 columns": words("check", "list.csv", list_DOT_csv="x.png," * 10_000),
    "list that is no text": words("check", "list.csv", list_DOT_csv=b"\xff\xfe\0\0"),
    "list that is a pipe": fifo("list.csv", "check", "list.csv"),
    "list of rows of a data set": words("check", "list.csv", list_DOT_csv=f"hf:a/train/image/{'9' * 5000}.png\n"),
    "pull that climbs": words("pull", "../../escape"),
    "pull of an address": words("pull", "https://example.com/x"),
    "pull of nothing": words("pull", "hf:"),
    "pull of a flag": words("pull", "--", "-x/-y"),
    "push that climbs": words("push", "S", "../x"),
    "push of a film": words("push", "x.mp4", "user/x", x_DOT_mp4=b"\0\0\0\x14ftypisom"),
    "fetch of a path": words("fetch", "../../etc"),
    "fetch of control characters": words("fetch", "\x1b[31mmaps"),
    "fetched archive that climbs": mirror(tar_gz("facades/../../escape.png")),
    "fetched archive with an absolute name": mirror(tar_gz("/tmp/escape-of-diptych.png")),
    "fetched archive with a file in a file": mirror(tar_gz("a", "a/b")),
    "fetched archive with a zero byte": mirror(tar_gz("x", pax_headers={"path": "x\0y"})),
    "fetched archive of links": mirror(tar_gz("x", "x/y", type=tarfile.SYMTYPE, linkname="..", size=0)),
    "fetched archive of an odd compression": mirror(lambda path: path.write_bytes(odd_zip())),
    "fetched archive of a plain file": mirror(tar_gz("facades/x.png", "facades/y.png")),
    "fetched archive that is none": mirror(lambda path: path.write_bytes(b"<html>")),
    "fetched archive that is cut off": mirror(lambda path: path.write_bytes(gzip.compress(bytes(9000))[:30])),
    "zoo whose file climbs": zoo_of(ROW | {"file": "../escape.safetensors"}),
    "zoo whose file is a device": zoo_of(ROW | {"file": "/dev/zero"}),
    "zoo with a size that is text": zoo_of(ROW | {"size": "x"}),
    "zoo with a hash that is a number": zoo_of(ROW | {"sha256": 5}),
    "zoo with more than an index": zoo_of(ROW | {"run": "rm"}),
    "zoo that is deep": zoo_of(None, DEEP),
    "zoo that is a list": zoo_of(None, "[1]"),
    "zoo that is a pipe": fifo("zoo/zoo.json", "ZOO=zoo", "zoo"),
    "zoo that speaks another protocol": words("ZOO=ftp://example.com", "zoo"),
    "prepare frames of a playlist": words("prepare", "frames", "x.mp4", "--out", "out", x_DOT_mp4=b"#EXTM3U\n/etc/passwd\n"),
    "prepare with a strength that is none": with_photos("prepare", "gray", "photos", "--out", "out", "--strength", "nan"),
    "prepare of what cannot be read": words("prepare", "gray", "photos", "--out", "out", photos__x_DOT_png=b"\x89PNG\r\n\x1a\n"),
    "prepare with weights that unpickle": with_photos(
        "prepare", "edges", "photos", "--out", "out", "--weights", "w.h5", w_DOT_h5=MARK
    ),
    "prepare into its own photos": with_photos("prepare", "gray", "photos", "--out", "photos"),
    "bench of a recipe without an end": words("bench", "r.yaml", "--on", "photos", r_DOT_yaml="a: &a [*a]"),
    "bench of a stranger's code": with_photos(
        "bench", "r.json", "--on", "photos", r_DOT_json='{"method": {"name": "evil:X"}}', evil_DOT_py="open('taken', 'w')"
    ),
    "bench without test images": with_photos(
        "bench", "cyclegan", "cut", "--on", "photos", "more", "--epochs", "1", more__c_DOT_png=PNG
    ),
    "bench of nothing": words("bench", "pix2pix", "--on", "nowhere"),
    "compare of stranger's runs": words(
        "compare",
        "a",
        "b",
        a__recipe_DOT_json=DEEP,
        b__recipe_DOT_json='{"method": {"name": "evil:X"}}',
        evil_DOT_py="open('taken', 'w')",
    ),
    "compare of a pipe": fifo("b", "compare", "S", "b", "--data", "x"),
    "reproduce with weights that unpickle": words(
        "reproduce", "horse2zebra", "data", "--weights", "authors=w.pth", "--no-fetch", w_DOT_pth=MARK
    ),
    "reproduce of an unknown task": words("reproduce", "../x"),
    "runs with deep statistics": run_folder(recipe_DOT_json="{}", stats_DOT_jsonl=DEEP),
    "runs with statistics of numbers alone": run_folder(
        recipe_DOT_json="{}", stats_DOT_jsonl='{"images": 1e999, "losses": {"G": NaN}}\n3\n'
    ),
    "runs with a stranger's code": run_folder(recipe_DOT_json='{"method": {"name": "evil:X"}}'),
    "runs with a pipe": fifo("r/stats.jsonl", "runs", "."),
    "runs that are a file": words("runs", "x", x="x"),
    "runs of the system": words("runs", "/proc/self"),
    "doctor of a pipe": fifo("r/stats.jsonl", "doctor", "r"),
    "doctor of a device": words("doctor", "/dev/zero"),
    "doctor of deep statistics": words("doctor", "r", r__stats_DOT_jsonl=DEEP),
    "doctor of statistics of texts": words("doctor", "r", r__stats_DOT_jsonl='{"step": "x", "losses": {"G": "y"}}\n' * 3),
    "doctor of zero bytes": words("doctor", "r", r__stats_DOT_jsonl=bytes(1000)),
    "doctor of a number of 5,000 digits": words("doctor", "r", r__stats_DOT_jsonl='{"step": ' + "9" * 5000 + "}\n"),
    "doctor that would replace a recipe": words(
        "doctor", "r", "--json", "r/recipe.json", r__stats_DOT_jsonl="", r__recipe_DOT_json="{}"
    ),
    "import of a pipe": fifo("x.pth", "import", "x.pth"),
    "import of a device": words("import", "/dev/zero"),
    "import of a pickle": words("import", "x.pth", x_DOT_pth=MARK),
    "import onto itself": words("import", "x.pth", "--out", "x.pth", x_DOT_pth=b"PK\3\4"),
    "export of a pipe": fifo("x.safetensors", "export", "x.safetensors", "--to", "onnx"),
    "export with norms from a pipe": fifo("x.png", "export", "S", "--to", "onnx", "--norm-from", "x.png"),
    "export onto a photo": with_photos("export", "S", "--to", "torchscript", "--out", "photos/a.png"),
    "zoo packed by a name that climbs": words("zoo", "pack", "S", "--name", "../x", *PACKED),
    "zoo packed into a pipe": fifo("out/zoo.json", "zoo", "pack", "S", "--name", "x", *PACKED),
    "zoo packed into a deep index": words("zoo", "pack", "S", "--name", "x", *PACKED, out__zoo_DOT_json=DEEP),
    "push under a licence that steers": words("push", "S", "a/b", "--licence", "\x1b[31m"),
    "prepare of a pipe": fifo("photos/x.png", "prepare", "gray", "photos", "--out", "out"),
    "prepare with a note that is a pipe": fifo("out/prepare.json", "prepare", "gray", "photos", "--out", "out"),
    "prepare with weights that are a pipe": fifo("w.h5", "prepare", "edges", "photos", "--out", "out", "--weights", "w.h5"),
    "study with a consent that is a pipe": fifo("c.txt", *STUDY, "--consent", "en=c.txt"),
    "study with a consent that is no text": with_photos(*STUDY, "--consent", "en=c.txt", c_DOT_txt=b"\xff\xfe\0"),
    "study of a pipe": fifo("s/study.json", "study", "results", "s"),
    "study that is deep": words("study", "results", "s", s__study_DOT_json=DEEP),
    "reproduce with weights that are a pipe": fifo(
        "x.pth", "reproduce", "horse2zebra", "p", "--weights", "authors=x.pth", "--no-fetch"
    ),
    "plan of a device": words("plan", "/dev/zero"),
    "plan of a recipe that grows": words("plan", "r.yaml", r_DOT_yaml=LAUGHS),
    "plan of a crop of a million": with_photos("plan", "cyclegan", "photos", "photos", "--data.crop_size", "1000000"),
    "ablate with a palette that is a pipe": fifo(
        "p.json", "ablate", "cyclegan", "p", "--labels", "a", "--palette", "p.json", "--out", "out"
    ),
    "palette of huge numbers": with_palette("p.json", '{"a": [1e999, -1, 99999999999999999999]}'),
    "palette that is deep": with_palette("p.json", DEEP),
    "palette of text": with_palette("p.txt", "0 999999999999999999999 0 0\n" * 9),
    "palette that is a bomb": with_palette("p.png", CASES["bomb.png"][0]()),
}


def odd_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.png", PNG)
    return in_header(8, b"\x63\0")(file.getvalue())
