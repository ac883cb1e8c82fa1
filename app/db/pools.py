"""Which connections a process opens for what."""

from app.db.pool import Database
from app.settings import Settings


def ddl_database(settings: Settings, *, application_name: str) -> Database:
    """Connections for DDL: direct, and never for long in anybody's way.

    An idle transaction is a worker that was stopped: the server ends it, so that another can take over. DDL
    itself is never a cached statement (it takes no parameters); what is cached, and an upgrade changes, is
    refused once and tried again.
    """
    return Database(
        settings.direct_dsn(),
        max_size=settings.worker_concurrency + 4,
        application_name=application_name,
        acquire_timeout=10.0,
        server_settings={"lock_timeout": "5s", "idle_in_transaction_session_timeout": "30s"},
    )
