"""PATCH /v1/tenants: one change of all tenants that fit, each with its own outcome."""

from typing import Any

import asyncpg
import httpx
import pytest

from app.settings import Settings
from tests.support.api import Api
from tests.support.data import make_tenant, suspend
from tests.support.polling import ended, waiting_for_locks
from tests.support.problems import problem
from tests.support.tables import counts
from tests.support.workers import impatient_worker

_TIERS = "SELECT tenant_id, subscription_tier FROM bf_control.tenant ORDER BY tenant_id"
_CONFIG_TIERS = "SELECT tenant_id, subscription_tier FROM bf_shared.tenant_config ORDER BY tenant_id"


async def _patch(api: Api, body: Any, *, wait: bool = True, **params: Any) -> httpx.Response:
    headers = {"Prefer": "wait=25"} if wait else {}
    return await api.client.patch("/v1/tenants", json=body, params=params, headers=headers)


async def _targets(api: Api, operation_id: str, **params: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while True:
        answer = await api.client.get(f"/v1/operations/{operation_id}/targets", params=params)
        assert answer.status_code == 200, answer.text
        found |= {item["tenant_id"]: item for item in answer.json()["items"]}
        if "next_page_token" not in answer.json():
            return found
        params = {**params, "page_token": answer.json()["next_page_token"]}


@pytest.fixture
async def five(conn: asyncpg.Connection) -> list[str]:
    ids = [f"many_{n}" for n in range(5)]
    for tenant_id in ids:
        await make_tenant(conn, tenant_id, f"Firm {tenant_id}")
    return ids


async def test_who_fits_is_changed_and_nobody_else(api: Api, conn: asyncpg.Connection, five: list[str]) -> None:
    await conn.execute("UPDATE bf_shared.tenant_config SET subscription_tier = 'basic' WHERE tenant_id = 'many_3'")
    await suspend(conn, "many_1")
    await conn.execute("UPDATE bf_control.tenant SET state = 'purging' WHERE tenant_id = 'many_2'")
    answer = await _patch(api, {"subscription_tier": "premium"}, tier="standard")
    assert answer.status_code == 200, answer.text
    operation = answer.json()
    assert (operation["status"], operation["kind"]) == ("succeeded", "tenants.change")
    assert operation["result"] == {"changed": 3, "unchanged": 0, "refused": 1}
    assert operation["progress"] == {"done": 4, "total": 4}
    wanted = {"many_0": "premium", "many_1": "premium", "many_2": "standard", "many_3": "basic", "many_4": "premium"}
    assert dict(await conn.fetch(_TIERS)) == wanted == dict(await conn.fetch(_CONFIG_TIERS))
    targets = await _targets(api, operation["id"], page_size=2)
    assert {name: target["status"] for name, target in targets.items()} == {
        "many_0": "changed", "many_1": "changed", "many_2": "refused", "many_4": "changed",
    }  # fmt: skip
    assert targets["many_2"]["problem"]["code"] == "tenant_state_forbids"
    assert set(await _targets(api, operation["id"], status="refused")) == {"many_2"}
    assert answer.headers["location"] == f"/v1/operations/{operation['id']}/targets"
    sources = await conn.fetch(
        """SELECT DISTINCT source FROM bf_control.tenant_config_history
            WHERE after->>'subscription_tier' = 'premium'"""
    )
    assert [row["source"] for row in sources] == ["api"]
    audited = await conn.fetch(
        "SELECT target, outcome FROM bf_control.audit WHERE action ~ 'change' AND actor LIKE 'key:%' ORDER BY id"
    )
    assert [tuple(row) for row in audited] == [
        ("tenants", "accepted"), ("tenant/many_0", "succeeded"), ("tenant/many_1", "succeeded"),
        ("tenant/many_4", "succeeded"), ("tenants", "succeeded"),
    ]  # fmt: skip


async def test_again_it_changes_nothing_and_leaves_no_trace(
    api: Api, conn: asyncpg.Connection, five: list[str]
) -> None:
    first = (await _patch(api, {"subscription_tier": "premium"}, all="true")).json()
    assert first["result"] == {"changed": 5, "unchanged": 0, "refused": 0}
    history = await conn.fetchval("SELECT count(*) FROM bf_control.tenant_config_history")
    again = (await _patch(api, {"subscription_tier": "premium"}, q="FIRM")).json()
    assert again["result"] == {"changed": 0, "unchanged": 5, "refused": 0}
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant_config_history") == history


async def test_features_are_each_tenant_s_own_choice_then(api: Api, conn: asyncpg.Connection, five: list[str]) -> None:
    body = {"features": {"ai_insights": True, "scenario_planning": True}}
    assert (await _patch(api, body, all="true")).json()["result"]["changed"] == 5
    listed = (await api.client.get("/v1/tenants", params={"feature": "scenario_planning"})).json()
    assert [item["tenant_id"] for item in listed["items"]] == five
    answer = await _patch(api, {"features": {"scenario_planning": None}}, feature="ai_insights")
    assert answer.json()["result"]["changed"] == 5
    assert (await api.client.get("/v1/tenants", params={"feature": "scenario_planning"})).json()["items"] == []
    features = {f["name"]: f for f in (await api.client.get("/v1/tenants/many_0/features")).json()["features"]}
    assert (features["ai_insights"]["enabled"], features["ai_insights"]["source"]) == (True, "tenant")


async def test_what_a_feature_requires_may_come_with_it(api: Api, conn: asyncpg.Connection, five: list[str]) -> None:
    rows = await conn.fetch("SELECT name, requires FROM bf_control.feature WHERE requires <> '{}' ORDER BY 1 LIMIT 1")
    name, requires = rows[0]["name"], rows[0]["requires"]
    alone = (await _patch(api, {"features": {name: True}}, q="many_0")).json()
    assert alone["result"] == {"changed": 0, "unchanged": 0, "refused": 1}
    assert (await _targets(api, alone["id"]))["many_0"]["problem"]["code"] == "feature_requires"
    both = (await _patch(api, {"features": {name: True} | dict.fromkeys(requires, True)}, all="true")).json()
    assert both["result"]["changed"] == 5
    tiers = (await _patch(api, {"subscription_tier": "enterprise", "features": {name: None}}, all="true")).json()
    assert tiers["result"]["changed"] == 5, tiers


async def test_limits_are_each_tenant_s_own_then(api: Api, conn: asyncpg.Connection, five: list[str]) -> None:
    answer = await _patch(api, {"limits": {"max_budgets": 7, "max_budget_lines": 70}}, all="true")
    assert answer.json()["result"] == {"changed": 5, "unchanged": 0, "refused": 0}
    stored = await conn.fetch(
        "SELECT max_budget_lines, usage_limits->>'max_budgets' AS budgets FROM bf_shared.tenant_config"
    )
    assert {tuple(row) for row in stored} == {(70, "7")}
    back = await _patch(api, {"limits": {"max_budget_lines": None}, "subscription_tier": "enterprise"}, all="true")
    assert back.json()["result"]["changed"] == 5
    assert {row[0] for row in await conn.fetch("SELECT max_budget_lines FROM bf_shared.tenant_config")} != {70}
    refused = await _patch(api, {"limits": {"max_budgets": -1}}, all="true")
    assert problem(refused, 422, "validation_failed")["errors"][0]["pointer"] == "/limits/max_budgets"
    refused = await _patch(api, {"limits": {"max_budgetz": 1}}, all="true", validate_only="true")
    assert problem(refused, 422, "validation_failed")["errors"][0]["pointer"] == "/limits/max_budgetz"


async def test_a_preview_says_whom_it_touches_and_leaves_nothing(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, five: list[str]
) -> None:
    await conn.execute("UPDATE bf_control.tenant SET state = 'purging' WHERE tenant_id = 'many_2'")
    await conn.execute("UPDATE bf_shared.tenant_config SET subscription_tier = 'premium' WHERE tenant_id = 'many_3'")
    before = await counts(superuser), await conn.fetch(_TIERS)
    body = {"subscription_tier": "premium", "features": {"ai_insights": True}}
    answer = await _patch(idle_api, body, q="many", validate_only="true")
    assert answer.status_code == 200, answer.text
    preview = answer.json()
    assert preview["tenants"] == 5
    items = {item["tenant_id"]: item for item in preview["items"]}
    assert [item["status"] for item in items.values()] == ["changed", "changed", "refused", "changed", "changed"]
    assert items["many_0"]["before"]["subscription_tier"] == "standard"
    assert items["many_0"]["after"]["subscription_tier"] == "premium"
    assert items["many_0"]["after"]["features"]["ai_insights"] == {"enabled": True, "source": "tenant"}
    assert items["many_2"]["problem"]["code"] == "tenant_state_forbids"
    assert (await counts(superuser), await conn.fetch(_TIERS)) == before


async def test_what_is_wrong_for_everybody_is_refused_at_once(
    idle_api: Api, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    before = await counts(superuser)
    for body, params, pointer in (
        ({"subscription_tier": "premium"}, {}, "query/all"),
        ({"subscription_tier": "premium"}, {"all": "false"}, "query/all"),
        ({"subscription_tier": "premium"}, {"all": "true", "tier": "basic"}, "query/all"),
        ({"subscription_tier": "premiun"}, {"all": "true"}, "/subscription_tier"),
        ({"subscription_tier": None}, {"all": "true"}, "/subscription_tier"),
        ({"features": {"ai_insigths": True}}, {"all": "true"}, "/features/ai_insigths"),
        ({"features": {"ai_insights": "yes!"}}, {"all": "true"}, "/features/ai_insights"),
        ({"features": {}}, {"all": "true"}, ""),
        ({}, {"all": "true"}, ""),
        ({"tenant_name": "One for all"}, {"all": "true"}, "/tenant_name"),
        ({"subscription_tier": "premium"}, {"q": "ab"}, "query/q"),
        ({"subscription_tier": "premium"}, {"page_size": "3"}, "query/page_size"),
    ):
        for dry in ({}, {"validate_only": "true"}):
            with subtests.test(str((body, params, dry))):
                answer = await _patch(idle_api, body, **params, **dry)
                found = problem(answer, 422, "validation_failed")
                assert [e["pointer"] for e in found["errors"]] == [pointer], found
    assert await counts(superuser) == before


async def test_it_stops_between_two_tenants_and_a_retry_does_the_rest(
    idle_api: Api, conn: asyncpg.Connection, settings: Settings, five: list[str]
) -> None:
    """The third tenant is locked by somebody until the operation was asked to stop."""
    operation = (await _patch(idle_api, {"subscription_tier": "premium"}, wait=False, all="true")).json()
    path = f"/v1/operations/{operation['id']}"
    async with conn.transaction():
        await conn.execute("SELECT FROM bf_shared.tenant_config WHERE tenant_id = 'many_2' FOR UPDATE")
        async with impatient_worker(settings):
            await waiting_for_locks(conn)
            assert (await idle_api.client.post(f"{path}/cancel")).status_code == 202
            await conn.execute("UPDATE bf_shared.tenant_config SET time_zone = 'UTC' WHERE tenant_id = 'many_2'")
    async with impatient_worker(settings):
        assert (await ended(idle_api.client, path))["status"] == "cancelled"
        assert dict(await conn.fetch(_TIERS)) == {
            "many_0": "premium", "many_1": "premium", "many_2": "standard", "many_3": "standard", "many_4": "standard",
        }  # fmt: skip
        left = await _targets(idle_api, operation["id"], status="pending")
        assert set(left) == {"many_2", "many_3", "many_4"}
        again = await idle_api.client.post(f"{path}/retry", headers={"Prefer": "wait=20"})
        assert again.status_code == 200, again.text
        assert again.json()["result"] == {"changed": 3, "unchanged": 0, "refused": 0}
    assert set(dict(await conn.fetch(_TIERS)).values()) == {"premium"}


async def test_whoever_fits_later_is_not_changed(
    idle_api: Api, conn: asyncpg.Connection, settings: Settings, five: list[str]
) -> None:
    operation = (await _patch(idle_api, {"subscription_tier": "premium"}, wait=False, tier="standard")).json()
    await make_tenant(conn, "newcomer")
    await conn.execute("DELETE FROM bf_shared.tenant_config WHERE tenant_id = 'many_4'")
    await conn.execute("DELETE FROM bf_control.tenant WHERE tenant_id = 'many_4'")
    async with impatient_worker(settings):
        end = await ended(idle_api.client, f"/v1/operations/{operation['id']}")
    assert end["result"] == {"changed": 4, "unchanged": 0, "refused": 1}
    assert dict(await conn.fetch(_TIERS))["newcomer"] == "standard"
    assert (await _targets(idle_api, operation["id"]))["many_4"]["problem"]["code"] == "tenant_not_found"
