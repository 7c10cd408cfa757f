"""The training doctor's looks: a few numbers, now and then, that show what losses alone do not (see diptych.training.health.diagnosis).

A look costs about as much as training on twelve images, and knows no method: it applies the generators, runs the method's
losses without an optimizer step, and puts everything back as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diptych.data.census import Census
from diptych.data.datasets import Crops
from diptych.data.pairing import match
from diptych.methods import Batch, Method
from diptych.methods.base import frozen
from diptych.nets.modes import applied
from diptych.pixels import Domain
from diptych.recipe import Recipe

NUM_TRANSLATED = 16  # images a side whose translations are measured
NUM_WITH_LOSSES = 8  # of them, and of the training images, whose losses are taken
NUM_CYCLED = 4  # of them that go there and back again
FIRST_LOOK_EPOCHS = (0.5, 1.0, 1.5, 2.0)  # in epochs: a failure must be found within two
MIN_STEPS_PER_EPOCH = 100  # steps; where an epoch has fewer, networks are too young at its end, and as many are counted for one
IMAGES_PER_LOOK = 1500  # so that looks cost less than a hundredth of the training
MAX_LOOKS = 100

Images = Float[Tensor, "n c h w"]


class Doctor:
    """Looks at a training after 0.5, 1, 1.5 and 2 epochs, and then evenly spread to its end, 1500 images apart or more.

    At the same images each time, of the validation split where there is one. Constructing it reads them; that draws nothing
    from any random state.
    """

    def __init__(self, method: Method, recipe: Recipe, census: Census, device: torch.device) -> None:
        self.method, self.recipe = method, recipe
        self.sample = _crops(census, recipe, device)
        self.held_out = _crops(replace(census, split=census.val), recipe, device) if census.val else None
        epoch = max(len(census.split.a), len(census.split.b))
        self.steps = look_steps(epoch, recipe.train.epochs + recipe.train.decay_epochs, recipe.train.batch_size)

    def due(self, step: int) -> bool:
        """Whether to look after this step; depends on nothing but the step, so that a resumed training looks as often."""
        return step in self.steps

    def look(self) -> dict[str, float]:
        """The numbers of this moment (see measure), for the key ``health`` of a line of statistics."""
        return measure(self.method, self.recipe, self.sample, self.held_out)


def look_steps(epoch: int, epochs: int, batch_size: int) -> frozenset[int]:
    """The steps after which to look, in a training of some epochs of ``epoch`` images each; the last step is always one."""
    total, unit = epoch * epochs, max(epoch, MIN_STEPS_PER_EPOCH * batch_size)
    first = [unit * part for part in FIRST_LOOK_EPOCHS if unit * part < total]
    later = max(1, min(MAX_LOOKS, total // IMAGES_PER_LOOK - len(first)))
    return frozenset(math.ceil(images / batch_size) for images in [*first, *(total * (i + 1) / later for i in range(later))])


def measure(method: Method, recipe: Recipe, sample: Batch, held_out: Batch | None) -> dict[str, float]:
    """What a method's networks do at this moment, as finite numbers by name; changes no weights, buffers or random state.

    ``sample`` are training images and ``held_out`` images that are never trained on, two or more of each. By direction, such as
    ``a2b/``, of held_out or else of the sample: ``dead``, the share of channels that passed nothing, of the ReLU layer that
    suffers most; what _translations and _returns name. ``weights/PHASE``: root mean square of the weights that a phase
    teaches. ``train/PHASE/TERM`` and ``held_out/PHASE/TERM``: each loss on both. What is not finite is left out.
    """
    shown = held_out or sample
    size, mode, bf16 = recipe.train.batch_size, recipe.method.mode, recipe.train.precision == "bf16"
    found: dict[str, Tensor] = {}
    device = shown.a.device
    with ExitStack() as stack:
        stack.enter_context(left_unchanged(method, device))
        stack.enter_context(torch.autocast(device.type, torch.bfloat16, bf16, cache_enabled=False))
        outputs: dict[str, Tensor] = {}
        nets = method.generators()
        for name, net in nets.items():
            x, y = (shown.a, shown.b) if name == "a2b" else (shown.b, shown.a)
            with applied(net, mode) as translate, _dead_layers(translate) as dead:
                outputs[name] = _apply(translate, x, size)
                measured = _translations(x, y, outputs[name], recipe.method.paired) | {"dead": dead()}
            found |= {f"{name}/{key}": value for key, value in measured.items()}
        if nets.keys() == {"a2b", "b2a"}:
            for name, back, x in (("a2b", "b2a", shown.a), ("b2a", "a2b", shown.b)):
                with applied(nets[back], mode) as translate:
                    measured = _returns(translate, x[:NUM_CYCLED], outputs[name][:NUM_CYCLED], size)
                found |= {f"{name}/{key}": value for key, value in measured.items()}
        for name, batch in (("train", sample), *((("held_out", held_out),) if held_out else ())):
            found |= {f"{name}/{key}": value for key, value in _losses(method, batch, size).items()}
        for phase, taught in method.phases().items():
            weights = [p.detach() for net in taught for p in net.parameters()]
            squares = torch.stack([w.double().square().sum() for w in weights]).sum()
            found[f"weights/{phase}"] = (squares / sum(w.numel() for w in weights)).sqrt()
        values = torch.stack([value.detach().double() for value in found.values()]).tolist()  # waits for the device once
    return {name: value for name, value in zip(found, values, strict=True) if math.isfinite(value)}


@contextmanager
def left_unchanged(method: Method, device: torch.device) -> Iterator[None]:
    """Whatever runs inside needs no graph, and the method's buffers and the random state are put back as they were."""
    buffers = {name: buffer.clone() for name, buffer in method.named_buffers()}
    with torch.random.fork_rng([device] if device.type == "cuda" else []), frozen(method):
        torch.manual_seed(0)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, buffer in method.named_buffers():
                    buffer.copy_(buffers[name])


