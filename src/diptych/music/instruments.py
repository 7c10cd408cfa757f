"""Find the title of a MIDI file and the names of its parts; tracks without a name are headed by their instrument."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

FAMILIES = (
    "Piano, Piano, Piano, Piano, Electric Piano, Electric Piano, Harpsichord, Clavinet",
    "Celesta, Glockenspiel, Music Box, Vibraphone, Marimba, Xylophone, Tubular Bells, Dulcimer",
    "Organ, Organ, Organ, Organ, Reed Organ, Accordion, Harmonica, Bandoneon",
    "Guitar, Guitar, Electric Guitar, Electric Guitar, Electric Guitar, Electric Guitar, Electric Guitar, Electric Guitar",
    "Double Bass, Bass Guitar, Bass Guitar, Bass Guitar, Bass Guitar, Bass Guitar, Synth Bass, Synth Bass",
    "Violin, Viola, Violoncello, Double Bass, Strings, Strings, Harp, Timpani",
    "Strings, Strings, Strings, Strings, Choir, Voice, Voice, Orchestra",
    "Trumpet, Trombone, Tuba, Trumpet, Horn, Brass, Brass, Brass",
    "Soprano Saxophone, Alto Saxophone, Tenor Saxophone, Baritone Saxophone, Oboe, English Horn, Bassoon, Clarinet",
    "Piccolo, Flute, Recorder, Pan Flute, Bottle, Shakuhachi, Whistle, Ocarina",
    "Lead, Lead, Lead, Lead, Lead, Lead, Lead, Lead",
    "Pad, Pad, Pad, Pad, Pad, Pad, Pad, Pad",
    "Effects, Effects, Effects, Effects, Effects, Effects, Effects, Effects",
    "Sitar, Banjo, Shamisen, Koto, Kalimba, Bagpipe, Fiddle, Shanai",
    "Bells, Agogo, Steel Drums, Woodblock, Taiko, Tom-tom, Synth Drum, Cymbal",
    "Effects, Effects, Effects, Effects, Effects, Effects, Effects, Effects",
)
NAMES = tuple(", ".join(FAMILIES).split(", "))
"""The name of each General MIDI program, counted from 0."""
FURTHER = {"hand", "staff", "right", "left", "soprano", "alto", "tenor", "treble", "melody", "inst", "track", "cello"}
"""Words that also name a part, not a piece."""
WORDS = frozenset(word for name in NAMES for word in name.casefold().split()) | FURTHER
NOT_A_TITLE = re.compile(r"^\W*$|track|tempo|conductor|^untitled$", re.IGNORECASE)
MAX_UNABBREVIATED = 5  # letters


def names_part(text: str) -> bool:
    """Return whether a text looks like the name of an instrument, a voice or a hand, and not like the title of a piece."""
    words = text.casefold().replace("[", " ").replace("]", " ").split()
    return 0 < len(words) <= 3 and any(word.rstrip("s.:") in WORDS or word in WORDS for word in words)


def abbreviated(name: str) -> str:
    """Return a short form of a part's name for all systems but the first: initials, or the first four letters of one word."""
    words = name.split()
    if len(words) > 1:
        return "".join(word[:1] if not word.isdigit() else f" {word}" for word in words)
    return name if len(name) <= MAX_UNABBREVIATED else f"{name[:4]}."


def title_of(file: Any) -> tuple[str, bool]:
    """Return the title of a MIDI file that mido read, and whether it is the name of a first track that has notes.

    The first track's name is the title where that track is the only one or has no notes, unless it names an instrument or says
    what is in the track.
    """
    first = file.tracks[0] if file.tracks else ()
    name = track_name(first)
    sounds = [any(message.type == "note_on" for message in messages) for messages in file.tracks]
    if NOT_A_TITLE.search(name) or (sounds and sounds[0] and (sum(sounds) > 1 or names_part(name))):
        return "", False
    return name, bool(sounds and sounds[0])


def track_name(messages: Iterable[Any]) -> str:
    """Return the name of a track in printable characters, which MusicXML can hold; UTF-8 is known by its form."""
    name = next((message.name for message in messages if message.type == "track_name"), "")
    with suppress(UnicodeError):
        name = name.encode("latin-1").decode()
    return " ".join("".join(each if each.isprintable() else " " for each in name).split())
