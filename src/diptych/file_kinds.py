"""Names files that people take for weights or snapshots and that are something else, by their first bytes and their suffix."""

from __future__ import annotations

from pathlib import Path

HEADER = 100_000_000  # bytes that a safetensors header takes at most, as the library allows
HEAD = 512
"""How many of a file's first bytes ``kind_of`` looks at."""
CONVERT = "load it in the tool that made it, and save the weights as .pth or .safetensors"
AGAIN = "download the file itself"
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", f"is an HDF5 file, such as Keras weights (.h5); {CONVERT}"),
    (b"\x93NUMPY", f"is a NumPy array (.npy); {CONVERT}"),
    (
        b"version https://git-lfs",
        f"is a pointer of Git LFS and not the file behind it; run `git lfs pull`, or {AGAIN}",
    ),
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz; unpack it first"),
    (b"BZh", "is compressed with bzip2; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it first"),
    (b"Rar!", "is a RAR archive; unpack it first"),
    (b"%PDF", "is a PDF document; give {wanted}"),
)
PICTURES = (
    (0, b"\x89PNG", "an image"),
    (0, b"\xff\xd8\xff", "an image"),
    (0, b"GIF8", "an image"),
    (8, b"WEBP", "an image"),
    (0, b"II*\0", "an image"),
    (0, b"MM\0*", "an image"),
    (0, b"II+\0", "an image"),
    (0, b"MM\0+", "an image"),
    (4, b"ftypavif", "an image"),
    (4, b"ftyphei", "an image"),
    (4, b"ftyp", "a film"),
    (8, b"AVI ", "a film"),
    (0, b"\x1a\x45\xdf\xa3", "a film"),
)
"""Where in a file which bytes say that it holds pictures."""
SUFFIXES: dict[str, str] = {
    ".onnx": f"is an ONNX program, which does not keep the layers' names; {CONVERT}",
    ".t7": f"is a file of Lua Torch; {CONVERT}",
    ".h5": f"is a Keras file; {CONVERT}",
    ".hdf5": f"is a Keras file; {CONVERT}",
    ".keras": f"is a Keras file; {CONVERT}",
    ".pb": f"is a TensorFlow graph; {CONVERT}",
    ".tflite": f"is a TensorFlow Lite program; {CONVERT}",
    ".meta": f"is part of a TensorFlow checkpoint; {CONVERT}",
    ".index": f"is part of a TensorFlow checkpoint; {CONVERT}",
    ".npz": f"is an archive of NumPy arrays; {CONVERT}",
    ".mlmodel": f"is a Core ML program; {CONVERT}",
    ".engine": f"is a TensorRT program; {CONVERT}",
    ".yaml": "is a text file; give {wanted}",
    ".json": "is a text file; give {wanted}",
    ".txt": "is a text file; give {wanted}",
}
PICKLES = (".pkl", ".pickle")
TORCH = (b"PK", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # how files of torch.save begin, since 2020 and before


def kind_of(path: Path, head: bytes, wanted: str = "a .pth or .safetensors file") -> str | None:
    """What a file is in words, with the next step, by its first ``HEAD`` bytes; None for what may hold PyTorch weights.

    ``wanted`` says what to give in its place.
    """
    suffix = path.suffix.lower()
    if suffix == ".safetensors" and head[8:9] == b"{":  # the bytes before it are a length, which may look like anything
        return None
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < HEADER:
        return "is a safetensors file by its content; rename it so that it ends in .safetensors"
    if not head:
        return "is empty (0 bytes); download or copy it again"
    if head.lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
        return f"is a web page and not the file behind it; {AGAIN}"
    for start, kind in MAGIC:
        if head.startswith(start):
            return kind.format(wanted=wanted)
    for at, magic, kind in PICTURES:
        if head.startswith(magic, at):
            return f"is {kind}; give {wanted}"
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it first"
    if suffix in SUFFIXES:
        return SUFFIXES[suffix].format(wanted=wanted)
    if suffix in PICKLES and not head.startswith(TORCH):
        return "is a pickle of Python objects, which would have to be run; save net.state_dict() as .pth in the tool that made it"
    if _is_text(head):
        return f"is a text file; give {wanted}"
    return None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character may be cut off at the end
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)
