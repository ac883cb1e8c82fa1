"""GET and PUT /v1/catalog/limits"""

import json
from typing import Any

import asyncpg
import httpx
import pytest

from tests.limits.support import BUDGETS, over, working
from tests.support import tables
from tests.support.api import Api
from tests.support.data import make_tenant
from tests.support.problems import problem

_LIST = "/v1/catalog/limits"
_BUDGETS = {
    "description": "Budgets that are not deleted", "unit": "count", "minimum": 0, "maximum": 10**9, "default": None,
    "tiers": {}, "enforcement": "enforce",
}  # fmt: skip
_LINES = {**_BUDGETS, "description": "Budget lines that are not deleted", "default": 100000}
_AUDIT = "SELECT action, target, before, after FROM bf_control.audit ORDER BY id DESC LIMIT 1"
_COLUMN = "SELECT max_budget_lines FROM bf_shared.tenant_config WHERE tenant_id = $1"


async def _put(api: Api, name: str, body: Any, **headers: str) -> httpx.Response:
    return await api.client.put(
        f"{_LIST}/{name}", json=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


async def test_the_catalogue_lists_every_limit_with_unit_range_and_default(idle_api: Api) -> None:
    items = {each.pop("name"): each for each in (await idle_api.client.get(_LIST)).json()["items"]}
    assert sorted(items) == [
        "concurrent_users_limit", "forecast_horizon_limit", "max_budget_lines", "max_budgets", "max_forecast_horizon",
        "max_forecasts", "max_scenarios", "storage_mb",
    ]  # fmt: skip
    assert (items["max_budgets"], items["max_budget_lines"]) == (_BUDGETS, _LINES)
    assert {name for name, each in items.items() if each["enforcement"] == "off"} == {
        "concurrent_users_limit", "storage_mb",
    }  # fmt: skip
    answer = await idle_api.client.get(f"{_LIST}/max_budgets")
    assert answer.json() == {"name": "max_budgets", **_BUDGETS}
    tag = answer.headers["etag"]
    assert (await idle_api.client.get(f"{_LIST}/max_budgets", headers={"If-None-Match": tag})).status_code == 304
    problem(await idle_api.client.get(f"{_LIST}/nothing"), 404, "limit_not_found")


async def test_an_admin_adds_a_limit_which_tenants_then_have(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    body = {"unit": "GB", "maximum": 1000, "default": 5, "tiers": {"premium": 50}}
    answer = await _put(idle_api, "max_attachments_gb", body, If_None_Match="*")
    assert answer.status_code == 201, answer.text
    assert answer.json() == {
        "description": "",
        "minimum": 0,
        "enforcement": "off",
        "name": "max_attachments_gb",
        **body,
    }
    problem(await _put(idle_api, "max_attachments_gb", body, If_None_Match="*"), 412, "precondition_failed")
    path = "/v1/tenants/acme_corp/limits"
    limits = (await idle_api.client.get(path)).json()
    assert (limits["max_attachments_gb"], limits["sources"]["max_attachments_gb"]) == (5, "default")
    await idle_api.client.patch("/v1/tenants/acme_corp", json={"subscription_tier": "premium"})
    limits = (await idle_api.client.get(path)).json()
    assert (limits["max_attachments_gb"], limits["sources"]["max_attachments_gb"]) == (50, "tier")
    limits = (await idle_api.client.patch(path, json={"max_attachments_gb": 7})).json()
    assert (limits["max_attachments_gb"], limits["sources"]["max_attachments_gb"]) == (7, "tenant")
    problem(await idle_api.client.patch(path, json={"max_attachments_gb": 1001}), 422, "validation_failed")


async def test_a_new_default_reaches_the_columns_of_tenants_without_a_value_of_their_own(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    for tenant_id in ("follows", "own", "premium", "later"):
        if tenant_id != "later":
            await make_tenant(conn, tenant_id)
    await idle_api.client.patch("/v1/tenants/own/limits", json={"max_budget_lines": 100000})
    await conn.execute("UPDATE bf_shared.tenant_config SET subscription_tier = 'premium' WHERE tenant_id = 'premium'")
    changed = {**_LINES, "default": 200000, "tiers": {"premium": 700000}}
    assert (await _put(idle_api, "max_budget_lines", changed)).status_code == 200
    await make_tenant(conn, "later")
    assert [await conn.fetchval(_COLUMN, each) for each in ("follows", "own", "premium", "later")] == [
        200000, 100000, 700000, 200000,
    ]  # fmt: skip
    source = "SELECT source FROM bf_control.tenant_config_history WHERE tenant_id = 'follows' ORDER BY id DESC LIMIT 1"
    assert await conn.fetchval(source) == "api"
    sources = (await idle_api.client.get("/v1/tenants/follows/limits")).json()["sources"]
    assert sources["max_budget_lines"] == "default"
    assert (await _put(idle_api, "max_budget_lines", {**changed, "tiers": {}})).status_code == 200
    assert await conn.fetchval(_COLUMN, "premium") == 200000


@pytest.mark.usefixtures("tenant")
async def test_what_the_catalogue_says_is_enforced_at_once(idle_api: Api, application: asyncpg.Connection) -> None:
    async with working(application):
        await application.execute(BUDGETS, "a", 2)
    assert (await _put(idle_api, "max_budgets", {**_BUDGETS, "default": 2})).status_code == 200
    with over("max_budgets"):
        async with working(application):
            await application.execute(BUDGETS, "b", 1)
    for enforcement in ("warn", "off"):
        await _put(idle_api, "max_budgets", {**_BUDGETS, "default": 2, "enforcement": enforcement})
        async with working(application):
            await application.execute(BUDGETS, enforcement, 1)


async def test_a_wrong_definition_is_422_and_changes_nothing(
    idle_api: Api, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    before = await tables.counts(superuser)
    for name, change, pointer in (
        ("max_budgets", {"minimum": 5, "maximum": 4}, "/maximum"), ("max_budgets", {"default": -1}, "/default"),
        ("max_budgets", {"default": 10**10}, "/default"), ("max_budgets", {"maximum": 10**12 + 1}, "/maximum"),
        ("max_budgets", {"tiers": {"gold": 1}}, "/tiers/gold"),
        ("max_budgets", {"tiers": {"Gold!": 1}}, "/tiers/Gold!"),
        ("max_budgets", {"tiers": {"basic": 10**10}}, "/tiers/basic"), ("max_budgets", {"unit": ""}, "/unit"),
        ("max_budgets", {"enforcement": "maybe"}, "/enforcement"), ("max_budgets", {"name": "x"}, "/name"),
        ("max_budgets", {"unit": "a\nb"}, "/unit"), ("max_budgets", {"default": True}, "/default"),
        ("storage_mb", {"enforcement": "enforce"}, "/enforcement"),
        ("max_other", {"enforcement": "warn"}, "/enforcement"),
        ("max_budget_lines", {"default": None}, "/default"),
        ("max_budget_lines", {"maximum": 10**9 + 1, "default": 1}, "/maximum"),
        ("forecast_horizon_limit", {"minimum": 0, "maximum": 120, "default": 60}, "/minimum"),
        ("forecast_horizon_limit", {"minimum": 1, "maximum": 121, "default": 60}, "/maximum"),
        ("sources", {}, "path/name"), ("Max", {}, "path/name"), ("x" * 64, {}, "path/name"),
    ):  # fmt: skip
        with subtests.test(f"{name} {change}"[:60]):
            answer = await _put(idle_api, name, {**_BUDGETS, **change})
            assert [e["pointer"] for e in problem(answer, 422, "validation_failed")["errors"]] == [pointer]
    assert await tables.counts(superuser) == before


async def test_it_is_guarded_by_its_tag_leaves_an_audit_row_and_can_be_tried(
    idle_api: Api, superuser: asyncpg.Connection
) -> None:
    tag = (await idle_api.client.get(f"{_LIST}/max_budgets")).headers["etag"]
    before = await tables.counts(superuser)
    dry = await idle_api.client.put(f"{_LIST}/max_budgets?validate_only=true", json={**_BUDGETS, "default": 9})
    assert (dry.status_code, dry.json()["default"]) == (200, 9)
    assert (await _put(idle_api, "max_budgets", _BUDGETS, If_Match=tag)).headers["etag"] == tag
    problem(await _put(idle_api, "nothing_yet", _BUDGETS, If_Match=tag), 412, "precondition_failed")
    assert await tables.counts(superuser) == before
    changed = await _put(idle_api, "max_budgets", {**_BUDGETS, "default": 9}, If_Match=tag)
    assert changed.headers["etag"] != tag
    problem(await _put(idle_api, "max_budgets", _BUDGETS, If_Match=tag), 412, "precondition_failed")
    row = await superuser.fetchrow(
        "SELECT action, target, before, after FROM bf_control.audit ORDER BY id DESC LIMIT 1"
    )
    assert tuple(row)[:2] == ("catalog.limit.change", "limit/max_budgets")
    assert (json.loads(row["before"])["default"], json.loads(row["after"])["default"]) == (None, 9)
