"""The doctor looks at a training now and then and measures what losses alone do not show; diagnosis.py judges the numbers.

A look costs about as much as training on twelve images. It needs to know nothing about the method: it applies the generators,
computes the method's losses without an optimizer step, and leaves everything as it was.
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
from diptych.training.masking import encoded, masking
from diptych.training.random_state import preserved_random_state
from diptych.training.records.averages import exact_dtype

NUM_TRANSLATED = 16  # images per side whose translations are measured
NUM_WITH_LOSSES = 8  # images per side, of these and of the training images, whose losses are computed
NUM_CYCLED = 4  # images per side that are translated there and back
FIRST_LOOK_EPOCHS = (0.5, 1.0, 1.5, 2.0)  # a failure must be found within two epochs
MIN_STEPS_PER_EPOCH = 100  # shorter epochs count as so many steps, since networks are too young to be judged before
IMAGES_PER_LOOK = 1500  # looks are at least so far apart, so that they cost less than 1 % of the training
MAX_LOOKS = 100

Images = Float[Tensor, "n c h w"]


class Doctor:
    """Looks at a training after 0.5, 1, 1.5 and 2 epochs, and then evenly spread to its end, 1500 images apart or more.

    It looks at the same images each time, which are those of the validation split where there is one. They are read when the
    doctor is made, without touching the random state.
    """

    def __init__(self, method: Method, recipe: Recipe, census: Census, device: torch.device) -> None:
        self.method, self.recipe = method, recipe
        self.sample = _crops(census, recipe, device)
        self.held_out = _crops(replace(census, split=census.val), recipe, device) if census.val else None
        epoch = max(len(census.split.a), len(census.split.b))
        self.steps = look_steps(epoch, recipe.train.epochs + recipe.train.decay_epochs, recipe.train.batch_size)

    def due(self, step: int) -> bool:
        """Whether to look after this step. It depends on the step alone, so that a resumed training has the same looks."""
        return step in self.steps

    def look(self) -> dict[str, float]:
        """The present numbers (see measure), for the key ``health`` of a line of statistics."""
        return measure(self.method, self.recipe, self.sample, self.held_out)


def look_steps(epoch: int, epochs: int, batch_size: int) -> frozenset[int]:
    """The steps after which to look in a training of ``epochs`` epochs of ``epoch`` images; the last step is one of them."""
    total, unit = epoch * epochs, max(epoch, MIN_STEPS_PER_EPOCH * batch_size)
    first = [unit * part for part in FIRST_LOOK_EPOCHS if unit * part < total]
    later = max(1, min(MAX_LOOKS, total // IMAGES_PER_LOOK - len(first)))
    return frozenset(math.ceil(images / batch_size) for images in [*first, *(total * (i + 1) / later for i in range(later))])


def measure(method: Method, recipe: Recipe, sample: Batch, held_out: Batch | None) -> dict[str, float]:
    """Measure what a method's networks do, as numbers by name; weights, buffers and random state stay as they are.

    ``sample`` holds training images and ``held_out`` images that are never trained on, at least two of each. Numbers that are not
    finite are left out. The others are:

    - ``DIRECTION/NAME``, such as ``a2b/spread``, measured on ``held_out`` or else on ``sample``: the names of _translations and
      _returns, and ``dead``, the share of channels that are 0 everywhere, in the ReLU layer where it is highest.
    - ``weights/PHASE``: root mean square of the weights that a phase updates.
    - ``train/PHASE/TERM`` and ``held_out/PHASE/TERM``: each loss on the two kinds of images.
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
            if recipe.data.labels != "none":  # classes have no luminance
                del measured["luma"]
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
            squares = torch.stack([w.to(exact_dtype(device)).square().sum() for w in weights]).sum()
            found[f"weights/{phase}"] = (squares / sum(w.numel() for w in weights)).sqrt()
        # This waits for the device once.
        values = torch.stack([value.detach().to(exact_dtype(device)) for value in found.values()]).tolist()
    return {name: value for name, value in zip(found, values, strict=True) if math.isfinite(value)}


