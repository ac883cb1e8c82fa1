"""What the client raises. No message and no traceback of these holds the API key."""

from typing import ClassVar

from app.client._model import FieldError
from app.client.models import Operation, Problem


class ClientError(Exception):
    """`idempotency_key` is what a POST was sent with: the same call with it again does nothing twice."""

    idempotency_key: str | None = None


class ConfigurationError(ClientError, ValueError):
    """The client cannot be made, or the call cannot be sent, from what it was given."""


class ConnectionFailed(ClientError):
    """No answer came. `sent`: the service may have seen the request all the same."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class UnexpectedAnswer(ClientError):
    """A success that is not the service's: most likely somebody else's page at this URL."""


class ApiError(ClientError):
    """The service, or a proxy before it, refused. `code` is stable; a proxy's refusal has `http_NNN`.

    `retry_after` is in seconds; `tries` counts the requests that were sent, this answer's among them.
    """

    statuses: ClassVar[tuple[int, ...]] = ()

    def __init__(self, problem: Problem, *, retry_after: float | None = None) -> None:
        super().__init__(_line(problem))
        self.problem = problem
        self.retry_after = retry_after
        self.tries = 1

    @property
    def status(self) -> int:
        return self.problem.status

    @property
    def code(self) -> str:
        return self.problem.code

    @property
    def title(self) -> str:
        return self.problem.title

    @property
    def detail(self) -> str | None:
        return self.problem.detail

    @property
    def request_id(self) -> str | None:
        return self.problem.request_id

    @property
    def errors(self) -> tuple[FieldError, ...]:
        return self.problem.errors or ()


class BadRequest(ApiError):
    statuses = (400,)


class Unauthorized(ApiError):
    statuses = (401,)


class Forbidden(ApiError):
    statuses = (403,)


class NotFound(ApiError):
    statuses = (404,)


class Conflict(ApiError):
    statuses = (409,)


class PreconditionFailed(ApiError):
    statuses = (412,)


class ValidationFailed(ApiError):
    statuses = (422,)


class PreconditionRequired(ApiError):
    statuses = (428,)


class TooManyRequests(ApiError):
    statuses = (429,)


class Unavailable(ApiError):
    statuses = (502, 503, 504)


class OperationEnded(ClientError):
    """The work was waited for, and did not succeed."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(f"Operation {operation.id} ({operation.kind}) {operation.status}{_reason(operation)}")
        self.operation = operation

    @property
    def problem(self) -> Problem | None:
        return self.operation.error


class OperationFailed(OperationEnded):
    pass


class OperationCancelled(OperationEnded):
    pass


class WaitTimeout(ClientError, TimeoutError):
    """The work goes on: `client.operations.wait(error.operation)` waits for it again."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(f"Operation {operation.id} ({operation.kind}) is {operation.status} still: the wait is over")
        self.operation = operation


def of_status(status: int) -> type[ApiError]:
    return next((kind for kind in ApiError.__subclasses__() if status in kind.statuses), ApiError)


def _line(problem: Problem) -> str:
    fields = "".join(f"; {error.pointer}: {error.detail}" for error in problem.errors or ())
    request = f" (request {problem.request_id})" if problem.request_id else ""
    return f"{problem.status} {problem.code}: {problem.detail or problem.title}{fields}{request}"


def _reason(operation: Operation) -> str:
    return "" if operation.error is None else f": {_line(operation.error)}"
