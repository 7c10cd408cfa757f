"""What is wrong with a training is decided by one table of rules from its lines of statistics.

The numbers are the losses and those of doctor.py. A rule is broken while its number was beyond the limit at each of the last few
looks; a problem that has gone is not reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from diptych.recipe import flat
from diptych.training.health.advice import Advice, with_values

Numbers = dict[str, float]

# The sum of the terms real and fake of a discriminator that gives every image the same score; wgan has no such value.
UNDECIDED = {"vanilla": math.log(2), "lsgan": 0.25, "hinge": 1.0}
MIN_STEP = 100  # looks before half of this step are ignored, since networks are too young then
MIN_LOOKS = 2  # the fewest looks after which any rule on networks can be broken
RECENT_LINES = 10  # a loss that was not finite is reported while it is among the last so many lines


MEANING = {
    "spread": "difference between outputs, relative to that between real images",
    "detail": "contrast within outputs, relative to that within real images",
    "copy": "distance of outputs to inputs, relative to that of real images to inputs",
    "inverted": "correlation of the output's luminance with the input's negative",
    "dead": "share of a layer's channels that are 0 for every image",
    "saturated": "share of values at black or white, minus that of real images",
    "checker": "root mean square of what repeats every 2 or 4 pixels, in [-1, 1]",
    "match": "share of outputs that fit their own truth better than another's; chance is 0.5",
    "cycle": "distance of images to themselves after the cycle, relative to that of a flat colour",
    "hidden": "error of the cycle with invisible noise, relative to that without",
    "confidence": "loss, relative to that of a discriminator that scores everything alike",
    "overfit": "loss on held-out real images minus that on training images, relative to that of one that scores everything alike",
    "moved": "root mean square change of the weights per step",
    "worse": "loss, relative to its lowest, unless that was negligible",
    "loss": "as computed in training",
}
MEANING["uncycled"] = MEANING["cycle"]


@dataclass(frozen=True)
class Rule:
    """Reports a number above or below a limit at each of the last ``looks`` looks, if the last look is in ``epoch`` or later."""

    problem: str
    number: str
    sense: Literal["above", "below"]
    limit: float
    looks: int
    epoch: int
    advice: Advice


AGAIN = "start again with "
RULES = (
    #    problem                         number        sense    limit looks epoch
    Rule("one output for all inputs",    "spread",     "below", 0.05,  2, 1,
         Advice(("lower --train.lr", "set --method.lambda_r1 1", "try another --train.seed"),
                last="if paired, do the pairs belong together?")),
    Rule("flat output",                  "detail",     "below", 0.05,  2, 1,
         Advice(("--train.lr 1e-4", "--method.norm instance", "--method.init_gain 0.02"), AGAIN, "and")),
    Rule("output = input",               "copy",       "below", 0.08,  2, 1,
         Advice(("lower --method.lambda_identity",),
                last="if a and b hardly differ there is little to learn: see them with `diptych check`")),
    Rule("colours inverted",             "inverted",   "above", 0.6,   2, 2,
         Advice(("another --train.seed", "a higher --method.lambda_identity", "a --method.generator such as unet_7"), AGAIN)),
    Rule("dead ReLU",                    "dead",       "above", 0.95,  2, 1,
         Advice(("--method.norm instance", "a lower --train.lr"), AGAIN, "and")),
    Rule("saturated output",             "saturated",  "above", 0.5,   2, 1,
         Advice(("--method.init_gain 0.02", "a lower --train.lr"), AGAIN, "and")),
    Rule("checkerboard",                 "checker",    "above", 0.04,  3, 2,
         Advice(("--method.upsample pixelshuffle",), AGAIN)),
    Rule("pairs do not belong together", "match",      "below", 0.65,  2, 1,
         Advice(last="look at the pairs with `diptych check`; images of one name must show one thing at one place")),
    Rule("no cycle",                     "uncycled",   "above", 0.8,   2, 1,
         Advice(("--method.lambda_cycle_a 10", "--method.lambda_cycle_b 10"), "nothing ties outputs to inputs; set ", "and")),
    Rule("the cycle does not return",    "cycle",      "above", 1.0,   6, 2,
         Advice(("raise --method.lambda_cycle_a and --method.lambda_cycle_b", "lower --train.lr"))),
    Rule("the cycle hides information",  "hidden",     "above", 1.5,   2, 1,
         Advice(("lower --method.lambda_cycle_a and --method.lambda_cycle_b", "raise --method.lambda_identity"))),
    Rule("discriminator wins",           "confidence", "below", 0.05,  2, 1,
         Advice(("more images", "--method.lambda_r1 1", "a smaller --method.ndf"), "use ")),
    Rule("discriminator diverges",       "confidence", "above", 1.5,   2, 1,
         Advice(("lower --train.lr", "set --method.lambda_r1 1"))),
    Rule("discriminator over-fits",      "overfit",    "above", 1.5,   3, 2,
         Advice(("more images", "--data.flip true", "--method.lambda_r1 1", "the best snapshot"), "use ")),
    Rule("networks do not learn",        "moved",      "below", 1e-12, 1, 1,
         Advice(last="is --train.lr 0? does an optimizer of yours miss them?")),
    Rule("weights run away",             "moved",      "above", 0.004, 1, 1,
         Advice(("a lower --train.lr",), AGAIN, last="at the papers' 2e-4 it is about 0.0005")),
    Rule("loss diverges",                "worse",      "above", 3.0,   2, 1,
         Advice(("a lower --train.lr",), AGAIN)),
)  # fmt: skip
NOT_FINITE = "--train.lr may be too high; look for flat images with `diptych check`, or set --train.precision fp32"


@dataclass(frozen=True)
class Verdict:
    """One problem: where it is (a direction, a phase, a loss), its number and limit, since which step, and what to change."""

    problem: str
    where: str
    name: str
    number: float
    sense: str
    threshold: float
    since_step: int
    advice: str

    def __str__(self) -> str:
        number = f"{self.number:.3g} is {self.sense} {self.threshold:g} since step {self.since_step:,}"
        return f"{self.where}: {self.problem}: {self.name} {number} ({MEANING[self.name]}); {self.advice}"


def diagnose(lines: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]) -> list[Verdict]:
    """The problems at the end of these lines of stats.jsonl, in the order of RULES; ``recipe`` is that of Recipe.to_dict.

    Each line has ``step``, ``epoch`` and ``losses``, and some have ``health``. Networks are judged from their second look on (see
    num_looks), and a loss that is not finite at once.
    """
    settings = flat(recipe)
    verdicts = [*_not_finite(lines, settings)]
    looks = list(_looks(lines, settings))
    for rule in RULES:
        for where in dict.fromkeys(name.rpartition("/")[0] for _, _, numbers in looks for name in numbers):
            name = f"{where}/{rule.number}"
            broken: list[tuple[int, float]] = []
            for step, _, numbers in looks:
                value = numbers.get(name, math.nan)
                wrong = value > rule.limit if rule.sense == "above" else value < rule.limit
                broken = [*broken, (step, value)] if wrong else []
            if len(broken) >= rule.looks and looks[-1][1] >= rule.epoch:
                since, value = broken[0][0], broken[-1][1]
                advice = rule.advice.for_settings(settings)
                verdicts.append(Verdict(rule.problem, where, rule.number, value, rule.sense, rule.limit, since, advice))
    return verdicts


def num_looks(lines: Sequence[Mapping[str, Any]]) -> int:
    """The number of looks at networks that were old enough to be judged; with fewer than MIN_LOOKS, a run is too young."""
    return sum("health" in line and line["step"] >= MIN_STEP // 2 for line in lines)


def _looks(lines: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Iterator[tuple[int, float, Numbers]]:
    """The step, the epoch and the numbers of RULES for every look at networks that were old enough to be judged."""
    undecided = UNDECIDED.get(str(settings.get("method.gan")), math.nan)
    uncycled = any(name.startswith("method.lambda_cycle") and value == 0 for name, value in settings.items())
    before: Mapping[str, Any] | None = None
    window: list[Mapping[str, float]] = []
    first: Numbers = {}
    lowest: Numbers = {}
    for line in lines:
        window.append(line["losses"])
        if "health" not in line:
            continue
        health = line["health"]
        means = _means(window)
        if line["step"] >= MIN_STEP // 2:
            numbers = _of_translations(health, uncycled) | _of_discriminators(health, means, undecided)
            numbers |= _of_weights(before, line)
            numbers |= _of_losses(means, first, lowest)
            yield line["step"], line["epoch"], numbers
        for name, value in means.items():
            if not name.startswith("D/") and "/gan" not in name:  # adversarial losses rise when the opponent improves
                first.setdefault(name, value)
                lowest[name] = min(value, lowest.get(name, math.inf))
        before, window = line, []


def _means(window: Sequence[Mapping[str, float]]) -> Numbers:
    """The mean of each loss over some lines, leaving out lines without it, in which every update was skipped."""
    values: dict[str, list[float]] = {}
    for losses in window:
        for name, value in losses.items():
            values.setdefault(name, []).append(value)
    finite = {name: [value for value in kept if math.isfinite(value)] for name, kept in values.items()}
    return {name: sum(kept) / len(kept) for name, kept in finite.items() if kept}


def _of_losses(means: Numbers, first: Numbers, lowest: Numbers) -> Numbers:
    """How much worse each loss is than it was, such as ``G/l1/worse``.

    A loss is compared with its lowest value, but at least with a tenth of its first value and a hundredth of its phase's sum: a
    loss that has become negligible may vary by any factor.
    """
    found = {}
    for name in means.keys() & lowest.keys():
        phase = name.partition("/")[0]
        total = sum(abs(value) for other, value in means.items() if other.partition("/")[0] == phase)
        scale = max(lowest[name], 0.1 * first[name], 0.01 * total)
        if scale > 0:
            found[f"{name}/worse"] = means[name] / scale
    return found


def _of_translations(health: Numbers, uncycled: bool) -> Numbers:
    """The numbers of each direction, such as ``a2b/spread``; NaN where a number would be no evidence of its problem."""
    found: Numbers = {}
    for direction in [name.removesuffix("/spread") for name in health if name.endswith("/spread")]:

        def of(name: str, otherwise: float = math.nan) -> float:
            return health.get(f"{direction}/{name}", otherwise)  # noqa: B023 - called in this iteration only

        numbers = {name: of(name) for name in ("spread", "detail", "copy", "dead", "cycle")}
        numbers |= {
            "saturated": of("saturated") - of("saturated_real"),
            "checker": math.sqrt(max(0.0, of("checker", 0) ** 2 - of("checker_real", 0) ** 2)),
            "inverted": -of("luma") - max(0.0, -of("luma_real", 0)),  # true pairs may be each other's negatives
            "uncycled": of("cycle") if uncycled else math.nan,
            "hidden": of("noised") / of("cycle") if of("cycle", 0) > 0 else math.nan,
            # Equal outputs and copies of the input cannot match their truths; other rules report these.
            "match": of("match") if of("spread", 0) >= 0.05 and of("copy", 1) >= 0.08 else math.nan,
        }
        found |= {f"{direction}/{name}": value for name, value in numbers.items()}
    return found


def _of_discriminators(health: Numbers, losses: Numbers, undecided: float) -> Numbers:
    """The numbers of each discriminator whose losses are called real and fake, such as ``D_b/confidence``."""
    found = {}
    for name in losses:
        if name.startswith("D/real"):
            who = "D" + name.removeprefix("D/real")
            found[f"{who}/confidence"] = (losses[name] + losses.get(name.replace("real", "fake"), math.nan)) / undecided
            known, unknown = health.get(f"train/{name}", math.nan), health.get(f"held_out/{name}", math.nan)
            found[f"{who}/overfit"] = (unknown - known) / undecided
    return found


def _of_weights(before: Mapping[str, Any] | None, line: Mapping[str, Any]) -> Numbers:
    """How far each phase moves its weights, such as ``phase D/moved``.

    Steps in random directions make the mean square of the weights grow in proportion to their number.
    """
    found = {}
    for name, now in line["health"].items():
        kind, _, phase = name.partition("/")
        if before and kind == "weights" and name in before["health"] and line["step"] > before["step"]:
            growth = (now**2 - before["health"][name] ** 2) / (line["step"] - before["step"])
            found[f"phase {phase}/moved"] = math.sqrt(abs(growth))
    return found


def _not_finite(lines: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Iterator[Verdict]:
    since: dict[str, tuple[int, float]] = {}
    for line in lines[-RECENT_LINES:]:
        for name, value in line["losses"].items():
            if not math.isfinite(value):
                since.setdefault(name, (line["step"], value))
    advice = with_values(NOT_FINITE, settings)
    for name, (step, value) in since.items():
        yield Verdict("not finite", name, "loss", value, "not below", math.inf, step, advice)
