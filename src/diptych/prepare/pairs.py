"""Make pairs from one folder of photos: trainA/ and testA/ hold what photos became, trainB/ and testB/ the photos themselves."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from diptych.data.formats import output_suffix, read_pixels, write_pixels
from diptych.data.listing import images_by_stem, open_folder, refuse_out_in_data
from diptych.errors import ConfigError, DataError, LockedError
from diptych.files import TEMPORARY, open_to_append, refuse_links_out, remove_remains, sha256_of, write_atomic
from diptych.locks import take_lock
from diptych.messages import show
from diptych.overlap import ahead
from diptych.pixels import Domain, PixelType
from diptych.prepare.conversions import CONVERSIONS, Conversion, generator_for
from diptych.prepare.hed import load_hed, thin
from diptych.reading import Reading
from diptych.schemas import MAPPING, read_json
from diptych.sheets import contact_sheet
from diptych.walking import walk

Convert = Callable[[Tensor, str], Tensor]

NOTE = "prepare.json"
SIDES = ("trainA", "trainB", "testA", "testB")
SHOWN = 6  # pairs on the contact sheet
SMALLEST = 8  # pixels a side of a photo; filters mirror up to four at the borders
THREADS = 2
SEEN = Reading(icc="srgb")  # as a training sees the photos, whose copies keep their profiles
TYPES: dict[torch.dtype, PixelType] = {torch.uint8: "uint8", torch.uint16: "uint16"}


@dataclass(frozen=True)
class Preparation:
    """What is made: everything that decides about the pixels of the pairs.

    ``kind`` is a key of CONVERSIONS; edges are those of HED with ``weights`` and of Canny without. A strength of 0 becomes the
    conversion's default. ``test`` is the share of the photos that become test pairs. ``soft`` keeps HED's edges as they are
    instead of thinning them.
    """

    kind: str
    strength: float = 0.0
    test: float = 0.1
    weights: str = ""
    soft: bool = False

    def __post_init__(self) -> None:
        if self.kind not in CONVERSIONS:
            raise ConfigError(f"prepare: kind must be one of {', '.join(CONVERSIONS)}, found {self.kind!r}")
        if not 0 <= self.test < 1:
            raise ConfigError(f"prepare: the share of test pairs must be at least 0 and below 1, found {self.test:g}")
        if (self.weights or self.soft) and self.kind != "edges":
            raise ConfigError(f"prepare {self.kind}: takes no weights; they belong to edges")
        if self.soft and not self.weights:
            raise ConfigError("prepare edges: soft edges are those of HED, which needs weights; name its file")
        if self.strength and self.weights:
            raise ConfigError("prepare edges: strength is Canny's threshold, and HED has none; leave out one of the two")
        low, high = self.conversion.bounds
        if self.strength and not low <= self.strength <= high:
            limits = (
                f"from {low:g} to {high:g} ({self.conversion.meaning})" if high else "left out, as there is nothing to choose"
            )
            raise ConfigError(f"prepare {self.kind}: strength must be {limits}, found {self.strength:g}")
        if not self.weights:
            object.__setattr__(self, "strength", self.strength or self.conversion.strength)

    @property
    def conversion(self) -> Conversion:
        """What is made of a photo, where no network makes it."""
        return CONVERSIONS[self.kind]

    def converter(self) -> Convert:
        """The function from a picture (1, c, h, w) in [-1, 1] and its name to the input side of its pair, in [-1, 1].

        Raises WeightsError and MissingExtraError where HED's weights cannot be read.
        """
        if self.weights:
            net = load_hed(Path(self.weights))

            def edges(x: Tensor, name: str) -> Tensor:
                found = net(x)
                return 1 - 2 * (found if self.soft else thin(found))

            return edges
        return lambda x, name: self.conversion.convert(x, self.strength, generator_for(name))


@dataclass(frozen=True)
class Made:
    """One photo and what became of it: a pair, or the reason why it was left out, or neither because it was there already.

    ``test``: it is one of the test pairs. ``kind`` are the channels and type of a photo that was read now, such as 3 x uint8.
    """

    name: str
    error: str = ""
    there: bool = False
    test: bool = False
    kind: str = ""


def mixed_kinds(made: Sequence[Made]) -> str:
    """Name the photos of another kind than most, which a training of all leaves out or refuses; empty where there are none."""
    kinds = Counter(one.kind for one in made if one.kind and not one.error)
    if len(kinds) < 2:
        return ""
    (most, many), *others = kinds.most_common()
    examples = {one.kind: one.name for one in reversed(made) if not one.error}
    named = " and ".join(f"{number:,} of {kind} (such as {show(examples[kind])})" for kind, number in others)
    return (
        f"{many:,} photos are of {most}, and {named}; a training takes pairs of one kind and refuses more than a few others: "
        "convert them, or prepare them into a folder of their own"
    )


def prepare(
    photos: str | Path,
    out: Path,
    wanted: Preparation,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Made]:
    """Make a pair of every photo below a folder, in the order of their names; the same call again goes on where it stopped.

    Writes OUT/trainA, trainB, testA and testB with the photos' own tree and names, prepare.json and the contact sheet
    prepare.png. Side B holds copies of the files; side A is made of their colours in sRGB, as a training converts B by its ICC
    profiles. A photo belongs to the test pairs by its name alone, so that it stays there
    when photos are added. Photos that cannot be read are named in what is returned, and left out. Files that a killed call left
    half-written are removed.

    Raises ConfigError where OUT holds anything else or links that lead out of it, and DataError where there are no photos.
    """
    refuse_out_in_data(out, [photos])
    folder = open_folder(photos)
    files = images_by_stem(folder)
    convert = wanted.converter()
    claim(out, wanted)
    refuse_links_out((out / side / path.relative_to(folder).parent for side in SIDES for path in files.values()), out)
    make = partial(_make, convert=convert, wanted=wanted, folder=folder, out=out)
    made: list[Made] = []
    with torch.inference_mode(), open_to_append(out / ".lock") as lock:
        with suppress(LockedError):  # another process makes these pairs too, and what it has begun to write is no remains
            take_lock(lock, out)
            remove_remains(out, "*")
            for inside, _, _ in chain.from_iterable(walk(out / side) for side in SIDES if (out / side).is_dir()):
                refuse_links_out([Path(inside)], out)
                remove_remains(Path(inside), "*")
        for one in ahead(make, files.items(), threads=THREADS, depth=2 * THREADS):
            made.append(one)
            on_progress(len(made), len(files))
    if shown := list(_pairs(out))[:SHOWN]:
        write_atomic(out / "prepare.png", _sheet(shown))
    return made


def claim(out: Path, wanted: Preparation) -> None:
    """Write OUT/prepare.json, or compare it. Raises ConfigError where OUT was made in another way, or by something else."""
    identity = asdict(wanted) | {"weights": sha256_of(Path(wanted.weights)) if wanted.weights else ""}
    note = out / NOTE
    try:
        before = read_json(note, MAPPING)
    except (OSError, DataError):
        if out.is_dir() and any(not TEMPORARY.fullmatch(path.name) for path in out.iterdir()):
            raise ConfigError(f"{show(out)}: is not empty and was not made by `diptych prepare`; choose another --out") from None
        write_atomic(note, json.dumps(identity, indent=1).encode())
        return
    if before != identity:
        other = next((key for key in identity if before.get(key) != identity[key]), "version")
        if isinstance(value := before.get(other), str | int | float) and other != "weights":  # of which it has the SHA-256
            other += f", {show(str(value))} and not {identity[other]}"
        raise ConfigError(f"{show(out)}: was prepared with another {other}; choose another --out, or remove the folder")


def _make(
    named: tuple[str, Path], convert: Callable[[Tensor, str], Tensor], wanted: Preparation, folder: Path, out: Path
) -> Made:
    name, path = named
    test, kind = in_test(name, wanted.test), ""
    split = "test" if test else "train"
    photo = out / f"{split}B" / path.relative_to(folder)
    try:
        if photo.exists():  # it is written last
            return Made(name, there=True, test=test)
        pixels = torch.from_numpy(read_pixels(path, SEEN)).permute(2, 0, 1)[None]
        kind = f"{pixels.shape[1]} x {str(pixels.dtype).removeprefix('torch.')}"
        if pixels.dtype not in TYPES or pixels.shape[1] not in wanted.conversion.colours:
            kinds = "RGB" if wanted.conversion.colours == (3,) else "gray or RGB"
            types = " or ".join(TYPES.values())
            raise DataError(f"{show(path)}: {wanted.kind} takes {kinds} of {types}, found {kind}; convert it")
        if min(pixels.shape[-2:]) < SMALLEST:
            raise DataError(f"{show(path)}: has less than {SMALLEST} pixels a side")
        with torch.inference_mode():  # which is a setting of each thread
            photo_domain = _domain(pixels)
            x = convert(photo_domain.encode(pixels), name)
            result = replace(photo_domain, channels=x.shape[1]).decode(x)[0].permute(1, 2, 0).numpy()
        target = out / f"{split}A" / path.relative_to(folder)
        write_pixels(target.with_suffix(output_suffix(".png", result.shape[2], result.dtype)), result)
        write_atomic(photo, path.read_bytes())
        return Made(name, test=test, kind=kind)
    except DataError as error:
        return Made(name, error=str(error), test=test, kind=kind)


def _domain(pixels: Tensor) -> Domain:
    return Domain(pixels.shape[1], TYPES[pixels.dtype])


def in_test(name: str, share: float) -> bool:
    """Whether the photo of this name is one of the test pairs, by a hash of its name."""
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6]) < share * 2**48


def _sheet(pairs: list[tuple[Path, Path]]) -> bytes:
    """A contact sheet of inputs and photos, each at most 256 pixels a side."""
    columns: list[tuple[str, list[Tensor]]] = [("input", []), ("photo", [])]
    for pair in pairs:
        for (_, column), path in zip(columns, pair, strict=True):
            pixels = torch.from_numpy(read_pixels(path, SEEN)).permute(2, 0, 1)[None]
            x = _domain(pixels).encode(pixels)
            factor = min(1.0, 256 / max(x.shape[-2:]))
            size = [max(1, round(side * factor)) for side in x.shape[-2:]]
            column.append(functional.interpolate(x, size=size, mode="area"))
    return contact_sheet(columns)


def _pairs(out: Path) -> Iterator[tuple[Path, Path]]:
    for split in ("train", "test"):
        made = images_by_stem(out / f"{split}A") if (out / f"{split}A").is_dir() else {}
        photos = images_by_stem(out / f"{split}B") if made else {}
        yield from ((made[name], photos[name]) for name in made if name in photos)
