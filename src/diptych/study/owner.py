"""The owner's pages: results and downloads. Each asks for the owner's token, by header or by a session that the token began."""

from __future__ import annotations

import hmac
import time
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from diptych.errors import DataError
from diptych.pages.frame import render
from diptych.study import tokens
from diptych.study.export import answers_csv
from diptych.study.folder import Secrets, Study, hash_of
from diptych.study.page import page
from diptych.study.results import results_of
from diptych.study.store import Store

HERE = Path(__file__).parent
SESSION = "diptych-owner"
SESSION_AGE = 12 * 3600
RESULTS_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Owner:
    """What a study answers to its owner. ``secure`` is for sessions that travel over https only."""

    def __init__(self, study: Study, store: Store, keys: Secrets, *, secure: bool) -> None:
        self.study, self.store, self.keys, self.secure = study, store, keys, secure
        self.routes = [
            Route("/owner", self.page),
            Route("/owner/login", self.login, methods=["POST"]),
            Route("/owner/answers.csv", self.csv),
            Route("/owner/results.json", self.json),
        ]

    def page(self, request: Request) -> Response:
        """The results, or the page that asks for the token."""
        if (status := self._refuses(request)) is not None:
            return HTMLResponse(render("owner.html.j2", {"title": self.study.title, "waiting": None}, HERE), status)
        people = self.store.participants()
        only_simulated = bool(people) and all(person.simulated for person in people)
        try:
            results = results_of(self.study, people, simulated=only_simulated)
        except DataError as error:
            waiting = f"{len(people)} began, {sum(person.done for person in people)} finished: {self._why(error)}"
            return HTMLResponse(render("owner.html.j2", {"title": self.study.title, "waiting": waiting}, HERE))
        return HTMLResponse(page(self.study, results, links=True), headers={"Content-Security-Policy": RESULTS_POLICY})

    async def login(self, request: Request) -> Response:
        """Begin a session of the owner."""
        from diptych.study.app import _json

        body: dict[str, Any] = await _json(request)
        return await run_in_threadpool(self._login, str(body.get("token", "")))

    def _login(self, token: str) -> Response:
        if not self._is_token(token):
            return JSONResponse({"error": "this is not the owner's token"}, 403)
        response = JSONResponse({"status": "ok"})
        session = tokens.signed(self.keys.key, self._purpose, str(int(time.time()) + SESSION_AGE))
        response.set_cookie(
            SESSION, session, max_age=SESSION_AGE, path="/owner", httponly=True, samesite="strict", secure=self.secure
        )
        return response

    def csv(self, request: Request) -> Response:
        """Every answer, as a file."""
        if (status := self._refuses(request)) is not None:
            return JSONResponse({"error": "the owner's token is needed"}, status)
        text = answers_csv(self.study, self.store.participants())
        return Response(text, media_type="text/csv", headers={"Content-Disposition": 'attachment; filename="answers.csv"'})

    def json(self, request: Request) -> Response:
        """The results."""
        if (status := self._refuses(request)) is not None:
            return JSONResponse({"error": "the owner's token is needed"}, status)
        try:
            return JSONResponse(results_of(self.study, self.store.participants()).to_json())
        except DataError as error:
            return JSONResponse({"error": self._why(error)}, 409)

    def _why(self, error: DataError) -> str:
        return str(error).removeprefix(f"{self.study.folder}: ")  # without the path, which is the server's own

    @property
    def _purpose(self) -> str:
        return f"owner {self.keys.owner}"  # so that a new token ends the sessions of the former one

    def _is_token(self, token: str) -> bool:
        return hmac.compare_digest(hash_of(token), self.keys.owner)

    def _refuses(self, request: Request) -> int | None:
        """None for the owner, else the status to answer: 401 for nobody, 403 for somebody else."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if token:
            return None if scheme.lower() == "bearer" and self._is_token(token) else 403
        session = request.cookies.get(SESSION)
        if session is None:
            return 401
        expires = tokens.verified(self.keys.key, self._purpose, session)
        return None if expires and int(expires) > time.time() else 403
