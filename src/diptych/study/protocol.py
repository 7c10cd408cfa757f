"""What a participant sees, as plain values: the protocol of a study, and one participant's trials in order.

The defaults are those of Isola et al. 2017 (section 4.1) and Zhu et al. 2017 (section 5.1): pairs of a real and a fake picture,
each shown for one second, then unlimited time to answer; 10 practice trials with feedback, then 40 without; one algorithm for
each participant. The order (left, then right, with 0.6 seconds between them) is that of the script which the authors ran.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from diptych.errors import ConfigError

Kind = Literal["pairs", "single"]
Question = Literal["fake", "real"]
Part = Literal["practice", "trial", "catch"]
SIDES = ("left", "right")
VERDICTS = ("real", "fake")
MAX_TRIALS = 1000
MAX_SHOWN = 60_000  # milliseconds


@dataclass(frozen=True)
class Protocol:
    """The rules of a study. Raises ConfigError for a value that makes no sense.

    ``kind`` pairs shows a real and a fake picture and asks which is ``question`` (pix2pix asked for the fake one, CycleGAN for
    the real one); single shows one picture and asks whether it is real. ``trials`` count, ``practice`` ones come before them with
    feedback, ``catch`` ones are obvious and mixed in, to find participants who do not look. ``show_ms`` is in milliseconds.
    ``same_input`` pairs a fake picture with the real one of its own name, as for colorization; otherwise the names differ.
    """

    kind: Kind = "pairs"
    question: Question = "fake"
    practice: int = 10
    trials: int = 40
    catch: int = 0
    show_ms: int = 1000
    same_input: bool = False

    def __post_init__(self) -> None:
        limits = {
            "practice": (0, MAX_TRIALS),
            "trials": (1, MAX_TRIALS),
            "catch": (0, MAX_TRIALS),
            "show_ms": (1, MAX_SHOWN),
        }
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} must be a whole number from {least:,} to {most:,}, found {value!r}")
        if self.kind not in ("pairs", "single"):
            raise ConfigError(f"--protocol must be pairs or single, found {self.kind!r}")
        if self.question not in ("fake", "real"):
            raise ConfigError(f"--question must be fake or real, found {self.question!r}")

    @property
    def answers(self) -> tuple[str, str]:
        """The two answers that a trial accepts."""
        return SIDES if self.kind == "pairs" else VERDICTS

    @property
    def length(self) -> int:
        """The number of trials that one participant answers."""
        return self.practice + self.trials + self.catch


@dataclass(frozen=True)
class Trial:
    """One trial: the ids of its pictures in the order shown, and the right answer."""

    part: Part
    pictures: tuple[str, ...]
    truth: str

    def to_json(self) -> dict[str, Any]:
        """The trial as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Trial:
        """The trial that ``to_json`` wrote."""
        return cls(value["part"], tuple(value["pictures"]), value["truth"])


def trials_of(
    protocol: Protocol, real: Mapping[str, str], fake: Mapping[str, str], catch: Sequence[str], rng: random.Random
) -> list[Trial]:
    """The trials of one participant, practice first.

    ``real`` and ``fake`` map names to ids of pictures, ``catch`` are ids of obviously fake pictures. Among practice, counted and
    catch trials the right answer is each of the two equally often (once more where the number is odd), in random order. A
    picture comes again only after all others of its kind. Raises ConfigError when there are too few pictures.
    """
    if not fake or len(real) < 2:
        raise ConfigError(f"a study needs at least 2 real pictures and 1 fake one, found {len(real)} and {len(fake)}")
    if protocol.same_input and (missing := sorted(set(fake) - set(real))):
        raise ConfigError(f"--same-input: no real picture is called {missing[0]}, as a fake one is")
    if protocol.catch and not catch:
        raise ConfigError("a study with catch trials needs pictures for them, found none")
    fakes, reals, obvious = Deck(fake, rng), Deck(real, rng), Deck({id: id for id in catch}, rng)
    parts: dict[Part, list[Trial]] = {}
    numbers: dict[Part, int] = {"practice": protocol.practice, "trial": protocol.trials, "catch": protocol.catch}
    for part, number in numbers.items():
        made = [_trial(protocol, part, truth, reals, fakes, obvious) for truth in _balanced(protocol.answers, number, rng)]
        parts[part] = made
    counted = parts["trial"] + parts["catch"]
    rng.shuffle(counted)
    return parts["practice"] + counted


def _trial(protocol: Protocol, part: Part, truth: str, reals: Deck, fakes: Deck, obvious: Deck) -> Trial:
    if protocol.kind == "single":
        deck = reals if truth == "real" else (obvious if part == "catch" else fakes)
        return Trial(part, (deck.draw()[1],), truth)
    name, fake = (obvious if part == "catch" else fakes).draw()
    if protocol.same_input and part != "catch":
        real = reals.cards[name]
    else:
        real = reals.draw(other_than=name)[1]
    fake_first = (truth == "left") == (protocol.question == "fake")
    return Trial(part, (fake, real) if fake_first else (real, fake), truth)


def _balanced(answers: tuple[str, str], number: int, rng: random.Random) -> list[str]:
    """``number`` right answers, half of each, in random order; of an odd number one more of a random one."""
    first = rng.sample(answers, 2)
    truths = [first[i % 2] for i in range(number)]
    rng.shuffle(truths)
    return truths


class Deck:
    """Pictures in random order, each drawn once before any comes again. ``cards`` maps names to ids."""

    def __init__(self, cards: Mapping[str, str], rng: random.Random) -> None:
        self.cards = dict(cards)
        self._rng = rng
        self._left: list[str] = []

    def draw(self, other_than: str | None = None) -> tuple[str, str]:
        """The next picture, as name and id, that does not have this name."""
        if not [name for name in self._left if name != other_than]:
            fresh = sorted(set(self.cards) - set(self._left))
            self._rng.shuffle(fresh)
            self._left = fresh + self._left  # what is left over is drawn first
        place = next(i for i in reversed(range(len(self._left))) if self._left[i] != other_than)
        name = self._left.pop(place)
        return name, self.cards[name]
