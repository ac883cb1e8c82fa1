"""What must be true of a database after anything was done to those who work on it."""

import asyncio
from collections.abc import Set
from typing import Any

import asyncpg

from app.audit import chain_queries, sealer, verify
from app.db.pool import Database
from app.db.pools import ddl_database
from app.schema import files
from app.schema.expected import ExpectedTenants
from tests.support import pooling
from tests.support.data import settings_for

_OURS = frozenset({"bf_control", "bf_queue", "bf_shared"})
_COMPLETE = frozenset({"active", "suspended", "deleted"})

_SCHEMAS = r"SELECT nspname FROM pg_namespace WHERE nspname LIKE 'bf\_%'"
_TENANTS = "SELECT tenant_id, schema_name, state, schema_version, last_operation_id FROM bf_control.tenant"
# A downgrade takes the shared schema away, and leaves what the service knows.
_SHARED = "SELECT to_regclass('bf_shared.tenant_config') IS NOT NULL"
_CONFIGURED = "SELECT tenant_id, is_active FROM bf_shared.tenant_config"
_INVALID = """
SELECT i.indexrelid::regclass::text FROM pg_index i
 WHERE NOT (i.indisvalid AND i.indisready AND i.indislive)
"""
_ADVISORY = """
SELECT a.application_name, l.classid, l.objid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'advisory' AND a.datname = current_database()
"""
_IDLE = """
SELECT application_name, query FROM pg_stat_activity
 WHERE datname = current_database() AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()
"""
_UNFINISHED = "SELECT id, kind, status, attempts FROM bf_control.operation WHERE status IN ('queued', 'running')"
_JOBS = "SELECT status, count(*) FROM bf_queue.pgqueuer GROUP BY status"
# One accepted row and one end for each operation that has ended, by the request that asked for it.
_ENDS = """
SELECT o.id, o.status, array_agg(a.outcome ORDER BY a.id) AS outcomes
  FROM bf_control.operation o
  LEFT JOIN bf_control.audit a ON a.request_id = o.request_id AND a.action = replace(o.kind, 'provision', 'create')
 WHERE o.request_id IS NOT NULL
 GROUP BY o.id, o.status
"""
# What was seen of each operation since there are events, and whether the last of it is what the row says.
_EVENTS = """
SELECT o.id, o.status, array_agg(e.seq ORDER BY e.seq) AS seqs, array_agg(e.event ORDER BY e.seq) AS events,
       bool_or(e.document ->> 'status' = o.status
               AND (e.document ->> 'started_at')::timestamptz IS NOT DISTINCT FROM o.started_at
               AND (e.document ->> 'finished_at')::timestamptz IS NOT DISTINCT FROM o.finished_at
               AND (e.document ->> 'attempts')::integer = o.attempts
               AND nullif(e.document -> 'progress', 'null') IS NOT DISTINCT FROM o.progress
               AND e.document -> 'steps' = o.steps
               AND nullif(e.document -> 'result', 'null') IS NOT DISTINCT FROM o.result
               AND nullif(e.document -> 'error', 'null') IS NOT DISTINCT FROM o.error)
           FILTER (WHERE e.seq = (SELECT max(n.seq) FROM bf_control.operation_event n WHERE n.operation_id = o.id))
           AS current
  FROM bf_control.operation o LEFT JOIN bf_control.operation_event e ON e.operation_id = o.id
 WHERE o.created_at > (SELECT applied_at FROM bf_control.migration WHERE layer = 'control' AND version = 3)
 GROUP BY o.id
"""
_TERMINAL = ("succeeded", "failed", "cancelled")


async def settled(conn: asyncpg.Connection, *, within: float = 60) -> None:
    """Waits until no operation is unfinished and the queue is empty. Raises TimeoutError with what is left."""
    left: list[Any] = []
    try:
        async with asyncio.timeout(within):
            while True:
                left = [*await conn.fetch(_UNFINISHED), *await conn.fetch(_JOBS)]
                if not left:
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise TimeoutError(f"after {within} s: {left}") from None


async def assert_clean(dsn: str, *, others: Set[str] = frozenset()) -> None:
    """Every tenant whole or absent; nothing left behind by whoever was killed. Call it when work has settled.

    `others` are schemas of somebody else, with names like ours.
    """
    conn = await asyncpg.connect(pooling.direct(dsn))
    try:
        async with ddl_database(settings_for(dsn), application_name="oracle") as database:
            await _tenants(conn, database, others)
            await _audit(database)
        assert not await conn.fetch(_INVALID), "invalid indexes"
        assert not await _gone(conn, _ADVISORY), "an advisory lock was left"
        assert not await _gone(conn, _IDLE), "a session idles in a transaction"
        assert not await conn.fetch(_UNFINISHED), "an operation has not ended"
        for row in await conn.fetch(_ENDS):
            assert row["outcomes"] == ["accepted", row["status"]], f"operation {row['id']}: {row['outcomes']}"
        for row in await conn.fetch(_EVENTS):
            _one_end(row)
    finally:
        await conn.close()


async def _audit(database: Database) -> None:
    """Of a database that an earlier release has made there is no chain."""
    async with database.connection() as conn:
        if not await chain_queries.installed(conn):
            return
    await sealer.seal(database)
    verified = await verify.verify(database, anchors=None)
    assert verified.bad is None, verified.bad


def _one_end(row: asyncpg.Record) -> None:
    seen = f"operation {row['id']}, {row['status']}: {row['seqs']} {row['events']}"
    assert row["seqs"] == list(range(1, len(row["seqs"]) + 1)), seen
    assert row["events"][0] == "queued", seen
    assert [event for event in row["events"] if event in _TERMINAL] == [row["events"][-1]] == [row["status"]], seen
    assert row["current"], f"{seen}: the last event is not what the row says"


async def _tenants(conn: asyncpg.Connection, database: Database, others: Set[str]) -> None:
    expected = ExpectedTenants(database, files.migrations())
    found = {row["nspname"] for row in await conn.fetch(_SCHEMAS)} - _OURS - others
    there = await conn.fetch(_CONFIGURED) if await conn.fetchval(_SHARED) else []
    configured = {row["tenant_id"]: row["is_active"] for row in there}
    for tenant in await conn.fetch(_TENANTS):
        tenant_id, schema, state = tenant["tenant_id"], tenant["schema_name"], tenant["state"]
        if state not in _COMPLETE:
            assert state == "failed", f"{tenant_id} is still {state}"
            assert schema not in found, f"{tenant_id} failed, and {schema} is there"
            assert tenant_id not in configured, f"{tenant_id} failed, and has a configuration"
            continue
        assert schema in found, f"{tenant_id} is {state} without a schema"
        assert configured.get(tenant_id) is (state == "active"), f"{tenant_id} is {state}: {configured.get(tenant_id)}"
        await expected.prepare(tenant["schema_version"])
        async with database.transaction() as reading:
            difference = await expected.difference(
                reading, tenant_id=tenant_id, schema_name=schema, version=tenant["schema_version"]
            )
        assert difference.ok, f"{tenant_id} is {state}: {difference.summary()}"
        found.discard(schema)
    assert not found, f"schemas of nobody: {found}"


async def _gone(conn: asyncpg.Connection, query: str, *, within: float = 3) -> list[Any]:
    """What the query still finds after a while: a transaction in flight is no leak."""
    for _ in range(round(within / 0.1)):
        rows = await conn.fetch(query)
        if not rows:
            return []
        await asyncio.sleep(0.1)
    return list(rows)
