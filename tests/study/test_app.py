"""What the server of a study accepts, refuses and gives away, through HTTP."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest

from diptych.study import tokens
from diptych.study.protocol import Protocol
from diptych.study.simulate import Browser, simulate, take_part
from diptych.study.words import WORDS, default_consent, instructions
from tests.study.conftest import answer_to, request


def test_a_whole_participation_is_stored_as_planned(make, serve, database):
    served = serve(*make(database=database))
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
    assert browser.call("/api/state") == (
        200,
        {"status": "done", "withdraw": person.id, "study": served.keys.study},
    )
    assert browser.call("/api/join", {"language": "en", "consent": served.study.consent_version("en")})[1]["status"] == "done"


def test_beginning_a_trial_again_is_noted(served):
    browser, state = served.joined()
    browser.call("/api/state")
    browser.call("/api/state")
    state = browser.call("/api/answer", answer_to(state))[1]
    browser.call("/api/answer", answer_to(state))
    assert [a.views for a in served.store.participant(state["withdraw"]).answers] == [3, 1]


def test_a_code_has_one_spelling():
    code = tokens.new_code(b"key", 1)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    good = [last for last in letters if not tokens.check_code(b"key", code[:-1] + last)[1]]
    assert good == [code[-1]]  # the last letter has a bit to spare: another one would be a second use of the code


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


def test_on_a_full_or_read_only_disk_answers_are_503_and_come_later(trouble, make, serve):
    served = serve(*make(Protocol(practice=0, trials=60, show_ms=1), folder=trouble.folder / "study"))
    (browser, state), acknowledged = served.joined(), []
    cookie = f"diptych-study={browser.session}"

    def vote(number: int) -> tuple[int, dict[str, str], bytes]:
        sent = answer_to(state, trial=number, key=f"key-{number:04}")
        replied = request(served, "POST", "/api/answer", sent, Cookie=cookie)
        if replied[0] == 200:
            acknowledged.append((number, f"key-{number:04}"))
        return replied

    assert [vote(number)[0] for number in range(3)] == [200] * 3
    trouble.begin()
    while (refused := vote(len(acknowledged)))[0] == 200:  # what the file of SQLite still had room for
        assert len(acknowledged) < 50
    for status, headers, text in (refused, vote(len(acknowledged))):
        assert status == 503 and headers["retry-after"] == "5" and b"sqlite" not in text.lower()
    join = {"language": "en", "consent": served.study.consent_version("en")}
    assert request(served, "POST", "/api/join", join)[0] == 503
    given = len(acknowledged)
    assert browser.call("/api/state")[1]["trial"]["number"] == given and browser.call(f"/picture/{given}/0")[0] == 200
    trouble.end()
    assert [vote(number)[0] for number in range(given, 60)] == [200] * (60 - given)
    (person,) = served.store.participants()
    assert [(a.trial, a.key) for a in person.answers] == acknowledged and len(acknowledged) == 60
    assert served.store.database._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


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


@pytest.mark.parametrize(("asked", "language"), [("ko-KR,ko;q=0.9", "ko"), ("fr, de;q=0.5", "de"), ("fr", "en"), ("", "en")])
def test_the_page_speaks_the_browsers_language(served, asked, language):
    page = request(served, "GET", "/", Accept_Language=asked)[2].decode()
    assert f'<html lang="{language}">' in page and WORDS[language]["agree"] in page
    assert '<html lang="de">' in request(served, "GET", "/?lang=de", Accept_Language=asked)[2].decode()


def test_every_language_has_all_words_and_their_places():
    places = {key: set(re.findall(r"{\w+}", text)) for key, text in WORDS["en"].items()}
    assert places["pairs"] == {"{time}"} and places["trial_of"] == {"{n}", "{total}"}
    for language, words in WORDS.items():
        assert words.keys() == WORDS["en"].keys()
        for key, text in words.items():
            assert text and set(re.findall(r"{\w+}", text)) == places[key], (language, key)


def test_participants_are_told_what_their_study_is():
    pairs, compare = Protocol(), Protocol("compare", practice=0, show_ms=1500)
    told = " ".join(instructions(pairs, WORDS["en"]))
    assert "for 1 second. " in told and "practice: 10. In these you are told" in told and "that count: 40." in told
    told = " ".join(instructions(compare, WORDS["de"]))
    assert "1,5 Sekunden lang" in told and "Übung" not in told and "Eines ist echt" not in told
    assert "computer was given" in " ".join(instructions(Protocol(same_input=True, inputs=True), WORDS["en"]))
    assert "real ones" in default_consent(pairs, "en") and "real ones" not in default_consent(compare, "en")
    assert default_consent(pairs, "en").endswith("with which the researchers can delete your answers.")


def test_a_heading_is_in_the_language_of_the_page_unless_the_study_has_its_own(make, serve, tmp_path):
    page = request(serve(*make()), "GET", "/?lang=de")[2].decode()
    assert "<h1>Echt oder gefälscht?</h1>" in page and "<title>Echt oder gefälscht?</title>" in page
    page = request(serve(*make(title="Maps", folder=tmp_path / "own")), "GET", "/?lang=de")[2].decode()
    assert "<h1>Maps</h1>" in page


def test_names_of_pictures_and_titles_run_no_script(make, serve):
    served = serve(*make(title='</script><script>alert(1)</script>"><img src=x onerror=alert(1)>'))
    page = request(served, "GET", "/")[2].decode()
    assert "<script>alert" not in page and "<img src=x" not in page


@pytest.mark.parametrize(
    ("kind", "said", "caption"),
    [
        ("pairs", "Above them you see the picture that the computer was given.", "What the computer is given"),
        ("single", "Above it you see the picture that the computer would be given.", "What the computer is given"),
        ("compare", "Above them you see the picture that they were made from.", "Made from this"),
    ],
)
def test_no_real_picture_is_said_to_be_made_from_the_input(make, serve, folders, kind, said, caption):
    rules = Protocol(kind, practice=0, trials=2, show_ms=1, same_input=kind == "pairs", inputs=True)
    served = serve(*make(rules, inputs=folders["real"]))
    page = request(served, "GET", "/", Accept_Language="en")[2].decode()
    assert said in page and f"<figcaption>{caption}</figcaption>" in page
