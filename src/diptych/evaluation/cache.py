"""A cache of image features by content: an image goes through a feature network only once."""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diptych.metrics.features import Extractor

log = logging.getLogger(__name__)
MAX_BYTES = 2**30  # of files on the disk
CHECKSUM_BYTES = 16  # at the head of each file


class FeatureCache:
    """Features by the SHA-256 of pixels and network: on the disk when there is a folder, else in memory.

    What was computed is written before the next batch begins, so that an evaluation that was killed computes none twice. The
    features of a damaged file are computed again; where files cannot be written, the cache goes on in memory. ``trim`` removes
    the oldest files beyond MAX_BYTES.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self.computed = self.found = 0
        self._kept: dict[str, np.ndarray] = {}

    def features(self, extractor: Extractor, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """The extractor's features of images, computed only for those that are new."""
        keys = [self._key(extractor, image) for image in images.cpu().numpy()]
        found = {key: kept for key in keys if (kept := self._read(key)) is not None}
        self.found += len(found)
        new = [i for i, key in enumerate(keys) if key not in found]
        if new:
            features = extractor(images[new] if len(new) < len(keys) else images).float().cpu().numpy()
            self.computed += len(new)
            for i, row in zip(new, features, strict=True):
                found[keys[i]] = row
                self._write(keys[i], row)
        return torch.from_numpy(np.stack([found[key] for key in keys]))

    def trim(self) -> None:
        """Remove the oldest files while there are more than MAX_BYTES of them."""
        if self.folder is None or not self.folder.is_dir():
            return
        files = []
        for file in self.folder.glob("*/*.f32"):
            with suppress(FileNotFoundError):  # another process may have removed it
                status = file.stat()
                files.append((status.st_mtime, status.st_size, file))
        total = 0
        for _, size, file in sorted(files, reverse=True):
            total += size
            if total > MAX_BYTES:
                file.unlink(missing_ok=True)

    def _key(self, extractor: Extractor, image: np.ndarray) -> str:
        of = f"{extractor.name} {extractor.sha256} {sorted(extractor.about.items())} {image.shape}"
        return hashlib.sha256(of.encode() + image.tobytes()).hexdigest()

    def _path(self, key: str) -> Path | None:
        return self.folder / key[:2] / f"{key}.f32" if self.folder else None

    def _read(self, key: str) -> np.ndarray | None:
        if (path := self._path(key)) is not None:
            with suppress(OSError):
                data = path.read_bytes()
                if hashlib.blake2b(data[CHECKSUM_BYTES:], digest_size=CHECKSUM_BYTES).digest() == data[:CHECKSUM_BYTES]:
                    return np.frombuffer(data[CHECKSUM_BYTES:], np.float32)
        return self._kept.get(key)

    def _write(self, key: str, row: np.ndarray) -> None:
        if (path := self._path(key)) is None:
            self._kept[key] = row
            return
        data = row.astype(np.float32).tobytes()
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(hashlib.blake2b(data, digest_size=CHECKSUM_BYTES).digest() + data)
            temporary.replace(path)
        except OSError as error:
            log.warning("%s: features are not kept (%s)", self.folder, error.strerror)
            self.folder = None
            self._kept[key] = row
            with suppress(OSError):
                temporary.unlink()


class CachedExtractor:
    """An extractor that looks into a cache first."""

    def __init__(self, extractor: Extractor, cache: FeatureCache) -> None:
        self.extractor, self.cache = extractor, cache
        self.name, self.sha256, self.about = extractor.name, extractor.sha256, extractor.about

    def __call__(self, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        return self.cache.features(self.extractor, images)
