"""SQL of the audit trail: adding to it, and reading it page by page."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from app.audit.model import Record
from app.db.pool import Connection

Outcome = Literal["accepted", "succeeded", "failed", "cancelled", "denied"]

_INSERT = """
INSERT INTO bf_control.audit (actor, role, source_address, request_id, action, target, outcome, before, after)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""

# $1 is what the index is walked by; $2 to $7 actor, action, target, tenant, outcome and request id; below ($8, $9),
# from $10 on. The lateral subquery keeps the planner from joining all seals for a page of rows.
_PAGE = """
SELECT a.id, a.occurred_at, a.actor, a.role, a.database_user, a.source_address, a.request_id, a.action, a.target,
       a.outcome, a.before, a.after, s.seq, s.hash
  FROM bf_control.audit a
  LEFT JOIN LATERAL (SELECT l.seq, l.hash FROM bf_control.audit_seal l WHERE l.audit_id = a.id OFFSET 0) s ON true
"""
_REST = """
   AND ($2::text IS NULL OR a.actor = $2) AND ($3::text IS NULL OR a.action = $3)
   AND ($4::text IS NULL OR a.target = $4)
   AND ($5::text IS NULL OR (a.target LIKE 'tenant/%' AND split_part(a.target, '/', 2) = $5))
   AND ($6::text IS NULL OR a.outcome = $6) AND ($7::text IS NULL OR a.request_id = $7)
   AND (a.occurred_at, a.id) < ($8::timestamptz, $9::bigint) AND a.occurred_at >= $10::timestamptz
 ORDER BY a.occurred_at DESC, a.id DESC LIMIT $11
"""
# By what there are fewest of, first.
_LIST: Final[dict[str, str]] = {
    "request_id": " ".join((_PAGE, "WHERE a.request_id = $1::text", _REST)),
    "target": " ".join((_PAGE, "WHERE a.target = $1::text", _REST)),
    "tenant_id": " ".join((_PAGE, "WHERE a.target LIKE 'tenant/%' AND split_part(a.target, '/', 2) = $1::text", _REST)),
    "actor": " ".join((_PAGE, "WHERE a.actor = $1::text", _REST)),
    "action": " ".join((_PAGE, "WHERE a.action = $1::text", _REST)),
    "outcome": " ".join(
        (_PAGE, "WHERE a.outcome = $1::text AND a.outcome IN ('failed', 'cancelled', 'denied')", _REST)
    ),
    "": " ".join((_PAGE, "WHERE $1::text IS NULL", _REST)),
}
_REFUSED: Final = frozenset({"failed", "cancelled", "denied"})
_LAST_ID: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Rows of all that is given; from `since` on, before `until`."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    tenant_id: str | None = None
    outcome: str | None = None
    request_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def _row(
    actor: str,
    role: str | None,
    source_address: str | None,
    request_id: str | None,
    action: str,
    target: str,
    outcome: Outcome,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> tuple[Any, ...]:
    return actor, role, source_address, request_id, action, target, outcome, before, after


async def insert_all(
    conn: Connection,
    *,
    actor: str,
    role: str | None,
    source_address: str | None,
    request_id: str | None,
    action: str,
    outcome: Outcome,
    after: Mapping[str, dict[str, Any]],
) -> None:
    """A row for each target of `after`."""
    rows = [
        _row(actor, role, source_address, request_id, action, target, outcome, None, said)
        for target, said in after.items()
    ]
    await conn.executemany(_INSERT, rows)


async def insert(
    conn: Connection,
    *,
    actor: str,
    role: str | None,
    source_address: str | None,
    request_id: str | None,
    action: str,
    target: str,
    outcome: Outcome,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> None:
    values = _row(actor, role, source_address, request_id, action, target, outcome, before, after)
    await conn.execute(_INSERT, *values)


async def page(conn: Connection, wanted: Filter, *, after: tuple[datetime, int] | None, limit: int) -> list[Record]:
    """Up to `limit` rows, newest first, that are older than `after`: a row's occurred_at and id."""
    walk = _walk(wanted)
    beyond = after or (wanted.until or datetime.max.replace(tzinfo=UTC), _LAST_ID if wanted.until is None else 0)
    rows = await conn.fetch(
        _LIST[walk],
        getattr(wanted, walk) if walk else None,
        wanted.actor,
        wanted.action,
        wanted.target,
        wanted.tenant_id,
        wanted.outcome,
        wanted.request_id,
        *beyond,
        wanted.since or datetime.min.replace(tzinfo=UTC),
        limit,
    )
    return [_record(row) for row in rows]


def _walk(wanted: Filter) -> str:
    given = (name for name in _LIST if name and getattr(wanted, name) is not None)
    return next((name for name in given if name != "outcome" or wanted.outcome in _REFUSED), "")


def _record(row: Any) -> Record:
    return Record(**dict(row))
