"""Slow statements, where pg_stat_statements is to be had; and what is said where it is not."""

from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from app.collect import page_queries, queries
from app.collect.model import Collection, Collector, Statement
from app.collect.page_queries import Page
from app.collect.redact import redacted, schemas_in
from app.db.pools import ddl_database
from app.schema import files, upgrade
from app.schema.script import Target
from tests.collect.support import collect, collecting_in
from tests.support.cluster import Cluster
from tests.support.data import make_tenant, settings_for


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server that has loaded the extension's library."""
    settings = {"fsync": "off", "shared_preload_libraries": "pg_stat_statements"}
    running = Cluster.start(tmp_path_factory.mktemp("statements") / "data", settings=settings)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
async def counted(preloaded: Cluster) -> tuple[str, Cluster]:
    """A database with tenants acme and globex, where the extension is in a schema of its own."""
    dsn = await _installed(preloaded)
    conn = await asyncpg.connect(dsn)
    for tenant_id in ("acme", "globex"):
        await make_tenant(conn, tenant_id)
    await conn.close()
    admin = await preloaded.superuser(dsn.rpartition("/")[2])
    await admin.execute('CREATE SCHEMA "Odd place"; CREATE EXTENSION pg_stat_statements SCHEMA "Odd place"')
    await collect(dsn, Collector.STATEMENTS)
    _, collection = await _seen(dsn)
    assert "may not be read" in collection.notes[0].reason
    await admin.execute(collection.notes[0].mend or "")
    # Of those that took most of the time so many are kept; what made the database has taken the most.
    await admin.execute('SELECT "Odd place".pg_stat_statements_reset()')
    await admin.close()
    return dsn, preloaded


async def _installed(cluster: Cluster) -> str:
    dsn = await cluster.create_database()
    async with ddl_database(settings_for(dsn), application_name="test") as database:
        await upgrade.run(database, files.migrations(), Target())
    return dsn


async def _seen(dsn: str, tenant_id: str | None = None) -> tuple[list[Statement], Collection]:
    async with collecting_in(dsn) as database, database.connection() as conn:
        page = Page(order_by="-calls", after=None, limit=500)
        found = await page_queries.statements(conn, page, tenant_id=tenant_id, role=None)
        return found, (await queries.collections(conn))[Collector.STATEMENTS]


async def test_statements_are_told_by_the_tenant_whose_schema_they_name(counted: tuple[str, Cluster]) -> None:
    dsn, _ = counted
    conn = await asyncpg.connect(dsn)
    for _ in range(3):
        await conn.fetch("SELECT id FROM bf_acme.budgets WHERE budget_name = 'hunter2' -- of whom: bf_globex.x")
    await conn.fetch("SELECT FROM bf_acme.budgets a, bf_globex.budgets g WHERE a.id = g.id")
    await conn.close()
    await collect(dsn, Collector.STATEMENTS)
    acme, collection = await _seen(dsn, "acme")
    assert collection.error is None
    wanted = [statement for statement in acme if "budget_name" in statement.query]
    assert [statement.query for statement in wanted] == ["SELECT id FROM bf_acme.budgets WHERE budget_name = $1"]
    assert wanted[0].calls == 3
    assert wanted[0].role == "bf_migrator"
    assert wanted[0].mean_ms == pytest.approx(wanted[0].total_ms / 3)
    every, _ = await _seen(dsn)
    both = [statement for statement in every if "bf_globex.budgets g" in statement.query]
    assert [statement.tenant_id for statement in both] == [None]
    assert "hunter2" not in repr(every)


async def test_a_password_in_a_statement_is_not_kept(counted: tuple[str, Cluster]) -> None:
    dsn, cluster = counted
    admin = await cluster.superuser(dsn.rpartition("/")[2])
    await admin.execute("GRANT pg_monitor TO bf_migrator")
    try:
        await admin.execute("CREATE ROLE somebody PASSWORD 'hunter2'; DROP ROLE somebody")
        await admin.execute("SET bf.secret = hunter2")
        await collect(dsn, Collector.STATEMENTS)
    finally:
        await admin.execute("REVOKE pg_monitor FROM bf_migrator")
        await admin.close()
    every, collection = await _seen(dsn)
    assert any(statement.query == "CREATE ROLE …" for statement in every)
    assert "hunter2" not in repr(every)
    assert collection.notes == ()


async def test_without_pg_monitor_only_our_own_are_seen_and_that_is_said(counted: tuple[str, Cluster]) -> None:
    dsn, _ = counted
    await collect(dsn, Collector.STATEMENTS)
    every, collection = await _seen(dsn)
    assert {statement.role for statement in every} == {"bf_migrator"}
    assert collection.notes[0].mend == "GRANT pg_monitor TO bf_migrator;"


async def test_without_the_extension_it_is_said_how_to_have_it(dsn: str) -> None:
    await collect(dsn, Collector.STATEMENTS)
    every, collection = await _seen(dsn)
    assert every == []
    assert collection.error is None
    assert "not installed" in collection.notes[0].reason
    assert "CREATE EXTENSION pg_stat_statements" in (collection.notes[0].mend or "")


async def test_without_its_library_it_is_said_how_to_load_it(tmp_path: Path) -> None:
    cluster = Cluster.start(tmp_path / "data", settings={"fsync": "off", "shared_preload_libraries": ""})
    try:
        dsn = await _installed(cluster)
        admin = await cluster.superuser(dsn.rpartition("/")[2])
        await admin.execute("CREATE EXTENSION pg_stat_statements")
        await admin.close()
        await collect(dsn, Collector.STATEMENTS)
        _, collection = await _seen(dsn)
    finally:
        cluster.stop()
    assert "library is not loaded" in collection.notes[0].reason
    assert "shared_preload_libraries" in (collection.notes[0].mend or "")


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("SELECT 'a''b', E'c\\'d', $$e$$, $x$f$x$, 12.5e3, x'ff' FROM t", "SELECT ?, ?, ?, ?, ?, ? FROM t"),
        ('SELECT $1, t1.c2 /* secret */ FROM "Odd 1".t1 -- secret', 'SELECT $1, t1.c2 FROM "Odd 1".t1'),
        ("SELECT 'never closed", "SELECT ?"),
        ("SELECT $$never closed", "SELECT ?"),
        ("SELECT /* never closed", "SELECT"),
        ("ALTER ROLE x PASSWORD 'y'", "ALTER ROLE …"),
        ("SET a.b = c", "SET a.b …"),
        ("  (select 1) union (select 2)", "(select ?) union (select ?)"),
        ("", ""),
    ],
)
def test_constants_and_comments_are_left_out(query: str, kept: str) -> None:
    assert redacted(query) == kept


def test_a_long_statement_is_cut() -> None:
    assert len(redacted("SELECT " + ", ".join(f"column_{number}" for number in range(1000)))) == 2000


def test_names_before_a_point_are_found() -> None:
    assert set(schemas_in('SELECT a.b FROM BF_Acme.t, "Odd ""1"""."T"')) == {"a", "bf_acme", 'Odd "1"'}
