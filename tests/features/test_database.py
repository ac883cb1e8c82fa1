"""What PostgreSQL makes of features, whoever changes them: plain SQL is a client too."""

import asyncio
import json

import asyncpg
import pytest

from tests.support.data import make_tenant

_NAMES = "SELECT features_enabled::text FROM bf_shared.tenant_config WHERE tenant_id = $1"
_COPY = "SELECT features::text[] FROM bf_control.tenant WHERE tenant_id = $1"
_OWN = "SELECT feature, enabled FROM bf_control.tenant_feature WHERE tenant_id = $1 ORDER BY feature"
_SOURCES = "SELECT name, source FROM bf_control.tenant_features($1) WHERE enabled ORDER BY name"
_PROFESSIONAL = ["advanced_forecasting", "budget_templates", "scenario_planning", "variance_analysis"]


async def _names(conn: asyncpg.Connection, tenant_id: str = "acme_corp") -> list[str]:
    """As they are stored; the registry's copy has the same."""
    names: list[str] = json.loads(await conn.fetchval(_NAMES, tenant_id))
    assert sorted(await conn.fetchval(_COPY, tenant_id)) == sorted(names)
    return names


async def _own(conn: asyncpg.Connection, tenant_id: str = "acme_corp") -> dict[str, bool]:
    return dict(await conn.fetch(_OWN, tenant_id))


async def _write(conn: asyncpg.Connection, *names: str) -> None:
    await conn.execute("UPDATE bf_shared.tenant_config SET features_enabled = $1::text::jsonb", json.dumps(names))


async def _move(conn: asyncpg.Connection, tier: str) -> None:
    await conn.execute("UPDATE bf_shared.tenant_config SET subscription_tier = $1", tier)


