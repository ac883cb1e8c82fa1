"""SQL of who uses more than a limit allows, by the counters that every COMMIT settles and the sizes last collected."""

from collections.abc import Sequence
from datetime import timedelta

from app.db.pool import Connection

# Whoever began and died is not waited for longer than that.
_CLAIM = """
UPDATE bf_control.limit_round SET claimed_at = now()
 WHERE coalesce(ended_at, '-infinity') < now() - $1::interval
   AND coalesce(claimed_at, '-infinity') < now() - least($1::interval, interval '5 minutes')
RETURNING true
"""
_SLICE = """
SELECT tenant_id FROM bf_control.tenant
 WHERE tenant_id > $1 AND schema_version IS NOT NULL ORDER BY tenant_id LIMIT $2
"""
# What a tenant may use is said as usage_judge() does. Deleted ones use what they used.
_KEEP = """
WITH used AS (
    SELECT c.tenant_id, c.limit_name, c.used FROM bf_control.usage_counter c WHERE c.tenant_id = ANY ($1::text[])
     UNION ALL
    SELECT s.tenant_id, 'storage_mb', ceil(s.total_bytes / 1048576.0)::bigint
      FROM bf_control.schema_snapshot s WHERE s.tenant_id = ANY ($1::text[])
), found AS (
    SELECT c.tenant_id, c.limit_name, c.used, coalesce(o.value, b.value, l.default_value) AS allowed
      FROM used c
      JOIN bf_control.tenant t ON t.tenant_id = c.tenant_id AND t.state IN ('active', 'suspended')
      JOIN bf_control.usage_limit l ON l.name = c.limit_name
      LEFT JOIN bf_control.tenant_limit o ON o.tenant_id = c.tenant_id AND o.limit_name = c.limit_name
      LEFT JOIN bf_control.usage_limit_tier b ON b.limit_name = c.limit_name AND b.tier = t.subscription_tier
), excess AS (
    SELECT f.tenant_id, f.limit_name, f.used, f.allowed FROM found f WHERE f.used > f.allowed
), settled AS (
    DELETE FROM bf_control.limit_excess e
     WHERE e.tenant_id = ANY ($1::text[])
       AND NOT EXISTS (SELECT FROM excess x WHERE x.tenant_id = e.tenant_id AND x.limit_name = e.limit_name)
), kept AS (
    INSERT INTO bf_control.limit_excess AS e (tenant_id, limit_name, used, allowed)
    SELECT x.tenant_id, x.limit_name, x.used, x.allowed FROM excess x
        ON CONFLICT (tenant_id, limit_name) DO UPDATE SET used = excluded.used, allowed = excluded.allowed
         WHERE (e.used, e.allowed) <> (excluded.used, excluded.allowed)
)
SELECT count(*) FROM excess
"""
_FORGET = """
DELETE FROM bf_control.limit_excess e
 WHERE NOT EXISTS (SELECT FROM bf_control.tenant t WHERE t.tenant_id = e.tenant_id AND t.schema_version IS NOT NULL)
"""
_END = "UPDATE bf_control.limit_round SET ended_at = now()"


async def claim(conn: Connection, every: timedelta) -> bool:
    """Whether a round is due, and ours to make."""
    return bool(await conn.fetchval(_CLAIM, every))


async def slice_after(conn: Connection, after: str, *, limit: int) -> list[str]:
    """Ids of tenants with a schema, in order, beyond `after`."""
    return [row["tenant_id"] for row in await conn.fetch(_SLICE, after, limit)]


async def keep(conn: Connection, tenant_ids: Sequence[str]) -> int:
    """What these tenants exceed now; how much of it there is."""
    return int(await conn.fetchval(_KEEP, list(tenant_ids)))


async def end(conn: Connection) -> None:
    """The round has come to its end; of tenants that are gone nothing is told."""
    await conn.execute(_FORGET)
    await conn.execute(_END)
