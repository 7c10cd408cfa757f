"""What the options of evaluate say to measure with: weights, palettes, segmenters, classifiers, features."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from diptych.cli.cases import Case
from diptych.errors import ConfigError
from diptych.evaluation.cache import FeatureCache
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.subject import rgb8
from diptych.files import sha256_of
from diptych.inference.translator import Translator
from diptych.metrics.features import Extractor, NetworkExtractor
from diptych.metrics.judges import Judge, load_classifier, load_segmenter
from diptych.metrics.models import onnx_network
from diptych.metrics.segmentation import Palette
from diptych.metrics.weights import WEIGHTS, cache_folder
from diptych.pixels import Domain
from diptych.sheets import spread
from diptych.snapshot import Snapshot


def instruments(args: argparse.Namespace, case: Case, watch_fetch: Callable[[int, int], None]) -> Instruments:
    """What the options say to measure with."""
    palette = find_palette(args, case) if args.palette else None
    classifier = load_classifier(args.classifier, device=args.device) if args.classifier else None
    return Instruments(
        features=find_features(args.features, args.device),
        weights=given_weights(args.weights),
        fetch=not args.no_fetch,
        watch_fetch=watch_fetch,
        labels=args.labels,
        palette=palette,
        segmenter=find_segmenter(args, palette) if args.segmenter else None,
        classifier=classifier,
        target=classifier.index(args.target) if classifier and args.target is not None else None,
        device=args.device,
        cache=FeatureCache(None if args.no_cache else cache_folder() / "features"),
        allow_small=args.allow_small,
        seed=args.seed,
        resamples=args.resamples,
    )


def given_weights(words: Sequence[str]) -> dict[str, str]:
    """Weight files by name, of --weights DIR and --weights NAME=FILE."""
    found: dict[str, str] = {}
    for word in words:
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


def find_features(spec: str | None, device: str) -> str | Extractor | None:
    """The network of FID and KID: one by name, or an ONNX file, of whose first output a map is averaged over places."""
    if spec is None or not spec.endswith(".onnx"):
        return spec
    network = onnx_network(Path(spec), torch.device(device))

    def features(images: Tensor) -> Tensor:
        answer = torch.as_tensor(network.answer(images))
        return answer.float().mean(dim=(2, 3)) if answer.ndim == 4 else answer.float()

    return NetworkExtractor(network.name, network.sha256, {"layer": "the file's first output"}, features, "cpu")


def find_palette(args: argparse.Namespace, case: Case) -> Palette:
    """The palette of a file, or found in the label images of the data."""
    kind, mark, count = args.palette.partition(":")
    if kind != "auto" or not mark:
        return Palette.load(Path(args.palette))
    if args.labels is None:
        raise ConfigError(f"--palette {args.palette}: finds label colours, but on which side? add --labels a or b")
    if not count.isdecimal():
        raise ConfigError(f"--palette {args.palette}: auto:K needs a number of classes, such as auto:12")
    subject = case.subjects[0]
    go_in = subject.direction[0] == args.labels
    refs, domain = (subject.inputs, subject.source) if go_in else (subject.targets, subject.target)
    return Palette.from_images([rgb8(domain, subject.load(ref, domain))[0] for ref in spread(refs, 50)], int(count))


def find_segmenter(args: argparse.Namespace, palette: Palette | None) -> Judge:
    """What sees classes in photos: a network, or a snapshot that translates them into label colours."""
    if not args.segmenter.endswith(".safetensors"):
        return load_segmenter(args.segmenter, device=args.device)
    if palette is None:
        raise ConfigError(f"--segmenter {args.segmenter}: a snapshot gives colours; say with --palette which classes they are")
    snapshot = Snapshot.load(args.segmenter)
    wanted = "b2a" if args.labels == "a" else "a2b"
    direction = wanted if wanted in snapshot.generators else next(iter(snapshot.generators), wanted)
    return load_segmenter(SnapshotSegmenter(args.segmenter, Translator(snapshot, direction, device=args.device), palette))


class SnapshotSegmenter:
    """A translator from photos to label colours, and the palette that says which classes they are."""

    def __init__(self, path: str, translator: Translator, palette: Palette) -> None:
        if translator.source != Domain():
            raise ConfigError(f"--segmenter {path}: takes {translator.source}, expected a translator of 8-bit RGB photos")
        self.translator, self.palette = translator, palette
        self.name, self.sha256, self.num_classes = Path(path).name, sha256_of(Path(path)), palette.num_classes

    def __call__(self, images: Tensor) -> Tensor:
        """Classes of 8-bit RGB photos (n, 3, h, w), each translated alone."""
        labels = [self.translator.tensors(image[None]) for image in images.cpu()]
        return self.palette.labels(rgb8(self.translator.target, torch.cat(labels)))
