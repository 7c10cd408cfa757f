"""When the chords and rests of a measure begin: their voices are not printed, so the most plausible ones are searched for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from diptych.music.page_events import Event
from diptych.music.page_geometry import SPACE

BEAM = 32  # partial readings of a measure that are kept at each event
ALIGNED, NEIGHBOURS = 2.3, 0.5  # staff spaces: events farther apart never begin together, nearer ones always do
TOGETHER = 1.35  # staff spaces: notes that are nearer on one staff begin together, as two voices beside each other do
SAME_VOICE = 0.75  # staff spaces between what begins together with stems in one direction
GAPS = (1, 2, 3, 4, 6, 8, 12)
"""Sixteenths of time for which nothing is printed, as in a part of two staves whose voice is on the other one."""
GAP, NEW_VOICE, SECOND_VOICE, OTHER_STEM, OPEN_END, TOO_SHORT, TOO_LONG = 2.0, 2.0, 0.2, 0.4, 1.0, 2.5, 4.0
"""Costs of what is less usual: a voice that pauses without a rest, one that begins within a measure, a further one from the
beginning on, a stem in the other direction than that of the voice, a voice that ends early, all voices that do, and one that
ends late."""
LATE, PAUSE = 4.0, 1.0  # costs of a measure in which nothing is printed at first, and of a time at which no voice ends
SHIFTED = 0.35  # cost for each staff space between what begins together
CROWDED = 2.0  # cost of two voices of a staff that begin together beside each other, although their stems go one way
UNEVEN = 0.35  # cost of spacing that does not follow the time; engravers space notes by about the power 0.6 of their time
OTHER_BEAM = 1.5  # cost of a beam whose notes are in two voices
OTHER_LENGTH = 2.0  # cost of each measure that does not last as long as it is thought to
AGREE = 0.25  # the share of measures that must last as long as the meter says
CHANGES = (Fraction(1, 2), Fraction(3, 2), Fraction(2, 3), Fraction(2))
"""Factors of a note value that was misread: a flag that was missed, a dot that was missed, one too many, a flag too many."""
CHANGED = 1.6  # cost of a note value that was misread
WORST = 3.0  # cost from which on a measure does not say how long others last
CLEAN = 1.5  # what is read at a lower cost needs no other explanation


@dataclass(frozen=True)
class Voice:
    """A voice of a staff: the time at which it ends up to now, the direction of its last stem and its last beam."""

    staff: int
    end: int
    up: bool | None
    beam: int


@dataclass(frozen=True)
class Timing:
    """The onsets of a measure's events in quarters, the end of the last one, and what is unusual about it as a cost."""

    onsets: tuple[Fraction, ...]
    length: Fraction
    cost: float
    durations: tuple[Fraction, ...] | None = None
    """How long the events last, None where they last as long as they are printed."""


@dataclass(frozen=True)
class _Partial:
    """The events up to one of them, with whole numbers of a unit as times."""

    cost: float
    now: int
    x: float
    step: tuple[float, int] | None  # distance and time of the last two columns
    column: tuple[int, ...]  # voices that have an event in the current column
    voices: tuple[Voice, ...]
    onsets: tuple[tuple[int, int], ...]


def fills_measure(event: Event, events: Sequence[Event], length: Fraction | None) -> bool:
    """Whether a whole rest stands for all of a measure, in its staff or in one of two voices."""
    if not event.full or event.duration != 4:
        return False
    return sum(other.staff == event.staff for other in events) == 1 or length is None or length <= 4


