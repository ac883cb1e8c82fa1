"""GET and PATCH /v1/tenants/{id}/limits"""

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest

from tests.limits.support import BUDGETS, set_limits, working
from tests.support import tables
from tests.support.api import Api
from tests.support.data import make_tenant, suspend
from tests.support.problems import problem

_PATH = "/v1/tenants/acme_corp/limits"
_DEFAULTS = {
    "max_budget_lines": 100000, "forecast_horizon_limit": 60, "concurrent_users_limit": 100, "max_budgets": None,
    "max_forecasts": None, "max_scenarios": None, "max_forecast_horizon": 60, "storage_mb": None,
}  # fmt: skip
_AUDIT = "SELECT action, target, outcome, actor, before, after FROM bf_control.audit ORDER BY id DESC LIMIT 1"
_HISTORY = "SELECT source, user_context, documents FROM bf_control.tenant_config_history ORDER BY id DESC LIMIT 1"
_FORBIDDING = """
INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, schema_version, created_by)
SELECT concat('t_', state), 'T', concat('bf_t_', state), state, version, 'tests'
  FROM (VALUES ('provisioning', NULL), ('failed', NULL), ('deleted', 1), ('purging', 1)) AS s(state, version)
"""

pytestmark = pytest.mark.usefixtures("tenant")


async def _get(api: Api) -> dict[str, Any]:
    answer = await api.client.get(_PATH)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def _patch(api: Api, body: Any, headers: dict[str, str] | None = None, **params: str) -> httpx.Response:
    return await api.client.patch(_PATH, json=body, params=params, headers=headers)


async def test_a_new_tenants_limits_are_the_defaults(idle_api: Api) -> None:
    body = await _get(idle_api)
    sources = body.pop("sources")
    assert (body, set(sources), set(sources.values())) == (_DEFAULTS, set(_DEFAULTS), {"default"})


async def test_what_is_set_is_the_tenants_own_and_null_goes_back(idle_api: Api, conn: asyncpg.Connection) -> None:
    for name, value in (("max_budgets", 500), ("max_budget_lines", 7), ("max_forecasts", 0), ("storage_mb", 10**9)):
        answer = await _patch(idle_api, {name: value})
        assert answer.status_code == 200, answer.text
        assert (answer.json()[name], answer.json()["sources"][name]) == (value, "tenant")
    body = await _get(idle_api)
    assert {**answer.json(), "exceeded": []} == {**body, "exceeded": []}
    stored = await conn.fetchrow("SELECT max_budget_lines, usage_limits::text FROM bf_shared.tenant_config")
    assert (stored[0], json.loads(stored[1])) == (7, {"max_budgets": 500, "max_forecasts": 0, "storage_mb": 10**9})
    answer = await _patch(idle_api, {"max_budgets": None, "max_budget_lines": None, "storage_mb": 1})
    body = answer.json()
    assert (body["max_budgets"], body["max_budget_lines"], body["storage_mb"]) == (None, 100000, 1)
    assert [body["sources"][name] for name in ("max_budgets", "max_budget_lines", "storage_mb")] == [
        "default", "default", "tenant",
    ]  # fmt: skip


async def test_a_change_says_who_and_from_where(idle_api: Api, conn: asyncpg.Connection) -> None:
    await _patch(idle_api, {"max_budgets": 5, "max_budget_lines": 9})
    action, target, outcome, actor, before, after = await conn.fetchrow(_AUDIT) or ()
    assert (action, target, outcome) == ("tenant.limits.change", "tenant/acme_corp", "succeeded")
    assert actor.startswith("key:")
    assert json.loads(before) == {
        "max_budgets": {"value": None, "source": "default"}, "max_budget_lines": {"value": 100000, "source": "default"},
    }  # fmt: skip
    assert json.loads(after)["max_budgets"] == {"value": 5, "source": "tenant"}
    assert tuple(await conn.fetchrow(_HISTORY) or ()) == ("api", actor, ["limits"])


