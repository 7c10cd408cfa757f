"""The web application of a study: the participants' page, its answers, and the owner's pages. It runs under any ASGI server.

The server alone knows the plan. A participant's page learns one trial at a time, and its pictures are addressed by trial and
place, so that no address, size, header or order tells what a picture is.
"""

from __future__ import annotations

import json
import random
import re
import secrets
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from diptych.pages import frame
from diptych.study import tokens
from diptych.study.database import storage_errors
from diptych.study.folder import Secrets, Study
from diptych.study.guard import Guard
from diptych.study.protocol import trials_of
from diptych.study.store import Answer, Participant, Refused, Store
from diptych.study.words import LANGUAGES, WORDS, instructions

HERE = Path(__file__).parent
SESSION = "diptych-study"
SESSION_AGE = 30 * tokens.DAY
BODY_LIMIT = 16_384  # bytes of a request
ALL = "all"  # the method of somebody who compares all
LONGEST = 7 * tokens.DAY * 1000  # milliseconds that an answer may take
FILES = {"style.css": frame.HERE / "style.css"} | {name: HERE / "static" / name for name in ("study.css", "study.js", "owner.js")}


class Pages:
    """What a study answers to its participants. ``secure`` is for sessions that travel over https only."""

    def __init__(self, study: Study, store: Store, keys: Secrets, *, secure: bool) -> None:
        self.study, self.store, self.keys, self.secure = study, store, keys, secure
        self._views: Counter[tuple[str, int]] = Counter()
        self._joining = threading.Lock()

    def page(self, request: Request) -> Response:
        """The page with the instructions and the consent, which then runs the trials."""
        language = _language(request, list(self.study.consent))
        words, protocol = WORDS[language], self.study.protocol
        values = {
            "study": self.study,
            "languages": LANGUAGES,
            "language": language,
            "words": words,
            "instructions": instructions(protocol, words),
            "consent": self.study.consent[language],
            "consent_version": self.study.consent_version(language),
        }
        return HTMLResponse(frame.render("participant.html.j2", values, HERE))

    def state(self, request: Request) -> Response:
        """Which study this is, and where this browser's participant stands in it."""
        participant = self._participant(request)
        stand = self._stand(participant) if participant else {"status": "new"}
        return JSONResponse(stand | {"study": self.keys.study})

    async def join(self, request: Request) -> Response:
        """Begin a participation, or go on with the one that this browser or this invitation began."""
        body = await _json(request)
        return await run_in_threadpool(self._join, request, body)

    def _join(self, request: Request, body: dict[str, Any]) -> Response:
        language, consent, code = (body.get(name) for name in ("language", "consent", "code"))
        if language not in self.study.consent or consent != self.study.consent_version(str(language)):
            return _refusal(409, "the text to agree to has changed; reload the page")
        if participant := self._participant(request):
            return self._session(participant)
        simulated = "simulated" in body
        if simulated and tokens.verified(self.keys.key, "simulated", str(body["simulated"])) != "yes":
            return _refusal(403, "only the owner of this study may let simulated participants join")
        used = None
        if self.study.invited_only:
            used, why = tokens.check_code(self.keys.key, str(code or "")[:200])
            if why:
                return _refusal(403, "expired" if why == "expired" else "refused")
        with self._joining:  # so that two who join at once are not given the same method, or one code twice
            if used and (known := self.store.id_of_code(used)):
                return self._session(self._known(known))
            rng = random.SystemRandom()
            methods = list(self.study.methods)
            if self.study.protocol.kind != "compare":  # there everybody compares all
                methods = [rng.choice(self.store.least_used(methods, simulated=simulated))]
            plan = trials_of(self.study.protocol, self.study.cards(), methods, rng)
            id, method = secrets.token_hex(16), methods[0] if len(methods) == 1 else ALL
            again = body.get("again") is True and not used  # an invitation is for one person, whatever browser they use
            words = str(language), str(consent)
            self.store.join(id, method, plan, *words, code=used, simulated=simulated, again=again)
        return self._session(self._known(id))

    async def answer(self, request: Request) -> Response:
        """Keep an answer; the reply, which holds the next trial, is sent once the answer is on the disk."""
        body = await _json(request)
        return await run_in_threadpool(self._answer, request, body)

    def _answer(self, request: Request, body: dict[str, Any]) -> Response:
        participant = self._participant(request)
        if participant is None:
            return _refusal(401, "no participation has begun in this browser")
        if body.get("participant", participant.id) != participant.id:  # the page says whose answer it is
            return _refusal(403, "this answer is another participant's")
        answer = self._checked(participant, body)
        if isinstance(answer, str):
            return _refusal(400, answer)
        fresh = answer.trial == len(participant.answers)
        before = participant.answers[-1].received if participant.answers else participant.joined
        passed = (time.time() - before) * 1000  # negative when the clock was set back, and then it says nothing
        trial = participant.trials[answer.trial]
        if fresh and 0 <= passed < self.study.protocol.show_ms * len(trial.pictures):
            return _refusal(409, "this answer came before the pictures can have been shown")
        self.store.add(participant, answer)
        self._views.pop((participant.id, answer.trial), None)
        state = self._stand(self._known(participant.id))
        if trial.part == "practice" and trial.truth:
            sources = ["real" if self.study.pictures[id].source == "real" else "fake" for id in trial.pictures]
            state["feedback"] = {"correct": answer.answer == trial.truth, "sources": sources}
        return JSONResponse(state)

    def picture(self, request: Request) -> Response:
        """A picture of the trial that this participant is to answer, and no other."""
        participant = self._participant(request)
        number, place = (int(request.path_params[name]) for name in ("trial", "place"))
        if participant is None or participant.done or number != len(participant.answers):
            return _refusal(403, "this picture is not to be shown now")
        trial = participant.trials[number]
        pictures = [*trial.pictures, *([trial.input] if trial.input else [])]
        if place >= len(pictures):
            return _refusal(404, "there is no such picture")
        return Response(self.study.file(pictures[place]).read_bytes(), media_type="image/png")

    def _checked(self, participant: Participant, body: dict[str, Any]) -> Answer | str:
        """The answer in a request, or why it is none."""
        trial, answer, key, shown = (body.get(name) for name in ("trial", "answer", "key", "shown_ms"))
        if not isinstance(trial, int) or isinstance(trial, bool) or not 0 <= trial < len(participant.trials):
            return "trial must be the number of a trial"
        if answer not in self.study.protocol.answers:
            return f"answer must be {' or '.join(self.study.protocol.answers)}"
        if not isinstance(key, str) or not re.fullmatch(r"[0-9A-Za-z-]{8,64}", key):
            return "key must be 8 to 64 letters and digits"
        if not isinstance(shown, list) or len(shown) != len(participant.trials[trial].pictures):
            return "shown_ms must hold a number for each picture"
        frame_ms, response_ms, interrupted = (body.get(name) for name in ("frame_ms", "response_ms", "interrupted"))
        if not all(_is_duration(value) for value in (*shown, frame_ms, response_ms)) or not isinstance(interrupted, bool):
            return "times must be numbers of milliseconds of at least 0"
        views = max(1, self._views[participant.id, trial])
        return Answer(trial, answer, key, tuple(map(float, shown)), float(frame_ms), float(response_ms), interrupted, views)  # type: ignore[arg-type]

    def _participant(self, request: Request) -> Participant | None:
        id = tokens.verified(self.keys.key, "participant", request.cookies.get(SESSION, ""))
        return self.store.participant(id) if id else None

    def _known(self, id: str) -> Participant:
        participant = self.store.participant(id)
        if participant is None:
            raise Refused("this participation was erased")
        return participant

    def _stand(self, participant: Participant) -> dict[str, Any]:
        """What the page may know: the next trial without what is what."""
        if participant.done:
            return {"status": "done", "withdraw": participant.id}
        number, protocol = len(participant.answers), self.study.protocol
        trial = participant.trials[number]
        self._views[participant.id, number] += 1
        practice = number < protocol.practice
        place, of = (number, protocol.practice) if practice else (number - protocol.practice, protocol.trials + protocol.catch)
        about = {
            "number": number,
            "part": "practice" if practice else "trial",  # a catch trial is not told apart
            "place": place + 1,
            "of": of,
            "pictures": len(trial.pictures),
            "input": trial.input is not None,  # its number follows those of the pictures to judge
        }
        rules = {"kind": protocol.kind, "question": protocol.question, "show_ms": protocol.show_ms}
        return {"status": "running", "withdraw": participant.id, "trial": about, "rules": rules}

    def _session(self, participant: Participant) -> Response:
        response = JSONResponse(self._stand(participant))
        token = tokens.signed(self.keys.key, "participant", participant.id)
        response.set_cookie(SESSION, token, max_age=SESSION_AGE, httponly=True, samesite="strict", secure=self.secure)
        return response


