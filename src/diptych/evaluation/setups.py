"""A meter for each metric, or for each family of metrics that share one, with the entries of the protocol that describe it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from diptych.errors import ConfigError
from diptych.evaluation.class_meters import ClassMeter, LabelMeter
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.meters import CycleMeter, Meter, PairMeter, StructureMeter, StyleMeter
from diptych.evaluation.offers import labels_go_in
from diptych.evaluation.set_meters import FeatureMeter, LabMeter
from diptych.evaluation.subject import Subject
from diptych.metrics import image
from diptych.metrics.judges import Judge, load_classifier, load_segmenter

COMPARISONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "psnr": image.psnr,
    "ssim": image.ssim,
    "ms_ssim": image.ms_ssim,
    "l1": image.l1,
}


OF_FEATURES = ("fid", "kid", "mind", "precision", "recall", "nearest")  # metrics that share one pass through the network


class MeterSetup(NamedTuple):
    """A meter, and the entries of the protocol that say how it measures."""

    meter: Meter
    protocol: dict[str, Any]


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
    if family("structure"):
        net = tools.net("structure")
        meters.append(MeterSetup(StructureMeter(net), {"weights": net.sha256}))
    if found := family(*OF_FEATURES):
        net = tools.net("features")
        features = {"name": net.name, "sha256": net.sha256, **net.about}
        meters.append(MeterSetup(FeatureMeter(found, net, subject, tools.cache, **interval), {"features": features}))
    if found := family("lab_l", "lab_a", "lab_b"):
        meters.append(MeterSetup(LabMeter(found, subject, tools.seed), {}))
    if family("cycle") and subject.back:
        meters.append(MeterSetup(CycleMeter(subject.back), {}))
    if (found := family("fcn_pixel", "fcn_class", "fcn_iou")) and tools.palette:
        segmenter = checked_segmenter(tools) if labels_go_in(subject, tools) else None
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
