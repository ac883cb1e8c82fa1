"""SQL of the look at the database as a whole, and at its statements."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from app.collect.model import Note, Statement
from app.db.pool import Connection

# What the guide's migration user may not see, and what would let it. Names are quoted by PostgreSQL.
_RIGHTS = """
SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_sessions,
       format('GRANT pg_monitor TO %I;', current_user) AS mend
"""
# Of the bootstrap tables that each tenant adds rows to. $1 their names.
_CATALOGUE = """
SELECT c.relname::text AS name, pg_total_relation_size(c.oid) AS bytes, pg_stat_get_live_tuples(c.oid) AS live_rows,
       pg_stat_get_dead_tuples(c.oid) AS dead_rows
  FROM unnest($1::text[]) AS w(name)
  JOIN pg_class c ON c.relname = w.name::name AND c.relnamespace = 'pg_catalog'::regnamespace
 ORDER BY c.relname
"""
# Whoever waits for a lock is seen by all; since when, and who is in front of it, by pg_monitor. waitstart is of
# PostgreSQL 14 and later.
_LOCK_WAITS = """
WITH waiting AS MATERIALIZED (
    SELECT l.pid, l.locktype, l.mode, l.relation, l.database, l.transactionid,
           (to_jsonb(l) ->> 'waitstart')::timestamptz AS since
      FROM pg_locks l WHERE NOT l.granted LIMIT 200
)
SELECT coalesce(c.oid::regclass::text, w.locktype) AS relation, t.tenant_id, w.mode, count(*)::integer AS waiting,
       extract(epoch FROM clock_timestamp() - min(coalesce(w.since, a.query_start)))::double precision
           AS longest_seconds,
       ARRAY(SELECT DISTINCT b.usename::text
               FROM unnest(array_agg(w.pid)) AS p(pid)
              CROSS JOIN LATERAL unnest(pg_blocking_pids(p.pid)) AS h(pid)
               JOIN pg_stat_activity b ON b.pid = h.pid
              WHERE b.usename IS NOT NULL ORDER BY 1) AS holders
  FROM waiting w
  LEFT JOIN pg_stat_activity a ON a.pid = w.pid
  LEFT JOIN pg_database d ON d.oid = w.database AND d.datname = current_database()
  LEFT JOIN pg_class c ON c.oid = w.relation AND d.oid IS NOT NULL
  LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN bf_control.tenant t ON t.schema_name = n.nspname
 GROUP BY c.oid, w.locktype, w.mode, t.tenant_id ORDER BY 4 DESC, 5 DESC NULLS LAST LIMIT 20
"""
_STANDBYS = """
SELECT coalesce(nullif(r.application_name, ''), 'standby') AS name, r.state, r.sync_state,
       pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn)::bigint AS lag_bytes,
       extract(epoch FROM r.replay_lag)::double precision AS lag_seconds
  FROM pg_stat_replication r ORDER BY 1 LIMIT 50
"""
_TENANTS = """
SELECT t.state, t.schema_version, t.subscription_tier, count(*)::integer AS tenants
  FROM bf_control.tenant t GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT 1000
"""
# As many locks as fit for certain; the lock table itself is somewhat larger. Those that were taken on the fast path
# are not in it.
_SCALARS = """
SELECT age(d.datfrozenxid)::bigint AS transaction_age, mxid_age(d.datminmxid)::bigint AS multixact_age,
       current_setting('autovacuum_freeze_max_age')::bigint AS freeze_max_age,
       (SELECT count(*) FROM pg_stat_activity a
         WHERE a.backend_type = 'client backend' OR (a.backend_type IS NULL AND a.datid IS NOT NULL))::integer
           AS connections,
       current_setting('max_connections')::integer AS max_connections,
       (SELECT count(*) FROM (
            SELECT DISTINCT l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid,
                   l.classid, l.objid, l.objsubid
              FROM pg_locks l WHERE NOT l.fastpath) k)::integer AS locks_used,
       current_setting('max_locks_per_transaction')::integer
           * (current_setting('max_connections')::integer + current_setting('max_prepared_transactions')::integer)
           AS locks_limit,
       (SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn))::bigint FROM pg_replication_slots s)
           AS slot_bytes,
       (SELECT s.stats_reset FROM pg_stat_database s WHERE s.datid = d.oid) AS statistics_reset_at
  FROM pg_database d WHERE d.datname = current_database()
"""
# A file is looked at for each relation: some 50 for a tenant.
_DATABASE_BYTES = "SELECT pg_database_size(current_database())"
_INSERT = """
INSERT INTO bf_control.fleet_snapshot
       (taken_at, database_bytes, transaction_age, multixact_age, freeze_max_age, connections, max_connections,
        locks_used, locks_limit, lock_waits, catalogue, standbys, slot_bytes, tenants, statistics_reset_at, disk_bytes,
        disk_free_bytes)
