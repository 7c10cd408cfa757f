"""Names files that people take for PyTorch weights and that are something else, by their first bytes and their suffix."""

from __future__ import annotations

from pathlib import Path

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
    (b"\x89PNG", "is an image; give a .pth or .safetensors file"),
    (b"\xff\xd8\xff", "is an image; give a .pth or .safetensors file"),
    (b"%PDF", "is a PDF document; give a .pth or .safetensors file"),
)
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
    ".yaml": "is a text file; give the .pth or .safetensors file beside it",
    ".json": "is a text file; give the .pth or .safetensors file beside it",
    ".txt": "is a text file; give the .pth or .safetensors file beside it",
}
PICKLES = (".pkl", ".pickle")
TORCH = (b"PK", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")  # how files of torch.save begin, since 2020 and before


def kind_of(path: Path, head: bytes) -> str | None:
    """What a file is in words, with the next step, by its first ``HEAD`` bytes; None for what may hold PyTorch weights."""
    suffix = path.suffix.lower()
    if not head:
        return "is empty (0 bytes); download or copy it again"
    if head.lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
        return f"is a web page and not the file behind it; {AGAIN}"
    for start, kind in MAGIC:
        if head.startswith(start):
            return kind
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it first"
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    if suffix in PICKLES and not head.startswith(TORCH):
        return "is a pickle of Python objects, which would have to be run; save net.state_dict() as .pth in the tool that made it"
    if _is_text(head):
        return "is a text file; give a .pth or .safetensors file"
    return None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a character may be cut off at the end
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)
