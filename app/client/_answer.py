"""From responses to models and errors. Pure."""

from http import HTTPStatus
from typing import Any, Final, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from app.client import errors
from app.client._policy import retry_after
from app.client.errors import ApiError, ConfigurationError, ConnectionFailed, UnexpectedAnswer
from app.client.models import Operation, OperationEvent, Problem

M = TypeVar("M", bound=BaseModel)

_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


def read(response: httpx.Response, model: type[M]) -> M:
    """Raises UnexpectedAnswer for a body that is no such thing."""
    try:
        value = model.model_validate_json(response.content)
    except ValidationError as error:
        raise UnexpectedAnswer(
            f"{response.request.method} {response.request.url.path} answered {response.status_code} "
            f"with what is no {model.__name__}: {_summary(error)}"
        ) from None
    etag = response.headers.get("ETag")
    return value.model_copy(update={"etag": etag}) if etag and "etag" in model.model_fields else value


def event(id: str, kind: str, data: str) -> OperationEvent:
    """Raises UnexpectedAnswer for data that are no operation."""
    try:
        return OperationEvent(id=id, event=kind, operation=Operation.model_validate_json(data))
    except ValidationError as error:
        raise UnexpectedAnswer(f"Event {id} ({kind}) holds no Operation: {_summary(error)}") from None


def _summary(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'/'.join(str(part) for part in first['loc']) or 'the body'}: {first['msg']}"


def asked_pause(response: httpx.Response) -> float | None:
    return retry_after(response.headers.get("Retry-After"))


def api_error(response: httpx.Response) -> ApiError:
    kind = errors.of_status(response.status_code)
    return kind(_problem(response), retry_after=asked_pause(response))


def _problem(response: httpx.Response) -> Problem:
    """The service's, or one made from the status where a proxy answered."""
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        made: dict[str, Any] = {
            "title": _phrase(response.status_code),
            "status": response.status_code,
            "code": f"http_{response.status_code}",
            "request_id": response.headers.get("X-Request-ID"),
        }
        return Problem.model_validate(made)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown status"


def no_answer(error: httpx.TransportError, base_url: httpx.URL) -> ConnectionFailed | ConfigurationError:
    """What to raise, and not to chain: the frames below hold the Authorization header, and some tools print locals."""
    if isinstance(error, httpx.LocalProtocolError):
        return ConfigurationError(f"This cannot be sent: {error}")
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    where = f"{base_url.scheme}://{base_url.netloc.decode()}{base_url.path}"  # without a user and a password
    return ConnectionFailed(f"{where}: {text}", sent=not isinstance(error, _NEVER_SENT))
