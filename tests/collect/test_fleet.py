"""What a look at the database as a whole keeps."""

import asyncio
from pathlib import Path

import asyncpg

from app.collect import queries
from app.collect.collector import Collecting, Plan
from app.collect.model import Collector, Fleet
from app.db.pool import Database
from tests.collect.support import EVERYTHING, RETENTION, collect, collecting_in
from tests.support.data import make_tenant
from tests.support.polling import waiting_for_locks


async def _fleet(database: Database) -> Fleet:
    async with database.connection() as reading:
        found = await queries.fleet(reading)
    assert found is not None
    return found


async def test_the_database_is_told_of_as_postgresql_does(
    dsn: str, conn: asyncpg.Connection, database: Database
) -> None:
    await make_tenant(conn, "acme")
    await collect(dsn, Collector.FLEET)
    fleet = await _fleet(database)
    size = await conn.fetchval("SELECT pg_database_size(current_database())")
    assert abs(fleet.database_bytes - size) < 1_000_000
    assert fleet.max_connections == int(await conn.fetchval("SHOW max_connections"))
    assert 0 < fleet.connections < fleet.max_connections
    assert 0 < fleet.locks_used < fleet.locks_limit
    assert 0 < fleet.transaction_age < fleet.freeze_max_age
    assert {"pg_class", "pg_attribute"} <= {table.name for table in fleet.catalogue}
    assert all(table.bytes > 0 for table in fleet.catalogue)
    assert fleet.tenants_by("state") == {"active": 1}
    assert fleet.tenants_by("subscription_tier") == {"standard": 1}
    assert fleet.standbys == ()
    assert fleet.disk_bytes is None


async def test_connections_are_counted_by_role_application_and_state(dsn: str, database: Database) -> None:
    clients = [await asyncpg.connect(dsn, server_settings={"application_name": "budgeting"}) for _ in range(3)]
    try:
        await clients[0].execute("BEGIN")
        await collect(dsn, Collector.FLEET)
    finally:
        for client in clients:
            await client.close()
    async with database.connection() as reading:
        found = [row for row in await queries.connections(reading) if row.application == "budgeting"]
    assert [(row.role, row.state, row.connections) for row in found] == [
        ("bf_migrator", "idle", 2),
        ("bf_migrator", "idle in transaction", 1),
    ]
    assert found[1].oldest_transaction_seconds is not None
    await collect(dsn, Collector.FLEET)
    async with database.connection() as reading:
        assert not [row for row in await queries.connections(reading) if row.application == "budgeting"]


async def test_locks_that_are_waited_for_are_named_with_who_has_them(
    dsn: str, conn: asyncpg.Connection, superuser: asyncpg.Connection, database: Database
) -> None:
    await make_tenant(conn, "acme")
    waiting = await asyncpg.connect(dsn)
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_acme.budgets")
        stuck = asyncio.create_task(waiting.execute("SELECT FROM bf_acme.budgets"))
        await waiting_for_locks(conn, 1)
        await collect(dsn, Collector.FLEET)
    await stuck
    await waiting.close()
    wait = (await _fleet(database)).lock_waits[0]
    assert (wait.relation, wait.tenant_id, wait.mode, wait.waiting) == (
        "bf_acme.budgets", "acme", "AccessShareLock", 1,
    )  # fmt: skip
    assert len(wait.holders) == 1


async def test_what_is_hidden_from_us_is_said_with_what_shows_it(
    dsn: str, superuser: asyncpg.Connection, database: Database
) -> None:
    await collect(dsn)
    async with database.connection() as reading:
        notes = (await queries.collections(reading))[Collector.FLEET].notes
        rows = await queries.connections(reading)
    assert "hidden from us" in notes[0].reason
    assert notes[0].mend == "GRANT pg_monitor TO bf_migrator;"
    assert any(row.state == "hidden" for row in rows)
    await superuser.execute(notes[0].mend)
    try:
        await collect(dsn)
    finally:
        await superuser.execute("REVOKE pg_monitor FROM bf_migrator")
    async with database.connection() as reading:
        assert (await queries.collections(reading))[Collector.FLEET].notes == ()
        assert not any(row.state == "hidden" for row in await queries.connections(reading))


async def test_the_disk_is_known_where_a_worker_sees_it(dsn: str, database: Database, tmp_path: Path) -> None:
    async with collecting_in(dsn) as collecting:
        await Collecting(collecting, Plan(every=EVERYTHING, retention=RETENTION, disk=tmp_path)).collect()
    fleet = await _fleet(database)
    assert fleet.disk_bytes is not None
    assert fleet.disk_free_bytes is not None
    assert 0 < fleet.disk_free_bytes <= fleet.disk_bytes
