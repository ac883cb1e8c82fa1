"""Transactions in two phases, which only a server takes that was told to."""

from pathlib import Path

import asyncpg

from app.db.pools import ddl_database
from app.schema import files, upgrade
from app.schema.script import Target
from tests.limits.support import BUDGETS, CONTEXT, over, set_limits, used
from tests.support.cluster import Cluster
from tests.support.data import make_tenant, settings_for


async def test_a_prepared_transaction_is_settled_when_it_is_prepared(tmp_path: Path) -> None:
    cluster = Cluster.start(tmp_path / "data", settings={"fsync": "off", "max_prepared_transactions": "4"})
    try:
        dsn = await cluster.create_database("two_phases")
        async with ddl_database(settings_for(dsn), application_name="test") as database:
            await upgrade.run(database, files.migrations(), Target())
        conn = await asyncpg.connect(cluster.superuser_dsn("two_phases"))
        await make_tenant(conn)
        await set_limits(conn, '{"max_budgets": 1}')
        for name, ending, left in (("a", "ROLLBACK", {}), ("b", "COMMIT", {"max_budgets": 1})):
            await _prepare(conn, name)
            assert await used(conn) == {}
            await conn.execute(f"{ending} PREPARED 'p'")
            assert await used(conn) == left
        with over("max_budgets"):
            await _prepare(conn, "c")
        await conn.close()
    finally:
        cluster.stop()


async def _prepare(conn: asyncpg.Connection, name: str) -> None:
    await conn.execute("BEGIN")
    await conn.execute(CONTEXT, "acme_corp")
    await conn.execute(BUDGETS, name, 1)
    await conn.execute("PREPARE TRANSACTION 'p'")