VALUES (clock_timestamp(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
"""
_CONNECTIONS = """
WITH now_seen AS MATERIALIZED (
    SELECT coalesce(a.usename::text, '') AS role, coalesce(a.application_name, '') AS application,
           coalesce(a.state, 'hidden') AS state, count(*)::integer AS connections,
           count(*) FILTER (WHERE a.wait_event_type = 'Lock')::integer AS waiting,
           extract(epoch FROM clock_timestamp() - min(a.xact_start))::double precision AS oldest_transaction_seconds,
           extract(epoch FROM clock_timestamp() - min(a.state_change))::double precision AS longest_in_state_seconds
      FROM pg_stat_activity a
     WHERE a.datname = current_database() AND (a.backend_type = 'client backend' OR a.backend_type IS NULL)
       AND a.pid <> pg_backend_pid()
     GROUP BY 1, 2, 3
), gone AS (
    DELETE FROM bf_control.connection_snapshot s
     WHERE NOT EXISTS (SELECT FROM now_seen n
                        WHERE n.role = s.role AND n.application = s.application AND n.state = s.state)
)
INSERT INTO bf_control.connection_snapshot
       (role, application, state, connections, waiting, oldest_transaction_seconds, longest_in_state_seconds)
SELECT n.role, n.application, n.state, n.connections, n.waiting, n.oldest_transaction_seconds,
       n.longest_in_state_seconds
  FROM now_seen n
    ON CONFLICT (role, application, state) DO UPDATE
   SET connections = excluded.connections, waiting = excluded.waiting,
       oldest_transaction_seconds = excluded.oldest_transaction_seconds,
       longest_in_state_seconds = excluded.longest_in_state_seconds
"""
_STATEMENTS_STATE = "SELECT bf_control.statement_statistics_state()"
_STATEMENTS_MEND = """
SELECT format('GRANT USAGE ON SCHEMA %1$I TO %2$I; GRANT SELECT ON %1$I.pg_stat_statements TO %2$I;', n.nspname,
              current_user)
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'
"""
_STATEMENTS = """
SELECT query_id, role::text AS role, query, calls, total_ms, max_ms, "rows", blocks_read
  FROM bf_control.statement_statistics($1)
"""
_TENANTS_OF_SCHEMAS = "SELECT schema_name, tenant_id FROM bf_control.tenant WHERE schema_name = ANY ($1::text[])"
_TENANTS_OF_ROLES = """
SELECT bf_control.tenant_role(t.tenant_id) AS role, t.tenant_id
  FROM unnest($1::text[]) AS r(role)
  JOIN bf_control.tenant t ON t.tenant_id = substring(r.role from '^bf_tenant_(.*)_[0-9]+$')
"""
_CLEAR_STATEMENTS = "DELETE FROM bf_control.statement_snapshot"
_KEEP_STATEMENT = """
INSERT INTO bf_control.statement_snapshot
       (id, tenant_id, role, query, calls, total_ms, mean_ms, max_ms, rows, blocks_read)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""

_GROWING: Final = (
    "pg_attrdef", "pg_attribute", "pg_class", "pg_constraint", "pg_depend", "pg_index", "pg_namespace", "pg_policy",
    "pg_shdepend", "pg_statistic", "pg_trigger", "pg_type",
)  # fmt: skip
MOST_STATEMENTS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    bytes: int
    free_bytes: int


async def rights(conn: Connection) -> Note | None:
    """What is hidden from us, and the GRANT that shows it."""
    row = await conn.fetchrow(_RIGHTS)
    if row is None or row["sees_sessions"]:
        return None
    return Note(
        reason="What sessions of other roles do, statements of theirs and the lag of standbys are hidden from us.",
        mend=row["mend"],
    )


async def database_bytes(conn: Connection) -> int:
    found: int = await conn.fetchval(_DATABASE_BYTES)
    return found


async def look(conn: Connection, *, database_bytes: int, disk: Disk | None) -> None:
    """Keeps what there is to see of the database, and of who is connected to it."""
    scalars: Any = await conn.fetchrow(_SCALARS)
    await conn.execute(
        _INSERT,
        database_bytes,
        scalars["transaction_age"],
        scalars["multixact_age"],
        scalars["freeze_max_age"],
        scalars["connections"],
        scalars["max_connections"],
        scalars["locks_used"],
        scalars["locks_limit"],
        _documents(await conn.fetch(_LOCK_WAITS)),
        _documents(await conn.fetch(_CATALOGUE, _GROWING)),
        _documents(await conn.fetch(_STANDBYS)),
        scalars["slot_bytes"],
        _documents(await conn.fetch(_TENANTS)),
        scalars["statistics_reset_at"],
        None if disk is None else disk.bytes,
        None if disk is None else disk.free_bytes,
    )
    await conn.execute(_CONNECTIONS)


async def statements_state(conn: Connection) -> str:
    """`ready`, `missing`, `not_loaded`, `outdated` or `forbidden`."""
    found: str = await conn.fetchval(_STATEMENTS_STATE)
    return found


async def statements_mend(conn: Connection) -> str | None:
    """What lets us read pg_stat_statements, where it is installed and we may not."""
    found: str | None = await conn.fetchval(_STATEMENTS_MEND)
    return found


async def statements(conn: Connection) -> list[Any]:
    """Rows of pg_stat_statements that took most of the time, as they are."""
    return await conn.fetch(_STATEMENTS, MOST_STATEMENTS)


async def tenants_of_schemas(conn: Connection, names: Iterable[str]) -> Mapping[str, str]:
    """The tenant of each of these schemas that is one's."""
    return {row["schema_name"]: row["tenant_id"] for row in await conn.fetch(_TENANTS_OF_SCHEMAS, list(names))}


async def tenants_of_roles(conn: Connection, names: Iterable[str]) -> Mapping[str, str]:
    """The tenant of each of these roles that is one's own."""
    return {row["role"]: row["tenant_id"] for row in await conn.fetch(_TENANTS_OF_ROLES, list(names))}


async def keep_statements(conn: Connection, found: Sequence[Statement]) -> None:
    """In place of all that were kept."""
    await conn.execute(_CLEAR_STATEMENTS)
    await conn.executemany(_KEEP_STATEMENT, [tuple(asdict(statement).values()) for statement in found])


def _documents(rows: Sequence[Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in rows]
