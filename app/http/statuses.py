"""The one table from errors to statuses, and errors within other answers. Loads no web framework: workers use it."""

from collections.abc import Mapping
from typing import Any, Final

from app import errors
from app.errors import AppError

STATUS: Final[Mapping[type[AppError], int]] = {
    errors.BadRequest: 400,
    errors.Unauthenticated: 401,
    errors.Denied: 403,
    errors.NotFound: 404,
    errors.BodyTimeout: 408,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.Invalid: 422,
    errors.PreconditionRequired: 428,
    errors.RateLimited: 429,
    errors.HeaderTooLarge: 431,
    errors.Unavailable: 503,
    errors.Transient: 503,
}


def status_of(error: AppError) -> int:
    """The status of the nearest listed category; 500 for what no client can help."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def document(error: AppError, *, place: str = "") -> dict[str, Any]:
    """As a part of another answer, which has the request's id. `place` is where in the body the refused part is."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": error.title,
        "status": status_of(error),
        "detail": error.detail,
        "code": error.code,
        **error.extra,
    }
    if error.errors:
        body["errors"] = [{"pointer": f"{place}{e.pointer}", "detail": e.detail} for e in error.errors]
    return body
