"""A tenant in use when its schema begins to count: the counters have what is there already."""

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest

from app.limits import service, usage
from app.registry import service as registry
from app.schema import files, script, upgrade
from app.schema import service as schema
from app.schema.script import Migration, Target
from tests.limits.support import BUDGETS, CONTEXT, FORECAST, LINES, events, over, used
from tests.schema.support import Site

_LIMITS = """
UPDATE bf_shared.tenant_config SET max_budget_lines = 30, usage_limits = '{"max_budgets": 5, "odd": "x"}'
 WHERE tenant_id = 'acme_corp'
"""


def _before(directory: Path) -> tuple[Migration, ...]:
    """The migrations up to those that brought limits."""
    root = directory / "migrations"
    shutil.copytree(files.root(), root)
    for layer in ("control", "shared", "tenant"):
        found = sorted((root / layer).glob("*.sql"))
        first = next(
            path for path in found if "usage_" in path.read_text() and ("limits" in path.name or "usage" in path.name)
        )
        for path in found[found.index(first) :]:
            path.unlink()
    return script.load(root)


@pytest.fixture
async def older(site: Site, tmp_path: Path) -> Site:
    await site.upgrade(migrations=_before(tmp_path))
    await site.setup("acme_corp", "empty")
    async with site.connect(site.cluster.superuser_dsn(site.name)) as conn, conn.transaction():
        await conn.execute(CONTEXT, "acme_corp")
        await conn.execute(BUDGETS, "b", 7)
        await conn.execute(LINES, "l", 25)
        await conn.execute(FORECAST, "f", 12)
        await conn.execute("UPDATE budgets SET is_deleted = true WHERE id IN ('b6', 'b7')")
        await conn.execute("RESET search_path")
        await conn.execute(_LIMITS)
    return site


async def test_what_is_there_is_counted_and_held_to_its_limits(older: Site) -> None:
    outcome = await older.upgrade()
    assert (outcome.upgraded, outcome.failed) == (["acme_corp", "empty"], {})
    async with older.connect(older.cluster.superuser_dsn(older.name)) as conn:
        assert await used(conn) == {"max_budgets": 5, "max_budget_lines": 25, "max_forecasts": 1}
        assert (await used(conn, "empty"), await events(conn)) == ({}, [])
        forced = "SELECT bool_and(relforcerowsecurity) FROM pg_class WHERE relname IN ('budgets', 'budget_lines')"
        assert await conn.fetchval(forced)
        own = "SELECT limit_name, value FROM bf_control.tenant_limit ORDER BY limit_name"
        assert [tuple(row) for row in await conn.fetch(own)] == [("max_budget_lines", 30), ("max_budgets", 5)]
        for name, statement, number in (("max_budgets", BUDGETS, 1), ("max_budget_lines", LINES, 6)):
            with over(name):
                async with conn.transaction():
                    await conn.execute(CONTEXT, "acme_corp")
                    await conn.execute(statement, "x", number)


async def test_rows_that_are_committed_while_the_upgrade_waits_are_counted(older: Site) -> None:
    async with older.connect(older.cluster.superuser_dsn(older.name)) as conn:
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute(CONTEXT, "acme_corp")
        await conn.execute(BUDGETS, "late", 3)
        await conn.execute(CONTEXT, "empty")
        await conn.execute(BUDGETS, "late", 2)
        upgrading = asyncio.create_task(older.upgrade())
        await asyncio.sleep(1.5)
        assert not upgrading.done()
        await transaction.commit()
        outcome = await upgrading
        assert outcome.failed == {}
        assert ((await used(conn))["max_budgets"], (await used(conn, "empty"))["max_budgets"]) == (8, 2)


async def test_an_old_tenant_and_its_usage_can_be_read_before_its_upgrade(older: Site) -> None:
    async with older.database() as database:
        await upgrade.run(database, files.migrations(), Target(), layers=("control",))
        async with database.transaction() as conn:
            tenant = await registry.require(conn, "acme_corp")
            limits = await service.get(conn, tenant)
            found = {each.limit.name: each.used for each in await usage.measure(conn, tenant)}
    assert (limits.effective["max_budget_lines"].value, limits.effective["max_budgets"].value) == (30, 5)
    assert (found["max_budgets"], found["max_budget_lines"]) == (5, 25)


async def test_an_upgrade_that_would_count_on_an_old_snapshot_is_refused(older: Site) -> None:
    async with older.database() as database:
        await upgrade.run(database, files.migrations(), Target(), layers=("control", "shared"))
        async with database.transaction() as conn:
            await schema.install(conn, files.migrations(), Target())
    async with older.connect() as conn:
        with pytest.raises(asyncpg.InvalidTransactionStateError, match="READ COMMITTED"):
            async with conn.transaction(isolation="repeatable_read"):
                await conn.execute("SELECT bf_shared.upgrade_tenant('acme_corp')")
        async with conn.transaction(isolation="repeatable_read"):
            await conn.execute("SELECT bf_shared.upgrade_tenant('empty')")
