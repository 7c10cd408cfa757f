"""Published translators scored again on the published test set, beside the numbers that were printed for them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diptych.data.listing import open_folder
from diptych.downloads import Download, Watch, download, mirrored, user_cache
from diptych.errors import ConfigError, WeightsError
from diptych.evaluation.results import Evaluation
from diptych.files import sha256_of
from diptych.foreign import load_networks, to_snapshot
from diptych.messages import show
from diptych.scoring.evaluate import evaluate

log = logging.getLogger(__name__)

METRICS = ("fid", "kid", "mind")
BERKELEY = "https://efrosgans.eecs.berkeley.edu/cyclegan/pretrained_models/"
OPENMMLAB = "https://download.openmmlab.com/mmediting/synthesizers/cyclegan/"


@dataclass(frozen=True)
class Weights:
    """Weights of one trained generator: who trained it, and the FID that OpenMMLab's table printed for it.

    ``address`` is '' where nobody published the file. ``sha256`` is the beginning of the file's hash, as far as it is known.
    """

    name: str
    maker: str
    identity: bool
    fid: float
    address: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Reproduction:
    """A task whose weights and test set were published. ``data_direction`` is how the task goes through the data set."""

    data: str
    weights: tuple[Weights, ...]
    data_direction: Literal["a2b", "b2a"] = "a2b"
    source: str = "OpenMMLab's table of CycleGAN (configs/synthesizers/cyclegan/README.md of MMEditing 0.x)"


def _openmmlab(task: str, iterations: int, with_identity: tuple[str, float], without: tuple[str, float]) -> tuple[Weights, ...]:
    """Its own two trainings of a task; the date and the beginning of the SHA-256 end the name of a file."""
    made = []
    for kind, (end, fid) in (("", with_identity), ("_id0", without)):
        name = f"cyclegan_lsgan{kind}_resnet_in_1x1_{iterations}_{task}_20200524-{end}.pth"
        address = f"{OPENMMLAB}cyclegan_{task}{kind}/{name}"
        made.append(Weights(f"openmmlab{kind.replace('_', '-')}", "OpenMMLab", not kind, fid, address, end))
    return tuple(made)


def _authors(name: str, with_identity: float, without: float) -> tuple[Weights, ...]:
    """The file that the authors published, and their training without identity loss, whose file they did not."""
    published = Weights("authors", "the authors", True, with_identity, f"{BERKELEY}{name}.pth")
    return published, Weights("authors-id0", "the authors", False, without)


HORSES = ("horse2zebra", 266800)
SEASONS = ("summer2winter", 246200)
REPRODUCTIONS: dict[str, Reproduction] = {
    "horse2zebra": Reproduction(
        "horse2zebra",
        _authors("horse2zebra", 62.111, 77.202) + _openmmlab(*HORSES, ("1b3d5d3a", 63.810), ("470fb8da", 71.675)),
    ),
    "zebra2horse": Reproduction("horse2zebra", _authors("zebra2horse", 138.646, 137.050), "b2a"),
    "summer2winter": Reproduction(
        "summer2winter_yosemite",
        _authors("summer2winter_yosemite", 77.342, 76.773) + _openmmlab(*SEASONS, ("0baeaff6", 76.959), ("f280ecdd", 76.018)),
    ),
    "winter2summer": Reproduction("summer2winter_yosemite", _authors("winter2summer_yosemite", 72.631, 74.239), "b2a"),
}


@dataclass(frozen=True)
class Reproduced:
    """What came out for one file: its hash and our numbers, or in ``missing`` why there are none."""

    weights: Weights
    sha256: str = ""
    evaluation: Evaluation | None = None
    missing: str = ""


def reproduce(
    name: str,
    data: str | Path,
    *,
    given: Mapping[str, Path] | None = None,
    only: Sequence[str] = (),
    features: str | None = None,
    fetch: bool = True,
    device: str = "auto",
    watch: Watch = lambda done, total: None,
) -> Iterator[Reproduced]:
    """Score each published generator of a task on all test images at 256 px: FID, KID and MIND with their intervals.

    ``given`` are files of your own by the name of the weights, which are not fetched then; ``only`` names the weights to score
    (default: all). ``features`` is the network of the metrics; only inception gives numbers that compare with the published
    ones. ``watch`` gets (done, total) bytes of a download. A file that nobody published, or that cannot be had, is in the
    answer with the reason. Raises ConfigError for unknown names, DataError and WeightsError as an evaluation does.
    """
    given = given or {}
    task = REPRODUCTIONS[name]
    known = [weights.name for weights in task.weights]
    open_folder(data)
    for word in (*given, *only):
        if word not in known:
            raise ConfigError(f"{name}: no weights are called {word!r}; there are {', '.join(known)}")
    for weights in task.weights:
        if only and weights.name not in only:
            continue
        try:
            path = given.get(weights.name) or fetched(name, weights, fetch, watch)
            snapshot = imported(path, name)
        except WeightsError as error:
            yield Reproduced(weights, missing=str(error))
            continue
        evaluation = evaluate(
            snapshot,
            data,
            metrics=METRICS,
            direction="a2b",
            data_direction=task.data_direction,
            features=features or "inception",
            fetch=fetch,
            allow_small=True,
            allow_doubles=True,
            allow_seen=True,
            size=256,
            paired=False,
            device=device,
        )
        yield Reproduced(weights, sha256_of(path), evaluation)


def folder() -> Path:
    """Where published translators are kept that were fetched."""
    return Path(user_cache("diptych"), "published")


def fetched(name: str, weights: Weights, fetch: bool, watch: Watch) -> Path:
    """The file of published weights, from the cache or fetched; $DIPTYCH_WEIGHTS_URL names a mirror.

    Raises WeightsError where it was not published, is not here and must not be fetched, or is another file than its name says.
    """
    if not weights.address:
        raise WeightsError(f"{weights.name}: {weights.maker} did not publish this file; if you have it, give it by --weights")
    filename = weights.address.rpartition("/")[2]
    target = folder() / filename
    if not target.is_file():
        if not fetch:
            raise WeightsError(f"{weights.name}: not on this machine; put {weights.address} at {show(target)}")
        download(Download(f"{name}, {weights.maker}", mirrored(weights.address, filename, "DIPTYCH_WEIGHTS_URL")), target, watch)
    if not (found := sha256_of(target)).startswith(weights.sha256):
        raise WeightsError(
            f"{show(target)}: its SHA-256 must begin with {weights.sha256}, found {found}; remove it and try again"
        )
    return target


def imported(path: Path, name: str) -> Path:
    """The generator from A to B of a file as a snapshot, which is kept in the cache by the file's hash."""
    target = folder() / f"{name}-{sha256_of(path)[:16]}.safetensors"
    if not target.is_file():
        networks = load_networks(path).all()
        to_snapshot({"a2b": networks["a2b"]}).save(target)
    return target
