"""Trained networks by name: ``Translator.load("sunflower2daisy")`` and `diptych translate sunflower2daisy photo.jpg`.

A zoo is a folder with an index, zoo.json, and a snapshot of 16 or 8 bits a weight for each network. The index of diptych's own
zoo ships with the package; its files lie in zoo/ of a checkout, or are fetched. $DIPTYCH_ZOO names another zoo: a folder, or https://...
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from diptych.downloads import Download, Watch, download, mirrored, user_cache
from diptych.errors import ConfigError, SnapshotError, WeightsError
from diptych.files import read_bounded, sha256_of, write_atomic
from diptych.hub import HF, pull
from diptych.messages import nearest, show
from diptych.schemas import Whole, checked, parse_json

log = logging.getLogger(__name__)

INDEX = "zoo.json"
ZOO = "zoo:"  # before the name of a network, where a file or folder has that name too
MOST_BYTES = 10**8  # of an index
OWN = Path(__file__).parent / INDEX
CHECKOUT = Path(__file__).parents[2] / "zoo"


@dataclass(frozen=True)
class Model:
    """One network of a zoo.

    ``shows`` says what it does and on what it was trained, ``licence`` what others may do with it. ``scores`` are the numbers of
    its card by name, as texts with their intervals. ``generator`` is False for a discriminator, which is there to train on from.
    """

    name: str
    file: str
    sha256: str
    size: int
    shows: str
    licence: str
    generator: bool = True
    scores: Mapping[str, str] = field(default_factory=dict)


class _Row(BaseModel):
    """What an index says of a network; its file has a plain name, since it is read, and written, in the folder of the zoo."""

    model_config = ConfigDict(extra="forbid", strict=True)

    file: Annotated[str, Field(pattern=r"^\w[\w.+-]*$", max_length=200)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    size: Whole
    shows: str
    licence: str
    generator: bool = True
    scores: dict[str, str] = {}


ROWS = TypeAdapter(dict[str, _Row])


def models(index: Path | None = None) -> dict[str, Model]:
    """The networks of a zoo by name: of $DIPTYCH_ZOO where it is set, else of diptych's own.

    Raises WeightsError where the index cannot be had or is none.
    """
    path = index or _index()
    try:
        rows = checked(parse_json(read_bounded(path, MOST_BYTES)), ROWS)
    except OSError as error:
        raise WeightsError(f"{show(path)}: cannot be read ({error.strerror}); DIPTYCH_ZOO is a folder with a {INDEX}") from error
    except ValueError as error:
        raise WeightsError(f"{show(path)}: is not the index of a zoo ({error}); `diptych zoo pack` writes one") from error
    return {name: Model(name, **row.model_dump()) for name, row in rows.items()}


def _index() -> Path:
    place = os.environ.get("DIPTYCH_ZOO", "")
    if not place:
        return OWN
    if "://" not in place:
        return Path(place) / INDEX
    kept, new = cache_folder() / INDEX, cache_folder() / f"new-{INDEX}"
    for left in (new, new.with_name(f"{new.name}.part")):  # no hash is known that would tell parts of two indices apart
        left.unlink(missing_ok=True)
    try:
        download(Download("the index of the zoo", mirrored("", INDEX, "DIPTYCH_ZOO")), new)
        new.replace(kept)
    except WeightsError as error:
        if not kept.exists():  # a file put at new, as the error advises, would be removed: the next call looks at kept
            raise WeightsError(str(error).replace(str(new), str(kept))) from error
        log.warning("%s; the index that was fetched before is used", error)
    return kept


def cache_folder() -> Path:
    """Where the files of a zoo on the network are kept: a folder for each address, in the platform's folder for caches."""
    place = hashlib.sha256(os.environ.get("DIPTYCH_ZOO", "").rstrip("/").encode()).hexdigest()[:12]
    return Path(user_cache("diptych"), "zoo", place)


def find(name: str, watch: Watch = lambda done, total: None) -> Path | None:
    """The verified file of a network of the zoo, fetched where it is not here; None if the zoo has none of this name.

    Raises WeightsError where it cannot be had or has other bytes than the index says.
    """
    model = models().get(name)
    if model is None:
        return None
    place = os.environ.get("DIPTYCH_ZOO", "")
    here = (Path(place) if place and "://" not in place else CHECKOUT) / model.file
    if here.is_file() and "://" not in place:
        return _verified(model, here)
    target = cache_folder() / model.file
    if target.is_file() and sha256_of(target) == model.sha256:
        return target
    if "://" not in place:
        raise WeightsError(
            f"{name}: {show(here)} is not there; set DIPTYCH_ZOO to where the files of the zoo lie: zoo/ of a checkout, another "
            "folder, or https://..."
        )
    log.info("%s: fetching %s bytes of the zoo; licence: %s", name, f"{model.size:,}", model.licence)
    url = mirrored("", model.file, "DIPTYCH_ZOO")
    download(Download(f"{name} of the zoo", url, model.sha256, model.size), target, watch)
    return target


