"""HEAD wherever GET is: routed and answered as GET, and sent without the body."""

import re
from typing import Final

from starlette.types import Message, Scope, Send

# A stream has no end to wait for, and nothing in its head that a client would ask for.
_STREAM: Final = re.compile(r"/v1/operations/[^/]+/events")


def has_head(path: str) -> bool:
    """Of a path that has GET."""
    return _STREAM.fullmatch(path) is None


def as_get(scope: Scope) -> Scope:
    """For the application; the server goes by its own."""
    return {**scope, "method": "GET"}


def without_body(send: Send) -> Send:
    async def sending(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return sending
