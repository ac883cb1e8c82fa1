"""What a look at every tenant's tables keeps."""

import json
from datetime import UTC, datetime, timedelta

import asyncpg

from app.collect import queries, walk_queries
from app.collect.collector import Collecting
from app.collect.model import Collector
from app.db.pool import Database
from tests.collect.support import collect, collecting_in, plan
from tests.support.data import make_tenant
from tests.support.polling import until

_TABLES = ["budget_lines", "budgets", "forecast_data_points", "forecasts", "scenarios", "variance_analysis"]
_BUDGET = """
INSERT INTO bf_acme.budgets
       (id, tenant_id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end)
SELECT n::text, 'acme', repeat('x', 200), 'annual', 2025, '2025-01-01', '2025-12-31' FROM generate_series(1, 500) n
"""
# Before PostgreSQL 15 a process of its own writes statistics down, when it comes to it.
_COUNTED = "SELECT pg_stat_get_tuples_inserted('bf_acme.budgets'::regclass) = 500"
# Each row, and by which transaction it was written.
_WRITTEN = (
    "SELECT xmin::text, * FROM bf_control.table_snapshot ORDER BY tenant_id, table_name",
    "SELECT xmin::text, * FROM bf_control.index_snapshot ORDER BY tenant_id, index_name",
    "SELECT * FROM bf_control.size_history ORDER BY tenant_id, taken_at",
)
_OLD = datetime(2020, 1, 1, tzinfo=UTC)


async def test_sizes_and_rows_are_those_of_the_catalogue(
    dsn: str, conn: asyncpg.Connection, superuser: asyncpg.Connection, database: Database
) -> None:
    await make_tenant(conn, "acme")
    await make_tenant(conn, "globex")
    await superuser.execute(_BUDGET)
    await superuser.execute("VACUUM ANALYZE bf_acme.budgets")
    await collect(dsn)
    async with database.connection() as reading:
        tables = await queries.tables(reading, "acme")
        acme = await queries.schema(reading, "acme")
        globex = await queries.schema(reading, "globex")
        largest = await queries.largest(reading, 10)
    assert [table.table_name for table in tables] == _TABLES
    budgets = tables[1]
    assert budgets.total_bytes == await superuser.fetchval("SELECT pg_total_relation_size('bf_acme.budgets')")
    assert budgets.index_bytes == await superuser.fetchval("SELECT pg_indexes_size('bf_acme.budgets')")
    assert (budgets.live_rows, budgets.dead_rows) == (500, 0)
    assert budgets.last_vacuum_at is not None
    assert budgets.last_analyze_at is not None
    assert (budgets.rls_enabled, budgets.rls_forced, budgets.policy_count) == (True, True, 2)
    assert acme is not None
    assert globex is not None
    assert acme.intact
    assert globex.intact
    assert acme.total_bytes == sum(table.total_bytes for table in tables) > globex.total_bytes
    assert [schema.tenant_id for schema in largest] == ["acme", "globex"]


async def test_what_is_missing_or_open_is_named(
    dsn: str, conn: asyncpg.Connection, superuser: asyncpg.Connection, database: Database
) -> None:
    await make_tenant(conn, "acme")
    await collect(dsn)
    await conn.execute(
        "DROP TABLE bf_acme.scenarios; DROP INDEX bf_acme.idx_acme_budgets_status; "
        "ALTER TABLE bf_acme.budgets NO FORCE ROW LEVEL SECURITY; "
        "DROP POLICY audit_access_forecasts ON bf_acme.forecasts"
    )
    await superuser.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'bf_acme.idx_acme_budgets_department'::regclass"
    )
    await collect(dsn)
    async with database.connection() as reading:
        acme = await queries.schema(reading, "acme")
    assert acme is not None
    assert not acme.intact
    assert acme.missing_tables == ["scenarios"]
    assert acme.missing_indexes == [
        "idx_acme_budgets_status", "idx_acme_scenarios_base", "idx_acme_scenarios_forecast", "idx_acme_scenarios_type",
    ]  # fmt: skip
    assert acme.open_tables == ["budgets", "forecasts"]
    assert acme.invalid_indexes == 1
    assert acme.table_count == 5


async def test_a_tenant_that_was_purged_leaves_nothing(dsn: str, conn: asyncpg.Connection, database: Database) -> None:
    for tenant_id in ("acme", "globex"):
        await make_tenant(conn, tenant_id)
    await collect(dsn)
    await conn.execute("DROP SCHEMA bf_acme CASCADE; DELETE FROM bf_control.tenant WHERE tenant_id = 'acme'")
    await collect(dsn)
    async with database.connection() as reading:
        assert await queries.schema(reading, "acme") is None
        assert await queries.tables(reading, "acme") == []
        assert (await queries.collections(reading))[Collector.TENANTS].error is None
        assert await queries.schema(reading, "globex") is not None
    assert await conn.fetchval("SELECT count(*) FROM bf_control.size_history WHERE tenant_id = 'acme'") == 0
    assert await conn.fetchval("SELECT count(*) FROM bf_control.index_snapshot WHERE tenant_id = 'acme'") == 0


