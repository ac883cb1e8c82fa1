"""SQL of the probes, and of the one look at everything that /health tells."""

from datetime import datetime
from typing import Any, Final

from app.db.pool import Connection
from app.health.model import Seen, Some, Thresholds
from app.schema import queries as schema

# Tenants are counted up to here: more are as bad.
_MOST: Final = 1000
_INSTALLED = "SELECT to_regclass('bf_control.api_key') IS NOT NULL"
_SERVES = """
SELECT (SELECT coalesce(max(m.version), 0) FROM bf_control.migration m WHERE m.layer = 'control') AS version,
       to_regclass('bf_queue.pgqueuer') IS NOT NULL
       AND has_table_privilege(to_regclass('bf_queue.pgqueuer'), 'INSERT') AS queue
"""
_CLOCK = "SELECT clock_timestamp()"
# From one place of one index each, however many tenants there are. What has no row of its own is counted to 1,001.
# Jobs that are put off are not due; the lock table has none of what backends keep to themselves (fastpath).
_SEEN = """
WITH latest AS (
    SELECT coalesce(jsonb_object_agg(m.layer, m.version), '{}') AS versions,
           max(m.version) FILTER (WHERE m.layer = 'tenant') AS tenant
      FROM (SELECT layer, max(version) AS version FROM bf_control.migration GROUP BY layer) m
), failed AS (
    SELECT count(*) AS count, (array_agg(t.tenant_id ORDER BY t.tenant_id))[1:3] AS first
      FROM (SELECT tenant_id::text FROM bf_control.tenant WHERE state = 'failed' ORDER BY tenant_id LIMIT $1) t
), behind AS (
    SELECT count(*) AS count, (array_agg(t.tenant_id ORDER BY t.schema_version, t.tenant_id))[1:3] AS first
      FROM (SELECT tenant_id::text, schema_version FROM bf_control.tenant
             WHERE schema_version < (SELECT tenant FROM latest) ORDER BY schema_version, tenant_id LIMIT $1) t
), drifted AS (
    SELECT count(*) AS count, (array_agg(t.tenant_id ORDER BY t.tenant_id))[1:3] AS first
      FROM (SELECT tenant_id::text FROM bf_control.verification WHERE drift IS NOT NULL
             UNION SELECT tenant_id::text FROM bf_control.schema_snapshot WHERE NOT intact ORDER BY 1 LIMIT $1) t
), exceeding AS (
    SELECT count(*) AS count, (array_agg(t.tenant_id ORDER BY t.tenant_id))[1:3] AS first
      FROM (SELECT DISTINCT tenant_id::text FROM bf_control.limit_excess ORDER BY 1 LIMIT $1) t
), waiting AS (
    SELECT count(*) AS jobs, extract(epoch FROM now() - min(j.execute_after))::float8 AS oldest
      FROM bf_queue.pgqueuer j WHERE j.status = 'queued' AND j.entrypoint = 'operation' AND j.execute_after <= now()
), heard AS (
    SELECT count(*) FILTER (WHERE w.heartbeat_at > now() - $2::interval) AS alive,
           count(*) FILTER (WHERE w.heartbeat_at BETWEEN now() - $3::interval AND now() - $2::interval) AS lost,
           max(w.heartbeat_at) AS last
      FROM bf_control.worker w
), expiring AS (
    SELECT count(*) AS keys, min(k.expires_at) AS next
      FROM bf_control.api_key k
     WHERE k.expires_at BETWEEN now() AND now() + $4::interval AND k.revoked_at IS NULL
       AND NOT EXISTS (SELECT FROM bf_control.api_key n WHERE n.replaces = k.id)
)
SELECT clock_timestamp() AS at, latest.versions,
       failed.count AS failed, failed.first AS failed_first, behind.count AS behind, behind.first AS behind_first,
       drifted.count AS drifted, drifted.first AS drifted_first,
       exceeding.count AS over_limit, exceeding.first AS over_limit_first,
       (SELECT r.ended_at FROM bf_control.limit_round r) AS limits_checked_at,
       waiting.jobs AS queue_depth, waiting.oldest AS oldest_job,
       heard.alive AS workers, heard.lost AS lost_workers, heard.last AS last_heartbeat,
       expiring.keys AS expiring_keys, expiring.next AS next_expiry,
       i.checked_at AS isolation_checked_at, coalesce(i.fault_count, 0) AS isolation_faults,
       coalesce(i.faults -> 0 ->> 'kind' <> 'tenant_role', false) AS isolation_opens,
       (SELECT greatest(age(d.datfrozenxid), mxid_age(d.datminmxid)) FROM pg_database d
         WHERE d.datname = current_database()) AS xid_age,
       (SELECT count(*) FROM pg_locks l WHERE NOT l.fastpath) AS locks,
       current_setting('max_locks_per_transaction')::bigint
       * (current_setting('max_connections')::integer + current_setting('max_prepared_transactions')::integer)
       AS lock_places
  FROM latest, failed, behind, drifted, exceeding, waiting, heard, expiring
  LEFT JOIN bf_control.isolation_check i ON true
"""
_BEAT = """
WITH forgotten AS (DELETE FROM bf_control.worker w WHERE w.heartbeat_at < now() - interval '1 hour' AND w.id <> $1)
INSERT INTO bf_control.worker AS w (id, host, process_id, release) VALUES ($1, $2, $3, $4)
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp()
"""
_LEAVE = "DELETE FROM bf_control.worker WHERE id = $1"


async def installed(conn: Connection) -> bool:
    """Whether the service's own schema is there."""
    return bool(await conn.fetchval(_INSTALLED))


async def serves(conn: Connection) -> tuple[int, bool]:
    """The version of the service's own schema, and whether jobs can be queued."""
    row: Any = await conn.fetchrow(_SERVES)
    return row["version"], row["queue"]


async def clock(conn: Connection) -> datetime:
    """The database's."""
    found: datetime = await conn.fetchval(_CLOCK)
    return found


async def look(conn: Connection, thresholds: Thresholds) -> Seen:
    """Everything at once: about a millisecond, and none more for each tenant that is as it must be."""
    row: Any = await conn.fetchrow(
        _SEEN, _MOST + 1, thresholds.worker_lost, thresholds.worker_told, thresholds.api_keys
    )
    # fmt: off
    told: dict[str, Any] = {name: row[name] for name in (
        "at", "versions", "queue_depth", "oldest_job", "workers", "lost_workers", "last_heartbeat",
        "limits_checked_at", "isolation_checked_at", "isolation_faults", "isolation_opens", "expiring_keys",
        "next_expiry", "xid_age", "locks", "lock_places",
    )}
    # fmt: on
    told |= {name: _some(row, name) for name in ("failed", "behind", "over_limit", "drifted")}
    return Seen(**told, server_version=schema.server_version(conn))


def _some(row: Any, name: str) -> Some:
    count = row[name]
    return Some(count=min(count, _MOST), more=count > _MOST, first=tuple(row[f"{name}_first"] or ()))


async def beat(conn: Connection, *, worker: object, host: str, process_id: int, release: str) -> None:
    """The worker lives. Those that were not heard of for an hour are forgotten."""
    await conn.execute(_BEAT, worker, host, process_id, release)


async def leave(conn: Connection, *, worker: object) -> None:
    await conn.execute(_LEAVE, worker)
