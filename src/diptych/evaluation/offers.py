"""Which metrics the data, the files on this machine and the options allow, and why the others are left out."""

from __future__ import annotations

from collections.abc import Sequence

from diptych.errors import ConfigError, DataError
from diptych.evaluation.instruments import WEIGHTS_OF, Instruments
from diptych.evaluation.results import METRICS
from diptych.evaluation.subject import Subject, trained_images
from diptych.messages import nearest
from diptych.metrics.distribution import FID_ENOUGH
from diptych.metrics.manifold import NEIGHBOURS
from diptych.metrics.weights import WEIGHTS, find_weights
from diptych.settings import sides


def choose_metrics(
    asked: Sequence[str] | None, subjects: Sequence[Subject], tools: Instruments, offered: Sequence[str] = tuple(METRICS)
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """The metrics of each direction, and the reason for each metric that is left out.

    ``asked`` None means all of ``offered`` that can be computed without fetching anything. Raises ConfigError for an unknown
    name, and DataError when a metric that was asked for cannot be computed in any direction.
    """
    check_names(asked or ())
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


def check_names(asked: Sequence[str]) -> None:
    """Raise ConfigError for a name that is no metric's."""
    for name in asked:
        if name not in METRICS:
            near = " or ".join(sorted(nearest(name, METRICS)))
            raise ConfigError(f"no metric is called {name!r}; {f'did you mean {near}?' if near else ', '.join(METRICS)}")


def why_not(name: str, subject: Subject, tools: Instruments, *, by_name: bool) -> str:
    """Why a metric cannot be computed for a subject; the empty text when it can."""
    metric, channels = METRICS[name], (subject.source.channels, subject.target.channels)
    if metric.looks == "pairs" and not subject.paired:
        return "needs pairs; --truth pairs test images of equal names"
    if subject.config and min(sides(subject.config.crop_size)) < metric.smallest:
        return too_small(name, min(sides(subject.config.crop_size)))
    if metric.looks in ("pairs", "style"):
        if name in WEIGHTS_OF and channels[1] not in (1, 3):
            return f"its network takes gray or RGB, these images have {channels[1]} channels"
        return _weights_missing(WEIGHTS_OF[name], tools, by_name) if name in WEIGHTS_OF else ""
    if metric.looks == "structure":
        return _no_structure(subject, tools, by_name)
    if metric.looks == "cycle":
        return "" if subject.back else "needs a snapshot of both directions"
    if metric.looks == "labels":
        resized = subject.config is not None and subject.config.resize != "none"
        native = name.startswith("fcn_native_") and not resized
        return _no_labels(subject, tools) or ("label maps are scored at their own size already" if native else "")
    if name.startswith("lab_") and subject.target.kind != "rgb":
        return f"compares colours, these images have {channels[1]} channels"
    if subject.target.kind == "multiband":
        return f"its network takes gray or RGB, these images have {channels[1]} channels"
    if metric.looks == "classes":
        return "" if tools.classifier and tools.target_of(subject.direction) is not None else "needs --classifier and --target"
    return _no_sets(name, subject, tools, by_name)


def too_small(name: str, side: int) -> str:
    """The reason that images of this side, in pixels, are too small for a metric."""
    return f"needs images of at least {METRICS[name].smallest} pixels a side, these have {side}"


def _no_structure(subject: Subject, tools: Instruments, by_name: bool) -> str:
    if not subject.inputs:
        return "compares outputs with their inputs; give them with --inputs"
    if not {subject.source.channels, subject.target.channels} <= {1, 3}:
        found = f"{subject.source.channels} and {subject.target.channels}"
        return f"its network takes gray or RGB, these images have {found} channels"
    if subject.config is None and not by_name:
        return (
            "is right only where inputs and outputs have one size, which is not looked up; name it in --metrics where they have"
        )
    return _weights_missing("vgg16", tools, by_name)


def _no_sets(name: str, subject: Subject, tools: Instruments, by_name: bool) -> str:
    fewest = min(len(subject.names), len(subject.targets))
    if fewest < 2:
        return "needs at least 2 images on each side"
    if name.startswith("lab_"):
        return ""
    if name in ("precision", "recall") and fewest <= NEIGHBOURS:
        return f"needs more than {NEIGHBOURS} images on each side"
    if name == "nearest" and not trained_images(subject):
        return "needs the training images, which are not known or not there"
    if name == "fid" and fewest < FID_ENOUGH and not tools.allow_small:
        return (
            f"{fewest:,} images are fewer than {FID_ENOUGH:,}, FID would mostly measure their number; "
            "kid is unbiased; --allow-small gives FID all the same, marked as biased"
        )
    return _weights_missing("inception", tools, by_name) if tools.feature_name == "inception" else ""


def _no_labels(subject: Subject, tools: Instruments) -> str:
    if tools.labels is None or tools.palette is None:
        return "needs --labels and --palette"
    if labels_go_in(subject, tools):
        if not subject.inputs:
            return "needs the label maps; give them with --inputs"
        return "" if tools.segmenter else "from labels to photos it needs --segmenter"
    return "" if subject.paired else "from photos to labels it needs pairs; --truth pairs test images of equal names"


def labels_go_in(subject: Subject, tools: Instruments) -> bool:
    """Whether a direction leads from labels to photos."""
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
