"""SQL of who collects, and how each round went. Time is the database's clock."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from app.collect.model import Collector, Note
from app.db.pool import Connection

# A leader that was killed is followed by another after so long, and has written nothing since.
LEASE: Final = timedelta(seconds=20)

# A round that did not end goes on as soon as the lease is free. Nobody waits for whoever holds the row.
_CLAIM = """
WITH collector AS (
    SELECT a.name, CASE WHEN c.started_at IS NULL OR c.ended_at IS NULL THEN 0
                        ELSE extract(epoch FROM c.started_at + a.every - clock_timestamp()) END AS due_in
      FROM unnest($1::text[], $2::interval[]) AS a(name, every)
      LEFT JOIN bf_control.collection c ON c.collector = a.name
), free AS (
    SELECT l.only_one FROM bf_control.collection_lease l
     WHERE l.expires_at < clock_timestamp() AND EXISTS (SELECT FROM collector d WHERE d.due_in <= 0)
       FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE bf_control.collection_lease l SET token = $3, holder = $4, expires_at = clock_timestamp() + $5::interval
      FROM free f WHERE l.only_one = f.only_one
    RETURNING true
)
SELECT EXISTS (SELECT FROM claimed) AS claimed,
       coalesce((SELECT min(d.due_in) FROM collector d), 60)::double precision AS due_in
"""
_KEEP = """
UPDATE bf_control.collection_lease SET expires_at = clock_timestamp() + $2::interval
 WHERE token = $1 AND expires_at > clock_timestamp()
RETURNING true
"""
_RELEASE = "UPDATE bf_control.collection_lease SET token = NULL, expires_at = '-infinity' WHERE token = $1"
_BEGIN = """
INSERT INTO bf_control.collection AS c (collector, started_at) VALUES ($1, clock_timestamp())
    ON CONFLICT (collector) DO UPDATE
   SET started_at = CASE WHEN c.ended_at IS NULL THEN c.started_at ELSE excluded.started_at END,
       reached = CASE WHEN c.ended_at IS NULL THEN c.reached ELSE '' END,
       tenants = CASE WHEN c.ended_at IS NULL THEN c.tenants ELSE 0 END,
       ended_at = NULL
 WHERE c.started_at IS NULL OR c.ended_at IS NULL OR c.started_at + $2::interval <= clock_timestamp()
RETURNING started_at, reached, tenants
"""
_ADVANCE = "UPDATE bf_control.collection SET reached = $2, tenants = $3 WHERE collector = $1"
_SUCCEED = """
UPDATE bf_control.collection
   SET ended_at = clock_timestamp(), succeeded_at = clock_timestamp(), error = NULL, notes = $2, reached = '',
       duration_ms = extract(epoch FROM clock_timestamp() - started_at) * 1000
 WHERE collector = $1
"""
_FAIL = """
UPDATE bf_control.collection
   SET ended_at = clock_timestamp(), failed_at = clock_timestamp(), error = left($2, 1000), reached = ''
 WHERE collector = $1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """`reached` and `tenants` of one that somebody else began and did not end."""

    started_at: datetime
    reached: str
    tenants: int


async def claim(
    conn: Connection, every: Mapping[Collector, timedelta], *, token: UUID, holder: str
) -> tuple[bool, float]:
    """Whether something is due, and is now ours to do; and in how many seconds something is, at the latest."""
    names, intervals = [str(name) for name in every], list(every.values())
    row: Any = await conn.fetchrow(_CLAIM, names, intervals, token, holder, LEASE)
    return row["claimed"], max(row["due_in"], 0.0)


async def keep(conn: Connection, token: UUID) -> bool:
    """Whether we still lead, and will until this transaction ends: nobody else can claim meanwhile."""
    return bool(await conn.fetchval(_KEEP, token, LEASE))


async def release(conn: Connection, token: UUID) -> None:
    await conn.execute(_RELEASE, token)


async def begin(conn: Connection, collector: Collector, every: timedelta) -> Round | None:
    """None where it is not due."""
    row = await conn.fetchrow(_BEGIN, collector, every)
    return None if row is None else Round(**dict(row))


async def advance(conn: Connection, collector: Collector, *, reached: str, tenants: int) -> None:
    await conn.execute(_ADVANCE, collector, reached, tenants)


async def succeed(conn: Connection, collector: Collector, notes: Sequence[Note]) -> None:
    await conn.execute(_SUCCEED, collector, [asdict(note) for note in notes])


async def fail(conn: Connection, collector: Collector, error: str) -> None:
    """The round is over; the next one begins anew."""
    await conn.execute(_FAIL, collector, error)