def _crops(census: Census, recipe: Recipe, device: torch.device) -> Batch:
    """The first images of training's order, in [-1, 1], neither enlarged nor mirrored.

    Two that are mirrored alike resemble each other by that alone.
    """
    pairs = recipe.data.pairs if match(census.split).pairs else 0.0  # held-out images may hold no known pair
    crops = Crops(census, replace(recipe.data, load_size=recipe.data.crop_size, flip=False, pairs=pairs), recipe.train.seed)
    samples = [crops[k] for k in range(max(2, min(NUM_TRANSLATED, len(crops))))]
    a, b = torch.stack([s.a for s in samples]).to(device), torch.stack([s.b for s in samples]).to(device)
    return Batch(census.a.encode(a), census.b.encode(b))


def _apply(net: nn.Module, x: Images, size: int) -> Float[Tensor, "n d h w"]:
    """As many at a time as training takes: no more memory, and the batch statistics of BatchNorm mean the same."""
    return torch.cat([net(part).float() for part in x.split(size)])


@contextmanager
def _dead_layers(net: nn.Module) -> Iterator[Callable[[], Tensor]]:
    """Gives a function that tells what share of channels was 0 all the time inside this block, of the worst ReLU layer."""
    alive: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        some = (output > 0).transpose(0, 1).flatten(1).any(1)
        alive[module] = alive[module] | some if module in alive else some

    hooks = [module.register_forward_hook(note) for module in net.modules() if isinstance(module, nn.ReLU)]
    device = next(net.parameters()).device
    try:
        yield lambda: torch.stack([1 - some.double().mean() for some in alive.values()] or [torch.zeros((), device=device)]).max()
    finally:
        for hook in hooks:
            hook.remove()


def _translations(x: Images, y: Float[Tensor, "n d h w"], output: Float[Tensor, "n d h w"], paired: bool) -> dict[str, Tensor]:
    """How outputs compare with inputs x and real images y of the target domain; when paired, y[i] is the truth of x[i].

    spread: deviation between images, over that of y; detail: deviation within an image, over that of y; saturated: share of
    values within 1 % of black or white, and saturated_real of y; checker: rms of what repeats every 2 or 4 pixels, and
    checker_real; luma: correlation of input's and output's luminance, and luma_real with y when paired; copy: distance to x
    over that of y to x. When paired, match: see there; error: distance to the own truth, over what one flat mean colour scores.
    """
    found = {
        "spread": _ratio(output.std(0).mean(), y.std(0).mean()),
        "detail": _ratio(output.std((2, 3)).mean(), y.std((2, 3)).mean()),
        "saturated": (output.abs() > 0.99).double().mean(),
        "saturated_real": (y.abs() > 0.99).double().mean(),
        "checker": _checker(output),
        "checker_real": _checker(y),
        "luma": _correlation(x, output),
    }
    if x.shape == y.shape:
        found["copy"] = _ratio((output - x).abs().mean(), (y - x).abs().mean())
    if paired:
        flat = (y.mean((0, 2, 3), keepdim=True) - y).abs().mean()
        error = _ratio((output - y).abs().mean(), flat)
        found |= {"luma_real": _correlation(x, y), "match": _match(output, y), "error": error}
    return found