def time_events(events: Sequence[Event], length: Fraction | None = None) -> Timing:
    """Time the events of a measure that lasts ``length``, or whatever fits best where that is not known.

    A beam search takes events from left to right. Each begins with the one before it or where some voice ends, and goes on in a
    voice of its staff or begins one. The reading with the lowest cost wins.
    """
    order = [k for k in sorted(range(len(events)), key=lambda k: events[k].x) if not fills_measure(events[k], events, length)]
    unit = math.lcm(4, *(event.duration.denominator for event in events), length.denominator if length else 1)
    lasts = [int(event.duration * unit) for event in events]
    total = None if length is None else int(length * unit)
    gaps = [] if total is None else [gap * unit // 4 for gap in GAPS if gap * unit // 4 < total]
    found = [_Partial(0.0, 0, -math.inf, None, (), (), ())]
    for k in order:
        grown: dict[tuple[object, ...], _Partial] = {}
        for partial in found:
            for placed in _placed(partial, k, events, total, gaps):
                for new in _in_voices(placed, k, events[k], lasts[k]):
                    key = new.now, new.column, tuple((v.staff, v.end, v.up, v.beam) for v in new.voices)
                    if key not in grown or new.cost < grown[key].cost:
                        grown[key] = new
        found = sorted(grown.values(), key=lambda partial: partial.cost)[:BEAM]
    best, cost = min(((p, p.cost + _ending(p, total)) for p in found), key=lambda pair: pair[1])
    onsets = {k: Fraction(onset, unit) for k, onset in best.onsets}
    end = max((Fraction(voice.end, unit) for voice in best.voices), default=Fraction(0))
    return Timing(tuple(onsets.get(k, Fraction(0)) for k in range(len(events))), end, cost)


def _placed(partial: _Partial, k: int, events: Sequence[Event], total: int | None, gaps: Sequence[int]) -> Iterator[_Partial]:
    """Yield a partial reading at each time at which the next event may begin."""
    event = events[k]
    if not partial.onsets:
        yield replace(partial, x=event.x)
        for gap in gaps:
            yield replace(partial, x=event.x, now=gap, cost=LATE)
        return
    far = (event.x - partial.x) / SPACE
    beside = [events[other] for other, onset in partial.onsets if onset == partial.now and events[other].staff == event.staff]
    notes = [other for other in beside if other.heads and event.heads]
    together = bool(notes) and event.x - min(other.x for other in notes) <= TOGETHER * SPACE
    if far <= ALIGNED:
        crowded = not together and not all(_may_share(other, event) for other in beside)
        yield replace(partial, cost=partial.cost + SHIFTED * max(0.0, far - 0.3) + CROWDED * crowded)
        if together or far < NEIGHBOURS:
            return
    ends = {voice.end for voice in partial.voices if voice.end > partial.now}
    pauses = {partial.now + gap for gap in gaps if partial.now + gap < (total or 0)} - ends
    for now in (*ends, *pauses):
        cost = partial.cost + PAUSE * (now in pauses) + TOO_LONG * (total is not None and now >= total)
        step = max(far, NEIGHBOURS), now - partial.now
        if partial.step is not None:
            cost += UNEVEN * abs(math.log(step[0] / partial.step[0]) - 0.6 * math.log(step[1] / partial.step[1]))
        yield replace(partial, cost=cost, now=now, x=event.x, step=step, column=())


def _may_share(other: Event, event: Event) -> bool:
    """Whether two events of one staff may begin together: in two voices, or very near."""
    if other.up is not None and event.up is not None and other.up != event.up:
        return True
    return event.x - other.x <= (0.75 if other.up is None or event.up is None else SAME_VOICE) * SPACE


def _in_voices(partial: _Partial, k: int, event: Event, lasts: int) -> Iterator[_Partial]:
    """Yield a partial reading with an event at its time, in each voice that it may go on and in a new one."""
    now, voices, onsets = partial.now, partial.voices, (*partial.onsets, (k, partial.now))
    own = [place for place, voice in enumerate(voices) if voice.staff == event.staff]
    waiting = event.group and any(voices[place].beam == event.group for place in own)
    for place in own:
        voice = voices[place]
        if place in partial.column or voice.end > now:
            continue
        cost = GAP * (voice.end < now)
        cost += OTHER_STEM * (voice.up is not None and event.up is not None and voice.up != event.up)
        cost += OTHER_BEAM * bool(waiting and voice.beam != event.group)
        new = Voice(event.staff, now + lasts, voice.up if event.up is None else event.up, event.group)
        yield replace(
            partial,
            cost=partial.cost + cost,
            column=(*partial.column, place),
            voices=(*voices[:place], new, *voices[place + 1 :]),
            onsets=onsets,
        )
    cost = (NEW_VOICE if now and own else SECOND_VOICE * len(own)) + OTHER_BEAM * bool(waiting)
    new = Voice(event.staff, now + lasts, event.up, event.group)
    column = (*partial.column, len(voices))
    yield replace(partial, cost=partial.cost + cost, column=column, voices=(*voices, new), onsets=onsets)


def _ending(partial: _Partial, total: int | None) -> float:
    """Return the cost of voices that do not end with the measure."""
    ends = [voice.end for voice in partial.voices]
    last = max(ends, default=0) if total is None else total
    short = TOO_SHORT * (bool(ends) and max(ends) < last)
    return short + sum(OPEN_END * (end < last) + TOO_LONG * (end > last) for end in ends)


def time_measures(
    measures: Sequence[Sequence[Event]],
    meters: Sequence[bool],
    doubles: Sequence[bool] | None = None,
    known: Sequence[Fraction | None] | None = None,
) -> list[Timing]:
    """Time all measures of a page; ``meters`` says before which of them a meter is printed, and ``doubles`` after
    which a double bar line is.

    Those that follow a meter up to the next one last as long as explains most of them, or as the meter says (``known``).
    One whose printed values are another time
    is read once more to fit, but for a first or last one that is shorter, two that complement each other, and half of one or less
    that a double bar line parts from a rest.
    """
    timings = [time_events(events) for events in measures]
    doubles = [False] * len(measures) if doubles is None else doubles
    known = [None] * len(measures) if known is None else known
    if measures and meters[0]:
        timings[0] = _pickup(measures[0], timings[0])
    starts = [k for k in range(len(measures)) if k == 0 or meters[k]]
    if not measures:
        return []
    for first, end in zip(starts, [*starts[1:], len(measures)], strict=True):
        group = [k for k in range(first, end) if timings[k].length]
        best: tuple[float, dict[int, Timing]] | None = None
        for length in usual_lengths([timings[k].length for k in group], known[first]):
            single = {k: time_events(measures[k], length) for k in group if timings[k].length == 2 * length}
            single = {k: once for k, once in single.items() if once.cost <= timings[k].cost + OTHER_LENGTH}
            others = [k for k in group if k not in single and not _stands(k, timings, length, doubles, meters)]
            fitted = {k: _fitted(measures[k], length) for k in others}
            fitted |= _halves(measures, timings, fitted, doubles, length) | single
            doubled = [k for k in group if k not in fitted and timings[k].length == 2 * length]
            cost = sum(min(fitted.get(k, timings[k]).cost, WORST) for k in group) + OTHER_LENGTH * len([*others, *doubled])
            if best is None or cost < best[0]:
                best = cost, fitted
        for k, timing in (best[1] if best else {}).items():
            timings[k] = timing
    return timings


def _pickup(events: Sequence[Event], timing: Timing) -> Timing:
    """Return another reading of a first measure whose length is no number of sixteenths, with one note value changed.

    The flags of short notes are missed most often.
    """
    durations = [event.duration for event in events]
    found: list[Timing] = []
    for factor in CHANGES if (timing.length * 4).denominator > 1 else ():
        for k, duration in enumerate(durations):
            changed = [*durations[:k], duration * factor, *durations[k + 1 :]]
            other = time_events([replace(e, duration=d) for e, d in zip(events, changed, strict=True)])
            if (other.length * 4).denominator == 1 and other.length == sum(changed):
                found.append(replace(other, cost=max(other.cost, CLEAN), durations=tuple(changed)))
    return min(found, key=lambda other: other.cost, default=timing)


def _halves(
    measures: Sequence[Sequence[Event]],
    timings: Sequence[Timing],
    fitted: Mapping[int, Timing],
    doubles: Sequence[bool],
    length: Fraction,
) -> dict[int, Timing]:
    """Return other readings of two measures that a double bar line parts, where they explain them better as one measure.

    One of them stays as it is printed and is shorter than ``length``, and the other one is read to fill it up; or the second one
    is as short as the pickup of the piece.
    """
    found: dict[int, Timing] = {}
    for k in (k for k in fitted if k + 1 in fitted and doubles[k] and not {k, k + 1} & set(found)):
        pairs = []
        for stays, other in ((k, k + 1), (k + 1, k)):
            if 0 < timings[stays].length < length and timings[stays].cost <= CLEAN:
                pairs.append({stays: timings[stays], other: _fitted(measures[other], length - timings[stays].length)})
        if 0 < timings[0].length < length:
            rest = length - timings[0].length
            pairs.append({k: _fitted(measures[k], rest), k + 1: _fitted(measures[k + 1], timings[0].length)})
        best = min(pairs, key=lambda pair: sum(timing.cost for timing in pair.values()), default=None)
        if best and sum(timing.cost for timing in best.values()) < fitted[k].cost + fitted[k + 1].cost:
            found |= best
    return found


def _fitted(events: Sequence[Event], length: Fraction) -> Timing:
    """Time a measure that does not add up to a length: with one note value changed that was misread, or with pauses.

    What looks like the number of a tuplet may be none, and a dot or a flag may be missed or seen where there is none.
    """
    best = time_events(events, length)
    durations = [event.duration for event in events]
    alone = [event.alone or event.duration for event in events]
    variants = [alone] if alone != durations else []
    for values in (durations, *variants):
        variants += [[*values[:k], lasts * factor, *values[k + 1 :]] for k, lasts in enumerate(values) for factor in CHANGES]
    for changed in (changed for changed in variants if _adds_up(events, durations, changed, length)):
        timing = time_events([replace(e, duration=d) for e, d in zip(events, changed, strict=True)])
        if timing.length == length and timing.cost + CHANGED < best.cost:
            best = replace(timing, cost=timing.cost + CHANGED, durations=tuple(changed))
    return best


def _adds_up(events: Sequence[Event], before: Sequence[Fraction], after: Sequence[Fraction], length: Fraction) -> bool:
    """Whether changed note values fill a measure in each staff in which they are changed: its voices, mostly one, are full."""
    changed = {event.staff for event, old, new in zip(events, before, after, strict=True) if old != new}
    sums = [sum(new for event, new in zip(events, after, strict=True) if event.staff == staff) for staff in changed]
    return bool(sums) and all(total and total % length == 0 for total in sums)


def _stands(k: int, timings: Sequence[Timing], length: Fraction, doubles: Sequence[bool], meters: Sequence[bool]) -> bool:
    """Whether a measure needs no other reading if measures last so long; a pickup may be where a meter is printed first."""
    timing = timings[k]
    if timing.length == length or (timing.length == 2 * length and timing.cost <= CLEAN):  # a bar line may be missing
        return True
    if timing.cost > CLEAN or timing.length > length:
        return False
    if (k == 0 and meters[0]) or k == len(timings) - 1:
        return True
    if timing.length * 2 <= length and rest_beside(k, [each.length for each in timings], doubles) is not None:
        return True
    beside = [timings[a if a != k else b] for a, b in ((k - 1, k), (k, k + 1)) if a >= 0 and b < len(timings) and not meters[b]]
    return any(other.cost <= CLEAN and other.length + timing.length == length for other in beside)


def rest_beside(k: int, lengths: Sequence[Fraction], doubles: Sequence[bool]) -> int | None:
    """Return the number of a measure of rest, of length 0, that a double bar line parts from a measure: both may be one.

    A pickup, the first measure, is a part of none.
    """
    if k == 0:
        return None
    if doubles[k - 1] and lengths[k - 1] == 0:
        return k - 1
    return k + 1 if k + 1 < len(lengths) and doubles[k] and lengths[k + 1] == 0 else None


def usual_lengths(lengths: Sequence[Fraction], known: Fraction | None) -> list[Fraction]:
    """Return how long measures may usually last, the most likely length first: as long as the meter says that was read, if a
    good part of them do, else as long as most do; no length where there are no measures.

    A single one, which may be a pickup, does not outvote a meter.
    """
    counts = Counter(lengths)
    if known and counts and (counts[known] >= AGREE * counts.total() or counts.total() == 1):
        return [known]
    meters = [length for length in counts if (length * 2).denominator == 1] or list(counts)  # others are hardly ever printed
    return sorted(meters, key=lambda length: (counts[length], length), reverse=True)[:3]
