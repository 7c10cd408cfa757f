"""Networks of other tools that judge translations: segmenters for the FCN-score, and classifiers for the target rate.

A judge is named by a spec:

    PATH.onnx                   an ONNX file (pip install 'diptych[onnx]'); see models.onnx_network for what it may take
    transformers:FOLDER         a model as save_pretrained writes it (pip install 'diptych[transformers]'), or its name on the Hub
    python:MODULE:CALLABLE      any code of yours that can be imported; it is run, so name only what you trust

The protocol of a callable: it takes 8-bit RGB images (n, 3, h, w) and answers, as a tensor or an array,

    a classifier   float (n, k), a number for each class, of which the greatest counts, or int (n,), the classes
    a segmenter    the same at each pixel: float (n, k, h', w'), resized (bilinear) to the images, or int (n, h, w), -1 for none

Its attributes ``name``, ``sha256``, ``classes`` (names) and ``num_classes`` are used where it has them. A class is called once,
without arguments, and makes the judge.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int64, UInt8
from torch import Tensor

from diptych.errors import ConfigError, DataError
from diptych.files import sha256_of
from diptych.messages import nearest
from diptych.metrics.estimate import Estimate, wilson_estimate
from diptych.metrics.models import Network, Task, onnx_network, transformers_network

Classifier = Callable[[UInt8[Tensor, "n 3 h w"]], Int64[Tensor, " n"]]
"""The class of each RGB image."""

UNKNOWN = "unknown"
SPECS = "PATH.onnx, transformers:FOLDER_OR_NAME or python:module:callable"


@final
@dataclass(frozen=True)
class Judge:
    """A segmenter or a classifier: called with RGB images, it answers with the class of each pixel or of each image.

    ``sha256`` is the hash of its weight files, or "unknown"; ``classes`` are names, or empty; ``num_classes`` may be None.
    """

    name: str
    sha256: str
    classes: tuple[str, ...]
    num_classes: int | None
    decide: Callable[[UInt8[Tensor, "n 3 h w"]], Int64[Tensor, "n ..."]]

    def __call__(self, images: UInt8[Tensor, "n 3 h w"]) -> Int64[Tensor, "n ..."]:
        """Classes (n, h, w) of a segmenter or (n,) of a classifier, on the device of the images.

        Raises DataError when the network answers with anything but what the protocol says.
        """
        with torch.inference_mode():
            classes = self.decide(images)
        return classes.clone().to(images.device)  # an ordinary tensor again

    def index(self, wanted: str | int) -> int:
        """Find the number of a class by its number or name. Raises ConfigError that names the nearest when there is none."""
        text = str(wanted).strip()
        if text.removeprefix("-").isdecimal():
            number = int(text)
            if number >= 0 and (self.num_classes is None or number < self.num_classes):
                return number
            there = "from 0 on" if self.num_classes is None else f"0 to {self.num_classes - 1}"
            raise ConfigError(f"{self.name} has no class {number}; its classes are {there}")
        if not self.classes:
            raise ConfigError(f"{self.name} does not name its classes, found {text!r}; give the number of the class")
        for alike in (_exact, _plain, _synonyms):
            found = [index for index, name in enumerate(self.classes) if alike(text) & alike(name)]
            if len(found) == 1:
                return found[0]
            if found:
                raise ConfigError(f"{self.name} has {len(found)} classes called {text!r}; give one of the numbers {found}")
        shown = [f"{name} ({index})" for index, name in enumerate(self.classes)]
        words = {word: show for show, name in zip(shown, self.classes, strict=True) for word in _plain(name) | _synonyms(name)}
        near = dict.fromkeys(words[word] for word in nearest(text, words))
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(shown[:8])}{' ...' * (len(shown) > 8)}"
        raise ConfigError(f"{self.name} has no class {text!r}; {hint}")


def _exact(name: str) -> set[str]:
    return {name}


def _plain(name: str) -> set[str]:
    return {name.casefold().replace("_", " ").strip()}


def _synonyms(name: str) -> set[str]:
    """Split a name such as "tabby, tabby cat", as ImageNet's classes have them."""
    return {word for part in name.split(",") for word in _plain(part) if word}


def load_segmenter(spec: str | Callable[..., Any], *, device: str | torch.device = "cpu") -> Judge:
    """Load the segmenter that a spec names, or wrap a callable that follows the protocol.

    Raises ConfigError for a spec of another form or a callable that cannot be imported, WeightsError for files that hold no
    such network, MissingExtraError when its library is not installed.
    """
    return _load(spec, "segmenter", classes_of_pixels, torch.device(device))


def load_classifier(spec: str | Callable[..., Any], *, device: str | torch.device = "cpu") -> Judge:
    """Load the classifier that a spec names, or wrap a callable that follows the protocol; raises what load_segmenter does."""
    return _load(spec, "classifier", classes_of_images, torch.device(device))