async def test_a_tenant_whose_table_is_locked_is_passed_over(
    dsn: str, conn: asyncpg.Connection, database: Database
) -> None:
    """For the next round; the others are looked at, and nobody is waited for."""
    for tenant_id in ("acme", "globex", "initech"):
        await make_tenant(conn, tenant_id)
    async with conn.transaction():
        await conn.execute("LOCK TABLE bf_globex.budgets")
        await collect(dsn)
    async with database.connection() as reading:
        last = (await queries.collections(reading))[Collector.TENANTS]
        seen = [await queries.schema(reading, tenant_id) is not None for tenant_id in ("acme", "globex", "initech")]
    assert seen == [True, False, True]
    assert last.error is None
    assert last.tenants == 3
    assert "1 tenants were passed over" in last.notes[0].reason
    assert "globex" in last.notes[0].reason
    await collect(dsn)
    async with database.connection() as reading:
        assert await queries.schema(reading, "globex") is not None
        assert (await queries.collections(reading))[Collector.TENANTS].notes == ()


async def test_history_has_a_sample_for_each_change(dsn: str, conn: asyncpg.Connection, database: Database) -> None:
    """And none of a tenant that stayed as it was."""
    await make_tenant(conn, "acme")
    for _ in range(2):
        await collect(dsn)
    await _write(dsn)
    await until(lambda: conn.fetchval(_COUNTED), what="statistics of 500 rows")
    await collect(dsn)
    async with database.connection() as reading:
        first, second = await queries.history(reading, "acme", since=_OLD)
        newest = await queries.history(reading, "acme", since=datetime.now(UTC))
    assert first.total_bytes < second.total_bytes
    assert second.tables["budgets"].live_rows == 500
    assert newest == [second]


async def test_one_sample_a_day_is_kept_of_a_tenant_at_rest(dsn: str, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "acme")
    await collect(dsn)
    await conn.execute("UPDATE bf_control.size_history SET taken_at = taken_at - interval '1 day'")
    for _ in range(2):
        await collect(dsn)
    assert await conn.fetchval("SELECT count(*) FROM bf_control.size_history") == 2


async def test_a_look_at_a_fleet_at_rest_writes_only_that_it_looked(dsn: str, conn: asyncpg.Connection) -> None:
    for tenant_id in ("acme", "globex"):
        await make_tenant(conn, tenant_id)
    await collect(dsn)

    async def nothing_written() -> bool:
        """What the making of tenants has counted may still come in, once or twice."""
        before = [await conn.fetch(written) for written in _WRITTEN]
        looked = await conn.fetchval("SELECT max(taken_at) FROM bf_control.schema_snapshot")
        await collect(dsn)
        assert await conn.fetchval("SELECT min(taken_at) FROM bf_control.schema_snapshot") > looked
        return before == [await conn.fetch(written) for written in _WRITTEN]

    await until(nothing_written, what="a look that writes nothing")


async def test_an_unfinished_walk_goes_on_where_it_got_to(dsn: str, conn: asyncpg.Connection) -> None:
    for tenant_id in ("acme", "globex", "initech"):
        await make_tenant(conn, tenant_id)
    await conn.execute(
        "INSERT INTO bf_control.collection (collector, started_at, reached, tenants) "
        "VALUES ('tenants', now(), 'acme', 1)"
    )
    async with collecting_in(dsn) as database:
        await Collecting(database, plan({Collector.TENANTS: timedelta(hours=1)})).collect()
    seen = await conn.fetch("SELECT tenant_id FROM bf_control.schema_snapshot ORDER BY tenant_id")
    assert [row["tenant_id"] for row in seen] == ["globex", "initech"]
    assert await conn.fetchval("SELECT tenants FROM bf_control.collection WHERE collector = 'tenants'") == 3


async def _write(dsn: str) -> None:
    """In a session of its own, which ends: then its statistics are there for all to see."""
    writing = await asyncpg.connect(dsn)
    async with writing.transaction():
        await writing.execute("ALTER TABLE bf_acme.budgets NO FORCE ROW LEVEL SECURITY")
        await writing.execute(_BUDGET)
        await writing.execute("ALTER TABLE bf_acme.budgets FORCE ROW LEVEL SECURITY")
    await writing.close()


_BUFFERS = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, COSTS OFF, FORMAT JSON) "


async def _pages_read(conn: asyncpg.Connection, *tenant_ids: str) -> int:
    """Of the catalogue and of what is kept, by a look at these tenants; nothing of it stays."""
    transaction = conn.transaction()
    await transaction.start()
    await walk_queries.prepare(conn, alone=True)  # type: ignore[arg-type]
    names = [name for name, _ in (await walk_queries.layout(conn)).tables]  # type: ignore[arg-type]
    read = 0
    for sql, third in ((walk_queries._TABLES, walk_queries.ANEW), (walk_queries._INDEXES, [])):
        for _ in range(2):  # the first fills the session's own caches
            explained = json.loads(await conn.fetchval(_BUFFERS + sql, tenant_ids, names, third))
        read += explained[0]["Plan"]["Shared Hit Blocks"] + explained[0]["Plan"]["Shared Read Blocks"]
    await transaction.rollback()
    return read


async def test_a_look_at_some_tenants_reads_no_more_because_there_are_more(dsn: str, conn: asyncpg.Connection) -> None:
    for name in ("acme", "globex"):
        await make_tenant(conn, name)
    await collect(dsn)
    few = await _pages_read(conn, "acme", "globex")
    for number in range(30):
        await make_tenant(conn, f"other_{number}")
    many = await _pages_read(conn, "acme", "globex")
    assert many < few * 1.3
