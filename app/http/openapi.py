"""openapi.json: what several routes say of their answers, and what a client generator needs otherwise than FastAPI
writes it.
"""

from collections.abc import Iterator
from typing import Any, Final


def _header(description: str, **schema: object) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}}


def _of_operation(operation_id: str, description: str) -> dict[str, Any]:
    """A link from an answer that is an operation."""
    return {
        "operationId": operation_id,
        "parameters": {"operation_id": "$response.body#/id"},
        "description": description,
    }


_TENANT_LINK: Final = {
    "operationId": "get_tenant",
    "parameters": {"tenant_id": "$response.body#/tenant_id"},
    "description": "The tenant",
}

ETAG: Final = {"ETag": _header("Strong entity tag of this representation", examples=['"3q2-7wEjRWeJq83vASNFZw"'])}
# Of a route that reads the header itself.
IF_NONE_MATCH: Final[dict[str, Any]] = {
    "name": "if-none-match",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Answer 304 while it has this ETag",
}
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
    "links": {
        "get": _of_operation("get_operation", "How it goes"),
        "events": _of_operation("stream_operation_events", "How it goes, as server-sent events"),
        "cancel": _of_operation("cancel_operation", "Stop it"),
        "retry": _of_operation("retry_operation", "Do it again, once it has failed or was cancelled"),
    },
}


# One event of the stream; what `data` holds is an OperationOut.
EVENT: Final = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"enum": ["queued", "running", "progress", "succeeded", "failed", "cancelled"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["id", "event", "data"],
}


def done(model: type, description: str, *, tenant: bool = False) -> dict[str, Any]:
    """200 or 201 of work that is finished when it is answered."""
    answer: dict[str, Any] = {"model": model, "description": description, "headers": {**_WORK_HEADERS, **ETAG}}
    if tenant:
        answer["links"] = {"tenant": _TENANT_LINK}
    return answer


def merge_patch(model: str) -> dict[str, Any]:
    """A request body that may say by its type that it is a patch, or be plain JSON."""
    schema = {"$ref": f"#/components/schemas/{model}"}
    return {"requestBody": {"content": {"application/merge-patch+json": {"schema": schema}}}}


_TAG_LIST: Final = r"^(\*|(W/)?\"[!#-~]*\"(\s*,\s*(W/)?\"[!#-~]*\")*)$"
# FastAPI names headers after its arguments; clients and people know them by these names.
_HEADERS: Final = {
    "idempotency-key": "Idempotency-Key",
    "if-match": "If-Match",
    "if-none-match": "If-None-Match",
    "last-event-id": "Last-Event-ID",
    "prefer": "Prefer",
}
_HEADER_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "idempotency-key": {"minLength": 1, "maxLength": 255, "pattern": "^[!#-~]([ -~]*[!#-~])?$"},
    "if-match": {"pattern": _TAG_LIST},
    "if-none-match": {"pattern": _TAG_LIST},
    "last-event-id": {"pattern": "^[0-9]{1,9}$"},
    "prefer": {"examples": ["wait=10"]},
}
_PATHS: Final = {
    "tenant_id": "acme_corp",
    "name": "ai_insights",
    "key": "ai_insights",
    "capability": "auth_rbac",
    "key_id": "3f9c2e7a41b0d865",
    "webhook_id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e11",
    "operation_id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e11",
    "plan_id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e13",
}


_API_KEY: Final = {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key"}


def tidied(document: dict[str, Any]) -> dict[str, Any]:
    """Our own 422 is a problem, not FastAPI's; what may be left out of a request is not therefore null."""
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    schemes = document["components"].get("securitySchemes", {})
    if "HTTPBearer" in schemes:
        document["components"]["securitySchemes"] = {"HTTPBearer": schemes["HTTPBearer"], "APIKeyHeader": _API_KEY}
    for operation in _operations(document):
        if "security" in operation:  # either of the two
            operation["security"] = [{"HTTPBearer": []}, {"APIKeyHeader": []}]
        for parameter in operation.get("parameters", ()):
            _tidy(parameter)
    return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _tidy(parameter: dict[str, Any]) -> None:
    name, schema = parameter["name"], parameter["schema"]
    if not parameter.get("required", False):
        given = [choice for choice in schema.pop("anyOf", ()) if choice != {"type": "null"}]
        schema |= given[0] if len(given) == 1 else {}
    schema.pop("title", None)
    schema.pop("description", None)
    if parameter["in"] == "header":
        # Repeated, a header is one list with commas: a string to whoever sends it.
        schema |= {"type": "string"}
        schema.pop("items", None)
        parameter["name"] = _HEADERS[name]
        schema |= _HEADER_SCHEMAS.get(name, {})
    if parameter["in"] == "path":
        parameter["example"] = _PATHS[name]