def _verified(model: Model, path: Path) -> Path:
    if (found := sha256_of(path)) != model.sha256:
        raise WeightsError(f"{show(path)}: expected SHA-256 {model.sha256} of {model.name}, found {found}; get it again")
    return path


def resolve(given: str | Path) -> Path:
    """The path that a word means: itself if there is such a file or folder, else the file of the zoo's network of that name.

    ``zoo:NAME`` is that network whatever files there are, and ``hf:USER/NAME`` the snapshot of a repository of the Hugging Face
    hub. A word that is none of these stays as it is, and where a path and a network have the same name, the log says once that
    the path is taken. Raises ConfigError for the address of a web page, for no word at all, and, naming what is near, for a name
    that is nearly one of the zoo.
    """
    path, name = Path(given), str(given)
    if not name:
        raise ConfigError(
            "no snapshot is named, found ''; give a run folder, a snapshot file, or a name that `diptych zoo` lists"
        )
    if name.startswith(HF):
        return pull(name)
    if name.startswith(ZOO):
        return _of_zoo(name.removeprefix(ZOO))
    if re.match("(https?|ftp|file|s3|gs):/", name, re.IGNORECASE) and not path.exists():
        address = re.sub(":/+", ":///" if name.startswith("file:") else "://", name, count=1)  # a Path has but one slash
        raise ConfigError(
            f"{show(address)}: addresses are not loaded; download the file and give its path, or hf:USER/NAME for one on the hub"
        )
    if "/" in name or "\\" in name or path.suffix:
        if path.suffix == ".safetensors" and path.name == name and not path.exists():
            refuse_misspelt(path.stem)
        return path
    if path.exists():
        with suppress(WeightsError):  # a zoo that cannot be had hides no file
            if name in models():
                _say_taken(path.absolute())
        return path
    if found := find(name):
        return found
    refuse_misspelt(name)
    return path


def _of_zoo(name: str) -> Path:
    if found := find(name):
        return found
    near = nearest(name, models())
    raise ConfigError(
        f"{ZOO}{show(name)}: {_this_zoo()} has no such network; "
        + (f"did you mean {' or '.join(ZOO + each for each in near)}?" if near else "`diptych zoo` lists those that it has")
    )


@cache
def _say_taken(path: Path) -> None:
    """Say it once for a path, although a word is looked up more than once on its way to the file."""
    log.info(
        "%s: the file or folder of this name is taken, not the network of the zoo, which is %s%s",
        show(path.name),
        ZOO,
        show(path.name),
    )


def _this_zoo() -> str:
    place = os.environ.get("DIPTYCH_ZOO", "")
    return f"the zoo at {show(place)} (DIPTYCH_ZOO, in place of the built-in one)" if place else "the zoo"


def instead_of(path: Path) -> str:
    """What to add to an error about a word that names no snapshot: what the zoo has, or has not, by that name; or ''."""
    if str(path) != path.name or path.suffix:
        return ""
    with suppress(WeightsError):
        if path.name in models():
            return f"; {ZOO}{path.name} is the network of the zoo"
        if os.environ.get("DIPTYCH_ZOO") and not path.exists():
            own = "; unset DIPTYCH_ZOO for the one that is built in" if path.name in models(OWN) else ""
            return f"; {_this_zoo()} has no such network{own}"
    return ""


def generator_beside(path: Path, direction: str) -> str:
    """The name of the network of the zoo that translates where its file ``path`` does not; '' where none is known.

    For a discriminator, it is the generator that was trained against it, and for any other, the one of the other direction.
    """
    with suppress(WeightsError):
        known, name = models(), path.stem
        if name not in known or known[name].file != path.name:
            return ""
        forward, _, judged = name.partition("-D_")
        turned = "2".join(reversed(forward.split("2")))
        back = [other for other in (f"{forward}-b2a", forward.removesuffix("-b2a"), turned) if other != forward]
        wanted = [forward, *back] if judged and (judged == "b") == (direction == "a2b") else back
        return next((other for other in wanted if other in known and known[other].generator), "")
    return ""


def refuse_misspelt(name: str) -> None:
    """Raise ConfigError for a word that is no file, where the zoo has a network of nearly this name."""
    if near := nearest(name, models(), cutoff=0.75):
        raise ConfigError(
            f"{show(name)}: no such file, and no network of the zoo is called so; did you mean {' or '.join(near)}?"
        )


def pack(entry: Model, folder: Path, card: str) -> None:
    """Add a network, whose file lies in the folder already, to the folder's index, with its card as NAME.md."""
    index = folder / INDEX
    known: dict[str, Any] = {}
    if index.exists():
        known = {name: _row(model) for name, model in models(index).items()}
    if entry.sha256 != sha256_of(folder / entry.file):
        raise SnapshotError(f"{show(folder / entry.file)}: changed while it was packed; pack it again")
    write_atomic(folder / f"{entry.name}.md", card.encode())
    rows = known | {entry.name: _row(entry)}
    write_atomic(index, (json.dumps(dict(sorted(rows.items())), indent=1, ensure_ascii=False) + "\n").encode())


def _row(model: Model) -> dict[str, Any]:
    return {key: value for key, value in asdict(model).items() if key != "name"}
