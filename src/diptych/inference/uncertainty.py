"""Maps beside a translation that say how far to trust it, made from a snapshot alone.

Every map has one number for each pixel, from 0 (equal, certain) to 1 (as different as can be). Differences of pixels are shares
of the range of their domain, means over channels; between label maps, a pixel of another class counts 1.

cycle: how far the image is from what the other direction makes of its translation. edges: how much of the edges around a pixel
is not in both images. spread: the standard deviation of several answers. mask: what a generator with a mask keeps apart, since
its target cannot show it (StegoGAN).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast, final, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from diptych.choices import MapKind
from diptych.errors import ConfigError
from diptych.inference.translator import Translator, put_back
from diptych.nets.modes import Noise
from diptych.pixels import Domain
from diptych.snapshot import Snapshot

KINDS: tuple[MapKind, ...] = get_args(MapKind)
WINDOW = 11  # pixels, high and wide, in which edges are compared
FLAT = 0.02**2  # the squared slope, of values in [-1, 1] by pixel, below which there is no edge (2.5 levels of 255)
REVERSE = {"a2b": "b2a", "b2a": "a2b"}
Map = Float[Tensor, "h w"]


@final
class Maps:
    """Computes the maps of one image after another, with torch in fp32.

    ``wanted`` are the kinds; None stands for all that this snapshot has. ``left_out`` says why it lacks the others. The spread is
    that of ``ensemble``, other snapshots of the same task, together with this one; without any, of ``samples`` answers that
    differ in their dropout or noise, drawn in mode paper from ``seed`` on. ``how`` is passed on to every Translator.

    Raises ConfigError where a kind that is wanted is not to be had, and where a snapshot of the ensemble is of another task.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        direction: str,
        wanted: Sequence[MapKind] | None = None,
        *,
        samples: int = 8,
        ensemble: Sequence[Snapshot] = (),
        seed: int = 0,
        mode: Any = None,
        **how: Any,
    ) -> None:
        self.source, self.target = snapshot.domains(direction)
        how = how | {"replay": False}
        plain = in_floats(snapshot, direction)
        self.translator = Translator(plain, direction, mode=mode, seed=seed, **how)
        self.back = None if REVERSE[direction] not in snapshot.generators else REVERSE[direction]
        self.masked, self.masks_output = _mask_of(snapshot, direction)
        self.draws = _draws(self.translator.net)
        self.left_out = self._lacking(bool(ensemble))
        self.kinds = tuple(kind for kind in KINDS if (wanted is None and kind not in self.left_out) or kind in (wanted or ()))
        for kind in self.kinds:
            if kind in self.left_out:
                raise ConfigError(f"--maps {kind}: {self.left_out[kind]}")
        self.answers: list[Translator] = []
        if "spread" in self.kinds and ensemble:
            others = [_of_one_task(other, snapshot, direction) for other in ensemble]
            made = [Translator(in_floats(other, direction), direction, mode=mode, seed=seed, **how) for other in others]
            self.answers = [self.translator, *made]
        elif "spread" in self.kinds:
            if samples < 2:
                raise ConfigError(f"--samples must be at least 2, as one answer has no spread; found {samples}")
            self.answers = [Translator(plain, direction, mode="paper", seed=seed + k, **how) for k in range(samples)]
        if "cycle" in self.kinds:
            way_back = {name: how[name] for name in how if name not in ("strength", "steps")}
            self.backwards = Translator(in_floats(snapshot, str(self.back)), str(self.back), mode=mode, seed=seed, **way_back)
        if self.masked is not None and "mask" in self.kinds:
            self.masked = copy.deepcopy(self.masked).to(self.translator.device)

    def _lacking(self, ensemble: bool) -> dict[MapKind, str]:
        found: dict[MapKind, str] = {}
        if not self.back:
            found["cycle"] = "this snapshot translates in one direction only, so that there is no way back to compare with"
        if not (self.draws or ensemble):
            found["spread"] = (
                "this generator has no dropout and draws no noise, so that it has one answer; "
                "name other snapshots of the same task with --ensemble"
            )
        if self.masked is None:
            found["mask"] = "this snapshot's generators have no mask; those of stegogan have one"
        return found

    def prepare(self, pixels: Any, at: Any = "native") -> Shaped[Tensor, "c h w"]:
        """Make of an (h, w, c) array of native pixels what a call takes, as Translator.prepare does."""
        return self.translator.prepare(pixels, at)

    def __call__(self, pixels: Shaped[Tensor, "c h w"]) -> tuple[Float[Tensor, "d h w"], dict[MapKind, Map]]:
        """Give the translation in [-1, 1] and its maps; NaN in maps where the image has no data.

        Raises ConfigError for an image that is too large to be translated as the maps need it.
        """
        batch = pixels[None]
        valid = self.source.valid(batch)
        x = self.source.encode(batch).cpu()
        y = self._translated(self.translator, batch)
        found: dict[MapKind, Tensor] = {}
        if "cycle" in self.kinds:
            native = put_back(self.target.decode(y), valid, self.target)
            found["cycle"] = difference(x, self._translated(self.backwards, native), self.source)
        if "edges" in self.kinds:
            found["edges"] = edge_change(x, y)
        if "spread" in self.kinds:
            found["spread"] = self._spread(batch)
        if "mask" in self.kinds:
            found["mask"] = self._mask(y if self.masks_output else x)
        maps = {kind: (each if valid is None else each.where(valid[:, 0], torch.nan))[0] for kind, each in found.items()}
        return y[0], {kind: maps[kind] for kind in self.kinds}

    def _translated(self, translator: Translator, batch: Shaped[Tensor, "1 c h w"]) -> Float[Tensor, "1 d h w"]:
        return translator.target.encode(translator.tensors(batch).nan_to_num(-1.0))

    def _spread(self, batch: Shaped[Tensor, "1 c h w"]) -> Float[Tensor, "1 h w"]:
        """The standard deviation over answers, root mean square over channels, by Welford's sums so that none is kept."""
        mean = squares = torch.zeros(())
        for number, translator in enumerate(self.answers, 1):
            y = self._translated(translator, batch) / 2
            apart = y - mean
            mean = mean + apart / number
            squares = squares + apart * (y - mean)
        return (squares / (len(self.answers) - 1)).mean(1).sqrt()

    def _mask(self, x: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 h w"]:
        if not self.translator.fits(*x.shape[-2:]):
            raise ConfigError("its mask needs the whole image in memory; give more --memory, or leave the mask out of --maps")
        net: Any = self.masked
        with torch.inference_mode():
            mask: Tensor = net.eval().maps(x.to(self.translator.device))["mask"]
        return mask[:, 0].float().cpu()


def in_floats(snapshot: Snapshot, direction: str) -> Snapshot:
    """The snapshot with results in [-1, 1] as float32 in a direction, so that rounding to pixels hides nothing; labels stay."""
    side = direction[-1]
    domain: Domain = getattr(snapshot, side)
    if domain.classes:
        return snapshot
    return replace(snapshot, **cast(Any, {side: Domain(domain.channels, "float32", -1.0, 1.0)}))


def difference(x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"], domain: Domain) -> Float[Tensor, "n h w"]:
    """How far images in [-1, 1] are apart at each pixel, as a share of the range; between classes, 0 or 1."""
    apart = (x - y).abs() / 2
    return apart.amax(1) if domain.classes else apart.mean(1)


def edge_change(x: Float[Tensor, "n c h w"], y: Float[Tensor, "n d h w"]) -> Float[Tensor, "n h w"]:
    """One minus the cosine of two images' edges in a window around each pixel: 0 where both have the same, up to their scale.

    Edges are magnitudes of Sobel's gradient, root mean square over channels. Where both are flat, nothing has changed.
    """
    edges = _edges(x), _edges(y)
    both, one, other = (_around(edges[i] * edges[j]) + FLAT for i, j in ((0, 1), (0, 0), (1, 1)))
    return (1.0 - both / (one * other).sqrt()).clamp(min=0.0)[:, 0]


def _edges(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
    smooth, slope = x.new_tensor([1.0, 2.0, 1.0]) / 4, x.new_tensor([-1.0, 0.0, 1.0]) / 2
    kernels = torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)])[:, None]
    padded = F.pad(x.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    squares = F.conv2d(padded, kernels).square().sum(1)
    return squares.unflatten(0, x.shape[:2]).mean(1, keepdim=True).sqrt()


def _around(x: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 h w"]:
    return F.avg_pool2d(x, WINDOW, 1, WINDOW // 2, count_include_pad=False)


def _draws(net: nn.Module) -> bool:
    """Whether a generator has several answers in mode paper."""
    if getattr(net, "draws_noise", False) or any(isinstance(layer, nn.Dropout) and layer.p > 0 for layer in net.modules()):
        return True
    return any(isinstance(layer, Noise) for layer in net.modules()) and getattr(net, "has_many_answers", True)


def _mask_of(snapshot: Snapshot, direction: str) -> tuple[nn.Module | None, bool]:
    """The generator that has a mask, and whether it looks at the translation: that of the way back shows what was invented."""
    for name, of_output in ((direction, False), (REVERSE[direction], True)):
        net = snapshot.generators.get(name)
        if net is not None and getattr(net, "mask", None) is not None and hasattr(net, "maps"):
            return net, of_output
    return None, False


def _of_one_task(other: Snapshot, snapshot: Snapshot, direction: str) -> Snapshot:
    if direction not in other.generators or other.domains(direction) != snapshot.domains(direction):
        ours, theirs = (f"{' and '.join(one.generators)} between {one.a} and {one.b}" for one in (snapshot, other))
        raise ConfigError(f"--ensemble: a snapshot translates {theirs}, expected {ours} in direction {direction}; leave it out")
    return other
