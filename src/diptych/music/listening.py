"""The page of a music score: its numbers, and systems to look at and to listen to, in one HTML file."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from diptych.extras import extra
from diptych.metrics.estimate import Estimate
from diptych.music.evaluate import Example
from diptych.music.midi import midi_bytes
from diptych.music.notes import System
from diptych.music.staves import to_song
from diptych.pages import frame
from diptych.pages.frame import data_uri

RATE, BPM = 11_025, 96  # samples a second, quarters a minute
TICKS = 24  # steps of a quarter in which the sound of a note fades
FADES = 1.2  # seconds in which it falls to 1/e
OVERTONES = (1.0, 0.4, 0.2, 0.1)


def sound(system: System) -> bytes:
    """The sound of a system as a WAV file of 8 bits and one channel. Each note begins loud and fades."""
    sonify = extra("mir_eval", "music", "sound").sonify
    seconds = 60 / BPM / TICKS
    length = round(system.measure_starts[-1] * TICKS) + TICKS
    pitches = sorted({note.midi for note in system.notes})
    gram = np.zeros((len(pitches), length))
    for note in system.notes:
        first, last = round(note.onset * TICKS), min(round(note.offset * TICKS), length)
        gram[pitches.index(note.midi), first:last] = np.exp(-np.arange(last - first) * seconds / FADES)
    frequencies = 440.0 * 2.0 ** ((np.array(pitches) - 69) / 12)
    times = np.arange(length) * seconds
    samples = np.zeros(int(times[-1] * RATE))
    for k, share in enumerate(OVERTONES, 1):
        heard = frequencies * k < RATE / 2
        if heard.any():
            samples += share * sonify.time_frequency(gram[heard], frequencies[heard] * k, times, RATE, length=len(samples))
    return _wav(samples)


def _wav(samples: Float[np.ndarray, " n"]) -> bytes:
    loudest = max(float(np.abs(samples).max()), 1e-9)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(RATE)
        file.writeframes(np.clip(128 + 112 * samples / loudest, 0, 255).astype(np.uint8).tobytes())
    return buffer.getvalue()


def write_page(path: Path, title: str, facts: str, scores: Sequence[tuple[str, Estimate]], examples: Iterable[Example]) -> None:
    """Write the page. ``scores`` are titles with estimates; every example is shown as pictures and played as sound."""
    shown = [_shown(example) for example in examples]
    values = {"title": title, "facts": facts, "scores": scores, "examples": shown, "bpm": BPM}
    frame.write_page(path, frame.render("listening.html.j2", values, Path(__file__).parent))


def _shown(example: Example) -> dict[str, Any]:
    pictures = {"given": example.source, "translated": example.output, "true": example.target}
    music = {"translated": example.read, "true": example.truth}
    return {
        "name": example.name,
        "note": _difference(example),
        "pictures": {name: data_uri("image/png", _png(pixels)) for name, pixels in pictures.items()},
        "size": example.source.shape[1::-1],
        "sounds": {name: data_uri("audio/wav", sound(system)) for name, system in music.items() if system and system.notes},
        "files": {
            name: data_uri("audio/midi", midi_bytes(to_song([system]), BPM))
            for name, system in music.items()
            if system and system.notes
        },
    }


def _difference(example: Example) -> str:
    """How many of the notes were found, in words; empty where notes were not counted."""
    counts = example.counts
    if not counts:
        return ""
    wrong = [f"{counts.reference - counts.matched} missed"] if counts.matched < counts.reference else []
    wrong += [f"{counts.estimated - counts.matched} too many"] if counts.matched < counts.estimated else []
    return f"{counts.matched} of {counts.reference} notes" + (f", {', '.join(wrong)}" if wrong else ", no error")


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()
