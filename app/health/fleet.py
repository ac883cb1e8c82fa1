"""The fleet at this moment, for a person who looks at it: which tenants there are, what runs, and who is busiest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from app.db.pool import Connection
from app.operations.model import Operation
from app.operations.queries import operation_of
from app.schema import queries as schema

# Of operations under way, so many are told of.
_SHOWN: Final = 20
# Each walks one index of the registry, to its end.
_STATES = "SELECT state, count(*) AS tenants FROM bf_control.tenant GROUP BY state ORDER BY state"
_RUNNING = """
SELECT id, kind, tenant_id, status, created_at, started_at, finished_at, attempts, parameters, progress, steps,
       result, error, actor, role, source_address, request_id, traceparent, cancel_requested_at, retry_of
  FROM bf_control.operation WHERE status IN ('queued', 'running')
 ORDER BY created_at LIMIT $1
"""
_BY_SIZE = """
SELECT tenant_id, total_bytes, live_rows, dead_rows, taken_at FROM bf_control.schema_snapshot
 ORDER BY total_bytes DESC, tenant_id DESC LIMIT $1
"""
_BY_DEAD_ROWS = """
SELECT tenant_id, total_bytes, live_rows, dead_rows, taken_at FROM bf_control.schema_snapshot
 ORDER BY dead_rows DESC, tenant_id DESC LIMIT $1
"""
# Of those whose size changed within the hour, the newest samples, so that it is bounded however many there are.
_BY_GROWTH = """
WITH grown AS (
    SELECT h.tenant_id, max(h.total_bytes) - min(h.total_bytes) AS bytes
      FROM (SELECT tenant_id, total_bytes FROM bf_control.size_history
             WHERE grain = 'minute' AND taken_at > now() - interval '1 hour' ORDER BY taken_at DESC LIMIT 10000) h
     GROUP BY h.tenant_id ORDER BY bytes DESC, h.tenant_id LIMIT $1
)
SELECT s.tenant_id, s.total_bytes, s.live_rows, s.dead_rows, s.taken_at
  FROM grown g JOIN bf_control.schema_snapshot s ON s.tenant_id = g.tenant_id ORDER BY g.bytes DESC, s.tenant_id
"""
_GROWN = """
SELECT h.tenant_id, max(h.total_bytes) - min(h.total_bytes) AS bytes FROM bf_control.size_history h
 WHERE h.tenant_id = ANY ($1::text[]) AND h.taken_at > now() - interval '1 hour' GROUP BY h.tenant_id
"""


class By(StrEnum):
    """What tenants are busy with."""

    SIZE = "size"
    GROWTH = "growth"
    DEAD_ROWS = "dead_rows"


_BUSIEST: Final = {By.SIZE: _BY_SIZE, By.GROWTH: _BY_GROWTH, By.DEAD_ROWS: _BY_DEAD_ROWS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """One of the busiest tenants; `grown` are bytes within the hour."""

    tenant_id: str
    total_bytes: int
    live_rows: int
    dead_rows: int
    grown: int
    taken_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetNow:
    """`unfinished` are the oldest of those that run or wait."""

    states: Mapping[str, int]
    versions: Mapping[int, int]
    unfinished: Sequence[Operation]

    @property
    def tenants(self) -> int:
        return sum(self.states.values())


async def now(conn: Connection) -> FleetNow:
    return FleetNow(
        states={row["state"]: row["tenants"] for row in await conn.fetch(_STATES)},
        versions=await schema.spread(conn),
        unfinished=[operation_of(row) for row in await conn.fetch(_RUNNING, _SHOWN)],
    )


async def busiest(conn: Connection, by: By, *, limit: int) -> list[Busy]:
    """By what collectors have seen last; nothing before they have."""
    rows: list[Any] = await conn.fetch(_BUSIEST[by], limit)
    found = await conn.fetch(_GROWN, [row["tenant_id"] for row in rows])
    grown = {row["tenant_id"]: row["bytes"] for row in found}
    return [Busy(**dict(row), grown=grown.get(row["tenant_id"], 0)) for row in rows]
