"""Read label maps that are pictures: a file says which colour stands for which class, or the pictures themselves show it."""

from __future__ import annotations

import io
import json
import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final
from unicodedata import category

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int64, Real, UInt8
from PIL import Image
from torch import Tensor

from diptych.errors import ConfigError, DataError
from diptych.files import read_bounded, write_atomic

NO_CLASS = -1  # the class of a pixel that has none
IGNORED = 255  # the same, in files that hold bytes
IGNORE = "ignore"  # the name of colours that are no class
UNWRITTEN = ("Cc", "Cs", "Zl", "Zp")  # Unicode's control characters, halves of pairs, and ends of lines and paragraphs
MAX_COLOURS = 256
MAX_BYTES = 2**20  # a palette file may have so many
MAX_PIXELS = 2**20  # a picture of a palette may have so many
CELLS = 32  # bins of the histogram of colours in each channel
MAX_ROUNDS = 100  # of k-means, which usually ends after about ten
FLAT = 6  # the greatest step to a neighbour inside a class, in 0..255: JPEG noise stays below, edges do not
APART = 32  # the least distance of two classes' colours, in 0..255, where their number is told from noisy maps
RARE = 3e-4  # the least share of a class among flat pixels there
NEARLY_ALL = 0.97  # the least share of flat pixels that are near a class there
COLOUR = re.compile(r"[0-9]{1,9}")  # what may be a number from 0 to 255; whether it is one is checked for all files alike
FORMS = 'a .txt of lines "r g b name", a .json list of [r, g, b, name], or a .png of its colours'

Entry = list[Any]
"""What a file says of one class: red, green, blue, and perhaps a name."""


