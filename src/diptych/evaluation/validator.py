"""Scores on held-out images during training: quick, reproducible to the digit, without intervals, and nothing is fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean

import torch

from diptych.data.datasets import DataConfig
from diptych.data.splits import Split
from diptych.evaluation.evaluate import subjects_of
from diptych.evaluation.instruments import Instruments
from diptych.evaluation.offers import why_not
from diptych.evaluation.set_meters import FeatureMeter
from diptych.evaluation.setups import build_meters
from diptych.evaluation.subject import Subject, Translate, real_images, translated
from diptych.metrics.distribution import kid
from diptych.pixels import Domain
from diptych.sheets import spread

MAX_IMAGES = 100  # of each side


@dataclass
class Validator:
    """Scores translators on a validation split again and again; features of the real images are computed once.

    ``select`` names the score that chooses the best snapshot. With pairs it is LPIPS where AlexNet's weights are on this
    machine and a side has the ``channels``, of a and b, that it takes, else PSNR. Without pairs it is KID, in the features of
    Inception where its weights are, else of a random VGG16; None where neither side has the channels that these take.
    """

    paired: bool
    device: str = "cpu"
    channels: tuple[int, int] = (3, 3)
    tools: Instruments = field(init=False)

    def __post_init__(self) -> None:
        self.tools = Instruments(fetch=False, device=self.device)

    @property
    def select(self) -> str | None:
        """The name of the score that chooses."""
        seen = any(channels in (1, 3) for channels in self.channels)  # what the networks of metrics take
        if self.paired:
            return "lpips_alex" if seen and self.tools.at_hand("alexnet") else "psnr"
        return "kid" if seen else None

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher score is better."""
        return self.select == "psnr"

    def __call__(
        self,
        translators: Mapping[str, Translate],
        val: Split,
        a: Domain,
        b: Domain,
        config: DataConfig,
        poll: Callable[[], None] = lambda: None,
    ) -> dict[str, float]:
        """Scores by name: psnr, ssim and lpips_alex for pairs, kid without pairs, and cycle where there are both directions.

        With both directions each score stands under ``a2b/kid`` and ``b2a/kid`` too, and the plain name is the mean over the
        directions that have it: the sides may allow different metrics. Up to
        100 images of each side are scored, evenly chosen. ``poll`` is called after every image and may raise to stop.
        """
        chosen = list(zip(spread(val.a, MAX_IMAGES), spread(val.b, MAX_IMAGES), strict=False)) if val.paired else []
        few = Split(tuple(x for x, _ in chosen), tuple(y for _, y in chosen), True) if chosen else val
        if not chosen:
            few = replace(val, a=tuple(spread(val.a, MAX_IMAGES)), b=tuple(spread(val.b, MAX_IMAGES)))
        scores = {s.direction: self._scores(s, poll) for s in subjects_of(translators, few, a, b, config, None)}
        if len(scores) == 1:
            return next(iter(scores.values()))
        names = dict.fromkeys(name for found in scores.values() for name in found)
        means = {name: fmean(found[name] for found in scores.values() if name in found) for name in names}
        return means | {f"{direction}/{name}": value for direction, found in scores.items() for name, value in found.items()}

    def _scores(self, subject: Subject, poll: Callable[[], None]) -> dict[str, float]:
        wanted = ("psnr", "ssim", "lpips_alex", "cycle") if subject.paired else ("kid", "cycle")
        names = [name for name in wanted if not why_not(name, subject, self.tools, by_name=False)]
        meters = [meter for meter, _ in build_meters(names, subject, self.tools, None)]
        device = torch.device(self.device)
        for batch in translated(subject, 1, device):
            for meter in meters:
                meter.see(batch)
            poll()
        for images in () if subject.paired else real_images(subject, 1, device):
            for meter in meters:
                meter.real(images)
            poll()
        scores = {}
        for meter in meters:
            if isinstance(meter, FeatureMeter):
                scores["kid"] = kid(meter.joined["model"], meter.joined["truth"])
            scores |= {name: fmean(values) for name, values in meter.image_scores().items()}
        return scores
