"""One sentence on a training: is its translator better than a baseline that learnt nothing, and what comes next?"""

from __future__ import annotations

from diptych.evaluation.results import METRICS, Evaluation, Of
from diptych.evaluation.tables import number
from diptych.metrics.estimate import Estimate

JUDGED_BY = ("lpips_alex", "psnr", "kid")  # the first that was computed
NOTHING: dict[Of, str] = {"copy": "the unchanged input", "mean": "one flat colour"}


def verdict(evaluation: Evaluation, direction: str, run: str) -> str:
    """Compare a direction with the best of its baselines; ``run`` is what to call the run in commands.

    It is better or worse where a test on the same images says so at 5 %, or where the two 95 % intervals lie apart, which also
    tells for KID, and for images too few for such a test; otherwise it is not told.
    """
    metric = next((name for name in JUDGED_BY if evaluation.value(name, direction)), None)
    found = {of: evaluation.value(metric, direction, of) for of in NOTHING} if metric else {}
    baselines = {of: estimate for of, estimate in found.items() if estimate}
    if metric is None or not baselines:
        return f"{direction}: there is no baseline to judge by; look at the pictures in the report"
    sign = 1 if METRICS[metric].better == "higher" else -1
    model = evaluation.value(metric, direction)
    assert model is not None, "the metric was chosen because it was computed"
    of, nothing = max(baselines.items(), key=lambda item: sign * item[1].value)
    title = METRICS[metric].title
    numbers = f"{title} {number(metric, model.value)} against {number(metric, nothing.value)}"
    ahead, than = sign * (model.value - nothing.value) > 0, f"than {NOTHING[of]}"
    (p,) = (r.p for r in evaluation.results if (r.metric, r.direction, r.of) == (metric, direction, of))
    told = apart(model, nothing) or (metric != "kid" and p is not None and p <= 0.05)
    if not told:
        looks = f"looks {'better' if ahead else 'no better'} {than} ({numbers}), but {counted(model.n)} cannot make it certain"
        return f"{direction} {looks}: score more images, or train longer"
    if not ahead:
        return f"{direction} is worse {than} ({numbers}): `diptych doctor {run}` says what may have gone wrong"
    floor = evaluation.value(metric, direction, "truth")
    if floor and not apart(model, floor):
        return f"{direction} is better {than} ({numbers}), and about as near as other real images: look at the report"
    return f"{direction} is better {than} ({numbers}): look at the report; `diptych evaluate {run}` computes the other scores"


def apart(x: Estimate, y: Estimate) -> bool:
    """Whether two intervals have nothing in common; False where one is missing."""
    return x.low > y.high or y.low > x.high


def counted(n: int) -> str:
    """``1 image``, ``60 images``."""
    return f"{n:,} image{'' if n == 1 else 's'}"
