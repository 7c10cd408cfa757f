"""Copy weights of one network into another as far as they fit; nothing that does not fit is passed over without its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from diptych.errors import ConfigError

NORMED = ".parametrizations.weight.original"  # what torch calls a weight that is spectrally normalised
LEAST = 0.1  # of a network's numbers must come from the file; less is another network


@dataclass
class Taken:
    """What became of the tensors of one network: how many were copied, and by name those that were not, or not as they were."""

    network: str
    copied: int = 0
    total: int = 0
    share: float = 0.0
    adapted: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{self.network} takes {self.copied} of its {self.total} tensors", *self.adapted]
        left = (("of another shape", self.misshapen), ("not in the file", self.missing), ("in the file, not used", self.unused))
        return "; ".join([*parts, *(f"{what}: {first_names(names)}" for what, names in left if names)])


def first_names(names: Sequence[str]) -> str:
    """Names of tensors, at most six of them."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


@torch.no_grad()
def take(name: str, net: nn.Module, given: Mapping[str, Tensor]) -> Taken:
    """Copy tensors of equal name and shape into a network, and adapt its first and last layer to its numbers of channels.

    ``name`` is what the network is called in messages. Raises ConfigError when hardly anything fits.
    """
    own = net.state_dict()
    taken = Taken(name, total=len(own))
    sources = {key: key if key in given else key.replace(NORMED, ".weight") for key in own}
    taken.unused = [key for key in given if key not in sources.values()]
    numbers = 0
    for key, tensor in own.items():
        found = given.get(sources[key])
        if found is None:
            taken.missing.append(key)
            continue
        value: Tensor | None = found
        how = ""
        if found.shape != tensor.shape:
            value, how = adapted(key, found, tensor, net)
        if value is None:
            taken.misshapen.append(f"{key} ({_dims(found)} instead of {_dims(tensor)})")
            continue
        tensor.copy_(value)
        taken.copied, numbers = taken.copied + 1, numbers + tensor.numel()
        taken.adapted += [how] if how else []
    taken.share = numbers / max(1, sum(tensor.numel() for tensor in own.values()))
    if taken.share < LEAST:
        raise ConfigError(
            f"these are weights of another network: {taken}; choose the settings of method that they were trained with"
        )
    return taken


def adapted(key: str, value: Tensor, like: Tensor, net: nn.Module) -> tuple[Tensor | None, str]:
    """A tensor of the first or last layer for another number of channels, and in words what was done; None where it cannot be.

    More channels in: the new ones begin with weight 0, so that the network does at first what it did. One channel where several
    were: it stands for all of them. Several where one was: each has its share. More channels out begin as the mean of the others.
    """
    spec = getattr(net, "spec", {})
    differing = [dim for dim in range(like.ndim) if like.ndim == value.ndim and like.shape[dim] != value.shape[dim]]
    if len(differing) != 1:
        return None, ""
    (dim,) = differing
    module = net.get_submodule(key.rpartition(".")[0])
    enters = like.ndim > 1 and dim == (0 if isinstance(module, nn.ConvTranspose2d) else 1)
    channels = int(spec.get("in_channels" if enters else "out_channels", 0))
    factor = like.shape[dim] // channels if channels else 0  # pixel shuffling has four numbers for each channel
    if not factor or like.shape[dim] != factor * channels or value.shape[dim] % factor:
        return None, ""
    before = value.shape[dim] // factor
    parts = value.movedim(dim, 0).unflatten(0, (before, factor))
    made = _in_channels(parts, channels) if enters else _out_channels(parts, channels)
    words = f"{key} adapted from {before} to {channels} channels {'in' if enters else 'out'}"
    return made.flatten(0, 1).movedim(0, dim), words


def _in_channels(parts: Tensor, channels: int) -> Tensor:
    before = len(parts)
    if channels == 1:
        return parts.sum(0, keepdim=True)
    if before == 1:
        return parts.expand(channels, *parts.shape[1:]) / channels
    return torch.cat([parts[:channels], parts.new_zeros(max(0, channels - before), *parts.shape[1:])])


def _out_channels(parts: Tensor, channels: int) -> Tensor:
    mean = parts.mean(0, keepdim=True)
    if channels == 1:
        return mean
    more = max(0, channels - len(parts))
    return torch.cat([parts[:channels], mean.expand(more, *parts.shape[1:])])


def _dims(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
