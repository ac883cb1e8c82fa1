"""SQL that thins history: of an hour, and later of a day, the last sample stays."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from app.db.pool import Connection

# Rows one transaction looks at: some 100 ms.
BATCH: Final = 2000

Grain = Literal["minute", "hour", "day"]

# $1 what is thinned, $2 what becomes of the last of each, $3 how long it is kept as it is, $4 how many.
_THIN_SIZES = """
WITH old AS MATERIALIZED (
    SELECT h.tenant_id, h.taken_at,
           EXISTS (SELECT FROM bf_control.size_history l
                    WHERE l.tenant_id = h.tenant_id AND l.taken_at > h.taken_at
                      AND l.taken_at < date_trunc($2, h.taken_at, 'UTC') + concat('1 ', $2)::interval) AS covered
      FROM bf_control.size_history h
     WHERE h.grain = $1 AND h.taken_at < date_trunc($2, now() - $3::interval, 'UTC')
     ORDER BY h.taken_at LIMIT $4
), dropped AS (
    DELETE FROM bf_control.size_history h USING old o
     WHERE o.covered AND h.tenant_id = o.tenant_id AND h.taken_at = o.taken_at
), kept AS (
    UPDATE bf_control.size_history h SET grain = $2 FROM old o
     WHERE NOT o.covered AND h.tenant_id = o.tenant_id AND h.taken_at = o.taken_at
)
SELECT count(*) FROM old
"""
_THIN_FLEET = """
WITH old AS MATERIALIZED (
    SELECT h.taken_at,
           EXISTS (SELECT FROM bf_control.fleet_snapshot l
                    WHERE l.taken_at > h.taken_at
                      AND l.taken_at < date_trunc($2, h.taken_at, 'UTC') + concat('1 ', $2)::interval) AS covered
      FROM bf_control.fleet_snapshot h
     WHERE h.grain = $1 AND h.taken_at < date_trunc($2, now() - $3::interval, 'UTC')
     ORDER BY h.taken_at LIMIT $4
), dropped AS (
    DELETE FROM bf_control.fleet_snapshot h USING old o WHERE o.covered AND h.taken_at = o.taken_at
), kept AS (
    UPDATE bf_control.fleet_snapshot h SET grain = $2 FROM old o WHERE NOT o.covered AND h.taken_at = o.taken_at
)
SELECT count(*) FROM old
"""
_END_SIZES = """
WITH old AS MATERIALIZED (
    SELECT h.tenant_id, h.taken_at FROM bf_control.size_history h
     WHERE h.grain = 'day' AND h.taken_at < now() - $1::interval ORDER BY h.taken_at LIMIT $2
), dropped AS (
    DELETE FROM bf_control.size_history h USING old o WHERE h.tenant_id = o.tenant_id AND h.taken_at = o.taken_at
)
SELECT count(*) FROM old
"""
# But for the newest of all: there is always one to read.
_END_FLEET = """
WITH old AS MATERIALIZED (
    SELECT h.taken_at FROM bf_control.fleet_snapshot h
     WHERE h.grain = 'day' AND h.taken_at < now() - $1::interval
       AND h.taken_at < (SELECT max(l.taken_at) FROM bf_control.fleet_snapshot l)
     ORDER BY h.taken_at LIMIT $2
), dropped AS (
    DELETE FROM bf_control.fleet_snapshot h USING old o WHERE h.taken_at = o.taken_at
)
SELECT count(*) FROM old
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long every sample is kept, then the last of each hour, then the last of each day; each from now on."""

    minutes: timedelta
    hours: timedelta
    days: timedelta


async def thin(conn: Connection, keep: Retention) -> bool:
    """One batch of each; whether there may be more."""
    met: list[int] = [
        await conn.fetchval(_THIN_SIZES, "minute", "hour", keep.minutes, BATCH),
        await conn.fetchval(_THIN_SIZES, "hour", "day", keep.hours, BATCH),
        await conn.fetchval(_END_SIZES, keep.days, BATCH),
        await conn.fetchval(_THIN_FLEET, "minute", "hour", keep.minutes, BATCH),
        await conn.fetchval(_THIN_FLEET, "hour", "day", keep.hours, BATCH),
        await conn.fetchval(_END_FLEET, keep.days, BATCH),
    ]
    return max(met) >= BATCH
