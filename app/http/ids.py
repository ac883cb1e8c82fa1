"""The ids that a request carries in its scope, put there by RequestContext."""

from starlette.requests import Request


def request_id_of(request: Request) -> str:
    request_id: str = request.scope["state"]["request_id"]
    return request_id


def traceparent_of(request: Request) -> str | None:
    traceparent: str | None = request.scope["state"]["traceparent"]
    return traceparent