def create_app(study: Study, store: Store, keys: Secrets, *, origins: frozenset[str]) -> Guard:
    """The application. ``origins`` are the addresses under which browsers may use it, such as ``http://127.0.0.1:8000``."""
    from diptych.study.owner import Owner

    pages = Pages(study, store, keys, secure=all(origin.startswith("https:") for origin in origins))
    owner = Owner(study, store, keys, secure=pages.secure)
    routes = [
        Route("/", pages.page),
        Route("/static/{name}", static),
        Route("/picture/{trial:int}/{place:int}", pages.picture),
        Route("/api/state", pages.state),
        Route("/api/join", pages.join, methods=["POST"]),
        Route("/api/answer", pages.answer, methods=["POST"]),
        *owner.routes,
    ]
    handlers = {Refused: _on_refused} | dict.fromkeys(storage_errors(), _on_storage)
    return Guard(Starlette(routes=routes, exception_handlers=handlers, max_body_size=BODY_LIMIT), origins)


def static(request: Request) -> Response:
    """A file of the pages."""
    name = request.path_params["name"]
    return FileResponse(FILES[name]) if name in FILES else _refusal(404, "there is no such file")


def _language(request: Request, offered: list[str]) -> str:
    """The language that the address or else the browser asks for, or the study's first."""
    wanted = [request.query_params.get("lang", ""), *request.headers.get("accept-language", "").split(",")]
    short = (word.strip()[:2].lower() for word in wanted)
    return next((word for word in short if word in offered), offered[0])


async def _json(request: Request) -> dict[str, Any]:
    """The JSON object in a request; anything else is an empty one, which every rule refuses."""
    try:
        value = json.loads(await request.body())
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST


def _refusal(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status)


def _on_refused(request: Request, error: Exception) -> Response:
    return _refusal(409, str(error))


def _on_storage(request: Request, error: Exception) -> Response:
    """The disk is full, read-only or broken: nothing was acknowledged, and the page sends the answer again."""
    return JSONResponse({"error": "the server cannot store this now"}, 503, {"Retry-After": "5"})