@contextmanager
def left_unchanged(method: Method, device: torch.device) -> Iterator[None]:
    """Run this block without gradients, and restore the method's buffers and the random state after it."""
    buffers = {name: buffer.clone() for name, buffer in method.named_buffers()}
    with preserved_random_state(device), frozen(method):
        torch.manual_seed(0)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, buffer in method.named_buffers():
                    buffer.copy_(buffers[name])


def _crops(census: Census, recipe: Recipe, device: torch.device) -> Batch:
    """The first images in the order of training, in [-1, 1], neither enlarged nor mirrored.

    Mirroring would make the two images of an unpaired sample alike in a way that says nothing about the networks.
    """
    pairs = recipe.data.pairs if match(census.split).pairs else 0.0  # held-out images may hold no known pair
    crops = Crops(census, replace(recipe.data.unaugmented(), pairs=pairs), recipe.train.seed)
    samples = [crops[k] for k in range(max(2, min(NUM_TRANSLATED, len(crops))))]
    a, b = torch.stack([s.a for s in samples]).to(device), torch.stack([s.b for s in samples]).to(device)
    return encoded(a, b, census)


def _apply(net: nn.Module, x: Images, size: int) -> Float[Tensor, "n d h w"]:
    """Apply a network to batches of the training's size, for the same memory and the same kind of BatchNorm statistics."""
    return torch.cat([net(part).float() for part in x.split(size)])


@contextmanager
def _dead_layers(net: nn.Module) -> Iterator[Callable[[], Tensor]]:
    """Give a function that returns the highest share, over the ReLU layers, of channels that were 0 throughout this block."""
    alive: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        some = (output > 0).transpose(0, 1).flatten(1).any(1)
        alive[module] = alive[module] | some if module in alive else some

    hooks = [module.register_forward_hook(note) for module in net.modules() if isinstance(module, nn.ReLU)]
    device = next(net.parameters()).device
    try:
        yield lambda: torch.stack([1 - _share(some) for some in alive.values()] or [torch.zeros((), device=device)]).max()
    finally:
        for hook in hooks:
            hook.remove()