async def test_a_tenant_that_asked_for_nothing_has_nothing(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    assert (await _names(conn), await _own(conn)) == ([], {})


async def test_what_sql_writes_reads_back_just_so_and_is_the_tenants_own(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await _write(conn, "scenario_planning", "advanced_forecasting", "ai_insights")
    assert await _names(conn) == ["scenario_planning", "advanced_forecasting", "ai_insights"]
    assert await _own(conn) == dict.fromkeys(("scenario_planning", "advanced_forecasting", "ai_insights"), True)
    await conn.execute(
        """UPDATE bf_shared.tenant_config SET features_enabled = features_enabled || '["ai_forecasting"]'"""
    )
    assert (await _names(conn))[-1] == "ai_forecasting"
    await _write(conn, "ai_insights")
    assert (await _names(conn), await _own(conn)) == (["ai_insights"], {"ai_insights": True})


async def test_a_tier_brings_what_it_includes_and_takes_it_along(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await _write(conn, "real_time_collaboration")
    await _move(conn, "professional")
    assert await _names(conn) == ["real_time_collaboration", *_PROFESSIONAL]
    assert dict(await conn.fetch(_SOURCES, "acme_corp")) == {
        "real_time_collaboration": "tenant", **dict.fromkeys(_PROFESSIONAL, "tier")
    }  # fmt: skip
    await _move(conn, "standard")
    assert await _names(conn) == ["real_time_collaboration"]
    await _move(conn, "enterprise")
    assert len(await _names(conn)) == 8
    await _move(conn, "Gold!")
    assert await _names(conn) == ["real_time_collaboration"]


async def test_what_sql_takes_out_of_a_tier_stays_out_whatever_the_tier(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await _move(conn, "professional")
    await _write(conn, "budget_templates", "scenario_planning", "variance_analysis")
    assert await _own(conn) == {"advanced_forecasting": False}
    await _move(conn, "enterprise")
    assert "advanced_forecasting" not in await _names(conn)
    await _write(conn, *await _names(conn), "advanced_forecasting")
    assert await _own(conn) == {"advanced_forecasting": True}


async def test_tier_and_features_in_one_statement_are_both_as_written(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute(
        """UPDATE bf_shared.tenant_config
              SET subscription_tier = 'professional', features_enabled = '["ai_insights"]'"""
    )
    assert await _names(conn) == ["ai_insights"]
    assert await _own(conn) == {"ai_insights": True, **dict.fromkeys(_PROFESSIONAL, False)}
    await conn.execute(
        """UPDATE bf_shared.tenant_config
              SET subscription_tier = 'standard', features_enabled = '["budget_templates"]'"""
    )
    assert await _names(conn) == ["budget_templates"]


async def test_what_is_written_in_the_making_is_the_tenants_own_also_where_the_tier_includes_it(
    conn: asyncpg.Connection,
) -> None:
    async with conn.transaction():
        await conn.execute(
            "INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, created_by, subscription_tier,"
            """ initial_config) VALUES ('acme_corp', 'A', 'bf_acme_corp', 'provisioning', 'tests', 'professional',
            '{"features_enabled": ["variance_analysis"]}')"""
        )
        await make_tenant(conn)
    assert await _names(conn) == ["variance_analysis"]
    assert (await _own(conn))["variance_analysis"] is True
    await _move(conn, "standard")
    assert await _names(conn) == ["variance_analysis"]


async def test_a_tenant_of_a_tier_has_from_the_start_what_it_includes(conn: asyncpg.Connection) -> None:
    await conn.execute(
        "INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, created_by, subscription_tier)"
        " VALUES ('acme_corp', 'A', 'bf_acme_corp', 'provisioning', 'tests', 'professional')"
    )
    await make_tenant(conn)
    assert (await _names(conn), await _own(conn)) == (_PROFESSIONAL, {})


async def test_what_an_earlier_tenant_of_the_id_had_is_not_the_new_ones(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await _write(conn, "ai_insights")
    async with conn.transaction():
        await conn.execute("DELETE FROM bf_shared.tenant_config")
        await conn.execute(
            "UPDATE bf_control.tenant SET state = 'provisioning', schema_version = NULL, schema_name = 'bf_acme_two'"
        )
        await conn.execute("SELECT bf_shared.setup_tenant('acme_corp', 'ACME', 'tests')")
    assert await _own(conn) == {}
    await _move(conn, "professional")
    assert json.loads(await conn.fetchval(_NAMES, "acme_corp")) == _PROFESSIONAL


async def test_a_change_of_something_else_leaves_features_alone(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await _write(conn, "a", "a", "B", "", "ü", "a")
    await conn.execute("UPDATE bf_shared.tenant_config SET time_zone = 'Europe/Berlin', tenant_name = 'X'")
    assert await conn.fetchval(_NAMES, "acme_corp") == '["a", "a", "B", "", "ü", "a"]'
    assert await _own(conn) == dict.fromkeys(("a", "B", "", "ü"), True)


async def test_a_default_is_everybodys_but_who_said_no(conn: asyncpg.Connection) -> None:
    for tenant_id in ("acme_corp", "global_inc", "none_tier"):
        await make_tenant(conn, tenant_id)
    await conn.execute("UPDATE bf_shared.tenant_config SET subscription_tier = 'gold' WHERE tenant_id = 'none_tier'")
    await conn.execute("SELECT bf_control.set_feature('global_inc', 'ai_insights', false)")
    await conn.execute("UPDATE bf_control.feature SET enabled_by_default = true WHERE name = 'ai_insights'")
    assert await _names(conn) == ["ai_insights"]
    assert await _names(conn, "none_tier") == ["ai_insights"]
    assert await _names(conn, "global_inc") == []
    assert dict(await conn.fetch(_SOURCES, "acme_corp")) == {"ai_insights": "default"}
    await conn.execute("UPDATE bf_control.feature SET enabled_by_default = false WHERE name = 'ai_insights'")
    assert await _names(conn) == []


async def test_a_change_of_the_catalogue_reaches_the_tenants_it_touches_and_no_other(conn: asyncpg.Connection) -> None:
    for tenant_id, tier in (("a1", "standard"), ("b1", "professional"), ("c1", "premium")):
        await make_tenant(conn, tenant_id)
        await conn.execute(
            "UPDATE bf_shared.tenant_config SET subscription_tier = $1 WHERE tenant_id = $2", tier, tenant_id
        )
    count = "SELECT count(*) FROM bf_control.tenant_config_history"
    before = await conn.fetchval(count)
    await conn.execute("INSERT INTO bf_control.feature (name, tier) VALUES ('exports', 'premium')")
    assert ["exports" in await _names(conn, t) for t in ("a1", "b1", "c1")] == [False, False, True]
    await conn.execute("UPDATE bf_control.feature SET tier = 'professional' WHERE name = 'exports'")
    assert ["exports" in await _names(conn, t) for t in ("a1", "b1", "c1")] == [False, True, True]
    assert await conn.fetchval(count) == before + 2
    await conn.execute("UPDATE bf_control.tier SET rank = 25 WHERE name = 'premium'")
    assert ["exports" in await _names(conn, t) for t in ("a1", "b1", "c1")] == [False, True, False]
    await conn.execute("DELETE FROM bf_control.feature WHERE name = 'exports'")
    assert ["exports" in await _names(conn, t) for t in ("a1", "b1", "c1")] == [False, False, False]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("INSERT INTO bf_control.feature (name, requires) VALUES ('x1', '{nothing}')", "x1 requires nothing, which"),
        ("INSERT INTO bf_control.feature (name, requires) VALUES ('x1', '{x1}')", "x1 requires itself"),
        ("UPDATE bf_control.feature SET requires = '{ai_forecasting}' WHERE name = 'advanced_forecasting'", "itself"),
        ("DELETE FROM bf_control.feature WHERE name = 'advanced_forecasting'", "ai_forecasting requires advanced"),
        ("DELETE FROM bf_control.tier WHERE name = 'premium'", "feature_tier_fkey"),
        ("INSERT INTO bf_control.feature (name, tier) VALUES ('x1', 'gold')", "feature_tier_fkey"),
    ],
)
async def test_the_catalogue_requires_nothing_unknown_and_nothing_in_a_circle(
    conn: asyncpg.Connection, statement: str, said: str
) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError, match=said):
        await conn.execute(statement)


async def test_a_tenant_that_moves_while_the_catalogue_changes_misses_nothing(
    conn: asyncpg.Connection, dsn: str
) -> None:
    await make_tenant(conn)
    other = await asyncpg.connect(dsn)
    try:
        async with conn.transaction():
            await conn.execute("INSERT INTO bf_control.feature (name, tier) VALUES ('exports', 'professional')")
            moving = asyncio.create_task(_move(other, "professional"))
            await asyncio.sleep(0.2)
            assert not moving.done()
            assert await other_reads(dsn) == "standard"
        await moving
    finally:
        await other.close()
    assert "exports" in await _names(conn)


async def other_reads(dsn: str) -> str:
    """A reader goes on meanwhile."""
    reader = await asyncpg.connect(dsn)
    try:
        tier: str = await reader.fetchval("SELECT subscription_tier FROM bf_shared.tenant_config")
    finally:
        await reader.close()
    return tier


async def test_the_catalogue_waits_for_a_tenant_that_is_moving(conn: asyncpg.Connection, dsn: str) -> None:
    await make_tenant(conn)
    other = await asyncpg.connect(dsn)
    try:
        async with other.transaction():
            await _move(other, "professional")
            change = "INSERT INTO bf_control.feature (name, tier) VALUES ('exports', 'professional')"
            changing = asyncio.create_task(conn.execute(change))
            await asyncio.sleep(0.2)
            assert not changing.done()
        await changing
    finally:
        await other.close()
    assert "exports" in await _names(conn)


async def test_an_upgrade_switches_nothing_on_or_off(conn: asyncpg.Connection) -> None:
    """Before the trigger came, there were tiers and features, and nothing between them."""
    await conn.execute("ALTER TABLE bf_shared.tenant_config DISABLE TRIGGER tenant_config_features")
    await make_tenant(conn)
    await _move(conn, "professional")
    await _write(conn, "variance_analysis", "zeta")
    assert await _own(conn) == {}
    await conn.execute("ALTER TABLE bf_shared.tenant_config ENABLE TRIGGER tenant_config_features")
    await conn.execute("SELECT bf_control.keep_features()")
    assert await _names(conn) == ["variance_analysis", "zeta"]
    own = {"zeta": True, **dict.fromkeys(_PROFESSIONAL, False)}
    del own["variance_analysis"]
    assert await _own(conn) == own
    await _move(conn, "standard")
    assert await _names(conn) == ["zeta"]


async def test_until_the_shared_schema_is_upgraded_the_catalogue_moves_no_tenant(conn: asyncpg.Connection) -> None:
    await conn.execute("DROP TRIGGER tenant_config_features ON bf_shared.tenant_config")
    await make_tenant(conn)
    await _move(conn, "professional")
    await conn.execute("UPDATE bf_control.feature SET enabled_by_default = true WHERE name = 'ai_insights'")
    assert await _names(conn) == []
    await conn.execute("SELECT bf_control.set_feature('acme_corp', 'ai_insights', true)")
    assert await _names(conn) == ["ai_insights"]
    await conn.execute("SELECT bf_control.set_feature('acme_corp', 'ai_insights', false)")
    assert await _names(conn) == []
