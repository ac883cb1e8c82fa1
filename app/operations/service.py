"""Rules of operations: requested in the caller's transaction, finished by whoever holds the claim."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.db.pool import Connection
from app.errors import AppError, NotFound
from app.jobs import queue
from app.operations import queries
from app.operations.model import Claim, Kind, Operation, Status, Step


class OperationNotFound(NotFound):
    code = "operation_not_found"
    title = "Operation not found"


class ClaimLost(AppError):
    """Somebody else has taken the operation over: whatever was done for it must roll back."""

    code = "claim_lost"
    title = "Claim lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who asked for an operation, and in which request."""

    actor: str
    request_id: str | None = None
    traceparent: str | None = None
    source_address: str | None = None


@dataclass(slots=True)
class Steps:
    """Measures the parts of a piece of work."""

    taken: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started_at, begun = datetime.now(UTC), time.perf_counter()
        status = Status.FAILED
        try:
            yield
            status = Status.SUCCEEDED
        finally:
            duration = round((time.perf_counter() - begun) * 1000)
            self.taken.append(Step(name=name, status=status, started_at=started_at, duration_ms=duration))


async def request(
    conn: Connection,
    operation_id: UUID,
    kind: Kind,
    *,
    origin: Origin,
    tenant_id: str | None = None,
    parameters: dict[str, Any] | None = None,
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
        actor=origin.actor,
        request_id=origin.request_id,
        traceparent=origin.traceparent,
    )
    if queued:
        await queue.enqueue(conn, operation_id)
    return operation


async def require(conn: Connection, operation_id: str) -> Operation:
    """Raises OperationNotFound, for what is no UUID too."""
    try:
        wanted = UUID(operation_id)
    except ValueError:
        wanted = None
    operation = None if wanted is None else await queries.get(conn, wanted)
    if operation is None:
        raise OperationNotFound("There is no such operation.")
    return operation


async def require_claim(conn: Connection, held: Claim) -> None:
    """Raises ClaimLost; otherwise the claim holds until the transaction ends."""
    if not await queries.holds(conn, held):
        raise ClaimLost("The operation was taken over by another worker.")


async def succeed(conn: Connection, held: Claim, *, result: dict[str, Any], steps: Steps) -> None:
    """Raises ClaimLost, so that the caller's transaction rolls back with all it did."""
    if not await queries.finish(conn, held, Status.SUCCEEDED, result=result, error=None, steps=steps.taken):
        raise ClaimLost("The operation was taken over by another worker.")


async def fail(conn: Connection, held: Claim, *, error: dict[str, Any], steps: Steps) -> None:
    """Raises ClaimLost, as succeed() does."""
    if not await queries.finish(conn, held, Status.FAILED, result=None, error=error, steps=steps.taken):
        raise ClaimLost("The operation was taken over by another worker.")


async def requeue_lost(conn: Connection) -> int:
    """Queues again what no job would finish; returns how many."""
    lost = await queries.lost(conn)
    for operation_id in lost:
        await queue.enqueue(conn, operation_id)
    return len(lost)
