"""What a participant sees, as plain values: the protocol of a study, and one participant's trials in order.

The defaults are those of Isola et al. 2017 (section 4.1) and Zhu et al. 2017 (section 5.1): pairs of a real and a fake picture,
each shown for one second, then unlimited time to answer; 10 practice trials with feedback, then 40 without; one algorithm for
each participant. The order (left, then right, with 0.6 seconds between them) is that of the script which the authors ran.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from diptych.errors import ConfigError

Kind = Literal["pairs", "single", "compare"]
Question = Literal["fake", "real", "better"]
QUESTIONS: dict[Kind, tuple[Question, ...]] = {"pairs": ("fake", "real"), "single": ("fake",), "compare": ("better", "real")}
Part = Literal["practice", "trial", "catch"]
SIDES = ("left", "right")
VERDICTS = ("real", "fake")
MAX_TRIALS = 1000
MAX_SHOWN = 60_000  # milliseconds


@dataclass(frozen=True)
class Protocol:
    """The rules of a study. Raises ConfigError for a value that makes no sense.

    ``kind`` pairs shows a real and a fake picture and asks which is ``question`` (pix2pix asked for the fake one, CycleGAN for
    the real one); single shows one picture and asks whether it is real; compare shows what two methods made of one input and
    asks which is better (or looks more real), so that it has no right answer. The default of ``question`` is the first that the
    kind allows. ``trials`` count, ``practice`` ones come before them, with feedback where there is a right answer, and ``catch``
    ones are obvious and mixed in, to find participants who do not look. ``show_ms`` is in milliseconds. ``same_input`` pairs a
    fake picture with the real one of its own name, as for colorization; otherwise the names differ. ``inputs`` shows the input
    of the fake picture beside each trial.
    """

    kind: Kind = "pairs"
    question: Question | None = None
    practice: int = 10
    trials: int = 40
    catch: int = 0
    show_ms: int = 1000
    same_input: bool = False
    inputs: bool = False

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
        if self.kind not in QUESTIONS:
            raise ConfigError(f"--protocol must be {' or '.join(QUESTIONS)}, found {self.kind!r}")
        asked = QUESTIONS[self.kind]
        if self.question is None:
            object.__setattr__(self, "question", asked[0])
        if self.question not in asked:
            raise ConfigError(f"--question must be {' or '.join(asked)} with --protocol {self.kind}, found {self.question!r}")
        if self.inputs and self.kind == "pairs" and not self.same_input:
            raise ConfigError("--show-inputs: needs --same-input in pairs, or the input tells which picture is fake")

    @property
    def answers(self) -> tuple[str, str]:
        """The two answers that a trial accepts."""
        return VERDICTS if self.kind == "single" else SIDES

    @property
    def length(self) -> int:
        """The number of trials that one participant answers."""
        return self.practice + self.trials + self.catch

    @property
    def seconds(self) -> float:
        """For how long pictures are shown to one participant, who needs at least that long."""
        return self.length * (1 if self.kind == "single" else 2) * self.show_ms / 1000


@dataclass(frozen=True)
class Trial:
    """One trial: the ids of its pictures in the order shown, the right answer ("" where there is none) and the input's id."""

    part: Part
    pictures: tuple[str, ...]
    truth: str
    input: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The trial as JSON."""
        return {"part": self.part, "pictures": self.pictures, "truth": self.truth, "input": self.input}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Trial:
        """The trial that ``to_json`` wrote."""
        return cls(value["part"], tuple(value["pictures"]), value["truth"], value.get("input"))


@dataclass(frozen=True)
class Cards:
    """The pictures to draw trials from, as ids by name: real ones, those of each method, obviously fake ones, and inputs."""

    real: Mapping[str, str]
    fake: Mapping[str, Mapping[str, str]]
    catch: Mapping[str, str]
    inputs: Mapping[str, str] = field(default_factory=dict)


def trials_of(protocol: Protocol, cards: Cards, methods: Sequence[str], rng: random.Random) -> list[Trial]:
    """The trials of one participant, practice first: of one method, or for compare of all pairs of several.

    Among practice, counted and catch trials the right answer is each of the two equally often (once more where the number is
    odd), in random order. In comparisons each pair of methods comes equally often, give or take one, with each on the left as
    often as on the right. A picture comes again only after all others of its kind. Raises ConfigError when there are too few
    pictures.
    """
    _check(protocol, cards, methods)
    pairs = list(itertools.combinations(methods, 2)) if protocol.kind == "compare" else [(methods[0], methods[0])]
    deal = _Deal(protocol, cards, {method: Deck(cards.fake[method], rng) for method in methods}, rng)
    numbers: dict[Part, int] = {"practice": protocol.practice, "trial": protocol.trials, "catch": protocol.catch}
    parts: dict[Part, list[Trial]] = {}
    for part, number in numbers.items():
        turns = [pairs[i % len(pairs)] for i in range(number)] if len(pairs) == 1 else _turns(pairs, number, rng)
        truths = _balanced(protocol.answers, number, rng)
        parts[part] = [deal.trial(part, truth, turn) for truth, turn in zip(truths, turns, strict=True)]
    counted = parts["trial"] + parts["catch"]
    rng.shuffle(counted)
    return parts["practice"] + counted


def _check(protocol: Protocol, cards: Cards, methods: Sequence[str]) -> None:
    if protocol.kind == "compare" and len(methods) < 2:
        raise ConfigError(f"--protocol compare needs at least 2 methods, found {len(methods)}; add a --model")
    fake = cards.fake[methods[0]]
    if not fake or (protocol.kind != "compare" and len(cards.real) < 2):
        raise ConfigError(f"a study needs at least 2 real pictures and 1 fake one, found {len(cards.real)} and {len(fake)}")
    if protocol.same_input and (missing := sorted(set(fake) - set(cards.real))):
        raise ConfigError(f"--same-input: no real picture is called {missing[0]}, as a fake one is")
    shown = set(fake) | (set(cards.real) if protocol.kind == "single" else set())
    if protocol.inputs and (missing := sorted(shown - set(cards.inputs))):
        raise ConfigError(f"--show-inputs: no input is called {missing[0]}, as a picture to judge is")
    if protocol.catch and not cards.catch:
        raise ConfigError("a study with catch trials needs pictures for them, found none")


def _turns(pairs: Sequence[tuple[str, str]], number: int, rng: random.Random) -> list[tuple[str, str]]:
    """Pairs of methods in turn, in random order; the method that is named first will be on the left."""
    order = rng.sample(pairs, len(pairs))
    first = {pair: rng.randrange(2) for pair in pairs}
    turns = []
    for i in range(number):
        one, other = order[i % len(order)]
        turns.append((one, other) if (i // len(order) + first[one, other]) % 2 else (other, one))
    rng.shuffle(turns)
    return turns


class _Deal:
    """Deals the trials of one participant from decks of pictures."""

    def __init__(self, protocol: Protocol, cards: Cards, fakes: Mapping[str, Deck], rng: random.Random) -> None:
        self.protocol, self.cards, self.fakes = protocol, cards, fakes
        self.reals, self.obvious = Deck(cards.real, rng), Deck(cards.catch, rng)
        self.shared = next(iter(fakes.values()))  # of comparisons, whose methods have pictures of the same names

    def trial(self, part: Part, truth: str, methods: tuple[str, str]) -> Trial:
        """The next trial of one kind, of one method (twice) or of two."""
        kind = self.protocol.kind
        if kind == "compare":
            name = self.shared.draw()[0]
            left, right = (self.cards.fake[method][name] for method in methods)
            if part != "catch":
                return Trial(part, (left, right), "", self._input(name))
            obvious = self.obvious.draw()[1]
            return Trial(part, (left, obvious) if truth == "left" else (obvious, right), truth, self._input(name))
        if kind == "single":
            deck = self.reals if truth == "real" else (self.obvious if part == "catch" else self.fakes[methods[0]])
            name, id = deck.draw()
            return Trial(part, (id,), truth, self._input(name))
        name, fake = (self.obvious if part == "catch" else self.fakes[methods[0]]).draw()
        if self.protocol.same_input:
            real = self.cards.real[name]
        else:
            real = self.reals.draw(other_than=name)[1]
        fake_first = (truth == "left") == (self.protocol.question == "fake")
        return Trial(part, (fake, real) if fake_first else (real, fake), truth, self._input(name))

    def _input(self, name: str) -> str | None:
        return self.cards.inputs.get(name) if self.protocol.inputs else None


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
