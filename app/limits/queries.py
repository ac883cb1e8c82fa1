"""SQL of limits, and of what of them is used."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
from asyncpg import Record

from app.db.pool import Connection
from app.limits.model import Enforcement, Event, Limit

_CATALOGUE = """
SELECT l.name, l.description, l.unit, l.minimum, l.maximum, l.default_value, l.enforcement,
       (SELECT coalesce(jsonb_object_agg(t.tier, t.value), '{}') FROM bf_control.usage_limit_tier t
         WHERE t.limit_name = l.name) AS tiers
  FROM bf_control.usage_limit l WHERE $1::text IS NULL OR l.name = $1 ORDER BY l.name
"""
_LOCK = "LOCK TABLE bf_control.usage_limit IN SHARE ROW EXCLUSIVE MODE"
_DEFINE = """
INSERT INTO bf_control.usage_limit AS l (name, description, unit, minimum, maximum, default_value, enforcement)
VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (name) DO UPDATE
   SET description = $2, unit = $3, minimum = $4, maximum = $5, default_value = $6, enforcement = $7, updated_at = now()
RETURNING l.name
"""
_FORGET_TIERS = "DELETE FROM bf_control.usage_limit_tier WHERE limit_name = $1 AND NOT $2::jsonb ? tier"
_SET_TIERS = """
INSERT INTO bf_control.usage_limit_tier (limit_name, tier, value)
SELECT $1, t.key, t.value::bigint FROM jsonb_each_text($2::jsonb) AS t
    ON CONFLICT (limit_name, tier) DO UPDATE SET value = EXCLUDED.value
"""
_HAND_DOWN = """
SELECT bf_control.hand_down_limit($1)
  FROM (SELECT set_config('bf.source', 'api', true), set_config('app.current_user_id', left($2, 36), true)) AS context
"""
_SETTINGS = "SELECT bf_control.tenant_settings($1)"
_OWN = "SELECT limit_name FROM bf_control.tenant_limit WHERE tenant_id = $1"
_CHANGE = """
SELECT bf_control.change_limits($1, $2)
  FROM (SELECT set_config('bf.source', 'api', true), set_config('app.current_user_id', left($3, 36), true)) AS context
"""
_COUNTERS = "SELECT limit_name, used FROM bf_control.usage_counter WHERE tenant_id = $1"
_EVENTS = """
SELECT limit_name, percentage, used, allowed, occurred_at FROM bf_control.usage_event
 WHERE tenant_id = $1 ORDER BY id DESC LIMIT $2
"""
# The oldest alone are looked at, by the primary key: it costs the same however many there are.
_FORGET_EVENTS = """
DELETE FROM bf_control.usage_event WHERE id IN (
    SELECT o.id FROM (SELECT id, occurred_at FROM bf_control.usage_event ORDER BY id LIMIT 1000) AS o
     WHERE o.occurred_at < now() - $1::interval)
"""
# What has to be granted to whom; nothing where the audit role may be taken on.
_MISSING_GRANT = """
SELECT format('GRANT %I TO %I;', s.value, current_user) FROM bf_control.setting s
 WHERE s.name = 'audit_role'
   AND NOT coalesce(pg_has_role(current_user, to_regrole(quote_ident(s.value)),
        CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END), false)
"""
_SET_AUDIT_ROLE = "SELECT format('SET LOCAL ROLE %I', bf_control.setting_of('audit_role'))"
# A statement for each limit that counts rows, to be run as the audit role, and how large its table is.
_METERS = """
SELECT m.limit_name, pg_relation_size(to_regclass(format('%I.%I', t.schema_name, m.relation))) AS bytes,
       format('SELECT %s FROM %I.%I WHERE is_deleted IS NOT TRUE', m.measure, t.schema_name, m.relation) AS statement
  FROM bf_control.tenant t
 CROSS JOIN (VALUES ('max_budgets', 'budgets', 'count(*)'), ('max_budget_lines', 'budget_lines', 'count(*)'),
                    ('max_forecasts', 'forecasts', 'count(*)'), ('max_scenarios', 'scenarios', 'count(*)'),
                    ('forecast_horizon_limit', 'forecasts', 'coalesce(max(forecast_horizon_months), 0)::bigint')
            ) AS m(limit_name, relation, measure)
 WHERE t.tenant_id = $1 ORDER BY m.limit_name
"""
_BYTES = """
SELECT coalesce(sum(pg_total_relation_size(to_regclass(format('%I.%I', t.schema_name, m.relation)))), 0)::bigint
  FROM bf_control.tenant t
 CROSS JOIN unnest(ARRAY['budgets', 'budget_lines', 'forecasts', 'forecast_data_points', 'variance_analysis',
                         'scenarios']) AS m(relation)
 WHERE t.tenant_id = $1
"""
# Whether commits settle with the counters: not before the tenant's schema has the triggers.
_COUNTS = """
SELECT EXISTS (SELECT FROM pg_trigger g
                WHERE g.tgrelid = to_regclass(format('%I.budget_lines', t.schema_name)) AND g.tgname = 'usage_insert')
  FROM bf_control.tenant t WHERE t.tenant_id = $1
