"""application/problem+json (RFC 9457), and the one table from errors to statuses."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from app import errors
from app.errors import AppError, FieldError
from app.http import denials
from app.http.depth import too_deep
from app.http.head import has_head
from app.http.ids import request_id_of
from app.http.statuses import status_of
from app.log import logger

_log = logger(__name__)
MEDIA_TYPE: Final = "application/problem+json"
_REALM: Final = 'Bearer realm="apg-bf-tenant-admin"'
# The patterns of ids, tiers and features.
_WORD: Final = re.compile(r"\^\[a-z]\[a-z0-9_]\{([0-9]+),([0-9]+)}\$")


class MalformedJson(errors.BadRequest):
    code = "malformed_json"
    title = "Malformed JSON"


class ProblemResponse(JSONResponse):
    media_type = MEDIA_TYPE


def problem(
    request: Request,
    *,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, object] | None = None,
) -> ProblemResponse:
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": quote(request.scope["path"]),
        "code": code,
        "request_id": request_id_of(request),
        **(extra or {}),
    }
    if errors:
        body["errors"] = list(errors)
    return ProblemResponse(body, status_code=status, headers=dict(headers or {}))


def install(app: FastAPI) -> None:
    """Makes every failure of `app` a problem."""
    app.add_exception_handler(AppError, _app_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)


async def _app_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, AppError)  # noqa: S101 -- registered for this type only
    status = status_of(error)
    if error.denial:
        denials.note(request, error, status)
    if status == 500:
        _log.error("request_failed", code=error.code, reason=error.detail, exc_info=error)
        return internal_error(request)
    return _of(request, error, status)


def _of(request: Request, error: AppError, status: int) -> ProblemResponse:
    return problem(
        request,
        status=status,
        code=error.code,
        title=error.title,
        detail=error.detail,
        errors=[{"pointer": e.pointer, "detail": e.detail} for e in error.errors],
        headers=_headers(error, status),
        extra=error.extra,
    )


def answer_to(request: Request, error: AppError) -> ProblemResponse:
    """Of middleware, which no handler of errors is around."""
    return _of(request, error, status_of(error))


def _headers(error: AppError, status: int) -> dict[str, str]:
    if status in {429, 503}:
        return {"Retry-After": str(getattr(error, "retry_after", 2))}
    challenge = _challenge(error)
    if challenge is not None:
        return {"WWW-Authenticate": challenge}
    if status in {408, 413}:
        return {"Connection": "close"}
    return {}


def _challenge(error: AppError) -> str | None:
    """RFC 6750: who presents nothing is told no error; who may not, which role may."""
    if isinstance(error, errors.InvalidCredentials):
        return f'{_REALM}, error="invalid_token", error_description="{error.detail}"'
    if isinstance(error, errors.Unauthenticated):
        return _REALM
    if isinstance(error, errors.InsufficientScope):
        scope = "" if error.needed is None else f', scope="{error.needed}"'
        return f'{_REALM}, error="insufficient_scope"{scope}'
    return None


def internal_error(request: Request) -> ProblemResponse:
    """Says nothing but the request id, under which the log has the rest."""
    return problem(
        request,
        status=500,
        code="internal_error",
        title="Internal error",
        detail="An unexpected error. Tell the request id to whoever runs this service.",
    )


def body_too_large(request: Request) -> ProblemResponse:
    """The connection is closed: of what is left of the body, RequestContext reads a little and throws it away."""
    return _of(request, errors.TooLarge("A body has at most 1 MiB."), 413)


def out_of_time(request: Request, *, reading: bool) -> ProblemResponse:
    """408 where it was the client who kept us waiting, with its body; 503 otherwise."""
    if reading:
        return _of(request, errors.BodyTimeout("Send the whole body sooner."), 408)
    return _of(
        request, errors.DeadlineExceeded("It may have been done all the same: ask, or repeat it with its key."), 503
    )


async def _validation_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 -- registered for this type only
    found = error.errors()
    for e in found:
        if e["type"] == "json_invalid":
            return _of(request, _malformed(e["loc"][-1], e["ctx"]["error"]), 400)
    told = [FieldError(pointer=_pointer(e["loc"]), detail=_in_words(e)) for e in found]
    return _of(request, errors.Invalid("The request is not valid; see errors.", errors=told), 422)


def faults(found: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """pydantic's findings about a value of its own, with pointers into that."""
    return [FieldError(pointer=_pointer(("body", *e["loc"])), detail=_in_words(e)) for e in found]


def _malformed(position: int, reason: str) -> AppError:
    return MalformedJson(f"The body is not valid JSON, at character {position + 1}: {reason}.")


def _in_words(error: Mapping[str, Any]) -> str:
    """pydantic's own, but for what only says how a value is checked."""
    if error["type"] == "extra_forbidden":
        return "is not allowed here"
    if error["type"] == "string_pattern_mismatch":
        word = _WORD.fullmatch(error["ctx"]["pattern"])
        if word is None:
            return "is not written as it must be"
        return f"must have {int(word[1]) + 1} to {int(word[2]) + 1} of a-z, 0-9 and _, a letter first"
    return str(error["msg"]).removeprefix("Value error, ")


def _pointer(location: Sequence[int | str]) -> str:
    """FastAPI's location as a JSON pointer (RFC 6901) into the body, or `query/NAME` and the like."""
    place, *path = location
    if path and path[-1] == "[key]":  # pydantic's word for a member whose name is wrong
        path.pop()
    parts = [str(part).replace("~", "~0").replace("/", "~1") for part in path]
    pointer = "".join(f"/{part}" for part in parts) if place == "body" else "/".join([str(place), *parts])
    # A member's name may hold half a surrogate pair, which no answer can.
    return pointer.encode(errors="replace").decode()


async def _http_exception(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for this type only
    if error.status_code == 413:
        return body_too_large(request)
    if isinstance(error.__cause__, RecursionError):
        return answer_to(request, too_deep())
    phrase = HTTPStatus(error.status_code).phrase
    return problem(
        request,
        status=error.status_code,
        code=phrase.lower().replace(" ", "_").replace("-", "_"),
        title=phrase,
        detail=_HTTP_DETAILS.get(error.status_code, phrase + "."),
        headers={"Allow": _allowed(request)} if error.status_code == 405 else error.headers,
    )


def _allowed(request: Request) -> str:
    """Of every route at the path: the router asks only the first."""
    found = {
        method
        for route in iter_route_contexts(request.app.routes)
        if route.path is not None and compile_path(route.path)[0].match(request.scope["path"])
        for method in route.methods or ()
    }
    if "GET" in found and has_head(request.scope["path"]):
        found.add("HEAD")
    return ", ".join(sorted(found))


_HTTP_DETAILS: Final = {
    404: "There is nothing at this path.",
    405: "This path does not take that method.",
    400: "The request cannot be read.",
}
