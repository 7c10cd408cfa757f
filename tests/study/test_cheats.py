"""Forty ways to cheat, each refused or flagged, and twenty ways to learn which picture is real, of which none works."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from scipy.stats import mannwhitneyu

from diptych.study import tokens
from diptych.study.folder import Study
from diptych.study.protocol import Protocol
from diptych.study.results import exclusion, marks
from diptych.study.simulate import Browser
from tests.study.conftest import Served, answer_to, request

NAN, INFINITY = float("nan"), float("inf")
# What is changed in a good answer, and the rule that refuses it.
FALSE_ANSWERS: dict[str, list[tuple[str, Any]]] = {
    "trial must be the number of a trial": [
        ("trial", value) for value in (-1, 6, 1.0, "0", None, True, 10**30, [0])
    ],
    "this trial is not the next": [("trial", 1), ("trial", 3), ("trial", 5)],
    "answer must be left or right": [("answer", value) for value in ("both", "real", None, ["left"], "LEFT", 0)],
    "key must be 8 to 64 letters and digits": [("key", value) for value in ("short", "x" * 65, None, "semi;colon!", 12345678)],
    "shown_ms must hold a number for each picture": [("shown_ms", value) for value in ([], [1.0], [1, 1, 1], None, "1, 1")],
    "times must be numbers of milliseconds of at least 0": [
        *(("shown_ms", value) for value in ([1, -1], [1, "1"], [1, NAN], [1, INFINITY], [True, 1])),
        *(("frame_ms", value) for value in (-1, None)),
        *(("response_ms", value) for value in (-0.1, 1e12, "fast")),
        *(("interrupted", value) for value in (0, None)),
    ],
}  # fmt: skip


def test_false_answers_are_refused_by_their_rule_and_nothing_is_stored(served):
    browser, state = served.joined()
    cheats = [(rule, {field: value}) for rule, every in FALSE_ANSWERS.items() for field, value in every]
    for rule, changed in cheats:
        status, found = browser.call("/api/answer", answer_to(state, **changed))
        assert (status, found["error"]) == (409 if "next" in rule else 400, rule), changed
    assert served.store.participant(state["withdraw"]).answers == ()
    assert browser.call("/api/answer", answer_to(state))[0] == 200  # the same without a change


def answered(served: Served, state: dict) -> list[tuple[str, str]]:
    return [(a.answer, a.key) for a in served.store.participant(state["withdraw"]).answers]


def repeats_with_another_answer(served, browser, state):
    browser.call("/api/answer", answer_to(state))
    assert browser.call("/api/answer", answer_to(state, "right")) == (409, {"error": "this trial was answered before"})
    return answered(served, state) == [("left", "0123456789abcdef")]


def repeats_with_another_key(served, browser, state):
    browser.call("/api/answer", answer_to(state))
    assert browser.call("/api/answer", answer_to(state, key="fedcba9876543210"))[0] == 409
    return answered(served, state) == [("left", "0123456789abcdef")]


def replays_an_answer(served, browser, state):
    for _ in range(3):
        status, reply = browser.call("/api/answer", answer_to(state))
        assert status == 200 and reply["trial"]["number"] == 1
    return len(answered(served, state)) == 1


def replays_an_old_answer_in_a_later_trial(served, browser, state):
    following = browser.call("/api/answer", answer_to(state))[1]
    browser.call("/api/answer", answer_to(following, key="fedcba9876543210"))
    browser.call("/api/answer", answer_to(state))
    return len(answered(served, state)) == 2


def answers_for_another(served, browser, state):
    _, other = served.joined()
    refused = browser.call("/api/answer", answer_to(state, participant=other["withdraw"]))
    kept = answered(served, other) + answered(served, state)
    accepted = browser.call("/api/answer", answer_to(state, participant=state["withdraw"]))[0]
    return refused == (403, {"error": "this answer is another participant's"}) and kept == [] and accepted == 200


def edits_the_order(served, browser, state):
    before = served.store.participant(state["withdraw"]).trials
    browser.call("/api/answer", answer_to(state) | {"trials": [5, 4, 3], "order": [5, 4, 3], "truth": "left", "pictures": []})
    return served.store.participant(state["withdraw"]).trials == before


def finishes_early(served, browser, state):
    browser.call("/api/answer", answer_to(state) | {"status": "done", "done": True})
    person = served.store.participant(state["withdraw"])
    return browser.call("/api/state")[1]["status"] == "running" and exclusion(person) == "not finished"


def joins_again_in_the_same_browser(served, browser, state):
    consent = {"language": "en", "consent": served.study.consent_version("en")}
    return browser.call("/api/join", consent)[1]["withdraw"] == state["withdraw"]


def clears_the_cookies(served, browser, state):
    _, again = served.joined(again=True)  # what the browser remembers besides cookies
    person = served.store.participant(again["withdraw"])
    return person.again and exclusion(person) != ""


def says_to_be_simulated(served, browser, state):
    before, consent = len(served.store.participants()), {"language": "en", "consent": served.study.consent_version("en")}
    words = ("yes", True, None, tokens.signed(b"another", "simulated", "yes"))
    statuses = {Browser(served.url).call("/api/join", consent | {"simulated": word})[0] for word in words}
    return statuses == {403} and len(served.store.participants()) == before


def chooses_the_method(served, browser, state):
    made = [served.joined(method="one", id="x", trials=[])[1] for _ in range(3)]
    methods = [served.store.participant(each["withdraw"]).method for each in [state, *made]]
    return sorted(methods) == ["one", "one", "two", "two"]


def agrees_to_another_text(served, browser, state):
    bodies = {}, {"language": "en"}, {"language": "fr", "consent": "x"}, {"language": "en", "consent": "000000000000"}
    return all(Browser(served.url).call("/api/join", body)[0] == 409 for body in bodies)


def looks_at_later_pictures(served, browser, state):
    return [browser.call(f"/picture/{trial}/0")[0] for trial in (1, 5, 6)] == [403] * 3


def looks_at_earlier_pictures(served, browser, state):
    browser.call("/api/answer", answer_to(state))
    return [browser.call("/picture/0/0")[0], browser.call("/picture/1/2")[0]] == [403, 404]


def sends_no_json(served, browser, state):
    cookie = {"Cookie": f"diptych-study={browser.session}"}
    bodies = b"", b"[]", b"{", b"\xff", b"1", b"[" * 5000
    return all(request(served, "POST", "/api/answer", body, **cookie)[0] == 400 for body in bodies)


def asks_without_a_session(served, browser, state):
    return Browser(served.url).call("/api/answer", answer_to(state))[0] == 401


def answers_after_being_erased(served, browser, state):
    served.store.erase(state["withdraw"])
    return browser.call("/api/answer", answer_to(state))[0] == 401


def flagged(name: str, **changed: Any) -> Callable[..., bool]:
    """A cheat in the measured times, which are the browser's word: it is stored, and marked."""

    def cheat(served: Served, browser: Browser, state: dict) -> bool:
        assert browser.call("/api/answer", answer_to(state, **changed))[0] == 200
        person = served.store.participant(state["withdraw"])
        return marks(served.study, person.trials[0], person.answers[0]) == [name]

    return cheat