"""
_ENSURE_COUNTERS = """
INSERT INTO bf_control.usage_counter (tenant_id, limit_name, used)
SELECT $1, n.name, 0 FROM unnest($2::text[]) AS n(name) ORDER BY n.name ON CONFLICT DO NOTHING
"""
_LOCK_COUNTERS = """
SELECT limit_name, used FROM bf_control.usage_counter WHERE tenant_id = $1 ORDER BY limit_name FOR UPDATE
"""
_SET_COUNTER = "UPDATE bf_control.usage_counter SET used = $3 WHERE tenant_id = $1 AND limit_name = $2"
_NOW = "SELECT clock_timestamp()"

# What PostgreSQL says of a table or schema that somebody has just dropped.
Gone: Final = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """`bytes` of the table that `statement` reads; None where there is none."""

    limit_name: str
    statement: str
    bytes: int | None


async def catalogue(conn: Connection, name: str | None = None) -> list[Limit]:
    """All of it by name, or the one."""
    return [_limit(row) for row in await conn.fetch(_CATALOGUE, name)]


async def lock(conn: Connection) -> None:
    """Nobody else changes the catalogue until the transaction ends; it can be read."""
    await conn.execute(_LOCK)


async def define(conn: Connection, limit: Limit) -> None:
    await conn.execute(
        _DEFINE,
        limit.name,
        limit.description,
        limit.unit,
        limit.minimum,
        limit.maximum,
        limit.default,
        limit.enforcement,
    )
    await conn.execute(_FORGET_TIERS, limit.name, dict(limit.tiers))
    await conn.execute(_SET_TIERS, limit.name, dict(limit.tiers))


async def hand_down(conn: Connection, name: str, *, actor: str) -> None:
    """Brings the column of that name, if there is one, to what tenants without a value of their own have now."""
    await conn.execute(_HAND_DOWN, name, actor)


async def settings(conn: Connection, tenant_id: str) -> dict[str, Any] | None:
    """The tenant's row of tenant_config as JSON; None where it has none."""
    found: dict[str, Any] | None = await conn.fetchval(_SETTINGS, tenant_id)
    return found


async def own(conn: Connection, tenant_id: str) -> frozenset[str]:
    """Names of the limits that have a value of the tenant's own."""
    return frozenset(row["limit_name"] for row in await conn.fetch(_OWN, tenant_id))


async def change(conn: Connection, tenant_id: str, changes: Mapping[str, int | None], *, actor: str) -> None:
    """None goes back to what the tier or the default says."""
    await conn.execute(_CHANGE, tenant_id, dict(changes), actor)


async def counters(conn: Connection, tenant_id: str) -> dict[str, int]:
    return {row["limit_name"]: row["used"] for row in await conn.fetch(_COUNTERS, tenant_id)}


async def events(conn: Connection, tenant_id: str, *, limit: int) -> list[Event]:
    """The latest first."""
    return [
        Event(
            name=row["limit_name"],
            percentage=row["percentage"],
            used=row["used"],
            allowed=row["allowed"],
            occurred_at=row["occurred_at"],
        )
        for row in await conn.fetch(_EVENTS, tenant_id, limit)
    ]


async def forget_old(conn: Connection, kept: timedelta) -> None:
    """Of events that are older, up to a thousand."""
    await conn.execute(_FORGET_EVENTS, kept)


async def missing_grant(conn: Connection) -> str | None:
    """The GRANT that lets this connection's role read as the audit role; None where it may already."""
    grant: str | None = await conn.fetchval(_MISSING_GRANT)
    return grant


@asynccontextmanager
async def as_audit_role(conn: Connection) -> AsyncIterator[None]:
    """Sees all rows of all tenants, reads nothing else, and writes nothing: the block is a savepoint, rolled back."""
    savepoint = conn.transaction()
    await savepoint.start()
    try:
        await conn.execute(await conn.fetchval(_SET_AUDIT_ROLE))
        yield
    finally:
        if not conn.is_closed():
            await savepoint.rollback()


async def meters(conn: Connection, tenant_id: str) -> list[Meter]:
    return [Meter(**dict(row)) for row in await conn.fetch(_METERS, tenant_id)]


async def measure(conn: Connection, meter: Meter) -> int:
    """As the audit role, or it reads nothing. Raises Gone."""
    return int(await conn.fetchval(meter.statement))


async def size(conn: Connection, tenant_id: str) -> int:
    """Bytes of the tenant's tables, with indexes and TOAST."""
    return int(await conn.fetchval(_BYTES, tenant_id))


async def now(conn: Connection) -> datetime:
    found: datetime = await conn.fetchval(_NOW)
    return found


async def counts(conn: Connection, tenant_id: str) -> bool:
    """Whether commits settle with the tenant's counters."""
    return bool(await conn.fetchval(_COUNTS, tenant_id))


async def lock_counters(conn: Connection, tenant_id: str, names: list[str]) -> dict[str, int]:
    """What they say; no transaction of the tenant settles until this one ends."""
    await conn.execute(_ENSURE_COUNTERS, tenant_id, names)
    return {row["limit_name"]: row["used"] for row in await conn.fetch(_LOCK_COUNTERS, tenant_id)}


async def set_counter(conn: Connection, tenant_id: str, name: str, used: int) -> None:
    await conn.execute(_SET_COUNTER, tenant_id, name, used)


def _limit(row: Record) -> Limit:
    return Limit(
        name=row["name"],
        description=row["description"],
        unit=row["unit"],
        minimum=row["minimum"],
        maximum=row["maximum"],
        default=row["default_value"],
        enforcement=Enforcement(row["enforcement"]),
        tiers=row["tiers"],
    )
