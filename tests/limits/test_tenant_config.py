"""Limits as SQL sets them: what tenant_config takes, where it is enforced, and what comes from the tier."""

import json
from typing import Any

import asyncpg
import pytest

from tests.limits.support import BUDGETS, over, set_limits, used, working
from tests.support.data import make_tenant

_OWN = "SELECT limit_name, value FROM bf_control.tenant_limit WHERE tenant_id = $1 ORDER BY limit_name"
_COLUMNS = """
SELECT max_budget_lines, forecast_horizon_limit, concurrent_users_limit
  FROM bf_shared.tenant_config WHERE tenant_id = $1
"""
_TIERS = """
INSERT INTO bf_control.usage_limit_tier (limit_name, tier, value)
VALUES ('max_budget_lines', 'premium', 500000), ('forecast_horizon_limit', 'premium', 120),
       ('max_budgets', 'premium', 2), ('max_budget_lines', 'basic', 1000)
"""


async def _own(conn: asyncpg.Connection, tenant_id: str = "acme_corp") -> dict[str, int]:
    return {row[0]: row[1] for row in await conn.fetch(_OWN, tenant_id)}


async def _columns(conn: asyncpg.Connection, tenant_id: str = "acme_corp") -> tuple[int, ...]:
    return tuple(await conn.fetchrow(_COLUMNS, tenant_id) or ())


async def _set(conn: asyncpg.Connection, assignments: str) -> None:
    await conn.execute(f"UPDATE bf_shared.tenant_config SET {assignments} WHERE tenant_id = 'acme_corp'")  # noqa: S608


@pytest.mark.usefixtures("tenant")
async def test_a_new_tenant_has_what_a_standard_one_has_and_nothing_of_its_own(conn: asyncpg.Connection) -> None:
    assert (await _columns(conn), await _own(conn)) == ((100000, 60, 100), {})


@pytest.mark.usefixtures("tenant")
async def test_what_sql_sets_is_the_tenants_own_and_what_it_takes_away_is_not(conn: asyncpg.Connection) -> None:
    await _set(conn, """max_budget_lines = 500000, usage_limits = '{"max_budgets": 500, "max_forecast_horizon": 36}'""")
    assert await _own(conn) == {"max_budget_lines": 500000, "max_budgets": 500, "max_forecast_horizon": 36}
    await _set(conn, """usage_limits = '{"max_budgets": 501, "storage_mb": 0}', audit_level = 'basic'""")
    assert await _own(conn) == {"max_budget_lines": 500000, "max_budgets": 501, "storage_mb": 0}
    await _set(conn, "usage_limits = '{}', max_budget_lines = 100000")
    assert await _own(conn) == {}


async def test_a_tier_brings_its_values_to_a_tenant_that_has_none_of_its_own(conn: asyncpg.Connection) -> None:
    await conn.execute(_TIERS)
    await make_tenant(conn)
    await _set(conn, "subscription_tier = 'premium'")
    assert (await _columns(conn), await _own(conn)) == ((500000, 120, 100), {})
    await _set(conn, "max_budget_lines = 7")
    await _set(conn, "subscription_tier = 'basic'")
    assert (await _columns(conn), await _own(conn)) == ((7, 60, 100), {"max_budget_lines": 7})
    await _set(conn, "max_budget_lines = 1000")  # what the tier has: given up
    await _set(conn, "subscription_tier = 'standard'")
    assert (await _columns(conn), await _own(conn)) == ((100000, 60, 100), {})
    await _set(conn, "subscription_tier = 'premium', max_budget_lines = 8")
    assert (await _columns(conn), await _own(conn)) == ((8, 120, 100), {"max_budget_lines": 8})


