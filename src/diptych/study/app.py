"""The web application of a study: the participants' page, its answers, and the owner's pages. It runs under any ASGI server.

The server alone knows the plan. A participant's page learns one trial at a time, and its pictures are addressed by trial and
place, so that no address, size, header or order tells what a picture is.

What participants ask for runs in the event loop, which reads a row or a file in less time than a thread is woken up; only the
thread that commits waits for the disk. The owner's pages compute for longer and run in threads.
"""

from __future__ import annotations

import json
import random
import re
import secrets
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from diptych.pages import frame
from diptych.study import tokens
from diptych.study.database import Run, storage_errors
from diptych.study.folder import Secrets, Study
from diptych.study.group_commit import GroupCommit, Refused
from diptych.study.guard import Guard
from diptych.study.protocol import trials_of
from diptych.study.statements import Answer, Standing, append, id_of_code, insert, least_used
from diptych.study.store import Store
from diptych.study.words import LANGUAGES, WORDS, default_title, instructions

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
        self.commits = GroupCommit(store.database)
        self._views: Counter[tuple[str, int]] = Counter()

    async def page(self, request: Request) -> Response:
        """The page with the instructions and the consent, which then runs the trials."""
        language = _language(request, list(self.study.consent))
        words, protocol = WORDS[language], self.study.protocol
        values = {
            "study": self.study,
            "title": default_title(protocol, language) if self.study.title == default_title(protocol) else self.study.title,
            "languages": LANGUAGES,
            "language": language,
            "words": words,
            "instructions": instructions(protocol, words),
            "consent": self.study.consent[language],
            "consent_version": self.study.consent_version(language),
        }
        return HTMLResponse(frame.render("participant.html.j2", values, HERE))

    async def state(self, request: Request) -> Response:
        """Which study this is, and where this browser's participant stands in it."""
        standing = self._standing(request)
        stand = self._stand(standing) if standing else {"status": "new"}
        return JSONResponse(stand | {"study": self.keys.study})

    async def join(self, request: Request) -> Response:
        """Begin a participation, or go on with the one that this browser or this invitation began."""
        body = await _json(request)
        language, consent, code = (body.get(name) for name in ("language", "consent", "code"))
        if language not in self.study.consent or consent != self.study.consent_version(str(language)):
            return _refusal(409, "the text to agree to has changed; reload the page")
        if standing := self._standing(request):
            return self._session(standing)
        simulated = "simulated" in body
        if simulated and tokens.verified(self.keys.key, "simulated", str(body["simulated"])) != "yes":
            return _refusal(403, "only the owner of this study may let simulated participants join")
        used = None
        if self.study.invited_only:
            used, why = tokens.check_code(self.keys.key, str(code or "")[:200])
            if why:
                return _refusal(403, "expired" if why == "expired" else "refused")
        again = body.get("again") is True and not used  # an invitation is for one person, whatever browser they use
        joining = partial(self._join, words=(str(language), str(consent)), code=used, simulated=simulated, again=again)
        return self._session(self._known(await self.commits.run(joining)))

    def _join(self, run: Run, *, words: tuple[str, str], code: str | None, simulated: bool, again: bool) -> str:
        """Assign a method and a plan, so that two who join at once are not given the same one; returns the participant's id."""
        if code and (known := id_of_code(run, code)):
            return known
        rng, methods = random.SystemRandom(), list(self.study.methods)
        if self.study.protocol.kind != "compare":  # there everybody compares all
            methods = [rng.choice(least_used(run, methods, simulated=simulated))]
        trials = trials_of(self.study.protocol, self.study.cards(), methods, rng)
        id, method = secrets.token_hex(16), methods[0] if len(methods) == 1 else ALL
        insert(run, id, method, trials, *words, code=code, simulated=simulated, again=again)
        return id

    async def answer(self, request: Request) -> Response:
        """Keep an answer; the reply, which holds the next trial, is sent once the answer is on the disk."""
        body, standing = await _json(request), self._standing(request)
        if standing is None:
            return _refusal(401, "no participation has begun in this browser")
        if body.get("participant", standing.id) != standing.id:  # the page says whose answer it is
            return _refusal(403, "this answer is another participant's")
        answer = self._checked(standing, body)
        if isinstance(answer, str):
            return _refusal(400, answer)
        passed = (time.time() - standing.last) * 1000  # negative when the clock was set back, and then it says nothing
        trial = standing.trials[answer.trial]
        if answer.trial == standing.given and 0 <= passed < self.study.protocol.show_ms * len(trial.pictures):
            return _refusal(409, "this answer came before the pictures can have been shown")
        await self.commits.run(partial(append, participant=standing.number, answer=answer))
        self._views.pop((standing.id, answer.trial), None)
        state = self._stand(self._known(standing.id))
        if trial.part == "practice" and trial.truth:
            sources = ["real" if self.study.pictures[id].source == "real" else "fake" for id in trial.pictures]
            state["feedback"] = {"correct": answer.answer == trial.truth, "sources": sources}
        return JSONResponse(state)

    async def picture(self, request: Request) -> Response:
        """A picture of the trial that this participant is to answer, and no other."""
        standing = self._standing(request)
        number, place = (int(request.path_params[name]) for name in ("trial", "place"))
        if standing is None or standing.done or number != standing.given:
            return _refusal(403, "this picture is not to be shown now")
        trial = standing.trials[number]
        pictures = [*trial.pictures, *([trial.input] if trial.input else [])]
        if place >= len(pictures):
            return _refusal(404, "there is no such picture")
        return Response(self.study.file(pictures[place]).read_bytes(), media_type="image/png")

    def _checked(self, standing: Standing, body: dict[str, Any]) -> Answer | str:
        """The answer in a request, or why it is none."""
        trial, answer, key, shown = (body.get(name) for name in ("trial", "answer", "key", "shown_ms"))
        if not isinstance(trial, int) or isinstance(trial, bool) or not 0 <= trial < len(standing.trials):
            return "trial must be the number of a trial"
        if answer not in self.study.protocol.answers:
            return f"answer must be {' or '.join(self.study.protocol.answers)}"
        if not isinstance(key, str) or not re.fullmatch(r"[0-9A-Za-z-]{8,64}", key):
            return "key must be 8 to 64 letters and digits"
        if not isinstance(shown, list) or len(shown) != len(standing.trials[trial].pictures):
            return "shown_ms must hold a number for each picture"
        frame_ms, response_ms, interrupted = (body.get(name) for name in ("frame_ms", "response_ms", "interrupted"))
        if not all(_is_duration(value) for value in (*shown, frame_ms, response_ms)) or not isinstance(interrupted, bool):
            return "times must be numbers of milliseconds of at least 0"
        views = max(1, self._views[standing.id, trial])
        return Answer(trial, answer, key, tuple(map(float, shown)), float(frame_ms), float(response_ms), interrupted, views)  # type: ignore[arg-type]

    def _standing(self, request: Request) -> Standing | None:
        id = tokens.verified(self.keys.key, "participant", request.cookies.get(SESSION, ""))
        return self.store.standing(id) if id else None

    def _known(self, id: str) -> Standing:
        standing = self.store.standing(id)
        if standing is None:
            raise Refused("this participation was erased")
        return standing

    def _stand(self, standing: Standing) -> dict[str, Any]:
        """What the page may know: the next trial without what is what."""
        if standing.done:
            return {"status": "done", "withdraw": standing.id}
        number, protocol = standing.given, self.study.protocol
        trial = standing.trials[number]
        self._views[standing.id, number] += 1
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
        return {"status": "running", "withdraw": standing.id, "trial": about, "rules": rules}

    def _session(self, standing: Standing) -> Response:
        response = JSONResponse(self._stand(standing))
        token = tokens.signed(self.keys.key, "participant", standing.id)
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
