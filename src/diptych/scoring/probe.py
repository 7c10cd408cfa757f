"""`--classifier probe`: which side an image belongs to, learnt from the training folders of what is scored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from diptych.data.archives import is_there
from diptych.errors import ConfigError, DataError
from diptych.evaluation.cache import CachedExtractor, FeatureCache
from diptych.evaluation.subject import Subject, real_images, rgb8
from diptych.metrics.features import Extractor, backbone_features, efficientnet_lite0, has_efficientnet, inception, random_vgg
from diptych.metrics.judges import Judge
from diptych.metrics.probe import train_probe
from diptych.metrics.weights import cached, find_weights
from diptych.sheets import spread

log = logging.getLogger(__name__)
NETWORKS = ("efficientnet-lite0", "vgg16", "alexnet", "inception", "random-vgg")  # the first that is at hand
MAX_IMAGES = 2000  # of each side


def probe_of(
    subjects: Sequence[Subject],
    network: Extractor,
    cache: FeatureCache,
    device: str,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Judge:
    """A probe of the sides a and b of what is scored; the log says how often it is right on training images held out.

    ``cache`` keeps features, so that the next probe of the same images costs nothing. Raises DataError where the training images
    are not known, not there, or too few.
    """
    subject = subjects[0]
    forward = subject.direction == "a2b"
    given = (subject.train_inputs, subject.source), (subject.train_targets, subject.target)
    sides = given if forward else given[::-1]
    chosen = [spread([ref for ref in refs if is_there(ref.path)], MAX_IMAGES) for refs, _ in sides]
    if not all(chosen):
        raise DataError("--classifier probe: the training images of both sides are not known, or not there; give another")
    known = CachedExtractor(network, cache)
    features, done, total = [], 0, sum(map(len, chosen))
    for refs, (_, domain) in zip(chosen, sides, strict=True):
        rows = []
        for images in real_images(subject, 16, torch.device(device), refs, domain):
            rows.append(known(rgb8(domain, images)))
            done += len(images)
            watch(done, total)
        features.append(torch.cat(rows))
    probe = train_probe(known, *features)
    log.info(
        "probe of %s: trained on %d + %d images; right in %.1f %% of %d held-out ones",
        network.name,
        *map(len, features),
        100 * probe.accuracy,
        probe.num_held_out,
    )
    return probe.judge


def probe_network(name: str, weights: dict[str, str], device: str) -> Extractor:
    """The network of a probe by its name in NETWORKS; the empty name takes the first that is at hand.

    Raises ConfigError for another name, WeightsError for weights that are missing, MissingExtraError without the package.
    """
    where = torch.device(device)
    if not name:
        here = {"efficientnet-lite0": has_efficientnet(), "random-vgg": True}
        name = next(known for known in NETWORKS if here.get(known) or known in weights or (known not in here and cached(known)))
    if name == "efficientnet-lite0":
        return efficientnet_lite0(where)
    if name == "random-vgg":
        return random_vgg(device=where)
    if name not in NETWORKS:
        raise ConfigError(f"--classifier probe:{name}: no such network; choose {', '.join(NETWORKS)}, or a FILE.onnx")
    path = find_weights(name, weights.get(name), fetch=False)
    return (
        inception(path, where)
        if name == "inception"
        else backbone_features("vgg16" if name == "vgg16" else "alexnet", Path(path), where)
    )
