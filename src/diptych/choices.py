"""The words that options and arguments may take, as Literal types, for the library and the command line alike.

Nothing is imported here, so that `--help` can list the words without torch.
"""

from typing import Literal

Precision = Literal["auto", "fp32", "bf16"]
"""What networks compute in; ``auto`` is bf16 where the hardware computes in it."""

Direction = Literal["a2b", "b2a"]
"""Which way images are translated."""

Mode = Literal["eval", "paper"]
"""How a network is applied, see diptych.nets.modes."""

Cache = Literal["auto", "ram", "disk", "device", "off"]
"""Where images stay once decoded, see diptych.data.cache."""

Compile = Literal["auto", "on", "off"]
"""Whether kernels are generated for the networks, see diptych.training.execution.compiling."""

OnSaveError = Literal["stop", "warn"]
"""What a training does when the disk refuses a save, see diptych.training.storage."""

OnNaN = Literal["stop", "skip", "rollback"]
"""What follows an update that is not finite, see diptych.training.loop."""

LoggerName = Literal["tensorboard", "wandb"]
"""Where statistics are shown besides the run folder, see diptych.training.records.loggers."""

Dropout = Literal["image", "position"]
"""How dropout of mode paper is drawn: for the whole image as published, or by position in it, see diptych.inference.dropout."""

WorkingSize = Literal["native", "trained"]
"""The size at which an image is translated: its own, or that of training."""

Backend = Literal["torch", "onnx", "openvino"]
"""What computes a translation, see diptych.inference.backends."""

ComputingPrecision = Literal["fp32", "bf16"]
"""The precision of one translator."""

Format = Literal["onnx", "torchscript"]
"""The formats of diptych.inference.export."""

Icc = Literal["srgb", "keep", "ignore"]
"""What an ICC profile does to the colours of a file, see diptych.pixels.Reading."""

Alpha = Literal["white", "keep"]
"""What becomes of transparency, see diptych.pixels.Reading."""

Axis = Literal["x", "y", "z"]
"""The axis of a volume along which its slices are taken, see diptych.data.volumes."""
Norms = Literal["whole", "sampled"]
"""From what the norms take the statistics of an image that is too large for the memory, see diptych.inference.sampled."""

Frames = Literal["first", "all"]
"""Which frames or pages of a file are translated, see diptych.inference.frames."""

Names = Literal["plain", "full"]
"""Whether the name of a result keeps the suffix of its input, see diptych.inference.names."""

MapKind = Literal["cycle", "edges", "spread", "mask"]
"""What says how far to trust a translation, pixel by pixel, see diptych.inference.uncertainty."""
FilmNorms = Literal["smooth", "fixed", "frame"]
"""How norms take their statistics from a film, see diptych.inference.steady."""

Audio = Literal["copy", "none"]
"""Whether a translated film has the sound of its source."""
