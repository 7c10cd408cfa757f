"""From words to instruments: files of weights and palettes, networks by name, colours found in the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from diptych.errors import ConfigError
from diptych.evaluation.cache import FeatureCache
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.subject import Subject, rgb8
from diptych.files import sha256_of
from diptych.hub import HF
from diptych.inference.translator import Translator
from diptych.metrics.features import Extractor, NetworkExtractor
from diptych.metrics.judges import Classifier, Judge, load_classifier, load_segmenter
from diptych.metrics.models import onnx_network
from diptych.metrics.segmentation import Palette, Segmenter
from diptych.metrics.weights import WEIGHTS, cache_folder
from diptych.pixels import Domain
from diptych.scoring.probe import probe_network, probe_of
from diptych.sheets import spread
from diptych.snapshot import Snapshot, snapshot_in

Side = Literal["a", "b"]
MAX_FOR_PALETTE = 50  # label images, evenly chosen, in which colours are found


def tools_of(
    subjects: Sequence[Subject],
    *,
    features: str | Extractor | None = None,
    weights: Sequence[str | Path] = (),
    fetch: bool = True,
    labels: Side | None = None,
    palette: str | Path | Palette | None = None,
    segmenter: str | Path | Segmenter | None = None,
    classifier: str | Classifier | None = None,
    target: str | int | None = None,
    allow_small: bool = False,
    seed: int = 0,
    resamples: int = 1000,
    cache: bool = True,
    device: str = "cpu",
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Instruments:
    """The instruments that the options of ``diptych evaluate`` mean; docs/evaluate.md describes each.

    ``subjects`` give the label images in which ``palette="auto:K"`` finds colours. ``cache`` keeps features of images on the
    disk. ``watch`` gets (done, total) bytes while weights are fetched. Raises ConfigError and WeightsError, which name the
    option as the command line does.
    """
    refuse_unordered(palette, segmenter)
    labels = labels or _label_side(subjects)
    colours = _palette(palette, labels, subjects)
    files = weight_files(weights)
    kept = FeatureCache(cache_folder() / "features" if cache else None)
    loaded = _classifier(classifier, subjects, files, kept, device) if classifier is not None else None
    return Instruments(
        features=feature_network(features, device),
        weights=files,
        fetch=fetch,
        watch_fetch=watch,
        labels=labels,
        palette=colours,
        segmenter=segmenter_network(segmenter, colours, labels, device) if segmenter is not None else None,
        classifier=loaded,
        target=loaded.index(str(target)) if loaded and target is not None else None,
        device=device,
        cache=kept,
        allow_small=allow_small,
        seed=seed,
        resamples=resamples,
    )


def _classifier(
    given: str | Classifier, subjects: Sequence[Subject], weights: dict[str, str], cache: FeatureCache, device: str
) -> Judge:
    """A classifier by its name, a function, or ``probe`` and ``probe:NET``, which is trained on the training images."""
    kind, _, name = str(given).partition(":") if isinstance(given, str) else ("", "", "")
    if kind != "probe":
        return load_classifier(given, device=device)
    network = feature_network(name, device) if name.endswith(".onnx") else probe_network(name, weights, device)
    assert network is not None and not isinstance(network, str), "an ONNX file becomes an Extractor"
    return probe_of(subjects, network, cache, device)


def weight_files(given: Sequence[str | Path]) -> dict[str, str]:
    """Weight files by name, from folders that hold some under their published names, and from words NAME=FILE.

    Raises ConfigError for anything else, and for a folder that holds none.
    """
    found: dict[str, str] = {}
    for word in map(str, given):
        name, mark, path = word.partition("=")
        if mark and name in WEIGHTS:
            found[name] = path
        elif Path(word).is_dir():
            here = {name: Path(word) / file.filename for name, file in WEIGHTS.items()}
            found |= {name: str(path) for name, path in here.items() if path.exists()}
            if not any(path.exists() for path in here.values()):
                names = ", ".join(file.filename for file in WEIGHTS.values())
                raise ConfigError(f"--weights {word}: holds none of {names}; put them there, or pass NAME=FILE")
        else:
            raise ConfigError(f"--weights {word}: is no folder; pass a folder, or one of {', '.join(WEIGHTS)} as NAME=FILE")
    return found


def feature_network(features: str | Extractor | None, device: str) -> str | Extractor | None:
    """The network of FID and KID: a name, an Extractor, or an ONNX file whose first output, averaged over places, is taken."""
    if not isinstance(features, str) or not features.endswith(".onnx"):
        return features
    network = onnx_network(Path(features), torch.device(device))

    def answer(images: Tensor) -> Tensor:
        found = torch.as_tensor(network.answer(images))
        return found.float().mean(dim=(2, 3)) if found.ndim == 4 else found.float()

    return NetworkExtractor(network.name, network.sha256, {"layer": "the file's first output"}, answer, "cpu")


def _label_side(subjects: Sequence[Subject]) -> Side | None:
    """The side that was trained on as labels; None where neither was, or both were."""
    for subject in subjects:
        sides = dict(zip(subject.direction.split("2"), (subject.source, subject.target), strict=True))
        found = [side for side, domain in sides.items() if domain.classes]
        if len(found) == 1:
            return cast(Side, found[0])
    return None


def _palette(given: str | Path | Palette | None, labels: Side | None, subjects: Sequence[Subject]) -> Palette | None:
    """The palette itself, of a file, or found in the label images to score; where none is given, that of a domain of labels."""
    if given is None:
        domains = [domain for subject in subjects for domain in (subject.source, subject.target) if domain.classes]
        return Palette(np.array(domains[0].colours)) if labels and domains else None
    if isinstance(given, Palette):
        return given
    if (count := num_colours(given)) is None:
        return Palette.load(Path(given))
    if labels is None:
        raise ConfigError(f"--palette {given}: finds label colours, but on which side? add --labels a or b")
    subject = subjects[0]
    go_in = subject.direction[0] == labels
    refs, domain = (subject.inputs, subject.source) if go_in else (subject.targets, subject.target)
    return found_palette((subject.load(ref, domain) for ref in spread(refs, MAX_FOR_PALETTE)), domain, count)


def num_colours(palette: str | Path) -> int | None:
    """K of the word ``auto:K``; None for a file. Raises ConfigError where K is no number."""
    kind, mark, count = str(palette).partition(":")
    if kind != "auto" or not mark:
        return None
    if not count.isdecimal():
        raise ConfigError(f"--palette {palette}: auto:K needs a number of classes, such as auto:12")
    return int(count)


def refuse_unordered(palette: str | Path | Palette | None, segmenter: str | Path | Segmenter | None) -> None:
    """Raise ConfigError for a segmenter that numbers its own classes beside colours that are found in any order.

    A snapshot gives colours, so that its classes are those of the palette in whichever order.
    """
    if palette is None or isinstance(palette, Palette) or segmenter is None or num_colours(palette) is None:
        return
    if not (isinstance(segmenter, str | Path) and snapshot_of(segmenter)):
        name = segmenter if isinstance(segmenter, str | Path) else getattr(segmenter, "__name__", "the segmenter")
        raise ConfigError(
            f"--palette {palette}: finds colours in any order, but {name} numbers its own classes; "
            "give a file of colours in that order"
        )


def found_palette(images: Iterable[Tensor], domain: Domain, num_classes: int) -> Palette:
    """The colours of label images, native pixels (1, c, h, w) of a domain."""
    return Palette.from_images([rgb8(domain, image)[0] for image in images], num_classes)


def segmenter_network(given: str | Path | Segmenter, palette: Palette | None, labels: Side | None, device: str) -> Judge:
    """What finds classes in photos: a network, a function, or a snapshot that translates photos into label colours.

    Raises ConfigError for a snapshot without a palette, or one that does not take photos.
    """
    file = snapshot_of(given) if isinstance(given, str | Path) else None
    if not isinstance(given, str | Path) or file is None:
        return load_segmenter(str(given) if isinstance(given, Path) else given, device=device)
    if palette is None:
        raise ConfigError(f"--segmenter {given}: a snapshot gives colours; say with --palette which classes they are")
    snapshot = Snapshot.load(file)
    wanted = "b2a" if labels == "a" else "a2b"
    direction = wanted if wanted in snapshot.generators else next(iter(snapshot.generators), wanted)
    return load_segmenter(SnapshotSegmenter(file, Translator(snapshot, direction, device=device), palette))


def snapshot_of(word: str | Path) -> Path | None:
    """The file of the snapshot that a word means, also of a run folder, of the zoo or of the hub; None for other networks."""
    named = str(word).startswith(HF) or ":" not in str(word)  # others are such as transformers:NAME
    found = snapshot_in(Path(word)) if named else Path(word)
    return found if found.suffix == ".safetensors" else None


class SnapshotSegmenter:
    """A translator from photos to label colours, and the palette that says which classes the colours are."""

    def __init__(self, path: Path, translator: Translator, palette: Palette) -> None:
        if translator.source != Domain():
            raise ConfigError(f"--segmenter {path}: takes {translator.source}, expected a translator of 8-bit RGB photos")
        self.translator, self.palette = translator, palette
        self.name, self.sha256, self.num_classes = path.name, sha256_of(path), palette.num_classes

    def __call__(self, images: Tensor) -> Tensor:
        """The classes of 8-bit RGB photos (n, 3, h, w), each translated on its own."""
        labels = [self.translator.tensors(image[None]) for image in images.cpu()]
        return self.palette.labels(rgb8(self.translator.target, torch.cat(labels)))