def reloads_to_look_again(served, browser, state):
    browser.call("/api/state")
    return flagged("again")(served, browser, state)


CHEATS: dict[str, Callable[..., bool]] = {
    cheat.__name__: cheat
    for cheat in (
        *(repeats_with_another_answer, repeats_with_another_key, replays_an_answer, replays_an_old_answer_in_a_later_trial),
        *(answers_for_another, edits_the_order, finishes_early, joins_again_in_the_same_browser, clears_the_cookies),
        *(says_to_be_simulated, agrees_to_another_text, looks_at_later_pictures, looks_at_earlier_pictures),
        *(sends_no_json, asks_without_a_session, answers_after_being_erased, reloads_to_look_again),
    )
} | {
    "looks longer": flagged("late", shown_ms=[1.0, 900.0]),
    "answers at once": flagged("hasty", response_ms=3.0),
    "hides the page": flagged("interrupted", interrupted=True),
}  # fmt: skip


def test_every_cheat_is_refused_or_flagged(served):
    assert chooses_the_method(served, *served.joined())  # first, while nobody else takes part
    for name, cheat in CHEATS.items():
        browser, state = served.joined()
        assert cheat(served, browser, state), name
    assert len(CHEATS) + 1 + sum(map(len, FALSE_ANSWERS.values())) > 40


