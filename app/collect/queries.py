"""SQL that reads snapshots: rows by their keys, and never the catalogue. Writing them is collecting_queries.py's."""

from datetime import datetime
from typing import Any

from app.collect.model import (
    CatalogueTable,
    Collection,
    Collector,
    Connections,
    Fleet,
    LockWait,
    Note,
    Sample,
    Schema,
    Standby,
    Table,
    TableSize,
    TenantCount,
)
from app.db.pool import Connection

_COLLECTIONS = """
SELECT collector, started_at, ended_at, succeeded_at, duration_ms, failed_at, error, tenants, notes
  FROM bf_control.collection ORDER BY collector
"""
_FLEET = """
SELECT taken_at, database_bytes, transaction_age, multixact_age, freeze_max_age, connections, max_connections,
       locks_used, locks_limit, lock_waits, catalogue, standbys, slot_bytes, tenants, statistics_reset_at, disk_bytes,
       disk_free_bytes
  FROM bf_control.fleet_snapshot ORDER BY taken_at DESC LIMIT 1
"""
_CONNECTIONS = """
SELECT role, application, state, connections, waiting, oldest_transaction_seconds, longest_in_state_seconds
  FROM bf_control.connection_snapshot ORDER BY connections DESC, role, application, state
"""
_SCHEMA = """
SELECT tenant_id, taken_at, total_bytes, heap_bytes, index_bytes, toast_bytes, live_rows, dead_rows, table_count,
       index_count, invalid_indexes, unused_indexes, missing_tables, missing_indexes, open_tables, intact
  FROM bf_control.schema_snapshot WHERE tenant_id = $1
"""
_TABLES = """
SELECT t.tenant_id, t.table_name, s.taken_at, t.total_bytes, t.heap_bytes, t.index_bytes, t.toast_bytes, t.live_rows,
       t.dead_rows, t.sequential_scans, t.index_count, t.policy_count, t.rls_enabled, t.rls_forced, t.last_vacuum_at,
       t.last_analyze_at
  FROM bf_control.schema_snapshot s JOIN bf_control.table_snapshot t ON t.tenant_id = s.tenant_id
 WHERE s.tenant_id = $1 ORDER BY t.table_name
"""
# The sample before the time asked for holds at its beginning.
_HISTORY = """
SELECT taken_at, total_bytes, live_rows, dead_rows, tables FROM bf_control.size_history
 WHERE tenant_id = $1
   AND taken_at >= coalesce((SELECT max(b.taken_at) FROM bf_control.size_history b
                              WHERE b.tenant_id = $1 AND b.taken_at <= $2), '-infinity')
 ORDER BY taken_at DESC LIMIT $3
"""
_LARGEST = """
SELECT tenant_id, taken_at, total_bytes, heap_bytes, index_bytes, toast_bytes, live_rows, dead_rows, table_count,
       index_count, invalid_indexes, unused_indexes, missing_tables, missing_indexes, open_tables, intact
  FROM bf_control.schema_snapshot ORDER BY total_bytes DESC, tenant_id DESC LIMIT $1
"""


async def collections(conn: Connection) -> dict[Collector, Collection]:
    """How each collector's last round went. One that has never been asked for is missing."""
    known = {str(collector) for collector in Collector}
    rows = await conn.fetch(_COLLECTIONS)
    return {Collector(row["collector"]): _collection(row) for row in rows if row["collector"] in known}


async def fleet(conn: Connection) -> Fleet | None:
    """The newest look at the database; None before the first."""
    row = await conn.fetchrow(_FLEET)
    return None if row is None else _fleet(row)


async def connections(conn: Connection) -> list[Connections]:
    """As of the newest fleet(): those of which there are most first."""
    return [Connections(**dict(row)) for row in await conn.fetch(_CONNECTIONS)]


async def schema(conn: Connection, tenant_id: str) -> Schema | None:
    """None until the tenant has been looked at."""
    row = await conn.fetchrow(_SCHEMA, tenant_id)
    return None if row is None else schema_of(row)


async def largest(conn: Connection, limit: int) -> list[Schema]:
    """The largest tenants, the largest first."""
    return [schema_of(row) for row in await conn.fetch(_LARGEST, limit)]


async def tables(conn: Connection, tenant_id: str) -> list[Table]:
    """Of one tenant, by name."""
    return [table_of(row) for row in await conn.fetch(_TABLES, tenant_id)]


async def history(conn: Connection, tenant_id: str, *, since: datetime, limit: int = 2000) -> list[Sample]:
    """How the tenant grew, the oldest first: the newest `limit` samples, from the one that held at `since` on."""
    rows = await conn.fetch(_HISTORY, tenant_id, since, limit)
    return [_sample(row) for row in reversed(rows)]


def schema_of(row: Any) -> Schema:
    return Schema(**dict(row))


def table_of(row: Any) -> Table:
    return Table(**dict(row))


def _collection(row: Any) -> Collection:
    notes = tuple(Note(**note) for note in row["notes"])
    return Collection(**{**dict(row), "collector": Collector(row["collector"]), "notes": notes})


def _sample(row: Any) -> Sample:
    sizes = {name: TableSize(*told) for name, told in row["tables"].items()}
    return Sample(**{**dict(row), "tables": sizes})


def _fleet(row: Any) -> Fleet:
    parts = {
        "lock_waits": tuple(LockWait(**wait) for wait in row["lock_waits"]),
        "catalogue": tuple(CatalogueTable(**table) for table in row["catalogue"]),
        "standbys": tuple(Standby(**standby) for standby in row["standbys"]),
        "tenants": tuple(TenantCount(**count) for count in row["tenants"]),
    }
    return Fleet(**{**dict(row), **parts})
