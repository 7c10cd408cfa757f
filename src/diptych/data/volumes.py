"""NIfTI volumes as folders of slices, read in place: scan.nii.gz/z0012 is slice 12 along the third axis of scan.nii.gz.

A slice is turned by 90 degrees, so that a volume whose axes point right, anterior and superior shows anterior at the top. Its
values are those that the header means (slope and intercept are applied), and NaN marks voxels without data.
"""

from __future__ import annotations

import gzip
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from diptych.data.metadata import Metadata, Picture
from diptych.data.untrusted import refuse_untrusted
from diptych.errors import DataError, MissingExtraError
from diptych.extras import extra

ENDINGS = (".nii", ".nii.gz")
AXES = "xyz"
SLICE = re.compile(r"([xyz])(\d{4,})")
KEPT = 2  # volumes that stay decompressed in memory; slices are mostly asked for in order


def is_volume(path: str | Path) -> bool:
    """Tell by its name whether a file is a NIfTI volume."""
    return str(path).lower().endswith(ENDINGS)


def volume_of(path: str | Path) -> Path | None:
    """Return the volume that a path is a slice of, None for every other path."""
    if not SLICE.fullmatch(os.path.basename(path)):  # first, as this tells at once of most files
        return None
    path = Path(path)
    return path.parent if is_volume(path.parent) and path.parent.is_file() else None


def slices_of(volume: Path, axis: str = "z") -> list[Path]:
    """List the slices of a volume along an axis. Raises DataError, without the path, when its header cannot be read."""
    return [volume / f"{axis}{i:04d}" for i in range(_opened(volume).shape[AXES.index(axis)])]


def read_slice(volume: Path, name: str) -> Picture:
    """Read a slice by its name; a fourth axis, such as modalities or time, becomes channels.

    Raises DataError, without the path.
    """
    found = SLICE.fullmatch(name)
    assert found, f"{name} is no name of a slice"
    values, axis, index = _values(volume), AXES.index(found[1]), int(found[2])
    if index >= values.shape[axis]:
        raise DataError(f"is no slice of the volume, which has {values.shape[axis]} along {found[1]}; choose a smaller number")
    return Picture(np.rot90(values.take(index, axis)), Metadata(frames=1))


def joined(slices: list[np.ndarray], axis: str = "z") -> np.ndarray:
    """Put slices (h, w, c) together to a volume, the inverse of read_slice; one channel has no axis of its own."""
    whole = np.stack([np.rot90(image, -1) for image in slices], AXES.index(axis))
    return whole[..., 0] if whole.shape[3] == 1 else whole


def volume_bytes(like: Path, values: np.ndarray, *, packed: bool) -> bytes:
    """Encode a volume with the affine and the header of another; only what describes its values differs."""
    nibabel, source = _nibabel(), _opened(like)
    header = source.header.copy()
    header.set_data_dtype(values.dtype)
    header["cal_min"], header["cal_max"] = 0, 0  # the range to display, which was that of other values
    image = type(source)(values, source.affine, header)
    assert isinstance(image, nibabel.spatialimages.SpatialImage)
    data: bytes = image.to_bytes()
    return gzip.compress(data, mtime=0) if packed else data


def _nibabel() -> Any:
    try:
        return extra("nibabel", "medical", "a NIfTI volume")
    except MissingExtraError as error:
        raise DataError(f"is {error}") from error


def _opened(volume: Path) -> Any:
    refuse_untrusted()
    nibabel = _nibabel()
    try:
        image = nibabel.load(volume)
    except FileNotFoundError:
        raise DataError("does not exist; check the path") from None
    except Exception as error:  # nibabel raises many kinds for what is no volume
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise DataError(f"is no NIfTI volume that can be read ({reason}); copy or download it again") from error
    if image.ndim not in (3, 4) or image.get_data_dtype().fields or min(image.shape) < 1:
        found = f"the shape {image.shape} and the type {image.get_data_dtype()}"
        raise DataError(f"has {found}, expected numbers along three axes, or four with channels last; save such a volume")
    return image


def _values(volume: Path) -> np.ndarray:
    status = volume.stat()
    return _decompressed(volume, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=KEPT)
def _decompressed(volume: Path, changed: int, size: int) -> np.ndarray:
    """Read all values: integers as they are where nothing scales them, else float32. A plain file is mapped, not read."""
    image = _opened(volume)
    try:
        values = np.asanyarray(image.dataobj)
    except MemoryError as error:
        raise DataError(
            f"is a NIfTI volume of {image.shape}, which does not fit into memory; cut it into smaller ones"
        ) from error
    except Exception as error:  # such as a truncated file
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"is a damaged or incomplete NIfTI volume ({reason}); copy or download it again") from error
    return values.astype(np.float32) if values.dtype == np.float64 else values