async def test_a_value_that_is_the_defaults_anyway_can_be_made_the_tenants_own(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    assert (await _patch(idle_api, {"max_budget_lines": 100000})).json()["sources"]["max_budget_lines"] == "tenant"
    await conn.execute("UPDATE bf_control.usage_limit SET default_value = 5 WHERE name = 'max_budget_lines'")
    assert (await _get(idle_api))["max_budget_lines"] == 100000


async def test_of_the_two_names_of_the_horizon_the_lower_one_is_told_for_both(idle_api: Api) -> None:
    await _patch(idle_api, {"max_forecast_horizon": 36})
    body = await _get(idle_api)
    assert (body["forecast_horizon_limit"], body["max_forecast_horizon"]) == (36, 36)
    assert body["sources"]["forecast_horizon_limit"] == "tenant"
    await _patch(idle_api, {"forecast_horizon_limit": 12})
    assert (await _get(idle_api))["max_forecast_horizon"] == 12


async def test_a_change_that_changes_nothing_leaves_no_trace(idle_api: Api, superuser: asyncpg.Connection) -> None:
    await _patch(idle_api, {"max_budgets": 5})
    before, tag = await tables.counts(superuser), (await idle_api.client.get(_PATH)).headers["etag"]
    for body in ({}, {"max_budgets": 5}, {"max_forecasts": None}, {"max_budget_lines": None}):
        answer = await _patch(idle_api, body)
        assert (answer.status_code, answer.headers["etag"]) == (200, tag)
    assert (await _patch(idle_api, {"max_budgets": 6}, validate_only="true")).json()["max_budgets"] == 6
    assert await tables.counts(superuser) == before
    assert (await _get(idle_api))["max_budgets"] == 5


async def test_a_wrong_member_is_422_and_changes_nothing(
    idle_api: Api, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    before = await tables.counts(superuser)
    for name, value in (
        ("max_budget", 5), ("teleports", 5), ("sources", 1), ("exceeded", 1), ("Max_budgets", 5), ("", 5),
        ("max_budgets", -1), ("max_budgets", 10**9 + 1), ("max_budgets", 10**40), ("max_budgets", 1.5),
        ("max_budgets", 5.0), ("max_budgets", "5"), ("max_budgets", True), ("max_budgets", []),
        ("forecast_horizon_limit", 0), ("forecast_horizon_limit", 121), ("max_budget_lines", 10**9 + 1),
        ("concurrent_users_limit", 10**6 + 1), ("max_budgets/x~y", 1), ("ü", 1),
    ):  # fmt: skip
        with subtests.test(f"{name}={value!r}"[:40]):
            errors = problem(await _patch(idle_api, {"max_forecasts": 1, name: value}), 422, "validation_failed")[
                "errors"
            ]
            assert len(errors) == 1
            assert errors[0]["pointer"] == f"/{name.replace('~', '~0').replace('/', '~1')}"
    for body in ([], "x", None, 5):
        with subtests.test(repr(body)):
            problem(await _patch(idle_api, body), 422, "validation_failed")
    assert "max_budgets" in (await _patch(idle_api, {"max_budget": 5})).json()["errors"][0]["detail"]
    assert await tables.counts(superuser) == before


async def test_if_match_guards_against_a_lost_update(idle_api: Api, conn: asyncpg.Connection) -> None:
    first = await idle_api.client.get(_PATH)
    tag = first.headers["etag"]
    assert (await idle_api.client.get(_PATH, headers={"If-None-Match": tag})).status_code == 304
    changed = await _patch(idle_api, {"max_budgets": 5}, {"If-Match": tag})
    assert changed.status_code == 200
    problem(await _patch(idle_api, {"max_budgets": 6}, {"If-Match": tag}), 412, "precondition_failed")
    assert (await idle_api.client.get(_PATH)).headers["etag"] == changed.headers["etag"]
    await set_limits(conn, '{"max_budgets": 7}')  # SQL is a client too
    problem(await _patch(idle_api, {"max_budgets": 6}, {"If-Match": changed.headers["etag"]}), 412)


async def test_changes_at_the_same_time_are_both_made(idle_api: Api) -> None:
    names = ("max_budgets", "max_forecasts", "max_scenarios", "max_budget_lines", "storage_mb")
    answers = await asyncio.gather(*[_patch(idle_api, {name: 11}) for name in names])
    assert {answer.status_code for answer in answers} == {200}
    body = await _get(idle_api)
    assert {body[name] for name in names} == {11}


async def test_the_tenants_state_decides(idle_api: Api, conn: asyncpg.Connection) -> None:
    await conn.execute(_FORBIDDING)
    for state in ("provisioning", "failed", "deleted", "purging"):
        path = f"/v1/tenants/t_{state}/limits"
        problem(await idle_api.client.patch(path, json={"max_budgets": 5}), 409, "tenant_state_forbids")
        problem(await idle_api.client.get(path), 409, "tenant_state_forbids")
        problem(await idle_api.client.get(f"/v1/tenants/t_{state}/usage"), 409, "tenant_state_forbids")
    await suspend(conn)
    assert (await _patch(idle_api, {"max_budgets": 5})).status_code == 200
    problem(await idle_api.client.get("/v1/tenants/nobody/limits"), 404, "tenant_not_found")
    problem(await idle_api.client.patch("/v1/tenants/nobody/limits", json={}), 404, "tenant_not_found")


async def test_lowering_below_use_names_what_is_exceeded(idle_api: Api, application: asyncpg.Connection) -> None:
    async with working(application):
        await application.execute(BUDGETS, "a", 4)
    assert (await _patch(idle_api, {"max_budgets": 4})).json()["exceeded"] == []
    assert (await _patch(idle_api, {"max_budgets": 3})).json()["exceeded"] == ["max_budgets"]


async def test_another_tenants_limits_stay(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "globex", "Globex")
    await _patch(idle_api, {"max_budgets": 5, "max_budget_lines": 3})
    other = (await idle_api.client.get("/v1/tenants/globex/limits")).json()
    assert set(other["sources"].values()) == {"default"}
