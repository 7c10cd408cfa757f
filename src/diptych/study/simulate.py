"""Simulated participants, who take part through HTTP as the page does, with an ability that is known.

They show that a study works before people come, and whether intervals hold the truth. Their answers are marked as simulated in
the database and never mixed with those of people.
"""

from __future__ import annotations

import http.client
import itertools
import json
import math
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from diptych.errors import ConfigError, DiptychError
from diptych.messages import show
from diptych.study import tokens
from diptych.study.folder import Secrets, Study
from diptych.study.planning import most_spread
from diptych.study.protocol import Trial
from diptych.study.store import Store

SESSION = "diptych-study"


@dataclass
class Browser:
    """What a browser keeps of a study: the address, and the session. A request that fails is sent again, as the page does.

    ``via`` is the host and port of a proxy to send requests through, None for the address itself.
    """

    url: str
    session: str = ""
    patience: float = 30.0  # seconds
    timings: list[float] = field(default_factory=list)
    via: tuple[str, int] | None = None

    def call(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """One request; returns the status and the decoded JSON, or bytes. Raises ConfigError when the server does not answer."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                started = time.monotonic()
                answered = self.once(path, body)
                self.timings.append(time.monotonic() - started)
                if answered[0] not in (429, 503):
                    return answered
            except (OSError, http.client.HTTPException):
                pass
            if time.monotonic() > deadline:
                raise ConfigError(f"{self.url}: does not answer; start the server with diptych study serve")
            time.sleep(0.05)

    def once(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """One request that is not repeated. Raises OSError or HTTPException when it fails."""
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(*(self.via or (parts.hostname or "", parts.port)), timeout=10)
        try:
            headers = {"Cookie": f"{SESSION}={self.session}", "Origin": f"{parts.scheme}://{parts.netloc}", "Host": parts.netloc}
            if body is None:
                connection.request("GET", path, headers=headers)
            else:
                connection.request("POST", path, json.dumps(body), headers | {"Content-Type": "application/json"})
            response = connection.getresponse()
            data = response.read()
        finally:
            connection.close()
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            if name == SESSION:
                self.session = value
        return response.status, json.loads(data) if "json" in response.headers.get("Content-Type", "") else data


def simulate(
    study: Study,
    keys: Secrets,
    store: Store,
    url: str,
    number: int,
    fooled: Mapping[str, float],
    *,
    spread: float = 0.0,
    seed: int = 0,
    workers: int = 50,
    watch: Callable[[int], None] = lambda done: None,
) -> None:
    """Let participants take part in a study that is being served.

    ``fooled`` is each method's share of fake pictures that are taken for real, on average over participants, whose own shares
    have the standard deviation ``spread`` (a beta distribution); where methods are compared with one another it is their strength
    of Bradley and Terry. Participants wait as long as pictures are shown, ``workers`` of them at a time, and are always right in
    catch trials; ``watch`` learns how many answers were given.
    Raises ConfigError for shares that cannot be, and when another study is served at this address.
    """
    check_shares(study, fooled, spread)
    answered = Browser(url).call("/api/state")[1]
    if not isinstance(answered, dict) or answered.get("study") != keys.study:
        raise ConfigError(f"--url {url}: does not serve the study of {show(study.folder)}; start its server, or give its address")

    given = itertools.count(1)  # whose next number threads may take at once

    def one(index: int) -> None:
        rng = random.Random(f"{seed} {index}")
        take_part(study, keys, store, Browser(url), fooled, spread, rng, answered=lambda: watch(next(given)))

    with ThreadPoolExecutor(min(workers, number)) as pool:
        for _ in pool.map(one, range(number)):
            pass  # raises what a participant met


def check_shares(study: Study, fooled: Mapping[str, float], spread: float) -> None:
    """Raise ConfigError for methods that a study does not have or lacks, and for shares that cannot be."""
    methods = ", ".join(study.methods)
    if unknown := [name for name in fooled if name not in study.methods]:
        raise ConfigError(f"--fooled {unknown[0]}: is no method of this study, whose methods are {methods}")
    for method in study.methods:
        share = fooled.get(method)
        if share is None:
            raise ConfigError(f"--fooled {method}=...: is missing; give it for every method of this study: {methods}")
        if study.protocol.kind == "compare":
            if not 0 < share < math.inf:
                raise ConfigError(f"--fooled {method}: needs its strength in comparisons, greater than 0, found {share}")
        elif not 0 <= share <= 1:
            raise ConfigError(f"--fooled {method}: needs a share from 0 to 1, found {share}")
        elif spread and not 0 < spread < most_spread(share):
            raise ConfigError(f"--spread must be 0, or less than {most_spread(share):.4g} for {method}={share:g}, found {spread}")


def take_part(
    study: Study,
    keys: Secrets,
    store: Store,
    browser: Browser,
    fooled: Mapping[str, float],
    spread: float,
    rng: random.Random,
    *,
    answered: Callable[[], None] = lambda: None,
) -> str:
    """One participation from consent to the end; returns the participant's id. ``answered`` is called after each answer."""
    language = next(iter(study.consent))
    body = {"language": language, "consent": study.consent_version(language)}
    body["simulated"] = tokens.signed(keys.key, "simulated", "yes")
    if study.invited_only:
        body["code"] = tokens.new_code(keys.key, 1)
    state = _accepted(browser.call("/api/join", body))
    person = store.participant(state["withdraw"])
    if person is None:
        raise ConfigError(
            f"{browser.url}: serves a copy of {show(study.folder)}, with answers of its own; give the other's --url"
        )
    share = fooled.get(person.method, 0.0)
    if spread and study.protocol.kind != "compare":  # a beta distribution of this mean and standard deviation
        total = share * (1 - share) / spread**2 - 1
        share = rng.betavariate(share * total, (1 - share) * total)
    while state["status"] == "running":
        number = state["trial"]["number"]
        trial = person.trials[number]
        for place in range(state["trial"]["pictures"] + state["trial"]["input"]):
            browser.call(f"/picture/{number}/{place}")
        time.sleep(study.protocol.show_ms * len(trial.pictures) / 1000)
        answer = _answer_to(study, trial, share, fooled, rng)
        sent = {
            "trial": number,
            "answer": answer,
            "key": f"{rng.getrandbits(64):016x}",
            "shown_ms": [study.protocol.show_ms] * len(trial.pictures),
            "frame_ms": 16.7,
            "response_ms": rng.uniform(300, 2000),
            "interrupted": False,
        }
        state = _accepted(browser.call("/api/answer", sent))
        answered()
    return person.id


def _answer_to(study: Study, trial: Trial, share: float, strengths: Mapping[str, float], rng: random.Random) -> str:
    sources = [study.pictures[id].source for id in trial.pictures]
    first, second = study.protocol.answers
    if not trial.truth:
        left, right = (strengths[source] for source in sources)
        return first if rng.random() < left / (left + right) else second
    is_fake = any(source != "real" for source in sources)
    wrong = trial.part != "catch" and rng.random() < (share if is_fake else 0.1)
    return (second if trial.truth == first else first) if wrong else trial.truth


def _accepted(answered: tuple[int, Any]) -> dict[str, Any]:
    status, value = answered
    if status != 200:
        raise DiptychError(
            f"the server refused a simulated participant: {value.get('error', value) if isinstance(value, dict) else status}"
        )
    return dict(value)
