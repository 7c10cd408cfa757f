"""What an evaluation measures with: which metrics the data and the files at hand allow, and a meter for each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from diptych.errors import ConfigError, DataError
from diptych.evaluation.cache import FeatureCache
from diptych.evaluation.meters import (
    ClassMeter,
    CycleMeter,
    FeatureMeter,
    LabelMeter,
    LabMeter,
    Meter,
    PairMeter,
    StyleMeter,
)
from diptych.evaluation.results import METRICS
from diptych.evaluation.subject import Subject
from diptych.metrics import image
from diptych.metrics.distribution import FID_ENOUGH
from diptych.metrics.features import Extractor, inception, random_vgg
from diptych.metrics.judges import Classifier, Judge, load_classifier, load_segmenter
from diptych.metrics.lpips import LPIPS
from diptych.metrics.segmentation import Palette, Segmenter
from diptych.metrics.style import StyleDistance
from diptych.metrics.weights import WEIGHTS, cached, find_weights

WEIGHTS_OF = {"lpips_alex": "alexnet", "lpips_vgg": "vgg16", "style": "vgg16"}  # metric -> weight file
LEAST_RESAMPLES = 40  # of the bootstrap: the least that have a value below their 2.5 % quantile
COMPARISONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "psnr": image.psnr,
    "ssim": image.ssim,
    "ms_ssim": image.ms_ssim,
    "l1": image.l1,
}


class MeterSetup(NamedTuple):
    """A meter, and the entries of the protocol that say how it measures."""

    meter: Meter
    protocol: dict[str, Any]


@dataclass(frozen=True)
class Instruments:
    """What an evaluation measures with.

    ``features`` is the network of FID and KID: inception, random-vgg, or any Extractor; None takes Inception where its weights
    are at hand, else random-vgg. ``weights`` are files by their name in WEIGHTS, as find_weights takes them. Only metrics that
    are asked for by name may ``fetch`` missing weights. ``labels`` is the side whose colours are the classes of ``palette``;
    ``segmenter`` finds these classes in photos. ``classifier`` tells whether an image is of class ``target``. ``seed`` and
    ``resamples``, at least LEAST_RESAMPLES, are those of the bootstrap. Raises ConfigError for fewer.
    """

    features: str | Extractor | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    fetch: bool = True
    watch_fetch: Callable[[int, int], None] = lambda done, total: None
    labels: Literal["a", "b"] | None = None
    palette: Palette | None = None
    segmenter: Segmenter | None = None
    classifier: Classifier | None = None
    target: int | None = None
    device: str = "cpu"
    cache: FeatureCache = field(default_factory=FeatureCache)
    allow_small: bool = False
    seed: int = 0
    resamples: int = 1000
    _found: dict[str, bool] = field(default_factory=dict)  # what cached() said: it reads the whole file
    _nets: dict[str, Any] = field(default_factory=dict)  # loaded once, for both directions and every validation

    def __post_init__(self) -> None:
        if self.resamples < LEAST_RESAMPLES:
            raise ConfigError(
                f"--resamples must be at least {LEAST_RESAMPLES}, found {self.resamples}; fewer draws have no 2.5 % quantile"
            )

    def at_hand(self, name: str) -> bool:
        """Whether a weight file was given, or is in a cache on this machine."""
        if name not in self.weights and name not in self._found:
            self._found[name] = cached(name) is not None
        return name in self.weights or self._found[name]

    def net(self, name: str) -> Any:
        """The network of a metric, loaded when it is first needed. ``features`` is that of FID and KID."""
        if name not in self._nets:
            self._nets[name] = LOADERS[name](self)
        return self._nets[name]

    @property
    def feature_name(self) -> str:
        """The name of the network of FID and KID."""
        if isinstance(self.features, str):
            return self.features
        if self.features is not None:
            return self.features.name
        return "inception" if self.at_hand("inception") else "random-vgg"


def choose_metrics(
    asked: Sequence[str] | None, subjects: Sequence[Subject], tools: Instruments, offered: Sequence[str] = tuple(METRICS)
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The metrics of each direction, and the reason for each metric that is left out.

    ``asked`` None means all of ``offered`` that can be computed without fetching anything. Raises ConfigError for an unknown
    name, and DataError when a metric that was asked for cannot be computed in any direction.
    """
    for name in asked or ():
        if name not in METRICS:
            near = " or ".join(sorted(get_close_matches(name, METRICS)))
            raise ConfigError(f"no metric is called {name!r}; {f'did you mean {near}?' if near else ', '.join(METRICS)}")
    chosen: dict[str, list[str]] = {subject.direction: [] for subject in subjects}
    left_out: dict[str, str] = {}
    for name in offered if asked is None else dict.fromkeys(asked):
        reasons = {subject.direction: why_not(name, subject, tools, by_name=asked is not None) for subject in subjects}
        missing = {direction: reason for direction, reason in reasons.items() if reason}
        for direction in reasons.keys() - missing.keys():
            chosen[direction].append(name)
        if len(missing) == len(reasons):
            reason = next(iter(missing.values()))
            if asked is not None:
                raise DataError(f"{name}: {reason}")
            left_out[name] = reason
        else:
            left_out |= {f"{name} {direction}": reason for direction, reason in missing.items()}
    return chosen, left_out