@pytest.mark.usefixtures("tenant")
async def test_the_tiers_value_is_what_is_enforced(conn: asyncpg.Connection, application: asyncpg.Connection) -> None:
    await conn.execute(_TIERS)
    async with working(application):
        await application.execute(BUDGETS, "a", 2)
    await _set(conn, "subscription_tier = 'premium'")
    with over("max_budgets", "2"):
        async with working(application):
            await application.execute(BUDGETS, "b", 1)
    await set_limits(conn, '{"max_budgets": 3}')
    async with working(application):
        await application.execute(BUDGETS, "b", 1)


@pytest.mark.parametrize(
    "asked",
    [
        {"max_budget_lines": 100000},
        {"max_budget_lines": 500000},
        {"max_budget_lines": 3, "usage_limits": {"max_budgets": 1}},
    ],
)
async def test_what_a_tenant_was_created_with_is_its_own_even_where_its_tier_says_the_same(
    conn: asyncpg.Connection, asked: dict[str, Any]
) -> None:
    await conn.execute(_TIERS)
    await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=str, format="text")
    await conn.execute(
        """INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, subscription_tier, created_by,
                                          initial_config)
           VALUES ('acme_corp', 'A', 'bf_acme_corp', 'provisioning', 'premium', 'tests', $1)""",
        asked,
    )
    await make_tenant(conn)
    assert await _columns(conn) == (asked["max_budget_lines"], 120, 100)
    assert await _own(conn) == {"max_budget_lines": asked["max_budget_lines"], **asked.get("usage_limits", {})}
    await _set(conn, "subscription_tier = 'standard'")
    assert await _columns(conn) == (asked["max_budget_lines"], 60, 100)


@pytest.mark.usefixtures("tenant")
@pytest.mark.parametrize(
    "assignments",
    [
        *[f"usage_limits = '{value}'" for value in (
            '{"max_budgets": -1}', '{"max_budgets": 1.5}', '{"max_budgets": "5"}', '{"max_budgets": null}',
            '{"max_budgets": true}', '{"max_budgets": [1]}', '{"max_budgets": 1000000001}', '{"max_budgets": 1e40}',
            '{"max_budget": 5}', '{"": 1}', '{"max_budget_lines": 5}', '{"max_forecast_horizon": 0}',
            '{"max_forecast_horizon": 121}', '{"sources": 1}',
        )],
        "max_budget_lines = 1000000001", "forecast_horizon_limit = 121", "concurrent_users_limit = 1000001",
        "forecast_horizon_limit = 0", "max_budget_lines = -1",
    ],
)  # fmt: skip
async def test_what_is_no_limit_or_out_of_its_range_is_refused(conn: asyncpg.Connection, assignments: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await _set(conn, assignments)
    assert await _own(conn) == {}


@pytest.mark.usefixtures("tenant")
async def test_what_was_stored_before_anybody_checked_stays_and_stands_in_nobodys_way(conn: asyncpg.Connection) -> None:
    await conn.execute("ALTER TABLE bf_shared.tenant_config DISABLE TRIGGER tenant_limits_check")
    await set_limits(conn, '{"max_budgets": "many", "teleports": -1}')
    await conn.execute("ALTER TABLE bf_shared.tenant_config ENABLE TRIGGER tenant_limits_check")
    await _set(conn, "audit_level = 'basic', max_budget_lines = 5")
    await _set(conn, """usage_limits = usage_limits || '{"storage_mb": 5}'""")
    assert await _own(conn) == {"max_budget_lines": 5, "storage_mb": 5}
    with pytest.raises(asyncpg.CheckViolationError):
        await _set(conn, """usage_limits = usage_limits || '{"teleports": -2}'""")


@pytest.mark.usefixtures("tenant")
async def test_what_is_kept_of_a_tenant_goes_with_its_configuration(
    conn: asyncpg.Connection, application: asyncpg.Connection
) -> None:
    async with working(application):
        await application.execute(BUDGETS, "a", 5)
    await set_limits(conn, '{"max_budgets": 3}')
    await conn.execute("DELETE FROM bf_shared.tenant_config")
    assert (await _own(conn), await used(conn)) == ({}, {})
    assert await conn.fetchval("SELECT count(*) FROM bf_control.usage_event") == 0
