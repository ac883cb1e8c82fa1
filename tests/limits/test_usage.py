"""GET /v1/tenants/{id}/usage, and counting anew."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from app.audit.model import Origin
from app.db.pool import Database
from app.limits import queries, usage
from app.registry import service as registry
from tests.limits.support import BUDGETS, FORECAST, LINES, set_limits, used, working
from tests.schema.support import Site
from tests.support.api import Api, running_api
from tests.support.data import make_tenant
from tests.support.problems import problem

_PATH = "/v1/tenants/acme_corp/usage"
_ORIGIN = Origin(actor="tests")


async def _usage(api: Api) -> dict[str, dict[str, Any]]:
    answer = await api.client.get(_PATH)
    assert answer.status_code == 200, answer.text
    return {each["name"]: each for each in answer.json()["usage"]}


async def test_each_limit_is_told_with_what_is_used_of_it_and_when(
    idle_api: Api, application: asyncpg.Connection, conn: asyncpg.Connection
) -> None:
    async with working(application):
        await application.execute(BUDGETS, "b", 4)
        await application.execute(LINES, "l", 25)
        await application.execute(FORECAST, "f", 30)
        await application.execute("UPDATE budgets SET is_deleted = true WHERE id = 'b4'")
    await conn.execute(
        "UPDATE bf_shared.tenant_config SET usage_limits = '{\"max_budgets\": 4}', max_budget_lines = 50"
    )
    found = await _usage(idle_api)
    assert {name: (each["used"], each["allowed"], each["percentage"]) for name, each in found.items()} == {
        "max_budgets": (3, 4, 75.0), "max_budget_lines": (25, 50, 50.0), "max_forecasts": (1, None, None),
        "max_scenarios": (0, None, None), "forecast_horizon_limit": (30, 60, 50.0),
        "max_forecast_horizon": (30, 60, 50.0), "concurrent_users_limit": (None, 100, None),
        "storage_mb": (1, None, None),
    }  # fmt: skip
    assert {name: each["method"] for name, each in found.items() if each["method"] != "count"} == {
        "concurrent_users_limit": None, "storage_mb": "size",
    }  # fmt: skip
    assert all((each["measured_at"] is None) == (each["used"] is None) for each in found.values())


async def test_of_a_large_table_the_counter_is_told(
    idle_api: Api, application: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "_CHEAP", 0)
    async with working(application):
        await application.execute(BUDGETS, "b", 4)
    found = (await _usage(idle_api))["max_budgets"]
    assert (found["used"], found["method"]) == (4, "counter")


async def test_events_come_the_latest_first(
    idle_api: Api, application: asyncpg.Connection, conn: asyncpg.Connection
) -> None:
    await set_limits(conn, '{"max_budgets": 10}')
    for name, number in (("a", 8), ("b", 2)):
        async with working(application):
            await application.execute(BUDGETS, name, number)
    events = (await idle_api.client.get(_PATH)).json()["events"]
    assert [(e["name"], e["percentage"], e["used"], e["allowed"]) for e in events] == [
        ("max_budgets", 100, 10, 10), ("max_budgets", 80, 8, 10),
    ]  # fmt: skip


async def test_nothing_allowed_and_something_used_is_all_of_it(
    idle_api: Api, application: asyncpg.Connection, conn: asyncpg.Connection
) -> None:
    await set_limits(conn, '{"max_budgets": 0}')
    assert (await _usage(idle_api))["max_budgets"]["percentage"] == 0
    await set_limits(conn, "{}")
    async with working(application):
        await application.execute(BUDGETS, "b", 4)
    await set_limits(conn, '{"max_budgets": 0}')
    assert (await _usage(idle_api))["max_budgets"]["percentage"] == 100


async def test_reading_leaves_the_connection_as_it_was_and_writes_nothing(
    idle_api: Api, tenant: str, superuser: asyncpg.Connection
) -> None:
    xid = "SELECT pg_current_xact_id_if_assigned() IS NULL AND current_user = session_user"
    async with idle_api.database.transaction() as conn:
        found = await registry.require(conn, tenant)
        await usage.measure(conn, found)
        assert await conn.fetchval(xid)


@pytest.fixture
async def ungranted(site: Site, tmp_path: Any) -> AsyncIterator[Api]:
    """The audit role was made by somebody else, and the owner is no member of it."""
    await site.execute("CREATE ROLE app_role NOLOGIN; CREATE ROLE audit_role NOLOGIN")
    await site.upgrade()
    await site.setup("acme_corp")
    await site.execute("REVOKE audit_role FROM bf_migrator")
    async with running_api(site.settings(bootstrap_admin_key_file=tmp_path / "key"), with_worker=False) as api:
        yield api


async def test_without_the_audit_role_it_is_503_with_the_grant_that_is_missing(ungranted: Api, site: Site) -> None:
    body = problem(await ungranted.client.get(_PATH), 503, "audit_role_not_granted")
    assert body["detail"].endswith("Run as a superuser: GRANT audit_role TO bf_migrator;")
    await site.execute(body["detail"].partition("superuser: ")[2])
    assert (await ungranted.client.get(_PATH)).status_code == 200


# counting anew ----------------------------------------------------------------------------------------


async def test_counting_anew_finds_what_triggers_did_not_see(
    database: Database, superuser: asyncpg.Connection, tenant: str
) -> None:
    await superuser.execute("SET session_replication_role = replica")
    async with working(superuser):
        await superuser.execute(BUDGETS, "b", 5)
    await superuser.execute("RESET session_replication_role")
    assert await used(superuser) == {}
    for before in (0, 5):
        async with database.transaction() as conn:
            counted = await usage.recount(conn, await registry.require(conn, tenant), origin=_ORIGIN)
        assert counted["max_budgets"] == (before, 5)
        assert await used(superuser) == {"max_budgets": 5}
    assert await superuser.fetchval("SELECT count(*) FROM bf_control.audit WHERE action = 'tenant.usage.recount'") == 1


async def test_counting_anew_is_exact_while_others_commit(
    database: Database, superuser: asyncpg.Connection, application: asyncpg.Connection
) -> None:
    async def insert() -> None:
        for number in range(40):
            async with working(application):
                await application.execute(BUDGETS, f"{number}_", 2)
                if number % 3 == 0:
                    await application.execute("DELETE FROM budgets WHERE id = $1", f"{number}_1")

    async def recount() -> None:
        for _ in range(10):
            async with database.transaction() as conn:
                await usage.recount(conn, await registry.require(conn, "acme_corp"), origin=_ORIGIN)
            await asyncio.sleep(0.01)

    await asyncio.gather(insert(), recount())
    assert await used(superuser) == {"max_budgets": 66}
    assert await superuser.fetchval("SELECT count(*) FROM bf_acme_corp.budgets") == 66
    found = "SELECT count(*) FROM bf_control.audit WHERE action = 'tenant.usage.recount'"
    assert await superuser.fetchval(found) == 0, "it never found anything else than the counters said"


async def test_a_tenant_whose_schema_does_not_count_yet_is_counted_each_time(
    idle_api: Api, conn: asyncpg.Connection, database: Database
) -> None:
    await make_tenant(conn)
    for row in await conn.fetch(
        "SELECT format('DROP TRIGGER %I ON %s', g.tgname, g.tgrelid::regclass) FROM pg_trigger g"
        " JOIN pg_class c ON c.oid = g.tgrelid WHERE c.relnamespace = 'bf_acme_corp'::regnamespace"
        " AND g.tgname LIKE 'usage%'"
    ):
        await conn.execute(row[0])
    assert {(await _usage(idle_api))[name]["method"] for name in ("max_budgets", "max_scenarios")} == {"count"}
    async with database.transaction() as own:
        tenant = await registry.require(own, "acme_corp")
        with pytest.raises(usage.UsageNotCounted, match="upgrade it first"):
            await usage.recount(own, tenant, origin=_ORIGIN)


async def test_old_events_are_forgotten_the_oldest_first(conn: asyncpg.Connection, database: Database) -> None:
    await conn.execute(
        """INSERT INTO bf_control.usage_event (tenant_id, limit_name, percentage, used, allowed, occurred_at)
           SELECT 'acme_corp', 'max_budgets', 80, 8, 10, now() - make_interval(days => 1402 - n)
             FROM generate_series(1, 1401) AS n"""
    )
    left = []
    for _ in range(3):
        async with database.transaction() as working:
            await queries.forget_old(working, timedelta(days=30))
        left.append(await conn.fetchval("SELECT count(*) FROM bf_control.usage_event"))
    assert left == [401, 29, 29]
