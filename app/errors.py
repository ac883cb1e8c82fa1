"""What can go wrong, by category and stable code. Knows no HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """One invalid value: `pointer` is a JSON pointer into the body, or `query/NAME`, `path/NAME`, `header/NAME`."""

    pointer: str
    detail: str


class AppError(Exception):
    """An expected failure, told to the client. `detail` never holds SQL, a DSN or a stack trace."""

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"
    # Whether it refuses a caller: the audit trail tells of those.
    denial: ClassVar[bool] = False

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = (), **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.extra: Mapping[str, object] = extra


class BadRequest(AppError):
    code = "bad_request"
    title = "Bad request"


class Invalid(AppError):
    code = "validation_failed"
    title = "Validation failed"


class Unauthenticated(AppError):
    code = "unauthenticated"
    title = "Authentication required"
    denial = True


class InvalidCredentials(Unauthenticated):
    """Something was presented, and it is no valid key or token."""


class Denied(AppError):
    code = "forbidden"
    title = "Forbidden"
    denial = True


class InsufficientScope(Denied):
    """The caller is known, and may not do this; `needed` is the role that may."""

    def __init__(self, detail: str, *, needed: str | None = None) -> None:
        super().__init__(detail)
        self.needed = needed


class NotFound(AppError):
    code = "not_found"
    title = "Not found"


class TenantNotFound(NotFound):
    code = "tenant_not_found"
    title = "Tenant not found"

    def __init__(self) -> None:
        super().__init__("There is no such tenant.")


class Conflict(AppError):
    code = "conflict"
    title = "Conflict"


class LimitExceeded(Conflict):
    """A transaction of a tenant would have used more than its limit allows; it was rolled back."""

    code = "limit_exceeded"
    title = "A limit of the tenant is exceeded"


class PreconditionFailed(AppError):
    code = "precondition_failed"
    title = "Precondition failed"


class PreconditionRequired(AppError):
    code = "precondition_required"
    title = "Precondition required"


class TooLarge(AppError):
    code = "body_too_large"
    title = "Body too large"


class HeaderTooLarge(AppError):
    code = "header_too_large"
    title = "The header is too large"


class UnsupportedMediaType(AppError):
    code = "unsupported_media_type"
    title = "The body is of a type that is not read here"


class Unavailable(AppError):
    """`retry_after` is in whole seconds."""

    code = "unavailable"
    title = "Service unavailable"
    retry_after: ClassVar[int] = 2


class RateLimited(AppError):
    """The caller asks more often than it may; `retry_after` is in whole seconds."""

    code = "rate_limited"
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class DirectConnectionNeeded(AppError):
    """No waiting helps: the settings lead through PgBouncer where they must not."""

    code = "direct_connection_needed"
    title = "A direct connection is needed"


class DeadlineExceeded(Unavailable):
    """What was asked for may have been done all the same: the same Idempotency-Key tells."""

    code = "deadline_exceeded"
    title = "The request took too long"


class BodyTimeout(AppError):
    code = "body_timeout"
    title = "The body did not arrive in time"


class DatabaseError(AppError):
    """PostgreSQL refused a statement. `sqlstate` decides whether trying again makes sense."""

    code = "database_error"
    title = "Database error"

    def __init__(self, detail: str, *, sqlstate: str, hint: str | None = None) -> None:
        super().__init__(detail)
        self.sqlstate = sqlstate
        self.hint = hint


class PrivilegeMissing(DatabaseError):
    code = "privilege_missing"
    title = "The service's database role lacks a privilege"


class Transient(DatabaseError):
    """A lock, a deadlock, a serialization failure, a lost connection: the same again may succeed."""

    code = "database_busy"
    title = "The database is busy"

    @property
    def connection_lost(self) -> bool:
        """It was the connection, or the server, that went away."""
        return self.sqlstate.startswith(("08", "57P"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A failure as it is stored with an operation: the body of RFC 9457 without what a request adds."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    errors: list[dict[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        body: dict[str, object] = asdict(self)
        if not self.errors:
            del body["errors"]
        return body
