"""The durable queue: pgqueuer over tables of our own migration, in schema bf_queue."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.domain.settings import DBSettings
from pgqueuer.ports.driver import Driver
from pgqueuer.queries import Queries

from app.db.pool import Connection

if TYPE_CHECKING:
    import asyncpg

ENTRYPOINT: Final = "operation"
SETTINGS: Final = DBSettings(db_schema="bf_queue", prefix="", channel="ch_pgqueuer")
ENVIRONMENT: Final = QueryBuilderEnvironment(SETTINGS)
QUEUE: Final = QueryQueueBuilder(SETTINGS)
SCHEDULER: Final = QuerySchedulerBuilder(SETTINGS)


def queries(driver: Driver) -> Queries:
    """The settings go to each builder: by themselves they read the environment."""
    return Queries(driver, qbe=ENVIRONMENT, qbq=QUEUE, qbs=SCHEDULER)


async def enqueue(conn: Connection, operation_id: UUID) -> None:
    """Queues a job for the operation in the caller's transaction, unless one is queued already."""
    driver = AsyncpgDriver(_as_connection(conn))
    await queries(driver).enqueue(
        ENTRYPOINT, str(operation_id).encode(), dedupe_key=str(operation_id), on_conflict="skip"
    )


async def enqueue_all(conn: Connection, operation_ids: Sequence[UUID]) -> None:
    """As enqueue(), of many at once: a hundred of them take little more than one."""
    if operation_ids:
        keys = [str(operation_id) for operation_id in operation_ids]
        payloads = [key.encode() for key in keys]
        await queries(AsyncpgDriver(_as_connection(conn))).enqueue(
            [ENTRYPOINT] * len(keys),
            list[bytes | None](payloads),
            [0] * len(keys),
            dedupe_key=list[str | None](keys),
            on_conflict="skip",
        )


def _as_connection(conn: Connection) -> "asyncpg.Connection[Any]":
    """A pool's proxy has every method of the connection it stands for, though not its type."""
    return conn  # type: ignore[return-value]
