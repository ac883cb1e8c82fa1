"""What every request has: an id, a place in the log, and an answer whatever happens."""

import asyncio
import re
import time
from collections.abc import Callable
from itertools import chain
from secrets import token_hex
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from app.db import patience
from app.errors import HeaderTooLarge
from app.http import head
from app.http.prefer import preferred_wait
from app.http.problem import answer_to, body_too_large, internal_error, out_of_time
from app.log import lines_about, logger, trace_id

_log = logger("app.http")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
# W3C Trace Context: version ff, and ids of zeros alone, are invalid; a later version may say more at the end.
_IDS: Final = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT: Final = re.compile(rb"00" + _IDS + rb"|(?!00|ff)[0-9a-f]{2}" + _IDS + rb"(?:-.{0,200})?")
# Probes and scrapes come every few seconds: at INFO they would be most of the log.
QUIET_PATHS: Final = frozenset({"/livez", "/readyz", "/health", "/metrics"})
_MOST_HEADERS: Final = 100
_MAX_HEAD: Final = 32 * 1024
# Seconds in which a client that sends too much may go on, and then read why it should not.
_LINGER: Final = 5.0


class Watch(Protocol):
    """Is told of every request, and raises nothing. `status` is 0 where no answer began."""

    def begun(self) -> None: ...

    def ended(self, scope: Scope, method: str, status: int, seconds: float) -> None: ...


class RequestContext:
    """Outermost of our own: nothing that a request raises gets past it.

    `deadline` is the seconds that a request has, beyond its own `Prefer: wait`, until its answer begins. `current` is
    the traceparent of the span that this request is, where there is one: what follows is part of that.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_size: int,
        deadline: float,
        watch: Watch,
        current: Callable[[], str | None] | None = None,
    ) -> None:
        self._app = app
        self._max_body_size = max_body_size
        self._deadline = deadline
        self._watch = watch
        self._current = current
        self._log: Final = _log.bind()  # once: it is asked for with every request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD" and head.has_head(scope["path"]):
            scope, send = head.as_get(scope), head.without_body(send)
        raw = dict(scope["headers"])
        given = raw.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else token_hex(16)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["traceparent"] = self._traceparent(raw)
        bound = {"request_id": request_id}
        if state["traceparent"] is not None:
            bound["trace_id"] = str(trace_id(state["traceparent"]))
        exchange = _Exchange(scope, receive, send, method=method, watch=self._watch, log=self._log)
        seconds = self._deadline + (_preferred(scope) if b"prefer" in raw else 0)
        declared = raw.get(b"content-length", b"")
        # FastAPI counts what comes in; of a length that is declared, its answer is no problem+json.
        too_large = declared.isdigit() and int(declared) > self._max_body_size
        app = body_too_large(Request(scope)) if too_large else self._app
        if _too_much_head(scope):
            app = answer_to(Request(scope), HeaderTooLarge("A request has at most 100 headers, and 32 KiB of them."))
        with lines_about(**bound), patience.one_request():
            await exchange.run(app, seconds=seconds)

    def _traceparent(self, raw: dict[bytes, bytes]) -> str | None:
        if self._current is not None and (current := self._current()) is not None:
            return current
        given = raw.get(b"traceparent", b"")
        return given.decode() if _TRACEPARENT.fullmatch(given) else None


def _preferred(scope: Scope) -> int:
    return preferred_wait([value.decode("latin-1") for name, value in scope["headers"] if name == b"prefer"]) or 0


def _too_much_head(scope: Scope) -> bool:
    """The whole of it, the path too."""
    fields = scope["headers"]
    size = sum(map(len, chain.from_iterable(fields))) + len(scope.get("raw_path") or b"")
    return len(fields) > _MOST_HEADERS or size + len(scope["query_string"]) > _MAX_HEAD


class _Exchange:
    """One request and its answer; `status` is 0 until that has begun, `method` is the client's."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, *, method: str, watch: Watch, log: FilteringBoundLogger
    ) -> None:
        self._scope = scope
        self._method = method
        self._watch = watch
        self._log = log
        self._receive = receive
        self._send = send
        self._reading = False
        self._unread = True
        self._deadline: asyncio.Timeout | None = None
        self.status = 0

    async def run(self, app: ASGIApp, *, seconds: float) -> None:
        begun = time.perf_counter()
        self._watch.begun()
        try:
            await self._within(app, seconds)
        except Exception:  # noqa: BLE001 -- logged whole, answered without detail
            _log.exception("request_crashed", method=self._method, path=self._scope["path"])
            await self._instead(internal_error(Request(self._scope)))
        finally:
            took = time.perf_counter() - begun
            self._watch.ended(self._scope, self._method, self.status, took)
            self._note(took)

    async def _within(self, app: ASGIApp, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds) as deadline:
                self._deadline = deadline
                await app(self._scope, self.receive, self.send)
        except TimeoutError:
            if not deadline.expired():
                raise
            _log.warning("request_out_of_time", path=self._scope["path"], seconds=seconds, reading=self._reading)
            await self._instead(out_of_time(Request(self._scope), reading=self._reading))
        finally:
            self._deadline = None

    async def _instead(self, response: Response) -> None:
        """Of an answer that has begun, only the connection's end can tell."""
        if self.status == 0:
            self._deadline = None
            await response(self._scope, self._receive, self.send)

    async def receive(self) -> Message:
        self._reading = True
        message = await self._receive()
        self._reading = False
        self._unread = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._deadline is not None:  # a stream may take as long as there is something to tell
                self._deadline.reschedule(None)
            message["headers"] = [
                *message["headers"],
                (b"x-request-id", self._scope["state"]["request_id"].encode()),
                (b"x-content-type-options", b"nosniff"),
            ]
        elif self.status == 413 and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._discard()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _discard(self) -> None:
        """A connection that is closed before its data was read is reset, and the client may never see the answer."""
        try:
            async with asyncio.timeout(_LINGER):
                while self._unread:
                    await self.receive()
        except TimeoutError:
            pass  # who still sends is cut off

    def _note(self, seconds: float) -> None:
        log = self._log.debug if self._scope["path"] in QUIET_PATHS else self._log.info
        log(
            "request",
            method=self._method,
            path=self._scope["path"],
            status=self.status,
            duration_ms=round(seconds * 1000, 1),
        )
