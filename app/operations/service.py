"""Rules of operations: requested in the caller's transaction, finished by whoever holds the claim."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.audit.model import Origin
from app.db.pages import cut
from app.db.pool import Connection
from app.errors import AppError, NotFound
from app.jobs import queue
from app.operations import page_queries, queries
from app.operations.model import Claim, Kind, Operation, Progress, Status, Step
from app.operations.page_queries import OrderBy


class OperationNotFound(NotFound):
    code = "operation_not_found"
    title = "Operation not found"


class ClaimLost(AppError):
    """Somebody else has taken the operation over: whatever was done for it must roll back."""

    code = "claim_lost"
    title = "Claim lost"


class CancelRequested(AppError):
    """Its worker ends the operation here; what has committed stays."""

    code = "operation_cancelled"
    title = "The operation was cancelled"

    def __init__(self) -> None:
        super().__init__("It was cancelled on request.")


@dataclass(slots=True)
class Steps:
    """Measures the parts of a piece of work; a part that has begun and not ended is running.

    `progress` is how far work in items has come.
    """

    taken: list[Step] = field(default_factory=list)
    progress: Progress | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started_at, begun = datetime.now(UTC), time.perf_counter()
        place, status = len(self.taken), Status.FAILED
        self.taken.append(Step(name=name, status=Status.RUNNING, started_at=started_at, duration_ms=None))
        try:
            yield
            status = Status.SUCCEEDED
        except CancelRequested:
            status = Status.CANCELLED
            raise
        finally:
            duration = round((time.perf_counter() - begun) * 1000)
            self.taken[place] = Step(name=name, status=status, started_at=started_at, duration_ms=duration)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFilter:
    """`kind` may be one that only another release knows."""

    status: Status | None = None
    kind: str | None = None
    tenant_id: str | None = None
    order_by: OrderBy = "-created_at"


async def request(
    conn: Connection,
    operation_id: UUID,
    kind: Kind,
    *,
    origin: Origin,
    tenant_id: str | None = None,
    parameters: dict[str, Any] | None = None,
    retry_of: UUID | None = None,
    queued: bool = True,
) -> Operation:
    """Stores the operation and queues its job: both are there if the caller commits, neither if not.

    Not `queued`: the caller runs it in this same transaction.
    """
    operation = await queries.insert(
        conn,
        operation_id=operation_id,
        kind=kind,
        tenant_id=tenant_id,
        parameters=parameters or {},
        origin=origin,
        retry_of=retry_of,
    )
    if queued:
        await queue.enqueue(conn, operation_id)
    return operation


async def request_all(conn: Connection, tenant_ids: Mapping[UUID, str], kind: Kind, *, origin: Origin) -> None:
    """As request(), of an operation for each tenant, by the operations' ids."""
    await queries.insert_all(conn, tenant_ids, kind, origin=origin)
    await queue.enqueue_all(conn, list(tenant_ids))


def operation_id(text: str) -> UUID:
    """Raises OperationNotFound: what is no UUID is as unknown as any other."""
    try:
        return UUID(text)
    except ValueError:
        raise OperationNotFound("There is no such operation.") from None


async def require(conn: Connection, operation_id: UUID) -> Operation:
    """Raises OperationNotFound."""
    operation = await queries.get(conn, operation_id)
    if operation is None:
        raise OperationNotFound("There is no such operation.")
    return operation


async def page(
    conn: Connection, wanted: OperationFilter, *, after: tuple[str, str] | None, size: int
) -> tuple[list[Operation], tuple[str, str] | None]:
    """A page, and where the next one starts; None with the last one."""
    found = await page_queries.page(
        conn,
        status=wanted.status,
        kind=wanted.kind,
        tenant_id=wanted.tenant_id,
        order_by=wanted.order_by,
        after=after,
        limit=size + 1,
    )
    return cut(found, size, lambda last: (last.created_at.isoformat(), str(last.id)))


async def require_claim(conn: Connection, held: Claim) -> None:
    """Raises ClaimLost or CancelRequested; otherwise the claim holds until the transaction ends."""
    _require_held(await queries.holds(conn, held))


async def report(conn: Connection, held: Claim, steps: Steps) -> None:
    """After an item of long work: shows how far it is. Raises ClaimLost or CancelRequested."""
    _require_held(await queries.report(conn, held, steps.progress, steps.taken))


def _require_held(standing: str) -> None:
    if standing == "lost":
        raise ClaimLost("The operation was taken over by another worker.")
    if standing == "cancelled":
        raise CancelRequested


async def finish(
    conn: Connection,
    held: Claim,
    status: Status,
    *,
    steps: Steps,
    result: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
) -> None:
    """Raises ClaimLost, so that the caller's transaction rolls back with all it did."""
    if not await queries.finish(
        conn, held, status, result=result, error=error, steps=steps.taken, progress=steps.progress
    ):
        raise ClaimLost("The operation was taken over by another worker.")


async def succeed(conn: Connection, held: Claim, *, result: dict[str, Any], steps: Steps) -> None:
    """Raises ClaimLost, as finish() does."""
    await finish(conn, held, Status.SUCCEEDED, result=result, steps=steps)


async def requeue_lost(conn: Connection) -> int:
    """Queues again what no job would finish; returns how many."""
    lost = await queries.lost(conn)
    for operation_id in lost:
        await queue.enqueue(conn, operation_id)
    return len(lost)
