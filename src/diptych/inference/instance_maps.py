"""Instance maps that are passed beside label maps from Python, to a model that was trained with such (diptych.data.instances)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diptych.data.decoders import native, pixels_of
from diptych.data.instances import READING, joined
from diptych.data.kinds import fit
from diptych.data.pillow_images import to_pillow
from diptych.errors import ConfigError, DataError
from diptych.pixels import INSTANCE_BYTES, Domain


def translate_labelled(
    image: Any, instances: Any, source: Domain, translate: Callable[[np.ndarray], np.ndarray], alpha: bool = False
) -> Any:
    """Translate label maps of any kind that a Translator takes, each with its instance map, to results of the same kind.

    ``translate`` takes and returns arrays (h, w, c); ``alpha``: the last channel of a result is transparency. Raises ConfigError
    where there is not one instance map for each label map, or the model takes none.
    """
    if not source.instances:
        raise ConfigError("this model was trained without instance maps; leave out instances")
    if instances is None:
        raise ConfigError("this model takes instance maps beside label maps; pass instances, an array (h, w) for each")
    if isinstance(image, list | tuple) or (isinstance(image, np.ndarray | Tensor) and image.ndim == 4):
        if len(image) != len(instances):
            raise ConfigError(f"{len(image)} label maps and {len(instances)} instance maps were passed; pass one for each")
        found = [translate_labelled(x, m, source, translate, alpha) for x, m in zip(image, instances, strict=True)]
        return found if isinstance(image, list | tuple) else (torch if isinstance(image, Tensor) else np).stack(found)
    if isinstance(image, Tensor):
        out = translate(_beside(image.permute(1, 2, 0).cpu().numpy(), instances, source))
        return torch.from_numpy(out).permute(2, 0, 1)
    if isinstance(image, Image.Image):
        return to_pillow(translate(_beside(pixels_of(image, source.reading), instances, source)), alpha=alpha)
    out = translate(_beside(native(image), instances, source))
    return out[..., 0] if image.ndim == 2 and out.shape[-1] == 1 else out


def _beside(labels: np.ndarray, instances: Any, source: Domain) -> np.ndarray:
    numbers = pixels_of(instances, READING) if isinstance(instances, Image.Image) else np.asarray(instances)
    try:
        return joined(fit(labels, source.labels), numbers)
    except DataError as error:
        raise DataError(f"instances: {error}") from error


def fitted(pixels: np.ndarray, source: Domain) -> np.ndarray:
    """Native pixels (h, w, c) brought to a domain as `fit` does; of label maps with instances the last bands stay as they are."""
    if not source.instances:
        return fit(pixels, source)
    if pixels.shape[2] != source.bands:
        raise DataError("has no instance map, and this model was trained with such; call the translator with both")
    labels = fit(pixels[..., :-INSTANCE_BYTES], source.labels)
    return np.concatenate([labels, pixels[..., -INSTANCE_BYTES:].astype(labels.dtype)], 2)
