"""What every request has: an id, a place in the log, and an answer whatever happens."""

import re
import time
from typing import Final
from uuid import uuid4

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.problem import body_too_large, internal_error
from app.log import logger

_log = logger("app.http")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
# Probes come every few seconds: at INFO they would be most of the log.
_QUIET_PATHS: Final = frozenset({"/livez", "/readyz"})


class RequestContext:
    """Outermost of our own: nothing that a request raises gets past it."""

    def __init__(self, app: ASGIApp, *, max_body_size: int) -> None:
        self._app = app
        self._max_body_size = max_body_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else str(uuid4())
        trace = headers.get(b"traceparent", b"")
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["traceparent"] = trace.decode() if _TRACEPARENT.fullmatch(trace) else None
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", scope["state"]["request_id"].encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        try:
            declared = Headers(scope=scope).get("content-length", "")
            if declared.isdigit() and int(declared) > self._max_body_size:
                # FastAPI counts what comes in; of a length that is declared, its answer is no problem+json.
                await body_too_large(Request(scope))(scope, receive, send_with_id)
            else:
                await self._app(scope, receive, send_with_id)
        except Exception:  # noqa: BLE001 -- logged whole, answered without detail
            _log.exception("request_crashed", method=scope["method"], path=scope["path"])
            # Of an answer that has begun, only the connection's end can tell.
            if status == 0:
                await internal_error(Request(scope))(scope, receive, send_with_id)
        finally:
            log = _log.debug if scope["path"] in _QUIET_PATHS else _log.info
            log(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                duration_ms=round((time.perf_counter() - begun) * 1000, 1),
            )
