"""Find the title of a MIDI file and the names of its parts; tracks without a name are headed by their instrument."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
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
SHORT_FORMS = {
    **{"Vln.": "violin, violino, violini, violine", "Vla.": "viola, viole", "Vc.": "violoncello, violoncelli, cello, celli"},
    **{"Db.": "double bass, double basses", "Cb.": "contrabass, contrabasso, kontrabass", "Hp.": "harp", "Str.": "string"},
    **{"Fl.": "flute", "Picc.": "piccolo", "Rec.": "recorder", "Ob.": "oboe", "Cl.": "clarinet", "Bsn.": "bassoon"},
    **{"Hn.": "horn, french horn", "Tpt.": "trumpet", "Tbn.": "trombone", "Tba.": "tuba", "Sax.": "saxophone, sax"},
    **{"Pno.": "piano", "Org.": "organ", "Hpsd.": "harpsichord", "Cel.": "celesta", "Acc.": "accordion", "Gtr.": "guitar"},
    **{"Timp.": "timpani", "Perc.": "percussion", "Dr.": "drum", "Glock.": "glockenspiel", "Vib.": "vibraphone"},
    **{"Mar.": "marimba", "Xyl.": "xylophone", "Tub. B.": "tubular bell"},
    **{"S.": "soprano", "A.": "alto", "T.": "tenor", "Bar.": "baritone", "B.": "bass"},
}
"""The usual short forms of instruments and voices, and what each stands for."""
SHORT = {name: short for short, names in SHORT_FORMS.items() for name in names.split(", ")}
NUMBER = re.compile(r"\W*(\d+(st|nd|rd|th)?|[ivx]+)\W*", re.IGNORECASE)
"""A number that tells parts of one instrument apart."""


def names_part(text: str) -> bool:
    """Return whether a text looks like the name of an instrument, a voice or a hand, and not like the title of a piece."""
    words = text.casefold().replace("[", " ").replace("]", " ").split()
    return 0 < len(words) <= 3 and any(word.rstrip("s.:") in WORDS or word in WORDS for word in words)


def abbreviations(names: Sequence[str]) -> list[str]:
    """Return short forms of the names of parts for all systems but the first, which differ wherever the names do."""
    short = {name: _abbreviated(name) for name in names}
    while True:
        meant: defaultdict[str, list[str]] = defaultdict(list)
        for name, form in short.items():
            meant[form].append(name)
        alike = [name for group in meant.values() if len(group) > 1 for name in group if short[name] != name]
        if not alike:
            return [short[name] for name in names]
        short.update(zip(alike, alike, strict=True))


def _abbreviated(name: str) -> str:
    """Return the usual short form of an instrument, other words of its name by their initials; numbers stay as they are.

    A name without a known instrument has the initials of its words, or the first four letters of one word.
    """
    words = re.sub(r"(?<=[^\W\d])(?=\d)", " ", name).split()
    forms: list[str] = []
    known = False
    rest = list(words)
    while rest:
        size = 2 if len(rest) > 1 and _usual(rest[:2]) else 1
        usual, word = _usual(rest[:size]), rest[0]
        known = known or bool(usual)
        forms.append(usual or (word if len(word) <= 2 or NUMBER.fullmatch(word) else f"{word[0]}."))
        del rest[:size]
    if known:
        return " ".join(forms)
    if len(words) > 1:
        return "".join(f" {word}" if NUMBER.fullmatch(word) else word[0] for word in words).strip()
    return name if len(name) <= MAX_UNABBREVIATED else f"{name[:4]}."


def _usual(words: Sequence[str]) -> str:
    """Return the usual short form of an instrument, in the singular or the plural; a word with a stop is one. Else nothing."""
    key = " ".join(words).casefold().strip(",:;()[]")
    if len(words) == 1 and re.fullmatch(r"[^\W\d]+\.", words[0]):
        return words[0]
    return SHORT.get(key) or SHORT.get(key.removesuffix("s"), "")


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
