"""A body that says it is something else than what a route reads is refused, not tried."""

from typing import Final

from fastapi import Request

from app.errors import UnsupportedMediaType

_JSON: Final = "application/json"
_READ: Final = {
    "POST": (_JSON,),
    "PUT": (_JSON,),
    "PATCH": (_JSON, "application/merge-patch+json"),
}


async def refuse_other_media(request: Request) -> None:
    """Raises UnsupportedMediaType, naming what to send. A body of nothing has no type."""
    accepted = _READ.get(request.method)
    if accepted is None or not await request.body():
        return
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in accepted:
        raise UnsupportedMediaType(f"Send the body as {' or '.join(accepted)}, and say so in Content-Type.")