def test_an_answer_cannot_come_before_its_pictures_were_shown(make, serve):
    served = serve(*make(Protocol(practice=0, trials=2, show_ms=400)))
    browser, state = served.joined()
    for shown in ([400, 400], [0, 0], [9000, 9000]):  # whatever the browser says to have measured
        status, found = browser.call("/api/answer", answer_to(state, shown_ms=shown))
        assert (status, found["error"]) == (409, "this answer came before the pictures can have been shown")
    time.sleep(0.85)
    assert browser.call("/api/answer", answer_to(state, shown_ms=[400, 400]))[0] == 200


def forged(served: Served, session: str) -> list[str]:
    id = session.partition(".")[0]
    return [
        *("", id, f"{id}.", f"{id}.{'0' * 32}", session[:-1] + ("0" if session[-1] != "0" else "1")),
        tokens.signed(served.keys.key, "owner", id),
        tokens.signed(b"another key", "participant", id),
        tokens.signed(served.keys.key, "participant", "nobody"),
        *("\u00ff.\u00ff", "' OR 1=1 --"),
    ]  # fmt: skip


def test_sessions_cannot_be_forged(served):
    browser, state = served.joined()
    for session in forged(served, browser.session):
        thief = Browser(served.url, session)
        assert thief.call("/api/answer", answer_to(state))[0] == 401, session
        assert thief.call("/picture/0/0")[0] == 403
        assert thief.call("/api/state")[1]["status"] == "new"
    assert served.store.participant(state["withdraw"]).answers == ()


def test_invitations_are_signed_used_once_and_expire(make, serve):
    served = serve(*make(invited_only=True))
    consent = {"language": "en", "consent": served.study.consent_version("en")}
    code = tokens.new_code(served.keys.key, 1)
    changed = code[:-1] + ("A" if code[-1] != "A" else "B")
    for wrong in ("", "ABCDE", changed, code + "A", tokens.new_code(b"another key", 1), "é" * 30, "=" * 8):
        assert Browser(served.url).call("/api/join", consent | {"code": wrong}) == (403, {"error": "refused"}), wrong
    late = consent | {"code": tokens.new_code(served.keys.key, -1)}
    assert Browser(served.url).call("/api/join", late) == (403, {"error": "expired"})
    browser, state = served.joined(code=code)
    browser.call("/api/answer", answer_to(state))
    spelt = code.lower().replace("-", " ")
    _, again = served.joined(code=spelt, again=True)  # another browser, or cookies cleared: the same participation goes on
    assert again["withdraw"] == state["withdraw"] and again["trial"]["number"] == 1
    (person,) = served.store.participants()
    assert not person.again  # a computer that several invited people share
    served.store.erase(person.id)
    assert Browser(served.url).call("/api/join", consent | {"code": code}) == (409, {"error": "this code was used before"})


def chunks(png: bytes) -> list[tuple[str, bytes]]:
    """The names and the first bytes of the parts of a PNG."""
    found, place = [], 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        found.append((png[place + 4 : place + 8].decode(), png[place + 8 : place + 8 + min(length, 13)]))
        place += length + 12
    return found


def named(chunk: str, png: bytes) -> bytes:
    return next(start for name, start in chunks(png) if name == chunk)


# What a browser can learn of a picture without looking at it: every value must be the same for all pictures.
OBSERVED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "status": lambda seen: seen["status"],
    "number of bytes": lambda seen: len(seen["data"]),
    "length in the header": lambda seen: seen["headers"]["content-length"],
    "type": lambda seen: seen["headers"]["content-type"],
    "ETag": lambda seen: seen["headers"].get("etag"),
    "date of the file": lambda seen: seen["headers"].get("last-modified"),
    "caching": lambda seen: seen["headers"]["cache-control"],
    "cookies": lambda seen: seen["headers"].get("set-cookie"),
    "all headers": lambda seen: json.dumps({k: v for k, v in seen["headers"].items() if k != "date"}),
    "order of headers": lambda seen: list(seen["headers"]),
    "parts of the file": lambda seen: [name for name, _ in chunks(seen["data"])],
    "size, depth and colours": lambda seen: named("IHDR", seen["data"]),
    "compression": lambda seen: named("IDAT", seen["data"])[:2],
    "metadata": lambda seen: {name for name, _ in chunks(seen["data"])} - {"IHDR", "IDAT", "IEND"},
    "answer to HEAD": lambda seen: (seen["head"][0], seen["head"][1].get("content-length"), len(seen["head"][2])),
    "a part of it": lambda seen: (seen["range"][0], len(seen["range"][2])),
    "if it is known already": lambda seen: (seen["known"][0], len(seen["known"][2])),
    "reply to the answer": lambda seen: sorted(seen["reply"]),
    "state of the trial": lambda seen: (seen["state"]["trial"] | {"number": 0, "place": 0}, seen["state"]["rules"]),
}  # fmt: skip


