"""A database of the release before, with what SQL could store there, is brought along."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from app.db.pools import ddl_database
from app.schema import files, upgrade
from app.schema.script import Migration, Target
from tests.support.data import make_tenant, settings_for
from tests.support.polling import waiting_for_locks

# The first files of the release that changes configuration as a whole.
_FIRST = {"control": "configuration", "shared": "configuration", "tenant": "usage"}
_ODD = """
UPDATE bf_shared.tenant_config SET {} WHERE tenant_id = '{}'
"""
_REQUESTED = """
INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, created_by, initial_config)
VALUES ($1, 'T', concat('bf_', $1::varchar), 'provisioning', 'tests', $2)
"""


def _before() -> tuple[Migration, ...]:
    newer = {m.layer: m.version for m in files.migrations() if _FIRST.get(m.layer) == m.name}
    assert newer.keys() == _FIRST.keys()
    return tuple(m for m in files.migrations() if m.version < newer.get(m.layer, 10**6))


async def _upgrade(dsn: str, migrations: tuple[Migration, ...]) -> upgrade.Outcome:
    async with ddl_database(settings_for(dsn), application_name="test") as database:
        return await upgrade.run(database, migrations, Target())


@pytest.fixture
async def older(empty_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    await _upgrade(empty_dsn, _before())
    conn = await asyncpg.connect(empty_dsn, statement_cache_size=0)
    yield conn
    await conn.close()


async def _history(conn: asyncpg.Connection, tenant_id: str) -> list[tuple[int, str | None, str]]:
    rows = await conn.fetch(
        "SELECT version, reason, source FROM bf_control.tenant_config_history WHERE tenant_id = $1 ORDER BY id",
        tenant_id,
    )
    return [tuple(row) for row in rows]


async def test_older_versions_are_numbered(older: asyncpg.Connection, empty_dsn: str) -> None:
    """Those of two tenants in turn, one of them made twice."""
    await older.execute(
        """INSERT INTO bf_control.tenant_config_history (tenant_id, database_user, source, documents, before, after)
           SELECT t, 'x', 'sql', '{}', b::jsonb, '{}' FROM (VALUES ('a', NULL), ('b', NULL), ('a', '{}'), ('a', NULL),
                  ('b', '{}'), ('a', '{}'), ('a', '{}')) AS v(t, b)"""
    )
    await _upgrade(empty_dsn, files.migrations())
    rows = await older.fetch("SELECT tenant_id, version FROM bf_control.tenant_config_history ORDER BY id")
    assert [tuple(row) for row in rows] == [("a", 1), ("b", 1), ("a", 2), ("a", 1), ("b", 2), ("a", 2), ("a", 3)]


async def test_what_the_api_does_not_take_has_its_default_and_history_says_so(
    older: asyncpg.Connection, empty_dsn: str
) -> None:
    odd = {
        "day": "fiscal_year_start = 'infinity'",
        "year": "fiscal_year_start = '12025-04-01'",
        "bc": "fiscal_year_start = '0044-03-15 BC'",
        "level": "audit_level = 'UTTER'",
        "both": "audit_level = 'Ü', fiscal_year_start = '-infinity'",
    }
    for tenant_id, assignment in odd.items():
        await make_tenant(older, tenant_id)
        await older.execute(_ODD.format(assignment, tenant_id))
    await make_tenant(older, "fine")
    await older.execute(_ODD.format("audit_level = 'basic', fiscal_year_start = '0001-01-01'", "fine"))
    outcome = await _upgrade(empty_dsn, files.migrations())
    assert not outcome.failed
    rows = await older.fetch("SELECT tenant_id, fiscal_year_start::text, audit_level FROM bf_shared.tenant_config")
    told = "the upgrade put the default in place of what the API does not take"
    for tenant_id, day, level in rows:
        if tenant_id == "fine":
            assert (day, level) == ("0001-01-01", "basic")
            assert [version for version, _, _ in await _history(older, tenant_id)] == [1, 2]
            continue
        assert (day, level) == ("2025-01-01", "detailed")
        assert (await _history(older, tenant_id))[-1] == (3, told, "sql")
    assert len(rows) == len(odd) + 1
    for assignment in odd.values():
        with pytest.raises(asyncpg.CheckViolationError):
            await older.execute(_ODD.format(assignment, "fine"))


def _nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


async def test_what_is_too_deep_stays_and_no_more_comes(older: asyncpg.Connection, empty_dsn: str) -> None:
    await make_tenant(older, "deep")
    await make_tenant(older, "odd")
    for tenant_id in ("deep", "odd"):
        await older.execute(
            "UPDATE bf_shared.tenant_config SET budget_features = $1 WHERE tenant_id = $2", _nested(300), tenant_id
        )
    await older.execute(_ODD.format("audit_level = 'UTTER'", "odd"))
    await _upgrade(empty_dsn, files.migrations())
    assert await older.fetchval("SELECT audit_level FROM bf_shared.tenant_config WHERE tenant_id = 'odd'") == "detailed"
    with pytest.raises(asyncpg.CheckViolationError, match="tenant_config_depth_check"):
        await older.execute(_ODD.format("audit_level = 'basic'", "deep"))
    for column in ("budget_features", "external_systems"):
        with pytest.raises(asyncpg.CheckViolationError, match="tenant_config_depth_check"):
            await older.execute(f"UPDATE bf_shared.tenant_config SET {column} = $1", _nested(256))  # noqa: S608
        assert await older.execute(f"UPDATE bf_shared.tenant_config SET {column} = $1", _nested(255))  # noqa: S608


async def test_a_change_that_waits_for_the_migration_is_a_version_too(
    older: asyncpg.Connection, empty_dsn: str
) -> None:
    """It began to record itself as the release before does."""
    await make_tenant(older)
    [migration] = [m for m in files.migrations() if m.layer == "control" and m.name == _FIRST["control"]]
    other = await asyncpg.connect(empty_dsn)
    try:
        async with older.transaction():
            for statement in migration.statements:
                await older.execute(statement.text)
            update = "UPDATE bf_shared.tenant_config SET audit_level = 'basic'"
            changing = asyncio.create_task(other.execute(update))
            await waiting_for_locks(older)
        await changing
    finally:
        await other.close()
    assert [version for version, _, _ in await _history(older, "acme_corp")] == [1, 2]


async def test_settings_that_the_release_before_takes_at_creation_pass(empty_dsn: str) -> None:
    """The extremes of what its ConfigIn let through."""
    await _upgrade(empty_dsn, files.migrations())
    conn = await asyncpg.connect(empty_dsn)
    try:
        for number, settings in enumerate(_extremes()):
            tenant_id = f"t_{number}"
            await conn.execute(
                _REQUESTED,
                tenant_id,
                json.dumps(settings),
            )
            await make_tenant(conn, tenant_id)
            assert (
                await conn.fetchval("SELECT state FROM bf_control.tenant WHERE tenant_id = $1", tenant_id) == "active"
            )
    finally:
        await conn.close()


def _extremes() -> list[dict[str, Any]]:
    return [
        {"fiscal_year_start": "0001-01-01", "data_retention_days": 1, "audit_level": "a"},
        {"fiscal_year_start": "9999-12-31", "data_retention_days": 36500, "audit_level": "z" + "_" * 19},
        {"budget_features": json.loads(_nested(255)), "cost_centers": json.loads("[" * 255 + "]" * 255)},
        {"time_zone": "America/Argentina/ComodRivadavia", "default_currency": "ZWG"},
        {"cost_centers": [None, True, -1e-300, 10**400, "", {"": ""}]},
    ]