def why_not(name: str, subject: Subject, tools: Instruments, *, by_name: bool) -> str:
    """Why a metric cannot be computed for a subject; the empty text when it can."""
    metric, channels = METRICS[name], (subject.source.channels, subject.target.channels)
    if metric.looks == "pairs" and not subject.paired:
        return "needs pairs; --truth pairs test images of equal names"
    if subject.config and subject.config.crop_size < metric.smallest:
        return too_small(name, subject.config.crop_size)
    if metric.looks in ("pairs", "style"):
        if name in WEIGHTS_OF and channels[1] not in (1, 3):
            return f"its network takes gray or RGB, these images have {channels[1]} channels"
        return _weights_missing(WEIGHTS_OF[name], tools, by_name) if name in WEIGHTS_OF else ""
    if metric.looks == "cycle":
        return "" if subject.back else "needs a snapshot of both directions"
    if metric.looks == "labels":
        return _no_labels(subject, tools)
    if name.startswith("lab_") and subject.target.kind != "rgb":
        return f"compares colours, these images have {channels[1]} channels"
    if subject.target.kind == "multiband":
        return f"its network takes gray or RGB, these images have {channels[1]} channels"
    if metric.looks == "classes":
        return "" if tools.classifier and tools.target is not None else "needs --classifier and --target"
    return _no_sets(name, subject, tools, by_name)


def too_small(name: str, side: int) -> str:
    """The reason that images of this side, in pixels, are too small for a metric."""
    return f"needs images of at least {METRICS[name].smallest} pixels a side, these have {side}"


def _no_sets(name: str, subject: Subject, tools: Instruments, by_name: bool) -> str:
    fewest = min(len(subject.names), len(subject.targets))
    if fewest < 2:
        return "needs at least 2 images on each side"
    if name.startswith("lab_"):
        return ""
    if name == "fid" and fewest < FID_ENOUGH and not tools.allow_small:
        return (
            f"{fewest:,} images are fewer than {FID_ENOUGH:,}, FID would mostly measure their number; "
            "kid is unbiased; --allow-small gives FID all the same, marked as biased"
        )
    return _weights_missing("inception", tools, by_name) if tools.feature_name == "inception" else ""


def _no_labels(subject: Subject, tools: Instruments) -> str:
    if tools.labels is None or tools.palette is None:
        return "needs --labels and --palette"
    if _labels_go_in(subject, tools):
        if not subject.inputs:
            return "needs the label maps; give them with --inputs"
        return "" if tools.segmenter else "from labels to photos it needs --segmenter"
    return "" if subject.paired else "from photos to labels it needs pairs; --truth pairs test images of equal names"


def _labels_go_in(subject: Subject, tools: Instruments) -> bool:
    return subject.direction[0] == tools.labels


def _weights_missing(name: str, tools: Instruments, by_name: bool) -> str:
    if tools.at_hand(name) or (by_name and tools.fetch):
        return ""
    if by_name:  # the error says where the file can be had
        find_weights(name, fetch=False)
    megabytes = WEIGHTS[name].size / 1e6
    return (
        f"its weights ({WEIGHTS[name].filename}, {megabytes:,.0f} MB) are not on this machine; name it in --metrics to fetch them"
    )


