"""Published weight files that metrics need: found on this machine or fetched once, and always verified by SHA-256.

`find_weights` looks at the file that is given, in the cache folder ($DIPTYCH_WEIGHTS, else the platform's), in torch.hub's cache,
and then at the published address.
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from diptych.downloads import Download, Watch, download, mirrored, user_cache
from diptych.errors import WeightsError
from diptych.files import sha256_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightFile:
    """A published file: where it is, what it must be, and under which licence. ``size`` is in bytes.

    ``also`` are other names under which torch.hub's cache may hold the same bytes.
    """

    name: str
    filename: str
    url: str
    sha256: str
    size: int
    licence: str
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} weights ({self.filename}, {self.size / 2**20:.0f} MiB)"


WEIGHTS: dict[str, WeightFile] = {
    file.name: file
    for file in (
        WeightFile(
            "inception",  # TensorFlow's network of 2015-12-05, which FID is defined with, converted to PyTorch
            "pt_inception-2015-12-05-6726825d.pth",
            "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
            "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            95_628_359,
            "Apache-2.0",
            also=("weights-inception-2015-12-05-6726825d.pth",),
        ),
        WeightFile(
            "alexnet",  # torchvision, trained on ImageNet
            "alexnet-owt-7be5be79.pth",
            "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            244_408_911,
            "BSD-3-Clause",
        ),
        WeightFile(
            "vgg16",  # torchvision, trained on ImageNet
            "vgg16-397923af.pth",
            "https://download.pytorch.org/models/vgg16-397923af.pth",
            "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            553_433_881,
            "BSD-3-Clause",
        ),
    )
}


def find_weights(
    name: str, given: str | Path | None = None, *, fetch: bool = True, watch: Watch = lambda done, total: None
) -> Path:
    """Find a weight file of `WEIGHTS` whose SHA-256 is the published one.

    A file that is ``given`` is the only one looked at. One of other bytes, such as weights that you converted, is given with its
    own hash as ``FILE#sha256=...``: nothing unstated is used, and the hash belongs beside every number made with it.

    Raises WeightsError, with the address and where to put the file, when it cannot be had; ConfigError when $DIPTYCH_WEIGHTS_URL
    is nothing to fetch from; StorageError when the disk refuses.
    """
    file = WEIGHTS[name]
    if given is not None:
        return _given(file, str(given))
    if found := cached(name):
        return found
    target, url = cache_folder() / file.filename, address(file)
    if not fetch:
        raise WeightsError(f"{file}: not on this machine; fetch {url} and put it at {target}")
    elsewhere = "set DIPTYCH_WEIGHTS to a folder on another disk"
    download(Download(str(file), url, file.sha256, file.size, elsewhere=elsewhere), target, watch)
    return target


def cached(name: str) -> Path | None:
    """Find the verified file in the cache folder or in torch.hub's, without the network. A file of other bytes is logged."""
    file = WEIGHTS[name]
    hub = Path(os.environ.get("TORCH_HOME") or user_cache("torch"), "hub", "checkpoints")
    for path in (cache_folder() / file.filename, *(hub / filename for filename in (file.filename, *file.also))):
        with suppress(OSError):  # an unreadable file is as good as none
            found = sha256_of(path)
            if found == file.sha256:
                return path
            log.warning("%s: expected SHA-256 %s, found %s; it is left aside", path, file.sha256, found)
    return None


def cache_folder() -> Path:
    """Return $DIPTYCH_WEIGHTS, else ``diptych/weights`` in the platform's folder for caches."""
    return Path(os.environ.get("DIPTYCH_WEIGHTS") or Path(user_cache("diptych"), "weights"))


def address(file: WeightFile) -> str:
    """Return the address that a file is fetched from: the published one, or its name below $DIPTYCH_WEIGHTS_URL, a mirror.

    Raises ConfigError where `mirrored` does.
    """
    return mirrored(file.url, file.filename, "DIPTYCH_WEIGHTS_URL")


def _given(file: WeightFile, given: str) -> Path:
    name, mark, stated = given.partition("#sha256=")
    if mark and not re.fullmatch(r"[0-9a-fA-F]{64}", stated):
        raise WeightsError(f"{given}: a SHA-256 has 64 hexadecimal digits, found {len(stated)} characters; state all of it")
    try:
        found = sha256_of(Path(name))
    except OSError as error:
        raise WeightsError(f"{name}: cannot be read ({error.strerror}); check the path") from None
    if found != (stated.lower() or file.sha256):
        expected = f"{stated}, as stated" if mark else f"{file.sha256} of the published {file.filename}"
        raise WeightsError(f"{name}: expected SHA-256 {expected}, found {found}; get it again, or give {name}#sha256={found}")
    return Path(name)