@final
@dataclass(frozen=True, eq=False)
class Palette:
    """The colour of each class, (k, 3) of RGB from 0 to 255, and the names of the classes where they are known.

    ``ignored`` are further colours that stand for no class, such as the black of unlabelled pixels.
    Raises ConfigError when fewer than two colours are given, two are equal, or one is no colour; and for a name that would not
    come back from a file of lines.
    """

    colours: np.ndarray
    names: tuple[str, ...] = ()
    ignored: np.ndarray = field(default_factory=lambda: np.empty((0, 3), np.uint8))

    def __post_init__(self) -> None:
        for part in ("colours", "ignored"):
            table = np.array([_colour(colour) for colour in getattr(self, part)], dtype=np.uint8).reshape(-1, 3)
            table.flags.writeable = False
            object.__setattr__(self, part, table)
        object.__setattr__(self, "names", tuple(self.names))
        if not 2 <= self.num_classes <= MAX_COLOURS or len(self.ignored) > MAX_COLOURS:
            raise ConfigError(
                f"a palette has from 2 to {MAX_COLOURS} classes, found {self.num_classes} and {len(self.ignored)} ignored"
            )
        if self.names and len(self.names) != self.num_classes:
            raise ConfigError(
                f"a palette names all of its classes or none, found {len(self.names)} for {self.num_classes} colours"
            )
        for name in self.names:
            if name == IGNORE or not name or name != name.strip() or any(category(letter) in UNWRITTEN for letter in name):
                raise ConfigError(
                    f"a class cannot have the name {ascii(name)[:60]}; give a name in one line, without control characters or "
                    f'spaces around it, other than "{IGNORE}"'
                )
        for kind, entries in (("colour", self._table().tolist()), ("name", self.names)):
            if twice := [entry for index, entry in enumerate(entries) if entry in entries[:index]]:
                raise ConfigError(f"the {kind} {twice[0]} is there twice; each class has a {kind} of its own")

    @property
    def num_classes(self) -> int:
        """The number of classes, ignored colours not counted."""
        return len(self.colours)

    def labels(self, images: UInt8[Tensor, "n 3 h w"]) -> Int64[Tensor, "n h w"]:
        """Find the class of the colour nearest to each pixel (Euclidean in RGB, first of equals); -1 where it is ignored."""
        red, green, blue = images.to(torch.int32).unbind(1)
        count, keys = len(self._table()), torch.full_like(red, 2**31 - 1)
        for index, (r, g, b) in enumerate(self._table().tolist()):
            # |pixel - colour|^2 less the |pixel|^2 that all share, and the index as last digit: one exact minimum finds both.
            key = red * (-2 * r * count)
            key.add_(green, alpha=-2 * g * count).add_(blue, alpha=-2 * b * count).add_((r * r + g * g + b * b) * count + index)
            torch.minimum(keys, key, out=keys)
        classes = keys.remainder_(count).to(torch.int64)
        return classes.masked_fill_(classes >= self.num_classes, NO_CLASS)

    def paint(self, classes: Int64[Tensor, "n h w"]) -> UInt8[Tensor, "n 3 h w"]:
        """Draw classes as RGB images; pixels of no class take the first ignored colour, or black."""
        other = self.ignored[:1] if len(self.ignored) else np.zeros((1, 3), np.uint8)
        table = torch.from_numpy(np.concatenate([self.colours, other])).to(classes.device)
        known = (classes >= 0) & (classes < self.num_classes)
        return table[classes.where(known, torch.full_like(classes, self.num_classes))].movedim(-1, 1)

    @classmethod
    def from_images(cls, images: Iterable[UInt8[Tensor, "3 h w"]], num_classes: int) -> Palette:
        """Find the colours of label maps that carry JPEG noise, most frequent first; the same images give the same palette.

        Only pixels whose four neighbours have nearly their colour are looked at: what lies on an edge is a blend of two classes.
        K-means over their histogram, begun at its highest peak and then, again and again, at the peak whose frequency
        times squared distance to those already taken is greatest, so that rare classes are found beside frequent ones.
        Continuous tints are cut into bands. A class that is nowhere three pixels wide and high is not found.
        Raises DataError when there are fewer flat colours than classes, ConfigError for fewer than two classes.
        """
        if not 2 <= num_classes <= MAX_COLOURS:
            raise ConfigError(f"a palette has from 2 to {MAX_COLOURS} classes, found {num_classes}")
        frequency, sums = _histogram(images)
        found = frequency > 0
        different = int(found.sum())
        if different >= num_classes:
            peaks = _peaks(frequency)[found]
            colours = _cluster(sums[found] / frequency[found, None], frequency[found], peaks, num_classes)
            different = len(np.unique(colours, axis=0))
        if different < num_classes:
            raise DataError(
                f"{num_classes} classes asked for, but the label maps hold {different} flat colours that differ; "
                "ask for fewer classes, or give a palette file"
            )
        return cls(colours)

    @staticmethod
    def count_classes(images: Iterable[UInt8[Tensor, "3 h w"]]) -> int | None:
        """Tell how many classes label maps with JPEG noise show, or None where that cannot be told.

        From the most frequent colour of flat pixels on (see from_images), a colour is a class of its own where it is at least
        APART from those before it, and no rarer than RARE. It cannot be told where more than 3 % of the flat pixels are then
        further than half of that from all classes, as in photographs, and where classes have nearly equal colours.
        """
        frequency, sums = _histogram(images)
        found = frequency > 0
        share, colours = frequency[found] / max(frequency.sum(), 1), sums[found] / frequency[found, None]
        classes = np.empty((0, 3))
        for index in np.argsort(-share, kind="stable"):
            colour = colours[index, None]
            if share[index] >= RARE and (not len(classes) or _squared_distances(colour, classes).min() > APART**2):
                classes = np.concatenate([classes, colour])
        if not 2 <= len(classes) <= MAX_COLOURS:
            return None
        near = _squared_distances(colours, classes).min(axis=1) <= (APART / 2) ** 2
        return len(classes) if share[near].sum() >= NEARLY_ALL else None

    @classmethod
    def load(cls, path: str | Path) -> Palette:
        """Read a palette from a .txt, .json or .png file; colours named "ignore" are no class.

        .txt: a line "r g b" or "r g b name" for each class. .json: a list of [r, g, b] or [r, g, b, name], or an object of names
        and colours. .png: the palette of a palette image, or else the colours of any small image in reading order.
        Raises DataError, in one line that begins with the path, when the file cannot be read as one of these.
        """
        path = Path(path)
        try:
            if path.suffix.lower() not in READERS:
                raise ConfigError(f"is no palette; give {FORMS}")
            entries = READERS[path.suffix.lower()](read_bounded(path, MAX_BYTES))
            ignored = [entry[:3] for entry in entries if entry[3:] == [IGNORE]]
            classes = [entry for entry in entries if entry[3:] != [IGNORE]]
            names = tuple(str(entry.pop(3)) for entry in classes if len(entry) > 3)
            return cls(np.array([_colour(entry) for entry in classes]), names, np.array([_colour(entry) for entry in ignored]))
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error}); give {FORMS}") from error
        except ConfigError as error:
            raise DataError(f"{path}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write a .txt or .json file that `load` reads. Raises ConfigError for another suffix, StorageError when it cannot."""
        path = Path(path)
        named = zip(self.colours.tolist(), self.names, strict=True) if self.names else ((c, None) for c in self.colours.tolist())
        entries = [[*colour, name] if name is not None else colour for colour, name in named]
        entries += [[*colour, IGNORE] for colour in self.ignored.tolist()]
        if path.suffix.lower() == ".txt":
            text = "\n".join(" ".join(map(str, entry)) for entry in entries)
        elif path.suffix.lower() == ".json":
            text = "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]"
        else:
            raise ConfigError(f"{path}: a palette is saved as .txt or .json; give one of these suffixes")
        write_atomic(path, f"{text}\n".encode())

    def _table(self) -> np.ndarray:
        """All colours, the ignored ones last."""
        return np.concatenate([self.colours, self.ignored])


def _colour(given: Any) -> list[int]:
    """Read three whole numbers from 0 to 255."""
    try:
        numbers = [operator.index(number) for number in given]
    except TypeError:  # not a list, or not of whole numbers
        numbers = []
    if len(numbers) != 3 or not all(0 <= number <= 255 for number in numbers):
        raise ConfigError(f"a colour is three whole numbers from 0 to 255, found {str(given)[:60]}")
    return numbers


def _histogram(images: Iterable[UInt8[Tensor, "3 h w"]]) -> tuple[Real[np.ndarray, " cells"], Real[np.ndarray, "cells 3"]]:
    """Count the flat pixels of images in cells of the colour cube, and add up their colours."""
    frequency, sums = np.zeros(CELLS**3), np.zeros((CELLS**3, 3))
    for image in images:
        pixels = _flat_pixels(image.movedim(0, -1).cpu().numpy())
        cell = (pixels * CELLS // 256) @ np.array([CELLS**2, CELLS, 1])
        frequency += np.bincount(cell, minlength=len(frequency))
        for channel in range(3):
            sums[:, channel] += np.bincount(cell, pixels[:, channel], minlength=len(frequency))
    return frequency, sums


def _flat_pixels(image: UInt8[np.ndarray, "h w 3"]) -> Real[np.ndarray, "pixels 3"]:
    """Select the pixels that differ from none of their four neighbours by more than FLAT in any channel."""
    pixels = image.astype(np.int64)
    flat = np.ones(pixels.shape[:2], dtype=bool)
    for axis in (0, 1):
        small = (np.abs(np.diff(pixels, axis=axis)) <= FLAT).all(axis=2)
        for part in (slice(1, None), slice(None, -1)):
            flat[(part, slice(None)) if axis == 0 else (slice(None), part)] &= small
    return pixels[flat]


def _peaks(frequency: Real[np.ndarray, " cells"]) -> Bool[np.ndarray, " cells"]:
    """Select the cells of the histogram of colours that are no less frequent than the 26 around them."""
    cube = torch.from_numpy(frequency).reshape(1, *[CELLS] * 3)
    return (F.max_pool3d(cube, 3, stride=1, padding=1) == cube).flatten().numpy()


def _cluster(
    colours: Real[np.ndarray, "m 3"], frequency: Real[np.ndarray, " m"], peaks: Bool[np.ndarray, " m"], num_classes: int
) -> np.ndarray:
    """K-means of colours that occur this often, most frequent first (Lloyd 1982, with a start that involves no chance)."""
    weight = frequency * peaks if peaks.sum() >= num_classes else frequency
    centres = colours[[weight.argmax()]]
    while len(centres) < num_classes:
        distance = _squared_distances(colours, centres).min(axis=1)
        centres = np.concatenate([centres, colours[[(weight * distance).argmax()]]])
    for _ in range(MAX_ROUNDS):
        nearest = _squared_distances(colours, centres).argmin(axis=1)
        weight = np.bincount(nearest, frequency, num_classes)
        sums = [np.bincount(nearest, frequency * channel, num_classes) for channel in colours.T]
        moved = np.where(weight[:, None] > 0, np.stack(sums, axis=1) / np.maximum(weight, 1.0)[:, None], centres)
        if np.abs(moved - centres).max() < 0.01:
            break
        centres = moved
    return centres[np.argsort(-weight, kind="stable")].round().astype(int)


def _squared_distances(x: Real[np.ndarray, "m 3"], y: Real[np.ndarray, "k 3"]) -> Real[np.ndarray, "m k"]:
    return np.square(x[:, None] - y).sum(axis=2)


def _from_txt(data: bytes) -> list[Entry]:
    entries: list[Entry] = []
    for number, line in enumerate(_text(data).splitlines(), 1):
        words = line.split(maxsplit=3)
        if words and not words[0].startswith("#"):
            if len(words) < 3 or not all(COLOUR.fullmatch(word) for word in words[:3]):
                raise ConfigError(f'line {number} is {line[:60]!r}, expected "r g b" or "r g b name"')
            entries.append([*map(int, words[:3]), *[name.strip() for name in words[3:]]])
    return entries


def _from_json(data: bytes) -> list[Entry]:
    try:
        content = json.loads(_text(data), object_pairs_hook=lambda pairs: [[*_listed(colour), name] for name, colour in pairs])
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is not JSON ({error}); give {FORMS}") from error
    return [_listed(entry) for entry in _listed(content)]


def _listed(value: Any) -> Entry:
    if not isinstance(value, list):
        raise ConfigError(f"holds {str(value)[:60]}, where a list is expected; give {FORMS}")
    return value


def _from_png(data: bytes) -> list[Entry]:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.mode == "P":
                table = np.array(image.getpalette("RGB")).reshape(-1, 3).tolist()
                while table[-1] in table[:-1]:  # padding
                    table.pop()
                return table
            if image.width * image.height > MAX_PIXELS:
                raise ConfigError(f"has {image.width} x {image.height} pixels; a picture of a palette has at most {MAX_PIXELS:,}")
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigError(f"is not a PNG that can be read ({error}); save it again, or give {FORMS}") from error
    return [list(colour) for colour in dict.fromkeys(map(tuple, pixels.tolist()))]


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text ({error.reason} at byte {error.start}); give {FORMS}") from error


READERS: dict[str, Callable[[bytes], list[Entry]]] = {".txt": _from_txt, ".json": _from_json, ".png": _from_png}
