"""Refused requests, as they are handed to the audit trail, which this layer does not know."""

import re
from dataclasses import dataclass
from typing import Final, Protocol

from fastapi import Request

from app.errors import AppError
from app.http.ids import request_id_of

# Who was not known, or did not say.
ANONYMOUS: Final = "anonymous"
_TENANT_ID: Final = re.compile(r"[a-z][a-z0-9_]{1,35}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """`route` is the path as it is declared: what a caller puts into one is not ours to keep, but for a tenant's id."""

    actor: str
    role: str | None
    source_address: str | None
    request_id: str
    method: str
    route: str
    tenant_id: str | None
    status: int
    code: str


class DenialSink(Protocol):
    def note(self, denial: Denial) -> None:
        """Takes no time: it is recorded later."""


def note(request: Request, error: AppError, status: int) -> None:
    services = getattr(request.app.state, "services", None)
    if services is None:
        return
    actor = getattr(request.state, "actor", None)
    tenant_id = request.path_params.get("tenant_id", "")
    sink: DenialSink = services.denials
    sink.note(
        Denial(
            actor=ANONYMOUS if actor is None else actor.id,
            role=None if actor is None else actor.role,
            source_address=request.client.host if request.client else None,
            request_id=request_id_of(request),
            method=request.method,
            route=getattr(request.scope.get("route"), "path", ""),
            tenant_id=tenant_id if _TENANT_ID.fullmatch(tenant_id) else None,
            status=status,
            code=error.code,
        )
    )
