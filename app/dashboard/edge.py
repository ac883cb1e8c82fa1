"""What every answer of the page has, and how a failure looks to people: the API's problem, as a page.

Outermost of all, so that no answer of a middleware gets past it.
"""

import json
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.dashboard import access
from app.dashboard.templates import environment
from app.http.problem import MEDIA_TYPE

# Nothing inline, nothing from elsewhere, in nobody's frame.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Of an access token that has expired: whoever is still signed in at the issuer comes back with another.
ISSUED: Final = ("bf_issued", "__Host-bf_issued")
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


def is_page(path: str) -> bool:
    return path == "/" or path == "/ui" or path.startswith("/ui/")


class PageEdge:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_page(scope["path"]):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Dressing(scope, send).send)


class _Dressing:
    """Gives an answer its headers; holds a problem back until it is whole, where a person is to read it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._headers = Headers(scope=scope)
        self._begun: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS)
            headers.setdefault("Cache-Control", "no-store")
            if headers.get("Content-Type") == MEDIA_TYPE and "text/html" in self._headers.get("Accept", ""):
                self._begun = message
                return
        elif self._begun is not None and message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._answer(self._begun)
            return
        await self._send(message)

    async def _answer(self, begun: Message) -> None:
        elsewhere = self._sign_in() if begun["status"] == 401 else None
        headers = MutableHeaders(scope=begun)
        body = b""
        if elsewhere is None:
            body = self._page(begun["status"])
            headers["Content-Type"] = "text/html; charset=utf-8"
        elif "HX-Request" in self._headers:
            headers["HX-Redirect"] = elsewhere
        else:
            begun["status"] = 303
            headers["Location"] = elsewhere
        headers["Content-Length"] = str(len(body))
        if self._scope["method"] == "HEAD":
            body = b""
        await self._send(begun)
        await self._send({"type": "http.response.body", "body": body})

    def _sign_in(self) -> str | None:
        """Where a stranger is sent; None from where they sign in, which says what is wrong itself."""
        if self._scope["path"] in {"/", "/ui/login", "/ui/login/callback"}:
            return None
        wanted = access.local(self._wanted())
        place = "/ui/login/issuer" if any(f"{name}=" in self._headers.get("Cookie", "") for name in ISSUED) else "/"
        return place if wanted is None else f"{place}?next={quote(wanted, safe='/')}"

    def _wanted(self) -> str:
        """What was asked for; of what htmx asks, or of a form, the page that it stands on."""
        if "HX-Request" in self._headers or self._scope["method"] not in {"GET", "HEAD"}:
            parts = urlsplit(self._headers.get("HX-Current-URL") or self._headers.get("Referer", ""))
            return f"{parts.path}?{parts.query}" if parts.query else parts.path
        query = self._scope["query_string"].decode("latin-1")
        return f"{self._scope['path']}?{query}" if query else self._scope["path"]

    def _page(self, status: int) -> bytes:
        try:
            problem: dict[str, Any] = json.loads(self._body)
        except ValueError:  # of HEAD there is none
            problem = {}
        known = {"title": HTTPStatus(status).phrase, "detail": "", "code": "", "request_id": "", "errors": []}
        return environment().get_template("problem.html").render(**{**known, **problem, "status": status}).encode()
