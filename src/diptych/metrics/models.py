"""Networks of other tools: ONNX files, and models of the transformers library, which is imported when it is used.

Both take 8-bit RGB images and give the output of the network: numbers for each class, or classes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from diptych.downloads import unreachable
from diptych.errors import DataError, WeightsError
from diptych.extras import extra
from diptych.files import sha256_of

Task = Literal["segmenter", "classifier"]
AUTO = {"segmenter": "AutoModelForSemanticSegmentation", "classifier": "AutoModelForImageClassification"}
INPUT_TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(float16)": np.float16}
HUB = "https://huggingface.co"  # unless $HF_ENDPOINT names another server
HUB_FILES = "config.json, preprocessor_config.json and model.safetensors"


@dataclass(frozen=True)
class Network:
    """A network for images (n, 3, h, w): its name, the hash of its weights, its classes as far as they are known, and a call."""

    name: str
    sha256: str
    classes: tuple[str, ...]
    num_classes: int | None
    answer: Callable[[UInt8[Tensor, "n 3 h w"]], Any]


def onnx_network(path: Path, device: torch.device) -> Network:
    """The network of an ONNX file: one input (n, 3, h, w), of which the first output is the answer.

    A uint8 input gets the pixels; a float input gets them in [0, 1], less ``mean`` and over ``std`` where the file's metadata
    (metadata_props) hold these, as JSON lists of three numbers. Images are resized (bilinear, antialiased) to the input's height
    and width where those are fixed, else to ``size`` of the metadata, a number or [h, w], else not at all. A fixed batch size is
    filled up. ``classes`` is a JSON list of names. Runs on the GPU where device and the installed onnxruntime say so.

    The hash covers the file and its external data beside it (model.onnx.data, model.onnx_data). Raises WeightsError when the
    file is no such network, MissingExtraError without onnxruntime.
    """
    runtime = extra("onnxruntime", "onnx", str(path))
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give the path of an .onnx file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    cuda = device.type == "cuda" and "CUDAExecutionProvider" in runtime.get_available_providers()
    providers = ["CUDAExecutionProvider"] * cuda + ["CPUExecutionProvider"]
    try:
        session = runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # the library's exceptions have no base of their own
        raise WeightsError(f"{path}: is no ONNX network that can be run ({_line(error)}); export it again") from error
    inputs, output = session.get_inputs(), session.get_outputs()[0]
    shape, kind = inputs[0].shape, inputs[0].type
    if len(inputs) > 1 or kind not in INPUT_TYPES or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        found = ", ".join(f"{entry.name} {entry.type} {entry.shape}" for entry in inputs)
        raise WeightsError(f"{path}: takes {found}; expected one input (n, 3, h, w) of uint8 or float, export it so")
    facts = _Facts.read(path, session.get_modelmeta().custom_metadata_map, floats=kind != "tensor(uint8)")
    batch, _, height, width = (side if isinstance(side, int) else 0 for side in shape)  # a name stands for any number
    size = (height, width) if height and width else facts.size

    def answer(images: UInt8[Tensor, "n 3 h w"]) -> Tensor:
        pixels = facts.prepare(images.cpu(), size).numpy().astype(INPUT_TYPES[kind])
        step = batch or len(pixels)
        try:
            parts = [
                session.run([output.name], {inputs[0].name: _filled(pixels[start : start + step], step)})[0]
                for start in range(0, len(pixels), step)
            ]
        except Exception as error:
            side = " x ".join(map(str, pixels.shape[2:]))
            raise DataError(
                f"cannot look at images of {side} ({_line(error)}); write the size it takes into its metadata"
            ) from error
        return torch.from_numpy(np.concatenate(parts)[: len(pixels)])

    known = output.shape[1] if len(output.shape) in (2, 4) and isinstance(output.shape[1], int) else None
    weights = [path, *sorted(file for mark in (".data", "_data") if (file := path.with_name(path.name + mark)).is_file())]
    return Network(path.name, hash_of(weights), facts.classes, known or len(facts.classes) or None, answer)


@dataclass(frozen=True)
class _Facts:
    """What the metadata of an ONNX file say of its input and its classes."""

    floats: bool
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    size: tuple[int, int] | None = None
    classes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path, metadata: dict[str, str], *, floats: bool) -> _Facts:
        found: dict[str, Any] = {}
        for key, (fits, expected) in METADATA.items():
            if key in metadata:
                try:
                    value = json.loads(metadata[key])
                except ValueError:
                    value = None
                if not fits(value):
                    raise WeightsError(f"{path}: its metadata say {key}={metadata[key][:60]}; expected {expected}")
                found[key] = tuple([value] * 2 if isinstance(value, int) else value)
        if not floats and found.keys() & {"mean", "std"}:
            raise WeightsError(f"{path}: its metadata give mean or std, but it takes uint8; a uint8 network scales inside")
        return cls(floats, **found)

    def prepare(self, images: UInt8[Tensor, "n 3 h w"], size: Sequence[int] | None) -> Tensor:
        if size and tuple(size) != images.shape[2:]:
            images = F.interpolate(images, size=list(size), mode="bilinear", antialias=True)
        if not self.floats:
            return images
        mean, std = (torch.tensor(numbers).reshape(1, 3, 1, 1) for numbers in (self.mean, self.std))
        return (images.float() / 255.0 - mean) / std


def _is_three(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(number, int | float) for number in value)


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, list) else [value, value]
    return len(sides) == 2 and all(isinstance(side, int) and 0 < side <= 2**14 for side in sides)


METADATA: dict[str, tuple[Callable[[Any], bool], str]] = {
    "mean": (_is_three, "a JSON list of three numbers"),
    "std": (lambda value: _is_three(value) and all(value), "a JSON list of three numbers, none of them 0"),
    "size": (_is_size, "a number of pixels or [h, w]"),
    "classes": (lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value), "a JSON list of names"),
}


def _filled(pixels: np.ndarray, batch: int) -> np.ndarray:
    """Images filled up with black ones to the batch size."""
    return np.pad(pixels, [(0, batch - len(pixels)), (0, 0), (0, 0), (0, 0)])


def transformers_network(name: str, task: Task, device: torch.device) -> Network:
    """A model of the transformers library with its image processor: a folder as save_pretrained writes it, or a name on the Hub.

    A folder is read without the network; a name is looked up in the library's cache and fetched where it is not there. Only
    safetensors are read, and no code that comes with a model is run. Processors run without torchvision ("pil"). A segmenter
    sees the whole picture: where its processor would cut out the centre or add a border, that is left out.
    Raises WeightsError when the model cannot be loaded or has no weights for the task, MissingExtraError without transformers.
    """
    spec = f"transformers:{name}"
    library, folder = extra("transformers", "transformers", spec), Path(name)
    local = folder.is_dir()
    cut_off = "" if local or library.utils.hub.is_offline_mode() else unreachable(os.environ.get("HF_ENDPOINT") or HUB)
    here = local or bool(cut_off)  # the library would retry for half a minute before it looks into its cache
    try:
        with _quiet(library) if here else nullcontext():
            kwargs = {"local_files_only": here, "trust_remote_code": False}
            processor = library.AutoImageProcessor.from_pretrained(name, backend="pil", **kwargs)
            loader = getattr(library, AUTO[task])
            model, report = loader.from_pretrained(name, use_safetensors=True, output_loading_info=True, **kwargs)
            home = folder if local else Path(library.utils.cached_file(name, "config.json", local_files_only=True)).parent
    except Exception as error:  # the library lets pass what safetensors, the Hub and its own models raise
        hint = f"give a folder with {HUB_FILES}, or the name of a model on the Hub where there is a network"
        raise WeightsError(f"{spec}: is no {task} that can be loaded ({cut_off or _line(error)}); {hint}") from error
    if missing := sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}):
        first = f"{', '.join(missing[:2])}{' ...' if len(missing) > 2 else ''}"
        raise WeightsError(f"{spec}: has no trained weights for {first}; give a model that was trained as a {task}")
    whole = {cut: False for cut in ("do_center_crop", "do_pad") if task == "segmenter" and getattr(processor, cut, False)}
    model = model.to(device).eval().requires_grad_(False)

    def answer(images: UInt8[Tensor, "n 3 h w"]) -> Tensor:
        pixels = [image.movedim(0, -1).numpy() for image in images.cpu()]
        batch = processor(images=pixels, input_data_format="channels_last", return_tensors="pt", **whole)
        return model(batch["pixel_values"].to(device)).logits

    labels = model.config.id2label
    classes = tuple(str(labels[index]) for index in range(len(labels)))
    return Network(name, hash_of(sorted(home.glob("*.safetensors"))), classes, model.config.num_labels, answer)


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Without the library's progress bars and load reports: what is wrong becomes one error of ours."""
    logging = library.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error(), logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def hash_of(files: Sequence[Path]) -> str:
    """The SHA-256 of a file; of several, that of their lines "hash  name", as sha256sum prints them."""
    if len(files) == 1:
        return sha256_of(files[0])
    lines = "".join(f"{sha256_of(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _line(error: Exception) -> str:
    """The first sentence of a library's message, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(". ")[0][:200].rstrip(".")
