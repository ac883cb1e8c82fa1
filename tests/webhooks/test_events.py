"""The outbox: every change leaves its event in its own transaction, whoever makes it; one that is undone, none."""

from typing import Any

import asyncpg
import pytest

from tests.integrations.support import AS_BEFORE
from tests.support.data import make_tenant
from tests.webhooks.support import PREFIX

_EVENTS = "SELECT type, subject, about_tenant, data FROM bf_control.event ORDER BY seq"


async def _told(conn: asyncpg.Connection) -> list[tuple[str, dict[str, Any]]]:
    """Types and data of all events, which are then gone."""
    import json

    rows = await conn.fetch(_EVENTS)
    await conn.execute("DELETE FROM bf_control.event")
    assert all(row["subject"] == f"tenant/{row['about_tenant']}" for row in rows)
    return [(row["type"].removeprefix(PREFIX), json.loads(row["data"])) for row in rows]


@pytest.fixture
async def tenant(conn: asyncpg.Connection) -> None:
    """One whose making has been told."""
    await make_tenant(conn)
    assert [kind for kind, _ in await _told(conn)] == ["tenant.created", "tenant.activated"]


@pytest.mark.usefixtures("tenant")
async def test_what_plain_sql_does_with_a_tenant_is_told(conn: asyncpg.Connection) -> None:
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp', 'unpaid')")
    await conn.execute("SELECT bf_shared.resume_tenant('acme_corp')")
    await conn.execute("SELECT bf_shared.delete_tenant('acme_corp')")
    await conn.execute("SELECT bf_shared.restore_tenant('acme_corp')")
    told = await _told(conn)
    assert [kind for kind, _ in told] == ["tenant.suspended", "tenant.resumed", "tenant.deleted", "tenant.restored"]
    suspended = told[0][1]
    assert (suspended["state"], suspended["previous_state"], suspended["reason"]) == ("suspended", "active", "unpaid")


@pytest.mark.usefixtures("tenant")
async def test_what_plain_sql_does_with_its_configuration_is_told_without_the_values(conn: asyncpg.Connection) -> None:
    await conn.execute(
        "UPDATE bf_shared.tenant_config SET default_currency = 'EUR', max_budget_lines = 7,"
        " billing_contact = 'x@y.example', usage_limits = '{\"max_budgets\": 5}',"
        " features_enabled = features_enabled || '[\"ai_insights\"]',"
        ' apg_integrations = \'{"auth_rbac": {"endpoint": "https://auth.example.com"}}\''
    )
    told = dict(await _told(conn))
    assert told.keys() == {f"tenant.{name}" for name in ("updated", "config.changed", "features.changed",
                                                         "limits.changed", "integrations.changed")}  # fmt: skip
    assert told["tenant.updated"]["fields"] == ["billing_contact"]
    assert told["tenant.config.changed"]["fields"] == ["default_currency"]
    assert told["tenant.features.changed"]["enabled"] == ["ai_insights"]
    assert told["tenant.features.changed"]["disabled"] == []
    assert told["tenant.limits.changed"]["limits"] == {
        "max_budget_lines": {"before": 100000, "after": 7},
        "max_budgets": {"before": None, "after": 5},
    }
    assert told["tenant.integrations.changed"]["capabilities"] == ["auth_rbac"]
    assert "x@y.example" not in str(told)
    assert {data["version"] for data in told.values()} == {2}


@pytest.mark.usefixtures("tenant")
async def test_a_change_that_is_rolled_back_was_never_told(conn: asyncpg.Connection) -> None:
    change = conn.transaction()
    await change.start()
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
    await conn.execute("UPDATE bf_shared.tenant_config SET default_currency = 'EUR'")
    await change.rollback()
    await conn.execute("UPDATE bf_shared.tenant_config SET default_currency = default_currency")
    assert await _told(conn) == []


@pytest.mark.usefixtures("tenant")
async def test_a_limit_that_is_reached_is_told(conn: asyncpg.Connection) -> None:
    await conn.execute(
        "INSERT INTO bf_control.usage_event (tenant_id, limit_name, percentage, used, allowed)"
        " VALUES ('acme_corp', 'max_budgets', 80, 4, 5)"
    )
    assert await _told(conn) == [
        ("tenant.limit.reached",
         {"tenant_id": "acme_corp", "limit": "max_budgets", "percentage": 80, "used": 4, "allowed": 5})
    ]  # fmt: skip


async def test_what_the_application_role_causes_is_told(conn: asyncpg.Connection) -> None:
    """It may read none of bf_control, and its transaction writes the event all the same."""
    await make_tenant(conn)
    await conn.execute("""UPDATE bf_shared.tenant_config SET usage_limits = '{"max_budgets": 1}'""")
    await _told(conn)
    async with conn.transaction():
        await conn.execute("GRANT app_role TO current_user")
        await conn.execute("SET LOCAL ROLE app_role")
        await conn.execute("SELECT bf_shared.set_tenant_context('acme_corp', 'ann')")
        await conn.execute(
            "INSERT INTO budgets (id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end)"
            " VALUES ('1', 'B', 'annual', 2026, '2026-01-01', '2026-12-31')"
        )
    assert {kind for kind, _ in await _told(conn)} == {"tenant.limit.reached"}


@pytest.mark.usefixtures("tenant")
async def test_deleting_an_integration_or_turning_it_off_ends_its_webhook(conn: asyncpg.Connection) -> None:
    webhooks = "SELECT array_agg(capability || ' ' || url ORDER BY capability) FROM bf_control.webhook"
    update = "UPDATE bf_shared.tenant_config SET apg_integrations = $1"
    await conn.execute(
        update,
        '{"notification_engine": {"endpoint": "https://n.example"}, "audit_compliance": {"endpoint": "https://a.example"},'
        ' "document_management": {"endpoint": "https://d.example"}}',
    )
    both = ["audit_compliance https://a.example", "notification_engine https://n.example"]
    assert await conn.fetchval(webhooks) == both
    await conn.execute("UPDATE bf_control.webhook SET disabled_at = now(), disabled_reason = 'gone'")
    await conn.execute(
        update, '{"notification_engine": {"endpoint": "https://m.example"}, "audit_compliance": {"enabled": false,'
        ' "endpoint": "https://a.example"}}',
    )  # fmt: skip
    assert await conn.fetchval(webhooks) == ["notification_engine https://m.example"]
    assert await conn.fetchval("SELECT disabled_at FROM bf_control.webhook") is None
    await conn.execute(AS_BEFORE)
    for nothing in ('{"notification_engine": {"endpoint": 5}}', '{"notification_engine": 5}', "{}"):
        await conn.execute(update, nothing)
        assert await conn.fetchval(webhooks) is None
