"""SQL of lists of operations, and of what was seen of one."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import UUID

from app.db.pool import Connection
from app.operations.model import Event, Operation, Status
from app.operations.queries import operation_of, progress_of, step_of

OrderBy = Literal["created_at", "-created_at"]

# $1 status, $2 kind, $3 tenant, $4 and $5 the last row of the page before, $6 how many.
_PAGE = """
SELECT id, kind, tenant_id, status, created_at, started_at, finished_at, attempts, parameters, progress, steps,
       result, error, actor, role, source_address, request_id, traceparent, cancel_requested_at, retry_of
  FROM bf_control.operation
 WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR kind = $2) AND ($3::text IS NULL OR tenant_id = $3)
"""
_LIST: Final[dict[OrderBy, str]] = {
    "created_at": " ".join(
        (
            _PAGE,
            """AND ($4::text IS NULL OR (created_at, id) > ($4::text::timestamptz, $5::uuid))
 ORDER BY created_at, id LIMIT $6""",
        )
    ),
    "-created_at": " ".join(
        (
            _PAGE,
            """AND ($4::text IS NULL OR (created_at, id) < ($4::text::timestamptz, $5::uuid))
 ORDER BY created_at DESC, id DESC LIMIT $6""",
        )
    ),
}
_EVENTS = """
SELECT o.id, o.kind, o.tenant_id, o.status, o.created_at, o.started_at, o.finished_at, o.attempts, o.parameters,
       o.progress, o.steps, o.result, o.error, o.actor, o.role, o.source_address, o.request_id, o.traceparent,
       o.cancel_requested_at, o.retry_of, e.seq, e.event, e.document
  FROM bf_control.operation o
  JOIN bf_control.operation_event e ON e.operation_id = o.id AND e.seq > $2
 WHERE o.id = $1 ORDER BY e.seq LIMIT $3
"""
_NEWEST = "SELECT coalesce(max(seq), 0) FROM bf_control.operation_event WHERE operation_id = $1"


async def page(
    conn: Connection,
    *,
    status: Status | None,
    kind: str | None,
    tenant_id: str | None,
    order_by: OrderBy,
    after: tuple[str, str] | None,
    limit: int,
) -> list[Operation]:
    """Up to `limit` operations beyond `after`: created_at in ISO 8601, and the id."""
    value, last_id = (None, None) if after is None else (after[0], UUID(after[1]))
    rows = await conn.fetch(_LIST[order_by], status, kind, tenant_id, value, last_id, limit)
    return [operation_of(row) for row in rows]


async def events(conn: Connection, operation_id: UUID, *, after: int, limit: int) -> list[Event]:
    """What happened to the operation after event number `after`, in order."""
    rows = await conn.fetch(_EVENTS, operation_id, after, limit)
    return [Event(seq=row["seq"], name=row["event"], operation=_as_it_was(row)) for row in rows]


async def newest_event(conn: Connection, operation_id: UUID) -> int:
    """Its number; 0 where there is none, of an operation that a release without events has ended."""
    newest: int = await conn.fetchval(_NEWEST, operation_id)
    return newest


def _as_it_was(row: Any) -> Operation:
    then = row["document"]
    return replace(
        operation_of(row),
        status=Status(then["status"]),
        started_at=_time(then["started_at"]),
        finished_at=_time(then["finished_at"]),
        attempts=then["attempts"],
        progress=progress_of(then["progress"]),
        steps=tuple(step_of(step) for step in then["steps"]),
        result=then["result"],
        error=then["error"],
        cancel_requested=then["cancel_requested"],
    )


def _time(text: str | None) -> datetime | None:
    """Written with the offset of whatever time zone the session had."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)
