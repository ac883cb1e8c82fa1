"""What several routes say of their answers in openapi.json."""

from typing import Any, Final


def _header(description: str, **schema: object) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}}


_OPERATION_LINK: Final = {
    "operationId": "get_operation",
    "parameters": {"operation_id": "$response.body#/id"},
    "description": "How it goes",
}
_EVENTS_LINK: Final = {
    "operationId": "stream_operation_events",
    "parameters": {"operation_id": "$response.body#/id"},
    "description": "How it goes, as server-sent events",
}
_CANCEL_LINK: Final = {
    "operationId": "cancel_operation",
    "parameters": {"operation_id": "$response.body#/id"},
    "description": "Stop it",
}
_TENANT_LINK: Final = {
    "operationId": "get_tenant",
    "parameters": {"tenant_id": "$response.body#/tenant_id"},
    "description": "The tenant",
}

ETAG: Final = {"ETag": _header("Strong entity tag of this representation", examples=['"3q2-7wEjRWeJq83vASNFZw"'])}
NOT_MODIFIED: Final = {"description": "It is as the client has it", "headers": ETAG}

_WORK_HEADERS: Final = {
    "Location": _header("Path of the resource"),
    "Operation-Location": _header("Path of the operation"),
    "Preference-Applied": _header("`wait=N` where the client preferred to wait"),
    "Idempotent-Replayed": _header("`true` where this is the stored answer to the first request with this key"),
}
# 202 of every call that starts long work.
ACCEPTED: Final = {
    "description": "Accepted: the operation as it stands",
    "headers": {**_WORK_HEADERS, "Retry-After": _header("Seconds until it makes sense to ask", type="integer")},
    "links": {"get": _OPERATION_LINK, "events": _EVENTS_LINK, "cancel": _CANCEL_LINK},
}


def done(model: type, description: str, *, tenant: bool = False) -> dict[str, Any]:
    """200 or 201 of work that is finished when it is answered."""
    answer: dict[str, Any] = {"model": model, "description": description, "headers": {**_WORK_HEADERS, **ETAG}}
    if tenant:
        answer["links"] = {"tenant": _TENANT_LINK}
    return answer
