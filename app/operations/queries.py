"""SQL of operations. Time is the database's clock."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from asyncpg import Record

from app.audit.model import Origin
from app.db.pool import Connection
from app.operations.model import Claim, Kind, Operation, Progress, Status, Step

_INSERT = """
INSERT INTO bf_control.operation (id, kind, tenant_id, parameters, retry_of, actor, role, source_address, request_id,
                                  traceparent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
RETURNING id, kind, tenant_id, status, created_at, started_at, finished_at, attempts, parameters, progress, steps,
          result, error, actor, role, source_address, request_id, traceparent, cancel_requested_at, retry_of
"""
_GET = """
SELECT id, kind, tenant_id, status, created_at, started_at, finished_at, attempts, parameters, progress, steps,
       result, error, actor, role, source_address, request_id, traceparent, cancel_requested_at, retry_of
  FROM bf_control.operation WHERE id = $1
"""
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('bf_operation ' || $1::text, 0))"
_UNFINISHED_OF_KIND = """
SELECT id, kind, tenant_id, status, created_at, started_at, finished_at, attempts, parameters, progress, steps,
       result, error, actor, role, source_address, request_id, traceparent, cancel_requested_at, retry_of
  FROM bf_control.operation WHERE kind = $1 AND status IN ('queued', 'running') ORDER BY created_at LIMIT 1
"""
# A running one too: the queue hands a job out again only when its worker's heartbeat is lost. The new
# token makes whatever the old worker still writes miss. The commit waits for no disk: a crash of the server
# that undoes the claim has ended the claimant's session too.
_CLAIM = """
UPDATE bf_control.operation
   SET status = 'running', claim_token = gen_random_uuid(), attempts = attempts + 1,
       started_at = coalesce(started_at, clock_timestamp())
  FROM (SELECT set_config('synchronous_commit', 'off', true)) AS no_wait
 WHERE id = $1 AND status IN ('queued', 'running') AND kind = ANY ($2::text[])
RETURNING id, kind, tenant_id, status, created_at, started_at, finished_at, attempts, parameters, progress, steps,
          result, error, actor, role, source_address, request_id, traceparent, cancel_requested_at, retry_of,
          claim_token
"""
_FINISH = """
UPDATE bf_control.operation
   SET status = $3, result = $4, error = $5, steps = $6, progress = coalesce($7, progress),
       finished_at = clock_timestamp(), claim_token = NULL
 WHERE id = $1 AND claim_token = $2 AND status = 'running'
RETURNING id
"""
_RELEASE = """
UPDATE bf_control.operation SET status = 'queued', claim_token = NULL
 WHERE id = $1 AND claim_token = $2 AND status = 'running'
RETURNING id
"""
# With it, what the history of tenant_config says of this transaction's changes.
_HOLDS = """
SELECT cancel_requested_at IS NOT NULL AS cancel_requested,
       set_config('bf.source', 'api', true), set_config('app.current_user_id', left(actor, 36), true)
  FROM bf_control.operation WHERE id = $1 AND claim_token = $2 AND status = 'running' FOR UPDATE
"""
# Between two items of long work. It says how far that is, and hears whether to stop.
_REPORT = """
UPDATE bf_control.operation SET progress = $3, steps = $4
  FROM (SELECT set_config('synchronous_commit', 'off', true)) AS no_wait
 WHERE id = $1 AND claim_token = $2 AND status = 'running'
RETURNING cancel_requested_at IS NOT NULL AS cancel_requested
"""
_GOES_ON = """
SELECT cancel_requested_at IS NULL FROM bf_control.operation WHERE id = $1 AND claim_token = $2 AND status = 'running'
"""
# Whoever commits its last step has the row locked, and is not waited for.
_LOCK_UNFINISHED = """
SELECT id, kind, tenant_id, status, created_at, started_at, finished_at, attempts, parameters, progress, steps,
       result, error, actor, role, source_address, request_id, traceparent, cancel_requested_at, retry_of
  FROM bf_control.operation WHERE id = $1 AND status IN ('queued', 'running')
   FOR NO KEY UPDATE SKIP LOCKED
"""
_CANCEL_QUEUED = """
UPDATE bf_control.operation
   SET status = 'cancelled', error = $2, finished_at = clock_timestamp(),
       cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
 WHERE id = $1 AND status = 'queued'
RETURNING id
"""
_REQUEST_CANCEL = """
UPDATE bf_control.operation SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
 WHERE id = $1 AND status = 'running'
RETURNING id
"""
# Unfinished, older than a moment, and no job in the queue will finish it.
_LOST = """
SELECT o.id FROM bf_control.operation o
 WHERE o.status IN ('queued', 'running') AND o.created_at < now() - interval '5 seconds'
   AND NOT EXISTS (SELECT FROM bf_queue.pgqueuer j
                    WHERE j.dedupe_key = o.id::text AND j.status IN ('queued', 'picked'))
 ORDER BY o.created_at LIMIT 100
"""

_FORGET_OPERATIONS = """
DELETE FROM bf_control.operation WHERE id IN (
    SELECT id FROM bf_control.operation
     WHERE finished_at IS NOT NULL AND created_at < now() - interval '30 days' ORDER BY created_at LIMIT 1000)
"""
_FORGET_JOBS = """
DELETE FROM bf_queue.pgqueuer_log WHERE id IN (
    SELECT id FROM bf_queue.pgqueuer_log
     WHERE aggregated AND created < now() - interval '7 days' ORDER BY created LIMIT 1000)
"""


async def insert(
    conn: Connection,
    *,
    operation_id: UUID,
    kind: Kind,
    tenant_id: str | None,
    parameters: dict[str, Any],
    origin: Origin,
    retry_of: UUID | None,
) -> Operation:
    row: Any = await conn.fetchrow(_INSERT, operation_id, kind, tenant_id, parameters, retry_of, *_asked(origin))
    return operation_of(row)


async def insert_all(
    conn: Connection,
    tenant_ids: Mapping[UUID, str],
    kind: Kind,
    *,
    origin: Origin,
) -> None:
    """An operation for each tenant, by their ids."""
    rows: list[tuple[object, ...]] = [
        (operation_id, kind, tenant_id, {}, None, *_asked(origin)) for operation_id, tenant_id in tenant_ids.items()
    ]
    await conn.executemany(_INSERT, rows)


def _asked(origin: Origin) -> tuple[str | None, ...]:
    return origin.actor, origin.role, origin.source_address, origin.request_id, origin.traceparent


async def get(conn: Connection, operation_id: UUID) -> Operation | None:
    row = await conn.fetchrow(_GET, operation_id)
    return None if row is None else operation_of(row)


async def unfinished(conn: Connection, kind: Kind) -> Operation | None:
    """The oldest of the kind that is queued or running; nobody else asks until the transaction ends."""
    await conn.execute(_ONE_AT_A_TIME, kind)
    row = await conn.fetchrow(_UNFINISHED_OF_KIND, kind)
    return None if row is None else operation_of(row)


async def claim(conn: Connection, operation_id: UUID) -> Claim | None:
    """None where it is finished, gone, or of a kind that only a newer release knows."""
    row = await conn.fetchrow(_CLAIM, operation_id, list(Kind))
    return None if row is None else Claim(operation=operation_of(row), token=row["claim_token"])


async def holds(conn: Connection, held: Claim) -> Literal["held", "cancelled", "lost"]:
    """Whether the claim is still ours; the row stays locked, so it is until the transaction ends.

    Until then, changes of configuration are told as made through the service, for the operation's actor.
    """
    return _standing(await conn.fetchrow(_HOLDS, held.operation.id, held.token))


async def report(
    conn: Connection, held: Claim, progress: Progress | None, steps: list[Step]
) -> Literal["held", "cancelled", "lost"]:
    """Stores how far the work is, and says how the claim stands."""
    row = await conn.fetchrow(_REPORT, held.operation.id, held.token, _counts(progress), _documents(steps))
    return _standing(row)


async def goes_on(conn: Connection, held: Claim) -> bool:
    """Whether the claim is still ours, and nobody asked to stop; locks and writes nothing."""
    return bool(await conn.fetchval(_GOES_ON, held.operation.id, held.token))


def _standing(row: Record | None) -> Literal["held", "cancelled", "lost"]:
    if row is None:
        return "lost"
    return "cancelled" if row["cancel_requested"] else "held"


async def lock_unfinished(conn: Connection, operation_id: UUID) -> Operation | None:
    """None where it has ended, or where somebody has it locked: its last step is being committed."""
    row = await conn.fetchrow(_LOCK_UNFINISHED, operation_id)
    return None if row is None else operation_of(row)


async def cancel_queued(conn: Connection, operation_id: UUID, *, error: dict[str, Any]) -> None:
    """Of an operation that lock_unfinished() returned queued."""
    await conn.execute(_CANCEL_QUEUED, operation_id, error)


async def request_cancel(conn: Connection, operation_id: UUID) -> None:
    """Of an operation that lock_unfinished() returned running."""
    await conn.execute(_REQUEST_CANCEL, operation_id)


async def finish(
    conn: Connection,
    held: Claim,
    status: Status,
    *,
    result: dict[str, Any] | None,
    error: dict[str, Any] | None,
    steps: list[Step],
    progress: Progress | None,
) -> bool:
    """False where the claim has been lost."""
    row = await conn.fetchrow(
        _FINISH, held.operation.id, held.token, status, result, error, _documents(steps), _counts(progress)
    )
    return row is not None


async def release(conn: Connection, held: Claim) -> bool:
    """Back to queued, for another try; False where the claim has been lost."""
    return await conn.fetchrow(_RELEASE, held.operation.id, held.token) is not None


async def forget_old(conn: Connection) -> None:
    """Finished operations are kept for 30 days, what the queue logged of its jobs for 7; a thousand at a time."""
    await conn.execute(_FORGET_OPERATIONS)
    await conn.execute(_FORGET_JOBS)


async def lost(conn: Connection) -> list[UUID]:
    """Up to 100 unfinished operations that no queued job would ever finish."""
    return [row["id"] for row in await conn.fetch(_LOST)]


def operation_of(row: Record) -> Operation:
    return Operation(
        id=UUID(str(row["id"])),
        kind=row["kind"],
        tenant_id=row["tenant_id"],
        status=Status(row["status"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        attempts=row["attempts"],
        parameters=row["parameters"],
        progress=progress_of(row["progress"]),
        steps=tuple(step_of(step) for step in row["steps"]),
        result=row["result"],
        error=row["error"],
        actor=row["actor"],
        role=row["role"],
        source_address=row["source_address"],
        request_id=row["request_id"],
        traceparent=row["traceparent"],
        cancel_requested=row["cancel_requested_at"] is not None,
        retry_of=None if row["retry_of"] is None else UUID(str(row["retry_of"])),
    )


def progress_of(document: dict[str, Any] | None) -> Progress | None:
    return None if document is None else Progress(done=document["done"], total=document["total"])


def _counts(progress: Progress | None) -> dict[str, int] | None:
    return None if progress is None else {"done": progress.done, "total": progress.total}


def _documents(steps: list[Step]) -> list[dict[str, Any]]:
    return [
        {
            "name": step.name,
            "status": step.status,
            "started_at": step.started_at.isoformat(),
            "duration_ms": step.duration_ms,
        }
        for step in steps
    ]


def step_of(document: dict[str, Any]) -> Step:
    return Step(
        name=document["name"],
        status=Status(document["status"]),
        started_at=datetime.fromisoformat(document["started_at"]),
        duration_ms=document["duration_ms"],
    )
