"""What the server of a study accepts, refuses and gives away, through HTTP."""

from __future__ import annotations

import http.client
import json
import sqlite3
import time
from collections import Counter
from urllib.parse import urlsplit

import pytest

from diptych.study import tokens
from diptych.study.protocol import Protocol
from diptych.study.simulate import Browser, simulate, take_part
from diptych.study.words import WORDS
from tests.study.conftest import Served, answer_to


def request(served: Served, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One request with exactly these headers; a None header is left out."""
    address = urlsplit(served.url).netloc
    connection = http.client.HTTPConnection(address, timeout=10)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    given = {"Origin": served.url, "Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    connection.request(method, path, data, {k: v for k, v in given.items() if v is not None})
    response = connection.getresponse()
    result = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    connection.close()
    return result


def test_a_whole_participation_is_stored_as_planned(served):
    browser, state = served.joined()
    person = served.store.participant(state["withdraw"])
    parts = []
    while state["status"] == "running":
        number = state["trial"]["number"]
        parts.append(state["trial"]["part"])
        truth = person.trials[number].truth
        status, state = browser.call("/api/answer", answer_to(state, truth))
        assert status == 200
        told = {"correct": True, "sources": ["fake", "real"] if truth == "left" else ["real", "fake"]}
        assert state.get("feedback") == (told if number < 2 else None)
    assert parts == ["practice"] * 2 + ["trial"] * 4
    person = served.store.participant(state["withdraw"])
    assert person.done and [a.answer for a in person.answers] == [t.truth for t in person.trials]
    assert browser.call("/api/state") == (200, {"status": "done", "withdraw": person.id})
    assert browser.call("/api/join", {"language": "en", "consent": served.study.consent_version("en")})[1]["status"] == "done"


@pytest.mark.parametrize(
    "changed",
    [
        {"trial": -1}, {"trial": 6}, {"trial": 1.0}, {"trial": "0"}, {"trial": None}, {"trial": True}, {"trial": 10**30},
        {"answer": "both"}, {"answer": "real"}, {"answer": None}, {"answer": ["left"]}, {"answer": "LEFT"},
        {"key": "short"}, {"key": "x" * 65}, {"key": None}, {"key": "semi;colon!"}, {"key": 12345678},
        {"shown_ms": []}, {"shown_ms": [1.0]}, {"shown_ms": [1, 1, 1]}, {"shown_ms": [1, -1]}, {"shown_ms": [1, "1"]},
        {"shown_ms": None}, {"shown_ms": [1, float("nan")]}, {"shown_ms": [1, float("inf")]}, {"shown_ms": [True, 1]},
        {"frame_ms": -1}, {"frame_ms": None}, {"response_ms": -0.1}, {"response_ms": 1e12}, {"response_ms": "fast"},
        {"interrupted": 0}, {"interrupted": None},
    ],
)  # fmt: skip
def test_answers_that_are_none_are_refused(served, changed):
    browser, state = served.joined()
    status, found = browser.call("/api/answer", answer_to(state, **changed))
    assert status == 400 and found["error"]
    assert served.store.participant(state["withdraw"]).answers == ()


def test_trials_cannot_be_skipped_repeated_or_changed(served):
    browser, state = served.joined()
    assert browser.call("/api/answer", answer_to(state, trial=3))[0] == 409
    assert browser.call("/api/answer", answer_to(state))[0] == 200
    assert browser.call("/api/answer", answer_to(state, "right"))[0] == 409
    assert browser.call("/api/answer", answer_to(state, key="fedcba9876543210"))[0] == 409
    status, again = browser.call("/api/answer", answer_to(state))  # a retry of the same answer
    assert status == 200 and again["trial"]["number"] == 1 and again["feedback"]
    assert len(served.store.participant(state["withdraw"]).answers) == 1


def test_an_answer_cannot_come_before_its_pictures_were_shown(make, serve):
    served = serve(*make(Protocol(practice=0, trials=2, show_ms=400)))
    browser, state = served.joined()
    status, found = browser.call("/api/answer", answer_to(state, shown_ms=[400, 400]))
    assert (status, found["error"]) == (409, "this answer came before the pictures can have been shown")
    time.sleep(0.85)
    assert browser.call("/api/answer", answer_to(state, shown_ms=[400, 400]))[0] == 200


def forged(served: Served, session: str) -> list[str]:
    id = session.partition(".")[0]
    return [
        "",
        id,
        f"{id}.",
        f"{id}.{'0' * 32}",
        session[:-1] + ("0" if session[-1] != "0" else "1"),
        tokens.signed(served.keys.key, "owner", id),
        tokens.signed(b"another key", "participant", id),
        tokens.signed(served.keys.key, "participant", "nobody"),
        "\u00ff.\u00ff",
        "' OR 1=1 --",
    ]


def test_sessions_cannot_be_forged(served):
    browser, state = served.joined()
    for session in forged(served, browser.session):
        thief = Browser(served.url, session)
        assert thief.call("/api/answer", answer_to(state))[0] == 401, session
        assert thief.call("/picture/0/0")[0] == 403
        assert thief.call("/api/state")[1] == {"status": "new"}
    assert served.store.participant(state["withdraw"]).answers == ()


def test_a_participant_cannot_answer_for_another(served):
    one, first = served.joined()
    _, second = served.joined()
    assert one.call("/api/answer", answer_to(first) | {"participant": second["withdraw"]})[0] == 200
    assert [len(served.store.participant(s["withdraw"]).answers) for s in (first, second)] == [1, 0]


def test_beginning_a_trial_again_is_noted(served):
    browser, state = served.joined()
    browser.call("/api/state")
    browser.call("/api/state")
    state = browser.call("/api/answer", answer_to(state))[1]
    browser.call("/api/answer", answer_to(state))
    assert [a.views for a in served.store.participant(state["withdraw"]).answers] == [3, 1]


def test_invitations_are_signed_used_once_and_expire(make, serve):
    served = serve(*make(invited_only=True))
    consent = {"language": "en", "consent": served.study.consent_version("en")}
    code = tokens.new_code(served.keys.key, 1)
    bad = [
        "",
        "ABCDE",
        code[:-1] + ("A" if code[-1] != "A" else "B"),
        code + "A",
        tokens.new_code(b"another key", 1),
        "é" * 30,
        "=" * 8,
    ]
    for wrong in bad:
        assert Browser(served.url).call("/api/join", consent | {"code": wrong}) == (403, {"error": "refused"}), wrong
    assert Browser(served.url).call("/api/join", consent | {"code": tokens.new_code(served.keys.key, -1)}) == (
        403,
        {"error": "expired"},
    )
    browser, state = served.joined(code=code)
    browser.call("/api/answer", answer_to(state))
    spelt = code.lower().replace("-", " ")
    _, again = served.joined(code=spelt)  # another browser, or cookies cleared: the same participation goes on
    assert again["withdraw"] == state["withdraw"] and again["trial"]["number"] == 1
    assert len(served.store.participants()) == 1


def test_a_code_has_one_spelling():
    code = tokens.new_code(b"key", 1)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    good = [last for last in letters if not tokens.check_code(b"key", code[:-1] + last)[1]]
    assert good == [code[-1]]  # the last letter has a bit to spare: another one would be a second use of the code


def test_consent_must_be_to_the_text_that_is_shown(served):
    for body in (
        {},
        {"language": "en"},
        {"language": "fr", "consent": "x"},
        {"language": "en", "consent": served.study.consent_version("de")},
    ):
        status, found = Browser(served.url).call("/api/join", body)
        assert (status, found["error"]) == (409, "the text to agree to has changed; reload the page")
    _, state = served.joined()
    person = served.store.participant(state["withdraw"])
    assert (person.language, person.consent) == ("en", served.study.consent_version("en"))


def test_nothing_that_a_participant_receives_tells_real_from_fake(make, serve):
    served = serve(*make(Protocol(practice=0, trials=8, catch=2, show_ms=1)))
    headers, lengths, seen = Counter(), Counter(), []
    browser, state = served.joined()
    while state["status"] == "running":
        number = state["trial"]["number"]
        seen.append(json.dumps(state))
        for place in range(2):
            status, found, data = request(served, "GET", f"/picture/{number}/{place}", Cookie=f"diptych-study={browser.session}")
            assert status == 200 and data.startswith(b"\x89PNG") and "etag" not in found and "last-modified" not in found
            del found["date"]
            headers[json.dumps(found, sort_keys=True)] += 1
            lengths[len(data)] += 1
        for other in (f"/picture/{number + 1}/0", f"/picture/{number - 1}/0", f"/picture/{number}/2"):
            assert browser.call(other)[0] in (403, 404)
        state = browser.call("/api/answer", answer_to(state))[1]
    assert (
        len(headers) == 1 and len(lengths) == 1 and json.loads(next(iter(headers)))["cache-control"] == "no-store, no-transform"
    )
    page = request(served, "GET", "/")[2].decode()
    told = "".join(seen) + page
    for secret in (*served.study.pictures, "catch", "p00", "p01", '"one"', '"two"', str(served.study.folder)):
        assert secret not in told, secret


CROSS_SITE = [
    {"Origin": origin, "Sec_Fetch_Site": site, "Content_Type": kind}
    for origin, site, kind in [
        ("https://evil.example", "cross-site", "application/json"),
        ("https://evil.example", None, "application/json"),
        ("null", None, "application/json"),
        (None, None, "application/json"),
        ("http://127.0.0.1", None, "application/json"),
        ("http://127.0.0.1:1", None, "application/json"),
        ("own", "cross-site", "application/json"),
        ("own", "same-site", "application/json"),
        ("own", "none", "application/json"),
        ("own", None, "text/plain"),
        ("own", None, "application/x-www-form-urlencoded"),
        ("own", None, None),
    ]
]


@pytest.mark.parametrize("path", ["/api/join", "/api/answer", "/owner/login"])
def test_requests_from_other_pages_are_refused(served, path):
    browser, state = served.joined()
    body = {"/api/join": {"language": "en", "consent": served.study.consent_version("en")}, "/api/answer": answer_to(state)}
    for headers in CROSS_SITE:
        given = {k: served.url if v == "own" else v for k, v in headers.items()}
        status, found, _ = request(
            served, "POST", path, body.get(path, {"token": served.token}), Cookie=f"diptych-study={browser.session}", **given
        )
        assert status == 403 and "set-cookie" not in found and "access-control-allow-origin" not in found, headers
    assert len(served.store.participants()) == 1 and served.store.participant(state["withdraw"]).answers == ()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost", "127.0.0.1:1", ""])
def test_other_names_of_the_server_are_refused(served, host):
    assert request(served, "GET", "/", Host=host)[0] in (400, 403)


def test_every_answer_carries_the_policy_of_its_page(served):
    for path in ("/", "/static/study.js", "/api/state", "/owner", "/missing"):
        headers = request(served, "GET", path)[1]
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self'") and "unsafe" not in policy and "frame-ancestors 'none'" in policy, path
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    for path in ("/static/../app.py", "/static/app.py", "/static/%2e%2e/app.py", "/study.json", "/static/"):
        assert request(served, "GET", path)[0] == 404, path
    assert request(served, "POST", "/api/join", b"x" * 20_000)[0] == 413
    for body in (b"", b"[]", b"{", b"\xff", b"[" * 5000, b"1"):
        assert request(served, "POST", "/api/join", body)[0] == 409


@pytest.mark.parametrize("path", ["/owner", "/owner/answers.csv", "/owner/results.json"])
def test_the_owners_pages_need_the_owners_token(served, path):
    browser, _ = served.joined()
    simulate(served.study, served.keys, served.store, served.url, 2, {"one": 0.5, "two": 0.5})
    session = tokens.signed(served.keys.key, f"owner {served.keys.owner}", str(int(time.time()) + 60))
    late = tokens.signed(served.keys.key, f"owner {served.keys.owner}", str(int(time.time()) - 1))
    former = tokens.signed(served.keys.key, "owner 0000", str(int(time.time()) + 60))
    refused = {
        401: [{}, {"Cookie": f"diptych-study={browser.session}"}, {"Authorization": "Bearer"}],
        403: [
            {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {served.token}"},
            {"Authorization": f"Bearer {browser.session}"},
            {"Authorization": f"Bearer {served.keys.owner}"}, {"Cookie": f"diptych-owner={browser.session}"},
            {"Cookie": f"diptych-owner={late}"}, {"Cookie": f"diptych-owner={former}"},
            {"Cookie": f"diptych-owner={served.token}"},
        ],
    }  # fmt: skip
    for status, every in refused.items():
        for headers in every:
            found, _, data = request(served, "GET", path, **headers)
            assert found == status and b"participant," not in data and b"fooled" not in data, headers
    for headers in ({"Authorization": f"Bearer {served.token}"}, {"Cookie": f"diptych-owner={session}"}):
        found, _, data = request(served, "GET", path, **headers)
        assert found == (409 if path.endswith("json") else 200)  # nobody but simulated ones finished
        assert served.token.encode() not in data
    assert request(served, "GET", f"{path}?token={served.token}")[0] == 401


def test_the_owner_logs_in_with_the_token_and_sees_results(served):
    simulate(served.study, served.keys, served.store, served.url, 4, {"one": 1.0, "two": 0.0})
    assert request(served, "POST", "/owner/login", {"token": "wrong"})[0] == 403
    status, headers, _ = request(served, "POST", "/owner/login", {"token": served.token})
    assert status == 200 and {"HttpOnly", "SameSite=strict", "Path=/owner"} <= set(headers["set-cookie"].split("; "))
    status, headers, data = request(served, "GET", "/owner", Cookie=headers["set-cookie"].partition(";")[0])
    assert (
        status == 200 and b"100.0 %" in data and b"a rehearsal" in data and "script-src" not in headers["content-security-policy"]
    )


def test_a_database_that_cannot_be_written_is_503_and_the_answer_can_come_later(served, monkeypatch):
    browser, state = served.joined()
    served.store.database._db.execute("PRAGMA query_only=ON")  # as on a disk that became read-only
    sent = request(served, "POST", "/api/answer", answer_to(state), Cookie=f"diptych-study={browser.session}")
    assert sent[0] == 503 and sent[1]["retry-after"] == "5" and b"sqlite" not in sent[2].lower()
    served.store.database._db.execute("PRAGMA query_only=OFF")
    assert browser.call("/api/answer", answer_to(state))[0] == 200

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(served.store, "add", full)
    assert request(served, "POST", "/api/answer", answer_to(state), Cookie=f"diptych-study={browser.session}")[0] == 503


class BadNetwork(Browser):
    """Loses a tenth of requests and of answers, and sends some twice."""

    def once(self, path, body=None):
        luck = self.rng.random()
        if luck < 0.1:
            raise OSError("the request was lost")
        answered = super().once(path, body)
        if luck < 0.2:
            raise OSError("the answer was lost")
        return super().once(path, body) if luck < 0.3 and path == "/api/answer" else answered


def test_over_a_bad_network_everybody_has_exactly_all_answers(served):
    import random

    for number in range(6):
        browser = BadNetwork(served.url)
        browser.rng = random.Random(number)
        id = take_part(served.study, served.keys, served.store, browser, {"one": 0.5, "two": 0.5}, 0.0, random.Random(number))
        assert [a.trial for a in served.store.participant(id).answers] == list(range(6))


def test_many_at_once_are_assigned_evenly_and_lose_nothing(served):
    simulate(served.study, served.keys, served.store, served.url, 16, {"one": 0.0, "two": 1.0}, workers=8)
    people = served.store.participants()
    assert Counter(p.method for p in people) == {"one": 8, "two": 8} and all(p.done and p.simulated for p in people)
    for person in people:
        assert all((a.answer != t.truth) == (person.method == "two") for t, a in zip(person.trials, person.answers, strict=True))


def test_nobody_is_simulated_without_the_key(served):
    _, state = served.joined(simulated="yes")
    _, other = served.joined(simulated=tokens.signed(b"another key", "simulated", "yes"))
    assert not any(served.store.participant(s["withdraw"]).simulated for s in (state, other))


@pytest.mark.parametrize(("asked", "language"), [("ko-KR,ko;q=0.9", "ko"), ("fr, de;q=0.5", "de"), ("fr", "en"), ("", "en")])
def test_the_page_speaks_the_browsers_language(served, asked, language):
    page = request(served, "GET", "/", Accept_Language=asked)[2].decode()
    assert f'<html lang="{language}">' in page and WORDS[language]["agree"] in page
    assert '<html lang="de">' in request(served, "GET", "/?lang=de", Accept_Language=asked)[2].decode()


def test_every_language_has_all_words_and_their_places():
    places = {
        key: {part for part in ("{n}", "{total}", "{seconds}", "{practice}", "{trials}") if part in text}
        for key, text in WORDS["en"].items()
    }
    for language, words in WORDS.items():
        assert words.keys() == WORDS["en"].keys()
        for key, text in words.items():
            assert text and all(part in text for part in places[key]), (language, key)


def test_names_of_pictures_and_titles_run_no_script(make, serve):
    served = serve(*make(title='</script><script>alert(1)</script>"><img src=x onerror=alert(1)>'))
    page = request(served, "GET", "/")[2].decode()
    assert "<script>alert" not in page and "<img src=x" not in page
