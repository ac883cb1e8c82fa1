"""What uvicorn's HTTP protocol leaves open: how large a request's head may grow, and how long one may send it.

httptools keeps every byte of a header until it ends, and uvicorn waits for ever for what has not begun or does not end.
"""

import asyncio
import json
from typing import Final, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Of what is no body: request line, headers, trailers, chunk sizes. Where it all comes at once, RequestContext counts.
MAX_UNHEARD: Final = 64 * 1024
_PHRASES: Final = {400: "Bad Request", 408: "Request Timeout", 431: "Request Header Fields Too Large"}


class _Handle(Protocol):
    def cancel(self) -> None: ...


class BoundedHttp(HttpToolsProtocol):
    """Its answers have no request id: there is no request yet."""

    head_seconds = 10.0
    _unheard = 0
    _deadline: _Handle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._unheard += len(data)
        super().data_received(data)
        if self._unheard > MAX_UNHEARD:
            self._refuse(431, "header_too_large", "A request's head has at most 32 KiB.")

    def on_message_begin(self) -> None:
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._unheard = 0
        self._head_arrived()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unheard = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unheard = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad_request", msg)

    def _await_head(self) -> None:
        self._head_arrived()
        self._deadline = self.loop.call_later(self.head_seconds, self._too_slow)

    def _head_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if self._unheard:
            self._refuse(408, "head_timeout", "Send the request sooner.")
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Where an answer is being sent, only the connection's end can tell."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            phrase = _PHRASES[status]
            body = json.dumps(
                {"type": "about:blank", "title": phrase, "status": status, "detail": detail, "code": code}
            ).encode()
            head = (
                f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/problem+json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()


def bounded(head_seconds: float) -> type[BoundedHttp]:
    """Uvicorn makes one for each connection, from nothing but its configuration."""
    return type("BoundedHttp", (BoundedHttp,), {"head_seconds": head_seconds})