def build_meters(names: Sequence[str], subject: Subject, tools: Instruments, mean: Tensor | None) -> list[MeterSetup]:
    """A meter for each metric, or for each family of metrics that share one. ``mean`` is the baseline colour of pairs."""
    interval: Any = {"seed": tools.seed, "resamples": tools.resamples}  # of KID; the others draw nothing
    meters: list[MeterSetup] = []

    def family(*members: str) -> list[str]:
        return [name for name in names if name in members]

    for name in family(*COMPARISONS):
        meters.append(MeterSetup(PairMeter(name, COMPARISONS[name], mean=mean), {}))
    for name in family("lpips_alex", "lpips_vgg", "style"):
        net = tools.net(name)
        meter: Meter = PairMeter(name, net) if subject.paired else StyleMeter(net, subject)
        meters.append(MeterSetup(meter, {"weights": net.sha256}))
    if family("fid", "kid"):
        net = tools.net("features")
        features = {"name": net.name, "sha256": net.sha256, **net.about}
        meters.append(
            MeterSetup(FeatureMeter(family("fid", "kid"), net, subject, tools.cache, **interval), {"features": features})
        )
    if found := family("lab_l", "lab_a", "lab_b"):
        meters.append(MeterSetup(LabMeter(found, subject), {}))
    if family("cycle") and subject.back:
        meters.append(MeterSetup(CycleMeter(subject.back), {}))
    if (found := family("fcn_pixel", "fcn_class", "fcn_iou")) and tools.palette:
        segmenter = checked_segmenter(tools) if _labels_go_in(subject, tools) else None
        about: dict[str, Any] = {
            "palette": tools.palette.colours.tolist(),
            "ignored": tools.palette.ignored.tolist(),
            "segmenter": identity(segmenter) if segmenter else None,
            "label_resize": "nearest",
        }
        meters.append(MeterSetup(LabelMeter(found, tools.palette, segmenter), about))
    if family("target_rate") and tools.classifier and tools.target is not None:
        classifier = tools.classifier if isinstance(tools.classifier, Judge) else load_classifier(tools.classifier)
        about = {"classifier": identity(classifier), "target": tools.target}
        meters.append(MeterSetup(ClassMeter(classifier, tools.target, subject), about))
    return meters


def load_features(tools: Instruments) -> Extractor:
    """Load the network of FID and KID. Raises ConfigError for an unknown name."""
    if not isinstance(tools.features, str | None):
        return tools.features
    device = torch.device(tools.device)
    if tools.feature_name == "random-vgg":
        return random_vgg(device=device)
    if tools.feature_name == "inception":
        return inception(_weights("inception", tools), device)
    raise ConfigError(f"features must be inception, random-vgg or an Extractor, found {tools.features!r}")


def _lpips(backbone: Literal["alex", "vgg"], tools: Instruments) -> LPIPS:
    return LPIPS.load(backbone, _weights(WEIGHTS_OF[f"lpips_{backbone}"], tools)).to(tools.device)


def _style(tools: Instruments) -> StyleDistance:
    return StyleDistance.load(_weights("vgg16", tools)).to(tools.device)


LOADERS: dict[str, Callable[[Instruments], Any]] = {
    "features": load_features,
    "lpips_alex": partial(_lpips, "alex"),
    "lpips_vgg": partial(_lpips, "vgg"),
    "style": _style,
}


def checked_segmenter(tools: Instruments) -> Judge:
    """The segmenter as a Judge. Raises ConfigError when it and the palette have different numbers of classes."""
    assert tools.segmenter and tools.palette, "why_not() says what is missing"
    segmenter = tools.segmenter if isinstance(tools.segmenter, Judge) else load_segmenter(tools.segmenter)
    if segmenter.num_classes not in (None, tools.palette.num_classes):
        raise ConfigError(
            f"{segmenter.name} sees {segmenter.num_classes} classes, the palette has {tools.palette.num_classes} colours; "
            "they must be the same classes in the same order"
        )
    return segmenter


def identity(judge: Judge) -> Mapping[str, str]:
    """The name and the hash of a classifier or segmenter, for the protocol."""
    return {"name": judge.name, "sha256": judge.sha256}


def _weights(name: str, tools: Instruments) -> Path:
    return find_weights(name, tools.weights.get(name), fetch=tools.fetch, watch=tools.watch_fetch)