def _load(spec: str | Callable[..., Any], task: Task, read: Callable[..., Any], device: torch.device) -> Judge:
    network = _network(spec, task, device)

    def decide(images: UInt8[Tensor, "n 3 h w"]) -> Tensor:
        try:
            return read(torch.as_tensor(network.answer(images)), images)
        except DataError as error:
            raise DataError(f"{network.name}: {error}") from None

    return Judge(network.name, network.sha256, network.classes, network.num_classes, decide)


def _network(spec: str | Callable[..., Any], task: Task, device: torch.device) -> Network:
    if not isinstance(spec, str):
        return _callable_network(spec, getattr(spec, "__qualname__", type(spec).__qualname__), UNKNOWN)
    kind, mark, rest = spec.partition(":")
    if mark and rest and kind == "transformers":
        return transformers_network(rest, task, device)
    if mark and rest and kind == "python":
        return _python_network(rest)
    if Path(spec).suffix.lower() == ".onnx":
        return onnx_network(Path(spec), device)
    raise ConfigError(f"{spec!r} names no {task}; expected {SPECS}")


def _python_network(spec: str) -> Network:
    """Import the callable of a module; where it has no hash of its own, the hash is that of the module's source."""
    module, _, attribute = spec.partition(":")
    try:
        code = importlib.import_module(module)
        judge = getattr(code, attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"python:{spec}: {error}; give it as python:module:callable, importable from here") from error
    judge = judge() if inspect.isclass(judge) else judge
    if not callable(judge):
        raise ConfigError(f"python:{spec}: is a {type(judge).__name__}, expected a callable that takes images (n, 3, h, w)")
    source = UNKNOWN
    with suppress(OSError, TypeError):  # TypeError: a module without a file
        source = sha256_of(Path(inspect.getfile(code)))
    return _callable_network(judge, spec, source)


def _callable_network(judge: Callable[..., Any], name: str, sha256: str) -> Network:
    classes = tuple(getattr(judge, "classes", ()))
    count = getattr(judge, "num_classes", None) or len(classes) or None
    return Network(str(getattr(judge, "name", name)), str(getattr(judge, "sha256", sha256)), classes, count, judge)


def classes_of_images(answer: Tensor, images: UInt8[Tensor, "n 3 h w"]) -> Int64[Tensor, " n"]:
    """Read classes from a classifier's answer: the greatest of float (n, k), or int (n,). Raises DataError for another shape."""
    if answer.is_floating_point() and answer.ndim == 2 and len(answer) == len(images) and answer.shape[1] > 1:
        return _finite(answer).argmax(dim=1)
    if _is_whole(answer) and answer.shape == images.shape[:1]:
        return answer.to(torch.int64)
    raise _misfit(answer, f"float ({len(images)}, classes) or int ({len(images)},)", "classifier")


def classes_of_pixels(answer: Tensor, images: UInt8[Tensor, "n 3 h w"]) -> Int64[Tensor, "n h w"]:
    """Read classes from a segmenter's answer: the greatest of float (n, k, h', w') after bilinear resizing, or int (n, h, w).

    Raises DataError for another shape.
    """
    (n, _, *size) = images.shape
    if answer.is_floating_point() and answer.ndim == 4 and len(answer) == n and answer.shape[1] > 1:
        return torch.stack([_resized(logits, size).argmax(dim=0) for logits in _finite(answer)])  # one by one: k maps are large
    if _is_whole(answer) and answer.shape == (n, *size):
        return answer.to(torch.int64)
    raise _misfit(answer, f"float ({n}, classes, h, w) or int ({n}, {size[0]}, {size[1]})", "segmenter")


def _resized(logits: Float[Tensor, "k _ _"], size: Sequence[int]) -> Float[Tensor, "k h w"]:
    same = logits.shape[1:] == tuple(size)
    return logits if same else F.interpolate(logits[None].float(), size=list(size), mode="bilinear", align_corners=False)[0]


def _is_whole(answer: Tensor) -> bool:
    return not (answer.is_floating_point() or answer.is_complex() or answer.dtype == torch.bool)


def _finite(answer: Tensor) -> Tensor:
    if not answer.isfinite().all():
        raise DataError("answers with numbers that are not finite; check its weights and its input range")
    return answer


def _misfit(answer: Tensor, expected: str, task: Task) -> DataError:
    found = f"{str(answer.dtype).removeprefix('torch.')} {tuple(answer.shape)}"
    return DataError(f"answers with {found}, expected {expected}; is it a {task}?")


def target_rate(classes: Int[np.ndarray | Tensor, " n"], target: int) -> Estimate:
    """Compute the share of images that a classifier takes for the target class, with Wilson's 95 % interval.

    Raises DataError when there are no images.
    """
    return wilson_estimate(torch.as_tensor(classes) == target)