def _translations(x: Images, y: Float[Tensor, "n d h w"], output: Float[Tensor, "n d h w"], paired: bool) -> dict[str, Tensor]:
    """Compare outputs with inputs x and with real images y of the target domain; when paired, y[i] is the truth of x[i].

    - ``spread``: standard deviation between images, relative to that of y.
    - ``detail``: standard deviation within an image, relative to that of y.
    - ``saturated``: share of values within 1 % of black or white; ``saturated_real`` is that of y.
    - ``checker``: root mean square of what repeats every 2 or 4 pixels; ``checker_real`` is that of y.
    - ``luma``: correlation of the luminance of input and output; when paired, ``luma_real`` is that of x and y.
    - ``copy``: L1 distance of output and x, relative to that of y and x.
    - When paired, ``match`` (see _match) and ``error``: L1 distance to the truth, relative to that of one flat mean colour.
    """
    found = {
        "spread": _ratio(output.std(0).mean(), y.std(0).mean()),
        "detail": _ratio(output.std((2, 3)).mean(), y.std((2, 3)).mean()),
        "saturated": _share(output.abs() > 0.99),
        "saturated_real": _share(y.abs() > 0.99),
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
    """The share of all pairs of images whose outputs are together closer (L1) to their own truths than to each other's.

    Chance is 0.5. This is far more sensitive than an error, which stays large where the input says little about the truth.
    """
    n = len(y)
    # to[k, i] is the distance of output i to truth i + k.
    to = torch.stack([(output - y.roll(-k, 0)).abs().mean((1, 2, 3)) for k in range(n)])
    swapped = torch.stack([to[k] + to[-k].roll(-k) for k in range(1, n)])
    matched = torch.stack([to[0] + to[0].roll(-k) for k in range(1, n)])
    return _share(matched < swapped)


def _returns(back: nn.Module, x: Images, there: Float[Tensor, "n d h w"], size: int) -> dict[str, Tensor]:
    """Measure the cycle: the L1 distance of images to themselves after translation there and back.

    - ``cycle``: this distance, relative to that of one flat mean colour.
    - ``noised``: the same after uniform noise of up to 2 of 255 levels was added to the translations and they were rounded to 8
      bits. Nobody sees this, but it destroys information that is hidden in them (Chu et al. 2017).
    """
    noise = (torch.rand(there.shape, generator=torch.Generator().manual_seed(0)).to(there.device) - 0.5) * (8 / 255)
    eight_bits = Domain(there.shape[1])
    written = eight_bits.encode(eight_bits.decode(there + noise))
    flat = (x.mean((0, 2, 3), keepdim=True) - x).abs().mean()
    rec, noised = _apply(back, there, size), _apply(back, written, size)
    return {"cycle": _ratio((rec - x).abs().mean(), flat), "noised": _ratio((noised - x).abs().mean(), flat)}


def _losses(method: Method, batch: Batch, size: int) -> dict[str, Tensor]:
    """The mean of every loss over a few images, as training computes it, named ``phase/term``."""
    sums: dict[str, Tensor] = {}
    count = len(batch.a[:NUM_WITH_LOSSES])
    for first in range(0, count, size):
        part = slice(first, min(first + size, count))
        a, b, valid = batch.a[part], batch.b[part], None if batch.valid is None else batch.valid[part]
        with masking(method.generators().values(), valid):
            for phase, terms in method.losses(Batch(a, b, None, valid)):
                for name, term in terms.items():
                    key = f"{phase}/{name}"
                    sums[key] = sums.get(key, torch.zeros_like(term)) + term.detach() * len(a) / count
    return sums


def _share(flags: Tensor) -> Tensor:
    """The share of flags that are true."""
    return flags.to(exact_dtype(flags.device)).mean()


def _ratio(value: Tensor, scale: Tensor) -> Tensor:
    """Divide; NaN where the scale is too small to compare with."""
    return torch.where(scale > 0.01, value / scale, torch.nan)


def _luminance(x: Images) -> Float[Tensor, "n h w"]:
    weights = torch.tensor([0.299, 0.587, 0.114], device=x.device) if x.shape[1] == 3 else torch.ones(1, device=x.device)
    return (x * (weights / weights.sum())[:, None, None]).sum(1) if x.shape[1] in (1, 3) else x.mean(1)


def _correlation(x: Images, y: Float[Tensor, "n d h w"]) -> Tensor:
    """Pearson's correlation of luminance over the pixels of each image, averaged over images."""
    u, v = (_luminance(z).flatten(1) for z in (x, y))
    u, v = u - u.mean(1, keepdim=True), v - v.mean(1, keepdim=True)
    return ((u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1)).clamp_min(1e-6)).mean()


def _checker(x: Images) -> Tensor:
    """Root mean square, in [-1, 1], of the luminance that repeats every 2 or 4 pixels, as strided layers produce it.

    Only the power beyond that of the neighbouring frequencies counts, since textures have power at all of them.
    """
    height, width = (4 * (side // 4) for side in x.shape[-2:])
    if min(height, width) < 16:
        return torch.full((), torch.nan, device=x.device)
    light = _luminance(x[..., :height, :width])
    power = torch.fft.fft2(light, norm="forward").abs().square().mean(0)
    around = sum(power.roll((i, j), (0, 1)) for i in (-2, 0, 2) for j in (-2, 0, 2) if i or j) / 8
    excess = (power - around)[:: height // 4, :: width // 4]
    return (excess.sum() - excess[0, 0]).clamp_min(0).sqrt()