def _match(output: Images, y: Images) -> Tensor:
    """Of all pairs of images, the share whose outputs together are closer (L1) to their own truths than to each other's.

    Far more sensitive than an error: where little can be known of the truth, little suffices. Chance is 0.5.
    """
    n = len(y)
    to = torch.stack([(output - y.roll(-k, 0)).abs().mean((1, 2, 3)) for k in range(n)])  # to[k, i]: of output i to truth i + k
    swapped = torch.stack([to[k] + to[-k].roll(-k) for k in range(1, n)])
    matched = torch.stack([to[0] + to[0].roll(-k) for k in range(1, n)])
    return (matched < swapped).double().mean()


def _returns(back: nn.Module, x: Images, there: Float[Tensor, "n d h w"], size: int) -> dict[str, Tensor]:
    """cycle: distance of images to themselves there and back, over what one flat mean colour scores.

    noised: the same when what lies between got noise of +-2 of 255 levels and was rounded to 8 bits, which nobody sees: what
    hides in it is lost then (Chu et al. 2017).
    """
    noise = (torch.rand(there.shape, generator=torch.Generator().manual_seed(0)).to(there.device) - 0.5) * (8 / 255)
    eight_bits = Domain(there.shape[1])
    written = eight_bits.encode(eight_bits.decode(there + noise))
    flat = (x.mean((0, 2, 3), keepdim=True) - x).abs().mean()
    rec, noised = _apply(back, there, size), _apply(back, written, size)
    return {"cycle": _ratio((rec - x).abs().mean(), flat), "noised": _ratio((noised - x).abs().mean(), flat)}


def _losses(method: Method, batch: Batch, size: int) -> dict[str, Tensor]:
    """The mean of every loss over a few images, ``phase/term``, as training computes it."""
    sums: dict[str, Tensor] = {}
    parts = list(zip(batch.a[:NUM_WITH_LOSSES].split(size), batch.b[:NUM_WITH_LOSSES].split(size), strict=True))
    for a, b in parts:
        for phase, terms in method.losses(Batch(a, b)):
            for name, term in terms.items():
                key = f"{phase}/{name}"
                sums[key] = sums.get(key, torch.zeros_like(term)) + term.detach() * len(a) / len(batch.a[:NUM_WITH_LOSSES])
    return sums


def _ratio(value: Tensor, scale: Tensor) -> Tensor:
    """A ratio that means nothing, and is left out, where there is nothing to compare with."""
    return torch.where(scale > 0.01, value / scale, torch.nan)


def _luminance(x: Images) -> Float[Tensor, "n h w"]:
    weights = torch.tensor([0.299, 0.587, 0.114], device=x.device) if x.shape[1] == 3 else torch.ones(1, device=x.device)
    return (x * (weights / weights.sum())[:, None, None]).sum(1) if x.shape[1] in (1, 3) else x.mean(1)


def _correlation(x: Images, y: Float[Tensor, "n d h w"]) -> Tensor:
    """Pearson's, of luminance over the pixels of each image; the mean over images."""
    u, v = (_luminance(z).flatten(1) for z in (x, y))
    u, v = u - u.mean(1, keepdim=True), v - v.mean(1, keepdim=True)
    return ((u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1)).clamp_min(1e-6)).mean()


def _checker(x: Images) -> Tensor:
    """Root mean square, in units of [-1, 1], of the luminance's part that repeats every 2 or 4 pixels: what strided layers leave.

    The power at those frequencies beyond that of the frequencies beside them, which textures have as well.
    """
    height, width = (4 * (side // 4) for side in x.shape[-2:])
    if min(height, width) < 16:
        return torch.full((), torch.nan, device=x.device)
    light = _luminance(x[..., :height, :width])
    power = torch.fft.fft2(light, norm="forward").abs().square().mean(0)
    around = sum(power.roll((i, j), (0, 1)) for i in (-2, 0, 2) for j in (-2, 0, 2) if i or j) / 8
    excess = (power - around)[:: height // 4, :: width // 4]
    return (excess.sum() - excess[0, 0]).clamp_min(0).sqrt()