def test_nothing_that_a_participant_receives_tells_real_from_fake(make, serve):
    served = serve(*make(Protocol(practice=0, trials=14, catch=4, show_ms=1)))
    browser, state = served.joined()
    person, seen, told = served.store.participant(state["withdraw"]), [], ""
    cookie = {"Cookie": f"diptych-study={browser.session}"}
    while state["status"] == "running":
        number, here, told = state["trial"]["number"], [], told + json.dumps(state)
        for place, id in enumerate(person.trials[number].pictures):
            path, started = f"/picture/{number}/{place}", time.perf_counter()
            status, headers, data = request(served, "GET", path, **cookie)
            look = {"source": served.study.pictures[id].source, "seconds": time.perf_counter() - started, "state": state}
            look |= {"status": status, "headers": headers, "data": data, "head": request(served, "HEAD", path, **cookie)}
            look["range"] = request(served, "GET", path, Range="bytes=0-9", **cookie)
            date = "Fri, 01 Jan 2100 00:00:00 GMT"
            look["known"] = request(served, "GET", path, If_None_Match='"x"', If_Modified_Since=date, **cookie)
            here.append(look)
        state = browser.call("/api/answer", answer_to(state))[1]
        for look in here:
            look["reply"] = set(state) - {"trial", "rules"}
        seen += here if state["status"] == "running" else []
    assert {look["source"] for look in seen} >= {"real", "catch", person.method}
    for what, observe in OBSERVED.items():
        values = {str(observe(look)) for look in seen}
        assert len(values) == 1, (what, values)
    assert OBSERVED["status"](seen[0]) == 200 and not OBSERVED["metadata"](seen[0]) and OBSERVED["ETag"](seen[0]) is None
    times = [[look["seconds"] for look in seen if (look["source"] == "real") == real] for real in (True, False)]
    assert mannwhitneyu(*times).pvalue > 1e-4  # how long a picture takes to load
    told += request(served, "GET", "/")[2].decode()
    for secret in (*served.study.pictures, "catch", "p00", "p01", '"one"', '"two"', str(served.study.folder)):
        assert secret not in told, secret
    assert len(OBSERVED) + 1 >= 20


def test_pictures_and_the_plan_have_no_other_address(served):
    browser, _ = served.joined()
    id = next(iter(served.study.pictures))
    paths = [f"/pictures/{id}.png", f"/picture/{id}", "/picture/0/0.png", "/picture/0/-1", "/study.json", "/secrets.json"]
    paths += [
        "/answers.sqlite",
        "/static/../study.json",
        "/static/%2e%2e/%2e%2e/study.json",
        "/owner/answers.csv",
        "/api/answers",
    ]
    for path in paths:
        assert browser.call(path)[0] in (401, 403, 404, 405), path


def test_the_order_of_pictures_in_the_description_says_nothing(make):
    study, _ = make()
    sources = [picture.source for picture in Study.load(study.folder).pictures.values()]
    assert sources != sorted(sources, key=["real", "one", "two"].index)  # once in 36! / 12!^3


@pytest.mark.parametrize("right", [True, False])
def test_the_reply_to_a_counted_answer_does_not_say_whether_it_was_right(served, right):
    browser, state = served.joined()
    person = served.store.participant(state["withdraw"])
    other = {"left": "right", "right": "left"}
    for trial in person.trials[:3]:
        state = browser.call("/api/answer", answer_to(state, trial.truth if right else other[trial.truth]))[1]
    assert set(state) == {"status", "withdraw", "trial", "rules"}
