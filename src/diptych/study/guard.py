"""The outer wall of the web application: hosts, cross-site requests, and the headers that every answer carries."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store, no-transform",
}
DROPPED = ("etag", "last-modified")  # of pictures they would be the same for everybody who sees one


class Guard:
    """An ASGI application around another. ``origins`` are the addresses under which browsers may use it."""

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        self.app, self.origins = app, origins
        self.hosts = {urlsplit(origin).netloc for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what comes from elsewhere, pass on the rest."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name in DROPPED:
                    if name in headers:
                        del headers[name]
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        why = self._refuses(scope["method"], Headers(scope=scope))
        if why:
            await JSONResponse({"error": why}, 403)(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)

    def _refuses(self, method: str, headers: Headers) -> str:
        """Why a request is refused, or nothing."""
        if headers.get("host") not in self.hosts:
            return "this study is not served under this name"
        if method in ("GET", "HEAD"):
            return ""
        if headers.get("origin") not in self.origins or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return "this request comes from another page"
        if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return "this request is not JSON"
        return ""
