"""Which connections a process opens for what."""

from typing import Final

from app.db.pool import Database
from app.settings import Settings
from app.tracing import Tracing

# Connections that are the queue's alone: its listener's, and those of its own short statements.
QUEUE_CONNECTIONS: Final = 2
# A collector's: one, and another while that is replaced.
COLLECTING_CONNECTIONS: Final = 2
# Beside those of its requests, a `serve` listens with three (operations, features, API keys), looks at its health with
# one, and while it starts at its schema with another; a worker listens for events with one.
_LISTENERS: Final = 3
_HEALTH: Final = 1
_EVENT_LISTENER: Final = 1
_STARTING: Final = 1
# A request waits for nobody's lock longer than a client should wait for a 503.
_REQUEST_SETTINGS: Final = {"lock_timeout": "2s"}
_SET_REQUEST_SETTINGS: Final = "SET LOCAL lock_timeout = '2s'"


def request_database(settings: Settings, *, tracing: Tracing | None = None) -> Database:
    """Connections for requests, by way of PgBouncer where the settings name a direct way beside it."""
    return _requests(
        settings,
        max_size=settings.db_pool_max,
        application_name="bf-admin api",
        command_timeout=10.0,
        tracing=tracing,
    )


def health_database(settings: Settings) -> Database:
    """The way of requests, for who looks how it is: one connection, that no request takes."""
    return _requests(settings, max_size=_HEALTH, application_name="bf-admin api health", command_timeout=2.0)


def _requests(
    settings: Settings, *, max_size: int, application_name: str, command_timeout: float, tracing: Tracing | None = None
) -> Database:
    pooled = settings.direct_database_url is not None
    return Database(
        settings.dsn(),
        max_size=max_size,
        application_name=application_name,
        pooled=pooled,
        opening=_SET_REQUEST_SETTINGS if pooled else None,
        server_settings=None if pooled else _REQUEST_SETTINGS,
        command_timeout=command_timeout,
        tracing=tracing,
    )


def ddl_database(settings: Settings, *, application_name: str, tracing: Tracing | None = None) -> Database:
    """Connections for DDL: direct, and never for long in anybody's way.

    An idle transaction is a worker that was stopped: the server ends it, so that another can take over. DDL
    itself is never a cached statement (it takes no parameters); what is cached, and an upgrade changes, is
    refused once and tried again.
    """
    return Database(
        settings.direct_dsn(),
        max_size=_ddl_connections(settings),
        application_name=application_name,
        acquire_timeout=10.0,
        server_settings={"lock_timeout": "5s", "idle_in_transaction_session_timeout": "30s"},
        tracing=tracing,
    )


def collecting_database(settings: Settings) -> Database:
    """Connections for collectors, apart from the others: what they read of every tenant's tables fills a connection's
    memory. Direct, for they set what holds for a transaction. Their commits wait for no disk: a crash loses a look.
    """
    return Database(
        settings.direct_dsn(),
        max_size=COLLECTING_CONNECTIONS,
        application_name="bf-admin collector",
        acquire_timeout=10.0,
        server_settings={
            "lock_timeout": "5s",
            "idle_in_transaction_session_timeout": "15s",
            "synchronous_commit": "off",
        },
        command_timeout=30.0,
    )


def most_connections(settings: Settings) -> int:
    """What one `serve` and one `worker` open when both are at their busiest."""
    serve = settings.db_pool_max + _LISTENERS + _HEALTH + _STARTING
    worker = _ddl_connections(settings) + QUEUE_CONNECTIONS + _EVENT_LISTENER + COLLECTING_CONNECTIONS
    return serve + worker


def _ddl_connections(settings: Settings) -> int:
    return settings.worker_concurrency + 4
