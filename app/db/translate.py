"""SQLSTATE → AppError."""

from typing import Final

import asyncpg

from app.errors import (
    AppError,
    DatabaseError,
    DirectConnectionNeeded,
    LimitExceeded,
    PrivilegeMissing,
    Transient,
    Unavailable,
)

# The same statement may succeed later: serialization failure, deadlock, lock not available, a full lock
# table or too many connections (class 53), a server that shuts down or starts (57P01 to 57P03), a
# transaction that idled too long (25P03).
_TRANSIENT: Final = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "25P03"})
_TRANSIENT_CLASSES: Final = frozenset({"08", "53"})
# No connection at all: the database is away, full, not ours, or the password is wrong.
_UNREACHABLE: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


def unreachable(error: BaseException) -> bool:
    """Whether `error`, raised while connecting, means that there is no connection to be had."""
    return isinstance(error, _UNREACHABLE) or (isinstance(error, asyncpg.PostgresError) and _lost(error))


def _lost(error: asyncpg.PostgresError) -> bool:
    return str(error.sqlstate or "").startswith(("08", "57P", "53"))


def translate(error: BaseException, *, closed: bool = True) -> AppError | None:
    """The AppError that `error`, raised while talking to PostgreSQL, stands for; None if it is none.

    `closed`: the connection is gone. On an open one, an InterfaceError is a mistake in our own code.
    """
    if isinstance(error, asyncpg.PostgresError):
        return _of_sqlstate(error)
    if isinstance(error, TimeoutError):
        return Transient("The database did not answer in time.", sqlstate="08006")
    if closed and isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | ConnectionError):
        return Transient("The connection to the database was lost.", sqlstate="08006")
    return None


def _of_sqlstate(error: asyncpg.PostgresError) -> AppError:
    sqlstate = str(error.sqlstate or "XX000")
    message = str(getattr(error, "message", None) or error)
    hint = getattr(error, "hint", None)
    if sqlstate == "2BP01":  # of several objects, only the detail names the one that is needed, and by what
        message = ". ".join(part for part in (message, getattr(error, "detail", None)) if part)
    if sqlstate in {"42P01", "3F000"} and ("bf_control" in message or "bf_queue" in message):
        return Unavailable("The service's schema is not installed; start the service again, or run bf-admin upgrade.")
    # Somebody's upgrade changed what a cached statement returns; asyncpg has dropped the cache of the pool.
    outdated = isinstance(error, asyncpg.InvalidCachedStatementError)
    if outdated or sqlstate in _TRANSIENT or sqlstate[:2] in _TRANSIENT_CLASSES:
        return Transient(message, sqlstate=sqlstate, hint=hint)
    if sqlstate == "BF001":  # usage_judge(), at the INSERT or at the COMMIT
        return LimitExceeded(message + ".", limit=getattr(error, "constraint_name", None))
    if sqlstate == "42501":
        return PrivilegeMissing(message, sqlstate=sqlstate, hint=hint)
    return DatabaseError(message, sqlstate=sqlstate, hint=hint)


def while_connecting(error: BaseException) -> AppError | None:
    """The AppError for what went wrong while connecting; None for a mistake in our own code."""
    if isinstance(error, asyncpg.PostgresError) and "unsupported startup parameter" in str(error):
        return DirectConnectionNeeded(
            "PgBouncer does not take this connection: LISTEN and DDL need a direct one. "
            "Set BF_DIRECT_DATABASE_URL to PostgreSQL itself; DATABASE_URL may stay as it is."
        )
    return no_connection() if unreachable(error) else translate(error)


class NoConnection(Unavailable):
    """Its cause is the driver's error, which a stranger is not told."""


def no_connection() -> NoConnection:
    return NoConnection("No database connection is to be had.")
